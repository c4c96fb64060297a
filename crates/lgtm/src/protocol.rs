//! Which OTLP protocol an endpoint speaks, where nobody says.

use lgtm_core::Endpoint;
use lgtm_tempo::Protocol;

pub(crate) const GRPC_PORT: u16 = 4317;
pub(crate) const HTTP_PORT: u16 = 4318;

/// The port says it; with another port, a path does, which only HTTP has; else it is gRPC.
pub(crate) fn of_endpoint(endpoint: &Endpoint) -> Protocol {
    match endpoint.url.port() {
        Some(GRPC_PORT) => Protocol::Grpc,
        Some(HTTP_PORT) => Protocol::Http,
        _ if !matches!(endpoint.url.path(), "" | "/") => Protocol::Http,
        _ => Protocol::Grpc,
    }
}

/// Where Tempo listens by default.
pub(crate) fn default_url(protocol: Option<Protocol>) -> &'static str {
    match protocol {
        Some(Protocol::Http) => "http://localhost:4318",
        _ => "http://localhost:4317",
    }
}
