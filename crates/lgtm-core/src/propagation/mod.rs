//! W3C trace context in and out, `traceparent` and `tracestate`, and W3C baggage. Caller threads.
//! Sources: <https://www.w3.org/TR/trace-context/>, <https://www.w3.org/TR/trace-context-2/>.
//!
//! - `carrier.rs` is what contexts are read from and written to;
//! - `tracestate.rs` checks what other vendors say;
//! - `baggage.rs` is what travels beside the trace.

pub mod baggage;
mod carrier;
mod tracestate;

use std::sync::Arc;

use tracing::{Span, dispatcher};

use crate::current;
use crate::elsewhere;
use crate::ids::{SpanId, TraceId};
use crate::span::{AssignedIds, SpanRecord, find_store};

pub use carrier::{Extractor, Injector};

pub use crate::span::SetParentError;

const TRACEPARENT: &str = "traceparent";
const TRACESTATE: &str = "tracestate";
const BAGGAGE: &str = "baggage";

/// The trace flag of level 2 that says that the trace id is random.
const RANDOM: u8 = 2;

/// A span in another process, as its headers name it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RemoteParent {
    /// The trace.
    pub trace_id: TraceId,
    /// The caller's span.
    pub span_id: SpanId,
    /// Whether the caller records the trace.
    pub sampled: bool,
    /// Whether the caller says that the trace id is random (level 2); passed on.
    pub random_trace_id: bool,
    /// Passed on.
    pub trace_state: Option<Arc<str>>,
}

impl RemoteParent {
    /// Reads the value of a `traceparent` header (section 3.2). `None` for everything that is malformed: the request then
    /// begins a trace of its own.
    #[must_use]
    pub fn parse(traceparent: &str) -> Option<Self> {
        let bytes = traceparent.trim_matches([' ', '\t']).as_bytes();
        let (version, rest) = bytes.split_at_checked(2)?;
        let high = crate::ids::hex_digit(*version.first()?)?;
        let low = crate::ids::hex_digit(*version.last()?)?;
        let version = (high << 4) | low;
        // Version ff is forbidden; version 00 has exactly four parts; later ones may append more.
        if version == 0xff || (version == 0 && bytes.len() != 55) || bytes.len() < 55 {
            return None;
        }
        if bytes.len() > 55 && bytes.get(55) != Some(&b'-') {
            return None;
        }
        let [b'-', rest @ ..] = rest else { return None };
        let (trace_id, rest) = rest.split_at_checked(32)?;
        let [b'-', rest @ ..] = rest else { return None };
        let (span_id, rest) = rest.split_at_checked(16)?;
        let [b'-', high, low, ..] = rest else { return None };
        let flags = (crate::ids::hex_digit(*high)? << 4) | crate::ids::hex_digit(*low)?;
        Some(Self {
            trace_id: TraceId::from_hex(trace_id)?,
            span_id: SpanId::from_hex(span_id)?,
            sampled: flags & 1 == 1,
            random_trace_id: flags & RANDOM == RANDOM,
            trace_state: None,
        })
    }
}

/// Reads `traceparent` and `tracestate`. `None` if there is no valid `traceparent`, or more than one; a `tracestate` that is
/// malformed is left out.
#[must_use]
pub fn extract(headers: &(impl Extractor + ?Sized)) -> Option<RemoteParent> {
    let mut parents = Vec::new();
    headers.values(TRACEPARENT, &mut |value| parents.push(RemoteParent::parse(value)));
    let [Some(parent)] = parents.as_mut_slice() else { return None };
    let mut states = Vec::new();
    headers.values(TRACESTATE, &mut |value| states.push(value.to_owned()));
    parent.trace_state = tracestate::join(&states).map(Into::into);
    Some(parent.clone())
}

/// Makes a span the child of the one that the headers of an incoming request name. Headers without a valid `traceparent`
/// leave the span a root.
///
/// Call it right after creating the span, before it is entered, logs or has children.
///
/// # Errors
/// [`SetParentError`] if the span is disabled, has a parent already, or its ids are in use already.
pub fn set_parent(span: &Span, headers: &(impl Extractor + ?Sized)) -> Result<(), SetParentError> {
    match extract(headers) {
        Some(parent) => set_remote_parent(span, &parent),
        None => Ok(()),
    }
}

/// Makes a span the child of one in another process.
///
/// # Errors
/// As [`set_parent`].
pub fn set_remote_parent(span: &Span, parent: &RemoteParent) -> Result<(), SetParentError> {
    span.with_subscriber(|(id, dispatch)| {
        let store = find_store(dispatch).ok_or(SetParentError::UnknownSpan)?;
        store.set_parent_at_source(span, id.into_u64(), parent)?;
        store.set_parent(id, parent)
    })
    .unwrap_or(Err(SetParentError::UnknownSpan))
}

/// Writes the current trace and [`baggage`] into the headers of an outgoing request, replacing what they said of one. Outside
/// all spans what they say of a trace stays as it is, and so does what they say of baggage where none is attached.
pub fn inject(headers: &mut (impl Injector + ?Sized)) {
    let baggage = baggage::current();
    if !baggage.is_empty() {
        headers.set(BAGGAGE, &baggage.to_string());
    }
    let entered = current::entered();
    let elsewhere = if elsewhere::exists() { elsewhere::ids(entered) } else { None };
    let Some(trace) = elsewhere.as_ref().map(AssignedIds::context).or(entered) else { return };
    let known = dispatcher::get_default(|dispatch| {
        let store = find_store(dispatch)?;
        // The innermost span that a layer of ours knows: `Span::current()` may be hidden from all of them.
        let (span, _) = current::innermost(store.id)?;
        store.expose(span);
        let of_record = |record: &mut SpanRecord| {
            (record.trace_id == trace.trace_id).then(|| (record.random_trace_id, record.trace_state.clone()))
        };
        store.with(span, of_record)?
    });
    let (random, of_span) = known.unwrap_or_default();
    let state = elsewhere.map_or(of_span, |ids| ids.trace_state);
    let flags = u8::from(trace.sampled) | if random { RANDOM } else { 0 };
    headers.set(TRACEPARENT, &format!("00-{}-{}-{flags:02x}", trace.trace_id, trace.span_id));
    match state {
        Some(state) => headers.set(TRACESTATE, &state),
        None => headers.remove(TRACESTATE),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderMap, HeaderValue};
    use proptest::prelude::*;

    const VALID: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_valid_header_is_read() {
        let parent = RemoteParent::parse(VALID).unwrap();
        assert_eq!(parent.trace_id.to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(parent.span_id.to_string(), "00f067aa0ba902b7");
        assert!(parent.sampled);
        assert!(!RemoteParent::parse(&VALID.replace("-01", "-00")).unwrap().sampled);
        assert!(RemoteParent::parse(&VALID.replacen("00", "cc", 1)).is_some());
        assert!(RemoteParent::parse(&format!("{}-what-ever", VALID.replacen("00", "cc", 1))).is_some());
    }

    #[test]
    fn malformed_headers_begin_a_trace_of_their_own() {
        for wrong in [
            "",
            "00",
            "00-",
            &VALID.to_uppercase(),
            &VALID.replacen("00", "ff", 1),
            &format!("{VALID}-extra"),
            &format!("{}.extra", VALID.replacen("00", "cc", 1)),
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0x",
            "0-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00_4bf92f3577b34da6a3ce929d0e0e4736_00f067aa0ba902b7_01",
        ] {
            assert_eq!(RemoteParent::parse(wrong), None, "{wrong}");
        }
        let mut headers = HeaderMap::new();
        headers.append("traceparent", HeaderValue::from_static(VALID));
        assert!(extract(&headers).is_some());
        headers.append("traceparent", HeaderValue::from_static(VALID));
        assert_eq!(extract(&headers), None);
    }

    #[test]
    fn several_tracestate_headers_are_joined() {
        let mut headers = HeaderMap::new();
        headers.append("traceparent", HeaderValue::from_static(VALID));
        headers.append("tracestate", HeaderValue::from_static("a=1 "));
        headers.append("tracestate", HeaderValue::from_static("b=2"));
        assert_eq!(extract(&headers).unwrap().trace_state.as_deref(), Some("a=1,b=2"));
    }

    proptest! {
        #[test]
        fn no_header_panics(text: String) {
            let _ = RemoteParent::parse(&text);
        }
    }
}
