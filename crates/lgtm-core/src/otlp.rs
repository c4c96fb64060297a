//! What all signals share that travel by OTLP: the resource, the scope, and what a receiver's answers mean. Callers of the encoders:
//! the worker. Source: OpenTelemetry Protocol specification 1.9, and opentelemetry-proto.

use std::time::Duration;

use http::{HeaderName, HeaderValue};

use crate::pipeline::{Reply, Target, Verdict, excerpt};
use crate::protobuf::{Field, Fields, length_tag, put_bytes};
use crate::{Endpoint, ErrorType, Identity};

/// How OTLP travels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Protocol {
    /// OTLP over gRPC, usually port 4317. The default.
    #[default]
    Grpc,
    /// OTLP over HTTP with protobuf bodies, usually port 4318.
    Http,
}

impl Protocol {
    /// The way to a receiver: `grpc_path` is the method's, `http_path` what an endpoint without a path gets.
    #[must_use]
    pub fn target(self, endpoint: Endpoint, grpc_path: &'static str, http_path: &'static str) -> Target {
        match self {
            Self::Grpc => Target::Grpc { endpoint, path: grpc_path },
            Self::Http => Target::Http { endpoint, default_path: http_path, headers: headers() },
        }
    }
}

/// The headers of OTLP over HTTP.
fn headers() -> Vec<(HeaderName, HeaderValue)> {
    vec![(http::header::CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"))]
}

/// The field `resource` of `ResourceSpans`, `ResourceLogs` or `ResourceMetrics`, tag and all: who sends.
#[must_use]
pub fn resource(identity: &Identity) -> Vec<u8> {
    let mut attributes = Vec::new();
    let own = [
        ("telemetry.sdk.name", "lgtm"),
        ("telemetry.sdk.language", "rust"),
        ("telemetry.sdk.version", env!("CARGO_PKG_VERSION")),
    ];
    for (key, value) in identity.resource_attributes().chain(own) {
        put_attribute(&mut attributes, length_tag(1), key, value);
    }
    let mut resource = Vec::new();
    put_bytes(&mut resource, length_tag(1), &attributes);
    resource
}

/// The field `scope` of `ScopeSpans`, `ScopeLogs` or `ScopeMetrics`, tag and all: the library that speaks.
#[must_use]
pub fn scope(name: &str, version: &str) -> Vec<u8> {
    let mut names = Vec::new();
    put_bytes(&mut names, length_tag(1), name.as_bytes());
    put_bytes(&mut names, length_tag(2), version.as_bytes());
    let mut scope = Vec::new();
    put_bytes(&mut scope, length_tag(1), &names);
    scope
}

/// Appends a `KeyValue` whose value is text, under this tag.
pub fn put_attribute(buffer: &mut Vec<u8>, tag: u8, key: &str, value: &str) {
    let mut any_value = Vec::new();
    put_bytes(&mut any_value, length_tag(1), value.as_bytes());
    let mut pair = Vec::new();
    put_bytes(&mut pair, length_tag(1), key.as_bytes());
    put_bytes(&mut pair, length_tag(2), &any_value);
    put_bytes(buffer, tag, &pair);
}

/// What a receiver's answer means.
#[must_use]
pub fn classify(reply: &Reply) -> Verdict {
    match reply {
        Reply::Http { status, retry_after, body, .. } => {
            reply.redirect().unwrap_or_else(|| classify_http(*status, *retry_after, body))
        }
        Reply::Grpc { code, message, retry_delay, body, .. } => classify_grpc(*code, message, *retry_delay, body),
    }
}

/// Section "OTLP/HTTP Response".
fn classify_http(status: u16, retry_after: Option<Duration>, body: &[u8]) -> Verdict {
    let message = || format!("{status} {}", excerpt(body));
    let rejected = |error| Verdict::Rejected { error, message: message() };
    let retry = |error| Verdict::Retry { error, after: retry_after, message: message() };
    match status {
        200..=299 => partial_success(body),
        413 => Verdict::Split { message: message() },
        // What Tempo says when a request is over its limit.
        400 if contains(body, b"request body too large") => Verdict::Split { message: message() },
        401 | 403 | 407 => retry(ErrorType::Unauthorized),
        429 => retry(ErrorType::RateLimited),
        502..=504 => retry(ErrorType::Server),
        // The specification lists what may be sent again; 500 is not among it.
        500..=599 => rejected(ErrorType::Server),
        400..=499 => rejected(ErrorType::Rejected),
        _ => rejected(ErrorType::Other),
    }
}

/// Section "OTLP/gRPC Response"; the numbers are gRPC's status codes.
fn classify_grpc(code: i32, message: &str, retry_delay: Option<Duration>, body: &[u8]) -> Verdict {
    let http_status = status_of_proxy(message);
    let message = || format!("gRPC status {code} {}", excerpt(message.as_bytes()));
    let rejected = |error| Verdict::Rejected { error, message: message() };
    let retry = |error| Verdict::Retry { error, after: retry_delay, message: message() };
    match code {
        0 => partial_success(body),
        8 if contains(message().as_bytes(), b"larger than max") => Verdict::Split { message: message() },
        8 if retry_delay.is_some() => retry(ErrorType::RateLimited),
        8 => rejected(ErrorType::RateLimited),
        4 => retry(ErrorType::Timeout),
        1 | 10 | 11 | 14 | 15 => retry(ErrorType::Server),
        7 | 16 => retry(ErrorType::Unauthorized),
        3 => rejected(ErrorType::Rejected),
        2 if http_status == Some(413) => Verdict::Split { message: message() },
        2 if http_status.is_some_and(|status| (300..400).contains(&status)) => {
            let redirect = "; redirects are not followed: set the endpoint's URL to the final address";
            Verdict::Rejected { error: ErrorType::Rejected, message: message() + redirect }
        }
        2 | 12 | 13 => rejected(ErrorType::Server),
        _ => rejected(ErrorType::Other),
    }
}

/// The HTTP status of an answer that is no gRPC, as tonic puts it into its own status' message.
fn status_of_proxy(message: &str) -> Option<u16> {
    message.strip_prefix("grpc-status header missing, mapped from HTTP status code ")?.trim().parse().ok()
}

/// `partial_success` of the response, which is the same message for all signals: the number of refused items, and why.
fn partial_success(body: &[u8]) -> Verdict {
    let (mut rejected, mut message) = (0, String::new());
    for field in Fields(body) {
        let Field::Bytes(1, partial) = field else { continue };
        for field in Fields(partial) {
            match field {
                Field::Varint(1, items) => rejected = u64::try_from(items.cast_signed()).unwrap_or(0),
                Field::Bytes(2, text) => message = excerpt(text),
                _ => {}
            }
        }
    }
    Verdict::Delivered { rejected, message }
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry_proto::tonic::collector::trace::v1::{ExportTracePartialSuccess, ExportTraceServiceResponse};
    use prost::Message as _;

    #[test]
    fn http_answers_are_classified_as_the_specification_says() {
        for status in [429, 502, 503, 504] {
            let verdict = classify_http(status, Some(Duration::from_secs(5)), b"");
            assert!(matches!(verdict, Verdict::Retry { after: Some(pause), .. } if pause.as_secs() == 5), "{status}");
        }
        for status in [401, 403, 407] {
            let verdict = classify_http(status, None, b"");
            assert!(matches!(verdict, Verdict::Retry { error: ErrorType::Unauthorized, .. }), "{status}");
        }
        for status in [400, 404, 415, 500, 501] {
            assert!(matches!(classify_http(status, None, b""), Verdict::Rejected { .. }), "{status}");
        }
        for (status, body) in [(413, ""), (400, "request body too large")] {
            assert!(matches!(classify_http(status, None, body.as_bytes()), Verdict::Split { .. }), "{status}");
        }
        assert_eq!(classify_http(200, None, b""), Verdict::delivered());
    }

    #[test]
    fn grpc_answers_are_classified_as_the_specification_says() {
        for code in [1, 4, 10, 11, 14, 15] {
            assert!(matches!(classify_grpc(code, "", None, b""), Verdict::Retry { .. }), "{code}");
        }
        for code in [7, 16] {
            let verdict = classify_grpc(code, "", None, b"");
            assert!(matches!(verdict, Verdict::Retry { error: ErrorType::Unauthorized, .. }), "{code}");
        }
        for code in [2, 3, 5, 6, 8, 9, 12, 13] {
            assert!(matches!(classify_grpc(code, "", None, b""), Verdict::Rejected { .. }), "{code}");
        }
        for (status, is_split, is_refused) in [(413, true, false), (302, false, true), (500, false, false)] {
            let message = format!("grpc-status header missing, mapped from HTTP status code {status}");
            let verdict = classify_grpc(2, &message, None, b"");
            assert_eq!(matches!(verdict, Verdict::Split { .. }), is_split, "{status}");
            assert_eq!(
                matches!(verdict, Verdict::Rejected { error: ErrorType::Rejected, .. }),
                is_refused,
                "{status}: {verdict:?}"
            );
        }
        let delay = Some(Duration::from_millis(700));
        assert!(matches!(classify_grpc(8, "", delay, b""), Verdict::Retry { after, .. } if after == delay));
        let large = "grpc: received message larger than max (5000000 vs. 4194304)";
        assert!(matches!(classify_grpc(8, large, None, b""), Verdict::Split { .. }));
    }

    #[test]
    fn partial_success_counts_the_refused_spans() {
        let partial = ExportTracePartialSuccess { rejected_spans: 3, error_message: "too old".to_owned() };
        let answer = ExportTraceServiceResponse { partial_success: Some(partial) }.encode_to_vec();
        let expected = Verdict::Delivered { rejected: 3, message: "too old".to_owned() };
        assert_eq!(classify_grpc(0, "", None, &answer), expected);
        assert_eq!(classify_http(200, None, &answer), expected);
    }
}
