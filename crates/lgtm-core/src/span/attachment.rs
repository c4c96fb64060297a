//! Ties a layer to the span store of its registry. Caller threads.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use tracing_core::dispatcher::WeakDispatch;
use tracing_core::span::{Attributes, Id, Record};
use tracing_core::{Dispatch, Event, Interest, Metadata, Subscriber};
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use super::event::{self, VisitedEvent};
use super::fields::SpanKind;
use super::ids::IdSource;
use super::record::{Limits, LogContext, SpanRecord};
use super::store::{self, SpanStore};
use super::undecided::KeepRules;
use crate::current::{self, TraceContext};
use crate::elsewhere;
use crate::ids;
use crate::sampler::Sampler;
use crate::suppress::is_suppressed;

/// A closure that is shown one span after the other.
pub type VisitSpan<'a> = &'a mut dyn FnMut(&SpanRecord);

/// What a layer does with spans.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Exports them: only spans that such a layer sees are pointed at, once one is on the registry.
    Exporter,
    /// Only looks at them.
    Observer,
}

/// How a layer reads the fields of events: what nobody reads is not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventFields {
    /// As [`VisitedEvent::attributes`].
    Attributes,
    /// As [`VisitedEvent::json_fields`] where an event has them, else as attributes.
    Json,
    /// It does not.
    None,
}

/// A layer's tie to the records of its registry: every layer owns one and forwards its callbacks to it.
///
/// All layers on one `Registry` share its records, in whatever order they were added. A layer whose
/// `on_register_dispatch` is not forwarded (inside an `Option`, in tracing-subscriber 0.3) finds them at its first span
/// if its subscriber is the global default; else it works with records, and ids, of its own.
pub struct Attachment {
    role: Role,
    sampler: Option<Sampler>,
    id_source: Option<Arc<dyn IdSource>>,
    limits: Option<Limits>,
    keep: Option<KeepRules>,
    event_fields: EventFields,
    attached: OnceLock<Attached>,
    /// The subscriber, as far as it is known.
    dispatch: OnceLock<WeakDispatch>,
}

struct Attached {
    store: Arc<SpanStore>,
    /// 0: no bit was free, or the layer is retired; it sees nothing.
    bit: AtomicU32,
}

impl Attached {
    #[inline]
    fn bit(&self) -> u32 {
        self.bit.load(Ordering::Relaxed)
    }
}

impl std::fmt::Debug for Attachment {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Attachment")
            .field("role", &self.role)
            .field("store", &self.attached.get().map(|attached| attached.store.id))
            .finish()
    }
}

impl Attachment {
    /// A tie that is not attached yet. The first sampler on a registry decides for all its layers.
    #[must_use]
    pub fn new(role: Role, sampler: Option<Sampler>) -> Self {
        Self {
            role,
            sampler,
            id_source: None,
            limits: None,
            keep: None,
            event_fields: EventFields::Attributes,
            attached: OnceLock::new(),
            dispatch: OnceLock::new(),
        }
    }

    /// Bounds of the registry's spans. The first ones on a registry count. Without: [`Limits::default`].
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = Some(limits);
        self
    }

    /// What keeps traces that the sampler leaves out. The first rules on a registry count. Without: nothing does.
    #[must_use]
    pub fn with_keep_rules(mut self, rules: KeepRules) -> Self {
        self.keep = Some(rules);
        self
    }

    /// How the layer reads the fields of events. Default: as attributes.
    #[must_use]
    pub fn with_event_fields(mut self, fields: EventFields) -> Self {
        self.event_fields = fields;
        self
    }

    /// The ids of the spans that this layer sees are assigned by another library. The first source on a registry counts.
    #[must_use]
    pub fn with_id_source(mut self, source: Arc<dyn IdSource>) -> Self {
        self.id_source = Some(source);
        self
    }

    /// Attaches to the registry of this subscriber: for `Layer::on_register_dispatch`.
    pub fn register(&self, dispatch: &Dispatch) {
        let _ = self.dispatch.set(dispatch.downgrade());
        if let Some(store) = store::find_or_create_store(dispatch) {
            let _ = self.attached.get_or_init(|| self.attach(store));
        }
    }

    fn attach(&self, store: Arc<SpanStore>) -> Attached {
        let bit = store.attach(self.role == Role::Exporter, self.event_fields, self.sampler.as_ref()).unwrap_or(0);
        if let Some(limits) = self.limits {
            store.set_limits(limits);
        }
        if let Some(rules) = self.keep {
            store.set_keep_rules(rules);
        }
        if let Some(source) = &self.id_source {
            let _ = store.id_source.set(Arc::clone(source));
            elsewhere::add_source(source);
        }
        Attached { store, bit: AtomicU32::new(bit) }
    }

    #[inline]
    fn attached(&self) -> Option<(&SpanStore, u32)> {
        let attached = match self.attached.get() {
            Some(attached) => attached,
            None => self.attach_late(),
        };
        let bit = attached.bit();
        (bit != 0 && !is_suppressed()).then_some((&*attached.store, bit))
    }

    /// The layer sees nothing from now on, and nobody waits for it. For a child that was forked: its layers are the parent's.
    pub fn retire(&self) {
        let attached = match self.attached.get() {
            Some(attached) => attached,
            None => self.attach_late(),
        };
        let bit = attached.bit.swap(0, Ordering::Relaxed);
        if bit != 0 {
            attached.store.detach(bit);
        }
        ids::seed_anew();
    }

    #[cold]
    fn attach_late(&self) -> &Attached {
        let store = tracing_core::dispatcher::get_default(|dispatch| {
            let store = store::find_or_create_store(dispatch)?;
            let _ = self.dispatch.set(dispatch.downgrade());
            Some(store)
        });
        self.attached.get_or_init(|| self.attach(store.unwrap_or_else(|| Arc::new(SpanStore::new()))))
    }

    /// The bounds of this registry's spans.
    #[must_use]
    #[inline]
    pub fn limits(&self) -> &Limits {
        self.attached.get().map_or(&Limits::DEFAULT, |attached| attached.store.limits())
    }

    /// For `Layer::register_callsite`: what is to be known of a callsite before it is used.
    pub fn register_callsite(&self, callsite: &'static Metadata<'static>) -> Interest {
        crate::callsite::register(callsite);
        Interest::always()
    }

    /// For `Layer::enabled`: a callsite may be used while another thread still registers it; then it is judged here.
    #[inline]
    pub fn enabled(&self, callsite: &Metadata<'_>) -> bool {
        crate::callsite::ensure_registered(callsite);
        true
    }

    /// For `Layer::on_new_span`: creates the record, or joins it.
    /// Gives the span's kind; `None` on a thread that exports.
    #[inline]
    pub fn new_span<S>(&self, attributes: &Attributes<'_>, id: &Id, context: &Context<'_, S>) -> Option<SpanKind>
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        let (store, bit) = self.attached()?;
        let unopened = Unopened { dispatch: &self.dispatch, id };
        let kind = store.open(bit, attributes, id, || {
            // By way of the new span: the context of a filtered layer does not look up a parent that is hidden from it.
            let known = |id: &u64| store.with(*id, |_| ()).is_some();
            context.span(id)?.scope().skip(1).map(|span| span.id().into_u64()).find(known)
        });
        std::mem::forget(unopened);
        if self.id_source.is_some() {
            store.await_ids(id.into_u64());
        }
        Some(kind)
    }

    /// For `Layer::on_record`.
    #[inline]
    pub fn record(&self, id: &Id, values: &Record<'_>) {
        if let Some((store, bit)) = self.attached() {
            store.record(bit, id, values);
        }
    }

    /// For `Layer::on_enter`.
    #[inline]
    pub fn enter(&self, id: &Id) {
        if let Some((store, bit)) = self.attached() {
            store.enter(bit, id);
        }
    }

    /// For `Layer::on_exit`.
    #[inline]
    pub fn exit(&self, id: &Id) {
        // Also on a thread that exports: it may not have been one when it entered.
        if let Some(attached) = self.attached.get() {
            attached.store.exit(attached.bit(), id);
        }
    }

    /// For `Layer::event_enabled`: a new event comes.
    #[inline]
    pub fn announce_event(&self) {
        event::announce();
    }

    /// For `Layer::on_event`: shows the visited event; `None` on a thread that exports.
    #[inline]
    pub fn event<R>(&self, event: &Event<'_>, show: impl FnOnce(&VisitedEvent) -> R) -> Option<R> {
        let (store, bit) = self.attached()?;
        event::visit(store, bit, event, |_| true, show)
    }

    /// As [`Attachment::event`], but only for an event in a trace that is recorded, or may still be: others are not even visited,
    /// unless another layer has done so.
    #[inline]
    pub fn recorded_event<R>(&self, event: &Event<'_>, show: impl FnOnce(&VisitedEvent) -> R) -> Option<R> {
        let (store, bit) = self.attached()?;
        let wants = |trace: Option<&TraceContext>| trace.is_some_and(|trace| trace.sampled || trace.undecided != 0);
        event::visit(store, bit, event, wants, show)
    }

    /// For `Layer::on_close`: shows the finished record, once. `use_record` runs under the record's lock: it must neither
    /// block nor call user code.
    #[inline]
    pub fn close<R>(&self, id: &Id, use_record: impl FnOnce(&mut SpanRecord) -> R) -> Option<R> {
        let attached = self.attached.get()?;
        attached.store.close(attached.bit(), id, use_record)
    }

    /// The innermost span of the registry on the calling thread, and its trace; `None` outside of all spans, and on a thread that
    /// exports.
    #[must_use]
    pub fn innermost(&self) -> Option<(u64, Option<TraceContext>)> {
        current::innermost(self.attached()?.0.id)
    }

    /// Shows the record of an open span, by the registry's id. `use_record` runs under the record's lock: it must neither
    /// block nor call user code, nor look at another record.
    #[inline]
    pub fn with<R>(&self, span: u64, use_record: impl FnOnce(&mut SpanRecord) -> R) -> Option<R> {
        self.attached()?.0.with(span, use_record)
    }

    /// An id of this span leaves the process: its parent can no longer be set.
    #[inline]
    pub fn expose(&self, span: u64) {
        if let Some((store, _)) = self.attached() {
            store.expose(span);
        }
    }

    /// Shows this layer's cached log context of a span, made by `build` if there is none. `build` gets the spans from the
    /// leaf to the root through its argument, one call a span. `None` for the first line of a span, and for a span without
    /// record: then [`Attachment::ancestry`] shows its spans.
    #[inline]
    pub fn log_context<R>(
        &self,
        span: u64,
        build: impl FnOnce(&mut LogContext, &mut dyn FnMut(VisitSpan<'_>)),
        use_context: impl FnOnce(&LogContext) -> R,
    ) -> Option<R> {
        let (store, bit) = self.attached()?;
        let mut use_context = Some(use_context);
        let cached = store.with(span, |record| {
            if store.is_fresh(bit, record) {
                return use_context.take().map(|show| show(&record.log));
            }
            if !std::mem::replace(&mut record.log.asked, true) {
                // The first line makes none: most spans log once.
                use_context = None;
            }
            None
        })?;
        if cached.is_some() {
            return cached;
        }
        self.make_log_context(store, bit, span, build, use_context?)
    }

    /// Shows a span and its ancestors, from the leaf to the root. `visit` runs under a record's lock: it must neither block
    /// nor call user code, nor look at another record.
    pub fn ancestry(&self, span: u64, visit: VisitSpan<'_>) {
        if let Some((store, bit)) = self.attached() {
            walk(store, bit, span, false, visit);
        }
    }

    #[cold]
    fn make_log_context<R>(
        &self,
        store: &SpanStore,
        bit: u32,
        span: u64,
        build: impl FnOnce(&mut LogContext, &mut dyn FnMut(VisitSpan<'_>)),
        use_context: impl FnOnce(&LogContext) -> R,
    ) -> Option<R> {
        // What is recorded from here on makes the outcome stale.
        let mut context = store.with(span, |record| {
            let epoch = store.log_epoch(record.trace_id);
            LogContext { epoch, layer: 0, ..std::mem::take(&mut record.log) }
        })?;
        context.fields.clear();
        context.spans.clear();
        context.keys = 0;
        build(&mut context, &mut |visit| walk(store, bit, span, true, visit));
        context.layer = bit;
        let shown = use_context(&context);
        store.with(span, |record| record.log = context);
        Some(shown)
    }
}

/// A span whose fields are being shown. If that panics the program never gets the span, and nobody would close it: it would
/// keep its ancestors open for ever.
struct Unopened<'a> {
    dispatch: &'a OnceLock<WeakDispatch>,
    id: &'a Id,
}

impl Drop for Unopened<'_> {
    fn drop(&mut self) {
        if let Some(dispatch) = self.dispatch.get().and_then(WeakDispatch::upgrade) {
            dispatch.try_close(self.id.clone());
        }
    }
}

/// Shows a span and its ancestors, from the leaf to the root, as far as this layer sees them: a filter may hide some.
fn walk(store: &SpanStore, bit: u32, span: u64, logged: bool, visit: VisitSpan<'_>) {
    let mut next = span;
    // Ancestors outlive their children in a registry, so the walk ends; the bound is against a broken one.
    for _ in 0..4096 {
        if next == 0 {
            break;
        }
        let parent = store.with(next, |record| {
            if record.layers & bit != 0 {
                visit(record);
                record.logged |= logged;
            }
            record.parent
        });
        next = parent.unwrap_or(0);
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        if let Some(attached) = self.attached.get()
            && attached.bit() != 0
        {
            attached.store.detach(attached.bit());
        }
    }
}
