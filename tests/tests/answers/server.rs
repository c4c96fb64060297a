//! Servers that do what a script says, down to the bytes: a front that treats each connection as told, or passes it on to a
//! backend behind it; and a server of HTTP/1 and HTTP/2 whose answers a function makes. Each on a thread of its own.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{Request, Response};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{broadcast, oneshot};

/// The bound on what an endless answer may cost this machine, should the client never stop reading.
const MOST_BYTES: u64 = 256 * 1024 * 1024;

/// How a connection is treated.
#[derive(Clone, Debug)]
pub(crate) enum Trick {
    /// On to the backend.
    Pass,
    /// Reads the request, writes this, closes.
    Close(Vec<u8>),
    /// Reads the request, writes this, resets.
    Reset(Vec<u8>),
    /// Reads the request, writes this and then nothing.
    Hold(Vec<u8>),
    /// Reads the request, writes the first and then the second without end.
    Endless(Vec<u8>, Vec<u8>),
    /// Reads the request, writes the first at once and the second byte by byte.
    Drip(Vec<u8>, Vec<u8>, Duration),
    /// Reads so many bytes of the request, resets.
    ResetRequest(usize),
    /// On to the backend, but of its answer so many bytes; then a reset.
    CutAnswer(usize),
}

/// What happens to the connections that are passed on.
#[derive(Clone, Debug)]
pub(crate) enum Order {
    /// Nobody is there any more, and nothing says so.
    Vanish,
    /// The server says this, its last words: it hears nothing any more, and waits for the client to go.
    Say(Vec<u8>),
    Close,
}

#[derive(Default)]
struct Counts {
    connections: AtomicUsize,
    /// Bytes of scripted answers that went out.
    written: AtomicU64,
    /// Connections that the client has closed while the server waited for it.
    left: AtomicUsize,
}

/// A listener in front of a backend. It ends when dropped.
pub(crate) struct Front {
    address: SocketAddr,
    counts: Arc<Counts>,
    orders: broadcast::Sender<Order>,
    _stop: oneshot::Sender<()>,
}

impl Front {
    /// Treats its first connections as the script says, and passes the others on to this URL.
    pub(crate) fn of(backend: &str, script: impl IntoIterator<Item = Trick>) -> Self {
        let backend: SocketAddr = backend.strip_prefix("http://").unwrap().parse().unwrap();
        let script: Mutex<VecDeque<Trick>> = Mutex::new(script.into_iter().collect());
        let counts = Arc::new(Counts::default());
        let (orders, _) = broadcast::channel(4);
        let (shared, told) = (Arc::clone(&counts), orders.clone());
        let (address, stop) = on_a_thread(move |stream| {
            shared.connections.fetch_add(1, Ordering::SeqCst);
            let trick = script.lock().unwrap().pop_front().unwrap_or(Trick::Pass);
            treat(stream, trick, backend, Arc::clone(&shared), told.subscribe())
        });
        Self { address, counts, orders, _stop: stop }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    pub(crate) fn connections(&self) -> usize {
        self.counts.connections.load(Ordering::SeqCst)
    }

    pub(crate) fn written(&self) -> u64 {
        self.counts.written.load(Ordering::SeqCst)
    }

    pub(crate) fn left(&self) -> usize {
        self.counts.left.load(Ordering::SeqCst)
    }

    /// To the connections that are passed on now, not to later ones.
    pub(crate) fn order(&self, order: Order) {
        self.orders.send(order).unwrap();
    }
}

/// Accepts connections on a free port of the loopback interface until the sender is dropped.
pub(crate) fn on_a_thread<F>(
    mut serve: impl FnMut(TcpStream) -> F + Send + 'static,
) -> (SocketAddr, oneshot::Sender<()>)
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
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

async fn treat(
    mut stream: TcpStream,
    trick: Trick,
    backend: SocketAddr,
    counts: Arc<Counts>,
    orders: broadcast::Receiver<Order>,
) {
    match trick {
        Trick::Pass => return pass(stream, backend, usize::MAX, &counts, orders).await,
        Trick::CutAnswer(bytes) => return pass(stream, backend, bytes, &counts, orders).await,
        Trick::ResetRequest(bytes) => {
            let mut begin = vec![0; bytes];
            let _ = stream.read_exact(&mut begin).await;
            return stream.set_zero_linger().unwrap();
        }
        _ => read_request(&mut stream).await,
    }
    let write = async |stream: &mut TcpStream, bytes: &[u8]| {
        let written = stream.write_all(bytes).await;
        counts.written.fetch_add(bytes.len() as u64, Ordering::SeqCst);
        written.is_ok()
    };
    match trick {
        Trick::Close(answer) => {
            write(&mut stream, &answer).await;
        }
        Trick::Reset(answer) => {
            write(&mut stream, &answer).await;
            // It may overtake what the client has not read yet.
            stream.set_zero_linger().unwrap();
        }
        Trick::Hold(answer) => {
            write(&mut stream, &answer).await;
            wait_for_end(&mut stream).await;
            counts.left.fetch_add(1, Ordering::SeqCst);
        }
        Trick::Endless(head, part) => {
            let mut open = write(&mut stream, &head).await;
            while open && counts.written.load(Ordering::SeqCst) < MOST_BYTES {
                open = write(&mut stream, &part).await;
            }
            counts.left.fetch_add(usize::from(!open), Ordering::SeqCst);
        }
        Trick::Drip(head, rest, every) => {
            let mut open = write(&mut stream, &head).await;
            for byte in rest {
                tokio::time::sleep(every).await;
                open = open && write(&mut stream, &[byte]).await;
            }
            wait_for_end(&mut stream).await;
            counts.left.fetch_add(1, Ordering::SeqCst);
        }
        Trick::Pass | Trick::CutAnswer(_) | Trick::ResetRequest(_) => unreachable!("treated above"),
    }
}

/// Reads a whole request of HTTP/1; of anything else, what comes at once.
async fn read_request(stream: &mut TcpStream) {
    let mut received = Vec::new();
    while stream.read_buf(&mut received).await.is_ok_and(|bytes| bytes > 0) {
        if !received.starts_with(b"POST ") {
            return;
        }
        let Some(end) = received.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&received[..end]).to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
        if received.len() >= end + 4 + length.unwrap().trim().parse::<usize>().unwrap() {
            return;
        }
    }
}

async fn wait_for_end(stream: &mut TcpStream) {
    let mut buffer = [0; 4096];
    while stream.read(&mut buffer).await.is_ok_and(|bytes| bytes > 0) {}
}

/// Passes on, of the answers no more than so many bytes.
async fn pass(
    mut client: TcpStream,
    backend: SocketAddr,
    answer: usize,
    counts: &Counts,
    mut orders: broadcast::Receiver<Order>,
) {
    let mut server = TcpStream::connect(backend).await.unwrap();
    let (mut from_client, mut from_server) = (vec![0; 16 * 1024], vec![0; 16 * 1024]);
    let mut left = answer;
    loop {
        tokio::select! {
            // What was ordered before something was sent comes before it.
            biased;
            order = orders.recv() => match order {
                Ok(Order::Vanish) => return std::future::pending().await,
                Ok(Order::Say(bytes)) => {
                    client.write_all(&bytes).await.unwrap();
                    wait_for_end(&mut client).await;
                    counts.left.fetch_add(1, Ordering::SeqCst);
                    return;
                }
                Ok(Order::Close) | Err(_) => return,
            },
            read = client.read(&mut from_client) => match read {
                Ok(bytes @ 1..) if server.write_all(&from_client[..bytes]).await.is_ok() => {}
                _ => return,
            },
            read = server.read(&mut from_server) => match read {
                Ok(bytes @ 1..) => {
                    let bytes = bytes.min(left);
                    left -= bytes;
                    if client.write_all(&from_server[..bytes]).await.is_err() {
                        return;
                    }
                    if left == 0 {
                        return client.set_zero_linger().unwrap();
                    }
                }
                _ => return,
            },
        }
    }
}

/// A server whose answers a function makes, from the number of the request, beginning at 0, and its body. It ends when dropped.
pub(crate) struct Answers {
    address: SocketAddr,
    bodies: Arc<Mutex<Vec<Bytes>>>,
    _stop: oneshot::Sender<()>,
}

impl Answers {
    pub(crate) fn start(answer: impl Fn(usize, &[u8]) -> Response<Body> + Send + Sync + 'static) -> Self {
        let (stop, stopped) = oneshot::channel::<()>();
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let bodies = Arc::new(Mutex::new(Vec::new()));
        let (kept, answer) = (Arc::clone(&bodies), Arc::new(answer));
        let router = Router::new().fallback(move |request: Request<Body>| {
            let (kept, answer) = (Arc::clone(&kept), Arc::clone(&answer));
            async move {
                let body = axum::body::to_bytes(request.into_body(), 64 * 1024 * 1024).await.unwrap();
                let number = {
                    let mut kept = kept.lock().unwrap();
                    kept.push(body.clone());
                    kept.len() - 1
                };
                answer(number, &body)
            }
        });
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let listener = TcpListener::from_std(listener).unwrap();
                tokio::select! {
                    served = axum::serve(listener, router) => served.unwrap(),
                    _ = stopped => {}
                }
            });
        });
        Self { address, bodies, _stop: stop }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn bodies(&self) -> Vec<Bytes> {
        self.bodies.lock().unwrap().clone()
    }
}
