//! OTLP metrics over gRPC and over HTTP, in protobuf and in JSON: [translated](super::otlp_translation), then stored as
//! [remote write](super::remote_write) stores them.

use std::collections::BTreeSet;

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use http::HeaderMap;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsPartialSuccess, ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use tonic::codec::CompressionEncoding;
use tonic::{Request, Status};

use super::otlp_translation::Translation;
use super::{otlp, remote_write};
use crate::devstack::Shared;
use crate::gate::PartialSuccess;

/// How many of the problems the answer names.
const MAX_NAMED: usize = 10;

/// The gRPC service, accepting gzip.
pub(crate) fn grpc_service(shared: &Shared) -> MetricsServiceServer<GrpcMetrics> {
    MetricsServiceServer::new(GrpcMetrics { shared: shared.clone() })
        .accept_compressed(CompressionEncoding::Gzip)
        .max_decoding_message_size(shared.limits.decompressed_bytes)
}

pub(crate) struct GrpcMetrics {
    shared: Shared,
}

#[tonic::async_trait]
impl MetricsService for GrpcMetrics {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<tonic::Response<ExportMetricsServiceResponse>, Status> {
        let partial = request.extensions().get::<PartialSuccess>().cloned();
        Ok(tonic::Response::new(store(&self.shared, request.into_inner(), partial)))
    }
}

/// `POST /v1/metrics`, `/otlp/v1/metrics` and `/api/v1/otlp/v1/metrics`.
pub(crate) async fn http_metrics(
    State(shared): State<Shared>,
    partial: Option<Extension<PartialSuccess>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    match otlp::read(&shared, &headers, body) {
        Err(refusal) => refusal,
        Ok((request, json)) => {
            let response = store(&shared, request, partial.map(|Extension(partial)| partial));
            let partial = response.partial_success.as_ref();
            let partial =
                partial.map(|part| ("rejectedDataPoints", part.rejected_data_points, part.error_message.as_str()));
            otlp::success(json, &response, partial)
        }
    }
}

pub(crate) fn store(
    shared: &Shared,
    request: ExportMetricsServiceRequest,
    partial: Option<PartialSuccess>,
) -> ExportMetricsServiceResponse {
    let outcome = partial.as_ref().is_none_or(|partial| partial.stored).then(|| keep(shared, request));
    let partial_success = match (partial, outcome) {
        (Some(partial), _) => {
            Some(ExportMetricsPartialSuccess { rejected_data_points: partial.rejected, error_message: partial.message })
        }
        (None, Some((rejected, problems))) if !problems.is_empty() => {
            let named: Vec<&str> = problems.iter().take(MAX_NAMED).map(String::as_str).collect();
            let more = problems.len() - named.len();
            let more = if more > 0 { format!("\n({more} more)") } else { String::new() };
            // Nothing refused and a message is a warning: OTLP, "Partial Success".
            Some(ExportMetricsPartialSuccess {
                rejected_data_points: i64::try_from(rejected).unwrap_or(i64::MAX),
                error_message: named.join("\n") + &more,
            })
        }
        _ => None,
    };
    ExportMetricsServiceResponse { partial_success }
}

/// Stores what is valid; how many points were refused, and what was wrong with them.
fn keep(shared: &Shared, request: ExportMetricsServiceRequest) -> (usize, Vec<String>) {
    shared.store.with_deltas(|deltas| {
        let mut translation = Translation::new(deltas);
        for resource_metrics in request.resource_metrics {
            translation.resource(resource_metrics);
        }
        let translated = translation.end();
        remote_write::begin_at_zero(shared, translated.zeros);
        let (mut refused, mut problems) = (translated.refused, translated.problems);
        let stored = remote_write::store(shared, translated.request);
        // A point may have many series.
        let points = stored.iter().filter(|problem| problem.is_of_sample);
        let points: BTreeSet<u64> =
            points.filter_map(|problem| translated.points.get(problem.series?).copied()).collect();
        refused += points.len();
        problems.extend(stored.into_iter().map(|problem| problem.text));
        (refused, problems)
    })
}
