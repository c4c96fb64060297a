//! What one operation costs under one contender, in one process: CPU time of the calling thread and of all others, allocations,
//! time of the start and of the end. `cargo xtask bench` starts it again and again, for all contenders in turn.
//!
//! ```text
//! contender.rs: lgtm or a peer, set up as its documentation says ── operation.rs: what a program does ── meter.rs: what that takes
//! ```
//!
//! The process has one backend, a process of its own (`bin/backend.rs`), whose CPU time is so in no figure.
//!
//! Beside this package, outside the workspace, are the programs of `builds/`: as small as a program with lgtm or with a peer can be, so
//! that what a library adds to an executable, to a tree of crates and to a build can be measured. What an outage loses is in
//! `src/load/`.

mod contender;
mod contenders;
mod cpu;
mod meter;
mod operation;
mod operations;
mod process;

use std::time::{Duration, Instant};

use clap::Parser;
use serde::Serialize;

use contender::{Contender, Settings};
use meter::Meter;
use operation::Operation;

pub use process::{peak_bytes, resident_bytes};

/// Counts the allocations that the calling thread makes in a function.
pub type CountAllocations = fn(&mut dyn FnMut()) -> u64;

/// What one operation costs under one contender.
#[derive(Debug, Parser)]
struct CommandLine {
    /// What carries the telemetry.
    #[arg(value_enum)]
    contender: Contender,
    /// What is done again and again.
    #[arg(value_enum)]
    operation: Operation,
    /// Where everything is sent, as `http://127.0.0.1:<port>`.
    #[arg(long)]
    backend: String,
    /// How often it is done by each thread.
    #[arg(long, default_value_t = 20_000)]
    iterations: u64,
    /// How often before the clocks are read. The ids of the registry's spans come again after 8,191 on a thread.
    #[arg(long, default_value_t = 10_000)]
    warm_up: u64,
    /// How often without a pause.
    #[arg(long, default_value_t = 256)]
    burst: u64,
    /// The pause, in milliseconds: what exports keeps up, and nothing is dropped, which would be cheaper than to send it.
    #[arg(long, default_value_t = 5)]
    pause: u64,
    /// Threads that do it at the same time.
    #[arg(long, default_value_t = 1)]
    threads: u32,
    /// What the operation has a size of: spans above each other, fields, bytes of a line, series, streams, items in the queue.
    #[arg(long, default_value_t = 0)]
    size: usize,
    /// A full queue makes the calling thread wait, where the contender can do that.
    #[arg(long)]
    blocking: bool,
}

/// What is told at the end, as JSON.
#[derive(Debug, Serialize)]
struct Outcome {
    /// Operations that were measured.
    operations: u64,
    /// All of them: those before the clocks were read too.
    made: u64,
    caller_ns: f64,
    others_ns: f64,
    /// Absent where they are not counted.
    allocations: Option<f64>,
    start_seconds: f64,
    /// Of an empty pipeline; absent where there is nothing to flush.
    flush_seconds: Option<f64>,
    load_seconds: f64,
    shutdown_seconds: f64,
    resident_bytes: u64,
    peak_bytes: u64,
    /// Times that a thread of the process was woken, while nothing happened; absent unless that was asked for.
    wake_ups_per_second: Option<f64>,
    said: String,
}

/// Does what the command line asks for, and prints what it took as one line of JSON.
///
/// # Errors
/// If the contender cannot be started, or cannot do this operation.
pub fn run(count: Option<CountAllocations>) -> anyhow::Result<()> {
    let asked = CommandLine::parse();
    let settings = Settings { backend: asked.backend.clone(), blocking: asked.blocking };
    let started = Instant::now();
    let running = asked.contender.start(&settings)?;
    let start_seconds = started.elapsed().as_secs_f64();
    let flush_seconds = if asked.operation == Operation::Lifecycle { flush(running.as_ref())? } else { None };
    let meter = Meter {
        iterations: asked.iterations,
        warm_up_operations: asked.warm_up,
        burst: asked.burst.max(1),
        pause: Duration::from_millis(asked.pause),
        threads: asked.threads.max(1),
        count,
    };
    let resident_bytes = peak_before(asked.operation)?;
    let measured = operation::run(asked.contender, asked.operation, asked.size, running.as_ref(), &meter)?;
    let ending = Instant::now();
    let said = running.end();
    let shutdown_seconds = ending.elapsed().as_secs_f64();
    let operations = measured.operations.max(1) as f64;
    let outcome = Outcome {
        operations: measured.operations,
        made: measured.made,
        caller_ns: measured.caller.as_nanos() as f64 / operations,
        others_ns: measured.others_until_now().as_nanos() as f64 / measured.between_clocks.max(1) as f64,
        allocations: measured.allocations.map(|allocations| allocations as f64 / operations),
        start_seconds,
        flush_seconds,
        load_seconds: measured.wall.as_secs_f64(),
        shutdown_seconds,
        resident_bytes,
        peak_bytes: peak_bytes()?,
        wake_ups_per_second: measured.wake_ups_per_second,
        said,
    };
    say(&outcome)
}

/// The memory that the process has before the load; what has just been started has settled where that is what is asked.
fn peak_before(operation: Operation) -> anyhow::Result<u64> {
    if operation == Operation::Idle {
        std::thread::sleep(Duration::from_millis(500));
    }
    resident_bytes()
}

fn flush(running: &dyn contender::Running) -> anyhow::Result<Option<f64>> {
    let started = Instant::now();
    Ok(running.flush()?.then(|| started.elapsed().as_secs_f64()))
}

#[allow(clippy::print_stdout, reason = "a program tells its outcome")]
fn say(outcome: &Outcome) -> anyhow::Result<()> {
    println!("{}", serde_json::to_string(outcome)?);
    Ok(())
}
