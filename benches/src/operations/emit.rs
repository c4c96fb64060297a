//! By emit's interface. Its events are log records, not part of their span.

use crate::meter::{Measured, Meter};
use crate::operation::Operation;

pub(crate) fn run(operation: Operation, meter: &Meter) -> Option<Measured> {
    Some(match operation {
        Operation::Event => in_span(meter),
        Operation::Span => meter.run(|| (), |(), number| span(number)),
        Operation::SpanEvent => meter.run(|| (), |(), number| span_event(number)),
        _ => return None,
    })
}

#[emit::span("request", method: "GET", route: "/orders/{id}")]
fn in_span(meter: &Meter) -> Measured {
    meter.run(|| (), |(), number| emit::info!("order placed", order_id: number, latency_ms: 12, status: "ok"))
}

#[emit::span("request", method: "GET", route: "/orders/{id}", order_id)]
#[inline(never)]
fn span(order_id: u64) {}

#[emit::span("request", method: "GET", route: "/orders/{id}", order_id)]
#[inline(never)]
fn span_event(order_id: u64) {
    emit::info!("order placed", latency_ms: 12);
}
