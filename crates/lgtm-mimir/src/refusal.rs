//! What is not exposed as the program meant it: counted by reason, said once. Caller threads.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use metrics::CounterFn as _;

use crate::scalar::Counter;

/// Why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The bound on time series is reached: the series is part of the overflow series.
    SeriesLimit,
    /// The bound on series of one name is reached: the series is part of the overflow series.
    NameSeriesLimit,
    /// The bound on names is reached: the metric is not exposed.
    NameLimit,
    /// The name belongs to a metric of another type: the metric is not exposed.
    TypeConflict,
    /// A series has too many labels: the last ones are cut.
    LabelLimit,
    /// A name or a label's value is too long: its end is cut.
    LengthLimit,
    /// A histogram's sample is NaN: it is left out.
    NotANumber,
    /// The series belongs to another source of metrics: it has the first one's samples alone.
    SeriesConflict,
    /// A callback of OpenTelemetry panicked: its instrument says nothing this time.
    #[cfg(feature = "opentelemetry")]
    CallbackPanic,
    /// A callback of OpenTelemetry takes long: what is exposed is what was read before.
    #[cfg(feature = "opentelemetry")]
    CallbackLate,
    /// A callback of OpenTelemetry asks for an instrument, which the SDK cannot give it: it gets one that does nothing.
    #[cfg(feature = "opentelemetry")]
    CallbackInstrument,
    /// An exponential histogram of OpenTelemetry is coarser than Prometheus knows it: it is not exposed.
    #[cfg(feature = "opentelemetry")]
    Scale,
}

impl Refusal {
    pub(crate) const ALL: &[Self] = &[
        Self::SeriesLimit,
        Self::NameSeriesLimit,
        Self::NameLimit,
        Self::TypeConflict,
        Self::LabelLimit,
        Self::LengthLimit,
        Self::NotANumber,
        #[cfg(feature = "opentelemetry")]
        Self::SeriesConflict,
        #[cfg(feature = "opentelemetry")]
        Self::CallbackPanic,
        #[cfg(feature = "opentelemetry")]
        Self::CallbackLate,
        #[cfg(feature = "opentelemetry")]
        Self::CallbackInstrument,
        #[cfg(feature = "opentelemetry")]
        Self::Scale,
    ];

    /// The label `reason`.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::SeriesLimit => "series_limit",
            Self::NameSeriesLimit => "name_series_limit",
            Self::NameLimit => "name_limit",
            Self::TypeConflict => "type_conflict",
            Self::LabelLimit => "label_limit",
            Self::LengthLimit => "length_limit",
            Self::NotANumber => "not_a_number",
            Self::SeriesConflict => "series_conflict",
            #[cfg(feature = "opentelemetry")]
            Self::CallbackPanic => "callback_panic",
            #[cfg(feature = "opentelemetry")]
            Self::CallbackLate => "callback_late",
            #[cfg(feature = "opentelemetry")]
            Self::CallbackInstrument => "callback_instrument",
            #[cfg(feature = "opentelemetry")]
            Self::Scale => "scale",
        }
    }
}

/// The counts.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    counts: [Arc<Counter>; Refusal::ALL.len()],
    warned: [AtomicBool; Refusal::ALL.len()],
}

impl Refusals {
    /// Counts one use. What has to be said is said by the first of its reason.
    pub(crate) fn refuse(&self, refusal: Refusal, warning: impl FnOnce() -> String) {
        self.counter(refusal).increment(1);
        let warned = self.warned.get(refusal as usize);
        if warned.is_some_and(|warned| !warned.swap(true, Ordering::Relaxed)) {
            lgtm_core::warn(&format!(
                "{}; this is said once, {}{{reason=\"{}\"}} counts",
                warning(),
                lgtm_core::catalogue::METRICS_SERIES_REFUSED_TOTAL,
                refusal.as_str()
            ));
        }
    }

    /// The count of one reason.
    pub(crate) fn counter(&self, refusal: Refusal) -> Arc<Counter> {
        self.counts.get(refusal as usize).map(Arc::clone).unwrap_or_default()
    }
}
