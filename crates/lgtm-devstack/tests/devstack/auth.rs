//! Authentication: who shows nothing, or something else, gets 401 from every listener, and nothing is stored.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use lgtm_devstack::Devstack;

/// The status of a request with this `Authorization`.
fn status(url: &str, request: &str, authorization: &str) -> u16 {
    let host = url.trim_start_matches("http://");
    let mut stream = TcpStream::connect(host).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    write!(
        stream,
        "{request} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n{authorization}content-length: 0\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    if answer.starts_with("HTTP/1.1 401") {
        assert!(
            answer.to_ascii_lowercase().contains("www-authenticate: ba") || answer.contains("Bearer realm"),
            "{answer}"
        );
    }
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

fn requests(stack: &Devstack) -> Vec<(String, &'static str)> {
    vec![
        (stack.loki_url(), "POST /loki/api/v1/push"),
        (stack.loki_url(), "GET /loki/api/v1/labels"),
        (stack.loki_url(), "GET /ready"),
        (stack.otlp_http_url(), "POST /v1/traces"),
        (stack.otlp_http_url(), "POST /v1/logs"),
        (stack.otlp_grpc_url(), "POST /opentelemetry.proto.collector.trace.v1.TraceService/Export"),
        (stack.tempo_url(), "GET /api/echo"),
        (stack.tempo_url(), "GET /api/search"),
        (stack.mimir_url(), "POST /api/v1/push"),
        (stack.mimir_url(), "GET /prometheus/api/v1/labels"),
        (stack.mimir_url(), "GET /no/such/path"),
    ]
}

#[test]
fn every_listener_answers_401_to_whom_shows_nothing_or_something_else() {
    // me:secret
    let basic = "authorization: Basic bWU6c2VjcmV0\r\n";
    let bearer = "authorization: Bearer secret\r\n";
    for (stack, right, wrong) in [
        (Devstack::builder().basic_auth("me", "secret").start_blocking().unwrap(), basic, bearer),
        (Devstack::builder().bearer("secret").start_blocking().unwrap(), bearer, basic),
    ] {
        for (url, request) in requests(&stack) {
            for nothing in ["", wrong, "authorization: Basic\r\n", "authorization: Bearer secrets\r\n"] {
                assert_eq!(status(&url, request, nothing), 401, "{request} with {nothing}");
            }
            assert_ne!(status(&url, request, right), 401, "{request}");
        }
        assert_eq!(stack.counts().logs.held, 0);
    }
}

#[test]
fn without_it_nothing_is_wanted() {
    let stack = Devstack::start_blocking().unwrap();
    for (url, request) in requests(&stack) {
        assert_ne!(status(&url, request, ""), 401, "{request}");
    }
}
