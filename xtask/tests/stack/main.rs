//! `cargo xtask stack`, `status`, `doctor` and `demo --against stack` with the programs of the path: Loki, Tempo, Prometheus,
//! Alertmanager and node-exporter. What is not on the path is skipped, and said; `LGTM_REAL=require` makes it a failure.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, missing_docs, reason = "tests")]

mod alert;
mod doctor;
mod failures;
mod harness;
mod outage;
mod pages;
mod profiles;
mod scenario;
