//! By the interface of the crate prometheus: handles, or a look-up by label values.

use prometheus::core::Collector;
use prometheus::{CounterVec, HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry, TextEncoder};

use super::facades::{seconds, series_name};
use crate::meter::{Measured, Meter};
use crate::operation::{BUCKETS, Operation, scraped};

const LABELS: [&str; 2] = ["GET", "/orders/{id}"];

pub(crate) fn run(operation: Operation, size: usize, meter: &Meter) -> anyhow::Result<Option<Measured>> {
    let registry = Registry::new();
    Ok(Some(match operation {
        Operation::Counter => {
            let counters = counters(&registry)?;
            meter.run(|| (), |(), _| counters.with_label_values(&LABELS).inc())
        }
        Operation::CounterHandle => {
            let counter = counters(&registry)?.with_label_values(&LABELS);
            meter.run(|| counter.clone(), |counter, _| counter.inc())
        }
        Operation::Histogram => {
            let histograms = histograms(&registry)?;
            meter.run(|| (), |(), number| histograms.with_label_values(&LABELS).observe(seconds(number)))
        }
        Operation::HistogramHandle => {
            let histogram = histograms(&registry)?.with_label_values(&LABELS);
            meter.run(|| histogram.clone(), |histogram, number| histogram.observe(seconds(number)))
        }
        Operation::Scrape => {
            let mut families = Vec::new();
            for family in 0..10 {
                let name = series_name(family).0;
                families.push(registered(&registry, CounterVec::new(Opts::new(name, "help"), &["method", "path"])?)?);
            }
            for number in 0..size {
                if let Some(family) = families.get(number % 10) {
                    family.with_label_values(&["GET", &series_name(number).1]).inc_by(number as f64);
                }
            }
            meter.run(|| (), |(), _| scraped(TextEncoder::new().encode_to_string(&registry.gather()).ok()))
        }
        _ => return Ok(None),
    }))
}

fn registered<C: Collector + Clone + 'static>(registry: &Registry, collector: C) -> anyhow::Result<C> {
    registry.register(Box::new(collector.clone()))?;
    Ok(collector)
}

fn counters(registry: &Registry) -> anyhow::Result<IntCounterVec> {
    registered(registry, IntCounterVec::new(Opts::new("http_requests_total", "help"), &["method", "route"])?)
}

fn histograms(registry: &Registry) -> anyhow::Result<HistogramVec> {
    let options = HistogramOpts::new("http_request_duration_seconds", "help").buckets(BUCKETS.to_vec());
    registered(registry, HistogramVec::new(options, &["method", "route"])?)
}
