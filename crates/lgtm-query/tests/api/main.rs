//! The clients against small HTTP servers that answer with bodies in the shape that Loki, Tempo, Prometheus and Mimir send.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test, also in its helpers")]

mod failures;
mod loki;
mod prometheus;
mod server;
mod tail;
mod tempo;
mod tls;
