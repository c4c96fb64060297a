//! x

mod body;
mod captured;
mod client;
mod exchange;
mod future;
#[cfg(feature = "tonic")]
mod grpc;
mod method;
mod peer;
mod remote;
mod server;
mod status;
mod url;

pub use body::ResponseBody;
#[cfg(feature = "reqwest-middleware")]
pub use client::ReqwestMiddleware;
pub use client::{Client, ClientLayer, UrlTemplate};
pub use future::ResponseFuture;
#[cfg(feature = "tonic")]
pub use grpc::{GrpcClient, GrpcClientLayer, GrpcServer, GrpcServerLayer};
pub use peer::PeerAddress;
pub use remote::RemoteContext;
pub use server::{Server, ServerLayer};
pub use url::QueryDisplay;

/// The label `path` of requests that match no route: the raw path would make a series of every typing error.
pub const NO_ROUTE: &str = "(no route)";
