//! HTTP delivery: the only module, besides `grpc.rs`, that touches the network. Worker thread.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use rustls_platform_verifier::Verifier;
use url::Url;

use super::answer::Reply;
use crate::accounting::ErrorType;
use crate::endpoint::{Endpoint, EndpointError, ca_error};

/// Bytes of an answer that are read; the rest is not.
const ANSWER_LIMIT: usize = 64 * 1024;

/// Sends requests to one URL.
pub(super) struct HttpDelivery {
    client: reqwest::Client,
    url: Url,
    headers: HeaderMap,
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
        default_path: &str,
        headers: &[(HeaderName, HeaderValue)],
    ) -> Result<Self, EndpointError> {
        let mut map = endpoint.header_map()?;
        for (name, value) in headers {
            map.insert(name.clone(), value.clone());
        }
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls_config(endpoint)?)
            .redirect(reqwest::redirect::Policy::none())
            .timeout(endpoint.timeout)
            .connect_timeout(endpoint.timeout.min(Duration::from_secs(5)))
            .pool_idle_timeout(Duration::from_secs(50))
            .pool_max_idle_per_host(2)
            .user_agent(concat!("lgtm/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| EndpointError::Tls(error.to_string()))?;
        Ok(Self { client, url: endpoint.url_with_default_path(default_path), headers: map })
    }

    pub(super) async fn send(&self, body: Bytes, attempt: u32) -> Result<Reply, NoAnswer> {
        let mut request = self.client.post(self.url.clone()).headers(self.headers.clone()).body(body);
        if attempt > 1 {
            // Mimir scales its Retry-After by it.
            request = request.header("retry-attempt", attempt - 1);
        }
        let mut response = request.send().await.map_err(|error| no_answer(&error))?;
        let status = response.status().as_u16();
        let retry_after = response
            .headers()
            .get(http::header::RETRY_AFTER)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| retry_after(value, SystemTime::now()));
        let mut answer = Vec::new();
        while answer.len() < ANSWER_LIMIT {
            match response.chunk().await {
                Ok(Some(part)) => {
                    let room = ANSWER_LIMIT - answer.len();
                    answer.extend_from_slice(part.get(..room.min(part.len())).unwrap_or_default());
                }
                Ok(None) => break,
                // The status is known; a body that breaks off changes nothing about it.
                Err(_) => break,
            }
        }
        Ok(Reply::Http { status, retry_after, body: answer })
    }
}

/// Seconds or a date (RFC 9110, section 10.2.3); a date that is over asks for nothing.
fn retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    match value.parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => httpdate::parse_http_date(value).ok()?.duration_since(now).ok(),
    }
}

/// One explicit provider: two in the tree would make rustls panic when asked for its default.
fn tls_config(endpoint: &Endpoint) -> Result<rustls::ClientConfig, EndpointError> {
    let failed = |error: rustls::Error| EndpointError::Tls(error.to_string());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut extra = Vec::new();
    if let (Some(pem), Some(path)) = (endpoint.ca_pem()?, &endpoint.ca_file) {
        for certificate in CertificateDer::pem_slice_iter(&pem) {
            extra.push(certificate.map_err(|error| ca_error(path, &error.to_string()))?);
        }
        if extra.is_empty() {
            return Err(ca_error(path, "it has no certificate"));
        }
    }
    let builder = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(failed)?;
    if endpoint.url.scheme() == "http" {
        // No handshake will happen: the platform's roots need not be there.
        return Ok(builder.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth());
    }
    let verifier = Verifier::new_with_extra_roots(extra, provider).map_err(failed)?;
    Ok(builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier)).with_no_client_auth())
}

fn no_answer(error: &reqwest::Error) -> NoAnswer {
    let chain = chain_of(error);
    let kind = if chain.iter().any(|cause| is_tls(*cause)) {
        ErrorType::Tls
    } else if error.is_timeout() {
        ErrorType::Timeout
    } else {
        ErrorType::Connect
    };
    // The error's own text carries the URL; the last cause says why.
    let message = chain.last().map_or_else(|| "no answer".to_owned(), ToString::to_string);
    NoAnswer { error: kind, message, unreachable: error.is_connect() }
}

/// rustls' error, or the I/O error it comes in.
pub(super) fn is_tls(cause: &(dyn std::error::Error + 'static)) -> bool {
    cause.downcast_ref::<rustls::Error>().is_some()
        || cause
            .downcast_ref::<std::io::Error>()
            .and_then(std::io::Error::get_ref)
            .is_some_and(|inner| inner.downcast_ref::<rustls::Error>().is_some())
}

pub(super) fn chain_of<'a>(error: &'a (dyn std::error::Error + 'static)) -> Vec<&'a (dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error), |error| error.source()).take(16).collect()
}
