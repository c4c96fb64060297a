//! Deliver: a pipeline's task. Gathers, encodes, sends, tries again, settles. Worker thread.

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::join_all;
use http::{HeaderName, HeaderValue};

use super::answer::{Reply, Verdict};
use super::batch::{Batch, BatchLimits, Chunk};
use super::control::Control;
use super::grpc::GrpcDelivery;
use super::http::{HttpDelivery, NoAnswer};
use super::lane::{Lane, Request, Retry, lanes};
use super::queue::Queue;
use super::retry::RetryPolicy;
use super::warnings::Warnings;
use super::{Signal, diagnostics};
use crate::accounting::{DropReason, ErrorType};
use crate::clock;
use crate::spool::{End, Spool};

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

    async fn send(&self, request: &Sending) -> Result<Reply, NoAnswer> {
        match self {
            Self::Http(http) => http.send(request.body.clone(), request.attempt, &request.headers).await,
            Self::Grpc(grpc) => grpc.send(request.body.clone()).await,
        }
    }
}

/// What is sent of a request: the request itself may go to disk meanwhile.
struct Sending {
    body: Bytes,
    headers: Vec<(HeaderName, HeaderValue)>,
    attempt: u32,
}

/// A pipeline's task.
pub(super) struct Task<S> {
    pub(super) signal: S,
    pub(super) delivery: Arc<Delivery>,
    pub(super) queue: Arc<Queue>,
    pub(super) control: Arc<Control>,
    pub(super) batch_limits: BatchLimits,
    pub(super) retry: RetryPolicy,
    /// The address, for warnings.
    pub(super) address: String,
    pub(super) warnings: Warnings,
    /// The shutdown gave up: what is left is dropped without a try.
    pub(super) abandoned: bool,
    /// Chunks that no batch has yet.
    pub(super) waiting: VecDeque<Chunk>,
    /// Items of the present batch that are not accounted for, and not on disk.
    pub(super) unsettled: usize,
    /// Where items go that memory cannot hold.
    pub(super) spool: Option<Arc<Spool>>,
    /// Up to here the present round reads from disk.
    pub(super) round: Option<End>,
    /// The disk takes nothing: told once.
    pub(super) disk_fails: bool,
    /// The queue has asked for the worker while a request was under way.
    pub(super) woken: bool,
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
pub(super) const LEAST_AGE: Duration = Duration::from_millis(1);
/// The longest time without a look at what else is to be done.
pub(super) const LONGEST_STEP: Duration = Duration::from_secs(1);

/// The longest sleep of a pipeline that has nothing to do: a recorder that came since learns what is counted.
const LONGEST_SLEEP: Duration = Duration::from_secs(15);

/// Thirty years: what a timer takes.
const END_OF_TIME: Duration = Duration::from_secs(30 * 365 * 24 * 3600);

/// A try, and what was wanted when it began.
struct Try {
    attempt: u32,
    first: Instant,
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
        if let Some(spool) = &self.spool {
            spool.close().await;
        }
    }

    async fn work(&mut self) {
        let age = self.batch_limits.age.max(LEAST_AGE);
        // Recorders come a moment after the pipelines: what is published at once, and then once an age, reaches them.
        let mut look = age;
        let mut flushed = 0;
        self.recover().await;
        self.publish();
        loop {
            let began = Instant::now();
            clock::begin_watch();
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
            let mut sleeps = self.take_or_sleep();
            self.drain().await;
            // What went to disk meanwhile waits for the next round.
            sleeps &= self.queue.accounting.spooled() == 0;
            self.publish();
            self.control.advance(|progress| progress.flushed = flush);
            flushed = flush;
            if ending {
                return;
            }
            let mut until =
                self.next_round(began, if sleeps { std::mem::replace(&mut look, LONGEST_SLEEP) } else { age });
            // `changed` and `wake` may have been taken while a request was under way; and `changed` may speak of what is done.
            let mut woken = std::mem::take(&mut self.woken);
            while !woken && self.control.deadline().is_none() && self.control.flush_wanted() <= flushed {
                tokio::select! {
                    () = tokio::time::sleep_until(until.into()) => woken = true,
                    () = self.queue.wake.notified() => woken = true,
                    () = self.queue.first.notified() => until = until.min(self.next_round(Instant::now(), age)),
                    () = self.control.changed.notified() => {}
                }
            }
            self.queue.sleep(false);
        }
    }

    /// Takes what there is; where there is nothing, the worker may sleep: what comes from now on calls it.
    fn take_or_sleep(&mut self) -> bool {
        self.waiting = self.queue.take_all();
        if self.waiting.is_empty() {
            self.queue.sleep(true);
            self.waiting = self.queue.take_all();
        }
        self.waiting.is_empty()
    }

    /// When there is something to do at the latest.
    fn next_round(&self, began: Instant, longest: Duration) -> Instant {
        // Beyond the clock's end lies the end of time.
        let collection = self.collect_every.and_then(|every| self.collected.checked_add(every));
        let latest = began.checked_add(longest).unwrap_or_else(|| began + END_OF_TIME);
        collection.map_or(latest, |collection| latest.min(collection))
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
        let comes_whole = self.signal.kind() == crate::accounting::SignalKind::Metrics;
        if comes_whole {
            self.queue.lend();
        }
        let collected = std::panic::catch_unwind(AssertUnwindSafe(|| self.signal.collect(&self.queue, last)));
        if comes_whole {
            self.queue.end_loan();
        }
        if collected.is_err() {
            diagnostics::warn(&format!(
                "collecting {} panicked; the next interval tries again",
                self.signal.kind().items()
            ));
        }
    }

    /// The recorder is the program's: its panic must not cost a batch.
    pub(super) fn publish(&self) {
        let _ = std::panic::catch_unwind(AssertUnwindSafe(|| {
            let spool_bytes = self.spool.as_ref().map(|spool| spool.bytes());
            self.queue.accounting.publish(self.signal.kind(), self.queue.pending(), spool_bytes);
        }));
    }

    async fn drain(&mut self) {
        let count = self.signal.lanes().max(1);
        let mut limits = self.batch_limits;
        limits.bytes = limits.bytes.saturating_mul(count as usize);
        limits.items = limits.items.saturating_mul(count as usize);
        self.begin_round().await;
        loop {
            if self.abandoned {
                self.spill(&mut [], &mut Batch::empty()).await;
            } else if let Some(request) = self.next_stored().await {
                self.deliver_or_panic(vec![Lane::of(request)], Batch::empty()).await;
                continue;
            }
            let Some(batch) = Batch::gather(&mut self.waiting, &limits) else { return };
            self.unsettled = batch.len();
            let lanes = lanes(&batch, count, &self.batch_limits);
            self.deliver_or_panic(lanes, batch).await;
        }
    }

    /// A panic costs this batch, counted, not the pipeline.
    async fn deliver_or_panic(&mut self, mut lanes: Vec<Lane>, mut batch: Batch) {
        if AssertUnwindSafe(self.deliver(&mut lanes, &mut batch)).catch_unwind().await.is_err() {
            let mut lost = self.unsettled;
            self.drop_items(DropReason::WorkerPanic, lost);
            let left = lanes.into_iter().flat_map(|lane| lane.request.into_iter().chain(lane.ready));
            for mut request in left.filter(|request| request.stored.is_some()) {
                // What made the worker panic once would do so at every start.
                lost += request.items;
                self.acknowledge(&mut request);
                self.queue.accounting.drop_items(DropReason::WorkerPanic, request.items as u64);
            }
            diagnostics::warn(&format!("the worker panicked; {lost} {} are lost", self.signal.kind().items()));
        }
        self.release(&mut batch);
    }

    /// Settles every item of these lanes; those of a lane in their order, one request after the other.
    async fn deliver(&mut self, lanes: &mut Vec<Lane>, batch: &mut Batch) {
        loop {
            lanes.retain(|lane| !lane.is_empty());
            if lanes.is_empty() {
                return;
            }
            if self.past_deadline() {
                self.abandoned = true;
            }
            if self.abandoned {
                // What lies on disk is for the next start.
                self.spill(lanes, batch).await;
                let left = lanes.iter().map(Lane::unstored).sum();
                self.drop_items(DropReason::Shutdown, left);
                lanes.clear();
                return;
            }
            for lane in lanes.iter_mut() {
                lane.advance(batch, &mut self.signal);
            }
            let flush = self.control.flush_wanted();
            let ending = self.control.deadline().is_some();
            let started = Instant::now();
            let answers = self.send_by_deadline(lanes, batch).await;
            let mut retry: Option<Retry> = None;
            for (lane, answer) in lanes.iter_mut().zip(answers) {
                self.measure(started, lane.items());
                if let Some(again) = self.settle(lane, answer) {
                    retry = Some(retry.map_or(again, |other| other.with(again)));
                }
            }
            let Some(retry) = retry else { continue };
            let tried = Try { attempt: retry.attempt, first: retry.first, flush, ending };
            let next = self.pause(&tried, retry.after, retry.unreachable, lanes, batch).await;
            if let Next::GiveUp(DropReason::Shutdown) = next {
                // `abandoned` says what becomes of it.
                continue;
            }
            if let Next::GiveUp(reason) = next {
                for lane in lanes.iter_mut().filter(|lane| lane.is_to_be_sent_again()) {
                    if let Some(request) = lane.request.take() {
                        self.drop_request(reason, request);
                    }
                }
            }
        }
    }

    /// What an answer means for its lane; something if the same is to be sent again.
    fn settle(&mut self, lane: &mut Lane, answer: Result<Reply, NoAnswer>) -> Option<Retry> {
        // It stays in its lane while the signal looks at the answer: a panic there must find it.
        let headers = &lane.request.as_ref()?.headers;
        let (verdict, unreachable) = match answer {
            Ok(reply) => (self.signal.classify_answer_to(headers, &reply), false),
            Err(lost) => (Verdict::Retry { error: lost.error, after: None, message: lost.message }, lost.unreachable),
        };
        let mut request = lane.request.take()?;
        let items = request.items;
        let accounting = &self.queue.accounting;
        match verdict {
            Verdict::Delivered { rejected, message } => {
                let rejected = usize::try_from(rejected).unwrap_or(items).min(items);
                self.settled(&mut request);
                let accounting = &self.queue.accounting;
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
            }
            Verdict::Rejected { error, message } => self.reject(request, error, &message),
            Verdict::Split { message } => {
                accounting.error(ErrorType::TooLarge);
                accounting.export_failure.fetch_add(items as u64, Ordering::Relaxed);
                if let Some([one, other]) = request.halves(&mut self.signal) {
                    lane.ready.push_front(other);
                    lane.ready.push_front(one);
                    // Both of them have its place on disk.
                    request.stored = None;
                } else {
                    self.drop_request(DropReason::TooLarge, request);
                    self.failed(&format!("takes no {} so large: {message}", self.signal.kind().items()));
                }
            }
            Verdict::Reencode { message } => {
                if !message.is_empty() {
                    diagnostics::warn(&format!("{} at {}: {message}", self.signal.kind().exporter(), self.address));
                }
                match request.made_of.clone().filter(|_| request.stored.is_none()) {
                    Some(part) => lane.parts.push_front(part),
                    // Its items are not there any more.
                    None => self.reject(request, ErrorType::Rejected, "it was encoded in a form that is not taken"),
                }
            }
            Verdict::Retry { error, after, message } => {
                accounting.error(error);
                accounting.export_failure.fetch_add(items as u64, Ordering::Relaxed);
                self.failed(&format!("does not take {} ({error}): {message}", self.signal.kind().items()));
                self.publish();
                let after = self.retry.least(error, after);
                // A shutdown has no time until credentials are mended.
                let unreachable = unreachable || error == ErrorType::Unauthorized;
                let again = Retry { attempt: request.attempt, first: request.first, after, unreachable };
                request.attempt = request.attempt.saturating_add(1);
                lane.request = Some(request);
                return Some(again);
            }
        }
        None
    }

    fn reject(&mut self, mut request: Request, error: ErrorType, message: &str) {
        let items = request.items;
        self.settled(&mut request);
        let accounting = &self.queue.accounting;
        accounting.error(error);
        accounting.export_failure.fetch_add(items as u64, Ordering::Relaxed);
        accounting.rejected.fetch_add(items as u64, Ordering::Release);
        self.failed(&format!("refused {items} {} ({error}): {message}", self.signal.kind().items()));
    }

    fn drop_request(&mut self, reason: DropReason, mut request: Request) {
        self.settled(&mut request);
        self.queue.accounting.drop_items(reason, request.items as u64);
    }

    /// Nothing more becomes of this request.
    fn settled(&mut self, request: &mut Request) {
        if request.stored.is_some() {
            self.acknowledge(request);
        } else {
            self.unsettled = self.unsettled.saturating_sub(request.items);
        }
    }

    /// Sends the present request of each lane, all at once; the answers stand in the lanes' order.
    async fn send_by_deadline(&mut self, lanes: &mut [Lane], batch: &mut Batch) -> Vec<Result<Reply, NoAnswer>> {
        let delivery = Arc::clone(&self.delivery);
        let requests: Vec<_> = lanes
            .iter()
            .filter_map(|lane| lane.request.as_ref())
            .map(|Request { body, headers, attempt, .. }| Sending {
                body: body.clone(),
                headers: headers.clone(),
                attempt: *attempt,
            })
            .collect();
        let send = join_all(requests.iter().map(|request| delivery.send(request)));
        tokio::pin!(send);
        loop {
            let deadline = self.control.deadline();
            let late = async {
                match deadline {
                    Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                answers = &mut send => return answers,
                () = late => {
                    let message = "the shutdown's deadline came before an answer".to_owned();
                    let late = || Err(NoAnswer { error: ErrorType::Timeout, message: message.clone(), unreachable: false });
                    return requests.iter().map(|_| late()).collect();
                }
                // A shutdown may have begun: look at its deadline.
                () = self.control.changed.notified() => {}
                () = self.memory_fills() => {
                    if self.is_spill_due() {
                        self.spill(lanes, batch).await;
                    }
                }
            }
        }
    }

    /// Waits for the next try. A flush that has begun since the last one ends the pause, unless the backend asked for it; so
    /// does a shutdown, unless the backend asked for it and time is left.
    async fn pause(
        &mut self,
        tried: &Try,
        asked: Option<Duration>,
        unreachable: bool,
        lanes: &mut [Lane],
        batch: &mut Batch,
    ) -> Next {
        if self.past_deadline() {
            self.abandoned = true;
            return Next::GiveUp(DropReason::Shutdown);
        }
        // A shutdown has no time for long pauses.
        let pause = self.retry.pause(if tried.ending { 1 } else { tried.attempt }, asked, fastrand::f64());
        let now = Instant::now();
        // Beyond the clock's end lies the end of time.
        let give_up_at = tried.first.checked_add(self.give_up_after());
        if give_up_at.is_some_and(|at| at <= now) {
            return Next::GiveUp(DropReason::RetriesExhausted);
        }
        let end = now.checked_add(pause).or(give_up_at);
        let end = end.map(|end| give_up_at.map_or(end, |at| end.min(at)));
        loop {
            let wanted = self.control.deadline().is_some() || self.control.flush_wanted() > tried.flush;
            if wanted || self.is_spill_due() {
                self.spill(lanes, batch).await;
            }
            let now = Instant::now();
            if let Some(deadline) = self.control.deadline() {
                let in_time = end.is_some_and(|end| end < deadline);
                if tried.ending && (unreachable || !in_time) {
                    self.abandoned = true;
                    return Next::GiveUp(DropReason::Shutdown);
                }
                if !tried.ending && (asked.is_none() || unreachable || !in_time) {
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
                () = self.memory_fills() => {}
            }
        }
    }

    fn past_deadline(&self) -> bool {
        self.control.deadline().is_some_and(|deadline| deadline <= Instant::now())
    }

    pub(super) fn drop_items(&mut self, reason: DropReason, items: usize) {
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
        if let Some(more) = self.warnings.failed(Instant::now()) {
            diagnostics::warn(&format!("{} at {} {what}{more}", self.signal.kind().exporter(), self.address));
        }
    }

    fn recovered(&mut self) {
        if let Some(after) = self.warnings.recovered(Instant::now()) {
            let dropped = self.queue.accounting.dropped();
            diagnostics::warn(&format!(
                "{} at {} takes {} again {after}; dropped so far: {dropped}",
                self.signal.kind().exporter(),
                self.address,
                self.signal.kind().items()
            ));
        }
    }
}
