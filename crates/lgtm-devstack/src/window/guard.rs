//! Who may ask the window, and what its answers allow a browser to do. Runs before and after every handler.
//!
//! The window shows what a program says, secrets it may have logged among it, to whoever can reach the port. A page of another site
//! cannot read its answers (no CORS header is ever sent), and cannot make itself the same site by letting its own name point
//! to this machine: only an address or `localhost` is taken as the host.

use std::net::{Ipv4Addr, Ipv6Addr};

use axum::body::Body;
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use http::{HeaderName, HeaderValue, Method, StatusCode, header};

use super::query::Refusal;

/// Nothing but the window's own files and its own API; no script, style or markup from text.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; \
trusted-types 'none'";

const HEADERS: [(HeaderName, &str); 7] = [
    (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-store"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

pub(super) async fn guard(request: Request<Body>, next: Next) -> Response {
    let mut response = match refusal(&request) {
        Some(refusal) => refusal.into_response(),
        None => next.run(request).await,
    };
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

fn refusal(request: &Request<Body>) -> Option<Refusal> {
    // HTTP/2 has the host in the address, HTTP/1 in a header.
    let of_header = request.headers().get(header::HOST).and_then(|value| value.to_str().ok());
    let host = request.uri().authority().map(|authority| authority.as_str()).or(of_header).unwrap_or_default();
    if !is_local(host) {
        let message =
            format!("the host {host:?} is not taken; accepted are an address, as in 127.0.0.1, and localhost");
        return Some(Refusal::new(StatusCode::MISDIRECTED_REQUEST, message));
    }
    let site = request.headers().get("sec-fetch-site").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let navigates = request.headers().get("sec-fetch-mode").is_some_and(|mode| mode == "navigate");
    if site == "cross-site" && !(navigates && request.method() == Method::GET) {
        let message = "a page of another site asks; only the window's own page may".to_owned();
        return Some(Refusal::new(StatusCode::FORBIDDEN, message));
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return changing_refusal(request, host, site);
    }
    None
}

/// What changes something is taken from the window's own page alone, and from what is no page. A page of another port is the same site,
/// not the same origin; a browser that sends neither header cannot be told from a program, which is why the content type is looked at too.
fn changing_refusal(request: &Request<Body>, host: &str, site: &str) -> Option<Refusal> {
    let origin = request.headers().get(header::ORIGIN).map(|origin| origin.to_str().unwrap_or_default());
    let is_own = |origin: &str| origin.strip_prefix("http://").is_some_and(|of| of.eq_ignore_ascii_case(host));
    if matches!(site, "" | "same-origin" | "none") && origin.is_none_or(is_own) {
        return None;
    }
    let origin = origin.unwrap_or("another");
    let message =
        format!("a page of the origin {origin:?} asks for a change; accepted is the window's own, http://{host}");
    Some(Refusal::new(StatusCode::FORBIDDEN, message))
}

/// True for `localhost`, names under it, and addresses, with or without a port.
fn is_local(host: &str) -> bool {
    if let Some(rest) = host.strip_prefix('[') {
        let Some((address, port)) = rest.split_once(']') else { return false };
        return address.parse::<Ipv6Addr>().is_ok() && (port.is_empty() || port.strip_prefix(':').is_some_and(is_port));
    }
    let name = match host.rsplit_once(':') {
        Some((name, port)) if is_port(port) => name,
        Some(_) => return false,
        None => host,
    };
    let name = name.to_ascii_lowercase();
    name == "localhost" || name.ends_with(".localhost") || name.parse::<Ipv4Addr>().is_ok()
}

fn is_port(text: &str) -> bool {
    text.parse::<u16>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_and_localhost_are_hosts_of_this_machine() {
        for host in
            ["127.0.0.1:4320", "127.0.0.1", "localhost:4320", "LocalHost", "shop.localhost:1", "[::1]:4320", "[::1]"]
        {
            assert!(is_local(host), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "evil.example:4320",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "[::1",
            "[x]:1",
            "localhost:x",
            "localhost:1:2",
        ] {
            assert!(!is_local(host), "{host}");
        }
    }
}
