//! The pipeline against servers that answer by a script. `support` is the server and the signal, `certificates`
//! its TLS; the rest by theme.

mod certificates;
mod connect;
mod conservation;
mod grpc;
#[cfg(target_os = "linux")]
mod idle;
mod lifecycle;
mod limits;
mod replies;
mod rotation;
#[cfg(feature = "spool")]
mod spool;
mod support;
