//! The disk spool: requests that memory cannot hold, in checksummed segment files, sent first in, first out, also by the
//! program's next start.
//!
//! - `options.rs`: what a program can choose;
//! - `folder.rs`: one folder for each signal and process, claimed by a lock;
//! - `store.rs`: the row of segments: append, read, acknowledge, bounds;
//! - `segment.rs`: one file; `record.rs`: one request in it;
//! - `thread.rs`: the thread that all of it runs on, because a disk may take its time.
//!
//! What lies on disk are encoded requests, as they would have been sent: they need nothing of the process that made them, and
//! one that arrives twice has the same identifiers and timestamps both times.

mod folder;
mod options;
mod record;
mod segment;
mod store;
mod thread;

pub use options::{SpoolError, SpoolOptions};
pub(crate) use record::Record;
pub(crate) use store::{Next, Position};
pub(crate) use thread::{End, Spool};

#[cfg(test)]
mod tests;
