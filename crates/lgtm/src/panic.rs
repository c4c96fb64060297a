//! Panics become events, so that the last thing that a program has to say is in Loki, on its span, and counted. The panicking
//! thread.

use std::panic::PanicHookInfo;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use lgtm_core::is_suppressed;
use parking_lot::Mutex;

use crate::guard::Running;

/// Where unwinding is off, the hook is the last that runs: it may take so long.
const LAST_FLUSH: Duration = Duration::from_secs(1);

/// What runs: in a child that was forked, its own.
static RUNNING: Mutex<Weak<Running>> = Mutex::new(Weak::new());
static HOOKED: AtomicBool = AtomicBool::new(false);

/// From here on a panic is an event of level ERROR, before the previous hook runs.
pub(crate) fn record(running: &Arc<Running>) {
    *RUNNING.lock() = Arc::downgrade(running);
    if HOOKED.swap(true, Ordering::SeqCst) {
        return;
    }
    let previous = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        // A panic of lgtm's own threads is counted where it is caught.
        if !is_suppressed() {
            event(info);
            if cfg!(panic = "abort") {
                let running = RUNNING.lock().upgrade();
                flush(running);
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

fn flush(running: Option<Arc<Running>>) {
    if let Some(running) = running {
        let _ = running.flush(LAST_FLUSH);
    }
}
