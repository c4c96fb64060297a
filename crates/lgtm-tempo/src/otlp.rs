//! Encode: OTLP's export request around spans that are bytes already; and what an OTLP receiver's answers mean. Worker thread.
//! Source: OpenTelemetry Protocol specification 1.9, and opentelemetry-proto.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use lgtm_core::pipeline::{Batch, Reply, Signal, Verdict, excerpt};
use lgtm_core::protobuf::{Field, Fields, count, field_length, halve, length_tag, put_bytes, put_varint};
use lgtm_core::{ErrorType, Identity, SignalKind};
use parking_lot::RwLock;

pub(crate) const HTTP_PATH: &str = "/v1/traces";
pub(crate) const GRPC_PATH: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

/// The instrumentation scope of spans from `tracing`.
pub(crate) const SCOPE_NAME: &str = "lgtm-tempo";
pub(crate) const SCOPE_VERSION: &str = env!("CARGO_PKG_VERSION");

/// The headers of OTLP over HTTP.
pub(crate) fn headers() -> Vec<(HeaderName, HeaderValue)> {
    vec![(http::header::CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"))]
}

/// Where the spans of a request are.
const SPAN_PATH: &[u32] = &[1, 2, 2];

const RESOURCE_SPANS: u8 = length_tag(1);
const SCOPE_SPANS: u8 = length_tag(2);

/// Further instrumentation scopes, as the fields of `ScopeSpans` beside its spans: the item of stream n belongs to the nth.
/// Only ever grows.
#[derive(Debug, Default)]
pub(crate) struct Scopes(RwLock<Vec<Vec<u8>>>);

#[cfg(feature = "opentelemetry")]
impl Scopes {
    pub(crate) fn add(&self, encoded: Vec<u8>) {
        self.0.write().push(encoded);
    }
}

/// Encodes batches for one receiver.
pub(crate) struct Otlp {
    /// `ResourceSpans.resource`, tag and all.
    resource: Vec<u8>,
    /// `ScopeSpans.scope`, tag and all: of stream 0.
    scope: Vec<u8>,
    scopes: Arc<Scopes>,
}

impl Otlp {
    pub(crate) fn new(identity: &Identity, scopes: Arc<Scopes>) -> Self {
        let mut attributes = Vec::new();
        let own = [
            ("telemetry.sdk.name", "lgtm"),
            ("telemetry.sdk.language", "rust"),
            ("telemetry.sdk.version", env!("CARGO_PKG_VERSION")),
        ];
        for (key, value) in identity.resource_attributes().chain(own) {
            let mut any_value = Vec::new();
            put_bytes(&mut any_value, length_tag(1), value.as_bytes());
            let mut pair = Vec::new();
            put_bytes(&mut pair, length_tag(1), key.as_bytes());
            put_bytes(&mut pair, length_tag(2), &any_value);
            put_bytes(&mut attributes, length_tag(1), &pair);
        }
        let mut resource = Vec::new();
        put_bytes(&mut resource, length_tag(1), &attributes);
        let mut names = Vec::new();
        put_bytes(&mut names, length_tag(1), SCOPE_NAME.as_bytes());
        put_bytes(&mut names, length_tag(2), SCOPE_VERSION.as_bytes());
        let mut scope = Vec::new();
        put_bytes(&mut scope, length_tag(1), &names);
        Self { resource, scope, scopes }
    }
}

impl Signal for Otlp {
    fn kind(&self) -> SignalKind {
        SignalKind::Spans
    }

    fn encode(&mut self, batch: &Batch, body: &mut Vec<u8>) {
        let further = self.scopes.0.read();
        // The bytes of each scope's spans, by stream.
        let mut spans = vec![0; 1 + further.len()];
        for item in batch.iter() {
            if let Some(bytes) = spans.get_mut(item.stream as usize) {
                *bytes += item.payload.len();
            }
        }
        let scopes = std::iter::once(&self.scope).chain(further.iter());
        let scopes = || (0..).zip(scopes.clone()).zip(&spans).filter(|(_, spans)| **spans > 0);
        let resource_spans =
            self.resource.len() + scopes().map(|((_, scope), spans)| field_length(scope.len() + spans)).sum::<usize>();
        body.reserve(field_length(resource_spans));
        body.push(RESOURCE_SPANS);
        put_varint(body, resource_spans as u64);
        body.extend_from_slice(&self.resource);
        for ((stream, scope), spans) in scopes() {
            body.push(SCOPE_SPANS);
            put_varint(body, (scope.len() + spans) as u64);
            body.extend_from_slice(scope);
            for item in batch.iter().filter(|item| item.stream == stream) {
                body.extend_from_slice(item.payload);
            }
        }
    }

    fn halve(&mut self, body: &[u8]) -> Option<[(Vec<u8>, usize); 2]> {
        let (one, other) = halve(body, SPAN_PATH)?;
        Some([one, other].map(|half| {
            let spans = count(&half, SPAN_PATH);
            (half, spans)
        }))
    }

    fn classify(&self, reply: &Reply) -> Verdict {
        match reply {
            Reply::Http { status, retry_after, body, .. } => {
                reply.redirect().unwrap_or_else(|| classify_http(*status, *retry_after, body))
            }
            Reply::Grpc { code, message, retry_delay, body, .. } => classify_grpc(*code, message, *retry_delay, body),
            _ => Verdict::Rejected { error: ErrorType::Other, message: "an unknown kind of answer".to_owned() },
        }
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

/// `ExportTraceServiceResponse.partial_success`: the number of refused spans, and why.
fn partial_success(body: &[u8]) -> Verdict {
    let (mut rejected, mut message) = (0, String::new());
    for field in Fields(body) {
        let Field::Bytes(1, partial) = field else { continue };
        for field in Fields(partial) {
            match field {
                Field::Varint(1, spans) => rejected = u64::try_from(spans.cast_signed()).unwrap_or(0),
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
    use lgtm_core::pipeline::Item;
    use opentelemetry_proto::tonic::collector::trace::v1::{
        ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
    };
    use opentelemetry_proto::tonic::trace::v1::Span;
    use prost::Message as _;

    #[test]
    fn a_batch_is_one_resource_with_one_scope_and_all_spans() {
        let mut payload = Vec::new();
        let span = Span { name: "work".to_owned(), ..Span::default() };
        put_bytes(&mut payload, length_tag(2), &span.encode_to_vec());
        let items = [Item { stream: 0, timestamp: 0, payload: &payload }; 3];
        let mut identity = Identity::new("shop");
        identity.set("region", "eu");
        let mut body = Vec::new();
        Otlp::new(&identity, Arc::default()).encode(&Batch::of(&items), &mut body);
        let request = ExportTraceServiceRequest::decode(body.as_slice()).unwrap();
        let [resource_spans] = request.resource_spans.as_slice() else { panic!("{request:?}") };
        let [scope_spans] = resource_spans.scope_spans.as_slice() else { panic!("{request:?}") };
        assert_eq!(scope_spans.spans, [span.clone(), span.clone(), span]);
        let names: Vec<_> =
            resource_spans.resource.as_ref().unwrap().attributes.iter().map(|pair| pair.key.as_str()).collect();
        assert_eq!(
            names,
            [
                "service.name",
                "service.instance.id",
                "region",
                "telemetry.sdk.name",
                "telemetry.sdk.language",
                "telemetry.sdk.version"
            ]
        );
    }

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
