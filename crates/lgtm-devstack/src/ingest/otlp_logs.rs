//! OTLP logs over gRPC and over HTTP, in protobuf and in JSON, as Loki's own endpoint takes them: labels from the resource, the body as the
//! line, attributes as structured metadata. Source: Loki, "Ingesting logs to Loki using OpenTelemetry Collector", and its defaults.

use axum::Extension;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_server::{LogsService, LogsServiceServer};
use opentelemetry_proto::tonic::collector::logs::v1::{
    ExportLogsPartialSuccess, ExportLogsServiceRequest, ExportLogsServiceResponse,
};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use tonic::codec::CompressionEncoding;
use tonic::{Request, Status};

use super::loki_push::{self, Entry, Stream};
use super::otlp;
use crate::attribute::{Attributes, Value};
use crate::devstack::Shared;
use crate::gate::PartialSuccess;
use crate::label_text;
use crate::store::Labels;

/// Attributes of a resource that are labels, of those that Loki's default configuration names.
const LABELS: [&str; 10] = [
    "service.name",
    "service.namespace",
    "deployment.environment",
    "deployment.environment.name",
    "cloud.region",
    "k8s.namespace.name",
    "k8s.deployment.name",
    "k8s.pod.name",
    "k8s.container.name",
    "container.name",
];

/// The gRPC service, accepting gzip.
pub(crate) fn grpc_service(shared: &Shared) -> LogsServiceServer<GrpcLogs> {
    LogsServiceServer::new(GrpcLogs { shared: shared.clone() })
        .accept_compressed(CompressionEncoding::Gzip)
        .max_decoding_message_size(shared.limits.decompressed_bytes)
}

pub(crate) struct GrpcLogs {
    shared: Shared,
}

#[tonic::async_trait]
impl LogsService for GrpcLogs {
    async fn export(
        &self,
        request: Request<ExportLogsServiceRequest>,
    ) -> Result<tonic::Response<ExportLogsServiceResponse>, Status> {
        let partial = request.extensions().get::<PartialSuccess>().cloned();
        match store(&self.shared, request.into_inner(), partial) {
            Ok(response) => Ok(tonic::Response::new(response)),
            Err(message) => Err(Status::invalid_argument(message)),
        }
    }
}

/// `POST /v1/logs`, answered as OTLP says.
pub(crate) async fn http_logs(
    State(shared): State<Shared>,
    partial: Option<Extension<PartialSuccess>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let (request, json) = match otlp::read(&shared, &headers, body) {
        Ok(read) => read,
        Err(refusal) => return refusal,
    };
    match store(&shared, request, partial.map(|Extension(partial)| partial)) {
        Err(message) => otlp::failure(json, message),
        Ok(response) => otlp::success(json, &response),
    }
}

/// `POST /otlp/v1/logs`, answered as Loki does.
pub(crate) async fn loki_logs(
    State(shared): State<Shared>,
    partial: Option<Extension<PartialSuccess>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let (request, _) = match otlp::read(&shared, &headers, body) {
        Ok(read) => read,
        Err(refusal) => return refusal,
    };
    match store(&shared, request, partial.map(|Extension(partial)| partial)) {
        Err(message) => (StatusCode::BAD_REQUEST, message).into_response(),
        Ok(_) => StatusCode::NO_CONTENT.into_response(),
    }
}

fn store(
    shared: &Shared,
    request: ExportLogsServiceRequest,
    partial: Option<PartialSuccess>,
) -> Result<ExportLogsServiceResponse, String> {
    if partial.as_ref().is_none_or(|partial| partial.stored) {
        loki_push::keep(shared, streams(request))?;
    }
    let partial_success = partial.map(|partial| ExportLogsPartialSuccess {
        rejected_log_records: partial.rejected,
        error_message: partial.message,
    });
    Ok(ExportLogsServiceResponse { partial_success })
}

pub(crate) fn streams(request: ExportLogsServiceRequest) -> Vec<Stream> {
    let mut streams = Vec::new();
    for resource_logs in request.resource_logs {
        let resource = Attributes::from(resource_logs.resource.unwrap_or_default().attributes);
        let (mut labels, mut shared) = (Labels::new(), Labels::new());
        for (name, value) in &resource {
            let place = if LABELS.contains(&name) { &mut labels } else { &mut shared };
            flatten(place, name, value);
        }
        labels.entry("service_name".to_owned()).or_insert_with(|| "unknown_service".to_owned());
        let mut entries = Vec::new();
        for scope_logs in resource_logs.scope_logs {
            let scope = scope_logs.scope.unwrap_or_default();
            let mut metadata = shared.clone();
            if !scope.name.is_empty() {
                metadata.insert("scope_name".to_owned(), scope.name);
            }
            if !scope.version.is_empty() {
                metadata.insert("scope_version".to_owned(), scope.version);
            }
            entries.extend(scope_logs.log_records.into_iter().map(|record| entry(record, metadata.clone())));
        }
        streams.push(Stream { labels, entries });
    }
    streams
}

fn entry(record: LogRecord, mut metadata: Labels) -> Entry {
    for (name, value) in &Attributes::from(record.attributes) {
        flatten(&mut metadata, name, value);
    }
    let mut say = |name: &str, value: String| drop(metadata.insert(name.to_owned(), value));
    if record.severity_number != 0 {
        say("severity_number", record.severity_number.to_string());
    }
    if !record.severity_text.is_empty() {
        say("severity_text", record.severity_text);
    }
    if !record.trace_id.is_empty() {
        say("trace_id", const_hex::encode(&record.trace_id));
    }
    if !record.span_id.is_empty() {
        say("span_id", const_hex::encode(&record.span_id));
    }
    if record.flags != 0 {
        say("flags", record.flags.to_string());
    }
    if record.dropped_attributes_count != 0 {
        say("dropped_attributes_count", record.dropped_attributes_count.to_string());
    }
    let time = if record.time_unix_nano == 0 { record.observed_time_unix_nano } else { record.time_unix_nano };
    Entry {
        timestamp_ns: i64::try_from(time).unwrap_or(i64::MAX),
        line: record.body.map(Value::from).map(|body| body.to_string()).unwrap_or_default(),
        structured_metadata: metadata,
    }
}

/// Loki joins the names of nested values with underscores.
fn flatten(labels: &mut Labels, name: &str, value: &Value) {
    match value {
        Value::Map(nested) => {
            nested.iter().for_each(|(inner, value)| flatten(labels, &format!("{name}_{inner}"), value))
        }
        value => drop(labels.insert(label_text::sanitise(name), value.to_string())),
    }
}
