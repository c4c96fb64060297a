//! The stack's handle: building it, starting it on the caller's runtime or on a thread of its own, and stopping it.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::ports::{MovedPort, Ports};
use crate::scrape::{ScrapeError, ScrapeReport, ScrapeStatus, ScrapeTarget, Scraper};
use crate::script::{Endpoint, Reply, Scripts};
use crate::store::{Counts, Store, WaitError};
use crate::{routes, server};

const MIB: usize = 1024 * 1024;

/// Limits in bytes. What is stored is measured by an estimate of the memory it takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Log entries held. Defaults to 64 MiB.
    pub log_bytes: usize,
    /// Spans held. Defaults to 64 MiB.
    pub trace_bytes: usize,
    /// Samples, exemplars and series held. Defaults to 64 MiB.
    pub metric_bytes: usize,
    /// Requests held, with their bodies. Defaults to 32 MiB.
    pub request_bytes: usize,
    /// One request's body as it is on the wire. Defaults to 32 MiB.
    pub body_bytes: usize,
    /// One request's body decompressed. Defaults to 128 MiB.
    pub decompressed_bytes: usize,
    /// All bodies in flight together; further requests wait. Defaults to 128 MiB; at least `body_bytes` is used.
    pub in_flight_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            log_bytes: 64 * MIB,
            trace_bytes: 64 * MIB,
            metric_bytes: 64 * MIB,
            request_bytes: 32 * MIB,
            body_bytes: 32 * MIB,
            decompressed_bytes: 128 * MIB,
            in_flight_bytes: 128 * MIB,
        }
    }
}

/// What every handler needs; a cheap handle.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) store: Store,
    pub(crate) scripts: Arc<Scripts>,
    pub(crate) limits: Arc<Limits>,
    pub(crate) body_memory: Arc<Semaphore>,
}

/// The stack could not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A listener could not be opened.
    #[error("{service}: cannot listen on {address}: {source}")]
    Listen {
        /// What was to listen.
        service: &'static str,
        /// Where.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The thread or the runtime of the blocking variant could not be made.
    #[error("cannot start the thread of the development stack: {0}")]
    Thread(io::Error),
}

/// Settings of a [`Devstack`] before it starts.
#[derive(Debug)]
#[must_use = "a builder does nothing until it is started"]
pub struct DevstackBuilder {
    ports: Ports,
    fall_back: bool,
    address: IpAddr,
    limits: Limits,
    scripts: Vec<(Endpoint, Vec<Reply>)>,
    targets: Vec<ScrapeTarget>,
}

impl Default for DevstackBuilder {
    fn default() -> Self {
        Self {
            ports: Ports::free(),
            fall_back: true,
            address: IpAddr::V4(Ipv4Addr::LOCALHOST),
            limits: Limits::default(),
            scripts: Vec::new(),
            targets: Vec::new(),
        }
    }
}

impl DevstackBuilder {
    /// The ports. Defaults to [`Ports::free`].
    pub fn ports(mut self, ports: Ports) -> Self {
        self.ports = ports;
        self
    }

    /// Whether a port that is taken is replaced by a free one, reported by [`Devstack::moved_ports`], or is an
    /// error. Defaults to true.
    pub fn fall_back_to_free_ports(mut self, fall_back: bool) -> Self {
        self.fall_back = fall_back;
        self
    }

    /// The address to listen on. Defaults to 127.0.0.1. There is no authentication: on another address, whoever
    /// reaches it can read and write everything.
    pub fn address(mut self, address: IpAddr) -> Self {
        self.address = address;
        self
    }

    /// The limits. Defaults to [`Limits::default`].
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Appends replies to the script of an endpoint, as [`Devstack::script`] does.
    pub fn script(mut self, endpoint: Endpoint, replies: impl IntoIterator<Item = Reply>) -> Self {
        self.scripts.push((endpoint, replies.into_iter().collect()));
        self
    }

    /// Scrapes a target regularly, as [`Devstack::add_scrape_target`] does.
    pub fn scrape_target(mut self, target: ScrapeTarget) -> Self {
        self.targets.push(target);
        self
    }

    /// Starts on the tokio runtime of the caller, which needs its I/O and time drivers.
    ///
    /// # Errors
    /// If a listener cannot be opened.
    pub async fn start(self) -> Result<Devstack, StartError> {
        let limits = Arc::new(self.limits);
        let body_memory = limits.in_flight_bytes.max(limits.body_bytes).min(Semaphore::MAX_PERMITS);
        let shared = Shared {
            store: Store::new(&limits),
            scripts: Arc::default(),
            body_memory: Arc::new(Semaphore::new(body_memory)),
            limits,
        };
        for (endpoint, replies) in self.scripts {
            shared.scripts.extend(endpoint, replies);
        }
        let mut moved = Vec::new();
        let mut listen = async |service, port| {
            let listener = bind(service, self.address, port, self.fall_back).await?;
            let address = listener.local_addr().map_err(|source| StartError::Listen {
                service,
                address: SocketAddr::new(self.address, port),
                source,
            })?;
            if port != 0 && address.port() != port {
                moved.push(MovedPort { service, wanted: port, actual: address.port() });
            }
            Ok::<_, StartError>((listener, address))
        };
        let (loki, loki_address) = listen("Loki", self.ports.loki).await?;
        let (otlp_grpc, otlp_grpc_address) = listen("OTLP gRPC", self.ports.otlp_grpc).await?;
        let (otlp_http, otlp_http_address) = listen("OTLP HTTP", self.ports.otlp_http).await?;
        let (tempo, tempo_address) = listen("Tempo", self.ports.tempo).await?;
        let (mimir, mimir_address) = listen("Mimir", self.ports.mimir).await?;
        let shutdown = CancellationToken::new();
        let tasks = TaskTracker::new();
        server::serve(loki, routes::loki(&shared), shutdown.clone(), &tasks);
        server::serve(otlp_grpc, routes::otlp_grpc(&shared), shutdown.clone(), &tasks);
        server::serve(otlp_http, routes::otlp_http(&shared), shutdown.clone(), &tasks);
        server::serve(tempo, routes::tempo(&shared), shutdown.clone(), &tasks);
        server::serve(mimir, routes::mimir(&shared), shutdown.clone(), &tasks);
        let stack = Devstack {
            shared,
            addresses: Addresses {
                loki: loki_address,
                otlp_grpc: otlp_grpc_address,
                otlp_http: otlp_http_address,
                tempo: tempo_address,
                mimir: mimir_address,
            },
            moved,
            shutdown,
            tasks,
            runtime: Handle::current(),
            scrapes: Mutex::default(),
            thread: None,
        };
        for target in self.targets {
            stack.add_scrape_target(target);
        }
        Ok(stack)
    }

    /// Starts on a thread of its own with a runtime of its own, for callers without one, and for tests whose
    /// runtime must not do the server's work.
    ///
    /// # Errors
    /// If the thread, its runtime or a listener cannot be made.
    pub fn start_blocking(self) -> Result<Devstack, StartError> {
        let (sender, receiver) = std::sync::mpsc::sync_channel(1);
        let thread = std::thread::Builder::new()
            .name("lgtm-devstack".to_owned())
            .spawn(move || {
                let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                    Ok(runtime) => runtime,
                    Err(error) => {
                        let _ = sender.send(Err(StartError::Thread(error)));
                        return;
                    }
                };
                runtime.block_on(async move {
                    match self.start().await {
                        Ok(stack) => {
                            let (shutdown, tasks) = (stack.shutdown.clone(), stack.tasks.clone());
                            if sender.send(Ok(stack)).is_ok() {
                                shutdown.cancelled().await;
                                tasks.close();
                                tasks.wait().await;
                            }
                        }
                        Err(error) => {
                            let _ = sender.send(Err(error));
                        }
                    }
                });
            })
            .map_err(StartError::Thread)?;
        let mut stack = receiver
            .recv()
            .unwrap_or_else(|_| Err(StartError::Thread(io::Error::other("it ended before it had started"))))?;
        stack.thread = Some(thread);
        Ok(stack)
    }
}

async fn bind(service: &'static str, address: IpAddr, port: u16, fall_back: bool) -> Result<TcpListener, StartError> {
    let wanted = SocketAddr::new(address, port);
    match TcpListener::bind(wanted).await {
        Err(error)
            if fall_back
                && port != 0
                && matches!(error.kind(), io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied) =>
        {
            let free = SocketAddr::new(address, 0);
            TcpListener::bind(free).await.map_err(|source| StartError::Listen { service, address: free, source })
        }
        bound => bound.map_err(|source| StartError::Listen { service, address: wanted, source }),
    }
}

#[derive(Clone, Copy, Debug)]
struct Addresses {
    loki: SocketAddr,
    otlp_grpc: SocketAddr,
    otlp_http: SocketAddr,
    tempo: SocketAddr,
    mimir: SocketAddr,
}

/// A running development stack. Dropping it ends its listeners and connections.
pub struct Devstack {
    shared: Shared,
    addresses: Addresses,
    moved: Vec<MovedPort>,
    shutdown: CancellationToken,
    tasks: TaskTracker,
    runtime: Handle,
    scrapes: Mutex<Vec<Arc<Mutex<ScrapeStatus>>>>,
    thread: Option<JoinHandle<()>>,
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
        self.shutdown.cancel();
        self.tasks.close();
        if let Some(thread) = self.thread.take() {
            // Its tasks end at the cancellation; after that there is nothing to wait for.
            let _ = thread.join();
        }
    }
}
