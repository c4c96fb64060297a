//! The scrape endpoint over a real socket.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use lgtm_devstack::{Devstack, ScrapeTarget};
use lgtm_mimir::{BuildError, Mimir};
use metrics::{counter, histogram, with_local_recorder};

const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

fn listening() -> Mimir {
    let mimir = lgtm_mimir::builder().listen(ANY).build().unwrap();
    with_local_recorder(&mimir.recorder(), || {
        counter!("requests_total").increment(3);
        histogram!("request_seconds").record(0.2);
    });
    mimir
}

/// Status line and headers, and the body.
fn request(mimir: &Mimir, method: &str, path: &str, accept: &str) -> (String, String) {
    let mut stream = TcpStream::connect(mimir.local_addr().unwrap()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    write!(stream, "{method} {path} HTTP/1.1\r\nHost: localhost\r\nAccept: {accept}\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_ascii_lowercase(), body.to_owned())
}

#[test]
fn the_format_is_the_one_that_the_scraper_prefers() {
    let mimir = listening();
    let (head, body) = request(&mimir, "GET", "/metrics", "*/*");
    assert!(head.starts_with("http/1.1 200") && head.contains("content-type: text/plain; version=0.0.4"), "{head}");
    assert!(body.contains("requests_total 3\n") && !body.contains("# EOF"), "{body}");
    let (head, body) = request(&mimir, "GET", "/metrics", lgtm_devstack::exposition::ACCEPT);
    assert!(head.contains("content-type: application/openmetrics-text; version=1.0.0; charset=utf-8"), "{head}");
    assert!(body.contains("# TYPE requests counter\n") && body.ends_with("# EOF\n"), "{body}");
}

#[test]
fn only_metrics_are_there_and_only_to_be_read() {
    let mimir = listening();
    let (head, body) = request(&mimir, "HEAD", "/metrics", "*/*");
    assert!(head.starts_with("http/1.1 200") && body.is_empty(), "{head}\n{body}");
    for method in ["POST", "DELETE"] {
        assert!(request(&mimir, method, "/metrics", "*/*").0.starts_with("http/1.1 405"));
    }
    for path in ["/", "/metrics/", "/metrics/x", "/debug"] {
        assert!(request(&mimir, "GET", path, "*/*").0.starts_with("http/1.1 404"), "{path}");
    }
}

#[test]
fn a_taken_address_is_an_error_that_names_it() {
    let taken = TcpListener::bind(ANY).unwrap();
    let address = taken.local_addr().unwrap();
    let error = lgtm_mimir::builder().listen(address).build().unwrap_err();
    assert!(matches!(error, BuildError::Listen { .. }), "{error:?}");
    assert!(error.to_string().contains(&address.to_string()), "{error}");
}

#[test]
fn idle_connections_beyond_the_bound_wait_and_are_served_when_one_ends() {
    let mimir = listening();
    let mut idle: Vec<_> = (0..32).map(|_| TcpStream::connect(mimir.local_addr().unwrap()).unwrap()).collect();
    let mut waiting = TcpStream::connect(mimir.local_addr().unwrap()).unwrap();
    write!(waiting, "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    waiting.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    assert!(waiting.read(&mut [0; 16]).is_err(), "all places are taken");
    idle.pop();
    waiting.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut answer = String::new();
    waiting.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[test]
fn the_listener_ends_with_its_handle() {
    let mimir = listening();
    let address = mimir.local_addr().unwrap();
    drop(mimir);
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    while TcpStream::connect(address).is_ok() {
        assert!(std::time::Instant::now() < deadline, "still listening");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_scraper_stores_what_was_recorded() {
    let mimir = listening();
    let stack = Devstack::start_blocking().unwrap();
    let target = ScrapeTarget::new(format!("http://{}/metrics", mimir.local_addr().unwrap())).job("shop");
    stack.scrape_blocking(&target).unwrap();
    let series = stack.store().series_named("requests_total");
    assert_eq!(series.len(), 1);
    assert_eq!((series[0].last_value(), series[0].labels["job"].as_str()), (Some(3.0), "shop"));
    assert!(!stack.store().series_named("request_seconds_bucket").is_empty());
}
