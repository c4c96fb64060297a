//! URLs and queries as they may be shown: without credentials, and without the values of secret parameters. Nothing is copied
//! before it is written. Source: OpenTelemetry's semantic conventions, `url.full` and `url.query`.

use std::fmt;

use http::Uri;
use lgtm_core::redaction::is_redacted;
use percent_encoding::percent_decode_str;

/// What stands for what is not shown.
const REDACTED: &str = "REDACTED";

/// Parameters that sign URLs of object stores: the list of the conventions, told apart by case.
const SIGNATURES: [&str; 7] = [
    "X-Amz-Signature",
    "X-Amz-Credential",
    "X-Amz-Security-Token",
    "AWSAccessKeyId",
    "Signature",
    "sig",
    "X-Goog-Signature",
];

/// What spans show of the query of a URL.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum QueryDisplay {
    /// All, but `REDACTED` in the place of values whose names stand for secrets: those of lgtm's
    /// [list](lgtm_core::redaction), and signatures such as `X-Amz-Signature` and `sig`.
    #[default]
    Redacted,
    /// The names of the parameters, and `REDACTED` in the place of every value.
    Names,
    /// Nothing.
    Omitted,
}

/// A query, without its question mark.
#[derive(Clone, Copy)]
pub(crate) struct Query<'a> {
    query: &'a str,
    display: QueryDisplay,
}

impl<'a> Query<'a> {
    /// `None` if there is nothing to show.
    pub(crate) fn new(query: Option<&'a str>, display: QueryDisplay) -> Option<Self> {
        let query = query.filter(|query| !query.is_empty() && display != QueryDisplay::Omitted)?;
        Some(Self { query, display })
    }
}

impl fmt::Display for Query<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, parameter) in self.query.split('&').enumerate() {
            if place > 0 {
                formatter.write_str("&")?;
            }
            match parameter.split_once('=') {
                Some((name, _)) if self.display == QueryDisplay::Names || is_secret(name) => {
                    write!(formatter, "{name}={REDACTED}")?;
                }
                Some(_) => formatter.write_str(parameter)?,
                // A value without a name may be anything, a token too.
                None if self.display == QueryDisplay::Names => formatter.write_str(REDACTED)?,
                None => formatter.write_str(parameter)?,
            }
        }
        Ok(())
    }
}

fn is_secret(name: &str) -> bool {
    if name.contains('%') {
        let name = percent_decode_str(name).decode_utf8_lossy();
        return SIGNATURES.contains(&&*name) || is_redacted(&name);
    }
    SIGNATURES.contains(&name) || is_redacted(name)
}

/// An absolute URL.
#[derive(Clone, Copy)]
pub(crate) struct FullUrl<'a> {
    pub(crate) scheme: &'a str,
    pub(crate) has_credentials: bool,
    pub(crate) host: &'a str,
    pub(crate) port: Option<u16>,
    pub(crate) path: &'a str,
    pub(crate) query: Option<Query<'a>>,
}

impl<'a> FullUrl<'a> {
    /// `host` is that of the `Host` header, where the URI has none.
    pub(crate) fn of_uri(uri: &'a Uri, host: Option<&'a str>, display: QueryDisplay) -> Self {
        let (host, port) = match uri.authority() {
            Some(authority) => (authority.host(), authority.port_u16()),
            None => host.map_or(("", None), split_host),
        };
        Self {
            scheme: uri.scheme_str().unwrap_or("http"),
            has_credentials: uri.authority().is_some_and(|authority| authority.as_str().contains('@')),
            host,
            port,
            path: uri.path(),
            query: Query::new(uri.query(), display),
        }
    }

    /// The port, or the usual one of the scheme.
    pub(crate) fn port_or_usual(&self) -> Option<u16> {
        self.port.or(match self.scheme {
            "http" => Some(80),
            "https" => Some(443),
            _ => None,
        })
    }

    /// The host as an address: that of IPv6 without brackets.
    pub(crate) fn address(&self) -> Option<&'a str> {
        address(self.host)
    }
}

impl fmt::Display for FullUrl<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}://", self.scheme)?;
        if self.has_credentials {
            write!(formatter, "{REDACTED}:{REDACTED}@")?;
        }
        formatter.write_str(self.host)?;
        if let Some(port) = self.port {
            write!(formatter, ":{port}")?;
        }
        formatter.write_str(self.path)?;
        match self.query {
            Some(query) => write!(formatter, "?{query}"),
            None => Ok(()),
        }
    }
}

/// Host and port of a `Host` header.
pub(crate) fn split_host(text: &str) -> (&str, Option<u16>) {
    let text = text.trim();
    // Whatever stands before an `@` is not the host's.
    let text = text.rsplit_once('@').map_or(text, |(_, host)| host);
    match text.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && (host.ends_with(']') || !host.contains(':')) => {
            (host, port.parse().ok())
        }
        _ => (text, None),
    }
}

/// An IPv6 address without its brackets; `None` if there is nothing.
pub(crate) fn address(host: &str) -> Option<&str> {
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    (!host.is_empty()).then_some(host)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn full(uri: &str) -> String {
        FullUrl::of_uri(&uri.parse().unwrap(), None, QueryDisplay::default()).to_string()
    }

    fn query(text: &str, display: QueryDisplay) -> Option<String> {
        Query::new(Some(text), display).map(|query| query.to_string())
    }

    #[test]
    fn credentials_never_show() {
        assert_eq!(
            full("https://ada:secret@example.com:8443/a?b=1"),
            "https://REDACTED:REDACTED@example.com:8443/a?b=1"
        );
        assert_eq!(full("http://token@example.com/"), "http://REDACTED:REDACTED@example.com/");
        assert_eq!(split_host("ada:secret@example.com:80"), ("example.com", Some(80)));
    }

    #[test]
    fn values_of_secret_parameters_do_not_show_and_the_others_do() {
        let text = "color=blue&sig=abc&access_token=x&pass%77ord=y&X-Amz-Signature=z&flag&token";
        let expected =
            "color=blue&sig=REDACTED&access_token=REDACTED&pass%77ord=REDACTED&X-Amz-Signature=REDACTED&flag&token";
        assert_eq!(query(text, QueryDisplay::Redacted).as_deref(), Some(expected));
        let expected = "color=REDACTED&REDACTED";
        assert_eq!(query("color=blue&flag", QueryDisplay::Names).as_deref(), Some(expected));
        assert_eq!(query("color=blue", QueryDisplay::Omitted), None);
        assert_eq!(query("", QueryDisplay::Redacted), None);
    }

    #[test]
    fn a_host_is_split_from_its_port() {
        for (text, expected) in [
            ("example.com", ("example.com", None)),
            ("example.com:8080", ("example.com", Some(8080))),
            ("[::1]:80", ("[::1]", Some(80))),
            ("[::1]", ("[::1]", None)),
            ("::1", ("::1", None)),
            ("host:word", ("host", None)),
            ("", ("", None)),
        ] {
            assert_eq!(split_host(text), expected, "{text}");
        }
        assert_eq!((address("[::1]"), address("::1"), address("")), (Some("::1"), Some("::1"), None));
    }

    #[test]
    fn the_usual_port_of_the_scheme_stands_for_an_absent_one() {
        let port = |uri: &str| FullUrl::of_uri(&uri.parse().unwrap(), None, QueryDisplay::Omitted).port_or_usual();
        assert_eq!((port("http://a/"), port("https://a/"), port("https://a:1/")), (Some(80), Some(443), Some(1)));
        let uri: Uri = "/path".parse().unwrap();
        let url = FullUrl::of_uri(&uri, Some("[::1]:3000"), QueryDisplay::Omitted);
        assert_eq!((url.to_string().as_str(), url.address()), ("http://[::1]:3000/path", Some("::1")));
    }

    proptest! {
        #[test]
        fn the_value_of_a_secret_shows_nowhere(before: String, secret in "[a-z]{12}", after: String) {
            let text = format!("{before}&token={secret}&{after}");
            // What the surroundings say by chance says nothing of the token.
            prop_assume!(!before.contains(&secret) && !after.contains(&secret));
            for display in [QueryDisplay::Redacted, QueryDisplay::Names] {
                prop_assert!(!query(&text, display).unwrap().contains(&secret));
            }
        }

        #[test]
        fn parameters_that_are_no_secrets_show_as_they_are(text in "[a-z]{1,8}=[a-zA-Z0-9%+=]{0,20}(&x[0-9]=[^&]{0,20}){0,5}") {
            prop_assume!(!is_secret(text.split('=').next().unwrap()));
            prop_assert_eq!(query(&text, QueryDisplay::Redacted), Some(text));
        }

        #[test]
        fn no_host_panics_and_its_port_is_a_number(text: String) {
            let (host, port) = split_host(&text);
            prop_assert!(text.contains(host) && (port.is_none() || host.len() < text.len()));
        }
    }
}
