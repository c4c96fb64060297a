//! Idle series: which ones go, and when. Worker, once a tick, and each scrape; callers are held up only while a key is taken
//! out.
//!
//! A series goes if nothing was recorded for as long as the program said, and nobody holds a handle to it. Whoever records
//! later begins a new series, from zero.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::families::{Family, Owner, Series};

/// A series that is gone: remote write says so to the backend.
pub(crate) struct Expired {
    pub(crate) family: Arc<Family>,
    pub(crate) series: Arc<Series>,
}

/// When each series was last seen to change.
#[derive(Debug)]
pub(crate) struct Idle {
    after: Duration,
    seen: HashMap<u32, Seen>,
}

#[derive(Debug)]
struct Seen {
    value: u64,
    changed: Instant,
}

impl Idle {
    pub(crate) fn new(after: Duration) -> Self {
        Self { after, seen: HashMap::new() }
    }

    /// Whether nothing was recorded in the series for long enough.
    pub(crate) fn is_idle(&mut self, series: &Series, now: Instant) -> bool {
        // What another source keeps goes when that source says so.
        if series.owner != Owner::FACADE {
            return false;
        }
        let seen = self.seen.entry(series.number).or_insert(Seen { value: 0, changed: now });
        if series.value.has_changed(&mut seen.value) {
            seen.changed = now;
        }
        now.saturating_duration_since(seen.changed) >= self.after
    }

    pub(crate) fn forget(&mut self, series: &Series) {
        self.seen.remove(&series.number);
    }
}
