//! Collect: what was left out is told in lines of its own. Worker thread.

use std::sync::Arc;
use std::time::Duration;

use lgtm_core::pipeline::Queue;
use lgtm_core::unix_nanos;

use crate::repeats::Repeats;
use crate::writer::Writer;

/// Tells what was left out, once a window.
pub(crate) struct Summaries {
    pub(crate) repeats: Arc<Repeats>,
    pub(crate) every: Duration,
    pub(crate) writer: Arc<Writer>,
}

impl Summaries {
    #[cold]
    pub(crate) fn admit(&self, queue: &Queue) {
        self.repeats.tell(unix_nanos(), |callsite, event| self.writer.admit(queue, None, callsite, event));
    }
}
