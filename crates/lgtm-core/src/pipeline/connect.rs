//! Connections to a backend, the same for HTTP and gRPC: TCP, or the way through a proxy, and TLS on it. Worker thread.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{HeaderValue, Uri};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tower_service::Service;

use super::proxy::Via;
use super::tls;
use crate::endpoint::{Endpoint, EndpointError};

type BoxError = Box<dyn std::error::Error + Send + Sync>;
type BoxFuture<T> = Pin<Box<dyn Future<Output = Result<T, BoxError>> + Send>>;

/// The protocols of requests, for ALPN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Http1,
    /// Also without TLS: by prior knowledge.
    Http2,
}

/// What connects to an endpoint.
pub(super) struct Connector {
    pub(super) service: HttpsConnector<Route>,
    /// What each request must say to a proxy that passes requests on.
    pub(super) proxy_authorization: Option<HeaderValue>,
}

/// What connects to this endpoint.
pub(super) fn connector(endpoint: &Endpoint, protocol: Protocol) -> Result<Connector, EndpointError> {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(endpoint.timeout.min(Duration::from_secs(5))));
    let mut proxy_authorization = None;
    let way = match Via::choose(&endpoint.proxy, &endpoint.url)? {
        None => Way::Direct,
        Some(via) => {
            let refuse =
                |reason: String| EndpointError::Proxy { value: via.url.to_string(), of: String::new(), reason };
            let address = Uri::try_from(via.url.as_str()).map_err(|error| refuse(error.to_string()))?;
            // A proxy passes plain HTTP/1 requests on; all else goes through it unseen.
            if endpoint.url.scheme() == "http" && protocol == Protocol::Http1 {
                proxy_authorization = via.authorization;
                Way::Forward(address)
            } else {
                let tunnel = Tunnel::new(address, tcp.clone());
                Way::Tunnel(match via.authorization {
                    Some(authorization) => tunnel.with_auth(authorization),
                    None => tunnel,
                })
            }
        }
    };
    let route = Route { tcp, way };
    let builder = HttpsConnectorBuilder::new().with_tls_config(tls::config(endpoint)?).https_or_http();
    let service = match protocol {
        Protocol::Http1 => builder.enable_http1().wrap_connector(route),
        Protocol::Http2 => builder.enable_http2().wrap_connector(route),
    };
    Ok(Connector { service, proxy_authorization })
}

/// How a backend is reached below TLS.
#[derive(Clone, Debug)]
pub(super) struct Route {
    tcp: HttpConnector,
    way: Way,
}

#[derive(Clone, Debug)]
enum Way {
    Direct,
    /// Requests name the backend, the proxy sends them on.
    Forward(Uri),
    /// `CONNECT`.
    Tunnel(Tunnel<HttpConnector>),
}

impl Service<Uri> for Route {
    type Response = Stream;
    type Error = BoxError;
    type Future = BoxFuture<Stream>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        match &mut self.way {
            Way::Tunnel(tunnel) => tunnel.poll_ready(context).map_err(Into::into),
            _ => self.tcp.poll_ready(context).map_err(Into::into),
        }
    }

    fn call(&mut self, target: Uri) -> BoxFuture<Stream> {
        match &mut self.way {
            Way::Direct => {
                let connecting = self.tcp.call(target);
                Box::pin(async move { Ok(Stream { io: connecting.await?, forwarded: false }) })
            }
            Way::Forward(proxy) => {
                let connecting = self.tcp.call(proxy.clone());
                Box::pin(async move { Ok(Stream { io: connecting.await?, forwarded: true }) })
            }
            Way::Tunnel(tunnel) => {
                let connecting = tunnel.call(target);
                Box::pin(async move { Ok(Stream { io: connecting.await?, forwarded: false }) })
            }
        }
    }
}

/// A connection, and whether a proxy at its other end passes requests on: then they name the backend's whole address.
#[derive(Debug)]
pub(super) struct Stream {
    io: TokioIo<TcpStream>,
    forwarded: bool,
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        self.io.connected().proxy(self.forwarded)
    }
}

impl Read for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(context, buffer)
    }
}

impl Write for Stream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(context, parts)
    }
}

/// For tonic, which wants an `http` address where it is not to make TLS itself: connects to `https` all the same.
#[derive(Clone, Debug)]
pub(super) struct OverTls<C>(pub(super) C);

impl<C: Service<Uri>> Service<Uri> for OverTls<C> {
    type Response = C::Response;
    type Error = C::Error;
    type Future = C::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), C::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, target: Uri) -> C::Future {
        let mut parts = target.clone().into_parts();
        parts.scheme = Some(http::uri::Scheme::HTTPS);
        self.0.call(Uri::from_parts(parts).unwrap_or(target))
    }
}
