//! Admit: the bounded queue between the program and the worker. Caller threads append, the worker takes.
//!
//! Threads append to one of a few shards, each a buffer behind its own mutex; a full buffer is sealed and handed over whole.
//! The bounds in bytes and items are one budget for all shards; a shard takes from it in small advances, so that threads do
//! not meet on one atomic. What an advance holds back is at most a sixteenth of the bound.

use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use tokio::sync::Notify;

use super::batch::{Chunk, HEADER};
use crate::accounting::{Accounting, DropReason};
use crate::suppress::is_suppressed;

/// The bounds of a queue.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct QueueLimits {
    /// Bytes of all items that are not settled, those in flight included. Default: 24 MiB.
    pub bytes: usize,
    /// Number of all items that are not settled. Default: 262,144.
    pub items: usize,
    /// Bytes of one item. Default: 1 MiB.
    pub item_bytes: usize,
}

impl Default for QueueLimits {
    fn default() -> Self {
        Self { bytes: 24 * 1024 * 1024, items: 262_144, item_bytes: 1024 * 1024 }
    }
}

/// What happens when a queue is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Overflow {
    /// The new item is dropped and counted. The default.
    #[default]
    DropNewest,
    /// The calling thread waits for space, at most this long; then the new item is dropped and counted. Threads that export
    /// never wait.
    Block(Duration),
}

/// Bytes at which a shard's buffer is handed over.
const CHUNK_BYTES: usize = 128 * 1024;
/// Emptied buffers kept for reuse.
const POOLED: usize = 16;

#[derive(Default)]
struct Shard {
    bytes: Vec<u8>,
    items: usize,
    advance_bytes: usize,
    advance_items: usize,
    admitted: u64,
}

/// A shard on cache lines of its own.
#[repr(align(128))]
#[derive(Default)]
struct Padded(Mutex<Shard>);

/// The queue of one pipeline.
pub struct Queue {
    shards: Box<[Padded]>,
    limits: QueueLimits,
    overflow: Overflow,
    chunk_items: usize,
    advance_bytes: usize,
    advance_items: usize,
    free_bytes: AtomicUsize,
    free_items: AtomicUsize,
    sealed: Mutex<VecDeque<Chunk>>,
    sealed_bytes: AtomicUsize,
    sealed_items: AtomicUsize,
    wake_bytes: usize,
    wake_items: usize,
    pool: Mutex<Vec<Vec<u8>>>,
    closed: AtomicBool,
    /// Items that came after the end.
    late: AtomicU64,
    waiting: AtomicUsize,
    turn: Mutex<()>,
    space: Condvar,
    pub(super) wake: Notify,
    pub(super) accounting: Accounting,
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Queue")
            .field("limits", &self.limits)
            .field("pending", &self.pending())
            .finish_non_exhaustive()
    }
}

thread_local! {
    static SHARD: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// A number for the calling thread, dealt out in turn.
fn thread_number() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    SHARD.with(|number| {
        if number.get() == usize::MAX {
            number.set(NEXT.fetch_add(1, Ordering::Relaxed) & (usize::MAX >> 1));
        }
        number.get()
    })
}

/// Why an item was not taken at once.
enum Refused {
    Full,
    TooLarge,
}

impl Queue {
    pub(super) fn new(limits: QueueLimits, overflow: Overflow, batch_bytes: usize, batch_items: usize) -> Self {
        let threads = std::thread::available_parallelism().map_or(2, usize::from);
        let shards = threads.next_power_of_two().clamp(2, 16);
        // Small queues have no advances: their bound is exact.
        let advance =
            |limit: usize, least: usize| Some(limit / (16 * shards)).filter(|advance| *advance >= least).unwrap_or(0);
        Self {
            shards: (0..shards).map(|_| Padded::default()).collect(),
            limits,
            overflow,
            chunk_items: (batch_items / 4).max(1),
            advance_bytes: advance(limits.bytes, 4096).min(64 * 1024),
            advance_items: advance(limits.items, 32).min(256),
            free_bytes: AtomicUsize::new(limits.bytes),
            free_items: AtomicUsize::new(limits.items),
            sealed: Mutex::default(),
            sealed_bytes: AtomicUsize::new(0),
            sealed_items: AtomicUsize::new(0),
            wake_bytes: batch_bytes.min(limits.bytes / 2),
            wake_items: batch_items.min(limits.items / 2),
            pool: Mutex::default(),
            closed: AtomicBool::new(false),
            late: AtomicU64::new(0),
            waiting: AtomicUsize::new(0),
            turn: Mutex::new(()),
            space: Condvar::new(),
            wake: Notify::new(),
            accounting: Accounting::default(),
        }
    }

    /// Takes one item, or counts it as dropped. `write` appends the item's bytes; it runs under the shard's lock, so it must
    /// neither block nor call user code. `stream` and `timestamp` (nanoseconds since the Unix epoch) are handed to the encoder.
    ///
    /// False if the item was dropped.
    pub fn admit(&self, stream: u32, timestamp: u64, write: impl FnOnce(&mut Vec<u8>)) -> bool {
        if self.closed.load(Ordering::Relaxed) {
            self.late.fetch_add(1, Ordering::Relaxed);
            self.accounting.drop_items(DropReason::Closed, 1);
            return false;
        }
        let index = thread_number() & (self.shards.len() - 1);
        let Some(Padded(shard)) = self.shards.get(index) else { return false };
        let mut shard = shard.lock();
        let start = shard.bytes.len();
        shard.bytes.extend_from_slice(&[0; HEADER]);
        write(&mut shard.bytes);
        shard.admitted += 1;
        match self.finish(&mut shard, start, stream, timestamp) {
            Ok(()) => true,
            Err(Refused::TooLarge) => {
                shard.bytes.truncate(start);
                drop(shard);
                self.accounting.drop_items(DropReason::TooLarge, 1);
                false
            }
            Err(Refused::Full) => {
                let Overflow::Block(timeout) = self.overflow else {
                    shard.bytes.truncate(start);
                    self.hand_over_if_due(&mut shard, true);
                    drop(shard);
                    self.accounting.drop_items(DropReason::QueueFull, 1);
                    return false;
                };
                let item = shard.bytes.split_off(start);
                self.hand_over_if_due(&mut shard, true);
                drop(shard);
                let taken = !is_suppressed() && self.wait_for_space(index, &item, stream, timestamp, timeout);
                if !taken {
                    self.accounting.drop_items(DropReason::QueueFull, 1);
                }
                taken
            }
        }
    }

    /// Charges and labels the item that was appended at `start`.
    fn finish(&self, shard: &mut Shard, start: usize, stream: u32, timestamp: u64) -> Result<(), Refused> {
        let charge = shard.bytes.len() - start;
        let length = charge - HEADER;
        if length > self.limits.item_bytes || u32::try_from(length).is_err() {
            return Err(Refused::TooLarge);
        }
        if shard.advance_bytes < charge {
            let wanted = charge - shard.advance_bytes;
            shard.advance_bytes += take(&self.free_bytes, wanted, self.advance_bytes).ok_or(Refused::Full)?;
        }
        if shard.advance_items == 0 {
            shard.advance_items = take(&self.free_items, 1, self.advance_items).ok_or(Refused::Full)?;
        }
        shard.advance_bytes -= charge;
        shard.advance_items -= 1;
        if let Some(header) = shard.bytes.get_mut(start..start + HEADER) {
            Chunk::write_header(header, length as u32, stream, timestamp);
        }
        shard.items += 1;
        self.hand_over_if_due(shard, false);
        Ok(())
    }

    #[inline]
    fn hand_over_if_due(&self, shard: &mut Shard, now: bool) {
        let due = shard.bytes.len() >= CHUNK_BYTES || shard.items >= self.chunk_items;
        if due || (now && shard.items > 0) {
            self.hand_over(shard);
        }
    }

    #[cold]
    fn hand_over(&self, shard: &mut Shard) {
        let fresh = self.pool.lock().pop().unwrap_or_else(|| Vec::with_capacity(4096));
        let chunk = Chunk::new(std::mem::replace(&mut shard.bytes, fresh), std::mem::take(&mut shard.items));
        let bytes = self.sealed_bytes.fetch_add(chunk.bytes(), Ordering::Relaxed) + chunk.bytes();
        let items = self.sealed_items.fetch_add(chunk.items(), Ordering::Relaxed) + chunk.items();
        self.sealed.lock().push_back(chunk);
        if bytes >= self.wake_bytes || items >= self.wake_items || self.waiting.load(Ordering::Relaxed) > 0 {
            self.wake.notify_one();
        }
    }

    #[cold]
    fn wait_for_space(&self, index: usize, item: &[u8], stream: u32, timestamp: u64, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        let Some(Padded(shard)) = self.shards.get(index) else { return false };
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let taken = loop {
            let mut turn = self.turn.lock();
            let mut locked = shard.lock();
            let start = locked.bytes.len();
            locked.bytes.extend_from_slice(item);
            match self.finish(&mut locked, start, stream, timestamp) {
                Ok(()) => break true,
                Err(_) => locked.bytes.truncate(start),
            }
            drop(locked);
            if self.closed.load(Ordering::Relaxed) {
                break false;
            }
            self.wake.notify_one();
            if self.space.wait_until(&mut turn, deadline).timed_out() {
                break false;
            }
        };
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        taken
    }

    /// Everything that waits, in the order of each thread. Worker.
    pub(super) fn take_all(&self) -> VecDeque<Chunk> {
        for Padded(shard) in &self.shards {
            let mut shard = shard.lock();
            if shard.items > 0 {
                self.hand_over_quietly(&mut shard);
            }
        }
        self.sealed_bytes.store(0, Ordering::Relaxed);
        self.sealed_items.store(0, Ordering::Relaxed);
        std::mem::take(&mut *self.sealed.lock())
    }

    fn hand_over_quietly(&self, shard: &mut Shard) {
        let fresh = self.pool.lock().pop().unwrap_or_else(|| Vec::with_capacity(4096));
        let chunk = Chunk::new(std::mem::replace(&mut shard.bytes, fresh), std::mem::take(&mut shard.items));
        self.sealed.lock().push_back(chunk);
    }

    /// The chunk's items are settled: their space is free again, and the buffer is reused. Worker.
    pub(super) fn release(&self, chunk: Chunk) {
        self.free_bytes.fetch_add(chunk.bytes(), Ordering::Relaxed);
        self.free_items.fetch_add(chunk.items(), Ordering::Relaxed);
        let mut buffer = chunk.into_buffer();
        if buffer.capacity() <= 2 * CHUNK_BYTES {
            let mut pool = self.pool.lock();
            if pool.len() < POOLED {
                buffer.clear();
                pool.push(buffer);
            }
        }
        if self.waiting.load(Ordering::SeqCst) > 0 {
            let _turn = self.turn.lock();
            self.space.notify_all();
        }
    }

    /// Takes no more items; those that come are counted as dropped. Worker.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        let _turn = self.turn.lock();
        self.space.notify_all();
    }

    /// Items handed to the queue so far, dropped ones included.
    #[must_use]
    pub fn admitted(&self) -> u64 {
        let taken: u64 = self.shards.iter().map(|Padded(shard)| shard.lock().admitted).sum();
        taken + self.late.load(Ordering::Relaxed)
    }

    /// Items that are not settled: waiting or in flight.
    #[must_use]
    pub fn pending(&self) -> u64 {
        // Settled first: an item settled between the two looks would else be missing.
        let settled = self.accounting.delivered.load(Ordering::Acquire)
            + self.accounting.rejected.load(Ordering::Acquire)
            + self.accounting.dropped();
        self.admitted().saturating_sub(settled)
    }

    /// Bytes of the items that are not settled, with what the shards hold in advance.
    #[must_use]
    pub fn pending_bytes(&self) -> usize {
        self.limits.bytes.saturating_sub(self.free_bytes.load(Ordering::Relaxed))
    }

    /// The queue's bounds.
    #[must_use]
    pub fn limits(&self) -> QueueLimits {
        self.limits
    }
}

/// Takes `least` from the budget, or more as an advance.
fn take(budget: &AtomicUsize, least: usize, advance: usize) -> Option<usize> {
    let mut taken = 0;
    budget
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |free| {
            taken = if free >= least + advance { least + advance } else { least };
            free.checked_sub(taken)
        })
        .ok()
        .map(|_| taken)
}
