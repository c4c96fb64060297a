//! Spans to OTLP, read back with `opentelemetry-proto`.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use lgtm_core::pipeline::Pipeline;
use lgtm_core::span::{SpanExt as _, Status, Value};
use lgtm_core::{Endpoint, Identity, SpanId, TraceContext, TraceId, Worker};
use lgtm_devstack::{StatusCode, Value as Stored};
use tracing::Dispatch;
use tracing_subscriber::prelude::*;

use super::backend::{backend, flush_delivered, options};
use super::input::{Input, field_name, may_be_secret};

/// A value that owns its text.
#[derive(Clone, Debug)]
enum Owned {
    Text(String),
    Integer(i64),
    Double(f64),
    Bool(bool),
}

impl Owned {
    fn any(input: &mut Input<'_>) -> Self {
        match input.byte() % 4 {
            0 => Self::Text(input.long_text()),
            1 => Self::Integer(input.number()),
            2 => Self::Double(input.float()),
            _ => Self::Bool(input.flag()),
        }
    }

    fn bytes(&self) -> usize {
        if let Self::Text(text) = self { cut(text).len() + AROUND } else { AROUND }
    }

    fn value(&self) -> Value<'_> {
        match self {
            Self::Text(text) => text.into(),
            Self::Integer(number) => (*number).into(),
            Self::Double(number) => (*number).into(),
            Self::Bool(flag) => (*flag).into(),
        }
    }

    fn is(&self, stored: &Stored) -> bool {
        match (self, stored) {
            (Self::Text(text), Stored::String(stored)) => cut(text) == stored,
            (Self::Integer(number), Stored::Int(stored)) => number == stored,
            (Self::Double(number), Stored::Double(stored)) => number.to_bits() == stored.to_bits(),
            (Self::Bool(flag), Stored::Bool(stored)) => flag == stored,
            _ => false,
        }
    }
}

type Pairs = Vec<(String, Owned)>;

/// Bytes of all attributes, of all events and of all links of a span: with fewer, nothing is left out.
const MOST: usize = 256 * 1024;
/// Bytes around a value, at most: names, numbers, times.
const AROUND: usize = 1024;

/// Whatever a program says of a span arrives as it was said: name, attributes with their types, events, links, status; no
/// attribute is there twice. What is left out because there is too much is counted.
///
/// # Panics
/// If not so.
pub fn spans(data: &[u8]) {
    let mut input = Input::new(data);
    let pairs = |input: &mut Input<'_>| (field_name(input), Owned::any(input));
    let name = input.text();
    let early: Pairs = input.some(6, pairs);
    let events = input.some(4, |input| (input.text(), input.long_text(), input.number()));
    let links = input.some(3, |input| {
        (
            input.number().unsigned_abs().max(1),
            input.flag(),
            input.some(4, |input| (field_name(input), Owned::any(input))),
        )
    });
    let late: Pairs = input.some(6, pairs);
    let status = input.byte() % 3;
    let description = input.text();

    let backend = backend();
    let (dispatch, pipeline) = layer(&backend.stack.otlp_http_url(), &backend.worker);
    tracing::dispatcher::with_default(dispatch, || {
        let span = tracing::info_span!("work", otel.name = name);
        early.iter().for_each(|(key, value)| span.set_attribute(key, value.value()));
        span.in_scope(|| {
            for (message, own, number) in &events {
                tracing::info!(own, number, "{message}");
            }
        });
        for (id, sampled, attributes) in &links {
            let attributes: Vec<_> = attributes.iter().map(|(key, value)| (key.as_str(), value.value())).collect();
            span.add_link(place(*id, *sampled), &attributes);
        }
        late.iter().for_each(|(key, value)| span.set_attribute(key, value.value()));
        match status {
            1 => span.set_status(Status::Ok, &description),
            2 => span.set_status(Status::Error, &description),
            _ => {}
        }
    });
    flush_delivered(pipeline);

    let stored = backend.stack.store().spans();
    let [span] = stored.as_slice() else { panic!("{} spans", stored.len()) };
    assert_eq!(span.name, name);
    assert_eq!(span.attributes.duplicate_keys(), Vec::<&str>::new());
    let said: BTreeMap<_, _> = early.iter().chain(&late).map(|(key, value)| (key.as_str(), value)).collect();
    // Also what a later value has replaced is counted here.
    let too_many = early.iter().chain(&late).map(|(_, value)| value.bytes()).sum::<usize>() > MOST;
    assert!(too_many || span.dropped_attributes == 0);
    for (key, value) in said {
        let Some(arrived) = span.attributes.get(key) else {
            assert!(span.dropped_attributes > 0, "{key:?} is not there");
            continue;
        };
        // A later value that has no place leaves the earlier one.
        let is_exact = may_be_secret(key) || value.is(arrived);
        assert!(is_exact || span.dropped_attributes > 0, "{key:?}: {value:?} arrived as {arrived:?}");
    }
    let too_long = events.iter().map(|(message, own, _)| message.len() + cut(own).len() + AROUND).sum::<usize>() > MOST;
    assert!(too_long || span.dropped_events == 0);
    assert_eq!(span.events.len() + span.dropped_events as usize, events.len());
    // The first stay.
    for (event, (message, own, number)) in span.events.iter().zip(&events) {
        if event.dropped_attributes > 0 {
            assert!(too_long);
            continue;
        }
        if !message.is_empty() {
            assert_eq!(&event.name, message);
        }
        assert_eq!(event.attributes.text("own"), Some(cut(own)));
        assert_eq!(event.attributes.int("number"), Some(*number));
        assert_eq!(event.attributes.duplicate_keys(), Vec::<&str>::new());
    }
    let bytes_of = |(_, _, attributes): &(u64, bool, Pairs)| {
        AROUND + attributes.iter().map(|(_, value)| value.bytes()).sum::<usize>()
    };
    let too_much = links.iter().map(bytes_of).sum::<usize>() > MOST;
    assert!(too_much || span.dropped_links == 0);
    assert_eq!(span.links.len() + span.dropped_links as usize, links.len());
    for (link, (id, sampled, attributes)) in span.links.iter().zip(&links) {
        let to = place(*id, *sampled);
        assert_eq!((&link.trace_id, &link.span_id), (&to.trace_id.to_string(), &to.span_id.to_string()));
        assert_eq!(link.flags & 1 == 1, *sampled);
        assert_eq!(link.attributes.duplicate_keys(), Vec::<&str>::new());
        let said: BTreeMap<_, _> = attributes.iter().map(|(key, value)| (key.as_str(), value)).collect();
        for (key, value) in said {
            let Some(arrived) = link.attributes.get(key) else {
                assert!(too_much && link.dropped_attributes > 0, "{key:?} is not there");
                continue;
            };
            assert!(may_be_secret(key) || value.is(arrived), "{key:?}: {value:?} arrived as {arrived:?}");
        }
    }
    let expected = match status {
        1 => (StatusCode::Ok, ""),
        2 => (StatusCode::Error, description.as_str()),
        _ => (StatusCode::Unset, ""),
    };
    assert_eq!((span.status.code, span.status.message.as_str()), expected);
}

/// The longest value: 128 KiB, cut at a character's boundary.
fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(128 * 1024)]
}

fn place(id: u64, sampled: bool) -> TraceContext {
    let hex = format!("{id:016x}");
    let trace = TraceId::from_hex(hex.repeat(2).as_bytes()).expect("an id");
    TraceContext::new(trace, SpanId::from_hex(hex.as_bytes()).expect("an id"), sampled)
}

fn layer(otlp: &str, worker: &Worker) -> &'static (Dispatch, Pipeline) {
    static LAYER: OnceLock<(Dispatch, Pipeline)> = OnceLock::new();
    LAYER.get_or_init(|| {
        let (layer, pipeline) = lgtm_tempo::builder()
            .endpoint(Endpoint::parse(otlp).expect("an address"))
            .protocol(lgtm_tempo::Protocol::Http)
            .identity(Identity::new("spans"))
            .worker(worker.clone())
            .options(options())
            .detail(lgtm_tempo::Detail::default().with_location().with_threads())
            .build()
            .expect("a layer");
        (Dispatch::new(tracing_subscriber::registry().with(layer)), pipeline)
    })
}
