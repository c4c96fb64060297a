//! What others see of the metrics: scrapers, a remote write backend, other implementations.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "helpers of tests: a failure is the test's, and a skipped test says so"
)]

mod exposition;
#[cfg(feature = "opentelemetry")]
mod opentelemetry;
mod oracle;
mod otlp;
mod protobuf;
mod push;
mod routes;
mod scrape;
mod summaries;
mod versions;

use std::collections::BTreeMap;

use lgtm_devstack::exposition::{ExposedSample, Exposition};
use lgtm_mimir::{Format, Mimir};

/// The exposition as an independent reader understands it.
fn parsed(mimir: &Mimir, format: Format) -> Exposition {
    let text = mimir.render(format);
    let known = lgtm_devstack::exposition::Format::from_content_type(format.content_type());
    lgtm_devstack::exposition::parse(&text, known).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// The samples of the program, without those that lgtm adds about itself.
fn samples(exposition: &Exposition) -> impl Iterator<Item = &ExposedSample> {
    exposition.samples.iter().filter(|sample| !sample.labels["__name__"].starts_with("otlp_"))
}

/// Values by series. Bounds are compared as numbers.
fn values(exposition: &Exposition) -> BTreeMap<BTreeMap<String, String>, f64> {
    samples(exposition)
        .map(|sample| {
            let mut labels: BTreeMap<_, _> = sample.labels.clone().into_iter().collect();
            if let Some(le) = labels.get_mut("le") {
                *le = le.parse::<f64>().unwrap().to_string();
            }
            (labels, sample.value)
        })
        .collect()
}

fn one(exposition: &Exposition, name: &str) -> f64 {
    let found: Vec<_> = samples(exposition).filter(|sample| sample.labels["__name__"] == name).collect();
    assert_eq!(found.len(), 1, "{name}: {found:?}");
    found[0].value
}
