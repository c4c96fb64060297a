//! `traceparent`, `tracestate` and `baggage`: lines of `name: value`, and a new line in a value as `\n`.

use std::sync::OnceLock;

use lgtm_core::propagation::{RemoteParent, baggage, extract, inject, set_parent};
use lgtm_core::span::{Attachment, Role};
use tracing::span::{Attributes, Id};
use tracing::{Dispatch, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::prelude::*;
use tracing_subscriber::registry::LookupSpan;

use super::input::pairs;

/// No headers panic; what is accepted is passed on as the same, in headers that any protocol can carry.
///
/// # Panics
/// If not so.
pub fn headers(data: &[u8]) {
    let mut headers = pairs(data, ':');
    for (name, value) in &mut headers {
        *name = name.trim().to_ascii_lowercase();
        *value = value.strip_prefix(' ').unwrap_or(value).replace("\\n", "\n").replace("\\r", "\r");
    }
    let parent = extract(&headers);
    let carried = baggage::extract(&headers);
    passes_on(&headers, parent.as_ref(), &carried);
    let map: http::HeaderMap = headers
        .iter()
        .filter_map(|(name, value)| {
            Some((name.parse::<http::HeaderName>().ok()?, http::HeaderValue::from_str(value).ok()?))
        })
        .fold(http::HeaderMap::new(), |mut map, (name, value)| {
            map.append(name, value);
            map
        });
    // What HTTP can carry at all reads the same from its headers.
    if map.len() == headers.len() {
        assert_eq!(extract(&map), parent);
        assert_eq!(baggage::extract(&map), carried);
    }
}

fn passes_on(headers: &[(String, String)], parent: Option<&RemoteParent>, carried: &baggage::Baggage) {
    for (key, value) in carried.iter() {
        assert!(!key.is_empty() && key.is_ascii(), "{key:?}={value:?}");
    }
    let mut sent: Vec<(String, String)> = Vec::new();
    tracing::dispatcher::with_default(dispatch(), || {
        let span = tracing::info_span!("incoming");
        set_parent(&span, &headers.to_vec()).expect("a fresh span takes any parent");
        let _entered = span.enter();
        let _attached = baggage::attach(carried.clone());
        inject(&mut sent);
    });
    for (name, value) in &sent {
        // Section 3.3.1 of W3C Baggage, and the fields of HTTP: visible characters, spaces and tabs.
        assert!(value.bytes().all(|byte| matches!(byte, b'\t' | b' '..=b'~')), "{name}: {value:?} from {headers:?}");
        assert!(value.len() <= 8192, "{name} has {} bytes", value.len());
    }
    let again = extract(&sent).expect("what is injected is valid");
    if let Some(parent) = parent {
        assert_eq!(again.trace_id, parent.trace_id, "{sent:?}");
        assert_eq!(again.trace_state, parent.trace_state, "{sent:?}");
        assert_eq!(again.random_trace_id, parent.random_trace_id, "{sent:?}");
        // The default sampler follows the parent.
        assert_eq!(again.sampled, parent.sampled, "{sent:?}");
        assert_ne!(again.span_id, parent.span_id, "{sent:?}");
    } else {
        assert!(again.sampled, "a root is sampled: {sent:?}");
    }
    assert_eq!(&baggage::extract(&sent), carried, "{sent:?}");
}

/// One for all inputs: a registry is expensive.
fn dispatch() -> &'static Dispatch {
    static DISPATCH: OnceLock<Dispatch> = OnceLock::new();
    DISPATCH.get_or_init(|| {
        let spans = Spans(Attachment::new(Role::Exporter, None));
        Dispatch::new(tracing_subscriber::registry().with(spans))
    })
}

/// A layer that exports nothing: the records of spans are enough.
struct Spans(Attachment);

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Spans {
    fn on_register_dispatch(&self, dispatch: &Dispatch) {
        self.0.register(dispatch);
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        self.0.new_span(attributes, id, &context);
    }

    fn on_enter(&self, id: &Id, _: Context<'_, S>) {
        self.0.enter(id);
    }

    fn on_exit(&self, id: &Id, _: Context<'_, S>) {
        self.0.exit(id);
    }

    fn on_close(&self, id: Id, _: Context<'_, S>) {
        self.0.close(&id, |_| ());
    }
}
