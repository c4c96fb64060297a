//! A reused buffer of the calling thread, for bytes whose length must be known before they are admitted.

use std::cell::RefCell;

/// A buffer that held more gives the rest back.
const KEPT_BYTES: usize = 128 * 1024;

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Runs `work` with an empty buffer; a nested call gets one of its own.
#[inline]
pub fn with_buffer<R>(work: impl FnOnce(&mut Vec<u8>) -> R) -> R {
    let mut work = Some(work);
    let done = BUFFER.try_with(|buffer| {
        let mut buffer = buffer.try_borrow_mut().ok()?;
        buffer.clear();
        let done = work.take().map(|work| work(&mut buffer));
        if buffer.capacity() > KEPT_BYTES {
            buffer.clear();
            buffer.shrink_to(KEPT_BYTES);
        }
        done
    });
    match (done, work) {
        (Ok(Some(done)), _) => done,
        // The thread is ending, or is inside `work`.
        (_, Some(work)) => work(&mut Vec::new()),
        (_, None) => unreachable!("the closure is taken only where a value is returned"),
    }
}
