//! Spill: from memory to disk, and back. Worker thread; the disk itself has a thread of its own.
//!
//! First in, first out: while anything lies on disk, whatever comes goes behind it. What is being sent when the first items go to
//! disk goes there before them. Without a spool all of this is nothing.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use super::Signal;
use super::batch::Batch;
use super::deliver::{LEAST_AGE, LONGEST_STEP, Task};
use super::diagnostics;
use super::lane::{Lane, Request, encode_to_store};
use crate::accounting::DropReason;
use crate::spool::{Next, Position, Spool};

/// Bytes of requests that are written in one go: one wait for the disk.
const AT_ONCE: usize = 4 * 1024 * 1024;

impl<S: Signal> Task<S> {
    /// What earlier runs have left counts as admitted.
    pub(super) async fn recover(&mut self) {
        let Some(spool) = &self.spool else { return };
        let recovered = spool.state().await.recovered;
        self.queue.accounting.recover(recovered);
        if recovered > 0 {
            let kind = self.signal.kind();
            diagnostics::warn(&format!("{recovered} {} of earlier runs lie on disk and are sent first", kind.items()));
        }
    }

    /// How long a request is tried: on disk, as long as it may lie there.
    pub(super) fn give_up_after(&self) -> Duration {
        let own = self.retry.give_up_after;
        self.spool.as_ref().map_or(own, |spool| spool.max_age().max(own))
    }

    /// Waits for a reason to look whether items have to go to disk.
    pub(super) fn memory_fills(&self) -> impl Future<Output = ()> + Send + use<S> {
        let queue = self.spool.is_some().then(|| Arc::clone(&self.queue));
        let longest = self.batch_limits.age.clamp(LEAST_AGE, LONGEST_STEP);
        async move {
            let Some(queue) = queue else { return std::future::pending().await };
            tokio::select! {
                () = queue.wake.notified() => {}
                () = tokio::time::sleep(longest) => {}
            }
        }
    }

    pub(super) fn is_spill_due(&mut self) -> bool {
        // The queue's call may have been taken by who asks.
        self.woken = self.spool.is_some();
        self.spool.as_ref().is_some_and(|spool| spool.is_durable() || self.queue.is_half_full())
    }

    /// Begins a round: whatever cannot be sent before what lies on disk goes behind it.
    pub(super) async fn begin_round(&mut self) {
        self.round = None;
        let Some(spool) = self.spool.clone() else { return };
        let state = spool.state().await;
        let ending = self.control.deadline().is_some() && self.warnings.is_failing();
        if state.holds_any || spool.is_durable() || ending {
            self.spill(&mut [], &mut Batch::empty()).await;
        }
    }

    /// The next request of this round that lies on disk; where items wait in memory, whatever lies there.
    pub(super) async fn next_stored(&mut self) -> Option<Request> {
        let spool = self.spool.clone()?;
        loop {
            if self.round.is_some() && !self.waiting.is_empty() {
                self.round = Some(spool.state().await.end);
            }
            match spool.next(self.round?).await {
                Next::Record(position, record) => return Some(Request::stored(position, record)),
                Next::Expired(items) => {
                    self.queue.accounting.unspool(items.into());
                    self.queue.accounting.drop_items(DropReason::Expired, items.into());
                }
                Next::Damaged(items) => {
                    self.queue.accounting.unspool(items);
                    self.queue.accounting.drop_items(DropReason::Damaged, items);
                    let kind = self.signal.kind();
                    diagnostics::warn(&format!("{items} {} are lost: their record on disk is damaged", kind.items()));
                }
                Next::Empty => return None,
            }
        }
    }

    /// Puts on disk what is in memory alone: what is being sent, what follows it, and what waits. Where the disk does not take it,
    /// it stays.
    pub(super) async fn spill(&mut self, lanes: &mut [Lane], batch: &mut Batch) {
        let Some(spool) = self.spool.clone() else { return };
        self.waiting.extend(self.queue.take_all());
        if self.store_lanes(&spool, lanes, batch).await {
            self.store_waiting(&spool).await;
        }
        if self.round.is_none() {
            self.round = Some(spool.state().await.end);
        }
    }

    /// False if the disk does not take them.
    async fn store_lanes(&mut self, spool: &Spool, lanes: &mut [Lane], batch: &mut Batch) -> bool {
        for lane in lanes.iter_mut() {
            if let Some(request) = lane.request.as_mut().filter(|request| request.stored.is_none())
                && let Some(part) = request.made_of.clone()
                && !self.signal.can_be_stored(&request.headers)
            {
                let (attempt, first) = (request.attempt, request.first);
                *request = Request { attempt, first, ..encode_to_store(batch, part, &mut self.signal) };
            }
            while let Some(part) = lane.parts.pop_front() {
                lane.ready.push_back(encode_to_store(batch, part, &mut self.signal));
            }
        }
        let sent = lanes.iter().filter_map(|lane| lane.request.as_ref());
        let mut records: Vec<_> = sent.filter(|request| request.stored.is_none()).map(Request::record).collect();
        let taken = records.len();
        // Parts of a request that lies on disk are there already.
        let follow = lanes.iter().flat_map(|lane| &lane.ready).filter(|request| request.stored.is_none());
        records.extend(follow.map(Request::record));
        if records.is_empty() {
            return true;
        }
        let positions = match spool.append(records, taken).await {
            Ok(positions) => positions,
            Err(error) => {
                self.tell_disk(&error.to_string());
                return false;
            }
        };
        let moved = lanes.iter().map(Lane::unstored).sum();
        self.unsettled = self.unsettled.saturating_sub(moved);
        self.queue.accounting.spool(moved as u64);
        let sent = lanes.iter_mut().filter_map(|lane| lane.request.as_mut());
        for (request, position) in sent.filter(|request| request.stored.is_none()).zip(positions) {
            request.stored = Some(Arc::new(position));
        }
        // The others are read when their turn comes.
        for lane in lanes.iter_mut() {
            lane.ready.retain(|request| request.stored.is_some());
        }
        self.release(batch);
        true
    }

    async fn store_waiting(&mut self, spool: &Spool) {
        let mut at_once = AT_ONCE;
        while !self.waiting.is_empty() {
            let (mut batches, mut records, mut bytes) = (Vec::new(), Vec::new(), 0);
            while (bytes < at_once || records.is_empty())
                && let Some(mut batch) = Batch::gather(&mut self.waiting, &self.batch_limits)
            {
                let part = batch.range();
                let signal = &mut self.signal;
                let encoded = AssertUnwindSafe(|| encode_to_store(&mut batch, part, signal).record());
                if let Ok(record) = std::panic::catch_unwind(encoded) {
                    bytes += record.body.len();
                    records.push(record);
                    batches.push(batch);
                } else {
                    let lost = batch.len();
                    self.queue.accounting.drop_items(DropReason::WorkerPanic, lost as u64);
                    self.release(&mut batch);
                    let kind = self.signal.kind();
                    diagnostics::warn(&format!("the worker panicked; {lost} {} are lost", kind.items()));
                }
            }
            if records.is_empty() {
                continue;
            }
            let requests = records.len();
            match spool.append(records, 0).await {
                Ok(_) => {
                    let moved = batches.iter().map(|batch| batch.len() as u64).sum();
                    self.queue.accounting.spool(moved);
                    batches.iter_mut().for_each(|batch| self.release(batch));
                    self.stored_again();
                }
                Err(error) => {
                    for batch in batches.into_iter().rev() {
                        for chunk in batch.into_chunks().into_iter().rev() {
                            self.waiting.push_front(chunk);
                        }
                    }
                    // Where many have no place, one may have it.
                    if requests > 1 {
                        at_once = 0;
                        continue;
                    }
                    self.tell_disk(&error.to_string());
                    return;
                }
            }
        }
    }

    /// The items of a batch need memory no longer.
    pub(super) fn release(&self, batch: &mut Batch) {
        for chunk in batch.take_chunks() {
            self.queue.release(chunk);
        }
    }

    /// What lies on disk has arrived, or is given up; of a request that was split, when that is true of all parts.
    pub(super) fn acknowledge(&mut self, request: &mut Request) {
        self.queue.accounting.unspool(request.items as u64);
        let last: Option<Position> = request.stored.take().and_then(Arc::into_inner);
        if let (Some(position), Some(spool)) = (last, &self.spool) {
            spool.acknowledge(position);
        }
    }

    fn tell_disk(&mut self, error: &str) {
        if !std::mem::replace(&mut self.disk_fails, true) {
            let kind = self.signal.kind();
            diagnostics::warn(&format!("the spool takes no {}, they wait in memory: {error}", kind.items()));
        }
    }

    fn stored_again(&mut self) {
        if std::mem::take(&mut self.disk_fails) {
            diagnostics::warn(&format!("the spool takes {} again", self.signal.kind().items()));
        }
    }
}
