//! What lgtm has to say about itself: a line on standard error, no more than one for each change of state.

use std::io::Write as _;

/// Writes one line to standard error, where a broken telemetry system can still be read about.
pub fn warn(message: &str) {
    // Standard error may be closed: nothing is left to tell that to.
    let _ = writeln!(std::io::stderr().lock(), "lgtm: {message}");
}
