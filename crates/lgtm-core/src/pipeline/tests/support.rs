//! A scripted HTTP/1.1 server on a thread of its own, and a signal whose items are numbers.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, oneshot};

use crate::accounting::{DropReason, ErrorType, SignalKind, SignalReport};
use crate::endpoint::Endpoint;
use crate::pipeline::{Batch, Pipeline, PipelineOptions, Queue, Reply, Signal, Target, Verdict, Worker};

/// Long enough for a loaded machine; no test waits for its end when it passes.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);
/// An age at which nothing happens during a test.
pub(super) const NEVER: Duration = Duration::from_secs(24 * 3600);

pub(super) fn soon() -> Instant {
    Instant::now() + PATIENCE
}

/// Polls until `done`; panics with `what` when that takes too long.
#[track_caller]
pub(super) fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = soon();
    while !done() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// How a request is answered.
#[derive(Clone, Debug)]
pub(super) enum Answer {
    /// This status; 200 and 204 store.
    Status(u16),
    /// This status, with a `Retry-After` of so many seconds.
    RetryAfter(u16, u64),
    /// 200, but so many items are refused.
    Partial(usize),
    /// 413 for more items than this, else 204.
    AtMost(usize),
    /// 204 after a while.
    Slow(Duration),
    /// 204 once the server is told to let one go.
    Held,
    /// 200, with a body that is announced and never comes.
    Unfinished,
    /// 204 to a head with this in it (in lower case), else 401.
    Demand(String),
    /// The connection is reset.
    Reset,
    /// The connection is closed without an answer.
    Close,
}

/// A request that arrived.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) at: Instant,
    pub(super) head: String,
    pub(super) items: Vec<u64>,
}

struct State {
    script: Mutex<VecDeque<Answer>>,
    otherwise: Mutex<Answer>,
    requests: Mutex<Vec<Request>>,
    stored: Mutex<Vec<u64>>,
    released: Semaphore,
}

/// The server. It ends when dropped.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    state: Arc<State>,
    _stop: oneshot::Sender<()>,
}

impl Server {
    /// Answers by the script, then 204.
    pub(super) fn start(script: impl IntoIterator<Item = Answer>) -> Self {
        let state = Arc::new(State {
            script: Mutex::new(script.into_iter().collect()),
            otherwise: Mutex::new(Answer::Status(204)),
            requests: Mutex::default(),
            stored: Mutex::default(),
            released: Semaphore::new(0),
        });
        let shared = Arc::clone(&state);
        let (address, stop) = on_a_thread(free_port(), move |stream| serve(stream, Arc::clone(&shared)));
        Self { address, state, _stop: stop }
    }

    /// What it answers after the script.
    pub(super) fn otherwise(self, answer: Answer) -> Self {
        self.answer(answer);
        self
    }

    pub(super) fn answer(&self, answer: Answer) {
        *self.state.otherwise.lock() = answer;
    }

    /// Forgets what is left of the script.
    pub(super) fn recover(&self) {
        self.state.script.lock().clear();
    }

    /// Answers one request that is held, or the next that will be.
    pub(super) fn release(&self, requests: usize) {
        self.state.released.add_permits(requests);
    }

    /// Takes back what [`Server::release`] gave and nobody used.
    pub(super) fn hold_again(&self) {
        self.state.released.forget_permits(usize::MAX);
    }

    pub(super) fn endpoint(&self) -> Endpoint {
        Endpoint::parse(&format!("http://{}", self.address)).unwrap().timeout(PATIENCE)
    }

    pub(super) fn requests(&self) -> Vec<Request> {
        self.state.requests.lock().clone()
    }

    pub(super) fn stored(&self) -> Vec<u64> {
        self.state.stored.lock().clone()
    }

    pub(super) fn wait_for_requests(&self, count: usize) {
        eventually(&format!("{count} requests"), || self.state.requests.lock().len() >= count);
    }
}

/// A listener on a free port.
pub(super) fn free_port() -> std::net::TcpListener {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap()
}

/// Accepts connections until the sender is dropped.
pub(super) fn on_a_thread<F>(
    listener: std::net::TcpListener,
    mut serve: impl FnMut(TcpStream) -> F + Send + 'static,
) -> (SocketAddr, oneshot::Sender<()>)
where
    F: Future<Output = ()> + Send + 'static,
{
    let address = listener.local_addr().unwrap();
    listener.set_nonblocking(true).unwrap();
    let (stop, stopped) = oneshot::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            let accept = async {
                loop {
                    let (stream, _) = listener.accept().await.unwrap();
                    tokio::spawn(serve(stream));
                }
            };
            tokio::select! {
                () = accept => {}
                _ = stopped => {}
            }
        });
    });
    (address, stop)
}

/// A port on which nobody listens, nor can while this lives: what is bound is no other test's.
pub(super) struct RefusingPort(tokio::net::TcpSocket);

impl RefusingPort {
    pub(super) fn new() -> Self {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        Self(socket)
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.0.local_addr().unwrap()
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address())
    }
}

async fn serve(mut stream: TcpStream, state: Arc<State>) {
    let mut received = Vec::new();
    // What is no HTTP (a TLS hello) is answered as servers do.
    if stream.read_buf(&mut received).await.is_ok() && received.first().is_some_and(|first| !first.is_ascii_uppercase())
    {
        let _ = stream.write_all(status_line(400, "", "not HTTP").as_bytes()).await;
        return;
    }
    while let Some((head, body)) = read_request(&mut stream, &mut received).await {
        let items = parse_items(&body);
        let answer = {
            let next = state.script.lock().pop_front();
            next.unwrap_or_else(|| state.otherwise.lock().clone())
        };
        let answer = match answer {
            Answer::Demand(part) if format!("{head}\r\n").contains(&part) => Answer::Status(204),
            Answer::Demand(_) => Answer::Status(401),
            other => other,
        };
        state.requests.lock().push(Request { at: Instant::now(), head, items: items.clone() });
        let store = |items: &[u64]| state.stored.lock().extend_from_slice(items);
        let reply = match answer {
            Answer::Status(status @ (200 | 204)) => {
                store(&items);
                status_line(status, "", "")
            }
            Answer::Status(status) => status_line(status, "", "no"),
            Answer::Demand(_) => status_line(401, "", "no"),
            Answer::RetryAfter(status, seconds) => status_line(status, &format!("retry-after: {seconds}\r\n"), "later"),
            Answer::Partial(refused) => {
                let refused = refused.min(items.len());
                store(&items[refused..]);
                status_line(200, "", &format!("rejected {refused}"))
            }
            Answer::AtMost(most) if items.len() > most => status_line(413, "", "too large"),
            Answer::AtMost(_) => {
                store(&items);
                status_line(204, "", "")
            }
            Answer::Slow(delay) => {
                tokio::time::sleep(delay).await;
                store(&items);
                status_line(204, "", "")
            }
            Answer::Held => {
                state.released.acquire().await.unwrap().forget();
                store(&items);
                status_line(204, "", "")
            }
            Answer::Unfinished => {
                store(&items);
                let head = "HTTP/1.1 200 Scripted\r\ncontent-length: 10\r\n\r\nhalf";
                let _ = stream.write_all(head.as_bytes()).await;
                return std::future::pending().await;
            }
            Answer::Reset => {
                stream.set_zero_linger().unwrap();
                return;
            }
            Answer::Close => return,
        };
        if stream.write_all(reply.as_bytes()).await.is_err() {
            return;
        }
    }
}

fn status_line(status: u16, headers: &str, body: &str) -> String {
    let length = if status == 204 { String::new() } else { format!("content-length: {}\r\n", body.len()) };
    format!("HTTP/1.1 {status} Scripted\r\n{length}{headers}\r\n{body}")
}

async fn read_request(stream: &mut TcpStream, received: &mut Vec<u8>) -> Option<(String, Vec<u8>)> {
    loop {
        if let Some(end) = received.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&received[..end]).to_ascii_lowercase();
            let length: usize = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length:"))
                .map_or(0, |length| length.trim().parse().unwrap());
            if received.len() >= end + 4 + length {
                let body = received[end + 4..end + 4 + length].to_vec();
                received.drain(..end + 4 + length);
                return Some((head, body));
            }
        }
        if stream.read_buf(received).await.ok()? == 0 {
            return None;
        }
    }
}

/// The numbers in a request: a line each, up to the padding.
pub(super) fn parse_items(body: &[u8]) -> Vec<u64> {
    std::str::from_utf8(body).unwrap().lines().map(|line| line.split(':').next().unwrap().parse().unwrap()).collect()
}

/// Switches in a signal.
#[derive(Default)]
pub(super) struct Switches {
    /// Encodings after which one panics, counted down; 0: none does.
    pub(super) encode_panics: AtomicU32,
    /// The same of classifications.
    pub(super) classify_panics: AtomicU32,
    pub(super) collect_panics: AtomicBool,
    /// The collections so far, and whether each was the last.
    pub(super) collected: Mutex<Vec<bool>>,
}

/// A signal whose items are numbers.
#[derive(Clone, Default)]
pub(super) struct Numbers {
    pub(super) switches: Arc<Switches>,
    pub(super) collect_every: Option<Duration>,
}

/// A panic without the hook's message.
fn quiet_panic() {
    std::panic::resume_unwind(Box::new("scripted"));
}

fn counts_down(switch: &AtomicU32) -> bool {
    switch.try_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)) == Ok(1)
}

impl Signal for Numbers {
    fn kind(&self) -> SignalKind {
        SignalKind::Logs
    }

    fn encode(&mut self, batch: &Batch, body: &mut Vec<u8>) {
        if counts_down(&self.switches.encode_panics) {
            quiet_panic();
        }
        for item in batch.iter() {
            body.extend_from_slice(item.payload);
            body.push(b'\n');
        }
    }

    fn halve(&mut self, body: &[u8]) -> Option<[(Vec<u8>, usize); 2]> {
        let lines: Vec<_> = body.split_inclusive(|byte| *byte == b'\n').collect();
        let (one, other) = lines.split_at(lines.len() / 2);
        (lines.len() > 1).then(|| [one, other].map(|half| (half.concat(), half.len())))
    }

    fn classify(&self, reply: &Reply) -> Verdict {
        if counts_down(&self.switches.classify_panics) {
            quiet_panic();
        }
        let retry = |error, after| Verdict::Retry { error, after, message: "again".to_owned() };
        let refuse = |error| Verdict::Rejected { error, message: "no".to_owned() };
        match reply {
            Reply::Http { status: 200..=299, body, .. } => {
                let text = String::from_utf8_lossy(body).into_owned();
                let rejected = text.strip_prefix("rejected ").map_or(0, |count| count.parse().unwrap());
                Verdict::Delivered { rejected, message: text }
            }
            Reply::Http { status: 413, .. } => Verdict::Split { message: String::new() },
            Reply::Http { status: 429, retry_after, .. } => retry(ErrorType::RateLimited, *retry_after),
            Reply::Http { status: 500.., retry_after, .. } => retry(ErrorType::Server, *retry_after),
            Reply::Http { status: 401, .. } => refuse(ErrorType::Unauthorized),
            Reply::Http { .. } => refuse(ErrorType::Rejected),
            Reply::Grpc { code: 0, .. } => Verdict::delivered(),
            Reply::Grpc { code: 14, .. } => retry(ErrorType::Server, None),
            Reply::Grpc { code: 8, retry_delay: Some(delay), .. } => retry(ErrorType::RateLimited, Some(*delay)),
            Reply::Grpc { .. } => refuse(ErrorType::Rejected),
        }
    }

    fn collect_interval(&self) -> Option<Duration> {
        self.collect_every
    }

    fn collect(&mut self, queue: &Queue, last: bool) {
        let collected = {
            let mut collected = self.switches.collected.lock();
            collected.push(last);
            collected.len()
        };
        if self.switches.collect_panics.swap(false, Ordering::SeqCst) {
            quiet_panic();
        }
        admit(queue, 1_000_000 + collected as u64);
    }
}

/// Admits a number.
pub(super) fn admit(queue: &Queue, number: u64) -> bool {
    queue.admit(0, 0, |bytes| bytes.extend_from_slice(number.to_string().as_bytes()))
}

/// Admits a number with padding, so that the payload has `length` bytes.
pub(super) fn admit_padded(queue: &Queue, number: u64, length: usize) -> bool {
    queue.admit(0, 0, |bytes| {
        let text = format!("{number}:");
        bytes.extend_from_slice(text.as_bytes());
        bytes.resize(bytes.len() + length.saturating_sub(text.len()), b'x');
    })
}

/// Rounds of 5 ms, pauses of at most 5 ms.
pub(super) fn fast() -> PipelineOptions {
    let mut options = PipelineOptions::default();
    options.batch.age = Duration::from_millis(5);
    options.retry.initial = Duration::from_millis(1);
    options.retry.max = Duration::from_millis(5);
    options
}

/// Nothing happens by itself: rounds and pauses of a day.
pub(super) fn slow() -> PipelineOptions {
    let mut options = PipelineOptions::default();
    options.batch.age = NEVER;
    options.retry.initial = NEVER;
    options.retry.max = NEVER;
    options.retry.give_up_after = NEVER * 100;
    options
}

/// Nothing is sent by itself; a failed try is followed by the next one within 5 ms.
pub(super) fn slow_with_fast_retries() -> PipelineOptions {
    PipelineOptions { retry: fast().retry, ..slow() }
}

pub(super) fn target(endpoint: Endpoint) -> Target {
    Target::Http { endpoint, default_path: "/push", headers: Vec::new() }
}

pub(super) fn start(endpoint: Endpoint, options: PipelineOptions) -> Pipeline {
    start_signal(Numbers::default(), endpoint, options)
}

pub(super) fn start_signal(signal: Numbers, endpoint: Endpoint, options: PipelineOptions) -> Pipeline {
    Pipeline::start(signal, target(endpoint), options, &Worker::spawn().unwrap()).unwrap()
}

/// Flushes; panics if that takes too long.
#[track_caller]
pub(super) fn flush(pipeline: &Pipeline) {
    assert!(pipeline.wait_flushed(&pipeline.begin_flush(), soon()), "no flush: {}", pipeline.report());
}

/// Ends the pipeline; panics if that takes too long, or if the counts do not add up.
#[track_caller]
pub(super) fn end(pipeline: &Pipeline) -> SignalReport {
    pipeline.begin_shutdown(soon());
    assert!(pipeline.wait_ended(soon()), "no end: {}", pipeline.report());
    let report = pipeline.report();
    assert_adds_up(&report);
    assert_eq!(report.pending, 0, "{report}");
    report
}

#[track_caller]
pub(super) fn assert_adds_up(report: &SignalReport) {
    let dropped: u64 = report.dropped.iter().map(|(_, count)| count).sum();
    assert_eq!(report.admitted, report.delivered + report.rejected + dropped + report.pending, "{report:?}");
}

pub(super) fn dropped_for(report: &SignalReport, reason: DropReason) -> u64 {
    report.dropped.iter().filter(|(known, _)| *known == reason).map(|(_, count)| count).sum()
}

pub(super) fn errors_of(report: &SignalReport, error: ErrorType) -> u64 {
    report.errors.iter().filter(|(known, _)| *known == error).map(|(_, count)| count).sum()
}
