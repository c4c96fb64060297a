//! A reused buffer of the calling thread, for bytes whose length must be known before they are admitted.

use std::cell::RefCell;

/// A buffer that held more gives the rest back.
const KEPT_BYTES: usize = 64 * 1024;

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Runs `work` with an empty buffer; a nested call gets one of its own.
pub fn with_buffer<R>(work: impl FnOnce(&mut Vec<u8>) -> R) -> R {
    let mut buffer = BUFFER.try_with(|buffer| buffer.try_borrow_mut().map(|mut buffer| std::mem::take(&mut *buffer)));
    let mut own = Vec::new();
    let used = match &mut buffer {
        Ok(Ok(buffer)) => buffer,
        _ => &mut own,
    };
    used.clear();
    let done = work(used);
    if let Ok(Ok(mut buffer)) = buffer {
        if buffer.capacity() > KEPT_BYTES {
            buffer.clear();
            buffer.shrink_to(KEPT_BYTES);
        }
        let _ = BUFFER.try_with(|cell| cell.replace(buffer));
    }
    done
}
