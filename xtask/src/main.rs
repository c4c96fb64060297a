//! Development tasks: `cargo xtask demo`, `stack`, `doctor`, `query`, `loadgen`, `soak`, `outage`, `bench`, `release`, `test` and
//! `check`. Each says what it does, and exits non-zero if it fails.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command line tool speaks on its output")]
#![cfg_attr(test, allow(clippy::unwrap_used))]

#[macro_use]
mod output;

mod access;
mod bench;
mod cargo;
mod changelog;
mod check;
mod demo;
mod doctor;
mod loadgen;
mod outage;
mod query;
mod receiver;
mod release;
mod servers;
mod shop;
mod soak;
mod stack;
mod table;
mod test;
mod trip;

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
    /// Runs the stack: Loki, Tempo, Mimir, Grafana, and what watches them.
    Stack(stack::Options),
    /// Checks the way of logs, traces and metrics to their backends and back, for the settings in the environment.
    Doctor(doctor::Options),
    /// Asks Loki, Tempo, and Prometheus or Mimir in their languages, and shows the answers.
    Query(query::Options),
    /// Sends logs, traces and metrics of many made-up programs at a set rate, through lgtm, and accounts for each.
    Loadgen(loadgen::Options),
    /// Runs a program for a long time against backends that are up, slow, wrong and down in turn, and checks what was promised.
    Soak(soak::Options),
    /// Takes all backends away for a while, from lgtm and from its peers, and shows what each has lost.
    Outage(outage::Options),
    /// Measures what an operation costs, with lgtm and with its peers, in turn, and shows the ratios.
    Bench(bench::Options),
    /// What a release needs beside cargo.
    Release(release::Options),
    /// Builds and runs all tests: unit, integration and documentation tests.
    Test(test::Options),
    /// Checks the workspace: formatting, lints, documentation, dependency direction, and more.
    Check(check::Options),
    /// One item of each signal, for `stack status` and `doctor`.
    #[command(hide = true)]
    WriteOne(trip::Options),
    /// The program under test of `soak`.
    #[command(hide = true)]
    SoakProgram(soak::program::Options),
}

fn main() -> ExitCode {
    if let Some(code) = check::stand_in_for_rustdoc() {
        return code;
    }
    let outcome = match CommandLine::parse().task {
        Task::Demo(options) => demo::run(options),
        Task::Stack(options) => stack::run(&options),
        Task::Doctor(options) => doctor::run(&options),
        Task::Query(options) => query::run(&options),
        Task::Loadgen(options) => loadgen::run(&options),
        Task::Soak(options) => soak::run(&options),
        Task::Outage(options) => outage::run(&options),
        Task::WriteOne(options) => trip::write_one(&options),
        Task::SoakProgram(options) => soak::program::run(&options),
        Task::Bench(options) => bench::run(&options),
        Task::Release(options) => release::run(&options),
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

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_sound() {
        CommandLine::command().debug_assert();
    }
}
