//! SIGTERM and Ctrl-C, if the program asks for it: what is left is sent, then the signal does what it does without us. A thread
//! of its own, for the rest of the process.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

use crate::guard::Running;

/// The signals with handlers of ours, a bit each from SIGHUP = bit 0.
static OURS: AtomicU64 = AtomicU64::new(0);

/// From here on SIGTERM and SIGINT end telemetry before they end the process; but one for which the program has a handler
/// already is left to that.
pub(crate) fn watch(running: &Arc<Running>) -> io::Result<()> {
    // In a child that was forked the handlers are the parent's, and nobody there listens to them.
    let caught = caught() & !OURS.load(Ordering::SeqCst);
    let free: Vec<_> = [SIGTERM, SIGINT].into_iter().filter(|signal| caught & (1 << (signal - 1)) == 0).collect();
    if free.is_empty() {
        return Ok(());
    }
    let mut signals = Signals::new(&free)?;
    OURS.fetch_or(free.iter().fold(0, |mask, signal| mask | (1 << (signal - 1))), Ordering::SeqCst);
    let running = Arc::downgrade(running);
    // Never told to end: a handler without its thread would swallow the signal.
    std::thread::Builder::new().name("lgtm-signals".to_owned()).spawn(move || {
        lgtm_core::suppress_this_thread();
        for signal in signals.forever() {
            if let Some(running) = running.upgrade() {
                let _ = running.shutdown();
            }
            let _ = emulate_default_handler(signal);
        }
    })?;
    Ok(())
}

/// The signals that have a handler, a bit each from SIGHUP = bit 0; where the system does not tell, none.
fn caught() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}
