//! By the interface of the crate prometheus-client: handles, or a look-up by a set of labels.

use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::facades::{seconds, series_name};
use crate::meter::{Measured, Meter};
use crate::operation::{BUCKETS, Operation, scraped};

type Labels = [(&'static str, &'static str); 2];

const LABELS: Labels = [("method", "GET"), ("route", "/orders/{id}")];

#[derive(Clone)]
struct Buckets;

impl MetricConstructor<Histogram> for Buckets {
    fn new_metric(&self) -> Histogram {
        Histogram::new(BUCKETS)
    }
}

pub(crate) fn run(operation: Operation, size: usize, meter: &Meter) -> Option<Measured> {
    let mut registry = Registry::default();
    let counters = Family::<Labels, Counter>::default();
    let histograms = Family::<Labels, Histogram, Buckets>::new_with_constructor(Buckets);
    registry.register("http_requests", "help", counters.clone());
    registry.register("http_request_duration_seconds", "help", histograms.clone());
    Some(match operation {
        Operation::Counter => meter.run(
            || (),
            |(), _| {
                counters.get_or_create(&LABELS).inc();
            },
        ),
        Operation::CounterHandle => meter.run(
            || counters.get_or_create_owned(&LABELS),
            |counter, _| {
                counter.inc();
            },
        ),
        Operation::Histogram => {
            meter.run(|| (), |(), number| histograms.get_or_create(&LABELS).observe(seconds(number)))
        }
        Operation::HistogramHandle => meter
            .run(|| histograms.get_or_create_owned(&LABELS), |histogram, number| histogram.observe(seconds(number))),
        Operation::Scrape => {
            let families: Vec<_> = (0..10).map(|_| Family::<[(&str, String); 2], Counter>::default()).collect();
            for (number, family) in families.iter().enumerate() {
                registry.register(series_name(number).0.trim_end_matches("_total"), "help", family.clone());
            }
            for number in 0..size {
                if let Some(family) = families.get(number % 10) {
                    let labels = [("method", "GET".to_owned()), ("path", series_name(number).1)];
                    family.get_or_create(&labels).inc_by(number as u64);
                }
            }
            meter.run(
                || (),
                |(), _| {
                    let mut text = String::new();
                    let encoded = text::encode(&mut text, &registry);
                    scraped(encoded.is_ok().then_some(text));
                },
            )
        }
        _ => return None,
    })
}
