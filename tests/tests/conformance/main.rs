//! Conformance: one table of behaviours, each run through both front doors for spans (lgtm's own layer, and the
//! `opentelemetry` one) over both protocols, and checked on what a receiver with decoders of its own has got.
//!
//! - `harness.rs`: what a row is and how it runs;
//! - one file a topic with its rows; a row whose other door differs says why;
//! - `tracing_opentelemetry.rs`: the tests that tracing-opentelemetry publishes, retold as rows, and which of them do not
//!   apply.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a failed step fails the row, also in its helpers"
)]

mod details;
mod events;
mod fields;
mod harness;
mod keep;
mod lifetimes;
mod limits;
mod links;
mod logs;
mod metrics;
mod names;
mod propagation;
mod redaction;
mod run_time;
mod sampling;
mod tracing_opentelemetry;
mod tree;

use std::collections::HashSet;

use harness::{Door, Row, run_all};
use lgtm_tempo::Protocol;

/// The whole table.
fn table() -> Vec<Row> {
    let topics = [
        names::rows(),
        fields::rows(),
        events::rows(),
        tree::rows(),
        lifetimes::rows(),
        links::rows(),
        limits::rows(),
        details::rows(),
        run_time::rows(),
        propagation::rows(),
        sampling::rows(),
        keep::rows(),
        logs::rows(),
        metrics::rows(),
        redaction::rows(),
        tracing_opentelemetry::rows(),
    ];
    topics.into_iter().flatten().collect()
}

#[test]
fn the_table_has_a_hundred_rows_that_all_say_something_else() {
    let rows = table();
    let behaviours: HashSet<&str> = rows.iter().map(|row| row.behaviour).collect();
    assert_eq!(behaviours.len(), rows.len());
    assert!(rows.len() >= 100, "{}", rows.len());
}

#[test]
fn own_layer_over_grpc() {
    run_all(&table(), Door::Native, Protocol::Grpc);
}

#[test]
fn own_layer_over_http() {
    run_all(&table(), Door::Native, Protocol::Http);
}

#[test]
fn opentelemetry_over_grpc() {
    run_all(&table(), Door::OpenTelemetry, Protocol::Grpc);
}

#[test]
fn opentelemetry_over_http() {
    run_all(&table(), Door::OpenTelemetry, Protocol::Http);
}
