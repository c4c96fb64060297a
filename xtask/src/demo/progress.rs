//! What a person sees while the load runs: on a terminal one live line, else a line every few seconds. Always on standard error.

use std::convert::Infallible;
use std::io::{IsTerminal as _, Write as _, stderr};
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};

use super::Backend;
use super::load::Counters;

/// Shows how the load goes until it is dropped.
pub(super) async fn show(length: Duration, counters: &Counters, backend: &Backend) -> Infallible {
    let live = stderr().is_terminal();
    let mut ticks = interval(if live { Duration::from_millis(250) } else { Duration::from_secs(3) });
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let started = Instant::now();
    ticks.tick().await;
    loop {
        ticks.tick().await;
        let line = line(started.elapsed().min(length), length, counters, backend);
        if live {
            // Without standard error there is nobody to tell.
            let _ = write!(stderr(), "\r\u{1b}[2K{line}");
            let _ = stderr().flush();
        } else {
            eprintln!("{line}");
        }
    }
}

/// Ends the live line.
pub(super) fn end() {
    if stderr().is_terminal() {
        let _ = write!(stderr(), "\r\u{1b}[2K");
    }
}

fn line(elapsed: Duration, length: Duration, counters: &Counters, backend: &Backend) -> String {
    let (requests, failed, slow) = counters.now();
    let mut line = format!(
        "  {:.0} s of {:.0} s: {requests} requests, {failed} failed, {slow} slow",
        elapsed.as_secs_f64(),
        length.as_secs_f64()
    );
    if let Backend::Devstack(stack) = backend {
        let counts = stack.counts();
        let (logs, spans, samples) = (counts.logs.received, counts.spans.received, counts.samples.received);
        line.push_str(&format!("; received {logs} log lines, {spans} spans, {samples} samples"));
    }
    line
}
