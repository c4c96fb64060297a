//! The metrics of this crate, and the only place where their names stand: what is recorded, described and documented is made
//! from it.

use lgtm_core::catalogue::{Metric, MetricKind};
use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

pub(crate) const REQUESTS_TOTAL: &str = "http_requests_total";
pub(crate) const REQUEST_DURATION_SECONDS: &str = "http_request_duration_seconds";
pub(crate) const REQUESTS_ABORTED_TOTAL: &str = "http_requests_aborted_total";
pub(crate) const REQUEST_BODY_SIZE_BYTES: &str = "http_request_body_size_bytes";
pub(crate) const RESPONSE_BODY_SIZE_BYTES: &str = "http_response_body_size_bytes";
pub(crate) const ACTIVE_CONNECTIONS: &str = "active_connections";
pub(crate) const CLIENT_REQUESTS_TOTAL: &str = "http_client_requests_total";
pub(crate) const CLIENT_REQUEST_DURATION_SECONDS: &str = "http_client_request_duration_seconds";
#[cfg(feature = "tonic")]
pub(crate) use rpc::*;

/// Names of gRPC's metrics.
#[cfg_attr(not(feature = "tonic"), allow(dead_code, reason = "the catalogue has them, the layers are a feature"))]
mod rpc {
    pub(crate) const RPC_SERVER_REQUESTS_TOTAL: &str = "rpc_server_requests_total";
    pub(crate) const RPC_SERVER_REQUEST_DURATION_SECONDS: &str = "rpc_server_request_duration_seconds";
    pub(crate) const RPC_SERVER_ACTIVE_REQUESTS: &str = "rpc_server_active_requests";
    pub(crate) const RPC_CLIENT_REQUESTS_TOTAL: &str = "rpc_client_requests_total";
    pub(crate) const RPC_CLIENT_REQUEST_DURATION_SECONDS: &str = "rpc_client_request_duration_seconds";
}

/// Prometheus' default buckets, which lgtm's recorder has for these: it is told nothing of them.
const SECONDS: &[f64] = &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Buckets for the sizes of bodies, powers of four from 256 bytes to 16 MiB; OpenTelemetry's conventions advise none. The facade gives
/// them to its recorder. Another recorder has to be told, because the default ones are for seconds: lgtm-mimir's by
/// `buckets_for(Matcher::Suffix("_body_size_bytes".into()), lgtm_http::catalogue::BODY_BYTES)`.
pub const BODY_BYTES: &[f64] =
    &[256.0, 1024.0, 4096.0, 16_384.0, 65_536.0, 262_144.0, 1_048_576.0, 4_194_304.0, 16_777_216.0];

const OF_REQUEST: &[&str] = &["method", "path", "status"];
const OF_CLIENT: &[&str] = &["method", "server_address", "status"];
const OF_CALL: &[&str] = &["method", "code"];

const fn counter(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric { name, kind: MetricKind::Counter, unit: Unit::Count, labels, buckets: &[], help }
}

const fn gauge(name: &'static str, help: &'static str) -> Metric {
    Metric { name, kind: MetricKind::Gauge, unit: Unit::Count, labels: &[], buckets: &[], help }
}

const fn seconds(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric { name, kind: MetricKind::Histogram, unit: Unit::Seconds, labels, buckets: SECONDS, help }
}

const fn bytes(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric { name, kind: MetricKind::Histogram, unit: Unit::Bytes, labels, buckets: BODY_BYTES, help }
}

/// What [`ServerLayer`](crate::ServerLayer) records.
pub(crate) const SERVER: [Metric; 6] = [
    counter(REQUESTS_TOTAL, OF_REQUEST, "Requests served"),
    seconds(REQUEST_DURATION_SECONDS, OF_REQUEST, "Time from a request to the end of its answer"),
    counter(
        REQUESTS_ABORTED_TOTAL,
        &["method", "path", "reason"],
        "Requests whose answer did not come to its end: cancelled, panicked or failed",
    ),
    bytes(REQUEST_BODY_SIZE_BYTES, OF_REQUEST, "Bytes of request bodies, as their headers announce them"),
    bytes(RESPONSE_BODY_SIZE_BYTES, OF_REQUEST, "Bytes of response bodies that were sent"),
    gauge(ACTIVE_CONNECTIONS, "Requests in flight"),
];

/// What [`ClientLayer`](crate::ClientLayer) records.
pub(crate) const CLIENT: [Metric; 2] = [
    counter(CLIENT_REQUESTS_TOTAL, OF_CLIENT, "Requests sent; without an answer the status is a word"),
    seconds(CLIENT_REQUEST_DURATION_SECONDS, OF_CLIENT, "Time from a request to the end of its answer"),
];

/// What the server layer of gRPC records.
pub(crate) const RPC_SERVER: [Metric; 3] = [
    counter(rpc::RPC_SERVER_REQUESTS_TOTAL, OF_CALL, "Calls served"),
    seconds(rpc::RPC_SERVER_REQUEST_DURATION_SECONDS, OF_CALL, "Time from a call to the end of its answer"),
    gauge(rpc::RPC_SERVER_ACTIVE_REQUESTS, "Calls in flight"),
];

/// What the client layer of gRPC records.
pub(crate) const RPC_CLIENT: [Metric; 2] = [
    counter(rpc::RPC_CLIENT_REQUESTS_TOTAL, OF_CALL, "Calls made"),
    seconds(rpc::RPC_CLIENT_REQUEST_DURATION_SECONDS, OF_CALL, "Time from a call to the end of its answer"),
];

/// Every metric of this crate.
pub fn all() -> impl Iterator<Item = Metric> {
    SERVER.into_iter().chain(CLIENT).chain(RPC_SERVER).chain(RPC_CLIENT)
}

/// Says what these mean, and shows the gauges before the first request.
pub(crate) fn describe(metrics: &[Metric]) {
    for Metric { name, kind, unit, help, .. } in metrics {
        match kind {
            MetricKind::Counter => describe_counter!(*name, *unit, *help),
            MetricKind::Gauge => {
                describe_gauge!(*name, *unit, *help);
                metrics::gauge!(*name).increment(0.0);
            }
            MetricKind::Histogram => describe_histogram!(*name, *unit, *help),
        }
    }
}
