//! gRPC delivery of messages that are encoded already. Worker thread.

use std::time::Duration;

use bytes::{Buf as _, BufMut as _, Bytes};
use http::Uri;
use http::uri::PathAndQuery;
use hyper_rustls::HttpsConnector;
use parking_lot::Mutex;
use tonic::client::Grpc;
use tonic::codec::{Codec, CompressionEncoding, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::metadata::MetadataMap;
use tonic::transport::Channel;
use tonic::{Code, ConnectError, Request, Status};
use tonic_types::StatusExt as _;

use super::answer::Reply;
use super::connect::{self, OverTls, Route};
use super::grpc_status::Checked;
use super::http::{NoAnswer, chain_of, is_timeout, is_tls};
use super::renewed::Renewed;
use super::scrub::Secrets;
use crate::accounting::ErrorType;
use crate::endpoint::{Compression, Endpoint, EndpointError};

enum OverTlsOrNot {
    Over(OverTls<HttpsConnector<Route>>),
    Not(HttpsConnector<Route>),
}

/// Sends messages to one method.
pub(super) struct GrpcDelivery {
    client: Renewed<GrpcClient>,
    path: PathAndQuery,
    timeout: Duration,
}

/// What is made of the endpoint, its secrets and certificates.
struct GrpcClient {
    endpoint: tonic::transport::Endpoint,
    connector: OverTlsOrNot,
    /// Connected at the first request: that needs the worker's runtime. After a request without an answer in time there is none:
    /// nobody may be at the other end any more, and TCP takes a quarter of an hour to find that out.
    channel: Mutex<Option<Channel>>,
    metadata: MetadataMap,
    gzip: bool,
    secrets: Secrets,
}

impl GrpcDelivery {
    pub(super) fn new(endpoint: &Endpoint, path: &'static str) -> Result<Self, EndpointError> {
        let client = Renewed::new(endpoint, GrpcClient::new)?;
        Ok(Self { client, path: PathAndQuery::from_static(path), timeout: endpoint.timeout })
    }

    /// Sends a request; once more where it was refused with a secret that has changed in the meantime.
    pub(super) async fn send(&self, body: Bytes) -> Result<Reply, NoAnswer> {
        const UNAUTHENTICATED: i32 = Code::Unauthenticated as i32;
        const PERMISSION_DENIED: i32 = Code::PermissionDenied as i32;
        let client = self.client.current();
        let reply = client.send(body.clone(), &self.path, self.timeout).await;
        match &reply {
            Ok(Reply::Grpc { code: UNAUTHENTICATED | PERMISSION_DENIED, .. }) => {}
            Err(NoAnswer { error: ErrorType::Tls, .. }) => {}
            _ => return reply,
        }
        match self.client.renewed_since(&client) {
            Some(renewed) => renewed.send(body, &self.path, self.timeout).await,
            None => reply,
        }
    }
}

impl GrpcClient {
    fn new(endpoint: &Endpoint) -> Result<Self, EndpointError> {
        let failed = |error: tonic::transport::Error| EndpointError::Tls(error.to_string());
        let connector = connect::connector(endpoint, connect::Protocol::Http2)?.service;
        let secure = endpoint.url.scheme() == "https";
        let origin = Uri::try_from(endpoint.url.as_str()).map_err(|error| EndpointError::Url {
            value: endpoint.shown_url().to_string(),
            reason: error.to_string(),
        })?;
        let mut address = endpoint.url.clone();
        if secure {
            // tonic refuses an `https` address whose TLS is not its own: it gets the same address without.
            let port = address.port_or_known_default();
            let _ = address.set_scheme("http");
            let _ = address.set_port(port);
        }
        let target = tonic::transport::Endpoint::from_shared(address.to_string())
            .map_err(failed)?
            .origin(origin)
            .connect_timeout(endpoint.timeout.min(Duration::from_secs(5)))
            .user_agent(concat!("lgtm/", env!("CARGO_PKG_VERSION")))
            .map_err(failed)?;
        let connector = if secure { OverTlsOrNot::Over(OverTls(connector)) } else { OverTlsOrNot::Not(connector) };
        Ok(Self {
            endpoint: target,
            connector,
            channel: Mutex::new(None),
            metadata: MetadataMap::from_headers(endpoint.header_map()?),
            gzip: endpoint.compression == Compression::Gzip,
            secrets: Secrets::of(endpoint),
        })
    }

    async fn send(&self, body: Bytes, path: &PathAndQuery, timeout: Duration) -> Result<Reply, NoAnswer> {
        let answer = async {
            match self.call(body.clone(), path).await {
                // At once, on a new connection: a server that ends its connections in good order is no failure.
                Err(status) if is_not_processed(&status) => self.call(body, path).await,
                answer => answer,
            }
        };
        let Ok(answer) = tokio::time::timeout(timeout, answer).await else {
            self.channel.lock().take();
            let message = "no answer in time".to_owned();
            return Err(NoAnswer { error: ErrorType::Timeout, message, unreachable: false });
        };
        match answer {
            Ok(body) => Ok(Reply::Grpc { code: 0, message: String::new(), retry_delay: None, body: body.to_vec() }),
            Err(status) => match transport_error(&status).or_else(|| unreadable(&status)) {
                Some(lost) => Err(lost),
                None => Ok(Reply::Grpc {
                    code: status.code() as i32,
                    message: self.secrets.scrub(status.message().to_owned()),
                    retry_delay: status.get_details_retry_info().and_then(|info| info.retry_delay),
                    body: Vec::new(),
                }),
            },
        }
    }

    fn channel(&self) -> Channel {
        let connect = || match &self.connector {
            OverTlsOrNot::Over(connector) => self.endpoint.connect_with_connector_lazy(connector.clone()),
            OverTlsOrNot::Not(connector) => self.endpoint.connect_with_connector_lazy(connector.clone()),
        };
        self.channel.lock().get_or_insert_with(connect).clone()
    }

    async fn call(&self, body: Bytes, path: &PathAndQuery) -> Result<Bytes, Status> {
        let mut client = Grpc::new(Checked(self.channel()));
        if self.gzip {
            // Servers answer as they were asked: those in Go with gzip.
            client = client.send_compressed(CompressionEncoding::Gzip).accept_compressed(CompressionEncoding::Gzip);
        }
        client.ready().await.map_err(|error| Status::from_error(Box::new(error)))?;
        let mut request = Request::new(body);
        *request.metadata_mut() = self.metadata.clone();
        client.unary(request, path.clone(), Raw).await.map(tonic::Response::into_inner)
    }
}

/// Whether the server said that it has not looked at the request: GOAWAY without an error, or a stream refused (RFC 9113,
/// sections 6.8 and 8.7).
fn is_not_processed(status: &Status) -> bool {
    chain_of(status).iter().filter_map(|cause| cause.downcast_ref::<h2::Error>()).any(|error| {
        let reason = error.reason();
        error.is_remote()
            && (error.is_go_away() && reason == Some(h2::Reason::NO_ERROR)
                || error.is_reset() && reason == Some(h2::Reason::REFUSED_STREAM))
    })
}

/// A status that tonic made itself because the connection failed has the cause as its source.
fn transport_error(status: &Status) -> Option<NoAnswer> {
    let chain = chain_of(status);
    let causes = chain.get(1..).unwrap_or_default();
    let message = causes.last()?.to_string();
    let error = if causes.iter().any(|cause| is_tls(*cause)) {
        ErrorType::Tls
    } else if causes.iter().any(|cause| is_timeout(*cause)) {
        ErrorType::Timeout
    } else {
        ErrorType::Connect
    };
    let unreachable = causes.iter().any(|cause| cause.downcast_ref::<ConnectError>().is_some());
    Some(NoAnswer { error, message, unreachable })
}

/// A status that tonic made itself because what came is no whole answer: a proxy has cut it short, or it is not gRPC. Whether the
/// backend has the items is unknown.
fn unreadable(status: &Status) -> Option<NoAnswer> {
    let message = status.message();
    let own = [
        "protocol error: ",
        "Unexpected EOF decoding stream.",
        "Missing response message.",
        "Error, decoded message length too large",
    ];
    own.iter().any(|own| message.starts_with(own)).then(|| NoAnswer {
        error: ErrorType::Other,
        message: message.to_owned(),
        unreachable: false,
    })
}

/// Passes bytes through.
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}
