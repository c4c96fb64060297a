//! Log entries by arrival, their label sets shared, repetitions found by hash.

use std::collections::hash_map::DefaultHasher;
use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::{Hash, Hasher};
#[cfg(feature = "window")]
use std::num::{NonZeroU64, NonZeroU128};
use std::sync::Arc;

#[cfg(feature = "window")]
use super::names::{Name, Names};
use super::size::{heap, labels_size};
use super::{Labels, SignalCounts};
#[cfg(feature = "window")]
use crate::fields::{self, Level};

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
        // With its counts as a shared item, its place in the queue, and its fingerprint.
        heap(size_of::<Self>() + 16)
            + size_of::<Stored>()
            + 24
            + heap(self.line.len())
            + labels_size(&self.structured_metadata)
    }
}

struct Stored {
    entry: Arc<LogEntry>,
    fingerprint: u64,
    #[cfg(feature = "window")]
    facts: LineFacts,
}

/// What the window's lists look at, beside the line itself: they go through all that is held.
#[cfg(feature = "window")]
#[derive(Clone, Copy, Debug)]
pub(crate) struct LineFacts {
    pub(crate) time_ns: i64,
    pub(crate) trace: Option<NonZeroU128>,
    pub(crate) span: Option<NonZeroU64>,
    pub(crate) service: Name,
    pub(crate) level: Level,
}

/// One line in place.
#[cfg(feature = "window")]
#[derive(Clone, Copy)]
pub(crate) struct Line<'a> {
    /// Which it has for as long as the stack runs.
    pub(crate) number: u64,
    pub(crate) facts: &'a LineFacts,
    pub(crate) entry: &'a Arc<LogEntry>,
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
    #[cfg(feature = "window")]
    services: Names,
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
            #[cfg(feature = "window")]
            services: Names::default(),
            counts: SignalCounts::default(),
        }
    }

    pub(crate) fn entries(&self) -> impl DoubleEndedIterator<Item = &Arc<LogEntry>> {
        self.entries.iter().map(|stored| &stored.entry)
    }

    pub(super) fn counts(&self) -> SignalCounts {
        SignalCounts { held_bytes: self.bytes(), ..self.counts }
    }

    /// With what is not of one entry.
    fn bytes(&self) -> u64 {
        #[cfg(feature = "window")]
        let names = self.services.bytes();
        #[cfg(not(feature = "window"))]
        let names = 0;
        self.counts.held_bytes + names
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

    /// The lines held with numbers from `from` on, oldest arrival first.
    #[cfg(feature = "window")]
    pub(crate) fn lines(&self, from: u64) -> impl DoubleEndedIterator<Item = Line<'_>> {
        let skip = usize::try_from(from.saturating_sub(self.first_number)).unwrap_or(usize::MAX);
        let first = self.first_number;
        self.entries.iter().enumerate().skip(skip).map(move |(place, stored)| Line {
            number: first + place as u64,
            facts: &stored.facts,
            entry: &stored.entry,
        })
    }

    /// The line of this number, if it is held.
    #[cfg(feature = "window")]
    pub(crate) fn line(&self, number: u64) -> Option<Line<'_>> {
        let place = usize::try_from(number.checked_sub(self.first_number)?).ok()?;
        self.entries.get(place).map(|stored| Line { number, facts: &stored.facts, entry: &stored.entry })
    }

    /// The services of the lines held.
    #[cfg(feature = "window")]
    pub(crate) fn services(&self) -> &Names {
        &self.services
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
        #[cfg(feature = "window")]
        let facts = {
            let told = fields::told(&entry);
            LineFacts {
                time_ns: timestamp_ns,
                trace: told.trace,
                span: told.span,
                service: self.services.take(told.service),
                level: told.level,
            }
        };
        self.entries.push_back(Stored {
            entry,
            fingerprint,
            #[cfg(feature = "window")]
            facts,
        });
        while self.bytes() > self.limit_bytes as u64 {
            if !self.evict_oldest() {
                break;
            }
        }
    }

    fn evict_oldest(&mut self) -> bool {
        let Some(stored) = self.entries.pop_front() else {
            return false;
        };
        #[cfg(feature = "window")]
        self.services.give_back(stored.facts.service);
        let Stored { entry, fingerprint, .. } = stored;
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
    192 + labels_size(labels)
}
