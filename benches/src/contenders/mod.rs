//! The contenders, one file each: set up as their own documentation shows.

pub(crate) mod emit;
pub(crate) mod fastrace;
pub(crate) mod lgtm;
pub(crate) mod metrics;
pub(crate) mod opentelemetry;
pub(crate) mod plain;
pub(crate) mod together;
pub(crate) mod tracing_loki;
