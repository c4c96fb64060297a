//! Operations that have a size: how the cost grows with it. Through `tracing` and `metrics`.

use super::facades::open;
use crate::meter::{Measured, Meter};

pub(crate) fn depth(meter: &Meter, spans: usize) -> Measured {
    meter.run(|| (), |(), number| nested(spans, number))
}

#[inline(never)]
fn nested(spans: usize, number: u64) {
    let Some(rest) = spans.checked_sub(1) else {
        tracing::info!(latency_ms = 12_u64, "order placed");
        return;
    };
    let _entered = tracing::info_span!("level", number).entered();
    nested(rest, number);
}

/// An event with the fields of these names.
macro_rules! with_fields {
    ($meter:ident, $($field:ident)*) => {
        $meter.run(open, |_, number| tracing::info!($($field = number,)* "order placed"))
    };
}

/// `None` for a number of fields that no callsite here has.
pub(crate) fn fields(meter: &Meter, fields: usize) -> Option<Measured> {
    Some(match fields {
        0 => meter.run(open, |_, _| tracing::info!("order placed")),
        8 => with_fields!(meter, a0 a1 a2 a3 a4 a5 a6 a7),
        16 => with_fields!(meter, a0 a1 a2 a3 a4 a5 a6 a7 b0 b1 b2 b3 b4 b5 b6 b7),
        // The message is the thirty-second.
        31 => with_fields!(
            meter, a0 a1 a2 a3 a4 a5 a6 a7 b0 b1 b2 b3 b4 b5 b6 b7 c0 c1 c2 c3 c4 c5 c6 c7 d0 d1 d2 d3 d4 d5 d6
        ),
        _ => return None,
    })
}

pub(crate) fn long_line(meter: &Meter, bytes: usize) -> Measured {
    let text = "the quick brown fox jumps over the lazy dog ".repeat(bytes / 44 + 1);
    let text = text.get(..bytes).unwrap_or(&text);
    meter.run(open, |_, number| tracing::info!(number, "{text}"))
}

/// Names that last for ever, as those of a program do.
fn names(count: usize) -> Vec<&'static str> {
    (0..count).map(|number| &*format!("name-{number}").leak()).collect()
}

pub(crate) fn series(meter: &Meter, count: usize) -> Measured {
    let names = names(count);
    let one = |number: u64| {
        if let Some(name) = names.get(number as usize % count) {
            metrics::counter!("http_requests_total", "method" => "GET", "customer" => *name).increment(1);
        }
    };
    (0..count as u64).for_each(one);
    meter.run(|| (), |(), number| one(number))
}

pub(crate) fn streams(meter: &Meter, count: usize) -> Measured {
    let names = names(count);
    let one = |number: u64| {
        if let Some(name) = names.get(number as usize % count) {
            tracing::info!(stream = *name, latency_ms = 12_u64, "order placed");
        }
    };
    (0..count as u64).for_each(one);
    meter.run(open, |_, number| one(number))
}

pub(crate) fn filled(meter: &Meter, lines: usize) -> Measured {
    for number in 0..lines {
        tracing::info!(number, latency_ms = 12_u64, status = "ok", "order placed");
    }
    super::facades::event(meter)
}
