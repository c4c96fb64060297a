//! Through `tracing` and `metrics`: what most programs do.

use std::time::Instant;

use metrics::{Counter, Histogram};
use tracing::span::EnteredSpan;

use crate::meter::{Measured, Meter};

/// A log event in a span that stays open.
pub(crate) fn event(meter: &Meter) -> Measured {
    meter.run(open, |_, number| log(number))
}

/// A span of two fields, entered.
pub(crate) fn open() -> EnteredSpan {
    tracing::info_span!("request", method = "GET", route = "/orders/{id}").entered()
}

#[inline(never)]
fn log(number: u64) {
    tracing::info!(order_id = number, latency_ms = 12_u64, status = "ok", "order placed");
}

pub(crate) fn span(meter: &Meter) -> Measured {
    meter.run(|| (), |(), number| empty_span(number))
}

#[inline(never)]
fn empty_span(order_id: u64) {
    let _entered = tracing::info_span!("request", method = "GET", route = "/orders/{id}", order_id).entered();
}

pub(crate) fn span_event(meter: &Meter) -> Measured {
    meter.run(|| (), |(), number| span_with_event(number))
}

#[inline(never)]
fn span_with_event(order_id: u64) {
    let span = tracing::info_span!("request", method = "GET", route = "/orders/{id}", order_id);
    span.in_scope(|| tracing::info!(latency_ms = 12_u64, "order placed"));
}

pub(crate) fn request(meter: &Meter) -> Measured {
    meter.run(|| (), |(), number| one_request(number))
}

#[inline(never)]
fn one_request(order_id: u64) {
    let span = tracing::info_span!("request", method = "GET", route = "/orders/{id}", order_id);
    span.in_scope(|| log(order_id));
}

/// What a program does whose span layer makes no metrics: the same two, by hand.
pub(crate) fn request_with_metrics(meter: &Meter) -> Measured {
    meter.run(
        || (),
        |(), number| {
            let began = Instant::now();
            one_request(number);
            metrics::counter!("otlp_spans_created_total", "service_name" => "cost", "span_kind" => "internal")
                .increment(1);
            metrics::histogram!("otlp_spans_duration_seconds", "service_name" => "cost", "span_kind" => "internal")
                .record(began.elapsed().as_secs_f64());
        },
    )
}

pub(crate) fn disabled(meter: &Meter) -> Measured {
    meter.run(|| (), |(), number| trace(number))
}

#[inline(never)]
fn trace(number: u64) {
    tracing::debug!(order_id = number, latency_ms = 12_u64, status = "ok", "order placed");
}

pub(crate) fn counter(meter: &Meter) -> Measured {
    meter.run(|| (), |(), _| the_counter().increment(1))
}

#[inline(never)]
fn the_counter() -> Counter {
    metrics::counter!("http_requests_total", "method" => "GET", "route" => "/orders/{id}")
}

pub(crate) fn histogram(meter: &Meter) -> Measured {
    meter.run(|| (), |(), number| the_histogram().record(seconds(number)))
}

#[inline(never)]
fn the_histogram() -> Histogram {
    metrics::histogram!("http_request_duration_seconds", "method" => "GET", "route" => "/orders/{id}")
}

/// Values over all buckets.
pub(crate) fn seconds(number: u64) -> f64 {
    (number % 1_000) as f64 / 1_000.0
}

pub(crate) fn counter_handle(meter: &Meter) -> Measured {
    meter.run(the_counter, |counter, _| counter.increment(1))
}

pub(crate) fn histogram_handle(meter: &Meter) -> Measured {
    meter.run(the_histogram, |histogram, number| histogram.record(seconds(number)))
}

pub(crate) fn histogram_in_span(meter: &Meter) -> Measured {
    meter.run(|| (open(), the_histogram()), |(_, histogram), number| histogram.record(seconds(number)))
}

/// As many counters, ten names of them.
pub(crate) fn series(count: usize) {
    for number in 0..count {
        let (name, path) = series_name(number);
        metrics::counter!(name, "method" => "GET", "path" => path).increment(number as u64);
    }
}

/// Name and label of one of many series.
pub(crate) fn series_name(number: usize) -> (String, String) {
    (format!("family_{}_total", number % 10), format!("/orders/{}", number / 10))
}
