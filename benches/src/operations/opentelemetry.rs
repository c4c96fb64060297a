//! By OpenTelemetry's own interface.

use opentelemetry::trace::{Span as _, Tracer as _};
use opentelemetry::{KeyValue, global};

use crate::meter::{Measured, Meter};
use crate::operation::Operation;

pub(crate) fn run(operation: Operation, meter: &Meter) -> Option<Measured> {
    let with_event = match operation {
        Operation::Span => false,
        Operation::SpanEvent => true,
        _ => return None,
    };
    Some(meter.run(
        || global::tracer("cost"),
        |tracer, number| {
            let order_id = number.cast_signed();
            let mut span = tracer
                .span_builder("request")
                .with_attributes([
                    KeyValue::new("method", "GET"),
                    KeyValue::new("route", "/orders/{id}"),
                    KeyValue::new("order_id", order_id),
                ])
                .start(tracer);
            if with_event {
                span.add_event("order placed", vec![KeyValue::new("latency_ms", 12)]);
            }
            span.end();
        },
    ))
}
