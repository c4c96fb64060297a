//! The load: spans of two fields, each with five events of three fields, at a steady rate, on one thread. Every span and every event
//! has a number, by which the server knows it again.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;

/// Events of one span.
const EVENTS: u64 = 5;
/// How long the thread sleeps between two bursts.
const TICK: Duration = Duration::from_millis(5);

/// What was made, and what that took.
#[derive(Debug, Serialize)]
pub(crate) struct Made {
    spans: u64,
    events: u64,
    seconds: f64,
    /// CPU time of the thread, the pacing included.
    caller_seconds: f64,
}

/// Makes the load.
pub(crate) fn make(spans_per_second: u32, length: Duration) -> Made {
    let (started, cpu) = (Instant::now(), thread_time());
    let total = (length.as_secs_f64() * f64::from(spans_per_second)).round() as u64;
    let mut spans = 0;
    while spans < total {
        let due = (started.elapsed().as_secs_f64() * f64::from(spans_per_second)) as u64;
        while spans < due.min(total) {
            request(spans);
            spans += 1;
        }
        std::thread::sleep(TICK);
    }
    let caller = thread_time().saturating_sub(cpu);
    Made {
        spans,
        events: spans * EVENTS,
        seconds: started.elapsed().as_secs_f64(),
        caller_seconds: caller.as_secs_f64(),
    }
}

/// One request of a program.
#[inline(never)]
fn request(number: u64) {
    let span = tracing::info_span!("request", span_seq = number, route = "/orders/{id}");
    let _entered = span.enter();
    for event in 0..EVENTS {
        tracing::info!(seq = number * EVENTS + event, latency_ms = 12_u64, status = "ok", "order placed");
    }
}

fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}
