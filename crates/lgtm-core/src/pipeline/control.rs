//! Flush and shutdown: requests from any thread, sync or async, to a pipeline's task, and the wait for their end.

use std::time::Instant;

use tokio::sync::{Notify, watch};

use super::sync::{Condvar, Mutex};
use crate::process::Home;

/// How far a pipeline has come.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Progress {
    /// The last flush that is done.
    pub(super) flushed: u64,
    /// The task has ended.
    pub(super) finished: bool,
}

#[derive(Debug, Default)]
struct Wanted {
    /// The last flush that was asked for.
    flush: u64,
    /// Set once: the pipeline ends by then.
    deadline: Option<Instant>,
}

/// What a pipeline's handles and its task share.
#[derive(Debug)]
pub(super) struct Control {
    wanted: Mutex<Wanted>,
    /// Interrupts the task's pauses.
    pub(super) changed: Notify,
    progress: watch::Sender<Progress>,
    turn: Mutex<()>,
    progressed: Condvar,
    home: Home,
}

impl Control {
    pub(super) fn new() -> Self {
        Self {
            wanted: Mutex::default(),
            changed: Notify::new(),
            progress: watch::Sender::new(Progress::default()),
            turn: Mutex::new(()),
            progressed: Condvar::new(),
            home: Home::here(),
        }
    }

    /// Whether the task can run: not in a child that was forked since.
    pub(super) fn is_alive(&self) -> bool {
        self.home.is_here()
    }

    /// Asks for a flush; the number to wait for.
    pub(super) fn want_flush(&self) -> u64 {
        let mut wanted = self.wanted.lock();
        wanted.flush += 1;
        let number = wanted.flush;
        drop(wanted);
        if self.is_alive() {
            self.changed.notify_one();
        }
        number
    }

    /// Asks for the end. The earliest deadline counts.
    pub(super) fn want_end(&self, deadline: Instant) {
        let mut wanted = self.wanted.lock();
        wanted.deadline = Some(wanted.deadline.map_or(deadline, |known| known.min(deadline)));
        drop(wanted);
        if self.is_alive() {
            self.changed.notify_one();
        }
    }

    pub(super) fn flush_wanted(&self) -> u64 {
        self.wanted.lock().flush
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.wanted.lock().deadline
    }

    pub(super) fn advance(&self, change: impl FnOnce(&mut Progress)) {
        self.progress.send_modify(change);
        let _turn = self.turn.lock();
        self.progressed.notify_all();
    }

    /// Blocks the calling thread until `done` or the deadline; whether it is done.
    pub(super) fn wait(&self, deadline: Instant, done: impl Fn(&Progress) -> bool) -> bool {
        if !self.is_alive() {
            return false;
        }
        let mut turn = self.turn.lock();
        loop {
            if done(&self.progress.borrow()) {
                return true;
            }
            if self.progressed.wait_until(&mut turn, deadline).timed_out() {
                return done(&self.progress.borrow());
            }
        }
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }
}
