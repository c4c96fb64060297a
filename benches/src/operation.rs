//! What a program does, and which contenders can be asked to do it. The operations of each interface are in a file of their own, with
//! the same names, fields and values.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use clap::ValueEnum;

use crate::contender::{Contender, Interface, Running};
use crate::meter::{Measured, Meter};
use crate::operations::{emit, facades, fastrace, opentelemetry, prometheus, prometheus_client, shapes};
use crate::process;

/// What is done again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Operation {
    /// An event with a message and three fields, in a span of two fields that stays open.
    Event,
    /// A span with three fields.
    Span,
    /// A span with three fields, and in it an event with a message and one field.
    SpanEvent,
    /// A span with three fields, and in it an event with a message and three fields; where the contender makes no metrics of spans,
    /// the program counts the span and records its time.
    Request,
    /// An event that the filter refuses.
    Disabled,
    /// As many spans of one field above each other, with an event in the innermost.
    Depth,
    /// An event with as many fields: 0, 8, 16 or 31.
    Fields,
    /// An event with a message of as many bytes.
    LongLine,
    /// A counter with two labels, by the macro.
    Counter,
    /// A histogram with two labels, by the macro.
    Histogram,
    /// A counter whose handle the program holds.
    CounterHandle,
    /// A histogram whose handle the program holds.
    HistogramHandle,
    /// The same within a span, which may be its exemplar.
    HistogramInSpan,
    /// The text of as many series.
    Scrape,
    /// A push of as many series: collected, encoded, compressed and sent, while the caller waits.
    RemoteWrite,
    /// A counter by the macro, each time another of as many series.
    Series,
    /// An event, each time of another of as many streams.
    Streams,
    /// An event, with as many in the queue already: of a backend that is not there.
    Filled,
    /// Nothing, for three seconds.
    Idle,
    /// Nothing: only the start, the flush and the end.
    Lifecycle,
}

/// How long nothing happens.
const IDLE: Duration = Duration::from_secs(3);
/// Buckets of histograms.
pub(crate) const BUCKETS: [f64; 11] = lgtm_mimir::DEFAULT_BUCKETS;

/// # Errors
/// If the contender cannot do this.
pub(crate) fn run(
    contender: Contender,
    operation: Operation,
    size: usize,
    running: &dyn Running,
    meter: &Meter,
) -> anyhow::Result<Measured> {
    match operation {
        Operation::Lifecycle => return Ok(Measured::nothing()),
        Operation::Idle => return idle(),
        _ => {}
    }
    let measured = match contender.interface() {
        Interface::Facades => match operation {
            Operation::Event => Some(facades::event(meter)),
            Operation::Span => Some(facades::span(meter)),
            Operation::SpanEvent => Some(facades::span_event(meter)),
            Operation::Request if contender == Contender::Together => Some(facades::request_with_metrics(meter)),
            Operation::Request => Some(facades::request(meter)),
            Operation::Disabled => Some(facades::disabled(meter)),
            Operation::Depth => Some(shapes::depth(meter, size)),
            Operation::Fields => shapes::fields(meter, size),
            Operation::LongLine => Some(shapes::long_line(meter, size)),
            Operation::Counter => Some(facades::counter(meter)),
            Operation::Histogram => Some(facades::histogram(meter)),
            Operation::CounterHandle => Some(facades::counter_handle(meter)),
            Operation::HistogramHandle => Some(facades::histogram_handle(meter)),
            Operation::HistogramInSpan => Some(facades::histogram_in_span(meter)),
            Operation::Series => Some(shapes::series(meter, size.max(1))),
            Operation::Streams => Some(shapes::streams(meter, size.max(1))),
            Operation::Filled => Some(shapes::filled(meter, size)),
            Operation::Scrape => {
                facades::series(size);
                // Nothing is sent: the last push, of all of them, is no part of it.
                Some(meter.run(|| (), |(), _| scraped(running.scrape().ok().flatten())).until_here())
            }
            Operation::RemoteWrite => {
                facades::series(size);
                Some(meter.run(|| (), |(), _| pushed(running.flush())).until_here())
            }
            Operation::Idle | Operation::Lifecycle => None,
        },
        Interface::Opentelemetry => opentelemetry::run(operation, meter),
        Interface::Fastrace => fastrace::run(operation, meter),
        Interface::Emit => emit::run(operation, meter),
        Interface::Prometheus => prometheus::run(operation, size, meter)?,
        Interface::PrometheusClient => prometheus_client::run(operation, size, meter),
    };
    measured.with_context(|| format!("{contender:?} cannot do {operation:?} of size {size}"))
}

/// A scrape that gave nothing would be quick.
pub(crate) fn scraped(text: Option<String>) {
    let text = std::hint::black_box(text);
    assert!(text.is_some_and(|text| !text.is_empty()), "the scrape is empty");
}

/// A push that failed, or was none, would be quick.
fn pushed(flushed: anyhow::Result<bool>) {
    assert!(flushed.unwrap_or(false), "the series were not pushed");
}

fn idle() -> anyhow::Result<Measured> {
    let mut measured = Measured::nothing();
    let (before, began) = (process::voluntary_switches()?, Instant::now());
    std::thread::sleep(IDLE);
    let (after, took) = (process::voluntary_switches()?, began.elapsed());
    // The main thread's own sleep is one.
    let Some(switches) = after.checked_sub(before + 1) else { bail!("a thread ended while nothing happened") };
    measured.wake_ups_per_second = Some(switches as f64 / took.as_secs_f64());
    Ok(measured)
}
