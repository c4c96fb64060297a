//! The operations, one file for each interface by which programs speak.

pub(crate) mod emit;
pub(crate) mod facades;
pub(crate) mod fastrace;
pub(crate) mod opentelemetry;
pub(crate) mod prometheus;
pub(crate) mod prometheus_client;
pub(crate) mod shapes;
