//! What a test of a program looks at: the lines, spans and metrics that a piece of it makes, without a backend (feature `testing`).
//!
//! ```
//! use lgtm::testing::capture;
//!
//! let telemetry = capture();
//!
//! let span = tracing::info_span!("checkout", customer = "ada");
//! span.in_scope(|| tracing::info!(items = 3, "order placed"));
//! drop(span);
//! metrics::counter!("orders_total", "kind" => "web").increment(1);
//!
//! telemetry.logs().assert_one("order placed").in_span("checkout").with("items", 3);
//! telemetry.spans().assert_one("checkout").with("customer", "ada").ended();
//! telemetry.metrics().assert_counter("orders_total", &[("kind", "web")], 1);
//! ```
//!
//! What is captured is there at once: nothing is queued, batched or sent. It is seen as lgtm's layers see it: with the names and the
//! kind that `otel.*` fields give, with late fields, with links and status of [`SpanExt`](crate::SpanExt), and without the values of
//! fields that stand for [secrets](crate::redaction). Every span and event of every level is captured; [`Logs::level`] and the other
//! filters narrow that down. Every trace is sampled. Labels of metrics are as the program gives them.
//!
//! # Snapshots
//!
//! [`Logs`], [`Spans`] and [`Metrics`] show themselves as text that is the same in every run, without ids and times: spans as an
//! indented tree, with the events that happen in them ([`Spans::with_events`]). That is made for snapshots, such as those of the
//! crate insta:
//!
//! ```
//! # use lgtm::testing::capture;
//! let telemetry = capture();
//! tracing::info_span!("checkout", customer = "ada").in_scope(|| {
//!     tracing::info_span!("reserve", sku = 7).in_scope(|| tracing::warn!(left = 2, "stock is low"));
//!     tracing::info_span!("charge").in_scope(|| ());
//! });
//! assert_eq!(
//!     telemetry.spans().with_events().to_string(),
//!     "\
//! checkout customer=ada
//!   reserve sku=7
//!     - WARN stock is low left=2
//!   charge
//! "
//! );
//! ```
//!
//! # Threads and tasks
//!
//! A capture belongs to the thread that began it, until it is dropped: tests that run beside each other do not see each other,
//! and neither sees what a global subscriber gets. A `#[tokio::test]` is of one thread, with all its tasks. Other threads take part
//! through a [`Handle`]; a runtime of several threads does through `on_thread_start`, or its tasks through
//! `tracing::instrument::WithSubscriber` with [`Capture::dispatch`], which takes no metrics.
//!
//! ```
//! # use lgtm::testing::capture;
//! let telemetry = capture();
//! let handle = telemetry.handle();
//! std::thread::spawn(move || {
//!     let _entered = handle.enter();
//!     tracing::info!("from another thread");
//! })
//! .join()
//! .unwrap();
//! telemetry.logs().assert_one("from another thread");
//! ```

#![expect(clippy::panic, reason = "an assertion of a test fails so")]

mod layer;
mod logs;
mod series;
mod spans;
mod value;

use std::fmt;
use std::sync::Arc;

use tracing_core::Dispatch;
use tracing_subscriber::layer::SubscriberExt as _;

pub use self::logs::{Log, Logs};
pub use self::series::{Metrics, Sample, Series};
pub use self::spans::{Span, Spans};
pub use self::value::Value;

use self::layer::{CaptureLayer, Store};
use self::series::Recorder;

/// Captures what the calling thread records from now on, until the returned value is dropped.
#[must_use = "what is recorded is captured until this is dropped"]
pub fn capture() -> Capture {
    let store = Arc::new(Store::default());
    let dispatch = Dispatch::new(tracing_subscriber::registry().with(CaptureLayer::new(Arc::clone(&store))));
    let handle = Handle { store, dispatch, recorder: Recorder::default() };
    Capture { entered: handle.enter(), handle }
}

/// What was captured so far, and the capturing itself.
pub struct Capture {
    /// Dropped first: the thread goes on with what it had before.
    #[expect(dead_code, reason = "held for its drop")]
    entered: Entered,
    handle: Handle,
}

impl fmt::Debug for Capture {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Capture")
            .field("logs", &self.logs())
            .field("spans", &self.spans())
            .field("metrics", &self.metrics())
            .finish()
    }
}

impl Capture {
    /// The events so far, in their order.
    #[must_use]
    pub fn logs(&self) -> Logs {
        self.handle.store.logs()
    }

    /// The spans so far, in the order in which they began, those that are still open among them.
    #[must_use]
    pub fn spans(&self) -> Spans {
        self.handle.store.spans()
    }

    /// The metrics so far.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        self.handle.recorder.metrics()
    }

    /// Forgets the events and the spans that have ended: what comes next stands alone. Metrics go on; their handles may be in use.
    pub fn clear(&self) {
        self.handle.store.clear();
    }

    /// For other threads to take part.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// The subscriber, for `tracing::instrument::WithSubscriber` and `tracing::dispatcher::with_default`. It takes no metrics.
    #[must_use]
    pub fn dispatch(&self) -> Dispatch {
        self.handle.dispatch.clone()
    }
}

/// Takes threads into a capture.
#[derive(Clone)]
pub struct Handle {
    store: Arc<Store>,
    dispatch: Dispatch,
    recorder: Recorder,
}

impl fmt::Debug for Handle {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Handle").finish_non_exhaustive()
    }
}

impl Handle {
    /// What the calling thread records is captured too, until the returned value is dropped.
    #[must_use = "the thread takes part until this is dropped"]
    pub fn enter(&self) -> Entered {
        Entered { _recorder: self.recorder.enter(), _subscriber: tracing_core::dispatcher::set_default(&self.dispatch) }
    }
}

/// A thread that takes part in a capture. Several on one thread are dropped in the reverse order.
pub struct Entered {
    _recorder: series::Entered,
    _subscriber: tracing_core::dispatcher::DefaultGuard,
}

impl fmt::Debug for Entered {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Entered").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
