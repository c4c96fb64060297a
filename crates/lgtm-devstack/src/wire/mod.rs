//! Protobuf messages of the published Loki and Prometheus interfaces, derived with prost from their documented
//! field numbers. Nothing here is shared with the encoders of the library, so that a wrong field number there is
//! seen here. (The OTLP messages come from the crate `opentelemetry-proto`.)

pub mod loki;
pub mod prometheus;
