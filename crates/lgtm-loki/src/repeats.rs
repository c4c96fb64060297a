//! Leaves out lines that say the same again and again, and says how many they were. Caller threads decide, under the lock of one of
//! several shards; the worker tells what was left out, once a window.
//!
//! A line is one of its kind: of its callsite; for records of the `log` crate of the place in the source that they name, for those of
//! OpenTelemetry of their target, level, event name, and that place.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

use lgtm_core::catalogue::LOGS_SUPPRESSED_TOTAL;
use lgtm_core::span::{Origin, Value, VisitedEvent, cut};
use parking_lot::Mutex;
use tracing_core::Metadata;

const SHARDS: usize = 16;
/// Kinds that are told apart in a shard; further ones are never left out.
const KINDS: usize = 4096;
/// Bytes of a message that are shown where its repetitions are told.
const SHOWN_BYTES: usize = 256;

/// What counts as too often.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// The most lines of a kind within a time.
    pub(crate) rate: Option<(u32, Duration)>,
    /// Lines of a kind with the same message and fields, within this time after the first of them, are one.
    pub(crate) same: Option<Duration>,
}

impl Bounds {
    /// How often is told what was left out.
    pub(crate) fn interval(&self) -> Option<Duration> {
        let rate = self.rate.map(|(_, window)| window);
        rate.into_iter().chain(self.same).min().map(|least| least.max(Duration::from_secs(1)))
    }
}

/// The kinds of lines, and how often they came.
#[derive(Debug)]
pub(crate) struct Repeats {
    bounds: Bounds,
    hasher: RandomState,
    shards: [Mutex<HashMap<u64, Kind>>; SHARDS],
}

/// One kind of line. Times are nanoseconds since the Unix epoch.
#[derive(Debug)]
struct Kind {
    callsite: &'static Metadata<'static>,
    /// Of a record of another API.
    origin: Option<Origin>,
    window_begin: u64,
    in_window: u32,
    /// Of the last line that was not left out as the same.
    text: u64,
    text_begin: u64,
    left_out: LeftOut,
}

/// What was left out since it was told.
#[derive(Debug, Default)]
struct LeftOut {
    by_rate: u64,
    the_same: u64,
    /// The message of the last one.
    message: String,
}

impl Repeats {
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self { bounds, hasher: RandomState::new(), shards: std::array::from_fn(|_| Mutex::default()) }
    }

    /// Whether the event becomes a line.
    pub(crate) fn admits(&self, callsite: &'static Metadata<'static>, event: &VisitedEvent) -> bool {
        let place = std::ptr::from_ref(callsite).addr();
        let key = match event.origin() {
            None => self.hasher.hash_one(place),
            Some(origin) => {
                let name = origin.record.as_ref().map_or("", |record| record.event_name);
                self.hasher.hash_one((place, &origin.target, &origin.file, origin.line, name))
            }
        };
        let text = match self.bounds.same {
            Some(_) => self.hasher.hash_one((event.message(), event.json_fields(), event.attributes())),
            None => 0,
        };
        let Some(shard) = self.shards.get(key as usize % SHARDS) else { return true };
        let mut kinds = shard.lock();
        if kinds.len() >= KINDS && !kinds.contains_key(&key) {
            return true;
        }
        let now = event.timestamp;
        let kind = kinds.entry(key).or_insert_with(|| Kind {
            callsite,
            origin: event.origin().cloned(),
            window_begin: now,
            in_window: 0,
            text: !text,
            text_begin: 0,
            left_out: LeftOut::default(),
        });
        kind.admits(&self.bounds, text, event.message(), now)
    }

    /// What was left out since the last time, as events that say so, each with the callsite that it is about.
    pub(crate) fn tell(&self, now: u64, mut tell: impl FnMut(&'static Metadata<'static>, &VisitedEvent)) {
        for shard in &self.shards {
            let told: Vec<_> = {
                let mut kinds = shard.lock();
                let any = kinds.values_mut().filter(|kind| kind.left_out.by_rate + kind.left_out.the_same > 0);
                any.map(|kind| (kind.callsite, kind.origin.clone(), std::mem::take(&mut kind.left_out))).collect()
            };
            for (callsite, origin, left_out) in told {
                let LeftOut { by_rate, the_same, message } = left_out;
                for (reason, count) in [("rate", by_rate), ("same", the_same)] {
                    if count > 0 {
                        lgtm_core::suppressed(|| {
                            metrics::counter!(LOGS_SUPPRESSED_TOTAL, "reason" => reason).increment(count);
                        });
                    }
                }
                let suppressed = i64::try_from(by_rate + the_same).unwrap_or(i64::MAX);
                let message = format!("{suppressed} more lines like this one were left out: {message}");
                let mut event = VisitedEvent::of_layer(&message, &[("suppressed", Value::Integer(suppressed))]);
                event.timestamp = now;
                event.set_origin(origin);
                tell(callsite, &event);
            }
        }
    }
}

impl Kind {
    fn admits(&mut self, bounds: &Bounds, text: u64, message: &str, now: u64) -> bool {
        // A clock that was set back begins anew.
        let is_within = |begin: u64, window: Duration| now >= begin && u128::from(now - begin) < window.as_nanos();
        if let Some(window) = bounds.same {
            if text == self.text && is_within(self.text_begin, window) {
                self.left_out.the_same += 1;
                self.left_out.note(message);
                return false;
            }
            (self.text, self.text_begin) = (text, now);
        }
        if let Some((most, window)) = bounds.rate {
            if !is_within(self.window_begin, window) {
                (self.window_begin, self.in_window) = (now, 0);
            }
            if self.in_window >= most {
                self.left_out.by_rate += 1;
                self.left_out.note(message);
                return false;
            }
            self.in_window += 1;
        }
        true
    }
}

impl LeftOut {
    fn note(&mut self, message: &str) {
        self.message.clear();
        self.message.push_str(cut(message, SHOWN_BYTES));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn kind() -> Kind {
        struct Callsite;
        impl tracing_core::Callsite for Callsite {
            fn set_interest(&self, _: tracing_core::Interest) {}
            fn metadata(&self) -> &Metadata<'_> {
                &METADATA
            }
        }
        static CALLSITE: Callsite = Callsite;
        static METADATA: Metadata<'static> = tracing_core::metadata! {
            name: "event", target: "test", level: tracing_core::Level::INFO, fields: &[], callsite: &CALLSITE,
            kind: tracing_core::metadata::Kind::EVENT
        };
        Kind {
            callsite: &METADATA,
            origin: None,
            window_begin: 0,
            in_window: 0,
            text: 0,
            text_begin: 0,
            left_out: LeftOut::default(),
        }
    }

    #[test]
    fn so_many_lines_of_a_kind_pass_in_each_window() {
        let bounds = Bounds { rate: Some((3, Duration::from_secs(1))), same: None };
        let mut kind = kind();
        let passed = |kind: &mut Kind, now| (0..10).filter(|_| kind.admits(&bounds, 0, "x", now)).count();
        assert_eq!(
            [passed(&mut kind, SECOND), passed(&mut kind, SECOND + 5), passed(&mut kind, 2 * SECOND)],
            [3, 0, 3]
        );
        // The clock was set back.
        assert_eq!(passed(&mut kind, SECOND), 3);
        assert_eq!(kind.left_out.by_rate, 7 + 10 + 7 + 7);
    }

    #[test]
    fn the_same_line_passes_once_in_a_window_and_another_one_begins_anew() {
        let bounds = Bounds { rate: None, same: Some(Duration::from_secs(5)) };
        let mut kind = kind();
        let seen = [(1, 1), (1, 2), (2, 3), (2, 4), (1, 5), (1, 9), (1, 11)];
        let passed: Vec<_> = seen.iter().filter(|(text, at)| kind.admits(&bounds, *text, "x", at * SECOND)).collect();
        assert_eq!(passed, [&(1, 1), &(2, 3), &(1, 5), &(1, 11)]);
        assert_eq!((kind.left_out.the_same, kind.left_out.message.as_str()), (3, "x"));
    }
}
