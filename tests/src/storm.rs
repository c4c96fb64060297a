//! What the program `storm` tells of its run, as one line of JSON on its standard output.

use serde::{Deserialize, Serialize};

/// The outcome of a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Outcome {
    /// Iterations: one span with one event each.
    pub iterations: u64,
    /// Seconds that they took.
    pub loop_seconds: f64,
    /// Seconds from the begin of the shutdown to its return.
    pub shutdown_seconds: f64,
    /// Resident memory in bytes after the set-up.
    pub resident_before: u64,
    /// The largest resident memory seen during the loop.
    pub resident_peak: u64,
    /// What became of the items, logs first.
    pub signals: Vec<Counts>,
}

/// What became of one signal's items.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Counts {
    /// What one item is called, in the plural.
    pub items: String,
    /// Produced by the program.
    pub admitted: u64,
    /// Taken by the backend.
    pub delivered: u64,
    /// Refused by the backend.
    pub rejected: u64,
    /// Lost on this side.
    pub dropped: u64,
    /// Still waiting.
    pub pending: u64,
    /// The report as a reader sees it.
    pub report: String,
}

impl From<&lgtm_core::SignalReport> for Counts {
    fn from(report: &lgtm_core::SignalReport) -> Self {
        Self {
            items: report.signal.items().to_owned(),
            admitted: report.admitted,
            delivered: report.delivered,
            rejected: report.rejected,
            dropped: report.dropped.iter().map(|(_, count)| count).sum(),
            pending: report.pending,
            report: report.to_string(),
        }
    }
}

/// The resident memory of this process in bytes; 0 where the system does not tell it in `/proc/self/statm`.
#[must_use]
pub fn resident_bytes() -> u64 {
    // The system's pages are of 4 KiB on every platform that these tests run on with procfs and default kernels.
    const PAGE: u64 = 4096;
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * PAGE
}
