//! What the tests over several crates share.
//!
//! - [`signals`]: the layers under test, on one registry in any order, with their pipelines;
//! - [`client`]: a client for servers on this machine;
//! - [`capture`]: runs a piece of a program under them and gives back what arrived;
//! - [`workload`]: a program of many traces, and the proof that exactly what it made has arrived;
//! - [`delivery`]: runs it on a runtime, with the layers in an order, and proves that;
//! - [`counting`]: a recorder that counts exactly;
//! - [`discard`]: a backend that takes everything and keeps nothing, for measurements;
//! - [`silent`]: a backend that accepts connections and never answers;
//! - [`fuzz`]: what the fuzz targets do with any bytes;
//! - [`real`]: Loki, Tempo and Prometheus as child processes;
//! - [`storm`]: what the program `storm` tells of its run;

#![allow(
    clippy::print_stderr,
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests: a broken expectation is a failed test"
)]

pub mod capture;
pub mod client;
pub mod counting;
pub mod delivery;
pub mod discard;
pub mod fuzz;
pub mod real;
pub mod signals;
pub mod silent;
pub mod storm;
pub mod workload;
