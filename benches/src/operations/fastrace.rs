//! By fastrace's interface: each span is a root. Its properties are text, so the number is written as text.

use fastrace::prelude::{Event, LocalSpan, Span, SpanContext};

use crate::meter::{Measured, Meter};
use crate::operation::Operation;

pub(crate) fn run(operation: Operation, meter: &Meter) -> Option<Measured> {
    Some(match operation {
        Operation::Span => meter.run(|| (), |(), number| drop(root(number))),
        Operation::SpanEvent => meter.run(
            || (),
            |(), number| {
                let span = root(number);
                let _current = span.set_local_parent();
                LocalSpan::add_event(Event::new("order placed").with_property(|| ("latency_ms", "12")));
            },
        ),
        _ => return None,
    })
}

#[inline(never)]
fn root(number: u64) -> Span {
    Span::root("request", SpanContext::random()).with_properties(|| {
        [
            ("method", "GET".into()),
            ("route", "/orders/{id}".into()),
            ("order_id", std::borrow::Cow::Owned(number.to_string())),
        ]
    })
}
