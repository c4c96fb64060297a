//! What a program can choose about its spool, and why one cannot be had. Runs once, at the start.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where requests wait that memory cannot hold, and how many.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SpoolOptions {
    /// The folder. It is made if it is not there, for its owner alone; each signal of each process has a folder of its own in it.
    pub folder: PathBuf,
    /// Bytes on disk, of one signal. Beyond that nothing more goes to disk: items wait in memory, and are lost where that is
    /// full too. Default: 512 MiB.
    pub max_bytes: u64,
    /// What has waited for longer is dropped and counted (`expired`). Default: 24 h. A backend has limits of its own: Loki
    /// refuses lines older than a week, and those more than an hour behind their stream's newest; Mimir and Prometheus
    /// refuse samples that are more than an hour old.
    pub max_age: Duration,
    /// Everything goes to disk before it is sent: a crash of the program loses only what was not on disk yet, at most the
    /// batch's age. Default: false, only what memory cannot hold, and what is left at the end of the program.
    pub durable: bool,
    /// Bytes of one file; space comes back file by file. Default: an eighth of `max_bytes`, at most 8 MiB.
    pub segment_bytes: Option<u64>,
}

impl SpoolOptions {
    /// A spool in this folder, with the defaults.
    #[must_use]
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
            max_bytes: 512 * 1024 * 1024,
            max_age: Duration::from_secs(24 * 3600),
            durable: false,
            segment_bytes: None,
        }
    }

    pub(super) fn segment_bytes(&self) -> u64 {
        self.segment_bytes.unwrap_or_else(|| (self.max_bytes / 8).min(8 * 1024 * 1024)).max(1)
    }
}

/// A folder that cannot be a spool.
#[derive(Debug, thiserror::Error)]
#[error("spool folder {}: {action}: {reason}; a folder is accepted that this process may create, write and lock", .path.display())]
#[non_exhaustive]
pub struct SpoolError {
    /// The folder or file.
    pub path: PathBuf,
    /// What was tried.
    pub action: &'static str,
    /// What the system says.
    pub reason: io::Error,
}

impl SpoolError {
    pub(super) fn new(path: &Path, action: &'static str, reason: io::Error) -> Self {
        Self { path: path.to_owned(), action, reason }
    }
}
