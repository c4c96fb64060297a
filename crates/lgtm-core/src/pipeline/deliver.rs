//! Deliver: a pipeline's task. Gathers, encodes, sends, tries again, settles. Worker thread.

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::FutureExt as _;
use tokio::time::MissedTickBehavior;

use super::answer::{Reply, Verdict};
use super::batch::{Batch, BatchLimits, Chunk};
use super::control::Control;
use super::grpc::GrpcDelivery;
use super::http::{HttpDelivery, NoAnswer};
use super::queue::Queue;
use super::retry::RetryPolicy;
use super::{Signal, diagnostics};
use crate::accounting::{DropReason, ErrorType};

/// How requests travel.
pub(super) enum Delivery {
    Http(Box<HttpDelivery>),
    Grpc(Box<GrpcDelivery>),
}

impl Delivery {
    const fn protocol(&self) -> &'static str {
        match self {
            Self::Http(_) => "http",
            Self::Grpc(_) => "grpc",
        }
    }

    async fn send(&mut self, body: Bytes, attempt: u32) -> Result<Reply, NoAnswer> {
        match self {
            Self::Http(http) => http.send(body, attempt).await,
            Self::Grpc(grpc) => grpc.send(body).await,
        }
    }
}

/// A pipeline's task.
pub(super) struct Task<S> {
    pub(super) signal: S,
    pub(super) delivery: Delivery,
    pub(super) queue: Arc<Queue>,
    pub(super) control: Arc<Control>,
    pub(super) batch_limits: BatchLimits,
    pub(super) retry: RetryPolicy,
    /// The address, for warnings.
    pub(super) address: String,
    /// Since when the backend fails: one warning when it begins, one when it ends.
    pub(super) failing: Option<Instant>,
    /// The shutdown gave up: what is left is dropped without a try.
    pub(super) abandoned: bool,
    /// Chunks that no batch has yet.
    pub(super) waiting: VecDeque<Chunk>,
    /// Items of the present batch that are not accounted for.
    pub(super) unsettled: usize,
    pub(super) panicked: bool,
    pub(super) collect_every: Option<Duration>,
    pub(super) collected: Instant,
}

/// However the task ends, nobody waits for it any more, and what it still had is counted. Nothing is left after a shutdown;
/// something is if the work panicked, or the worker's thread ended without a shutdown.
impl<S> Drop for Task<S> {
    fn drop(&mut self) {
        let reason = if self.panicked { DropReason::WorkerPanic } else { DropReason::Shutdown };
        self.queue.accounting.drop_items(reason, self.unsettled as u64);
        self.queue.close();
        self.waiting.extend(self.queue.take_all());
        for chunk in self.waiting.drain(..) {
            self.queue.accounting.drop_items(reason, chunk.items() as u64);
            self.queue.release(chunk);
        }
        self.control.advance(|progress| progress.finished = true);
    }
}

/// The shortest period of the worker's rounds.
const LEAST_AGE: Duration = Duration::from_millis(1);
/// The longest time without a look at what else is to be done.
const LONGEST_STEP: Duration = Duration::from_secs(1);

/// A try, and what was wanted when it began.
struct Try {
    attempt: u32,
    first: Instant,
    started: Instant,
    flush: u64,
    ending: bool,
}

/// What follows a failed try.
enum Next {
    Again,
    GiveUp(DropReason),
}

impl<S: Signal> Task<S> {
    pub(super) async fn run(mut self) {
        if AssertUnwindSafe(self.work()).catch_unwind().await.is_err() {
            self.panicked = true;
            diagnostics::warn(&format!("the pipeline of {} panicked and has ended", self.signal.kind().items()));
        }
    }

    async fn work(&mut self) {
        // A period of zero is none that a timer takes.
        let mut tick = tokio::time::interval(self.batch_limits.age.max(LEAST_AGE));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        tick.tick().await;
        let mut flushed = 0;
        self.publish();
        loop {
            let flush = self.control.flush_wanted();
            let ending = self.control.deadline().is_some();
            if ending || flush > flushed {
                self.collect(ending);
            } else {
                self.collect_if_due();
            }
            if ending {
                self.queue.close();
            }
            self.waiting = self.queue.take_all();
            self.drain().await;
            self.publish();
            self.control.advance(|progress| progress.flushed = flush);
            flushed = flush;
            if ending {
                return;
            }
            // `changed` may have been taken while a request was under way.
            if self.control.deadline().is_some() || self.control.flush_wanted() > flushed {
                continue;
            }
            tokio::select! {
                _ = tick.tick() => {}
                () = self.queue.wake.notified() => {}
                () = self.control.changed.notified() => {}
            }
        }
    }

    fn collect_if_due(&mut self) {
        if self.collect_every.is_some_and(|every| self.collected.elapsed() >= every) {
            self.collect(false);
        }
    }

    fn collect(&mut self, last: bool) {
        if self.collect_every.is_none() {
            return;
        }
        self.collected = Instant::now();
        let collected = std::panic::catch_unwind(AssertUnwindSafe(|| self.signal.collect(&self.queue, last)));
        if collected.is_err() {
            diagnostics::warn(&format!(
                "collecting {} panicked; the next interval tries again",
                self.signal.kind().items()
            ));
        }
    }

    /// The recorder is the program's: its panic must not cost a batch.
    fn publish(&self) {
        let _ = std::panic::catch_unwind(AssertUnwindSafe(|| {
            self.queue.accounting.publish(self.signal.kind(), self.queue.pending());
        }));
    }

    async fn drain(&mut self) {
        while let Some(mut batch) = Batch::gather(&mut self.waiting, &self.batch_limits) {
            self.unsettled = batch.len();
            if AssertUnwindSafe(self.deliver(&mut batch)).catch_unwind().await.is_err() {
                let lost = self.unsettled;
                self.drop_items(DropReason::WorkerPanic, lost);
                diagnostics::warn(&format!("the worker panicked; {lost} {} are lost", self.signal.kind().items()));
            }
            for chunk in batch.into_chunks() {
                self.queue.release(chunk);
            }
        }
    }

    /// Settles every item of the batch, in order.
    async fn deliver(&mut self, batch: &mut Batch) {
        let mut parts = vec![batch.range()];
        while let Some(part) = parts.pop() {
            batch.narrow(part.clone());
            if self.past_deadline() {
                self.abandoned = true;
            }
            if self.abandoned {
                self.drop_items(DropReason::Shutdown, part.len());
                continue;
            }
            let mut body = Vec::with_capacity(batch.bytes() + 1024);
            self.signal.encode(batch, &mut body);
            if self.send(Bytes::from(body), part.len()).await == Sent::TooLarge {
                if part.len() == 1 {
                    self.drop_items(DropReason::TooLarge, 1);
                } else {
                    self.signal.retract();
                    let middle = part.start + part.len() / 2;
                    parts.push(middle..part.end);
                    parts.push(part.start..middle);
                }
            }
        }
    }

    /// Sends one body until it is settled.
    async fn send(&mut self, body: Bytes, items: usize) -> Sent {
        let first_try = Instant::now();
        for attempt in 1_u32.. {
            let tried = Try {
                attempt,
                first: first_try,
                started: Instant::now(),
                flush: self.control.flush_wanted(),
                ending: self.control.deadline().is_some(),
            };
            let answer = self.send_by_deadline(body.clone(), attempt).await;
            self.measure(tried.started, items);
            let (verdict, unreachable) = match answer {
                Ok(reply) => (self.signal.classify(&reply), false),
                Err(lost) => {
                    (Verdict::Retry { error: lost.error, after: None, message: lost.message }, lost.unreachable)
                }
            };
            let accounting = &self.queue.accounting;
            match verdict {
                Verdict::Delivered { rejected, message } => {
                    let rejected = usize::try_from(rejected).unwrap_or(items).min(items);
                    self.unsettled = self.unsettled.saturating_sub(items);
                    accounting.export_success.fetch_add((items - rejected) as u64, Ordering::Relaxed);
                    accounting.delivered.fetch_add((items - rejected) as u64, Ordering::Release);
                    if rejected > 0 {
                        accounting.error(ErrorType::Partial);
                        accounting.export_failure.fetch_add(rejected as u64, Ordering::Relaxed);
                        accounting.rejected.fetch_add(rejected as u64, Ordering::Release);
                        self.failed(&format!("refused {rejected} of {items}: {message}"));
                    } else {
                        self.recovered();
                    }
                    return Sent::Settled;
                }
                Verdict::Rejected { error, message } => {
                    self.unsettled = self.unsettled.saturating_sub(items);
                    accounting.error(error);
                    accounting.export_failure.fetch_add(items as u64, Ordering::Relaxed);
                    accounting.rejected.fetch_add(items as u64, Ordering::Release);
                    self.failed(&format!("refused {items} {} ({error}): {message}", self.signal.kind().items()));
                    return Sent::Settled;
                }
                Verdict::Split { .. } => {
                    accounting.error(ErrorType::TooLarge);
                    accounting.export_failure.fetch_add(items as u64, Ordering::Relaxed);
                    return Sent::TooLarge;
                }
                Verdict::Retry { error, after, message } => {
                    accounting.error(error);
                    accounting.export_failure.fetch_add(items as u64, Ordering::Relaxed);
                    self.failed(&format!("does not take {} ({error}): {message}", self.signal.kind().items()));
                    self.publish();
                    if let Next::GiveUp(reason) = self.pause(&tried, after, unreachable).await {
                        self.drop_items(reason, items);
                        return Sent::Settled;
                    }
                }
            }
        }
        Sent::Settled
    }

    async fn send_by_deadline(&mut self, body: Bytes, attempt: u32) -> Result<Reply, NoAnswer> {
        let control = Arc::clone(&self.control);
        let send = self.delivery.send(body, attempt);
        tokio::pin!(send);
        loop {
            let deadline = control.deadline();
            let late = async {
                match deadline {
                    Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                answer = &mut send => return answer,
                () = late => {
                    let message = "the shutdown's deadline came before an answer".to_owned();
                    return Err(NoAnswer { error: ErrorType::Timeout, message, unreachable: false });
                }
                // A shutdown may have begun: look at its deadline.
                () = control.changed.notified() => {}
            }
        }
    }

    /// Waits for the next try. A flush that has begun since the last one ends the pause, unless the backend asked for it; so
    /// does a shutdown, unless the backend asked for it and time is left.
    async fn pause(&mut self, tried: &Try, asked: Option<Duration>, unreachable: bool) -> Next {
        if self.past_deadline() {
            self.abandoned = true;
            return Next::GiveUp(DropReason::Shutdown);
        }
        // A shutdown has no time for long pauses.
        let pause = self.retry.pause(if tried.ending { 1 } else { tried.attempt }, asked, fastrand::f64());
        let now = Instant::now();
        // Beyond the clock's end lies the end of time.
        let give_up_at = tried.first.checked_add(self.retry.give_up_after);
        if give_up_at.is_some_and(|at| at <= now) {
            return Next::GiveUp(DropReason::RetriesExhausted);
        }
        let end = now.checked_add(pause).or(give_up_at);
        let end = end.map(|end| give_up_at.map_or(end, |at| end.min(at)));
        loop {
            let now = Instant::now();
            if let Some(deadline) = self.control.deadline() {
                let in_time = end.is_some_and(|end| end < deadline);
                if tried.ending && (unreachable || !in_time) {
                    self.abandoned = true;
                    return Next::GiveUp(DropReason::Shutdown);
                }
                if !tried.ending && (asked.is_none() || !in_time) {
                    return Next::Again;
                }
            }
            if end.is_some_and(|end| end <= now) || (asked.is_none() && self.control.flush_wanted() > tried.flush) {
                return Next::Again;
            }
            let step = now + self.batch_limits.age.clamp(LEAST_AGE, LONGEST_STEP);
            let step = end.map_or(step, |end| end.min(step));
            tokio::select! {
                () = tokio::time::sleep_until(step.into()) => {
                    self.collect_if_due();
                    self.publish();
                }
                () = self.control.changed.notified() => {}
            }
        }
    }

    fn past_deadline(&self) -> bool {
        self.control.deadline().is_some_and(|deadline| deadline <= Instant::now())
    }

    fn drop_items(&mut self, reason: DropReason, items: usize) {
        self.unsettled = self.unsettled.saturating_sub(items);
        self.queue.accounting.drop_items(reason, items as u64);
    }

    fn measure(&self, started: Instant, items: usize) {
        let _ = std::panic::catch_unwind(AssertUnwindSafe(|| {
            let kind = self.signal.kind();
            let names = kind.metrics();
            metrics::histogram!(names.batch_size, "exporter" => kind.exporter()).record(items as f64);
            metrics::histogram!(
                names.latency_seconds,
                "exporter" => kind.exporter(),
                "protocol" => self.delivery.protocol()
            )
            .record(started.elapsed().as_secs_f64());
        }));
    }

    fn failed(&mut self, what: &str) {
        if self.failing.is_none() {
            self.failing = Some(Instant::now());
            diagnostics::warn(&format!("{} at {} {what}", self.signal.kind().exporter(), self.address));
        }
    }

    fn recovered(&mut self) {
        if let Some(since) = self.failing.take() {
            let seconds = since.elapsed().as_secs();
            let dropped = self.queue.accounting.dropped();
            diagnostics::warn(&format!(
                "{} at {} takes {} again after {seconds} s; dropped so far: {dropped}",
                self.signal.kind().exporter(),
                self.address,
                self.signal.kind().items()
            ));
        }
    }
}

#[derive(PartialEq, Eq)]
enum Sent {
    Settled,
    TooLarge,
}
