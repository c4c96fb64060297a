//! The peers' composition: tracing-loki, tracing-opentelemetry over HTTP and metrics-exporter-prometheus in one program.

use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use super::metrics::Exporter;
use super::opentelemetry::{Sdk, Transport, provider};
use super::tracing_loki::{self, TracingLoki};
use crate::contender::{Running, Settings};

pub(crate) struct Together {
    loki: Box<TracingLoki>,
    sdk: Box<Sdk>,
    exporter: Box<Exporter>,
}

pub(crate) fn start(settings: &Settings) -> anyhow::Result<Together> {
    let (loki, controller, task) = tracing_loki::layer(settings)?;
    let sdk = provider(settings, Transport::Http)?;
    let exporter = Exporter::start()?;
    // Without it the exporters' own events become log lines.
    tracing_subscriber::registry()
        .with(LevelFilter::INFO)
        .with(loki)
        .with(tracing_opentelemetry::layer().with_tracer(sdk.tracer()))
        .try_init()?;
    Ok(Together {
        loki: Box::new(TracingLoki::run(controller, task)?),
        sdk: Box::new(sdk),
        exporter: Box::new(exporter),
    })
}

impl Running for Together {
    fn flush(&self) -> anyhow::Result<bool> {
        self.sdk.flush()
    }

    fn end(self: Box<Self>) -> String {
        [self.loki.end(), self.sdk.end(), self.exporter.end()].join("; ")
    }
}
