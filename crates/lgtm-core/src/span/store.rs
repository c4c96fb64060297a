//! Keeps the span records beside a registry: direct-mapped slots chosen by the span's id, with the full id checked, and
//! overflow maps for spans whose slot is taken. Caller threads; a slot's lock is held for copying only.
//!
//! No thread holds two of these locks.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use parking_lot::Mutex;
use tracing_core::span::{Attributes, Id, Record};
use tracing_core::{Dispatch, Metadata};
use tracing_subscriber::Registry;

use super::fields::{FieldVisitor, SPAN_ATTRIBUTE, SpanKind, Status, VisitLimits, Visited};
use super::ids::IdSource;
use super::record::{Bounds, Limits, SpanRecord};
use super::redact;
use super::undecided::{KeepRules, UndecidedTrace};
use crate::callsite;
use crate::clock;
use crate::current::{self, TraceContext};
use crate::ids::{self, SpanId, TraceId};
use crate::sampler::Sampler;

const SLOT_BITS: u32 = 11;
/// The part of a registry's id that says where the span lies (page and thread); the rest counts how often the place was used. Spans
/// that one thread opens one after the other lie at one place: they find one slot, which is in the cache. With other ids
/// slots are only chosen less well.
const PLACE_BITS: u32 = 51;
const OVERFLOWS: usize = 64;
const LOG_EPOCHS: usize = 256;

/// Spans whose slot is taken.
#[derive(Default)]
pub(super) struct Overflow {
    /// How many: read without the lock.
    pub(super) count: AtomicUsize,
    pub(super) spans: Mutex<HashMap<u64, SpanRecord>>,
}

/// The records of one registry.
pub(crate) struct SpanStore {
    /// Tells stores apart in the stack of current spans.
    pub(crate) id: u32,
    bounds: OnceLock<Bounds>,
    keep: OnceLock<KeepRules>,
    pub(super) slots: Box<[Mutex<SpanRecord>]>,
    /// For each slot a span whose record says that its id has left the process: saves the look at the record.
    exposed: Box<[AtomicU64]>,
    pub(super) overflow: Box<[Overflow]>,
    /// By the trace: counted on when a span changes whose fields are in cached log contexts.
    log_epochs: Box<[AtomicU32]>,
    /// The bits in use by attached layers.
    pub(super) attached: AtomicU32,
    /// The bits of those that export spans.
    pub(super) exporters: AtomicU32,
    /// The bits of those that read the fields of events as attributes, and as JSON.
    pub(super) attribute_readers: AtomicU32,
    pub(super) json_readers: AtomicU32,
    pub(super) sampler: OnceLock<Sampler>,
    /// Who assigns ids in the store's place.
    pub(super) id_source: OnceLock<Arc<dyn IdSource>>,
}

thread_local! {
    /// The span this thread opened last: the other layers look it up right after.
    static LAST_OPENED: Cell<(u32, u64)> = const { Cell::new((0, 0)) };
    static SCRATCH: RefCell<Option<Box<Visited>>> = const { RefCell::new(None) };
}

/// The stores in use, by the address of their registry.
static STORES: Mutex<Vec<(usize, Weak<SpanStore>)>> = Mutex::new(Vec::new());

/// The store of this subscriber's registry; created if it is the first layer that asks. `None` if the subscriber is not
/// built on tracing-subscriber's `Registry`.
pub(crate) fn find_or_create_store(dispatch: &Dispatch) -> Option<Arc<SpanStore>> {
    let address = std::ptr::from_ref(dispatch.downcast_ref::<Registry>()?).addr();
    let mut stores = STORES.lock();
    stores.retain(|(_, store)| store.strong_count() > 0);
    if let Some(store) = stores.iter().find(|(known, _)| *known == address).and_then(|(_, store)| store.upgrade()) {
        return Some(store);
    }
    let store = Arc::new(SpanStore::new());
    stores.push((address, Arc::downgrade(&store)));
    Some(store)
}

/// The store of this subscriber's registry, if a layer of ours is on it.
pub(crate) fn find_store(dispatch: &Dispatch) -> Option<Arc<SpanStore>> {
    let address = std::ptr::from_ref(dispatch.downcast_ref::<Registry>()?).addr();
    STORES.lock().iter().find(|(known, _)| *known == address).and_then(|(_, store)| store.upgrade())
}

impl SpanStore {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        clock::begin_watch();
        let count = 1 << SLOT_BITS;
        Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            bounds: OnceLock::new(),
            keep: OnceLock::new(),
            slots: (0..count).map(|_| Mutex::default()).collect(),
            exposed: (0..count).map(|_| AtomicU64::new(0)).collect(),
            overflow: (0..OVERFLOWS).map(|_| Overflow::default()).collect(),
            log_epochs: (0..LOG_EPOCHS).map(|_| AtomicU32::new(0)).collect(),
            attached: AtomicU32::new(0),
            exporters: AtomicU32::new(0),
            attribute_readers: AtomicU32::new(0),
            json_readers: AtomicU32::new(0),
            sampler: OnceLock::new(),
            id_source: OnceLock::new(),
        }
    }

    /// The first ones count.
    pub(crate) fn set_limits(&self, limits: Limits) {
        let _ = self.bounds.set(Bounds::of(limits));
    }

    /// The first ones count.
    pub(crate) fn set_keep_rules(&self, rules: KeepRules) {
        let _ = self.keep.set(rules);
    }

    #[inline]
    pub(crate) fn bounds(&self) -> &Bounds {
        static DEFAULT: Bounds = Bounds::DEFAULT;
        self.bounds.get().unwrap_or(&DEFAULT)
    }

    #[inline]
    pub(crate) fn limits(&self) -> &Limits {
        &self.bounds().exported
    }

    #[inline]
    pub(super) fn slot_index(id: u64) -> usize {
        let place = id & ((1 << PLACE_BITS) - 1);
        (place.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - SLOT_BITS)) as usize
    }

    /// Runs `use_record` on the record of an open span.
    #[inline]
    pub(crate) fn with<R>(&self, id: u64, use_record: impl FnOnce(&mut SpanRecord) -> R) -> Option<R> {
        let mut slot = self.slots.get(Self::slot_index(id))?.lock();
        if slot.id == id {
            return Some(use_record(&mut slot));
        }
        drop(slot);
        let overflow = self.overflow_of(id)?;
        if overflow.count.load(Ordering::Relaxed) == 0 {
            return None;
        }
        overflow.spans.lock().get_mut(&id).map(use_record)
    }

    #[inline]
    fn overflow_of(&self, id: u64) -> Option<&Overflow> {
        self.overflow.get(Self::slot_index(id) % OVERFLOWS)
    }

    /// An id of this span leaves the process: its parent can no longer change.
    #[inline]
    pub(crate) fn expose(&self, id: u64) {
        if let Some(exposed) = self.exposed.get(Self::slot_index(id))
            && exposed.load(Ordering::Relaxed) != id
        {
            self.settle_ids(id);
            if self.with(id, |record| record.exposed = true).is_none() {
                return;
            }
            exposed.store(id, Ordering::Relaxed);
        }
    }

    /// A layer sees a span open: the first one creates the record. `ancestor` finds the nearest ancestor with a record of
    /// an explicit parent that has none.
    ///
    /// Gives the span's kind, as its fields say it.
    pub(crate) fn open(
        &self,
        bit: u32,
        attributes: &Attributes<'_>,
        id: &Id,
        ancestor: impl FnOnce() -> Option<u64>,
    ) -> SpanKind {
        let id = id.into_u64();
        if LAST_OPENED.with(Cell::get) == (self.id, id)
            && let Some(kind) = self.join(bit, id)
        {
            return kind;
        }
        let (parent, inherited) = self.parent_of(attributes, ancestor);
        let mut visited = SCRATCH.try_with(|scratch| scratch.take()).ok().flatten().unwrap_or_default();
        visited.clear();
        if !self.nobody_reads(inherited.as_ref()) {
            let special = callsite::special(attributes.metadata());
            visited.has_json = self.wants_json() && special.is_none() && callsite::expects_lines(attributes.metadata());
            let mut visitor = FieldVisitor { visited: &mut visited, tag: SPAN_ATTRIBUTE, limits: self.span_visit() };
            match special {
                None => attributes.record(&mut visitor),
                Some(special) => redact::visit_special(visitor, special, &|visitor| attributes.record(visitor)),
            }
        }
        let kind = visited.kind.unwrap_or_default();
        let metadata = attributes.metadata();
        self.insert(
            bit,
            Opening { id, parent, inherited, metadata, visited: &mut visited, start: clock::unix_nanos() },
        );
        LAST_OPENED.with(|last| last.set((self.id, id)));
        visited.trim(16 * 1024);
        let _ = SCRATCH.try_with(|scratch| scratch.replace(Some(visited)));
        kind
    }

    /// Whether the fields of such a parent's child are of no use: its trace is left out for good, and no layer but those that export
    /// looks at spans. A local root may still get a parent that says otherwise.
    #[inline]
    fn nobody_reads(&self, inherited: Option<&Inherited>) -> bool {
        inherited.is_some_and(|parent| !parent.sampled && parent.undecided.is_none())
            && self.attached.load(Ordering::Relaxed) == self.exporters.load(Ordering::Relaxed)
            && self.id_source.get().is_none()
    }

    #[inline]
    pub(super) fn span_visit(&self) -> VisitLimits {
        self.bounds().visit_span
    }

    /// Fills the record of this id where there is one, else a vacant one.
    fn insert(&self, bit: u32, opening: Opening<'_>) {
        let id = opening.id;
        let index = Self::slot_index(id);
        let (Some(slot), Some(overflow)) = (self.slots.get(index), self.overflow_of(id)) else { return };
        // The slot may have become vacant since another layer put the record into the overflow.
        if overflow.count.load(Ordering::Relaxed) > 0
            && let Some(record) = overflow.spans.lock().get_mut(&id)
        {
            return self.fill(record, bit, opening);
        }
        let mut slot = slot.lock();
        if slot.id == 0 || slot.id == id {
            return self.fill(&mut slot, bit, opening);
        }
        drop(slot);
        let mut spans = overflow.spans.lock();
        self.fill(spans.entry(id).or_default(), bit, opening);
        overflow.count.store(spans.len(), Ordering::Relaxed);
    }

    /// A further layer sees the span that this thread has just opened.
    fn join(&self, bit: u32, id: u64) -> Option<SpanKind> {
        let exports = self.exporters.load(Ordering::Relaxed) & bit != 0;
        self.with(id, |record| {
            if record.layers & bit != 0 {
                return None;
            }
            record.layers |= bit;
            if exports {
                record.anchor = record.span_id;
            }
            Some(record.kind)
        })
        .flatten()
    }

    fn fill(&self, record: &mut SpanRecord, bit: u32, opening: Opening<'_>) {
        let Opening { id, parent, inherited, metadata, visited, start } = opening;
        let exporters = self.exporters.load(Ordering::Relaxed);
        if record.id == id && record.layers & bit == 0 {
            // Opened by another layer, with spans of a `Debug` implementation in between.
            record.layers |= bit;
            if exporters & bit != 0 {
                record.anchor = record.span_id;
            }
            return;
        }
        if record.id != 0 {
            // A record of the same id that still waits for this layer is stale: ids repeat.
            record.recycle();
        }
        if let Some(exposed) = self.exposed.get(Self::slot_index(id))
            && exposed.load(Ordering::Relaxed) == id
        {
            exposed.store(0, Ordering::Relaxed);
        }
        record.id = id;
        record.layers = bit;
        record.parent = parent;
        record.metadata = Some(metadata);
        record.start = start;
        match inherited {
            Some(inherited) => {
                record.span_id = SpanId::random();
                record.trace_id = inherited.trace_id;
                record.anchor = inherited.anchor;
                record.parent_span_id = inherited.anchor;
                record.remote_parent = inherited.remote;
                record.sampled = inherited.sampled;
                record.probability = inherited.probability;
                record.undecided = inherited.undecided;
                record.random_trace_id = inherited.random_trace_id;
                record.trace_state = inherited.trace_state;
            }
            None => {
                (record.trace_id, record.span_id) = ids::random_root();
                self.decide_head(record, None);
            }
        }
        if exporters == 0 || exporters & bit != 0 {
            record.anchor = record.span_id;
        }
        record.take_fields(visited);
    }

    /// The decision at the start of a local root; where the keep rules may change it, its spans wait.
    pub(super) fn decide_head(&self, record: &mut SpanRecord, remote: Option<bool>) {
        let (sampled, probability) = self.sampler().decide_with_probability(record.trace_id, remote);
        record.sampled = sampled;
        record.probability = probability.unwrap_or(0.0);
        record.undecided = match self.keep.get() {
            // A trace that is kept with certainty has nothing to wait for.
            Some(rules) if !record.sampled || record.probability > 0.0 && record.probability < 1.0 => {
                Some(UndecidedTrace::begin(*rules, record.sampled, record.probability, record.start))
            }
            _ => None,
        };
    }

    fn sampler(&self) -> &Sampler {
        static DEFAULT: Sampler = Sampler::ParentBased(crate::sampler::Root::AlwaysOn);
        self.sampler.get().unwrap_or(&DEFAULT)
    }

    fn parent_of(
        &self,
        attributes: &Attributes<'_>,
        ancestor: impl FnOnce() -> Option<u64>,
    ) -> (u64, Option<Inherited>) {
        let parent = if attributes.is_contextual() {
            current::innermost(self.id).map(|(span, _)| span)
        } else {
            attributes.parent().and_then(|parent| {
                let id = parent.into_u64();
                if self.with(id, |_| ()).is_some() { Some(id) } else { ancestor() }
            })
        };
        let Some(parent) = parent else { return (0, None) };
        self.settle_ids(parent);
        let inherited = self.with(parent, |record| {
            record.exposed = true;
            Inherited {
                trace_id: record.trace_id,
                anchor: record.anchor,
                remote: record.remote_parent && record.anchor != record.span_id,
                sampled: record.sampled,
                probability: record.probability,
                undecided: record.undecided.clone(),
                random_trace_id: record.random_trace_id,
                trace_state: record.trace_state.clone(),
            }
        });
        (if inherited.is_some() { parent } else { 0 }, inherited)
    }

    /// Fields recorded late. Every layer is told; the one with the lowest bit of those that see the span does it.
    pub(crate) fn record(&self, bit: u32, id: &Id, values: &Record<'_>) {
        let id = id.into_u64();
        let seen = self.with(id, |record| (record.layers & record.layers.wrapping_neg(), record.metadata));
        let Some((first, callsite)) = seen else { return };
        if first != bit {
            return;
        }
        let limits = self.span_visit();
        let visit = |visited: &mut Visited| {
            let mut visitor = FieldVisitor { visited, tag: SPAN_ATTRIBUTE, limits };
            match callsite.and_then(|callsite| callsite::special(callsite)) {
                None => values.record(&mut visitor),
                Some(special) => redact::visit_special(visitor, special, &|visitor| values.record(visitor)),
            }
        };
        self.merge(id, visit, false);
    }

    /// Merges what `visit` finds into the span's fields; `foreign`: these are not all fields of its macro.
    pub(super) fn merge(&self, id: u64, visit: impl FnOnce(&mut Visited), foreign: bool) {
        let mut visited = SCRATCH.try_with(|scratch| scratch.take()).ok().flatten().unwrap_or_default();
        visited.clear();
        visit(&mut visited);
        self.with(id, |record| {
            record.merge_fields(&mut visited, self.span_visit());
            record.has_foreign_attributes |= foreign;
            if std::mem::take(&mut record.logged)
                && let Some(epoch) = self.log_epoch_of(record.trace_id)
            {
                // Under the lock: whoever records next finds the cached contexts stale already.
                epoch.fetch_add(1, Ordering::Release);
            }
        });
        visited.trim(16 * 1024);
        let _ = SCRATCH.try_with(|scratch| scratch.replace(Some(visited)));
    }

    fn log_epoch_of(&self, trace: TraceId) -> Option<&AtomicU32> {
        self.log_epochs.get(trace.low_bits() as usize % LOG_EPOCHS)
    }

    pub(super) fn log_epoch(&self, trace: TraceId) -> u32 {
        self.log_epoch_of(trace).map_or(0, |epoch| epoch.load(Ordering::Acquire))
    }

    /// Whether the record's log context is this layer's, and no span that it tells of has changed since.
    #[inline]
    pub(super) fn is_fresh(&self, bit: u32, record: &SpanRecord) -> bool {
        record.log.layer == bit && record.log.epoch == self.log_epoch(record.trace_id)
    }

    pub(crate) fn enter(&self, bit: u32, id: &Id) {
        let id = id.into_u64();
        self.settle_ids(id);
        let attached = self.attached.load(Ordering::Relaxed);
        current::enter(self.id, bit, attached, id, || self.with(id, |record| record.context()));
    }

    pub(crate) fn exit(&self, bit: u32, id: &Id) {
        current::exit(self.id, bit, self.attached.load(Ordering::Relaxed), id.into_u64());
    }

    /// A layer sees a span close: `use_record` reads it, and the last layer frees it.
    pub(crate) fn close<R>(&self, bit: u32, id: &Id, use_record: impl FnOnce(&mut SpanRecord) -> R) -> Option<R> {
        let id = id.into_u64();
        self.settle_ids(id);
        let mut slot = self.slots.get(Self::slot_index(id))?.lock();
        if slot.id == id {
            if slot.undecided.is_some() && slot.end == 0 {
                drop(slot);
                self.end_undecided(id);
                slot = self.slots.get(Self::slot_index(id))?.lock();
            }
            return close_record(&mut slot, bit, use_record).map(|(used, _)| used);
        }
        drop(slot);
        let overflow = self.overflow_of(id)?;
        if overflow.count.load(Ordering::Relaxed) == 0 {
            return None;
        }
        self.end_undecided(id);
        let mut spans = overflow.spans.lock();
        let (used, last) = close_record(spans.get_mut(&id)?, bit, use_record)?;
        if last {
            spans.remove(&id);
            overflow.count.store(spans.len(), Ordering::Relaxed);
        }
        Some(used)
    }

    /// The first layer sees a span close whose trace waits for a decision: if it is the local root, it decides, before any
    /// layer looks at the closed span.
    #[cold]
    fn end_undecided(&self, id: u64) {
        let ended = self.with(id, |record| {
            let trace = record.undecided.clone().filter(|_| record.end == 0)?;
            record.end = clock::end_of(record.start);
            if record.ends_at_source() {
                return None;
            }
            Some((trace, record.status == Status::Error, record.parent == 0, record.end))
        });
        if let Some((trace, failed, root, end)) = ended.flatten() {
            trace.span_ended(failed, root, end);
        }
    }
}

#[cfg(test)]
impl SpanStore {
    /// How many spans have a record.
    pub(super) fn open_records(&self) -> usize {
        let in_slots = self.slots.iter().filter(|slot| slot.lock().id != 0).count();
        let counts = self.overflow.iter().map(|overflow| {
            let length = overflow.spans.lock().len();
            assert_eq!(overflow.count.load(Ordering::Relaxed), length);
            length
        });
        in_slots + counts.sum::<usize>()
    }
}

/// What a child takes over.
struct Inherited {
    trace_id: TraceId,
    anchor: SpanId,
    /// Whether the anchor is in another process.
    remote: bool,
    sampled: bool,
    probability: f64,
    undecided: Option<Arc<UndecidedTrace>>,
    random_trace_id: bool,
    trace_state: Option<Arc<str>>,
}

/// A span that opens, its fields visited.
struct Opening<'a> {
    id: u64,
    parent: u64,
    inherited: Option<Inherited>,
    metadata: &'static Metadata<'static>,
    visited: &'a mut Visited,
    start: u64,
}

/// Takes a layer's bit off a record; true if it was the last and the record is vacant now.
#[inline]
pub(super) fn leave(record: &mut SpanRecord, bit: u32) -> bool {
    if record.id == 0 || record.layers & bit == 0 {
        return false;
    }
    record.layers &= !bit;
    if record.layers == 0 {
        record.recycle();
        return true;
    }
    false
}

#[inline]
fn close_record<R>(
    record: &mut SpanRecord,
    bit: u32,
    use_record: impl FnOnce(&mut SpanRecord) -> R,
) -> Option<(R, bool)> {
    if record.layers & bit == 0 {
        return None;
    }
    if record.end == 0 {
        record.end = clock::end_of(record.start);
    }
    let used = use_record(record);
    Some((used, leave(record, bit)))
}

/// The trace of the innermost span of this store on the calling thread, or of the event's explicit parent.
pub(crate) fn context_of_event(
    store: &SpanStore,
    event: &tracing_core::Event<'_>,
) -> Option<(u64, Option<TraceContext>)> {
    if event.is_contextual() {
        let innermost = current::innermost(store.id);
        let Some(source) = store.id_source.get() else { return innermost };
        // The fields in the line are those of the span that was entered last: of another library's nobody knows them.
        let (span, trace) = innermost.unwrap_or((0, None));
        let elsewhere = source.current(trace.map(|trace| trace.span_id));
        return Some((span, elsewhere.map(|ids| ids.context()).or(trace)));
    }
    let parent = event.parent()?.into_u64();
    store.settle_ids(parent);
    store.with(parent, |record| (parent, record.context()))
}
