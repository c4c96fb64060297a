//! What lgtm has to say about itself: a line on standard error, no more than one for each change of state.

use std::io::Write as _;

use crate::unprintable::is_unprintable;

/// Writes one line to standard error, where a broken telemetry system can still be read about. What a backend has said may be in
/// it: nothing of that begins a line or steers a terminal.
pub fn warn(message: &str) {
    let line: String = message.chars().map(|shown| if is_unprintable(shown) { ' ' } else { shown }).collect();
    // Standard error may be closed: nothing is left to tell that to.
    let _ = writeln!(std::io::stderr().lock(), "lgtm: {line}");
}
