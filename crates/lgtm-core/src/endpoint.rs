//! Where a signal goes: URL, tenant, authentication, headers, certificates, proxy, compression, time-out.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use http::{HeaderMap, HeaderName, HeaderValue};
use url::Url;

use crate::secret::Secret;

/// A backend's address with everything a request to it needs. `Debug` shows no secret.
///
/// Files are read when the pipeline starts, and again on its worker when they change: secrets ([`Secret::from_file`]), authorities
/// and client certificates may rotate while the program runs. What cannot be read or used keeps what was read last, and is told on
/// standard error once.
#[derive(Clone)]
#[non_exhaustive]
pub struct Endpoint {
    /// The base URL, `http` or `https`, without credentials (those move into [`Endpoint::auth`]).
    pub url: Url,
    /// The tenant, sent as `X-Scope-OrgID`. Default: none.
    pub tenant: Option<String>,
    /// Default: [`Auth::None`].
    pub auth: Auth,
    /// Further headers. Values are taken as secrets.
    pub headers: Vec<(HeaderName, Secret)>,
    /// A PEM file with certificate authorities to trust besides the platform's. Default: none.
    pub ca_file: Option<PathBuf>,
    /// Two PEM files by which this client names itself to the backend: its certificate with the chain to the authority, and
    /// the certificate's private key. Default: none.
    pub client_certificate: Option<(PathBuf, PathBuf)>,
    /// By which proxy. Default: [`Proxy::Environment`].
    pub proxy: Proxy,
    /// How the bodies of OTLP are compressed. Loki's push and remote write are in snappy in any case. Default: [`Compression::None`].
    pub compression: Compression,
    /// The bound on one request, from connecting to the last byte of the answer. Default: 10 s.
    pub timeout: Duration,
}

/// How bodies are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Compression {
    /// Not at all: nearby backends are reached for less CPU time so. The default.
    #[default]
    None,
    /// With gzip, on the worker: a quarter or so of the bytes, for backends that are far away or paid by the byte.
    Gzip,
}

/// By which proxy requests go. `Debug` shows no credentials.
#[derive(Clone, Default)]
#[non_exhaustive]
pub enum Proxy {
    /// That of the variables `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY`, in upper or lower case, as they are when
    /// the pipeline starts; none for `localhost` and loopback addresses. The default.
    #[default]
    Environment,
    /// None.
    Direct,
    /// This one: an `http` URL, with credentials if the proxy wants them. Requests over `https`, and gRPC, go through a tunnel
    /// (`CONNECT`).
    At(Url),
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { url, tenant, auth, headers, ca_file, client_certificate, proxy, compression, timeout } = self;
        formatter
            .debug_struct("Endpoint")
            .field("url", &format_args!("{}", shown(url)))
            .field("tenant", tenant)
            .field("auth", auth)
            .field("headers", headers)
            .field("ca_file", ca_file)
            .field("client_certificate", client_certificate)
            .field("proxy", proxy)
            .field("compression", compression)
            .field("timeout", timeout)
            .finish()
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Environment => formatter.write_str("Environment"),
            Self::Direct => formatter.write_str("Direct"),
            Self::At(url) => write!(formatter, "At({})", shown(url)),
        }
    }
}

/// How requests are authenticated.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub enum Auth {
    /// No `Authorization` header.
    #[default]
    None,
    /// HTTP basic authentication.
    Basic {
        /// User name (for Grafana Cloud, the instance number).
        username: String,
        /// Password or token.
        password: Secret,
    },
    /// A bearer token.
    Bearer(Secret),
}

/// An endpoint's setting that cannot work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EndpointError {
    /// Not an absolute http or https URL.
    #[error("`{value}` is not a URL of the form http://host:port or https://host:port ({reason})")]
    Url {
        /// What was given, without credentials.
        value: String,
        /// Why it was refused.
        reason: String,
    },
    /// A tenant or header that HTTP cannot carry.
    #[error("{what} cannot be sent as an HTTP header: visible ASCII characters are accepted")]
    Header {
        /// Which one. Never its value.
        what: String,
    },
    /// A certificate file that cannot be used.
    #[error("CA file `{path}`: {reason}; a PEM file with at least one certificate is accepted")]
    CaFile {
        /// The file.
        path: PathBuf,
        /// Why it was refused.
        reason: String,
    },
    /// A client certificate that cannot be used.
    #[error(
        "client certificate `{path}`: {reason}; PEM files with a certificate and with its private key are accepted"
    )]
    ClientCertificate {
        /// The file.
        path: PathBuf,
        /// Why it was refused.
        reason: String,
    },
    /// A proxy that cannot be used.
    #[error("proxy `{value}`{of}: {reason}; a URL of the form http://host:port is accepted")]
    Proxy {
        /// What was given, without credentials.
        value: String,
        /// Where, if in a variable.
        of: String,
        /// Why it was refused.
        reason: String,
    },
    /// The TLS client could not be set up.
    #[error("TLS: {0}")]
    Tls(String),
}

impl Endpoint {
    /// The endpoint at this URL, with defaults for the rest. Credentials in the URL become basic authentication.
    ///
    /// # Errors
    /// [`EndpointError::Url`] if the text is not an absolute `http` or `https` URL with a host.
    pub fn parse(text: &str) -> Result<Self, EndpointError> {
        let refuse = |reason: &str| EndpointError::Url { value: without_credentials(text), reason: reason.to_owned() };
        let mut url = Url::parse(text.trim()).map_err(|error| refuse(&error.to_string()))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(refuse(&format!("the scheme is `{}`", url.scheme())));
        }
        if url.host_str().is_none_or(str::is_empty) {
            return Err(refuse("no host"));
        }
        let auth = match (url.username(), url.password()) {
            ("", None) => Auth::None,
            (username, password) => Auth::Basic {
                username: percent_decode(username),
                password: Secret::new(percent_decode(password.unwrap_or_default())),
            },
        };
        // Both calls fail only for URLs without a host, refused above.
        let _ = url.set_username("");
        let _ = url.set_password(None);
        Ok(Self {
            url,
            tenant: None,
            auth,
            headers: Vec::new(),
            ca_file: None,
            client_certificate: None,
            proxy: Proxy::default(),
            compression: Compression::default(),
            timeout: Duration::from_secs(10),
        })
    }

    /// Sets the tenant, sent as `X-Scope-OrgID`.
    #[must_use]
    pub fn tenant(mut self, tenant: impl Into<String>) -> Self {
        self.tenant = Some(tenant.into());
        self
    }

    /// Authenticates with user name and password.
    #[must_use]
    pub fn basic_auth(mut self, username: impl Into<String>, password: impl Into<Secret>) -> Self {
        self.auth = Auth::Basic { username: username.into(), password: password.into() };
        self
    }

    /// Authenticates with a bearer token.
    #[must_use]
    pub fn bearer_token(mut self, token: impl Into<Secret>) -> Self {
        self.auth = Auth::Bearer(token.into());
        self
    }

    /// Adds a header to every request.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: impl Into<Secret>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Trusts the certificate authorities of this PEM file besides the platform's.
    #[must_use]
    pub fn ca_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.ca_file = Some(path.into());
        self
    }

    /// Names this client by the certificate in one PEM file and its private key in another (mutual TLS).
    #[must_use]
    pub fn client_certificate(mut self, certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        self.client_certificate = Some((certificate.into(), key.into()));
        self
    }

    /// Sends by this proxy, or by none. Default: that of the environment.
    #[must_use]
    pub fn proxy(mut self, proxy: Proxy) -> Self {
        self.proxy = proxy;
        self
    }

    /// Compresses the bodies of OTLP. Default: not.
    #[must_use]
    pub fn compression(mut self, compression: Compression) -> Self {
        self.compression = compression;
        self
    }

    /// Bounds one request. Default: 10 s.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// The URL with `path` appended if the URL has none of its own.
    #[must_use]
    pub fn url_with_default_path(&self, path: &str) -> Url {
        let mut url = self.url.clone();
        if matches!(url.path(), "" | "/") {
            url.set_path(path);
        }
        url
    }

    /// The URL as it may be shown: some gateways take keys in its query.
    #[must_use]
    pub fn shown_url(&self) -> Url {
        shown(&self.url)
    }

    /// The files that the endpoint's secrets come from.
    pub(crate) fn secret_files(&self) -> impl Iterator<Item = &Path> {
        let of_auth = match &self.auth {
            Auth::Basic { password: secret, .. } | Auth::Bearer(secret) => Some(secret),
            Auth::None => None,
        };
        of_auth.into_iter().chain(self.headers.iter().map(|(_, value)| value)).filter_map(Secret::file)
    }

    /// The files of certificates and their keys.
    pub(crate) fn certificate_files(&self) -> impl Iterator<Item = &Path> {
        let client = self.client_certificate.iter().flat_map(|(certificate, key)| [certificate, key]);
        self.ca_file.iter().chain(client).map(PathBuf::as_path)
    }

    /// Reads the files of the secrets again. The error names the file; secrets behind it are as they were.
    pub(crate) fn read_secrets_again(&mut self) -> Result<(), String> {
        let of_auth = match &mut self.auth {
            Auth::Basic { password: secret, .. } | Auth::Bearer(secret) => Some(secret),
            Auth::None => None,
        };
        for secret in of_auth.into_iter().chain(self.headers.iter_mut().map(|(_, value)| value)) {
            if let Err(error) = secret.read_again() {
                let path = secret.file().unwrap_or(Path::new("")).display();
                return Err(format!("`{path}` cannot be used ({error})"));
            }
        }
        Ok(())
    }

    /// The headers that every request carries, the secret ones marked as sensitive.
    pub(crate) fn header_map(&self) -> Result<HeaderMap, EndpointError> {
        let mut map = HeaderMap::new();
        if let Some(tenant) = &self.tenant {
            map.insert("x-scope-orgid", sensitive(tenant, || format!("tenant `{tenant}`"), false)?);
        }
        match &self.auth {
            Auth::None => {}
            Auth::Basic { username, password } => {
                let pair = format!("{username}:{}", password.reveal());
                let text = format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair));
                map.insert(http::header::AUTHORIZATION, sensitive(&text, || "the password".to_owned(), true)?);
            }
            Auth::Bearer(token) => {
                let text = format!("Bearer {}", token.reveal());
                map.insert(http::header::AUTHORIZATION, sensitive(&text, || "the bearer token".to_owned(), true)?);
            }
        }
        for (name, value) in &self.headers {
            map.insert(name.clone(), sensitive(value.reveal(), || format!("header `{name}`"), true)?);
        }
        Ok(map)
    }
}

fn sensitive(value: &str, what: impl FnOnce() -> String, secret: bool) -> Result<HeaderValue, EndpointError> {
    let mut value = HeaderValue::from_str(value).map_err(|_| EndpointError::Header { what: what() })?;
    value.set_sensitive(secret);
    Ok(value)
}

/// The URL without credentials and without what its query says.
fn shown(url: &Url) -> Url {
    let mut url = url.clone();
    // Both calls fail only for URLs that cannot have credentials.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    if url.query().is_some() {
        url.set_query(Some("***"));
    }
    url.set_fragment(None);
    url
}

/// What may be shown of a URL that does not parse: neither credentials nor a query.
pub(crate) fn without_credentials(text: &str) -> String {
    let scheme = text.split_once("://").map_or("", |(scheme, _)| scheme);
    let (at, query) = (text.rfind('@'), text.find(['?', '#']));
    // What stands between the two may be a password or a key.
    if at > query && query.is_some() {
        return format!("{scheme}://***");
    }
    let shown = match text.rsplit_once('@') {
        Some((_, after)) => format!("{scheme}://***@{after}"),
        None => text.to_owned(),
    };
    match shown.split_once(['?', '#']) {
        Some((before, _)) => format!("{before}?***"),
        None => shown,
    }
}

pub(crate) fn percent_decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        match (first, tail) {
            (b'%', [high, low, after @ ..]) => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => {
                    bytes.push((high << 4) | low);
                    rest = after;
                    continue;
                }
                _ => bytes.push(*first),
            },
            _ => bytes.push(*first),
        }
        rest = tail;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn hex(digit: u8) -> Option<u8> {
    crate::ids::hex_digit(digit.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_show_in_neither_debug_nor_errors() {
        let endpoint = Endpoint::parse("https://user:hunter2@loki.example/")
            .unwrap()
            .bearer_token("tok-123")
            .header(HeaderName::from_static("x-key"), "key-456")
            .tenant("team");
        let proxy = Proxy::At("http://me:hunter2@proxy:1".parse().unwrap());
        let endpoint =
            Endpoint { url: "https://loki.example/?key=key-456#tok-123".parse().unwrap(), ..endpoint }.proxy(proxy);
        let wrong = [
            "htt p://user:hunter2@x",
            "user:hunter2@x",
            "htt p://x/?key=key-456",
            "htt p://user:hun?ter2@x/?key-456",
            "ftp://user:hunter2@x?key-456",
        ];
        let errors: Vec<_> = wrong.iter().map(|text| Endpoint::parse(text).unwrap_err().to_string()).collect();
        let shown = format!("{endpoint:?} {endpoint:#?} {errors:?}");
        for secret in ["hunter2", "ter2", "tok-123", "key-456"] {
            assert!(!shown.contains(secret), "{shown}");
        }
        assert!(!format!("{:?}", endpoint.header_map().unwrap()).contains("tok-123"));
    }

    #[test]
    fn credentials_of_the_url_become_basic_authentication() {
        let endpoint = Endpoint::parse("http://us%40er:p%3Aw@localhost:3100").unwrap();
        assert_eq!(endpoint.url.as_str(), "http://localhost:3100/");
        let Auth::Basic { username, password } = &endpoint.auth else { panic!("{:?}", endpoint.auth) };
        assert_eq!((username.as_str(), password.reveal()), ("us@er", "p:w"));
        assert_eq!(endpoint.header_map().unwrap()["authorization"], "Basic dXNAZXI6cDp3");
    }

    #[test]
    fn a_wrong_url_is_an_error_that_names_value_and_form() {
        for (text, part) in [("localhost:3100", "scheme is `localhost`"), ("", "relative URL"), ("http://", "host")] {
            let error = Endpoint::parse(text).unwrap_err().to_string();
            assert!(error.contains(part) && error.contains("http://host:port"), "{text}: {error}");
        }
    }

    #[test]
    fn a_path_of_the_url_is_kept() {
        let url = |text: &str| Endpoint::parse(text).unwrap().url_with_default_path("/api/v1/push").to_string();
        assert_eq!(url("http://localhost:9009"), "http://localhost:9009/api/v1/push");
        assert_eq!(url("http://localhost:9090/api/v1/write"), "http://localhost:9090/api/v1/write");
    }
}
