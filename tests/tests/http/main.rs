//! The layers of lgtm-http around real servers and clients on the loopback address, under lgtm's layers and recorder: what is
//! asserted is what has arrived.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a failed step fails the test, also in its helpers"
)]

mod client;
mod costs;
mod ends;
mod grpc;
mod harness;
mod other_subscribers;
mod reqwest_client;
mod server;
