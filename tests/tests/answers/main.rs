//! Answers: what follows from everything that a backend, or what stands in its place, can answer. Each test drives a real layer,
//! as programs run it: how often a request was sent, what was stored, what the report says.
//!
//! - `table.rs`: what a row of a table is, and how it runs; the tables are the promise for each backend:
//!   `loki.rs`, `tempo.rs` (HTTP and gRPC), `mimir.rs`;
//! - `credentials.rs`: credentials that are not taken: the slow probe, and what is said of it;
//! - `sender.rs`: a layer or recorder with its pipeline; `server.rs`: servers that do what a script says, down to the bytes;
//! - `hostile.rs`, `hostile_grpc.rs`: answers that are none: broken, endless, slow, missing; `tls.rs`: connections that are not
//!   trusted;
//! - `batches.rs`: requests stay under the backends' limits, an item that does not is dropped alone.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a failed step fails the test, also in its helpers"
)]

mod batches;
mod credentials;
mod hostile;
mod hostile_grpc;
mod loki;
mod mimir;
mod sender;
mod server;
mod table;
mod tempo;
mod tls;
