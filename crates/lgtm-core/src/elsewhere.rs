//! Places in a trace that no layer has entered: spans of another library's own interface, which only that library knows. Caller
//! threads.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::RwLock;

use crate::current::TraceContext;
use crate::span::{AssignedIds, IdSource};

/// Whether there has been a source: programs without one pay for this load.
static EXISTS: AtomicBool = AtomicBool::new(false);
static SOURCES: RwLock<Vec<Weak<dyn IdSource>>> = RwLock::new(Vec::new());

#[inline]
pub(crate) fn exists() -> bool {
    EXISTS.load(Ordering::Relaxed)
}

/// From now on this source is asked too, as long as it is there. A program has one of them.
pub(crate) fn add_source(source: &Arc<dyn IdSource>) {
    let mut sources = SOURCES.write();
    sources.retain(|source| source.strong_count() > 0);
    sources.push(Arc::downgrade(source));
    EXISTS.store(true, Ordering::Relaxed);
}

/// The calling thread's innermost place in a trace; `entered` is the one that the layers know of.
pub(crate) fn trace(entered: Option<TraceContext>) -> Option<TraceContext> {
    ids(entered).map(|ids| ids.context()).or(entered)
}

/// What the sources say of that place; `None` if the layers have entered it. The context is one for all; which trace still waits for
/// the keep rules only the source knows whose it is.
pub(crate) fn ids(entered: Option<TraceContext>) -> Option<AssignedIds> {
    let entered = entered.map(|trace| trace.span_id);
    let sources = SOURCES.read();
    let mut said = sources.iter().filter_map(|source| source.upgrade()?.current(entered));
    let first = said.next()?;
    if first.undecided.is_some() {
        Some(first)
    } else {
        Some(said.find(|ids| ids.undecided.is_some()).unwrap_or(first))
    }
}
