//! Shape: the series of each kind of span, looked up once. Caller threads.

use std::sync::OnceLock;

use lgtm_core::catalogue::{SPANS_CREATED_TOTAL, SPANS_DURATION_SECONDS};
use lgtm_core::span::SpanKind;
use lgtm_core::{Identity, suppressed};
use metrics::{Counter, Histogram};

/// The handles of one kind.
pub(crate) struct Series {
    pub(crate) created: Counter,
    pub(crate) duration: Histogram,
}

/// The handles of all kinds.
pub(crate) struct Dimensions {
    service_name: String,
    kinds: [OnceLock<Series>; SpanKind::ALL.len()],
}

impl Dimensions {
    pub(crate) fn new(identity: &Identity) -> Self {
        Self { service_name: identity.service_name.clone(), kinds: Default::default() }
    }

    /// The handles of this kind. They are looked up at the kind's first span: until then the program can set its recorder.
    #[inline]
    pub(crate) fn of(&self, kind: SpanKind) -> Option<&Series> {
        let series = self.kinds.get(kind as usize - 1)?;
        // The recorder is the program's: a span that it opens meanwhile would wait for this one.
        Some(series.get_or_init(|| suppressed(|| self.look_up(kind))))
    }

    #[cold]
    fn look_up(&self, kind: SpanKind) -> Series {
        let labels = [("service_name", self.service_name.clone()), ("span_kind", kind.as_str().to_owned())];
        Series {
            created: metrics::counter!(SPANS_CREATED_TOTAL, &labels),
            duration: metrics::histogram!(SPANS_DURATION_SECONDS, &labels),
        }
    }
}
