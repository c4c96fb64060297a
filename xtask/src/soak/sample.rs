//! What is known of the program once a second: what it says itself, and what the system says of its process.

use std::collections::BTreeMap;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use super::program::Said;
use super::schedule::State;
use crate::receiver::Backend;

/// lgtm's report, as its JSON has it.
pub(super) type Signals = BTreeMap<String, Counts>;

/// One signal of it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Counts {
    pub(super) admitted: u64,
    pub(super) delivered: u64,
    pub(super) rejected: u64,
    pub(super) pending: u64,
    pub(super) spooled: u64,
    pub(super) recovered: u64,
    pub(super) dropped: BTreeMap<String, u64>,
    pub(super) errors: BTreeMap<String, u64>,
}

impl Counts {
    pub(super) fn dropped(&self) -> u64 {
        self.dropped.values().sum()
    }
}

/// One moment.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Sample {
    pub(super) said: Said,
    pub(super) states: [State; 3],
    pub(super) resident_bytes: u64,
    pub(super) descriptors: u64,
    pub(super) threads: u64,
    pub(super) spool_bytes: u64,
    /// Items of each backend's answers that a client may take for delivered, a moment later.
    pub(super) answered: [u64; 3],
}

impl Sample {
    /// lgtm's counts of this backend's signal.
    pub(super) fn counts(&self, backend: Backend) -> Counts {
        self.said.report.get(backend.signal()).cloned().unwrap_or_default()
    }
}

/// What the system says of a process.
pub(super) struct Process {
    pub(super) resident_bytes: u64,
    pub(super) descriptors: u64,
    pub(super) threads: u64,
}

impl Process {
    /// # Errors
    /// If the process is gone, or the system does not tell (it is Linux that does).
    pub(super) fn read(id: u32) -> anyhow::Result<Self> {
        let folder = format!("/proc/{id}");
        let status = std::fs::read_to_string(format!("{folder}/status")).context("the process is gone, or no Linux")?;
        let number = |name: &str| -> anyhow::Result<u64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let line = line.with_context(|| format!("{folder}/status has no {name}"))?;
            Ok(line.trim().trim_end_matches("kB").trim().parse()?)
        };
        let descriptors = std::fs::read_dir(format!("{folder}/fd"))?.count() as u64;
        Ok(Self { resident_bytes: number("VmRSS:")? * 1024, descriptors, threads: number("Threads:")? })
    }
}

/// Bytes of the files in a folder and those below it.
pub(super) fn folder_bytes(folder: &std::path::Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    let size = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => folder_bytes(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    };
    entries.filter_map(Result::ok).map(size).sum()
}
