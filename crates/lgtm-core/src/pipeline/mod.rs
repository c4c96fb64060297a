//! The one pipeline that every signal uses: admit (`queue.rs`, caller) -> gather (`batch.rs`) -> encode (the signal's) ->
//! deliver (`deliver.rs`, `lane.rs`, `retry.rs`, `http.rs`, `grpc.rs`) -> settle (`accounting.rs`), the last four on the worker; and what
//! memory cannot hold by way of the disk (`spill.rs`).

mod answer;
mod batch;
mod connect;
mod control;
mod deliver;
mod grpc;
mod grpc_status;
mod http;
mod lane;
mod proxy;
mod queue;
mod renewed;
mod retry;
mod scrub;
mod spill;
mod sync;
mod tls;
mod warnings;
mod worker;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ::http::{HeaderName, HeaderValue};

pub use answer::{Reply, Verdict, excerpt};
pub use batch::{Batch, BatchLimits, Item};
pub use queue::{Overflow, Priority, Queue, QueueLimits};
pub use retry::RetryPolicy;
pub use worker::Worker;

use crate::accounting::{SignalKind, SignalReport};
use crate::diagnostics;
use crate::endpoint::{Endpoint, EndpointError};
use crate::span::undecided;
use crate::spool::Spool;
#[cfg(feature = "spool")]
use crate::spool::{SpoolError, SpoolOptions};
use crate::suppress::is_suppressed;
use control::Control;
use deliver::{Delivery, Task};
use grpc::GrpcDelivery;
use http::HttpDelivery;
use warnings::Warnings;

/// What a signal crate gives to its pipeline. All methods run on the worker.
pub trait Signal: Send + 'static {
    /// Which signal this is.
    fn kind(&self) -> SignalKind;

    /// Appends the request body for these items. It reads no clock and touches no socket.
    fn encode(&mut self, batch: &Batch, body: &mut Vec<u8>);

    /// In how many lanes items travel: those whose `stream` is the same modulo this number arrive in their order, those of
    /// different lanes at once. Items of one lane must be admitted one after the other. Default: 1.
    fn lanes(&self) -> u32 {
        1
    }

    /// Headers of the request that was encoded last, beside those of the target. Default: none.
    fn headers(&self) -> Vec<(HeaderName, HeaderValue)> {
        Vec::new()
    }

    /// A request in two that arrive as it would have, each with the number of its items; nothing if it has but one.
    fn halve(&mut self, body: &[u8]) -> Option<[(Vec<u8>, usize); 2]>;

    /// As [`Signal::encode`], in a form that can be sent at any time, by any process; with its headers. Default: the usual form.
    fn encode_to_store(&mut self, batch: &Batch, body: &mut Vec<u8>) -> Vec<(HeaderName, HeaderValue)> {
        self.encode(batch, body);
        self.headers()
    }

    /// Whether a request with these headers of [`Signal::headers`] has that form. Default: all have.
    fn can_be_stored(&self, headers: &[(HeaderName, HeaderValue)]) -> bool {
        let _ = headers;
        true
    }

    /// What this backend's answer means.
    fn classify(&self, reply: &Reply) -> Verdict;

    /// What this backend's answer to a request with these headers of [`Signal::headers`] means. Default: as
    /// [`Signal::classify`], whatever they are.
    fn classify_answer_to(&self, headers: &[(HeaderName, HeaderValue)], reply: &Reply) -> Verdict {
        let _ = headers;
        self.classify(reply)
    }

    /// How often [`Signal::collect`] is called. Default: never.
    fn collect_interval(&self) -> Option<Duration> {
        None
    }

    /// Admits items that no caller admits: called once an interval, at a flush, and a `last` time at the shutdown.
    fn collect(&mut self, queue: &Queue, last: bool) {
        let _ = (queue, last);
    }
}

/// Where and how a pipeline sends.
#[derive(Clone, Debug)]
pub enum Target {
    /// POST over HTTP.
    Http {
        /// The backend.
        endpoint: Endpoint,
        /// Appended to an endpoint without a path.
        default_path: &'static str,
        /// The protocol's headers.
        headers: Vec<(HeaderName, HeaderValue)>,
    },
    /// A unary gRPC method.
    Grpc {
        /// The backend.
        endpoint: Endpoint,
        /// The method's path: `/package.Service/Method`.
        path: &'static str,
    },
}

/// How a pipeline behaves. `Default` gives the defaults of each part.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct PipelineOptions {
    /// The queue's bounds.
    pub queue: QueueLimits,
    /// What happens when it is full.
    pub overflow: Overflow,
    /// When a batch is sent.
    pub batch: BatchLimits,
    /// When a failed one is sent again.
    pub retry: RetryPolicy,
    /// Where items go that memory cannot hold, and what is left at the end. Default: nowhere.
    #[cfg(feature = "spool")]
    pub spool: Option<SpoolOptions>,
}

/// Why a pipeline could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The endpoint cannot work.
    #[error("endpoint: {0}")]
    Endpoint(#[from] EndpointError),
    /// The spool cannot work.
    #[cfg(feature = "spool")]
    #[error(transparent)]
    Spool(#[from] SpoolError),
}

/// A handle to a running pipeline. Clones are handles to the same one. When the last one is dropped without a shutdown, what
/// waits is sent, within 5 s; the queue that a layer keeps is closed then.
#[derive(Clone, Debug)]
pub struct Pipeline {
    kind: SignalKind,
    queue: Arc<Queue>,
    control: Arc<Control>,
    worker: Worker,
    /// Dropped with the last handle.
    _end: Arc<EndOnDrop>,
}

/// The end of a pipeline whose handles are all gone.
#[derive(Debug)]
struct EndOnDrop {
    control: Arc<Control>,
    queue: Arc<Queue>,
    /// Keeps the thread until then.
    _worker: Worker,
}

/// How long dropping the last handle may take.
const DROP_TIMEOUT: Duration = Duration::from_secs(5);

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        let deadline = Instant::now() + DROP_TIMEOUT;
        // After a shutdown that nobody waited for, the earlier deadline counts.
        let deadline = self.control.deadline().map_or(deadline, |known| known.min(deadline));
        undecided::decide_all(&self.queue);
        self.control.want_end(deadline);
        // The worker cannot wait for itself.
        if !is_suppressed() {
            self.control.wait(deadline, |progress| progress.finished);
        }
    }
}

impl Pipeline {
    /// Starts a pipeline on this worker.
    ///
    /// # Errors
    /// [`StartError`] if the target cannot work: a header, CA file or TLS setting; or the folder of the spool. An unreachable
    /// backend is no error.
    pub fn start(
        signal: impl Signal,
        target: Target,
        options: PipelineOptions,
        worker: &Worker,
    ) -> Result<Self, StartError> {
        let (delivery, mut address) = match &target {
            Target::Http { endpoint, default_path, headers } => (
                Delivery::Http(Box::new(HttpDelivery::new(endpoint, default_path, headers)?)),
                endpoint.url_with_default_path(default_path),
            ),
            Target::Grpc { endpoint, path } => {
                (Delivery::Grpc(Box::new(GrpcDelivery::new(endpoint, path)?)), endpoint.url.clone())
            }
        };
        // Some gateways take keys there: no part of a warning.
        address.set_query(None);
        let batch = options.batch;
        let queue = Arc::new(Queue::new(options.queue, options.overflow, batch.bytes, batch.items));
        let control = Arc::new(Control::new());
        let kind = signal.kind();
        #[cfg(feature = "spool")]
        let spool = options.spool.map(|spool| Spool::start(&spool, kind.plain_name())).transpose()?.map(Arc::new);
        #[cfg(not(feature = "spool"))]
        let spool: Option<Arc<Spool>> = None;
        let task = Task {
            collect_every: signal.collect_interval(),
            collected: Instant::now(),
            signal,
            delivery: Arc::new(delivery),
            queue: Arc::clone(&queue),
            control: Arc::clone(&control),
            batch_limits: batch,
            retry: options.retry,
            address: address.to_string(),
            warnings: Warnings::default(),
            abandoned: false,
            waiting: VecDeque::new(),
            unsettled: 0,
            spool,
            round: None,
            disk_fails: false,
            woken: false,
            panicked: false,
        };
        worker.handle().spawn(task.run());
        let end =
            Arc::new(EndOnDrop { control: Arc::clone(&control), queue: Arc::clone(&queue), _worker: worker.clone() });
        Ok(Self { kind, queue, control, worker: worker.clone(), _end: end })
    }

    /// Which signal it carries.
    #[must_use]
    pub fn kind(&self) -> SignalKind {
        self.kind
    }

    /// The queue that items are admitted to.
    #[must_use]
    pub fn queue(&self) -> &Queue {
        &self.queue
    }

    /// The queue, for a layer to keep: it does not keep the pipeline running.
    #[must_use]
    pub fn shared_queue(&self) -> Arc<Queue> {
        Arc::clone(&self.queue)
    }

    /// What has become of the items so far.
    #[must_use]
    pub fn report(&self) -> SignalReport {
        // Admitted last: an item settled between the two looks must not exceed what was admitted.
        let settled = self.queue.accounting.report(self.kind, u64::MAX);
        let admitted = self.queue.admitted();
        let known = settled.delivered + settled.lost();
        let pending = admitted.saturating_sub(known);
        SignalReport { admitted, pending, ..settled }
    }

    /// Asks for everything admitted so far to be sent. Pass the result to [`Pipeline::wait_flushed`].
    #[must_use]
    pub fn begin_flush(&self) -> Flush {
        Flush(self.control.want_flush())
    }

    /// Blocks until the flush is done; false if the deadline came first. Works on any thread, in and out of runtimes.
    #[must_use]
    pub fn wait_flushed(&self, flush: &Flush, deadline: Instant) -> bool {
        let number = flush.0;
        self.control.wait(deadline, |progress| progress.finished || progress.flushed >= number)
    }

    /// Waits until the flush is done; false if the deadline came first. Works in any runtime.
    pub async fn flushed(&self, flush: &Flush, deadline: Instant) -> bool {
        let number = flush.0;
        self.reaches(deadline, move |progress| progress.finished || progress.flushed >= number).await
    }

    /// Asks for the end: what waits is sent, new items are dropped and counted, and what is left at the deadline is dropped
    /// and counted. Pass on to [`Pipeline::wait_ended`].
    pub fn begin_shutdown(&self, deadline: Instant) {
        // What the keep rules hold back is decided now: nothing waits beyond the end.
        undecided::decide_all(&self.queue);
        self.control.want_end(deadline);
    }

    /// Blocks until the pipeline has ended; false if the deadline came first.
    #[must_use]
    pub fn wait_ended(&self, deadline: Instant) -> bool {
        self.control.wait(deadline, |progress| progress.finished)
    }

    /// Waits until the pipeline has ended; false if the deadline came first. Works in any runtime.
    pub async fn ended(&self, deadline: Instant) -> bool {
        self.reaches(deadline, |progress| progress.finished).await
    }

    /// Publishes what has become of the items so far as metrics, by the calling thread; the worker does so once a round. After the
    /// start it leaves the worker nothing to register: a process that forks then has no lock of the recorder in the worker's hands.
    pub fn publish(&self) {
        self.queue.publish(self.kind);
    }

    /// The wait runs on the worker: its clock ends it whatever runtime the caller has.
    async fn reaches(&self, deadline: Instant, done: impl Fn(&control::Progress) -> bool + Send + 'static) -> bool {
        if !self.control.is_alive() {
            return false;
        }
        let mut progress = self.control.subscribe();
        let wait = async move {
            let reached = progress.wait_for(done);
            tokio::time::timeout_at(deadline.into(), reached).await.is_ok_and(|reached| reached.is_ok())
        };
        self.worker.handle().spawn(wait).await.unwrap_or(false)
    }
}

/// A flush that was asked for.
#[derive(Debug)]
pub struct Flush(u64);

#[cfg(all(test, lgtm_loom))]
mod models;
#[cfg(test)]
mod tests;
