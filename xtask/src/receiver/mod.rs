//! A server for Loki's push, OTLP traces over HTTP and remote write that knows each item again: what arrived, how often, and what was
//! answered. Each backend has a port of its own that can be closed and opened. Nothing but numbers is kept, so that it can run for
//! as long as one likes.
//!
//! ```text
//! port.rs: connections ── decode.rs: which items ── the plan: what to answer ── tally.rs: what became of them
//! ```

mod decode;
mod port;
mod tally;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};

pub(crate) use decode::Items;
pub(crate) use port::{AnswerBody, Broken};
pub(crate) use tally::Tally;

use port::Port;

/// One of the three backends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Backend {
    Loki,
    Tempo,
    Mimir,
}

impl Backend {
    pub(crate) const ALL: [Self; 3] = [Self::Loki, Self::Tempo, Self::Mimir];

    /// The name of its signal in lgtm's report.
    pub(crate) const fn signal(self) -> &'static str {
        match self {
            Self::Loki => "logs",
            Self::Tempo => "spans",
            Self::Mimir => "metrics",
        }
    }

    const fn index(self) -> usize {
        match self {
            Self::Loki => 0,
            Self::Tempo => 1,
            Self::Mimir => 2,
        }
    }
}

/// What a client reads in an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// Everything that was stored is delivered, and the rest refused.
    Taken,
    /// Nothing is stored, and it is not to be sent again.
    Refused,
    /// Everything is stored; a client may believe it or send it again.
    Doubtful,
    /// Nothing is stored; a client may give it up or send it again.
    Unclear,
    /// It is to be sent again, also what is stored.
    Again,
}

/// What is answered to one request.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    /// Nothing: the connection breaks.
    pub(crate) status: Option<StatusCode>,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// The connection breaks in the middle of the body.
    pub(crate) breaks: bool,
    pub(crate) delay: Duration,
    /// How many of the items are stored; the others are refused.
    pub(crate) stored: usize,
    pub(crate) meaning: Meaning,
}

impl Answer {
    /// All is well.
    pub(crate) fn taken(backend: Backend, items: usize) -> Self {
        let status = if backend == Backend::Loki { StatusCode::NO_CONTENT } else { StatusCode::OK };
        Self { stored: items, meaning: Meaning::Taken, ..Self::status(status) }
    }

    /// A status without more; nothing is stored, and the client sends it again.
    pub(crate) fn status(status: StatusCode) -> Self {
        Self {
            status: Some(status),
            headers: HeaderMap::new(),
            body: Bytes::new(),
            breaks: false,
            delay: Duration::ZERO,
            stored: 0,
            meaning: Meaning::Again,
        }
    }
}

/// Chooses the answers.
pub(crate) type Plan = Arc<dyn Fn(Backend, &Items, usize) -> Answer + Send + Sync>;

struct Shared {
    plan: Plan,
    tallies: [Mutex<Tally>; 3],
}

impl Shared {
    fn tally(&self, backend: Backend) -> MutexGuard<'_, Tally> {
        self.tallies[backend.index()].lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn answer(
        &self,
        backend: Backend,
        headers: &HeaderMap,
        body: &Bytes,
    ) -> Result<Response<AnswerBody>, Broken> {
        let items = match decode::items(backend, headers, body) {
            Ok(items) => items,
            Err(problem) => {
                // A client that sends what cannot be read has a fault, which the end tells.
                self.tally(backend).unreadable(&problem);
                let mut answer = Answer::status(StatusCode::BAD_REQUEST);
                answer.body = problem.into();
                return port::response(answer);
            }
        };
        let mut answer = (self.plan)(backend, &items, body.len());
        answer.stored = answer.stored.min(items.len());
        self.tally(backend).store(&items, answer.stored);
        // A client that does not wait for the answer must not be counted as one that has it.
        let unheard = Unheard { shared: self, backend, stored: answer.stored };
        tokio::time::sleep(answer.delay).await;
        std::mem::forget(unheard);
        self.tally(backend).answered(&items, answer.stored, answer.meaning);
        port::response(answer)
    }
}

/// An answer that was not given.
struct Unheard<'a> {
    shared: &'a Shared,
    backend: Backend,
    stored: usize,
}

impl Drop for Unheard<'_> {
    fn drop(&mut self) {
        self.shared.tally(self.backend).unheard(self.stored);
    }
}

/// A running server. Its connections end with the runtime.
pub(crate) struct Receiver {
    shared: Arc<Shared>,
    ports: [Port; 3],
}

impl Receiver {
    /// Opens the three ports.
    ///
    /// # Errors
    /// If there is no port.
    pub(crate) async fn start(plan: Plan) -> anyhow::Result<Self> {
        let shared = Arc::new(Shared { plan, tallies: Default::default() });
        let port = async |backend| {
            let shared = Arc::clone(&shared);
            Port::open_any(move |headers, body| {
                let shared = Arc::clone(&shared);
                Box::pin(async move { shared.answer(backend, &headers, &body).await })
            })
            .await
        };
        let ports = [port(Backend::Loki).await?, port(Backend::Tempo).await?, port(Backend::Mimir).await?];
        Ok(Self { shared, ports })
    }

    /// As `http://127.0.0.1:<port>`.
    pub(crate) fn url(&self, backend: Backend) -> String {
        format!("http://{}", self.ports[backend.index()].address())
    }

    /// Whether connections are taken from now on. Requests that are under way are answered first.
    ///
    /// # Errors
    /// If the port cannot be had back.
    pub(crate) async fn set_up(&mut self, backend: Backend, up: bool) -> anyhow::Result<()> {
        let port = &mut self.ports[backend.index()];
        if up { port.open().await } else { port.close().await }
    }

    /// What has become of the items so far.
    pub(crate) fn tally(&self, backend: Backend) -> Tally {
        self.shared.tally(backend).clone()
    }

    /// Items with a number that are there: each once; and their events, where those travel in spans.
    pub(crate) fn numbered(&self, backend: Backend) -> (u64, u64) {
        let tally = self.shared.tally(backend);
        (tally.unique() - tally.others(), tally.unique_events())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;

    async fn post(address: &str, path: &str, body: &[u8]) -> std::io::Result<String> {
        let mut stream = TcpStream::connect(address.trim_start_matches("http://")).await?;
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: it\r\ncontent-type: application/x-protobuf\r\ncontent-length: {}\r\n\
             connection: close\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(body).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    }

    fn push(numbers: &[u64]) -> Vec<u8> {
        use lgtm_devstack::wire::loki::{EntryAdapter, PushRequest, StreamAdapter};
        use prost::Message as _;
        let entry = |number: &u64| EntryAdapter { line: format!(r#"{{"seq":{number}}}"#), ..EntryAdapter::default() };
        let stream = StreamAdapter { entries: numbers.iter().map(entry).collect(), ..StreamAdapter::default() };
        let request = PushRequest { streams: vec![stream] };
        snap::raw::Encoder::new().compress_vec(&request.encode_to_vec()).unwrap()
    }

    #[tokio::test]
    async fn what_comes_twice_is_there_once_and_explained_only_if_its_answer_was_lost() {
        let plan: Plan = Arc::new(|backend, items, _| {
            let mut answer = Answer::taken(backend, items.len());
            // The first request is stored, and nobody hears of it.
            if items.numbers.contains(&1) && items.len() == 2 {
                answer.status = None;
                answer.meaning = Meaning::Again;
            }
            answer
        });
        let receiver = Receiver::start(plan).await.unwrap();
        let url = receiver.url(Backend::Loki);
        assert_eq!(post(&url, "/loki/api/v1/push", &push(&[1, 2])).await.unwrap(), "");
        assert!(post(&url, "/loki/api/v1/push", &push(&[1, 2, 3])).await.unwrap().starts_with("HTTP/1.1 204"));
        let tally = receiver.tally(Backend::Loki);
        assert_eq!((tally.stored, tally.unique(), tally.copies()), (5, 3, 2));
        assert_eq!((tally.delivered, tally.unheard), (3, 2));
    }

    #[tokio::test]
    async fn a_closed_port_refuses_and_the_same_one_opens_again() {
        let plan: Plan = Arc::new(|backend, items, _| Answer::taken(backend, items.len()));
        let mut receiver = Receiver::start(plan).await.unwrap();
        let url = receiver.url(Backend::Loki);
        receiver.set_up(Backend::Loki, false).await.unwrap();
        let refused = post(&url, "/loki/api/v1/push", &push(&[7])).await.unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
        receiver.set_up(Backend::Loki, true).await.unwrap();
        assert_eq!(receiver.url(Backend::Loki), url);
        assert!(post(&url, "/loki/api/v1/push", &push(&[7])).await.unwrap().starts_with("HTTP/1.1 204"));
        assert_eq!(receiver.tally(Backend::Loki).unique(), 1);
    }

    #[tokio::test]
    async fn what_cannot_be_read_is_remembered() {
        let plan: Plan = Arc::new(|backend, items, _| Answer::taken(backend, items.len()));
        let receiver = Receiver::start(plan).await.unwrap();
        let answer = post(&receiver.url(Backend::Mimir), "/api/v1/push", b"no snappy").await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
        assert_eq!(receiver.tally(Backend::Mimir).problems.len(), 1);
    }
}
