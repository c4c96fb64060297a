//! The thread of a spool, and the handle that a pipeline has on it: a disk that takes its time holds up nothing else.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;

use tokio::sync::oneshot;

use super::folder::Folder;
use super::options::{SpoolError, SpoolOptions};
use super::record::Record;
use super::store::{AppendError, Next, Position, Store};
use crate::diagnostics;
use crate::suppress::suppress_this_thread;

enum Command {
    Append(Vec<Record>, usize, oneshot::Sender<Result<Vec<Position>, AppendError>>),
    Next(End, oneshot::Sender<Next>),
    Acknowledge(Position),
    State(oneshot::Sender<State>),
    Close(oneshot::Sender<()>),
}

/// A place behind a record: what is read up to there was on disk when it was asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct End(u64, u64);

/// The spool at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct State {
    /// Where the row ends.
    pub(crate) end: End,
    /// Whether anything is not acknowledged.
    pub(crate) holds_any: bool,
    /// Items that earlier runs have left.
    pub(crate) recovered: u64,
}

/// A running spool. Its thread ends when it is closed, or with the handle.
#[derive(Debug)]
pub(crate) struct Spool {
    commands: mpsc::Sender<Command>,
    bytes: Arc<AtomicU64>,
    durable: bool,
    max_age: std::time::Duration,
}

impl Spool {
    /// Claims a folder and starts the thread, which first of all counts what earlier runs have left.
    pub(crate) fn start(options: &SpoolOptions, signal: &'static str) -> Result<Self, SpoolError> {
        let folder = Folder::claim(&options.folder, signal)?;
        let (commands, received) = mpsc::channel();
        let bytes = Arc::new(AtomicU64::new(0));
        let (shared, options_of_thread) = (Arc::clone(&bytes), options.clone());
        std::thread::Builder::new()
            .name(format!("lgtm-spool-{signal}"))
            .spawn(move || {
                suppress_this_thread();
                serve(folder, &options_of_thread, signal, &received, &shared);
            })
            .map_err(|reason| SpoolError::new(&options.folder, "has no thread", reason))?;
        Ok(Self { commands, bytes, durable: options.durable, max_age: options.max_age })
    }

    /// Whether everything goes to disk first.
    pub(crate) fn is_durable(&self) -> bool {
        self.durable
    }

    pub(crate) fn max_age(&self) -> std::time::Duration {
        self.max_age
    }

    /// Bytes on disk.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Appends all these records durably, or none. The first `taken` are being sent: they are not handed out again.
    pub(crate) async fn append(&self, records: Vec<Record>, taken: usize) -> Result<Vec<Position>, AppendError> {
        let gone = || AppendError::Disk(io::Error::other("the spool's thread has ended"));
        self.ask(|answer| Command::Append(records, taken, answer)).await.unwrap_or_else(|| Err(gone()))
    }

    /// The oldest record before `end` that was not handed out.
    pub(crate) async fn next(&self, end: End) -> Next {
        self.ask(|answer| Command::Next(end, answer)).await.unwrap_or(Next::Empty)
    }

    /// How it is after everything that was asked for before.
    pub(crate) async fn state(&self) -> State {
        self.ask(Command::State).await.unwrap_or_default()
    }

    /// This record has arrived, or is given up.
    pub(crate) fn acknowledge(&self, position: Position) {
        let _ = self.commands.send(Command::Acknowledge(position));
    }

    /// Ends the thread: waits until everything that was asked for is done, and the folder is tidy and free.
    pub(crate) async fn close(&self) {
        let _ = self.ask(Command::Close).await;
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Option<T> {
        let (answer, answered) = oneshot::channel();
        self.commands.send(command(answer)).ok()?;
        answered.await.ok()
    }
}

fn serve(folder: Folder, options: &SpoolOptions, signal: &str, commands: &mpsc::Receiver<Command>, bytes: &AtomicU64) {
    let mut store = Store::open(folder, options);
    let recovered = store.waiting().items;
    let mut told = Vec::new();
    loop {
        bytes.store(store.bytes(), Ordering::Relaxed);
        for remark in store.take_remarks() {
            // A disk that fails says the same again and again.
            if !told.contains(&remark) && told.len() < 64 {
                diagnostics::warn(&format!("the spool of {signal}: {remark}"));
                told.push(remark);
            }
        }
        let Ok(command) = commands.recv() else { break };
        match command {
            Command::Append(records, taken, answer) => {
                let appended = store.append(&records, taken);
                bytes.store(store.bytes(), Ordering::Relaxed);
                let _ = answer.send(appended);
            }
            Command::Next(End(segment, offset), answer) => {
                let next = store.next((segment, offset));
                bytes.store(store.bytes(), Ordering::Relaxed);
                let _ = answer.send(next);
            }
            Command::Acknowledge(position) => store.acknowledge(position),
            Command::State(answer) => {
                let (segment, offset) = store.end();
                let holds_any = store.waiting().records > 0;
                let _ = answer.send(State { end: End(segment, offset), holds_any, recovered });
            }
            Command::Close(answer) => {
                store.close();
                // Free for the next process before anybody hears of it.
                drop(store);
                let _ = answer.send(());
                return;
            }
        }
    }
    store.close();
}
