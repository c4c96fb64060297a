//! Encode: OTLP's export request around spans that are bytes already. Worker thread. Source: opentelemetry-proto.

use std::sync::Arc;

use lgtm_core::pipeline::{Batch, Reply, Signal, Verdict};
use lgtm_core::protobuf::{count, field_length, halve, length_tag, put_varint};
use lgtm_core::{Identity, SignalKind, otlp};
use parking_lot::RwLock;

pub(crate) const HTTP_PATH: &str = "/v1/traces";
pub(crate) const GRPC_PATH: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

/// The instrumentation scope of spans from `tracing`.
pub(crate) const SCOPE_NAME: &str = "lgtm-tempo";
pub(crate) const SCOPE_VERSION: &str = env!("CARGO_PKG_VERSION");

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
        Self { resource: otlp::resource(identity), scope: otlp::scope(SCOPE_NAME, SCOPE_VERSION), scopes }
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
        otlp::classify(reply)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lgtm_core::pipeline::Item;
    use lgtm_core::protobuf::put_bytes;
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
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
}
