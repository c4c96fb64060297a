//! The provider that programs get: the SDK's, whose instruments cannot harm the collection. Threads of the program; callbacks on the
//! collector's.
//!
//! A callback that panics would poison the SDK's pipeline: no metric of it would be collected again, and new instruments would be lost.
//! One that asks for an instrument would wait for a lock that its own thread holds, and with it every thread that asks later.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use opentelemetry::metrics::{
    AsyncInstrumentBuilder, Callback, Counter, Gauge, Histogram, HistogramBuilder, InstrumentBuilder,
    InstrumentProvider, Meter, ObservableCounter, ObservableGauge, ObservableUpDownCounter, SyncInstrument,
    UpDownCounter,
};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::metrics::{Aggregation, Instrument, InstrumentKind, SdkMeterProvider, Stream};

use super::collector::{Collector, is_collecting};
use super::name;
use super::reader::Reader;
use crate::refusal::Refusal;

/// Gives out the instruments whose metrics are in the recorder. Clones are handles to the same. Made by
/// [`Mimir::meter_provider`](crate::Mimir::meter_provider).
#[derive(Clone, Debug)]
pub struct MeterProvider {
    sdk: SdkMeterProvider,
    collector: Arc<Collector>,
}

impl MeterProvider {
    pub(crate) fn new(reader: Reader, collector: Arc<Collector>) -> Self {
        let rules = Arc::downgrade(&collector);
        let sdk = SdkMeterProvider::builder()
            .with_reader(reader)
            // Who speaks is the recorder's to say.
            .with_resource(Resource::builder_empty().build())
            .with_view(move |instrument: &Instrument| stream_by_rule(&*rules.upgrade()?, instrument))
            .build();
        Self { sdk, collector }
    }

    /// Collects, pushes, and waits until everything has been sent, at most 5 s.
    ///
    /// # Errors
    /// What the SDK says of a provider that was shut down; `Timeout` if the backend takes longer: what waits is tried further.
    pub fn force_flush(&self) -> OTelSdkResult {
        self.sdk.force_flush()
    }

    /// Collects and pushes a last time, and waits at most 5 s. Later measurements are lost; the recorder goes on.
    ///
    /// # Errors
    /// As [`MeterProvider::force_flush`].
    pub fn shutdown(&self) -> OTelSdkResult {
        self.sdk.shutdown()
    }

    /// As [`MeterProvider::shutdown`]. The SDK of this version waits 5 s whatever is given.
    ///
    /// # Errors
    /// As [`MeterProvider::force_flush`].
    pub fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.sdk.shutdown_with_timeout(timeout)
    }
}

/// What the recorder's rules for histograms say of an instrument.
fn stream_by_rule(collector: &Collector, instrument: &Instrument) -> Option<Stream> {
    if instrument.kind() != InstrumentKind::Histogram {
        return None;
    }
    let registry = collector.registry.upgrade()?;
    let (exposed, _) = name::exposed(instrument.name(), instrument.unit(), false);
    let aggregation = match registry.families().rules_of(&exposed) {
        (_, Some(buckets)) => Aggregation::Base2ExponentialHistogram {
            max_size: u32::try_from(buckets).unwrap_or(u32::MAX),
            max_scale: 8,
            record_min_max: false,
        },
        (Some(bounds), None) => {
            Aggregation::ExplicitBucketHistogram { boundaries: bounds.values().to_vec(), record_min_max: false }
        }
        (None, None) => return None,
    };
    Stream::builder().with_aggregation(aggregation).build().ok()
}

impl opentelemetry::metrics::MeterProvider for MeterProvider {
    fn meter_with_scope(&self, scope: InstrumentationScope) -> Meter {
        let meter = self.sdk.meter_with_scope(scope);
        Meter::new(Arc::new(Careful { meter, collector: Arc::clone(&self.collector) }))
    }
}

/// Makes the SDK's instruments.
struct Careful {
    meter: Meter,
    collector: Arc<Collector>,
}

impl Careful {
    /// Whether the SDK holds the lock that a new instrument needs: it does while its callbacks run.
    fn refuses(&self, name: &str) -> bool {
        let refuses = is_collecting();
        if refuses {
            self.collector.refuse(Refusal::CallbackInstrument, || {
                format!("OpenTelemetry's instrument `{name}` is made in a callback, where none can be: it does nothing")
            });
        }
        refuses
    }

    /// The callback, without its panics.
    fn careful<T: 'static>(&self, name: &str, callback: Callback<T>) -> Callback<T> {
        let (name, collector) = (name.to_owned(), Arc::downgrade(&self.collector));
        Box::new(move |instrument| {
            let outcome = catch_unwind(AssertUnwindSafe(|| callback(instrument)));
            if outcome.is_err()
                && let Some(collector) = collector.upgrade()
            {
                collector.refuse(Refusal::CallbackPanic, || {
                    format!("the callback of OpenTelemetry's instrument `{name}` panicked: what it would have observed is missing")
                });
            }
        })
    }
}

/// The instrument of those that get none.
struct Nothing;

impl<T> SyncInstrument<T> for Nothing {
    fn measure(&self, _: T, _: &[KeyValue]) {}
}

macro_rules! synchronous {
    ($($builder:ident: $($method:ident -> $instrument:ty),+;)+) => {$($(
        fn $method(&self, builder: $builder<'_, $instrument>) -> $instrument {
            if self.refuses(&builder.name) {
                return <$instrument>::new(Arc::new(Nothing));
            }
            let mut own = self.meter.$method(builder.name);
            own.description = builder.description;
            own.unit = builder.unit;
            synchronous!(@boundaries $builder own builder);
            own.build()
        }
    )+)+};
    (@boundaries InstrumentBuilder $own:ident $builder:ident) => {};
    (@boundaries HistogramBuilder $own:ident $builder:ident) => { $own.boundaries = $builder.boundaries; };
}

macro_rules! observable {
    ($($method:ident -> $instrument:ty: $value:ty),+) => {$(
        fn $method(&self, builder: AsyncInstrumentBuilder<'_, $instrument, $value>) -> $instrument {
            if self.refuses(&builder.name) {
                return <$instrument>::new();
            }
            let callbacks = builder.callbacks.into_iter().map(|callback| self.careful(&builder.name, callback)).collect();
            let mut own = self.meter.$method(builder.name);
            own.description = builder.description;
            own.unit = builder.unit;
            own.callbacks = callbacks;
            own.build()
        }
    )+};
}

impl InstrumentProvider for Careful {
    synchronous! {
        InstrumentBuilder:
            u64_counter -> Counter<u64>,
            f64_counter -> Counter<f64>,
            i64_up_down_counter -> UpDownCounter<i64>,
            f64_up_down_counter -> UpDownCounter<f64>,
            u64_gauge -> Gauge<u64>,
            f64_gauge -> Gauge<f64>,
            i64_gauge -> Gauge<i64>;
        HistogramBuilder:
            f64_histogram -> Histogram<f64>,
            u64_histogram -> Histogram<u64>;
    }

    observable! {
        u64_observable_counter -> ObservableCounter<u64>: u64,
        f64_observable_counter -> ObservableCounter<f64>: f64,
        i64_observable_up_down_counter -> ObservableUpDownCounter<i64>: i64,
        f64_observable_up_down_counter -> ObservableUpDownCounter<f64>: f64,
        u64_observable_gauge -> ObservableGauge<u64>: u64,
        i64_observable_gauge -> ObservableGauge<i64>: i64,
        f64_observable_gauge -> ObservableGauge<f64>: f64
    }
}
