//! Who may ask: programs, and pages of the listener itself, but no page of another site in somebody's browser. Pure.
//! Sources: WHATWG Fetch, "`Origin` header"; W3C, "Fetch Metadata Request Headers".
//!
//! A page cannot read what another site answers, but it can have requests sent: so those that say where they come from must come from
//! here. And a page's own name may be made to lead to this machine (DNS rebinding): so a listener that only this machine reaches
//! answers to this machine's names alone.

use std::net::IpAddr;

use http::HeaderMap;
use http::header::{HOST, ORIGIN};
use http::uri::Authority;

/// Why this request is not answered, if it is not.
pub(super) fn refuse(headers: &HeaderMap, is_loopback: bool) -> Option<&'static str> {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    let host = text(HOST.as_str()).and_then(|host| host.parse::<Authority>().ok());
    if is_loopback && !host.as_ref().is_some_and(|host| is_this_machine(host.host())) {
        return Some("the Host header is no name of this machine: localhost, 127.0.0.1 or [::1] is accepted");
    }
    if let Some(origin) = text(ORIGIN.as_str()) {
        let origin = origin.split_once("://").and_then(|(_, authority)| authority.parse::<Authority>().ok());
        if origin.is_none() || origin != host {
            return Some("the request comes from another site (Origin)");
        }
    }
    match text("sec-fetch-site") {
        None | Some("same-origin" | "none") => None,
        Some(_) => Some("the request comes from another site (Sec-Fetch-Site)"),
    }
}

fn is_this_machine(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost") || address.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(given: &[(&'static str, &'static str)], is_loopback: bool) -> bool {
        let mut headers = HeaderMap::new();
        for (name, value) in given {
            headers.append(*name, value.parse().unwrap());
        }
        refuse(&headers, is_loopback).is_some()
    }

    #[test]
    fn on_loopback_only_names_of_this_machine_are_answered_to() {
        for host in ["localhost", "localhost:9464", "LOCALHOST:1", "127.0.0.1:9464", "127.8.9.10", "[::1]:9464"] {
            assert!(!refused(&[("host", host)], true), "{host}");
        }
        for host in
            ["rebound.example", "rebound.example:9464", "10.0.0.1", "localhost.example", "", "0.0.0.0:9464", "a b"]
        {
            assert!(refused(&[("host", host)], true), "{host}");
            assert!(!refused(&[("host", host)], false), "{host}: there the token speaks");
        }
        assert!(refused(&[], true));
    }

    #[test]
    fn what_a_page_of_another_site_asks_for_is_refused() {
        let host = ("host", "localhost:9464");
        for is_loopback in [true, false] {
            assert!(!refused(&[host, ("origin", "http://localhost:9464")], is_loopback));
            assert!(!refused(&[host, ("sec-fetch-site", "none")], is_loopback));
            assert!(!refused(&[host, ("sec-fetch-site", "same-origin")], is_loopback));
            for origin in ["https://evil.example", "null", "http://localhost:80", "http://localhost", "", "file://"] {
                assert!(refused(&[host, ("origin", origin)], is_loopback), "{origin}");
            }
            for site in ["cross-site", "same-site", "anything"] {
                assert!(refused(&[host, ("sec-fetch-site", site)], is_loopback), "{site}");
            }
        }
    }
}
