//! W3C trace context in and out: `traceparent` and `tracestate`. Caller threads.
//! Source: <https://www.w3.org/TR/trace-context/>.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};
use tracing::{Span, dispatcher};

use crate::current;
use crate::ids::{SpanId, TraceId};
use crate::span::find_store;

pub use crate::span::SetParentError;

static TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
static TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// At most this much of a `tracestate` is passed on (section 3.3.1.5 asks for at least 512 characters).
const TRACESTATE_LIMIT: usize = 4096;

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
    /// Passed on as it came.
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
            trace_state: None,
        })
    }
}

/// Reads `traceparent` and `tracestate`. `None` if there is no valid `traceparent`, or more than one.
#[must_use]
pub fn extract(headers: &HeaderMap) -> Option<RemoteParent> {
    let mut values = headers.get_all(&TRACEPARENT).iter();
    let mut parent = RemoteParent::parse(values.next()?.to_str().ok()?)?;
    if values.next().is_some() {
        return None;
    }
    let states: Vec<&str> = headers
        .get_all(&TRACESTATE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .map(str::trim)
        .filter(|value| !value.is_empty())
        .collect();
    let state = states.join(",");
    if !state.is_empty() && state.len() <= TRACESTATE_LIMIT {
        parent.trace_state = Some(state.into());
    }
    Some(parent)
}

/// Makes a span the child of the one that the headers of an incoming request name. Headers without a valid `traceparent`
/// leave the span a root.
///
/// Call it right after creating the span, before it is entered, logs or has children.
///
/// # Errors
/// [`SetParentError`] if the span is disabled, has a parent already, or its ids are in use already.
pub fn set_parent(span: &Span, headers: &HeaderMap) -> Result<(), SetParentError> {
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

/// Writes the current trace into the headers of an outgoing request, replacing what they said of one. Outside all spans
/// the headers stay as they are.
pub fn inject(headers: &mut HeaderMap) {
    let Some(trace) = current::trace() else { return };
    let text = format!("00-{}-{}-{:02x}", trace.trace_id, trace.span_id, u8::from(trace.sampled));
    let Ok(value) = HeaderValue::try_from(text) else { return };
    headers.insert(TRACEPARENT.clone(), value);
    let state = dispatcher::get_default(|dispatch| {
        let store = find_store(dispatch)?;
        // The innermost span that a layer of ours knows: `Span::current()` may be hidden from all of them.
        let (span, _) = current::innermost(store.id)?;
        store.expose(span);
        store.with(span, |record| record.trace_state.clone().filter(|_| record.trace_id == trace.trace_id))?
    });
    headers.remove(&TRACESTATE);
    if let Some(value) = state.and_then(|state| HeaderValue::try_from(&*state).ok()) {
        headers.insert(TRACESTATE.clone(), value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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
