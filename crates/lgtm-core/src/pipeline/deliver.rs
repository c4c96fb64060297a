//! Deliver: a pipeline's task. Gathers, encodes, sends, tries again, settles. Worker thread.

use std::collections::VecDeque;
use std::ops::Range;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::join_all;
use http::{HeaderName, HeaderValue};
use tokio::time::MissedTickBehavior;

use super::answer::{Reply, Verdict};
use super::batch::{Batch, BatchLimits, Chunk};
use super::control::Control;
use super::grpc::GrpcDelivery;
use super::http::{HttpDelivery, NoAnswer};
use super::queue::Queue;
use super::retry::RetryPolicy;
use super::warnings::Warnings;
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

    async fn send(&self, request: &Request) -> Result<Reply, NoAnswer> {
        match self {
            Self::Http(http) => http.send(request.body.clone(), request.attempt, &request.headers).await,
            Self::Grpc(grpc) => grpc.send(request.body.clone()).await,
        }
    }
}

/// An encoded request.
struct Request {
    body: Bytes,
    headers: Vec<(HeaderName, HeaderValue)>,
    items: usize,
    /// From 1.
    attempt: u32,
    /// When it was encoded.
    first: Instant,
}

/// Items that must arrive in their order.
struct Lane {
    /// What is left of the batch, the next request's items first.
    parts: VecDeque<Range<usize>>,
    /// The next request.
    request: Option<Request>,
}

impl Lane {
    fn encode(&mut self, batch: &mut Batch, signal: &mut impl Signal) {
        let (None, Some(part)) = (&self.request, self.parts.front()) else { return };
        batch.narrow(part.clone());
        let mut body = Vec::with_capacity(batch.bytes() + 1024);
        signal.encode(batch, &mut body);
        self.request = Some(Request {
            body: Bytes::from(body),
            headers: signal.headers(),
            items: part.len(),
            attempt: 1,
            first: Instant::now(),
        });
    }

    fn items(&self) -> usize {
        self.request.as_ref().map_or(0, |request| request.items)
    }

    fn is_to_be_sent_again(&self) -> bool {
        self.request.as_ref().is_some_and(|request| request.attempt > 1)
    }

    /// The present request is settled.
    fn next(&mut self) {
        self.request = None;
        self.parts.pop_front();
    }

    /// Halves the next request's items; false if there is but one.
    fn split(&mut self) -> bool {
        let Some(part) = self.parts.pop_front().filter(|part| part.len() > 1) else {
            // It stays for `next` to take away.
            self.parts.push_front(0..0);
            return false;
        };
        let middle = part.start + part.len() / 2;
        self.parts.push_front(middle..part.end);
        self.parts.push_front(part.start..middle);
        true
    }
}

/// The batch's items by lane. One lane takes a batch as it is; of several each gets requests within the limits.
fn lanes(batch: &Batch, count: u32, limits: &BatchLimits) -> Vec<Lane> {
    if count <= 1 {
        return vec![Lane { parts: VecDeque::from([batch.range()]), request: None }];
    }
    let mut lanes: Vec<Lane> = (0..count).map(|_| Lane { parts: VecDeque::new(), request: None }).collect();
    let mut bytes = 0;
    let mut last = None;
    for (place, item) in batch.iter().enumerate() {
        let place = batch.range().start + place;
        let number = item.stream % count;
        let Some(lane) = lanes.get_mut(number as usize) else { continue };
        bytes += item.payload.len();
        match lane.parts.back_mut().filter(|_| last == Some(number)) {
            Some(part) if part.len() < limits.items && bytes <= limits.bytes => part.end = place + 1,
            _ => {
                bytes = item.payload.len();
                lane.parts.push_back(place..place + 1);
            }
        }
        last = Some(number);
    }
    lanes
}

/// What is to be sent again, of all lanes.
#[derive(Clone, Copy)]
struct Retry {
    attempt: u32,
    first: Instant,
    after: Option<Duration>,
    unreachable: bool,
}

impl Retry {
    /// The longer pause of two.
    fn with(self, other: Self) -> Self {
        Self {
            attempt: self.attempt.max(other.attempt),
            first: self.first.min(other.first),
            after: self.after.max(other.after),
            unreachable: self.unreachable && other.unreachable,
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
    pub(super) warnings: Warnings,
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
        let lanes = self.signal.lanes().max(1) as usize;
        let mut limits = self.batch_limits;
        limits.bytes = limits.bytes.saturating_mul(lanes);
        limits.items = limits.items.saturating_mul(lanes);
        while let Some(mut batch) = Batch::gather(&mut self.waiting, &limits) {
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

    /// Settles every item of the batch; those of a lane in their order, one request after the other.
    async fn deliver(&mut self, batch: &mut Batch) {
        let mut lanes = lanes(batch, self.signal.lanes(), &self.batch_limits);
        loop {
            lanes.retain(|lane| !lane.parts.is_empty());
            if lanes.is_empty() {
                return;
            }
            if self.past_deadline() {
                self.abandoned = true;
            }
            if self.abandoned {
                let left = lanes.iter().flat_map(|lane| &lane.parts).map(Range::len).sum();
                self.drop_items(DropReason::Shutdown, left);
                return;
            }
            for lane in &mut lanes {
                lane.encode(batch, &mut self.signal);
            }
            let flush = self.control.flush_wanted();
            let ending = self.control.deadline().is_some();
            let started = Instant::now();
            let answers = self.send_by_deadline(&lanes).await;
            let mut retry: Option<Retry> = None;
            for (lane, answer) in lanes.iter_mut().zip(answers) {
                self.measure(started, lane.items());
                if let Some(again) = self.settle(lane, answer) {
                    retry = Some(retry.map_or(again, |other| other.with(again)));
                }
            }
            let Some(retry) = retry else { continue };
            let tried = Try { attempt: retry.attempt, first: retry.first, flush, ending };
            if let Next::GiveUp(reason) = self.pause(&tried, retry.after, retry.unreachable).await {
                for lane in lanes.iter_mut().filter(|lane| lane.is_to_be_sent_again()) {
                    let items = lane.items();
                    lane.next();
                    self.drop_items(reason, items);
                }
            }
        }
    }

    /// What an answer means for its lane; something if the same is to be sent again.
    fn settle(&mut self, lane: &mut Lane, answer: Result<Reply, NoAnswer>) -> Option<Retry> {
        let items = lane.items();
        let (verdict, unreachable) = match answer {
            Ok(reply) => {
                let headers = lane.request.as_ref().map_or(&[][..], |request| &request.headers);
                (self.signal.classify_answer_to(headers, &reply), false)
            }
            Err(lost) => (Verdict::Retry { error: lost.error, after: None, message: lost.message }, lost.unreachable),
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
                lane.next();
            }
            Verdict::Rejected { error, message } => {
                self.unsettled = self.unsettled.saturating_sub(items);
                accounting.error(error);
                accounting.export_failure.fetch_add(items as u64, Ordering::Relaxed);
                accounting.rejected.fetch_add(items as u64, Ordering::Release);
                self.failed(&format!("refused {items} {} ({error}): {message}", self.signal.kind().items()));
                lane.next();
            }
            Verdict::Split { .. } => {
                accounting.error(ErrorType::TooLarge);
                accounting.export_failure.fetch_add(items as u64, Ordering::Relaxed);
                self.signal.retract();
                if lane.split() {
                    lane.request = None;
                } else {
                    lane.next();
                    self.drop_items(DropReason::TooLarge, items);
                }
            }
            Verdict::Reencode { message } => {
                if !message.is_empty() {
                    diagnostics::warn(&format!("{} at {}: {message}", self.signal.kind().exporter(), self.address));
                }
                self.signal.retract();
                lane.request = None;
            }
            Verdict::Retry { error, after, message } => {
                accounting.error(error);
                accounting.export_failure.fetch_add(items as u64, Ordering::Relaxed);
                self.failed(&format!("does not take {} ({error}): {message}", self.signal.kind().items()));
                self.publish();
                let request = lane.request.as_mut()?;
                let after = self.retry.least(error, after);
                // A shutdown has no time until credentials are mended.
                let unreachable = unreachable || error == ErrorType::Unauthorized;
                let again = Retry { attempt: request.attempt, first: request.first, after, unreachable };
                request.attempt = request.attempt.saturating_add(1);
                return Some(again);
            }
        }
        None
    }

    /// Sends the first request of each lane, all at once; the answers stand in the lanes' order.
    async fn send_by_deadline(&mut self, lanes: &[Lane]) -> Vec<Result<Reply, NoAnswer>> {
        let control = Arc::clone(&self.control);
        let delivery = &self.delivery;
        let requests = lanes.iter().filter_map(|lane| lane.request.as_ref());
        let send = join_all(requests.map(|request| delivery.send(request)));
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
                answers = &mut send => return answers,
                () = late => {
                    let message = "the shutdown's deadline came before an answer".to_owned();
                    let late = || Err(NoAnswer { error: ErrorType::Timeout, message: message.clone(), unreachable: false });
                    return lanes.iter().map(|_| late()).collect();
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
