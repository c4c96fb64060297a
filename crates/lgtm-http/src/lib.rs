//! Tower layers that observe HTTP and gRPC: spans in OpenTelemetry's semantic conventions, W3C trace context and baggage in and out,
//! and request metrics with exemplars. For axum, tonic, reqwest, hyper, and whatever else speaks tower.
//!
//! Programs that use the facade have this crate as `lgtm::http`, with its features `http`, `axum`, `reqwest-middleware` and `tonic`.
//!
//! # Servers
//!
//! [`ServerLayer`] goes around an axum router (feature `axum`), by `layer`, where the matched route is known:
//!
//! ```
//! # #[cfg(feature = "axum")] {
//! use axum::Router;
//! use axum::routing::get;
//! use lgtm_http::ServerLayer;
//!
//! let router: Router = Router::new()
//!     .route("/orders/{id}", get(async || "order"))
//!     .route("/healthz", get(async || "ok"))
//!     .layer(ServerLayer::new().skip_paths(["/healthz"]));
//! # }
//! ```
//!
//! or around any other service over `http::Request`; then [`ServerLayer::route`] says what the route is, or there is none:
//!
//! ```
//! use lgtm_http::ServerLayer;
//! use tower::ServiceBuilder;
//!
//! let service = ServiceBuilder::new().layer(ServerLayer::new()).service_fn(async |_: http::Request<String>| {
//!     Ok::<_, std::convert::Infallible>(http::Response::new(String::from("hello")))
//! });
//! # let _ = service;
//! ```
//!
//! What happens in a handler, and while a streamed body is made, happens in the request's span: log lines, child spans, exemplars.
//! The caller's address is known where the server says it: axum's `into_make_service_with_connect_info::<SocketAddr>()`, or
//! [`PeerAddress`]. A handler that wants its span finds it by `tracing::Span::current()`.
//!
//! # Clients
//!
//! [`ClientLayer`] goes around a client that is a tower service, such as hyper-util's; `ReqwestMiddleware` (feature
//! `reqwest-middleware`) into the chain of a reqwest client. Both write the current trace and baggage into the headers.
//! [`UrlTemplate`] in a request's extensions names its span.
//!
//! # gRPC
//!
//! `GrpcServerLayer` and `GrpcClientLayer` (feature `tonic`) do the same for calls, unary and streaming. Whoever serves gRPC and HTTP on one port puts
//! both around: the layer for gRPC leaves out what is none, and `skip_if` of the other one what is.
//!
//! # Spans
//!
//! By the conventions, version 1.45; HTTP and RPC are both stable there.
//!
//! | | name | attributes |
//! |---|---|---|
//! | server | `{method} {route}` | `http.request.method`, `http.request.method_original`, `http.route`, `http.response.status_code`, `http.request.body.size`, `http.response.body.size`, `url.scheme`, `url.path`, `url.query`, `server.address`, `server.port`, `client.address`, `network.peer.address`, `network.protocol.version`, `user_agent.original`, `error.type` |
//! | client | `{method} {template}` | `http.request.method`, `http.request.method_original`, `http.request.resend_count`, `http.request.body.size`, `http.response.status_code`, `http.response.body.size`, `url.full`, `url.template`, `server.address`, `server.port`, `network.protocol.version`, `error.type` |
//! | gRPC, both sides | `{package.Service/Method}` | `rpc.system.name`, `rpc.method`, `rpc.method_original`, `rpc.status_code`, `server.address`, `server.port`, on servers `network.peer.address` and `network.peer.port`, `error.type` |
//!
//! Without a route the name is the method alone; an unknown method is `_OTHER`, in a name `HTTP`. Headers are attributes only if they are
//! on a list ([`ServerLayer::request_headers`]). Spans are of level INFO, with the targets `lgtm_http::server`, `lgtm_http::client` and
//! `lgtm_http::grpc`, by which filters tell them apart.
//!
//! Status and `error.type`:
//!
//! | what happened | server | client |
//! |---|---|---|
//! | 5xx | error, `503` | error, `503` |
//! | 4xx | unset | error, `404` |
//! | panic | error, `panic`, its message as description | error, `panic` |
//! | the caller hung up, or the client gave up | error, `cancelled` | unset |
//! | service or body failed | error, the name of the error's type | error, the name of its type; with reqwest `timeout`, `connect`, `redirect`, `body`, `builder`, `request`, `middleware` |
//! | gRPC `UNKNOWN`, `DEADLINE_EXCEEDED`, `UNIMPLEMENTED`, `INTERNAL`, `UNAVAILABLE`, `DATA_LOSS` | error, the code | error, the code |
//! | the other codes but `OK` | unset | error, the code |
//!
//! # Metrics
//!
//! Through the `metrics` facade, whatever the recorder; recorded inside the span, so that lgtm's leaves exemplars. Spans that a filter
//! hides, and traces that a sampler leaves out, are counted all the same.
//!
//! | metric | type | labels |
//! |---|---|---|
//! | `http_requests_total` | counter | `method`, `path`, `status` |
//! | `http_request_duration_seconds` | histogram | `method`, `path`, `status` |
//! | `http_requests_aborted_total` | counter | `method`, `path`, `reason`: `cancelled`, `panicked`, `failed` |
//! | `http_request_body_size_bytes`, `http_response_body_size_bytes` | histogram, with [`ServerLayer::body_sizes`] | `method`, `path`, `status` |
//! | `active_connections` | gauge: requests in flight, streamed answers among them | |
//! | `http_client_requests_total` | counter | `method`, `server_address`, `status` |
//! | `http_client_request_duration_seconds` | histogram | `method`, `server_address`, `status` |
//! | `rpc_server_requests_total` | counter | `method`, `code` |
//! | `rpc_server_request_duration_seconds` | histogram | `method`, `code` |
//! | `rpc_server_active_requests` | gauge | |
//! | `rpc_client_requests_total` | counter | `method`, `code` |
//! | `rpc_client_request_duration_seconds` | histogram | `method`, `code` |
//!
//! `path` is the route, such as `/orders/{id}`, never the URL; requests without one share [`NO_ROUTE`], unknown methods `_OTHER`, gRPC
//! methods that do not exist `_OTHER`. So no caller can make series at will. `status` of a server is what was sent; a request that was
//! cancelled before its answer counts as 499, one that panicked or failed before it as 500. That of a client is a word where there is
//! no answer: `cancelled`, `error`, and with reqwest `connect` or `timeout`.
//!
//! # When a request ends
//!
//! A server's with the last piece of its answer's body: a streamed answer is in flight until then, and its duration is that of
//! the whole. An upgrade (websocket) ends it with status 101. A future or body that is dropped before its end is a request that was
//! cancelled, unless nobody would ask for more (HEAD, 204, a body of known length that was sent whole). A panic ends it, and goes on as it would without the
//! layer. A client's request ends with the end of the body, or when the body is dropped; with reqwest, with the head of the answer.
//!
//! # Whom to trust
//!
//! By default a server continues the trace that its caller names, takes its sampling decision and passes its baggage on: right
//! among one's own services. Where the public calls, [`RemoteContext::Link`] begins a trace of one's own with a link to the
//! caller's. Proxies' headers count only with [`ServerLayer::trust_proxies`].
//!
//! URLs are shown without credentials, and without the values of parameters whose names stand for secrets ([`QueryDisplay`]); the
//! path is shown as it is.
//!
//! # Without lgtm's layers
//!
//! Under another subscriber the spans are spans of `tracing` with these fields, `otel.name` and `otel.kind` among them as
//! tracing-opentelemetry knows them; the metrics are the same. Trace context in and out, links and headers as attributes need a layer of lgtm.
//!
//! # Troubleshooting
//!
//! - *Every `path` is `(no route)`.* The layer is outside the router: put it there by `Router::layer`, and enable feature `axum`.
//! - *Requests that ran into a timeout count as cancelled, 499.* The layer is inside that of the timeout: a layer that is added later is
//!   outside of those before it.
//! - *Requests to paths that do not exist are missing.* A fallback that is added after the layer is not inside it.
//! - *The metrics have no description.* The layer was made before the recorder was installed.
//! - *The handler's log lines have no trace.* A task that it spawned runs outside of its span: `.in_current_span()`.
//! - *Each log line has the request's attributes.* Fields of spans stand beside those of their events; that is how LogQL finds them.
//!
//! # The thread boundary
//!
//! Everything runs on the callers' threads, inside the polls of the program's own futures; nothing waits.
//!
//! ```text
//! layer (server/, client/, grpc/mod.rs) -> exchange.rs of the kind: span, context -> future.rs: the answer to come
//!     -> body.rs: its body -> exchange.rs (Running): the end, once -> exchange.rs of the kind: status, metrics, line
//! ```

#[macro_use]
mod settings;

mod body;
mod captured;
pub mod catalogue;
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

/// The examples of the package's page compile and run.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
