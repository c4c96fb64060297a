//! The ingest endpoints: decode, validate as the real server does, store, answer as it answers. They run on the
//! connection's task, behind the [gate](crate::gate).

pub(crate) mod loki_push;
pub(crate) mod otlp;
pub(crate) mod otlp_json;
pub(crate) mod otlp_logs;
pub(crate) mod otlp_metrics;
mod otlp_names;
mod otlp_points;
mod otlp_text;
mod otlp_translation;
pub(crate) mod remote_write;

use http::{HeaderMap, HeaderName};

/// A header's value up to the first `;`, in lower case; empty if absent.
fn essence(headers: &HeaderMap, name: HeaderName) -> String {
    let value = headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}
