//! HTTP delivery. Worker thread.

use std::io::Write as _;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use flate2::Compression as Level;
use flate2::write::GzEncoder;
use http::header::{CONTENT_ENCODING, PROXY_AUTHORIZATION, RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use super::answer::Reply;
use super::connect::{self, Route};
use super::renewed::Renewed;
use super::scrub::Secrets;
use crate::accounting::ErrorType;
use crate::endpoint::{Compression, Endpoint, EndpointError};

/// Bytes of an answer that are read; the rest is not.
const ANSWER_LIMIT: usize = 64 * 1024;

/// Sends requests to one URL.
///
/// hyper's own client, not reqwest: the TLS feature of reqwest that takes an explicit provider would reach into the program's
/// own use of reqwest and make its clients panic.
pub(super) struct HttpDelivery {
    client: Renewed<HttpClient>,
    /// Bodies come as they are and are to be compressed.
    gzip: bool,
    timeout: Duration,
}

/// What is made of the endpoint, its secrets and certificates.
struct HttpClient {
    client: Client<HttpsConnector<Route>, Full<Bytes>>,
    uri: Uri,
    headers: HeaderMap,
    secrets: Secrets,
}

/// A request that got no answer.
#[derive(Debug)]
pub(super) struct NoAnswer {
    pub(super) error: ErrorType,
    pub(super) message: String,
    /// No connection came about (refused, no such host, TLS): during a shutdown it is not tried again.
    pub(super) unreachable: bool,
}

impl HttpDelivery {
    pub(super) fn new(
        endpoint: &Endpoint,
        default_path: &'static str,
        headers: &[(HeaderName, HeaderValue)],
    ) -> Result<Self, EndpointError> {
        let mut protocol_headers = headers.to_vec();
        let is_encoded = headers.iter().any(|(name, _)| *name == CONTENT_ENCODING);
        let gzip = endpoint.compression == Compression::Gzip && !is_encoded;
        if gzip {
            protocol_headers.push((CONTENT_ENCODING, HeaderValue::from_static("gzip")));
        }
        let make = move |endpoint: &Endpoint| HttpClient::new(endpoint, default_path, &protocol_headers);
        Ok(Self { client: Renewed::new(endpoint, make)?, gzip, timeout: endpoint.timeout })
    }

    /// Sends a request; once more where it was refused with a secret that has changed in the meantime.
    pub(super) async fn send(
        &self,
        body: Bytes,
        attempt: u32,
        headers: &[(HeaderName, HeaderValue)],
    ) -> Result<Reply, NoAnswer> {
        let body = if self.gzip { compressed(&body)? } else { body };
        let client = self.client.current();
        let reply = client.send(body.clone(), attempt, headers, self.timeout).await;
        match &reply {
            Ok(Reply::Http { status: 401 | 403, .. }) => {}
            Err(NoAnswer { error: ErrorType::Tls, .. }) => {}
            _ => return reply,
        }
        match self.client.renewed_since(&client) {
            Some(renewed) => renewed.send(body, attempt, headers, self.timeout).await,
            None => reply,
        }
    }
}

impl HttpClient {
    fn new(
        endpoint: &Endpoint,
        default_path: &str,
        headers: &[(HeaderName, HeaderValue)],
    ) -> Result<Self, EndpointError> {
        let mut map = endpoint.header_map()?;
        for (name, value) in headers {
            map.insert(name.clone(), value.clone());
        }
        map.insert(USER_AGENT, HeaderValue::from_static(concat!("lgtm/", env!("CARGO_PKG_VERSION"))));
        let url = endpoint.url_with_default_path(default_path);
        let uri = Uri::try_from(url.as_str()).map_err(|error| EndpointError::Url {
            value: endpoint.shown_url().to_string(),
            reason: error.to_string(),
        })?;
        let connector = connect::connector(endpoint, connect::Protocol::Http1)?;
        if let Some(authorization) = connector.proxy_authorization {
            map.insert(PROXY_AUTHORIZATION, authorization);
        }
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(50))
            .pool_max_idle_per_host(2)
            .build(connector.service);
        Ok(Self { client, uri, headers: map, secrets: Secrets::of(endpoint) })
    }

    async fn send(
        &self,
        body: Bytes,
        attempt: u32,
        headers: &[(HeaderName, HeaderValue)],
        timeout: Duration,
    ) -> Result<Reply, NoAnswer> {
        let started = Instant::now();
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        for (name, value) in headers {
            request.headers_mut().insert(name.clone(), value.clone());
        }
        if attempt > 1 {
            // Mimir scales its Retry-After by it.
            request.headers_mut().insert("retry-attempt", HeaderValue::from(attempt - 1));
        }
        let response = match tokio::time::timeout(timeout, self.client.request(request)).await {
            Ok(answer) => answer.map_err(|error| no_answer(&error))?,
            Err(_) => {
                let message = "no answer in time".to_owned();
                return Err(NoAnswer { error: ErrorType::Timeout, message, unreachable: false });
            }
        };
        let status = response.status().as_u16();
        let retry_after = response
            .headers()
            .get(RETRY_AFTER)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| retry_after(value, SystemTime::now()));
        let (head, mut rest) = response.into_parts();
        let mut answer = Vec::new();
        let read = async {
            while answer.len() < ANSWER_LIMIT
                && let Some(Ok(frame)) = rest.frame().await
            {
                let part = frame.data_ref().map_or(&[][..], |data| data);
                let room = ANSWER_LIMIT - answer.len();
                answer.extend_from_slice(part.get(..room.min(part.len())).unwrap_or_default());
            }
        };
        // The status is known; a body that breaks off or does not end changes nothing about it.
        let _ = tokio::time::timeout(timeout.saturating_sub(started.elapsed()), read).await;
        if status >= 300 {
            answer = self.secrets.scrub_body(answer);
        }
        Ok(Reply::Http { status, retry_after, headers: head.headers, body: answer })
    }
}

/// A body with gzip, fast: most of the gain is in the first look.
fn compressed(body: &[u8]) -> Result<Bytes, NoAnswer> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), Level::fast());
    let written = encoder.write_all(body).and_then(|()| encoder.finish());
    // Memory takes everything.
    written.map(Bytes::from).map_err(|error| NoAnswer {
        error: ErrorType::Other,
        message: format!("the body cannot be compressed ({error})"),
        unreachable: false,
    })
}

/// Seconds or a date (RFC 9110, section 10.2.3); a date that is over asks for nothing.
fn retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    match value.parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => httpdate::parse_http_date(value).ok()?.duration_since(now).ok(),
    }
}

fn no_answer(error: &hyper_util::client::legacy::Error) -> NoAnswer {
    let chain = chain_of(error);
    let not_http = |cause: &&(dyn std::error::Error + 'static)| {
        cause.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_parse)
    };
    let kind = if chain.iter().any(|cause| is_tls(*cause)) {
        ErrorType::Tls
    } else if chain.iter().any(not_http) {
        ErrorType::Other
    } else if chain.iter().any(|cause| is_timeout(*cause)) {
        ErrorType::Timeout
    } else {
        ErrorType::Connect
    };
    // The last cause says why.
    let message = chain.last().map_or_else(|| "no answer".to_owned(), ToString::to_string);
    NoAnswer { error: kind, message, unreachable: error.is_connect() }
}

/// rustls' error, or the I/O error it comes in, which may be in another one: those show their inside in no chain of sources.
pub(super) fn is_tls(cause: &(dyn std::error::Error + 'static)) -> bool {
    cause.downcast_ref::<rustls::Error>().is_some()
        || cause.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref).is_some_and(|inner| is_tls(inner))
}

/// The bound on connecting.
pub(super) fn is_timeout(cause: &(dyn std::error::Error + 'static)) -> bool {
    cause.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::TimedOut)
}

pub(super) fn chain_of<'a>(error: &'a (dyn std::error::Error + 'static)) -> Vec<&'a (dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error), |error| error.source()).take(16).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_asked_for_in_seconds_or_by_a_date_that_is_not_over() {
        let now = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
        let asked = |value: &str| retry_after(value, now);
        assert_eq!(asked(" 120 "), Some(Duration::from_secs(120)));
        assert_eq!(asked("Sun, 06 Nov 1994 08:50:07 GMT"), Some(Duration::from_secs(30)));
        for nothing in ["Sun, 06 Nov 1994 08:49:07 GMT", "soon", "-1", "1.5", ""] {
            assert_eq!(asked(nothing), None, "{nothing}");
        }
    }
}
