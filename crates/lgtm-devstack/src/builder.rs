//! Settings of the stack, and how it starts: on the caller's runtime, or on a thread of its own.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::auth::{self, Authentication};
use crate::devstack::{Addresses, Devstack, Shared};
use crate::limits::Limits;
use crate::ports::{MovedPort, Ports};
use crate::scrape::ScrapeTarget;
use crate::script::{Endpoint, Reply};
use crate::{routes, server};

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
    /// [`start`](DevstackBuilder::start) was called outside a tokio runtime.
    #[error("the development stack needs a tokio runtime to start on; start_blocking brings its own")]
    NoRuntime,
    /// The thread or the runtime of the blocking variant could not be made.
    #[error("cannot start the thread of the development stack: {0}")]
    Thread(io::Error),
}

/// Settings of a [`Devstack`] before it starts.
#[must_use = "a builder does nothing until it is started"]
pub struct DevstackBuilder {
    ports: Ports,
    fall_back: bool,
    address: IpAddr,
    limits: Limits,
    scripts: Vec<(Endpoint, Vec<Reply>)>,
    targets: Vec<ScrapeTarget>,
    on_thread_start: Option<Box<dyn FnOnce() + Send>>,
    pub(crate) authentication: Option<Authentication>,
}

impl std::fmt::Debug for DevstackBuilder {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("DevstackBuilder")
            .field("ports", &self.ports)
            .field("address", &self.address)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
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
            on_thread_start: None,
            authentication: None,
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

    /// The address to listen on. Defaults to 127.0.0.1. On another address, whoever reaches it can read and write
    /// everything, unless [`basic_auth`](Self::basic_auth) or [`bearer`](Self::bearer) is set.
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

    /// Runs first on the thread of [`start_blocking`](Self::start_blocking). Defaults to nothing.
    ///
    /// For programs that send to a stack in their own process: the libraries under it log too, and each line that is sent
    /// makes more of them. `lgtm_core::suppress_this_thread` keeps these out. Without it a full queue that makes its callers
    /// wait makes the stack wait for itself.
    pub fn on_thread_start(mut self, run: impl FnOnce() + Send + 'static) -> Self {
        self.on_thread_start = Some(Box::new(run));
        self
    }

    /// Starts on the tokio runtime of the caller, which needs its I/O and time drivers.
    ///
    /// # Errors
    /// If a listener cannot be opened, or outside a runtime.
    pub async fn start(self) -> Result<Devstack, StartError> {
        let runtime = Handle::try_current().map_err(|_| StartError::NoRuntime)?;
        let shared = Shared::new(self.limits);
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
        #[cfg(feature = "window")]
        let (window, window_address) = listen("Window", self.ports.window).await?;
        let shutdown = CancellationToken::new();
        let tasks = TaskTracker::new();
        let wanted = self.authentication.as_ref();
        let serve = |listener, router| {
            server::serve(listener, auth::before(router, wanted), &shared.limits, shutdown.clone(), &tasks)
        };
        serve(loki, routes::loki(&shared));
        serve(otlp_grpc, routes::otlp_grpc(&shared));
        serve(otlp_http, routes::otlp_http(&shared));
        serve(tempo, routes::tempo(&shared));
        serve(mimir, routes::mimir(&shared));
        #[cfg(feature = "window")]
        serve(window, crate::window::routes(&shared));
        let stack = Devstack {
            shared,
            addresses: Addresses {
                loki: loki_address,
                otlp_grpc: otlp_grpc_address,
                otlp_http: otlp_http_address,
                tempo: tempo_address,
                mimir: mimir_address,
                #[cfg(feature = "window")]
                window: window_address,
            },
            moved,
            shutdown,
            tasks,
            runtime,
            scrapes: Mutex::default(),
            thread: None,
            process: std::process::id(),
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
    pub fn start_blocking(mut self) -> Result<Devstack, StartError> {
        let on_thread_start = self.on_thread_start.take();
        let (sender, receiver) = std::sync::mpsc::sync_channel(1);
        let thread = std::thread::Builder::new()
            .name("lgtm-devstack".to_owned())
            .spawn(move || {
                if let Some(run) = on_thread_start {
                    run();
                }
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
