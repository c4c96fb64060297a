//! Who is at the other end: the connection's address, and what proxies say of the caller. Caller threads.
//! Source: RFC 7239, `Forwarded`.

use std::net::SocketAddr;

use http::{Extensions, HeaderMap};

use crate::url::{address, split_host};

/// The address of the connection's other end, for servers that keep it nowhere else: put it into the extensions of requests.
/// axum's `ConnectInfo<SocketAddr>` and tonic's `TcpConnectInfo` are found without it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerAddress(pub SocketAddr);

pub(crate) fn peer(extensions: &Extensions) -> Option<SocketAddr> {
    #[cfg(feature = "axum")]
    if let Some(axum::extract::ConnectInfo(address)) = extensions.get::<axum::extract::ConnectInfo<SocketAddr>>() {
        return Some(*address);
    }
    #[cfg(feature = "tonic")]
    if let Some(connection) = extensions.get::<tonic::transport::server::TcpConnectInfo>() {
        return connection.remote_addr;
    }
    extensions.get::<PeerAddress>().map(|peer| peer.0)
}

/// What proxies say of the request as the caller has sent it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Forwarded<'a> {
    pub(crate) client: Option<&'a str>,
    pub(crate) host: Option<&'a str>,
    pub(crate) scheme: Option<&'a str>,
}

impl<'a> Forwarded<'a> {
    /// `Forwarded` wins over the older `X-Forwarded-` headers. Of a list the first element counts: the nearest to the caller.
    pub(crate) fn of(headers: &'a HeaderMap) -> Self {
        let first = |name: &str| {
            let text = headers.get(name)?.to_str().ok()?;
            text.split(',').next().map(str::trim).filter(|text| !text.is_empty())
        };
        let mut forwarded = Self {
            client: first("x-forwarded-for").and_then(client),
            host: first("x-forwarded-host"),
            scheme: first("x-forwarded-proto"),
        };
        for pair in first("forwarded").into_iter().flat_map(|element| element.split(';')) {
            let Some((name, value)) = pair.split_once('=') else { continue };
            let (name, value) = (name.trim(), value.trim().trim_matches('"'));
            if name.eq_ignore_ascii_case("for") {
                forwarded.client = client(value);
            } else if name.eq_ignore_ascii_case("host") {
                forwarded.host = Some(value);
            } else if name.eq_ignore_ascii_case("proto") {
                forwarded.scheme = Some(value);
            }
        }
        forwarded
    }
}

/// An address without port and brackets.
fn client(text: &str) -> Option<&str> {
    address(split_host(text).0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use proptest::prelude::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn the_first_proxy_names_the_caller() {
        let old = headers(&[
            ("x-forwarded-for", "203.0.113.7, 10.0.0.1"),
            ("x-forwarded-host", "shop.example"),
            ("x-forwarded-proto", "https"),
        ]);
        let expected = Forwarded { client: Some("203.0.113.7"), host: Some("shop.example"), scheme: Some("https") };
        assert_eq!(Forwarded::of(&old), expected);
        let new = headers(&[
            ("forwarded", r#"For="[2001:db8::17]:4711";proto=https;Host=a.example:8443, for=10.0.0.1"#),
            ("x-forwarded-for", "10.9.9.9"),
        ]);
        let expected = Forwarded { client: Some("2001:db8::17"), host: Some("a.example:8443"), scheme: Some("https") };
        assert_eq!(Forwarded::of(&new), expected);
        assert_eq!(
            Forwarded::of(&headers(&[("forwarded", "nonsense; =;for"), ("x-forwarded-for", "")])),
            Forwarded::default()
        );
    }

    proptest! {
        #[test]
        fn no_header_panics(forwarded: Vec<u8>, client: Vec<u8>) {
            let mut headers = HeaderMap::new();
            for (name, value) in [("forwarded", forwarded), ("x-forwarded-for", client)] {
                if let Ok(value) = HeaderValue::from_bytes(&value) {
                    headers.insert(name, value);
                }
            }
            let found = Forwarded::of(&headers);
            prop_assert!(found.client != Some("") && found.scheme.is_none_or(|scheme| !scheme.contains(';')));
        }
    }
}
