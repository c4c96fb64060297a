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
use super::otlp_text::text_of;
use crate::attribute::{Attributes, Value};
use crate::devstack::Shared;
use crate::gate::PartialSuccess;
use crate::label_text;
use crate::read::parameters::now_ns;
use crate::store::Labels;

/// Attributes of a resource that are labels, by Loki's defaults (`default_resource_attributes_as_index_labels`).
const LABELS: [&str; 18] = [
    "service.name",
    "service.namespace",
    "service.instance.id",
    "deployment.environment",
    "deployment.environment.name",
    "cloud.region",
    "cloud.availability_zone",
    "k8s.cluster.name",
    "k8s.namespace.name",
    "k8s.pod.name",
    "k8s.container.name",
    "container.name",
    "k8s.replicaset.name",
    "k8s.deployment.name",
    "k8s.statefulset.name",
    "k8s.daemonset.name",
    "k8s.cronjob.name",
    "k8s.job.name",
];

/// Those of them that name the service where it has no name, by Loki's defaults (`discover_service_name`).
const NAMING: [&str; 3] = ["container.name", "k8s.container.name", "k8s.job.name"];

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
        match store(&self.shared, request.into_inner(), partial, Answers::AsOtlpSays) {
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
    match store(&shared, request, partial.map(|Extension(partial)| partial), Answers::AsOtlpSays) {
        Err(message) => otlp::failure(json, message),
        Ok(response) => {
            let partial = response.partial_success.as_ref();
            let partial =
                partial.map(|part| ("rejectedLogRecords", part.rejected_log_records, part.error_message.as_str()));
            otlp::success(json, &response, partial)
        }
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
    match store(&shared, request, partial.map(|Extension(partial)| partial), Answers::AsLokiDoes) {
        Err(message) => (StatusCode::BAD_REQUEST, message).into_response(),
        Ok(_) => StatusCode::NO_CONTENT.into_response(),
    }
}

/// What is said of a request some of whose records were not taken.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Answers {
    /// A partial success, unless none was.
    AsOtlpSays,
    /// An error, as Loki answers it, although it keeps the others.
    AsLokiDoes,
}

fn store(
    shared: &Shared,
    request: ExportLogsServiceRequest,
    partial: Option<PartialSuccess>,
    answers: Answers,
) -> Result<ExportLogsServiceResponse, String> {
    let mut partial_success = None;
    if partial.as_ref().is_none_or(|partial| partial.stored)
        && let Err(refused) = loki_push::keep(shared, streams(request))
    {
        if answers == Answers::AsLokiDoes || refused.entries >= refused.of {
            return Err(refused.text);
        }
        partial_success = Some(ExportLogsPartialSuccess {
            rejected_log_records: i64::try_from(refused.entries).unwrap_or(i64::MAX),
            error_message: refused.text,
        });
    }
    let scripted = partial.map(|partial| ExportLogsPartialSuccess {
        rejected_log_records: partial.rejected,
        error_message: partial.message,
    });
    Ok(ExportLogsServiceResponse { partial_success: scripted.or(partial_success) })
}

pub(crate) fn streams(request: ExportLogsServiceRequest) -> Vec<Stream> {
    // Of records without a time no two have the same: they would be repetitions.
    let mut arrivals = u64::try_from(now_ns()).unwrap_or_default()..;
    let mut streams = Vec::new();
    for resource_logs in request.resource_logs {
        let resource = Attributes::from(resource_logs.resource.unwrap_or_default().attributes);
        let (labels, shared) = of_resource(&resource);
        let mut entries = Vec::new();
        for scope_logs in resource_logs.scope_logs {
            let scope = scope_logs.scope.unwrap_or_default();
            let mut shared = shared.clone();
            for (name, value) in &Attributes::from(scope.attributes) {
                flatten(&mut shared, name, value);
            }
            for (name, value) in [
                ("scope_name", scope.name),
                ("scope_version", scope.version),
                ("scope_dropped_attributes_count", number(scope.dropped_attributes_count)),
            ] {
                if !value.is_empty() {
                    shared.insert(name.to_owned(), value);
                }
            }
            let records = scope_logs.log_records.into_iter().zip(&mut arrivals);
            entries.extend(records.map(|(record, arrival_ns)| entry(record, &shared, arrival_ns)));
        }
        streams.push(Stream { labels, entries });
    }
    streams
}

/// Labels of the stream, and what each of its lines has as structured metadata.
fn of_resource(resource: &Attributes) -> (Labels, Labels) {
    let (mut labels, mut shared) = (Labels::new(), Labels::new());
    for (name, value) in resource {
        let place = if LABELS.contains(&name) { &mut labels } else { &mut shared };
        flatten(place, name, value);
    }
    if resource.get("service.name").is_none_or(|name| text_of(name).is_empty()) {
        let naming = resource.iter().find(|(name, _)| NAMING.contains(name)).map(|(_, value)| text_of(value));
        labels.insert("service_name".to_owned(), naming.unwrap_or_else(|| "unknown_service".to_owned()));
    }
    (labels, shared)
}

/// A number that is only told if it is not zero.
fn number(number: u32) -> String {
    if number == 0 { String::new() } else { number.to_string() }
}

/// Where names are the same, the record's attributes give way to its fields, these to the resource, and that to the scope: as Loki has it.
fn entry(record: LogRecord, shared: &Labels, arrival_ns: u64) -> Entry {
    let mut metadata = Labels::new();
    for (name, value) in &Attributes::from(record.attributes) {
        flatten(&mut metadata, name, value);
    }
    let id = |bytes: &[u8]| {
        if bytes.iter().all(|byte| *byte == 0) { String::new() } else { const_hex::encode(bytes) }
    };
    let (time, observed) = (record.time_unix_nano, record.observed_time_unix_nano);
    for (name, value) in [
        ("observed_timestamp", if time != 0 && observed != 0 { observed.to_string() } else { String::new() }),
        ("severity_number", number(record.severity_number.cast_unsigned())),
        ("severity_text", record.severity_text),
        ("dropped_attributes_count", number(record.dropped_attributes_count)),
        ("flags", number(record.flags)),
        ("trace_id", id(&record.trace_id)),
        ("span_id", id(&record.span_id)),
        // Loki 3.7 drops it still, its main branch keeps it.
        ("event_name", record.event_name),
    ] {
        if !value.is_empty() {
            metadata.insert(name.to_owned(), value);
        }
    }
    metadata.extend(shared.clone());
    let time = [time, observed].into_iter().find(|time| *time != 0).unwrap_or(arrival_ns);
    Entry {
        timestamp_ns: i64::try_from(time).unwrap_or(i64::MAX),
        line: record.body.map(Value::from).map(|body| text_of(&body)).unwrap_or_default(),
        structured_metadata: metadata,
    }
}

/// Loki joins the names of nested values with underscores.
fn flatten(labels: &mut Labels, name: &str, value: &Value) {
    match value {
        Value::Map(nested) => {
            nested.iter().for_each(|(inner, value)| flatten(labels, &format!("{name}_{inner}"), value))
        }
        value => drop(labels.insert(label_text::sanitise(name), text_of(value))),
    }
}
