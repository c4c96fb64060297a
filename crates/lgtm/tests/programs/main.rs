//! Real programs, as child processes that only environment variables configure, against embedded backends.
//!
//! A global subscriber is set once in a process, so each case has one of its own: this test binary starts itself again, with
//! the name of the program to run.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "tests and their programs fail by a panic and speak on standard output"
)]

mod admin;
mod authentication;
mod children;
mod clocks;
#[cfg(feature = "devstack")]
mod devstack;
mod ends;
mod errors;
#[cfg(unix)]
mod forks;
mod harness;
mod hostile;
#[cfg(target_os = "linux")]
mod idle;
mod lifecycle;
mod secrets;
mod signals;
mod waits;

/// Not a test of its own: the entry of the child processes.
#[test]
#[ignore = "the other tests run it as a child process"]
fn child() {
    if let Ok(name) = std::env::var(harness::PROGRAM) {
        children::run(&name);
    }
}
