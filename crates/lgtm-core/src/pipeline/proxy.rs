//! By which proxy an endpoint is reached. Runs once, at the start; pure but for the look at the environment.

use base64::Engine as _;
use http::HeaderValue;
use hyper_util::client::proxy::matcher::Matcher;
use url::{Host, Url};

use crate::endpoint::{EndpointError, Proxy, percent_decode, without_credentials};

/// A proxy, and what it wants to see.
#[derive(Clone, Debug)]
pub(super) struct Via {
    /// `http://host:port`, without credentials.
    pub(super) url: Url,
    pub(super) authorization: Option<HeaderValue>,
}

impl Via {
    /// The proxy to this address, if there is one.
    pub(super) fn choose(proxy: &Proxy, target: &Url) -> Result<Option<Self>, EndpointError> {
        match proxy {
            Proxy::Direct => Ok(None),
            Proxy::At(url) => Self::at(url.as_str(), "").map(Some),
            Proxy::Environment => Self::of_environment(target, |name| std::env::var(name).ok()),
        }
    }

    fn of_environment(target: &Url, lookup: impl Fn(&str) -> Option<String>) -> Result<Option<Self>, EndpointError> {
        if is_loopback(target) {
            return Ok(None);
        }
        let set = |name: &str| lookup(name).filter(|value| !value.trim().is_empty());
        let first = |names: &[&'static str]| names.iter().find_map(|name| set(name).map(|value| (*name, value)));
        let names: &[&str] = match target.scheme() {
            "https" => &["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"],
            // A web server's CGI program gets a request's header `Proxy` in HTTP_PROXY.
            _ if set("REQUEST_METHOD").is_some() => &["http_proxy", "all_proxy", "ALL_PROXY"],
            _ => &["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"],
        };
        let Some((name, value)) = first(names) else { return Ok(None) };
        let excluded = first(&["no_proxy", "NO_PROXY"]).map(|(_, list)| list).unwrap_or_default();
        // Only the list is asked: any proxy does.
        let matcher = Matcher::builder().all("http://proxy").no(excluded).build();
        let uri = target.as_str().parse();
        if uri.is_ok_and(|uri| matcher.intercept(&uri).is_none()) {
            return Ok(None);
        }
        Self::at(&value, &format!(" (from {name})")).map(Some)
    }

    fn at(value: &str, of: &str) -> Result<Self, EndpointError> {
        let value = value.trim();
        let refuse =
            |reason: String| EndpointError::Proxy { value: without_credentials(value), of: of.to_owned(), reason };
        // `proxy:3128` is what many people write.
        let text = if value.contains("://") { value.to_owned() } else { format!("http://{value}") };
        let mut url = Url::parse(&text).map_err(|error| refuse(error.to_string()))?;
        if url.scheme() != "http" {
            return Err(refuse(format!("the scheme is `{}`", url.scheme())));
        }
        if url.host_str().is_none_or(str::is_empty) {
            return Err(refuse("no host".to_owned()));
        }
        let authorization = match (url.username(), url.password()) {
            ("", None) => None,
            (username, password) => {
                let pair = format!("{}:{}", percent_decode(username), percent_decode(password.unwrap_or_default()));
                let text = format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair));
                let mut value = HeaderValue::try_from(text).map_err(|error| refuse(error.to_string()))?;
                value.set_sensitive(true);
                Some(value)
            }
        };
        // Both calls fail only for URLs without a host, refused above.
        let _ = url.set_username("");
        let _ = url.set_password(None);
        Ok(Self { url, authorization })
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

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(target: &str, variables: &[(&str, &str)]) -> Result<Option<String>, String> {
        let lookup =
            |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        Via::of_environment(&Url::parse(target).unwrap(), lookup)
            .map(|via| via.map(|via| via.url.to_string()))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn the_variables_choose_by_scheme_and_host() {
        let proxies = [
            ("HTTP_PROXY", "http://plain:1"),
            ("https_proxy", "secure:2"),
            ("NO_PROXY", "internal.example,10.0.0.0/8,.svc"),
        ];
        let via = |target: &str| chosen(target, &proxies).unwrap();
        assert_eq!(via("http://loki.example:3100").as_deref(), Some("http://plain:1/"));
        assert_eq!(via("https://loki.example").as_deref(), Some("http://secure:2/"));
        for direct in [
            "https://internal.example",
            "https://loki.internal.example",
            "http://10.1.2.3:3100",
            "http://loki.monitoring.svc",
            "http://localhost:3100",
            "http://127.0.0.1:3100",
            "http://[::1]:3100",
        ] {
            assert_eq!(via(direct), None, "{direct}");
        }
        assert_eq!(chosen("https://loki.example", &[]), Ok(None));
        assert_eq!(chosen("https://loki.example", &[("HTTPS_PROXY", " ")]), Ok(None));
        assert_eq!(chosen("https://a.example", &[("ALL_PROXY", "p:3")]), Ok(Some("http://p:3/".to_owned())));
        assert_eq!(chosen("https://a.example", &[("ALL_PROXY", "p:3"), ("no_proxy", "*")]), Ok(None));
        let cgi = [("HTTP_PROXY", "http://evil:1"), ("REQUEST_METHOD", "GET")];
        assert_eq!(chosen("http://loki.example", &cgi), Ok(None));
    }

    #[test]
    fn a_proxy_that_cannot_work_is_an_error_without_its_password() {
        for (wrong, part) in [("socks5://me:hunter2@p:1", "socks5"), ("http://", "empty host"), ("ht tp://x", "ht tp")]
        {
            let error = chosen("https://loki.example", &[("HTTPS_PROXY", wrong)]).unwrap_err();
            assert!(
                error.contains(part) && error.contains("HTTPS_PROXY") && error.contains("http://host:port"),
                "{error}"
            );
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn credentials_become_a_header_that_is_not_shown() {
        let via = Via::at("http://us%40er:hunter2@proxy:3128", "").unwrap();
        assert_eq!(via.authorization.as_ref().unwrap(), "Basic dXNAZXI6aHVudGVyMg==");
        assert!(!format!("{via:?}").contains("hunter2") && !format!("{via:?}").contains("dXNA"));
    }
}
