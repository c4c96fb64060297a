//! What libraries record through the OpenTelemetry metrics API, beside what the program records through `metrics`: in the same
//! scrape, the same remote write, the same OTLP push.
//!
//! ```no_run
//! use opentelemetry::{KeyValue, global};
//!
//! let mimir = lgtm_mimir::builder().push(lgtm_core::Endpoint::parse("http://localhost:9009")?).build()?;
//! mimir.install()?;
//! global::set_meter_provider(mimir.meter_provider()?);
//!
//! // In a library: `orders_total{kind="web",otel_scope_name="shop"}`.
//! let orders = global::meter("shop").u64_counter("orders").with_unit("{order}").build();
//! orders.add(1, &[KeyValue::new("kind", "web")]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What becomes of an instrument
//!
//! | instrument | exposed as |
//! |---|---|
//! | `Counter`, `ObservableCounter` | counter, `…_total` |
//! | `UpDownCounter`, `ObservableUpDownCounter`, `Gauge`, `ObservableGauge` | gauge |
//! | `Histogram` | histogram with the boundaries of the instrument, else the SDK's |
//! | `Histogram` as an exponential one | native histogram; text formats have its sum and count |
//!
//! - **Name**: by Prometheus' characters, then the unit as a word (`s`: `_seconds`, `By/s`: `_bytes_per_second`, `{request}` and `1`:
//!   nothing), then `_total`. The description is the help, unless the metric is described already; a unit in common use is metadata too.
//! - **Labels**: attributes as labels of the `metrics` crate, secrets redacted; values that are no text as JSON. The library that
//!   speaks is in `otel_scope_name`, `otel_scope_version`, `otel_scope_schema_url` and `otel_scope_…` for its attributes. Keys that
//!   become equal have their values joined by `;`.
//! - **Rules** of the recorder that name a histogram, as it is exposed, hold here too: [`Builder::buckets_for`](crate::Builder::buckets_for),
//!   and [`Builder::native_histograms_for`](crate::Builder::native_histograms_for), which makes it an exponential one. Its default
//!   buckets do not: the SDK has its own, which an instrument may replace.
//! - An observable instrument that says nothing of an attribute set any more ends its series; all others live as long as the provider.
//!
//! # Limits
//!
//! Those of the recorder, each counted in `otlp_metrics_series_refused_total`; and the SDK's, which tells 2,000 attribute sets of an
//! instrument apart. What is beyond either counts in one series for each library with the label `otel_metric_overflow="true"`. A name
//! that belongs to a metric of another type is not exposed (`type_conflict`), a series that the `metrics` crate has with the very same
//! labels neither (`series_conflict`): the first one stays.
//!
//! There are no exemplars: this version of the Rust SDK keeps none. A program's own histograms, through `metrics`, have them.
//!
//! # Callbacks
//!
//! Observable instruments are asked whenever metrics are scraped, pushed or rendered, on a thread of its own (`lgtm-callbacks`), where
//! lgtm's layers see nothing. A callback that takes longer than a second is waited for no longer: what is exposed then is what was
//! read before (`callback_late`). One that panics says nothing this time, and is asked again the next (`callback_panic`). One that asks
//! for a new instrument gets one that does nothing (`callback_instrument`): the SDK would never come back.
//!
//! All that is so for the instruments of [`MeterProvider`]. A provider of the program's own, with the [`Reader`] of
//! [`Mimir::opentelemetry_reader`](crate::Mimir::opentelemetry_reader) and views of its own, leaves the last two to the SDK: a panic
//! ends the collection of its metrics for good. The recorder goes on.
//!
//! In a child that was forked these metrics are not exposed: provider and instruments are the parent's.

mod collector;
mod mirror;
mod name;
mod point;
mod provider;
mod reader;

pub use provider::MeterProvider;
pub use reader::Reader;

pub(crate) use collector::Collector;

use std::io;
use std::sync::Arc;

use lgtm_core::pipeline::Pipeline;

use crate::registry::Registry;

/// A reader whose metrics go into this registry.
pub(crate) fn reader(registry: &Arc<Registry>, pipeline: Option<&Pipeline>) -> io::Result<Reader> {
    Ok(Reader::new(Collector::start(registry)?, pipeline.cloned()))
}

/// A provider whose metrics go into this registry.
pub(crate) fn meter_provider(registry: &Arc<Registry>, pipeline: Option<&Pipeline>) -> io::Result<MeterProvider> {
    let collector = Collector::start(registry)?;
    let reader = Reader::new(Arc::clone(&collector), pipeline.cloned());
    Ok(MeterProvider::new(reader, collector))
}
