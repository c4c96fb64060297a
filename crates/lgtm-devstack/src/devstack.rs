//! The stack's handle: where it listens, what arrived, its scripts and its scrapes, and its end.

use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::builder::{DevstackBuilder, StartError};
use crate::limits::Limits;
use crate::ports::MovedPort;
use crate::scrape::{ScrapeError, ScrapeReport, ScrapeStatus, ScrapeTarget, Scraper};
use crate::script::{Endpoint, Reply, Scripts};
use crate::store::{Counts, Store, WaitError};

/// What every handler needs; a cheap handle.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) store: Store,
    pub(crate) scripts: Arc<Scripts>,
    pub(crate) limits: Arc<Limits>,
    pub(crate) body_memory: Arc<Semaphore>,
    /// A permit for each body that may be decoded now.
    pub(crate) decoding: Arc<Semaphore>,
}

/// Bodies that are decompressed and decoded at a time: small ones may become large.
const DECODED_AT_A_TIME: usize = 2;

impl Shared {
    /// An empty stack without listeners.
    pub(crate) fn new(limits: Limits) -> Self {
        let body_memory = limits.in_flight_bytes.max(limits.body_bytes).min(Semaphore::MAX_PERMITS);
        Self {
            store: Store::new(&limits),
            scripts: Arc::default(),
            body_memory: Arc::new(Semaphore::new(body_memory)),
            decoding: Arc::new(Semaphore::new(DECODED_AT_A_TIME)),
            limits: Arc::new(limits),
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Addresses {
    pub(crate) loki: SocketAddr,
    pub(crate) otlp_grpc: SocketAddr,
    pub(crate) otlp_http: SocketAddr,
    pub(crate) tempo: SocketAddr,
    pub(crate) mimir: SocketAddr,
    #[cfg(feature = "window")]
    pub(crate) window: SocketAddr,
}

/// A running development stack. Dropping it ends its listeners and connections.
pub struct Devstack {
    pub(crate) shared: Shared,
    pub(crate) addresses: Addresses,
    pub(crate) moved: Vec<MovedPort>,
    pub(crate) shutdown: CancellationToken,
    pub(crate) tasks: TaskTracker,
    pub(crate) runtime: Handle,
    pub(crate) scrapes: Mutex<Vec<Arc<Mutex<ScrapeStatus>>>>,
    pub(crate) thread: Option<JoinHandle<()>>,
    /// The process that it runs in: a child that was forked has this value, but none of its threads.
    pub(crate) process: u32,
}

impl fmt::Debug for Devstack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Devstack")
            .field("addresses", &self.addresses)
            .field("store", &self.shared.store)
            .finish_non_exhaustive()
    }
}

impl Devstack {
    /// Settings, to be started.
    pub fn builder() -> DevstackBuilder {
        DevstackBuilder::default()
    }

    /// Starts with free ports on the tokio runtime of the caller.
    ///
    /// # Errors
    /// If a listener cannot be opened.
    pub fn start() -> impl Future<Output = Result<Self, StartError>> + Send {
        Self::builder().start()
    }

    /// Starts with free ports on a thread of its own.
    ///
    /// # Errors
    /// If the thread, its runtime or a listener cannot be made.
    pub fn start_blocking() -> Result<Self, StartError> {
        Self::builder().start_blocking()
    }

    /// Base URL of Loki, for push and query: `http://127.0.0.1:3100`.
    #[must_use]
    pub fn loki_url(&self) -> String {
        format!("http://{}", self.addresses.loki)
    }

    /// URL of OTLP over gRPC: `http://127.0.0.1:4317`.
    #[must_use]
    pub fn otlp_grpc_url(&self) -> String {
        format!("http://{}", self.addresses.otlp_grpc)
    }

    /// Base URL of OTLP over HTTP, without `/v1/traces`: `http://127.0.0.1:4318`.
    #[must_use]
    pub fn otlp_http_url(&self) -> String {
        format!("http://{}", self.addresses.otlp_http)
    }

    /// Base URL of Tempo's query API: `http://127.0.0.1:3200`.
    #[must_use]
    pub fn tempo_url(&self) -> String {
        format!("http://{}", self.addresses.tempo)
    }

    /// Base URL of Mimir, for remote write and query: `http://127.0.0.1:9009`.
    #[must_use]
    pub fn mimir_url(&self) -> String {
        format!("http://{}", self.addresses.mimir)
    }

    /// URL of the window, the page that shows what was received: `http://127.0.0.1:4320`.
    #[cfg(feature = "window")]
    #[must_use]
    pub fn window_url(&self) -> String {
        format!("http://{}", self.addresses.window)
    }

    /// The listeners that are not on the port that was asked for.
    #[must_use]
    pub fn moved_ports(&self) -> &[MovedPort] {
        &self.moved
    }

    /// What arrived. Clone it to read on after the stack is gone.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.shared.store
    }

    /// How much was received, is held, and was evicted.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.shared.store.counts()
    }

    /// [`Store::wait_for`] on this stack's store.
    ///
    /// # Errors
    /// After `timeout`, an error that tells what the store held.
    pub async fn wait_for(&self, condition: impl FnMut(&Store) -> bool, timeout: Duration) -> Result<(), WaitError> {
        self.shared.store.wait_for(condition, timeout).await
    }

    /// [`Store::wait_for_blocking`] on this stack's store. Not for a thread of the runtime on which
    /// [`start`](Self::start) put the stack, if it is the only one.
    ///
    /// # Errors
    /// After `timeout`, an error that tells what the store held.
    pub fn wait_for_blocking(&self, condition: impl FnMut(&Store) -> bool, timeout: Duration) -> Result<(), WaitError> {
        self.shared.store.wait_for_blocking(condition, timeout)
    }

    /// Appends replies to the script of an endpoint. Its next requests get them, in order; afterwards the normal
    /// behaviour resumes.
    pub fn script(&self, endpoint: Endpoint, replies: impl IntoIterator<Item = Reply>) {
        self.shared.scripts.extend(endpoint, replies);
    }

    /// Ends the script of an endpoint: the next request gets the normal behaviour.
    pub fn clear_script(&self, endpoint: Endpoint) {
        self.shared.scripts.clear(endpoint);
    }

    /// How many requests the script of an endpoint will still answer; `None` if it has no end.
    #[must_use]
    pub fn script_remaining(&self, endpoint: Endpoint) -> Option<u64> {
        self.shared.scripts.remaining(endpoint)
    }

    /// Scrapes a target now, once, and stores what it exposes, with `up` and `scrape_duration_seconds`.
    ///
    /// # Errors
    /// If nothing could be fetched, or it is no valid exposition; then `up` is 0.
    pub async fn scrape(&self, target: &ScrapeTarget) -> Result<ScrapeReport, ScrapeError> {
        Scraper::new(target.clone(), self.shared.limits.body_bytes).scrape(&self.shared.store).await
    }

    /// [`scrape`](Self::scrape) for code without a runtime, on a stack that was started by
    /// [`start_blocking`](Self::start_blocking) or on another thread than the caller's.
    ///
    /// # Errors
    /// As [`scrape`](Self::scrape), and if the stack's runtime is gone.
    pub fn scrape_blocking(&self, target: &ScrapeTarget) -> Result<ScrapeReport, ScrapeError> {
        let (sender, receiver) = std::sync::mpsc::sync_channel(1);
        let mut scraper = Scraper::new(target.clone(), self.shared.limits.body_bytes);
        let store = self.shared.store.clone();
        self.tasks.spawn_on(
            async move {
                let _ = sender.send(scraper.scrape(&store).await);
            },
            &self.runtime,
        );
        receiver.recv().unwrap_or_else(|_| {
            let reason = "the runtime of the development stack is gone".to_owned();
            Err(ScrapeError::Transport { url: target.url().to_owned(), reason })
        })
    }

    /// Scrapes a target at its interval, from now until the stack ends. Series that vanish are ended by a stale
    /// marker; [`scrape_status`](Self::scrape_status) tells how it goes.
    pub fn add_scrape_target(&self, target: ScrapeTarget) {
        let status =
            Arc::new(Mutex::new(ScrapeStatus { url: target.url().to_owned(), scrapes: 0, failures: 0, latest: None }));
        self.scrapes.lock().push(Arc::clone(&status));
        let scraper = Scraper::new(target, self.shared.limits.body_bytes);
        let running = scraper.run(self.shared.store.clone(), status, self.shutdown.clone());
        self.tasks.spawn_on(running, &self.runtime);
    }

    /// How the regularly scraped targets do, in the order in which they were added.
    #[must_use]
    pub fn scrape_status(&self) -> Vec<ScrapeStatus> {
        self.scrapes.lock().iter().map(|status| status.lock().clone()).collect()
    }

    /// What to tell a person at the start: that this is for development, where it listens, what was moved.
    #[must_use]
    pub fn startup_note(&self) -> String {
        let mut note = format!(
            "{}\n  Loki       {}\n  OTLP gRPC  {}\n  OTLP HTTP  {}\n  Tempo      {}\n  Mimir      {}\n",
            crate::PURPOSE,
            self.loki_url(),
            self.otlp_grpc_url(),
            self.otlp_http_url(),
            self.tempo_url(),
            self.mimir_url(),
        );
        #[cfg(feature = "window")]
        note.push_str(&format!("  Window     {}  (open it in a browser)\n", self.window_url()));
        for moved in &self.moved {
            note.push_str(&format!("  {}: port {} is taken, using {}\n", moved.service, moved.wanted, moved.actual));
        }
        note
    }

    /// Closes listeners and connections and waits for it. Requests that are being answered are cut off.
    pub async fn shutdown(self) {
        self.shutdown.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl Drop for Devstack {
    fn drop(&mut self) {
        if self.process != std::process::id() {
            return;
        }
        self.shutdown.cancel();
        self.tasks.close();
        if let Some(thread) = self.thread.take() {
            // Its tasks end at the cancellation; after that there is nothing to wait for.
            let _ = thread.join();
        }
    }
}
