//! Admit: the bounded queue between the program and the worker. Caller threads append, the worker takes.
//!
//! Threads append to one of a few shards, each a buffer behind its own mutex; a full buffer is sealed and handed over whole.
//! The bounds in bytes and items are one budget for all shards; a shard takes from it in small advances, so that threads do
//! not meet on one atomic. What the advances hold back is at most a sixteenth of the bound, until the worker comes by.
//!
//! Lock order: `turn`, shard, `sealed` or `pool`.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::batch::{Chunk, HEADER};
use super::sync::{AtomicBool, AtomicUsize, Condvar, Mutex, MutexGuard, Wake, fence, parallelism, thread_number};
use crate::accounting::{Accounting, DropReason, SignalKind};
use crate::process::Home;
use crate::suppress::is_suppressed;

/// The bounds of a queue.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct QueueLimits {
    /// Bytes of all items that are not settled, those in flight included. Default: 24 MiB. A collection of metrics that finds nothing
    /// waiting may go beyond: it is as large as what there is to collect.
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
    /// never wait, nor does one that panics. A thread of an asynchronous runtime waits too, and with it its other tasks.
    Block(Duration),
}

/// How much of a full queue is kept free of an item: errors and warnings survive longer than debug lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Priority {
    /// The last quarter of the bounds is closed to it: lines of level DEBUG and TRACE.
    Low,
    /// The last eighth is: lines of level INFO.
    Middle,
    /// It may have all: errors, warnings, spans, samples.
    #[default]
    High,
}

impl Priority {
    /// What of this bound is closed to it.
    const fn reserve(self, bound: usize) -> usize {
        match self {
            Self::Low => bound / 4,
            Self::Middle => bound / 8,
            Self::High => 0,
        }
    }
}

/// Bytes at which a shard's buffer is handed over, unless batches or the queue are smaller than usual.
const CHUNK_BYTES: usize = 128 * 1024;
/// A buffer's size, so that the item that fills it does not make it grow. Memory that is not written to is not used.
const CHUNK_CAPACITY: usize = CHUNK_BYTES + 8 * 1024;
/// What a collection may take beyond the bounds: it is bounded by what there is to collect.
const LOAN: usize = usize::MAX / 4;
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

/// What was handed over and not taken yet.
#[derive(Default)]
struct Sealed {
    chunks: VecDeque<Chunk>,
    bytes: usize,
    items: usize,
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
    chunk_bytes: usize,
    chunk_items: usize,
    advance_bytes: usize,
    advance_items: usize,
    free_bytes: AtomicUsize,
    free_items: AtomicUsize,
    /// What a collection has got beyond the bounds: what becomes free goes there first. Worker.
    lent_bytes: AtomicUsize,
    lent_items: AtomicUsize,
    sealed: Mutex<Sealed>,
    wake_bytes: usize,
    wake_items: usize,
    pool: Mutex<Vec<Vec<u8>>>,
    /// Read under a shard's lock: what was admitted before is there when the worker, having set it, takes the shard's lock.
    closed: AtomicBool,
    /// Threads that wait for space.
    waiting: AtomicUsize,
    turn: Mutex<()>,
    space: Condvar,
    pub(super) wake: Wake,
    /// The worker sleeps until something comes. Set before it looks into each shard a last time, and read under a shard's lock.
    sleeps: AtomicBool,
    /// Something has come.
    pub(super) first: Wake,
    pub(super) accounting: Accounting,
    home: Home,
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

/// An item that is not charged yet: taken off again when dropped, also when the caller's `write` panics.
struct Unfinished<'a> {
    bytes: &'a mut Vec<u8>,
    start: usize,
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        self.bytes.truncate(self.start);
    }
}

impl Queue {
    pub(super) fn new(limits: QueueLimits, overflow: Overflow, batch_bytes: usize, batch_items: usize) -> Self {
        let shards = parallelism().next_power_of_two().clamp(2, 16);
        // Small queues have no advances: their bound is exact.
        let advance =
            |limit: usize, least: usize| Some(limit / (16 * shards)).filter(|advance| *advance >= least).unwrap_or(0);
        Self {
            shards: (0..shards).map(|_| Padded::default()).collect(),
            limits,
            overflow,
            // Whole chunks make a batch; and what the shards have not handed over must leave room in a small queue.
            chunk_bytes: CHUNK_BYTES.min(batch_bytes / 4).min(limits.bytes / (4 * shards)).max(1),
            chunk_items: (batch_items / 4).min(limits.items / (4 * shards)).max(1),
            advance_bytes: advance(limits.bytes, 4096).min(64 * 1024),
            advance_items: advance(limits.items, 32).min(256),
            free_bytes: AtomicUsize::new(limits.bytes),
            free_items: AtomicUsize::new(limits.items),
            lent_bytes: AtomicUsize::new(0),
            lent_items: AtomicUsize::new(0),
            sealed: Mutex::default(),
            wake_bytes: batch_bytes.min(limits.bytes / 2),
            wake_items: batch_items.min(limits.items / 2),
            pool: Mutex::default(),
            closed: AtomicBool::new(false),
            waiting: AtomicUsize::new(0),
            turn: Mutex::new(()),
            space: Condvar::new(),
            wake: Wake::new(),
            sleeps: AtomicBool::new(false),
            first: Wake::new(),
            accounting: Accounting::default(),
            home: Home::here(),
        }
    }

    /// Takes one item, or counts it as dropped. `write` appends the item's bytes; it runs under the shard's lock, so it must
    /// neither block nor call user code. `stream` and `timestamp` (nanoseconds since the Unix epoch) are handed to the encoder.
    ///
    /// False if the item was dropped.
    #[inline]
    pub fn admit(&self, stream: u32, timestamp: u64, write: impl FnOnce(&mut Vec<u8>)) -> bool {
        self.admit_at(Priority::High, stream, timestamp, write)
    }

    /// As [`Queue::admit`], for an item of this priority.
    pub fn admit_at(&self, priority: Priority, stream: u32, timestamp: u64, write: impl FnOnce(&mut Vec<u8>)) -> bool {
        let index = thread_number() & (self.shards.len() - 1);
        let Some(Padded(shard)) = self.shards.get(index) else { return false };
        let mut locked = shard.lock();
        if self.closed.load(Ordering::Relaxed) {
            locked.admitted += 1;
            drop(locked);
            self.accounting.drop_items(DropReason::Closed, 1);
            return false;
        }
        let start = locked.bytes.len();
        let unfinished = Unfinished { bytes: &mut locked.bytes, start };
        unfinished.bytes.extend_from_slice(&[0; HEADER]);
        write(unfinished.bytes);
        std::mem::forget(unfinished);
        locked.admitted += 1;
        let reason = match self.finish(&mut locked, start, stream, timestamp, priority) {
            Ok(()) => return true,
            Err(DropReason::QueueFull) => match self.overflow {
                Overflow::Block(timeout) if !is_suppressed() && !std::thread::panicking() => {
                    let item = locked.bytes.split_off(start);
                    self.make_room(locked);
                    match self.wait_for_space(shard, &item, (stream, timestamp, priority), timeout) {
                        Ok(()) => return true,
                        Err(reason) => reason,
                    }
                }
                _ => {
                    locked.bytes.truncate(start);
                    self.make_room(locked);
                    DropReason::QueueFull
                }
            },
            Err(reason) => {
                locked.bytes.truncate(start);
                drop(locked);
                reason
            }
        };
        self.accounting.drop_items(reason, 1);
        self.call_if_asleep();
        false
    }

    /// Charges and labels the item that was appended at `start`; else says why it cannot stay there.
    fn finish(
        &self,
        shard: &mut Shard,
        start: usize,
        stream: u32,
        timestamp: u64,
        priority: Priority,
    ) -> Result<(), DropReason> {
        let charge = shard.bytes.len() - start;
        let length = charge - HEADER;
        if length > self.limits.item_bytes || charge > self.limits.bytes || u32::try_from(length).is_err() {
            return Err(DropReason::TooLarge);
        }
        if shard.advance_items == 0 {
            let reserve = priority.reserve(self.limits.items);
            shard.advance_items =
                take(&self.free_items, 1, self.advance_items, reserve).ok_or(DropReason::QueueFull)?;
            // The worker leaves no shard an advance: the first item of each comes by here.
            self.call_if_asleep();
        }
        if shard.advance_bytes < charge {
            let wanted = charge - shard.advance_bytes;
            let reserve = priority.reserve(self.limits.bytes);
            shard.advance_bytes +=
                take(&self.free_bytes, wanted, self.advance_bytes, reserve).ok_or(DropReason::QueueFull)?;
        }
        shard.advance_bytes -= charge;
        shard.advance_items -= 1;
        if let Some(header) = shard.bytes.get_mut(start..start + HEADER) {
            Chunk::write_header(header, length as u32, stream, timestamp);
        }
        shard.items += 1;
        if (shard.bytes.len() >= self.chunk_bytes || shard.items >= self.chunk_items) && self.hand_over(shard) {
            self.wake.notify_one();
        }
        Ok(())
    }

    /// Calls the worker if it sleeps until something comes.
    #[inline]
    fn call_if_asleep(&self) {
        if self.sleeps.load(Ordering::Relaxed) {
            self.call();
        }
    }

    #[cold]
    fn call(&self) {
        // In a child that was forked nobody sleeps: the worker is the parent's.
        if self.sleeps.swap(false, Ordering::Relaxed) && self.home.is_here() {
            self.first.notify_one();
        }
    }

    /// What comes from now on calls the worker once, or does so no longer: [`Queue::take_all`] finds what came before. Worker.
    pub(super) fn sleep(&self, sleeps: bool) {
        self.sleeps.store(sleeps, Ordering::Relaxed);
    }

    /// Seals a shard's buffer; whether there is enough for the worker to come at once.
    #[cold]
    fn hand_over(&self, shard: &mut Shard) -> bool {
        let fresh = self.pool.lock().pop().unwrap_or_else(|| Vec::with_capacity(CHUNK_CAPACITY));
        let chunk = Chunk::new(std::mem::replace(&mut shard.bytes, fresh), std::mem::take(&mut shard.items));
        let mut sealed = self.sealed.lock();
        sealed.bytes += chunk.bytes();
        sealed.items += chunk.items();
        sealed.chunks.push_back(chunk);
        sealed.bytes >= self.wake_bytes || sealed.items >= self.wake_items || self.waiting.load(Ordering::Relaxed) > 0
    }

    /// The queue is full: the shard keeps nothing back, and the worker comes at once.
    #[cold]
    fn make_room(&self, mut shard: MutexGuard<'_, Shard>) {
        if shard.items > 0 {
            self.hand_over(&mut shard);
        }
        self.give_back(&mut shard);
        drop(shard);
        self.wake.notify_one();
    }

    /// Returns a shard's advances to the budget.
    fn give_back(&self, shard: &mut Shard) {
        if shard.advance_bytes > 0 {
            self.free_bytes.fetch_add(std::mem::take(&mut shard.advance_bytes), Ordering::Relaxed);
        }
        if shard.advance_items > 0 {
            self.free_items.fetch_add(std::mem::take(&mut shard.advance_items), Ordering::Relaxed);
        }
    }

    #[cold]
    fn wait_for_space(
        &self,
        shard: &Mutex<Shard>,
        item: &[u8],
        (stream, timestamp, priority): (u32, u64, Priority),
        timeout: Duration,
    ) -> Result<(), DropReason> {
        if !self.home.is_here() {
            // Nobody will make room: the worker is the parent's.
            return Err(DropReason::Closed);
        }
        // A time-out beyond the clock's end is none.
        let deadline = Instant::now().checked_add(timeout);
        self.waiting.fetch_add(1, Ordering::Relaxed);
        // Either this thread sees what is freed, or who frees it sees this thread wait.
        fence(Ordering::SeqCst);
        let mut turn = self.turn.lock();
        let mut expired = false;
        let outcome = loop {
            let mut locked = shard.lock();
            if self.closed.load(Ordering::Relaxed) {
                break Err(DropReason::Closed);
            }
            let start = locked.bytes.len();
            locked.bytes.extend_from_slice(item);
            match self.finish(&mut locked, start, stream, timestamp, priority) {
                Err(DropReason::QueueFull) if !expired => locked.bytes.truncate(start),
                Err(reason) => {
                    locked.bytes.truncate(start);
                    break Err(reason);
                }
                Ok(()) => break Ok(()),
            }
            self.make_room(locked);
            match deadline {
                Some(deadline) => expired = self.space.wait_until(&mut turn, deadline).timed_out(),
                None => self.space.wait(&mut turn),
            }
        };
        drop(turn);
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        outcome
    }

    /// Everything that waits, in the order of each thread. The shards keep no advances. Worker.
    pub(super) fn take_all(&self) -> VecDeque<Chunk> {
        for Padded(shard) in &self.shards {
            let mut shard = shard.lock();
            if shard.items > 0 {
                self.hand_over(&mut shard);
            }
            self.give_back(&mut shard);
        }
        self.tell_waiting();
        std::mem::take(&mut *self.sealed.lock()).chunks
    }

    /// Lets a collection go beyond the bounds, if nothing of earlier ones is left: it comes all at once, and is as large as what is
    /// collected. Nobody else admits meanwhile. Worker.
    pub(super) fn lend(&self) {
        if self.pending() == 0 {
            for (free, lent) in [(&self.free_bytes, &self.lent_bytes), (&self.free_items, &self.lent_items)] {
                lent.fetch_add(LOAN, Ordering::Relaxed);
                free.fetch_add(LOAN, Ordering::Relaxed);
            }
        }
    }

    /// The collection is over: what it has not used of the loan goes back. Worker.
    pub(super) fn end_loan(&self) {
        for Padded(shard) in &self.shards {
            self.give_back(&mut shard.lock());
        }
        for (free, lent) in [(&self.free_bytes, &self.lent_bytes), (&self.free_items, &self.lent_items)] {
            let owed = lent.load(Ordering::Relaxed);
            let back = free.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |free| Some(free.saturating_sub(owed)));
            lent.fetch_sub(back.unwrap_or_default().min(owed), Ordering::Relaxed);
        }
    }

    /// The chunk's items are settled: their space is free again, and the buffer is reused. Worker.
    pub(super) fn release(&self, chunk: Chunk) {
        for (space, free, lent) in
            [(chunk.bytes(), &self.free_bytes, &self.lent_bytes), (chunk.items(), &self.free_items, &self.lent_items)]
        {
            let owed = lent.load(Ordering::Relaxed).min(space);
            if owed > 0 {
                lent.fetch_sub(owed, Ordering::Relaxed);
            }
            free.fetch_add(space - owed, Ordering::Relaxed);
        }
        let mut buffer = chunk.into_buffer();
        if buffer.capacity() <= 2 * CHUNK_BYTES {
            let mut pool = self.pool.lock();
            if pool.len() < POOLED {
                buffer.clear();
                pool.push(buffer);
            }
        }
        self.tell_waiting();
    }

    /// Space was freed, or the queue was closed.
    fn tell_waiting(&self) {
        fence(Ordering::SeqCst);
        if self.waiting.load(Ordering::Relaxed) > 0 {
            let _turn = self.turn.lock();
            self.space.notify_all();
        }
    }

    /// Takes no more items; those that come are counted as dropped. Worker.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
        self.tell_waiting();
    }

    /// Items handed to the queue so far, dropped ones included, and those that earlier runs have left on disk.
    #[must_use]
    pub fn admitted(&self) -> u64 {
        let here: u64 = self.shards.iter().map(|Padded(shard)| shard.lock().admitted).sum();
        here + self.accounting.recovered()
    }

    /// Whether half of the bounds are in use. Worker.
    pub(super) fn is_half_full(&self) -> bool {
        self.free_bytes.load(Ordering::Relaxed) < self.limits.bytes / 2
            || self.free_items.load(Ordering::Relaxed) < self.limits.items / 2
    }

    /// Publishes the accounts. The recorder is the program's: its panic ends here.
    pub(super) fn publish(&self, kind: SignalKind) {
        let publish = || self.accounting.publish(kind, self.pending(), None);
        let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(publish));
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
        let all = self.limits.bytes + self.lent_bytes.load(Ordering::Relaxed);
        all.saturating_sub(self.free_bytes.load(Ordering::Relaxed))
    }

    /// The queue's bounds.
    #[must_use]
    pub fn limits(&self) -> QueueLimits {
        self.limits
    }
}

/// Takes `least` from the budget, or more as an advance, and leaves the reserve.
fn take(budget: &AtomicUsize, least: usize, advance: usize, reserve: usize) -> Option<usize> {
    let mut taken = 0;
    budget
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |free| {
            taken = if free >= least + advance + reserve { least + advance } else { least };
            free.checked_sub(taken).filter(|left| *left >= reserve)
        })
        .ok()
        .map(|_| taken)
}
