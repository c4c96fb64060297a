//! Development tasks: `cargo xtask demo`, `test` and `check`. Each says what it does, and exits non-zero if it fails.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command line tool speaks on its output")]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod cargo;
mod check;
mod demo;
mod test;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Development tasks of the workspace.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
pub(crate) struct CommandLine {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Runs two instrumented services under load, and proves that everything arrived and is linked.
    Demo(demo::Options),
    /// Builds and runs all tests: unit, integration and documentation tests.
    Test(test::Options),
    /// Checks the workspace: formatting, lints, documentation, dependency direction, and more.
    Check(check::Options),
}

fn main() -> ExitCode {
    let outcome = match CommandLine::parse().task {
        Task::Demo(options) => demo::run(options),
        Task::Test(options) => test::run(&options),
        Task::Check(options) => check::run(&options),
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
