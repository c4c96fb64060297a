//! The development stack against raw clients, which send bytes made by the independent types and read the answers as
//! any client would.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test, also in its helpers")]

mod auth;
mod client;
mod deltas;
mod hostile;
mod lifecycle;
mod loki;
mod native_histograms;
mod otlp;
mod otlp_json;
mod otlp_logs;
#[cfg(feature = "program")]
mod program;
mod remote_write;
mod scrape;
mod script;
mod tempo;
#[cfg(feature = "window")]
mod window;
#[cfg(feature = "window")]
mod window_export;
#[cfg(feature = "window")]
mod window_import;
#[cfg(feature = "window")]
mod window_store;
