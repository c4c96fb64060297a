//! gRPC delivery of messages that are encoded already. Worker thread.

use std::sync::OnceLock;
use std::time::Duration;

use bytes::{Buf as _, BufMut as _, Bytes};
use http::Uri;
use http::uri::PathAndQuery;
use hyper_rustls::HttpsConnector;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::metadata::MetadataMap;
use tonic::transport::Channel;
use tonic::{Code, ConnectError, Request, Status, TimeoutExpired};
use tonic_types::StatusExt as _;

use super::answer::Reply;
use super::connect::{self, OverTls, Route};
use super::http::{NoAnswer, chain_of, is_tls};
use super::renewed::Renewed;
use super::scrub::Secrets;
use crate::accounting::ErrorType;
use crate::endpoint::{Endpoint, EndpointError};

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
    /// Connected at the first request: that needs the worker's runtime.
    channel: OnceLock<Channel>,
    metadata: MetadataMap,
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
            .timeout(endpoint.timeout)
            .connect_timeout(endpoint.timeout.min(Duration::from_secs(5)))
            .user_agent(concat!("lgtm/", env!("CARGO_PKG_VERSION")))
            .map_err(failed)?;
        let connector = if secure { OverTlsOrNot::Over(OverTls(connector)) } else { OverTlsOrNot::Not(connector) };
        Ok(Self {
            endpoint: target,
            connector,
            channel: OnceLock::new(),
            metadata: MetadataMap::from_headers(endpoint.header_map()?),
            secrets: Secrets::of(endpoint),
        })
    }

    async fn send(&self, body: Bytes, path: &PathAndQuery, timeout: Duration) -> Result<Reply, NoAnswer> {
        let channel = self.channel.get_or_init(|| match &self.connector {
            OverTlsOrNot::Over(connector) => self.endpoint.connect_with_connector_lazy(connector.clone()),
            OverTlsOrNot::Not(connector) => self.endpoint.connect_with_connector_lazy(connector.clone()),
        });
        let channel = channel.clone();
        let mut client = Grpc::new(channel);
        let call = async {
            client.ready().await.map_err(|error| Status::from_error(Box::new(error)))?;
            let mut request = Request::new(body);
            *request.metadata_mut() = self.metadata.clone();
            client.unary(request, path.clone(), Raw).await
        };
        match tokio::time::timeout(timeout, call).await {
            Ok(Ok(answer)) => Ok(Reply::Grpc {
                code: 0,
                message: String::new(),
                retry_delay: None,
                body: answer.into_inner().to_vec(),
            }),
            Ok(Err(status)) => transport_error(&status).map_or_else(
                || {
                    Ok(Reply::Grpc {
                        code: status.code() as i32,
                        message: self.secrets.scrub(status.message().to_owned()),
                        retry_delay: status.get_details_retry_info().and_then(|info| info.retry_delay),
                        body: Vec::new(),
                    })
                },
                Err,
            ),
            Err(_) => {
                Err(NoAnswer { error: ErrorType::Timeout, message: "no answer in time".to_owned(), unreachable: false })
            }
        }
    }
}

/// A status that tonic made itself because the connection failed has the cause as its source.
fn transport_error(status: &Status) -> Option<NoAnswer> {
    let chain = chain_of(status);
    let causes = chain.get(1..).unwrap_or_default();
    let message = causes.last()?.to_string();
    let error = if causes.iter().any(|cause| is_tls(*cause)) {
        ErrorType::Tls
    } else if status.code() == Code::DeadlineExceeded || causes.iter().any(|cause| cause.is::<TimeoutExpired>()) {
        ErrorType::Timeout
    } else {
        ErrorType::Connect
    };
    let unreachable = causes.iter().any(|cause| cause.downcast_ref::<ConnectError>().is_some());
    Some(NoAnswer { error, message, unreachable })
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
