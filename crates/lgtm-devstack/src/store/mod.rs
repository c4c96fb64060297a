//! What arrived, in bounded memory: one part a signal and one for the requests, each with its own limit in bytes.
//! The server's threads write; any thread reads, and can wait for a condition without polling.

mod deltas;
#[cfg(feature = "window")]
mod import;
mod logs;
mod metrics;
#[cfg(feature = "window")]
mod names;
mod requests;
pub(crate) mod size;
#[cfg(feature = "window")]
mod span_facts;
mod traces;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use tokio::sync::watch;

pub use deltas::DeltaCounts;
pub use logs::LogEntry;
pub use metrics::{Exemplar, MetricMetadata, MetricType, Sample, Series};
pub use requests::{Answer, ReceivedRequest};

pub(crate) use deltas::{Delta, Deltas, StreamId, Total, fingerprint};
#[cfg(feature = "window")]
pub(crate) use import::{Import, Imported};
pub(crate) use logs::LogStore;
#[cfg(feature = "window")]
pub(crate) use logs::{Line, LineFacts};
pub(crate) use metrics::{MetricStore, SampleError};
#[cfg(feature = "window")]
pub(crate) use names::{Name, Names};
pub(crate) use requests::RequestLog;
#[cfg(feature = "window")]
pub(crate) use span_facts::SpanFacts;
pub(crate) use traces::TraceStore;
#[cfg(feature = "window")]
pub(crate) use traces::{Stored as StoredSpan, TraceInPlace};

use crate::limits::Limits;
use crate::span::Span;

/// A name-to-value set: the labels of a stream or a series, or structured metadata.
pub type Labels = BTreeMap<String, String>;

/// What one development stack has received. A cheap handle: clones see the same contents.
///
/// Items are kept in the order of arrival. At the limit of a signal its oldest items go, and are counted in
/// [`SignalCounts::evicted`].
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
    /// Set on the handle by which an import stores.
    #[cfg(feature = "window")]
    import: Option<Arc<Import>>,
}

struct Inner {
    logs: Mutex<LogStore>,
    traces: Mutex<TraceStore>,
    metrics: Mutex<MetricStore>,
    /// Locked before `metrics`.
    deltas: Mutex<Deltas>,
    requests: Mutex<RequestLog>,
    version: Mutex<u64>,
    changed: Condvar,
    changed_async: watch::Sender<u64>,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("counts", &self.counts()).finish_non_exhaustive()
    }
}

impl Store {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            inner: Arc::new(Inner {
                logs: Mutex::new(LogStore::new(limits.log_bytes)),
                traces: Mutex::new(TraceStore::new(limits.trace_bytes)),
                metrics: Mutex::new(MetricStore::new(limits.metric_bytes)),
                deltas: Mutex::new(Deltas::new(deltas::MAX_BYTES)),
                requests: Mutex::new(RequestLog::new(limits.request_bytes)),
                version: Mutex::new(0),
                changed: Condvar::new(),
                changed_async: watch::channel(0).0,
            }),
            #[cfg(feature = "window")]
            import: None,
        }
    }

    /// All log entries, oldest arrival first.
    #[must_use]
    pub fn logs(&self) -> Vec<Arc<LogEntry>> {
        self.inner.logs.lock().entries().cloned().collect()
    }

    /// All spans, oldest arrival first. A span that was sent twice is there twice.
    #[must_use]
    pub fn spans(&self) -> Vec<Arc<Span>> {
        self.inner.traces.lock().spans().cloned().collect()
    }

    /// The spans of one trace, oldest arrival first. `trace_id` is hexadecimal, in either case.
    #[must_use]
    pub fn trace(&self, trace_id: &str) -> Vec<Arc<Span>> {
        self.inner.traces.lock().trace(trace_id)
    }

    /// One trace as an `ExportTraceServiceRequest` in OTLP's JSON encoding, as any OTLP receiver takes it; `None` if no span of it is held.
    /// Everything that the spans have is in it; one that was sent again as it was is there once. `trace_id` is hexadecimal, in either case.
    #[must_use]
    pub fn trace_otlp_json(&self, trace_id: &str) -> Option<String> {
        let spans = self.trace(trace_id);
        (!spans.is_empty()).then(|| crate::otlp_json::write(&spans))
    }

    /// All series with their samples and exemplars, sorted by labels.
    #[must_use]
    pub fn series(&self) -> Vec<Series> {
        self.inner.metrics.lock().series()
    }

    /// The series of one metric name, sorted by labels.
    #[must_use]
    pub fn series_named(&self, name: &str) -> Vec<Series> {
        self.inner.metrics.lock().series_where(|labels| labels.get("__name__").is_some_and(|n| n == name))
    }

    /// Type, help and unit by metric family, as remote write or a scrape told.
    #[must_use]
    pub fn metric_metadata(&self) -> BTreeMap<String, MetricMetadata> {
        self.inner.metrics.lock().metadata().clone()
    }

    /// The requests to the ingest and query endpoints, oldest first.
    #[must_use]
    pub fn requests(&self) -> Vec<Arc<ReceivedRequest>> {
        self.inner.requests.lock().requests().cloned().collect()
    }

    /// The requests to one endpoint, oldest first.
    #[must_use]
    pub fn requests_to(&self, endpoint: crate::Endpoint) -> Vec<Arc<ReceivedRequest>> {
        self.inner.requests.lock().requests().filter(|request| request.endpoint == endpoint).cloned().collect()
    }

    /// How much was received, is held, and was evicted; costs no copy of the items.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let (metrics, exemplars, histograms, series) = {
            let store = self.inner.metrics.lock();
            (store.samples_counts(), store.exemplars_counts(), store.histograms_counts(), store.series_len())
        };
        Counts {
            logs: self.inner.logs.lock().counts(),
            spans: self.inner.traces.lock().counts(),
            samples: metrics,
            exemplars,
            histograms,
            series,
            deltas: self.inner.deltas.lock().counts(),
            requests: self.inner.requests.lock().counts(),
        }
    }

    /// Forgets every item and request and starts the counts at zero. Scripts are left alone.
    pub fn clear(&self) {
        self.inner.logs.lock().clear();
        self.inner.traces.lock().clear();
        self.inner.deltas.lock().clear();
        self.inner.metrics.lock().clear();
        self.inner.requests.lock().clear();
        self.notify();
    }

    /// Waits until `condition` is true. It is asked now and after every change; with many items, ask
    /// [`counts`](Self::counts), which copies nothing.
    ///
    /// # Errors
    /// After `timeout`, an error that tells what the store held.
    pub async fn wait_for(&self, mut condition: impl FnMut(&Self) -> bool, timeout: Duration) -> Result<(), WaitError> {
        let mut changed = self.inner.changed_async.subscribe();
        let waited = tokio::time::timeout(timeout, async {
            loop {
                changed.borrow_and_update();
                if condition(self) {
                    return;
                }
                // The sender lives as long as self.
                if changed.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        });
        match waited.await {
            Ok(()) => Ok(()),
            Err(_) => Err(WaitError { timeout, counts: Box::new(self.counts()) }),
        }
    }

    /// [`wait_for`](Self::wait_for) for code without a runtime; blocks the calling thread.
    ///
    /// # Errors
    /// After `timeout`, an error that tells what the store held.
    pub fn wait_for_blocking(
        &self,
        mut condition: impl FnMut(&Self) -> bool,
        timeout: Duration,
    ) -> Result<(), WaitError> {
        // A deadline beyond what the clock can tell is a year away.
        let now = Instant::now();
        let deadline = now.checked_add(timeout).unwrap_or(now + Duration::from_secs(365 * 86_400));
        loop {
            let seen = *self.inner.version.lock();
            if condition(self) {
                return Ok(());
            }
            let mut version = self.inner.version.lock();
            while *version == seen {
                if self.inner.changed.wait_until(&mut version, deadline).timed_out() {
                    drop(version);
                    if condition(self) {
                        return Ok(());
                    }
                    return Err(WaitError { timeout, counts: Box::new(self.counts()) });
                }
            }
        }
    }

    pub(crate) fn with_logs<T>(&self, change: impl FnOnce(&mut LogStore) -> T) -> T {
        let result = {
            let mut logs = self.inner.logs.lock();
            #[cfg(feature = "window")]
            let before = logs.counts();
            let result = change(&mut logs);
            #[cfg(feature = "window")]
            if let Some(import) = &self.import {
                import.add(|imported| &mut imported.logs, before, logs.counts());
            }
            result
        };
        self.notify();
        result
    }

    pub(crate) fn with_traces<T>(&self, change: impl FnOnce(&mut TraceStore) -> T) -> T {
        let result = {
            let mut traces = self.inner.traces.lock();
            #[cfg(feature = "window")]
            let before = traces.counts();
            let result = change(&mut traces);
            #[cfg(feature = "window")]
            if let Some(import) = &self.import {
                import.add(|imported| &mut imported.spans, before, traces.counts());
            }
            result
        };
        self.notify();
        result
    }

    pub(crate) fn with_metrics<T>(&self, change: impl FnOnce(&mut MetricStore) -> T) -> T {
        let result = {
            let mut metrics = self.inner.metrics.lock();
            #[cfg(feature = "window")]
            let counts =
                |store: &MetricStore| [store.samples_counts(), store.exemplars_counts(), store.histograms_counts()];
            #[cfg(feature = "window")]
            let before = counts(&metrics);
            #[cfg(feature = "window")]
            {
                metrics.any_order = self.import.is_some();
            }
            let result = change(&mut metrics);
            #[cfg(feature = "window")]
            if let Some(import) = &self.import {
                let kinds: [fn(&mut Imported) -> &mut SignalCounts; 3] = [
                    |imported| &mut imported.samples,
                    |imported| &mut imported.exemplars,
                    |imported| &mut imported.histograms,
                ];
                for ((of, before), after) in kinds.into_iter().zip(before).zip(counts(&metrics)) {
                    import.add(of, before, after);
                }
            }
            result
        };
        self.notify();
        result
    }

    /// Whether items of any time are taken: true for an import.
    pub(crate) fn takes_any_time(&self) -> bool {
        #[cfg(feature = "window")]
        return self.import.is_some();
        #[cfg(not(feature = "window"))]
        false
    }

    /// Delta streams, for as long as their points are stored: concurrent requests of one stream must not overtake each other.
    pub(crate) fn with_deltas<T>(&self, change: impl FnOnce(&mut Deltas) -> T) -> T {
        change(&mut self.inner.deltas.lock())
    }

    pub(crate) fn record_request(&self, request: ReceivedRequest) {
        self.inner.requests.lock().push(request);
        self.notify();
    }

    #[cfg(feature = "window")]
    pub(crate) fn read_logs<T>(&self, read: impl FnOnce(&LogStore) -> T) -> T {
        read(&self.inner.logs.lock())
    }

    #[cfg(feature = "window")]
    pub(crate) fn read_traces<T>(&self, read: impl FnOnce(&TraceStore) -> T) -> T {
        read(&self.inner.traces.lock())
    }

    /// Told after each change.
    #[cfg(feature = "window")]
    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.inner.changed_async.subscribe()
    }

    pub(crate) fn read_metrics<T>(&self, read: impl FnOnce(&MetricStore) -> T) -> T {
        read(&self.inner.metrics.lock())
    }

    fn notify(&self) {
        let version = {
            let mut version = self.inner.version.lock();
            *version += 1;
            *version
        };
        self.inner.changed.notify_all();
        self.inner.changed_async.send_replace(version);
    }
}

/// How much of each kind of item a [`Store`] has seen and holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Log entries.
    pub logs: SignalCounts,
    /// Spans.
    pub spans: SignalCounts,
    /// Metric samples.
    pub samples: SignalCounts,
    /// Exemplars; their bytes are counted with the samples.
    pub exemplars: SignalCounts,
    /// Native histograms; their bytes are counted with the samples.
    pub histograms: SignalCounts,
    /// Series held now.
    pub series: u64,
    /// Points of delta temporality, which became samples or histograms of cumulative ones.
    pub deltas: DeltaCounts,
    /// Requests to the ingest and query endpoints.
    pub requests: SignalCounts,
}

/// The figures of one kind of item.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SignalCounts {
    /// Accepted since the start; duplicates are not among them.
    pub received: u64,
    /// Held now.
    pub held: u64,
    /// Estimated memory of what is held, in bytes.
    pub held_bytes: u64,
    /// Dropped to stay under the limit, the first to arrive first, whatever their own times.
    pub evicted: u64,
    /// Ignored as repetitions: a log entry with the time and text of another of its stream, a sample or exemplar
    /// equal to the newest of its series. Spans that come twice are kept twice, but for those that a file brings to the window again.
    pub duplicates: u64,
    /// Refused, by validation.
    pub rejected: u64,
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} log entries, {} spans, {} samples and {} exemplars in {} series, {} requests",
            self.logs.held, self.spans.held, self.samples.held, self.exemplars.held, self.series, self.requests.held
        )?;
        let evicted = [
            (self.logs.evicted, "log entries"),
            (self.spans.evicted, "spans"),
            (self.samples.evicted, "samples"),
            (self.exemplars.evicted, "exemplars"),
            (self.requests.evicted, "requests"),
        ];
        for (number, what) in evicted.into_iter().filter(|(number, _)| *number > 0) {
            write!(f, "; {number} {what} evicted")?;
        }
        Ok(())
    }
}

/// A condition on the store did not come true in time.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the condition was not met within {timeout:?}; the store held {counts}")]
pub struct WaitError {
    timeout: Duration,
    counts: Box<Counts>,
}

impl WaitError {
    /// What the store held when the time was over.
    #[must_use]
    pub fn counts(&self) -> Counts {
        *self.counts
    }
}
