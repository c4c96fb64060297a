//! One HTTP client for one base URL: joins paths, sends, reads bodies up to a limit, and turns every refusal into an [`Error`].
//! Runs in the caller's tokio runtime.

use std::fmt;
use std::time::Duration;

use reqwest::header::{ACCEPT, HeaderMap, HeaderValue};
use reqwest::redirect;
use serde::de::DeserializeOwned;
use url::{Host, Url};

use crate::auth::{self, Auth};
use crate::error::{MAX_MESSAGE_BYTES, one_line};
use crate::{Error, tls};

/// The longest URL that an error shows, in bytes.
const MAX_SHOWN_URL_BYTES: usize = 512;

/// Settings of a [`Client`]. Made by [`Client::builder`].
#[derive(Clone)]
pub struct ClientBuilder {
    url: String,
    tenant: Option<String>,
    auth: Option<Auth>,
    timeout: Duration,
    max_response_bytes: usize,
    roots_pem: Option<Vec<u8>>,
}

impl fmt::Debug for ClientBuilder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ClientBuilder")
            .field("url", &without_secrets(&self.url))
            .field("tenant", &self.tenant)
            .field("auth", &self.auth)
            .field("timeout", &self.timeout)
            .field("max_response_bytes", &self.max_response_bytes)
            .finish_non_exhaustive()
    }
}

impl ClientBuilder {
    /// The tenant, sent as `X-Scope-OrgID`. Defaults to none.
    #[must_use]
    pub fn tenant(mut self, tenant: impl Into<String>) -> Self {
        self.tenant = Some(tenant.into());
        self
    }

    /// Basic authentication. Replaces a bearer token and the URL's user info. Defaults to the URL's user info, if it has any.
    #[must_use]
    pub fn basic_auth(mut self, username: impl Into<String>, password: impl Into<String>) -> Self {
        self.auth = Some(Auth::Basic { username: username.into(), password: password.into() });
        self
    }

    /// A bearer token. Replaces basic authentication. Defaults to none.
    #[must_use]
    pub fn bearer_token(mut self, token: impl Into<String>) -> Self {
        self.auth = Some(Auth::Bearer(token.into()));
        self
    }

    /// How long one query may take, from connecting to the last byte of the answer. Defaults to 10 s.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// The longest answer that is read, in bytes; a longer one is [`Error::TooLarge`]. Defaults to 64 MiB.
    #[must_use]
    pub fn max_response_bytes(mut self, limit: usize) -> Self {
        self.max_response_bytes = limit;
        self
    }

    /// The root certificates to trust in place of the platform's, as PEM text with one or more certificates.
    /// Defaults to the platform's.
    #[must_use]
    pub fn root_certificates_pem(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.roots_pem = Some(pem.into());
        self
    }

    /// Makes the client. Connects to nothing yet.
    ///
    /// # Errors
    /// [`Error::InvalidUrl`], [`Error::InvalidHeader`], and [`Error::Tls`] when the root certificates cannot be read.
    pub fn build(self) -> Result<Client, Error> {
        let (base, url_auth) = parse_base(&self.url)?;
        let auth = self.auth.or(url_auth).unwrap_or_default();
        let tls_error = |reason| Error::Tls { url: base.to_string(), reason };
        let tls = match base.scheme() {
            "https" => tls::client_config(self.roots_pem.as_deref()),
            _ => tls::no_tls(),
        };
        let mut http = reqwest::Client::builder()
            .tls_backend_preconfigured(tls.map_err(tls_error)?)
            .default_headers(auth::headers(self.tenant.as_deref(), &auth)?)
            .timeout(self.timeout)
            // Credentials and the tenant go to the configured host only.
            .redirect(redirect::Policy::none())
            .user_agent(concat!("lgtm-query/", env!("CARGO_PKG_VERSION")));
        if is_loopback(&base) {
            http = http.no_proxy();
        }
        let http = http.build().map_err(|error| tls_error(causes(&error)))?;
        Ok(Client {
            http,
            base,
            tenant: self.tenant,
            auth,
            timeout: self.timeout,
            max_response_bytes: self.max_response_bytes,
            roots_pem: self.roots_pem,
        })
    }
}

/// A connection pool to one backend. Cloning is cheap and shares the pool.
///
/// Redirects are not followed; they are an [`Error::Status`] that names the target. A proxy from the environment is used, except
/// for loopback addresses.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
    tenant: Option<String>,
    auth: Auth,
    timeout: Duration,
    max_response_bytes: usize,
    roots_pem: Option<Vec<u8>>,
}

impl fmt::Debug for Client {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Client")
            .field("url", &self.base.as_str())
            .field("tenant", &self.tenant)
            .field("auth", &self.auth)
            .field("timeout", &self.timeout)
            .field("max_response_bytes", &self.max_response_bytes)
            .finish_non_exhaustive()
    }
}

/// An answer with status 200, or one that the caller said it wants to see.
pub(crate) struct Answer {
    pub(crate) url: String,
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

impl Client {
    /// Settings for the backend at `url`: scheme, host, optionally a port and a path prefix (Mimir's query API is under
    /// `http://localhost:9009/prometheus`). User info in the URL becomes basic authentication.
    pub fn builder(url: impl Into<String>) -> ClientBuilder {
        ClientBuilder {
            url: url.into(),
            tenant: None,
            auth: None,
            timeout: Duration::from_secs(10),
            max_response_bytes: 64 << 20,
            roots_pem: None,
        }
    }

    pub(crate) fn timeout(&self) -> Duration {
        self.timeout
    }

    pub(crate) fn max_response_bytes(&self) -> usize {
        self.max_response_bytes
    }

    /// The headers that every request carries, for connections that are not this client's own.
    pub(crate) fn headers(&self) -> Result<HeaderMap, Error> {
        auth::headers(self.tenant.as_deref(), &self.auth)
    }

    /// The TLS configuration, for connections that are not this client's own.
    pub(crate) fn tls(&self) -> Result<rustls::ClientConfig, Error> {
        tls::client_config(self.roots_pem.as_deref())
            .map_err(|reason| Error::Tls { url: self.base.to_string(), reason })
    }

    /// The base URL, without credentials.
    pub fn url(&self) -> &Url {
        &self.base
    }

    /// A page of the server as text: `["metrics"]` for what it measures of itself, `["config"]` for Loki's settings.
    ///
    /// # Errors
    /// Every [`Error`] of a query.
    pub async fn page(&self, segments: &[&str]) -> Result<String, Error> {
        let answer = self.get(self.join(segments, &[]), HeaderMap::new(), &[]).await?;
        String::from_utf8(answer.body.clone()).map_err(|error| answer.undecodable(error.to_string()))
    }

    /// The URL of `segments` under the base path, with `parameters` as its query. Segments are escaped.
    pub(crate) fn join(&self, segments: &[&str], parameters: &[(&str, String)]) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(segments);
        }
        if !parameters.is_empty() {
            url.query_pairs_mut().extend_pairs(parameters);
        }
        url
    }

    /// Sends a GET and reads the whole answer. Status 200 and those in `expected` are answers, all others are errors.
    pub(crate) async fn get(&self, url: Url, headers: HeaderMap, expected: &[u16]) -> Result<Answer, Error> {
        let shown = one_line(url.as_str(), MAX_SHOWN_URL_BYTES);
        let failed = |error: reqwest::Error| {
            if error.is_timeout() {
                Error::Timeout { url: shown.clone(), after: self.timeout }
            } else {
                Error::Transport { url: shown.clone(), reason: causes(&error.without_url()) }
            }
        };
        let request = self.http.get(url).header(ACCEPT, HeaderValue::from_static("application/json")).headers(headers);
        let mut response = request.send().await.map_err(failed)?;
        let status = response.status().as_u16();
        let wanted = status == 200 || expected.contains(&status);
        let limit = if wanted { self.max_response_bytes } else { 16 * MAX_MESSAGE_BYTES };
        let mut body = Vec::new();
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) if body.len() + chunk.len() > limit => {
                    if wanted {
                        return Err(Error::TooLarge { url: shown, status, limit_bytes: limit });
                    }
                    body.extend_from_slice(&chunk[..limit - body.len()]);
                    break;
                }
                Ok(Some(chunk)) => body.extend_from_slice(&chunk),
                Ok(None) => break,
                // A refusal whose explanation is cut off is still a refusal with a status.
                Err(_) if !wanted => break,
                Err(error) => return Err(failed(error)),
            }
        }
        if wanted {
            return Ok(Answer { url: shown, status, body });
        }
        let mut message = server_message(&body);
        if let Some(target) = response.headers().get("location").filter(|_| (300..400).contains(&status)) {
            let target = without_secrets(&String::from_utf8_lossy(target.as_bytes()));
            message = format!("redirected to {}, which is not followed", one_line(&target, MAX_SHOWN_URL_BYTES));
        }
        Err(Error::Status { url: shown, status, message })
    }

    /// Whether the readiness endpoint at `segments` answers 200. 503 is `false`.
    pub(crate) async fn is_ready(&self, segments: &[&str]) -> Result<bool, Error> {
        let answer = self.get(self.join(segments, &[]), HeaderMap::new(), &[503]).await?;
        Ok(answer.status == 200)
    }
}

impl Answer {
    /// The body as JSON.
    pub(crate) fn json<T: DeserializeOwned>(&self) -> Result<T, Error> {
        serde_json::from_slice(&self.body).map_err(|error| self.undecodable(error.to_string()))
    }

    pub(crate) fn undecodable(&self, reason: String) -> Error {
        let excerpt = String::from_utf8_lossy(&self.body[..self.body.len().min(256)]);
        Error::Decode {
            url: self.url.clone(),
            status: self.status,
            reason,
            excerpt: if excerpt.is_empty() { "(empty)".to_owned() } else { one_line(&excerpt, 200) },
        }
    }
}

/// The server's own words: the `error` or `message` of a JSON object, else the text.
fn server_message(body: &[u8]) -> String {
    #[derive(serde::Deserialize)]
    struct Refusal {
        #[serde(rename = "errorType", default)]
        kind: Option<String>,
        #[serde(alias = "message")]
        error: String,
    }
    let text = match serde_json::from_slice::<Refusal>(body) {
        Ok(Refusal { kind: Some(kind), error }) => format!("{kind}: {error}"),
        Ok(Refusal { kind: None, error }) => error,
        Err(_) => String::from_utf8_lossy(body).into_owned(),
    };
    let line = one_line(&text, MAX_MESSAGE_BYTES);
    if line.is_empty() { "(no message)".to_owned() } else { line }
}

fn parse_base(text: &str) -> Result<(Url, Option<Auth>), Error> {
    let refused = |reason: &str| Error::InvalidUrl { value: without_secrets(text), reason: reason.to_owned() };
    let mut url = Url::parse(text).map_err(|error| refused(&error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(refused("its scheme is neither http nor https"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(refused("it has a query or a fragment"));
    }
    let auth = (!url.username().is_empty() || url.password().is_some()).then(|| Auth::Basic {
        username: percent_decode(url.username()),
        password: percent_decode(url.password().unwrap_or_default()),
    });
    // Fails only for URLs without a host, which http and https cannot be.
    let cleared = url.set_username("").and_then(|()| url.set_password(None));
    cleared.map_err(|()| refused("it has no host"))?;
    Ok((url, auth))
}

fn percent_decode(text: &str) -> String {
    // A form gives `+` and `&` a meaning that they do not have in user info.
    let pair = format!("v={}", text.replace('+', "%2B").replace('&', "%26"));
    url::form_urlencoded::parse(pair.as_bytes()).next().map(|(_, value)| value.into_owned()).unwrap_or_default()
}

/// `url` as far as it may be shown, parseable or not: without user info, query and fragment.
fn without_secrets(url: &str) -> String {
    let shown = url.split(['?', '#']).next().unwrap_or_default();
    match (shown.find("://"), shown.rfind('@')) {
        (Some(scheme), Some(at)) if at > scheme => {
            format!("{}***{}", &shown[..scheme + 3], &shown[at..])
        }
        (None, Some(at)) => format!("***{}", &shown[at..]),
        _ => shown.to_owned(),
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// The error and its causes on one line; reqwest's own text names only the outermost.
pub(crate) fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    one_line(&text, MAX_MESSAGE_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_info_becomes_basic_auth_and_is_never_shown() {
        let builder = Client::builder("http://ann:hunter%402+&3@localhost:9009/prometheus/");
        assert!(!format!("{builder:?}").contains("hunter"), "{builder:?}");
        let client = builder.build().unwrap();
        assert_eq!(client.url().as_str(), "http://localhost:9009/prometheus/");
        assert!(!format!("{client:?}").contains("hunter"), "{client:?}");
        match client.auth {
            Auth::Basic { username, password } => {
                assert_eq!((username.as_str(), password.as_str()), ("ann", "hunter@2+&3"))
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_path_prefix_is_kept_with_and_without_a_slash() {
        for base in ["http://h/prometheus", "http://h/prometheus/"] {
            let client = Client::builder(base).build().unwrap();
            assert_eq!(client.join(&["api", "v1", "a/b"], &[]).as_str(), "http://h/prometheus/api/v1/a%2Fb");
        }
    }

    #[test]
    fn an_unusable_url_is_named_without_its_password() {
        for url in
            ["ftp://ann:hunter2@h", "http://ann:hunter2@", "ann:hunter2@h:1", "http://ann:hunter2@h/?token=hunter2"]
        {
            let text = Client::builder(url).build().unwrap_err().to_string();
            assert!(text.contains("accepted: http://"), "{text}");
            assert!(!text.contains("hunter2"), "{text}");
        }
    }

    #[test]
    fn https_needs_no_process_wide_provider() {
        let built = Client::builder("https://localhost:1").build();
        // A machine without any trusted root is a named error.
        assert!(matches!(built, Ok(_) | Err(Error::Tls { .. })), "{built:?}");
        assert!(rustls::crypto::CryptoProvider::get_default().is_none());
    }
}
