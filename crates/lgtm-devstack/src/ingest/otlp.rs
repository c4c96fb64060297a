//! OTLP traces over gRPC and over HTTP, in protobuf and in JSON.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use prost::Message;
use tonic::codec::CompressionEncoding;
use tonic::{Code, Request, Status};

use super::essence;
use super::otlp_json::{self, FromJson};
use crate::attribute::Attributes;
use crate::compression::{self, DecompressError};
use crate::devstack::Shared;
use crate::gate::PartialSuccess;
use crate::span::{ResourceRest, Scope, Span};

/// The gRPC service, accepting gzip.
pub(crate) fn grpc_service(shared: &Shared) -> TraceServiceServer<GrpcTraces> {
    TraceServiceServer::new(GrpcTraces { shared: shared.clone() })
        .accept_compressed(CompressionEncoding::Gzip)
        .max_decoding_message_size(shared.limits.decompressed_bytes)
}

pub(crate) struct GrpcTraces {
    shared: Shared,
}

#[tonic::async_trait]
impl TraceService for GrpcTraces {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, Status> {
        let partial = request.extensions().get::<PartialSuccess>().cloned();
        match store(&self.shared, request.into_inner(), partial) {
            Ok(response) => Ok(tonic::Response::new(response)),
            Err(message) => Err(Status::invalid_argument(message)),
        }
    }
}

/// `POST /v1/traces`.
pub(crate) async fn http_traces(
    State(shared): State<Shared>,
    partial: Option<Extension<PartialSuccess>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let (request, json) = match read::<ExportTraceServiceRequest>(&shared, &headers, body) {
        Ok(read) => read,
        Err(refusal) => return refusal,
    };
    match store(&shared, request, partial.map(|Extension(partial)| partial)) {
        Err(message) => failure(json, message),
        Ok(response) => {
            let partial = response.partial_success.as_ref();
            let partial = partial.map(|part| ("rejectedSpans", part.rejected_spans, part.error_message.as_str()));
            success(json, &response, partial)
        }
    }
}

/// Reads the body of a request, and whether it is JSON; else the answer that refuses it.
#[expect(clippy::result_large_err, reason = "an answer is made of it at once")]
pub(super) fn read<T: FromJson>(shared: &Shared, headers: &HeaderMap, body: Bytes) -> Result<(T, bool), Response> {
    let content_type = essence(headers, header::CONTENT_TYPE);
    let json = match content_type.as_str() {
        "application/x-protobuf" => false,
        "application/json" => true,
        other => {
            let text = format!(
                "content type {other:?} is not supported; supported are application/x-protobuf and application/json"
            );
            return Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, text).into_response());
        }
    };
    let limit = shared.limits.decompressed_bytes;
    let encoding = essence(headers, header::CONTENT_ENCODING);
    let body = match encoding.as_str() {
        "" | "identity" => body,
        "gzip" => match compression::gzip(&body, limit) {
            Ok(plain) => Bytes::from(plain),
            Err(error @ DecompressError::TooLarge(_)) => {
                return Err(failure(json, format!("request body too large: {error}")));
            }
            Err(error) => return Err(failure(json, error.to_string())),
        },
        other => {
            let text = format!("content encoding {other:?} is not supported; supported is gzip");
            return Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, text).into_response());
        }
    };
    let request = if json { otlp_json::decode(&body) } else { T::decode(body).map_err(|error| error.to_string()) };
    request.map(|request| (request, json)).map_err(|message| failure(json, message))
}

/// Status 200 in the request's encoding. In JSON a partial success has the number under the name of its signal.
pub(super) fn success<T: Message>(json: bool, response: &T, partial: Option<(&str, i64, &str)>) -> Response {
    if !json {
        return protobuf(StatusCode::OK, response);
    }
    let body = match partial {
        None => serde_json::json!({}),
        Some((name, rejected, message)) => {
            serde_json::json!({"partialSuccess": {name: rejected.to_string(), "errorMessage": message}})
        }
    };
    Json(body).into_response()
}

/// Status 400 with a `google.rpc.Status` in the request's encoding, as OTLP asks for.
pub(super) fn failure(json: bool, message: String) -> Response {
    if json {
        let body = serde_json::json!({"code": Code::InvalidArgument as i32, "message": message});
        return (StatusCode::BAD_REQUEST, Json(body)).into_response();
    }
    let status = tonic_types::Status { code: Code::InvalidArgument as i32, message, details: Vec::new() };
    protobuf(StatusCode::BAD_REQUEST, &status)
}

fn protobuf(status: StatusCode, message: &impl Message) -> Response {
    (status, [(header::CONTENT_TYPE, "application/x-protobuf")], message.encode_to_vec()).into_response()
}

/// Validates the whole request, then stores it; the error is for the client.
fn store(
    shared: &Shared,
    request: ExportTraceServiceRequest,
    partial: Option<PartialSuccess>,
) -> Result<ExportTraceServiceResponse, String> {
    let spans =
        || request.resource_spans.iter().flat_map(|resource| &resource.scope_spans).flat_map(|scope| &scope.spans);
    // Tempo refuses the batch for one such span.
    let invalid = spans().find_map(|span| {
        if !is_id(&span.trace_id, 16) {
            Some(format!(
                "trace id {:?} of span {:?}: ids must be 16 bytes, not all zero",
                const_hex::encode(&span.trace_id),
                span.name
            ))
        } else if !is_id(&span.span_id, 8) {
            Some(format!(
                "span id {:?} of span {:?}: ids must be 8 bytes, not all zero",
                const_hex::encode(&span.span_id),
                span.name
            ))
        } else {
            None
        }
    });
    if let Some(message) = invalid {
        let number = spans().count() as u64;
        shared.store.with_traces(|traces| traces.reject(number));
        return Err(message);
    }
    if partial.as_ref().is_none_or(|partial| partial.stored) {
        shared.store.with_traces(|traces| {
            for resource_spans in request.resource_spans {
                let mut resource = resource_spans.resource.unwrap_or_default();
                let rest = ResourceRest::take(&mut resource, resource_spans.schema_url);
                let resource = Arc::new(Attributes::from(resource.attributes));
                let mut shared_bytes = resource.size() + rest.as_ref().map_or(0, |rest| rest.size());
                for scope_spans in resource_spans.scope_spans {
                    let scope = scope_spans.scope.unwrap_or_default();
                    let scope = Arc::new(Scope::from_otlp(scope, scope_spans.schema_url));
                    shared_bytes += scope.size();
                    for span in scope_spans.spans {
                        let span = Span::from_otlp(span, &resource, &scope).with_resource_rest(&rest);
                        traces.push(span, std::mem::take(&mut shared_bytes));
                    }
                }
            }
        });
    }
    let partial_success = partial
        .map(|partial| ExportTracePartialSuccess { rejected_spans: partial.rejected, error_message: partial.message });
    Ok(ExportTraceServiceResponse { partial_success })
}

fn is_id(bytes: &[u8], length: usize) -> bool {
    bytes.len() == length && bytes.iter().any(|byte| *byte != 0)
}
