//! One program under a steady load, with lgtm or one of its peers in it: what `cargo xtask outage` starts and watches.
//!
//! It speaks by lines. It says `idle {…}` when it is set up; at a line on standard input it makes the load and says `made {…}`; at
//! the next one it shuts down and says `ended {…}`.

#![allow(clippy::print_stdout, reason = "a program tells its outcome")]

mod contenders;
mod steady;

use std::io::BufRead as _;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Parser;
use serde::Serialize;

use contenders::Contender;

/// A program under load.
#[derive(Debug, Parser)]
struct CommandLine {
    /// What carries the telemetry.
    #[arg(value_enum)]
    contender: Contender,
    /// Where everything is sent, as `http://127.0.0.1:<port>`.
    #[command(flatten)]
    addresses: Addresses,
    /// Seconds of load.
    #[arg(long)]
    seconds: f64,
    /// Spans in a second; each has five events.
    #[arg(long, default_value_t = 2_000)]
    spans_per_second: u32,
}

/// Where the backends are.
#[derive(Debug, clap::Args)]
struct Addresses {
    /// Loki.
    #[arg(long)]
    loki: String,
    /// OTLP over HTTP.
    #[arg(long)]
    otlp: String,
    /// Mimir.
    #[arg(long)]
    mimir: String,
    /// The folder of the spool.
    #[arg(long)]
    spool: std::path::PathBuf,
}

#[derive(Serialize)]
struct Idle {
    resident_bytes: u64,
}

#[derive(Serialize)]
struct Ended {
    shutdown_seconds: f64,
    /// The most that was ever resident.
    peak_bytes: u64,
    /// What the library itself says that it has lost: events, spans; absent where it counts nothing.
    counted_events: Option<u64>,
    counted_spans: Option<u64>,
    /// What it says in words.
    said: String,
}

fn main() -> anyhow::Result<()> {
    let command_line = CommandLine::parse();
    let running = command_line.contender.start(&command_line.addresses)?;
    // Threads that have just been started have settled.
    std::thread::sleep(Duration::from_millis(300));
    say("idle", &Idle { resident_bytes: lgtm_benches::resident_bytes()? })?;
    let mut lines = std::io::stdin().lock().lines();
    lines.next().context("nobody says when to begin")??;
    say("made", &steady::make(command_line.spans_per_second, Duration::from_secs_f64(command_line.seconds)))?;
    lines.next().context("nobody says when to end")??;
    let started = Instant::now();
    let counted = running.end();
    let ended = Ended {
        shutdown_seconds: started.elapsed().as_secs_f64(),
        peak_bytes: lgtm_benches::peak_bytes()?,
        counted_events: counted.events,
        counted_spans: counted.spans,
        said: counted.said,
    };
    say("ended", &ended)
}

fn say(what: &str, of: &impl Serialize) -> anyhow::Result<()> {
    println!("{what} {}", serde_json::to_string(of)?);
    Ok(())
}
