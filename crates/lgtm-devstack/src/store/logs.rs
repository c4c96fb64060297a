//! Log entries by arrival, their label sets shared, repetitions found by hash.

use std::collections::hash_map::DefaultHasher;
use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use super::{Labels, SignalCounts, labels_size};

/// One log entry.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogEntry {
    /// The labels of its stream, shared by the entries of the stream.
    pub labels: Arc<Labels>,
    /// Nanoseconds since 1970.
    pub timestamp_ns: i64,
    /// The text.
    pub line: String,
    /// Structured metadata; keys as Loki keeps them, `http.route` as `http_route`.
    pub structured_metadata: Labels,
}

impl LogEntry {
    /// Structured metadata or, failing that, the stream's label of this name.
    #[must_use]
    pub fn label(&self, name: &str) -> Option<&str> {
        self.structured_metadata.get(name).or_else(|| self.labels.get(name)).map(String::as_str)
    }

    /// The line as JSON, if it is JSON.
    #[must_use]
    pub fn json(&self) -> Option<serde_json::Value> {
        serde_json::from_str(&self.line).ok()
    }

    fn size(&self) -> usize {
        160 + self.line.len() + labels_size(&self.structured_metadata)
    }
}

struct Stored {
    entry: Arc<LogEntry>,
    fingerprint: u64,
}

struct Stream {
    held: usize,
    newest_ns: i64,
}

pub(crate) struct LogStore {
    limit_bytes: usize,
    /// The number of the oldest entry held: each gets the next one, also after everything was forgotten.
    first_number: u64,
    entries: VecDeque<Stored>,
    streams: HashMap<Arc<Labels>, Stream>,
    fingerprints: HashSet<u64>,
    counts: SignalCounts,
}

impl LogStore {
    pub(crate) fn new(limit_bytes: usize) -> Self {
        Self {
            limit_bytes,
            first_number: 0,
            entries: VecDeque::new(),
            streams: HashMap::new(),
            fingerprints: HashSet::new(),
            counts: SignalCounts::default(),
        }
    }

    pub(crate) fn entries(&self) -> impl DoubleEndedIterator<Item = &Arc<LogEntry>> {
        self.entries.iter().map(|stored| &stored.entry)
    }

    pub(super) fn counts(&self) -> SignalCounts {
        self.counts
    }

    pub(super) fn clear(&mut self) {
        let first_number = self.next_number();
        *self = Self { first_number, ..Self::new(self.limit_bytes) };
    }

    /// The number of the oldest entry held.
    #[cfg(feature = "window")]
    pub(crate) fn first_number(&self) -> u64 {
        self.first_number
    }

    /// The number that the next entry will get.
    pub(crate) fn next_number(&self) -> u64 {
        self.first_number + self.entries.len() as u64
    }

    /// The newest time seen in a stream, while entries of it are held.
    pub(crate) fn newest_ns(&self, labels: &Labels) -> Option<i64> {
        self.streams.get(labels).map(|stream| stream.newest_ns)
    }

    pub(crate) fn reject(&mut self, number: u64) {
        self.counts.rejected += number;
    }

    pub(crate) fn push(&mut self, labels: &Labels, timestamp_ns: i64, line: String, structured_metadata: Labels) {
        let mut hasher = DefaultHasher::new();
        (labels, timestamp_ns, &line).hash(&mut hasher);
        let fingerprint = hasher.finish();
        if !self.fingerprints.insert(fingerprint) {
            self.counts.duplicates += 1;
            return;
        }
        let shared = match self.streams.get_key_value(labels) {
            Some((shared, _)) => Arc::clone(shared),
            None => {
                self.counts.held_bytes += stream_size(labels) as u64;
                Arc::new(labels.clone())
            }
        };
        let stream = self.streams.entry(Arc::clone(&shared)).or_insert(Stream { held: 0, newest_ns: timestamp_ns });
        stream.held += 1;
        stream.newest_ns = stream.newest_ns.max(timestamp_ns);
        let entry = Arc::new(LogEntry { labels: shared, timestamp_ns, line, structured_metadata });
        self.counts.received += 1;
        self.counts.held += 1;
        self.counts.held_bytes += entry.size() as u64;
        self.entries.push_back(Stored { entry, fingerprint });
        while self.counts.held_bytes > self.limit_bytes as u64 {
            if !self.evict_oldest() {
                break;
            }
        }
    }

    fn evict_oldest(&mut self) -> bool {
        let Some(Stored { entry, fingerprint }) = self.entries.pop_front() else {
            return false;
        };
        self.first_number += 1;
        self.fingerprints.remove(&fingerprint);
        self.counts.held -= 1;
        self.counts.held_bytes -= entry.size() as u64;
        self.counts.evicted += 1;
        if let Some(stream) = self.streams.get_mut(&entry.labels) {
            stream.held -= 1;
            if stream.held == 0 {
                self.streams.remove(&entry.labels);
                self.counts.held_bytes -= stream_size(&entry.labels) as u64;
            }
        }
        true
    }
}

fn stream_size(labels: &Labels) -> usize {
    96 + labels_size(labels)
}
