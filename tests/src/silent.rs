//! A backend that accepts connections and never answers. Its own thread.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// A running listener; dropping it ends it and its connections.
#[derive(Debug)]
pub struct Silent {
    address: SocketAddr,
    ended: Arc<AtomicBool>,
    connections: Arc<Mutex<Vec<TcpStream>>>,
    thread: Option<JoinHandle<()>>,
}

impl Silent {
    /// Listens on a free port of the loopback interface.
    ///
    /// # Errors
    /// What the system says when it gives no port or thread.
    pub fn start() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let ended = Arc::new(AtomicBool::new(false));
        let connections = Arc::new(Mutex::new(Vec::new()));
        let (told, held) = (Arc::clone(&ended), Arc::clone(&connections));
        let thread = std::thread::Builder::new().name("silent".to_owned()).spawn(move || {
            for connection in listener.incoming().map_while(Result::ok) {
                if told.load(Ordering::Acquire) {
                    return;
                }
                held.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
            }
        })?;
        Ok(Self { address, ended, connections, thread: Some(thread) })
    }

    /// The listener's URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How many connections were made.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

impl Drop for Silent {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Release);
        // Wakes the thread.
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
