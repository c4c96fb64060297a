//! The layers of a registry: a bit for each, and what those read that are there. Caller threads.

use std::sync::atomic::Ordering;

use super::attachment::EventFields;
use super::record::SpanRecord;
use super::store::{SpanStore, leave};
use crate::current;
use crate::sampler::Sampler;

impl SpanStore {
    /// A bit for one more layer; `None` when 32 are attached.
    pub(crate) fn attach(&self, exports: bool, fields: EventFields, sampler: Option<&Sampler>) -> Option<u32> {
        let taken = self
            .attached
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |bits| (bits != u32::MAX).then(|| bits | (bits + 1)))
            .ok()?;
        let bit = !taken & taken.wrapping_add(1);
        if exports {
            self.exporters.fetch_or(bit, Ordering::Relaxed);
        }
        match fields {
            EventFields::Attributes => self.attribute_readers.fetch_or(bit, Ordering::Relaxed),
            EventFields::Json => self.json_readers.fetch_or(bit, Ordering::Relaxed),
            EventFields::None => 0,
        };
        if let Some(sampler) = sampler {
            // The first one counts: two samplers in one registry cannot both decide.
            let _ = self.sampler.set(sampler.clone());
        }
        Some(bit)
    }

    /// Whether a layer reads the fields of events as JSON.
    #[inline]
    pub(super) fn wants_json(&self) -> bool {
        self.json_readers.load(Ordering::Relaxed) != 0
    }

    /// Whether a layer reads them as attributes.
    #[inline]
    pub(super) fn wants_attributes(&self) -> bool {
        self.attribute_readers.load(Ordering::Relaxed) != 0
    }

    /// A layer is gone: its spans must not wait for it.
    pub(crate) fn detach(&self, bit: u32) {
        let forget = |record: &mut SpanRecord| {
            if record.log.layer == bit {
                record.log.layer = 0;
            }
            leave(record, bit)
        };
        for slot in &self.slots {
            forget(&mut slot.lock());
        }
        for overflow in &self.overflow {
            let mut spans = overflow.spans.lock();
            spans.retain(|_, record| !forget(record));
            overflow.count.store(spans.len(), Ordering::Relaxed);
        }
        self.exporters.fetch_and(!bit, Ordering::Relaxed);
        self.attribute_readers.fetch_and(!bit, Ordering::Relaxed);
        self.json_readers.fetch_and(!bit, Ordering::Relaxed);
        let attached = self.attached.fetch_and(!bit, Ordering::Relaxed) & !bit;
        current::forget_all_detached(self.id, attached);
    }
}
