//! The pipeline against servers that answer by a script. `support` is the server and the signal; the rest by theme.

mod connect;
mod conservation;
mod grpc;
mod lifecycle;
mod limits;
mod replies;
#[cfg(feature = "spool")]
mod spool;
mod support;
