//! The worker: one OS thread with its own current-thread tokio runtime, on which every pipeline runs. It needs no runtime in
//! the program, cannot deadlock with the program's, and its thread is marked so that no layer listens to it.

use std::io;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::Notify;

use crate::clock;
use crate::process::Home;
use crate::suppress::suppress_this_thread;

/// A handle to the worker. The thread ends when the last handle is dropped.
#[derive(Clone, Debug)]
pub struct Worker(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    handle: Handle,
    stop: Arc<Notify>,
    home: Home,
}

static SHARED: Mutex<Weak<Inner>> = Mutex::new(Weak::new());

impl Worker {
    /// Starts a worker.
    ///
    /// # Errors
    /// What the operating system says when it cannot give a thread or the runtime's file descriptors.
    pub fn spawn() -> io::Result<Self> {
        // Blocking helpers (name resolution) belong to the worker too.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .thread_name("lgtm-resolve")
            .on_thread_start(suppress_this_thread)
            .max_blocking_threads(4)
            .build()?;
        let handle = runtime.handle().clone();
        handle.spawn(clock::watch());
        let stop = Arc::new(Notify::new());
        let stopped = Arc::clone(&stop);
        std::thread::Builder::new().name("lgtm-worker".to_owned()).spawn(move || {
            suppress_this_thread();
            runtime.block_on(stopped.notified());
            // A name resolution that hangs must not keep the thread.
            runtime.shutdown_background();
        })?;
        Ok(Self(Arc::new(Inner { handle, stop, home: Home::here() })))
    }

    /// The worker that layers share that were not given one; started when first asked for.
    ///
    /// # Errors
    /// As [`Worker::spawn`].
    pub fn shared() -> io::Result<Self> {
        let mut shared = SHARED.lock();
        if let Some(inner) = shared.upgrade().filter(|inner| inner.home.is_here()) {
            return Ok(Self(inner));
        }
        let worker = Self::spawn()?;
        *shared = Arc::downgrade(&worker.0);
        Ok(worker)
    }

    /// The worker's runtime.
    #[must_use]
    pub fn handle(&self) -> &Handle {
        &self.0.handle
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if self.home.is_here() {
            self.stop.notify_one();
        }
    }
}
