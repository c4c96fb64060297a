//! Panics become events, so that the last thing that a program has to say is in Loki, on its span, and counted. The panicking
//! thread.

use std::panic::PanicHookInfo;
use std::sync::{Arc, Weak};
use std::time::Duration;

use lgtm_core::is_suppressed;

use crate::guard::Running;

/// Where unwinding is off, the hook is the last that runs: it may take so long.
const LAST_FLUSH: Duration = Duration::from_secs(1);

/// From here on a panic is an event of level ERROR, before the previous hook runs.
pub(crate) fn record(running: &Arc<Running>) {
    let running = Arc::downgrade(running);
    let previous = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        // A panic of lgtm's own threads is counted where it is caught.
        if !is_suppressed() {
            event(info);
            if cfg!(panic = "abort") {
                flush(&running);
            }
        }
        previous(info);
    }));
}

fn event(info: &PanicHookInfo<'_>) {
    let thread = std::thread::current();
    let thread = thread.name().unwrap_or("unnamed");
    let message = info.payload_as_str().unwrap_or("a value that is no text");
    let (file, line) = info.location().map_or(("", 0), |location| (location.file(), location.line()));
    tracing::error!(target: "panic", thread, "exception.type" = "panic", "panic.file" = file, "panic.line" = line, "{message}");
}

fn flush(running: &Weak<Running>) {
    if let Some(running) = running.upgrade() {
        let _ = running.flush(LAST_FLUSH);
    }
}
