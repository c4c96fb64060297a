//! Which OTLP protocol an endpoint speaks, where nobody says.

use lgtm_core::Endpoint;
use lgtm_core::otlp::Protocol;

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

/// Where this protocol usually listens.
pub(crate) fn usual_port(protocol: Protocol) -> u16 {
    match protocol {
        Protocol::Http => HTTP_PORT,
        _ => GRPC_PORT,
    }
}

/// Whether the endpoint has the usual port of the other protocol: a mistake that would else show itself as a connection error.
pub(crate) fn has_port_of_the_other(endpoint: &Endpoint, protocol: Protocol) -> bool {
    match protocol {
        Protocol::Http => endpoint.url.port() == Some(GRPC_PORT),
        _ => endpoint.url.port() == Some(HTTP_PORT),
    }
}
