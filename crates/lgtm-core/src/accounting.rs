//! What became of every item: admitted = delivered + rejected + dropped + pending, by signal and reason. Any thread.
//!
//! The counts are atomics; the worker publishes them through the `metrics` facade once a tick, as absolute values, so that
//! a recorder installed late misses nothing.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::catalogue::{self, PipelineMetrics};

/// The three signals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SignalKind {
    /// Log lines, to Loki.
    Logs,
    /// Spans, to Tempo.
    Spans,
    /// Samples, to Mimir.
    Metrics,
}

impl SignalKind {
    /// The label `exporter`.
    #[must_use]
    pub const fn exporter(self) -> &'static str {
        match self {
            Self::Logs => "loki",
            Self::Spans => "tempo",
            Self::Metrics => "mimir",
        }
    }

    /// What the signal is called: `logs`, `spans`, `metrics`.
    #[must_use]
    pub const fn plain_name(self) -> &'static str {
        match self {
            Self::Logs => "logs",
            Self::Spans => "spans",
            Self::Metrics => "metrics",
        }
    }

    /// What one item is called, in the plural.
    #[must_use]
    pub const fn items(self) -> &'static str {
        match self {
            Self::Logs => "log lines",
            Self::Spans => "spans",
            Self::Metrics => "samples",
        }
    }

    pub(crate) const fn metrics(self) -> &'static PipelineMetrics {
        match self {
            Self::Logs => &catalogue::LOGS,
            Self::Spans => &catalogue::SPANS,
            Self::Metrics => &catalogue::METRICS,
        }
    }
}

macro_rules! closed_enum {
    ($(#[$about:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum $name { $($(#[$doc])* $variant,)+ }

        impl $name {
            /// All values.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The value's name, as in the metrics' label.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(self.as_str())
            }
        }
    };
}

closed_enum! {
    /// Why an item was dropped on this side: the label `reason`.
    DropReason {
        /// The queue was full.
        QueueFull = "queue_full",
        /// The item alone is larger than the backend takes.
        TooLarge = "too_large",
        /// The batch was tried until its time was over.
        RetriesExhausted = "retries_exhausted",
        /// The deadline of the shutdown came first, or the backend was unreachable during it.
        Shutdown = "shutdown",
        /// It came after the shutdown.
        Closed = "closed",
        /// The worker panicked while it had the batch.
        WorkerPanic = "worker_panic",
        /// It lay on disk for longer than it may.
        Expired = "expired",
        /// Its record on disk was damaged.
        Damaged = "damaged",
    }
}

closed_enum! {
    /// What was wrong with a request or its answer: the label `error_type`.
    ErrorType {
        /// No answer in time.
        Timeout = "timeout",
        /// No connection, or it broke.
        Connect = "connect",
        /// The TLS handshake failed.
        Tls = "tls",
        /// Too many requests or bytes for the tenant.
        RateLimited = "rate_limited",
        /// The backend refuses the data for good.
        Rejected = "rejected",
        /// The request or an item is too large.
        TooLarge = "too_large",
        /// Wrong or no credentials.
        Unauthorized = "unauthorized",
        /// The backend failed.
        Server = "server",
        /// A part of the batch was refused.
        Partial = "partial",
        /// Anything else.
        Other = "other",
    }
}

/// The live counts of one pipeline.
#[derive(Debug, Default)]
pub struct Accounting {
    /// Items that earlier runs have left on disk.
    recovered: AtomicU64,
    /// Items on disk that are not settled.
    spooled: AtomicU64,
    pub(crate) delivered: AtomicU64,
    pub(crate) rejected: AtomicU64,
    /// Items of requests that succeeded, and of those that failed, once for each try.
    pub(crate) export_success: AtomicU64,
    pub(crate) export_failure: AtomicU64,
    errors: [AtomicU64; ErrorType::ALL.len()],
    dropped: [AtomicU64; DropReason::ALL.len()],
}

impl Accounting {
    /// Items of earlier runs were found on disk.
    pub(crate) fn recover(&self, items: u64) {
        self.recovered.store(items, Ordering::Release);
        self.spool(items);
    }

    /// Items are on disk.
    pub(crate) fn spool(&self, items: u64) {
        self.spooled.fetch_add(items, Ordering::Release);
    }

    /// Items on disk are about to be settled: a report may miss them for a moment, but counts none twice.
    pub(crate) fn unspool(&self, items: u64) {
        // Never below zero, whatever was damaged.
        let _ = self.spooled.try_update(Ordering::Release, Ordering::Relaxed, |all| Some(all.saturating_sub(items)));
    }

    pub(crate) fn spooled(&self) -> u64 {
        self.spooled.load(Ordering::Acquire)
    }

    pub(crate) fn recovered(&self) -> u64 {
        self.recovered.load(Ordering::Acquire)
    }

    pub(crate) fn drop_items(&self, reason: DropReason, items: u64) {
        add(&self.dropped, reason as usize, items);
    }

    pub(crate) fn error(&self, error: ErrorType) {
        add(&self.errors, error as usize, 1);
    }

    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }

    pub(crate) fn dropped_for(&self, reason: DropReason) -> u64 {
        self.dropped.get(reason as usize).map_or(0, |count| count.load(Ordering::Relaxed))
    }

    fn errors_of(&self, error: ErrorType) -> u64 {
        self.errors.get(error as usize).map_or(0, |count| count.load(Ordering::Relaxed))
    }

    /// The counts as they are now, with what the queue knows.
    pub(crate) fn report(&self, signal: SignalKind, admitted: u64) -> SignalReport {
        let delivered = self.delivered.load(Ordering::Acquire);
        let rejected = self.rejected.load(Ordering::Acquire);
        let dropped: Vec<_> = DropReason::ALL
            .iter()
            .map(|reason| (*reason, self.dropped_for(*reason)))
            .filter(|(_, count)| *count > 0)
            .collect();
        let errors = ErrorType::ALL
            .iter()
            .map(|error| (*error, self.errors_of(*error)))
            .filter(|(_, count)| *count > 0)
            .collect();
        let settled = delivered + rejected + dropped.iter().map(|(_, count)| count).sum::<u64>();
        SignalReport {
            signal,
            admitted,
            delivered,
            rejected,
            pending: admitted.saturating_sub(settled),
            spooled: self.spooled(),
            recovered: self.recovered(),
            dropped,
            errors,
        }
    }

    /// Writes the counts to the current recorder; `spool_bytes`: bytes on disk, if there can be any.
    pub(crate) fn publish(&self, signal: SignalKind, queued: u64, spool_bytes: Option<u64>) {
        let names = signal.metrics();
        let exporter = signal.exporter();
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        metrics::counter!(names.exported_total, "exporter" => exporter, "status" => "success")
            .absolute(load(&self.export_success));
        metrics::counter!(names.exported_total, "exporter" => exporter, "status" => "failure")
            .absolute(load(&self.export_failure));
        for error in ErrorType::ALL {
            let count = self.errors_of(*error);
            if count > 0 {
                metrics::counter!(names.export_errors_total, "exporter" => exporter, "error_type" => error.as_str())
                    .absolute(count);
            }
        }
        // From the start: `increase()` sees the first drop of a reason only beside a zero before it.
        for reason in DropReason::ALL {
            metrics::counter!(names.dropped_total, "exporter" => exporter, "reason" => reason.as_str())
                .absolute(self.dropped_for(*reason));
        }
        match signal {
            SignalKind::Logs => metrics::counter!(catalogue::LOGS_TRUNCATED_TOTAL).increment(0),
            SignalKind::Spans => {
                for outcome in ["kept", "discarded"] {
                    metrics::counter!(catalogue::SPANS_DECIDED_EARLY_TOTAL, "outcome" => outcome).increment(0);
                }
            }
            SignalKind::Metrics => {}
        }
        metrics::gauge!(names.queue_size, "exporter" => exporter).set(queued as f64);
        if let Some(bytes) = spool_bytes {
            metrics::gauge!(names.spool_size, "exporter" => exporter).set(self.spooled() as f64);
            metrics::gauge!(names.spool_bytes, "exporter" => exporter).set(bytes as f64);
        }
    }
}

fn add(counts: &[AtomicU64], index: usize, items: u64) {
    if let Some(count) = counts.get(index) {
        count.fetch_add(items, Ordering::Relaxed);
    }
}

/// What became of one signal's items. `admitted = delivered + rejected + dropped + pending`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SignalReport {
    /// The signal.
    pub signal: SignalKind,
    /// Items that the program produced, and those that earlier runs have left on disk.
    pub admitted: u64,
    /// Items that the backend took.
    pub delivered: u64,
    /// Items that the backend refused for good.
    pub rejected: u64,
    /// Items that still wait, on disk or in memory.
    pub pending: u64,
    /// Of these, the items on disk: they survive the process.
    pub spooled: u64,
    /// Of those admitted, the items that earlier runs have left on disk.
    pub recovered: u64,
    /// Items lost on this side, by reason.
    pub dropped: Vec<(DropReason, u64)>,
    /// Failed requests, by what was wrong.
    pub errors: Vec<(ErrorType, u64)>,
}

impl SignalReport {
    /// Items that will not arrive: rejected and dropped.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.rejected + self.dropped.iter().map(|(_, count)| count).sum::<u64>()
    }
}

impl fmt::Display for SignalReport {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { signal, admitted, delivered, rejected, pending, spooled, .. } = self;
        write!(formatter, "{}: {admitted} created, {delivered} delivered", signal.items())?;
        if *rejected > 0 {
            write!(formatter, ", {rejected} rejected")?;
        }
        for (reason, count) in &self.dropped {
            write!(formatter, ", {count} dropped ({reason})")?;
        }
        if *pending > 0 {
            write!(formatter, ", {pending} pending")?;
        }
        if *spooled > 0 {
            write!(formatter, " ({spooled} on disk)")?;
        }
        for (error, count) in &self.errors {
            write!(formatter, ", {count} failed requests ({error})")?;
        }
        Ok(())
    }
}
