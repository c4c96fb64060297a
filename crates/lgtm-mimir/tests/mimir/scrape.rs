//! The scrape endpoint over a real socket.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use lgtm_core::Secret;
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
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH", "CONNECT"] {
        let (head, body) = request(&mimir, method, "/metrics", "*/*");
        assert!(head.starts_with("http/1.1 405") && head.contains("allow: get,head"), "{method}: {head}");
        assert!(body.is_empty(), "{method}: {body}");
    }
    for path in ["/", "/metrics/", "/metrics/x", "/debug"] {
        assert!(request(&mimir, "GET", path, "*/*").0.starts_with("http/1.1 404"), "{path}");
    }
}

fn shown(mimir: &Mimir, authorization: &str) -> String {
    request(mimir, "GET", "/metrics", &format!("*/*\r\nAuthorization: {authorization}")).0
}

#[test]
fn only_who_shows_the_token_may_read_and_it_may_change() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    std::fs::write(&path, "hunter2\n").unwrap();
    let builder = lgtm_mimir::builder().listen(ANY).listen_token(Secret::from_file(&path).unwrap());
    let debug = format!("{builder:?}");
    let mimir = builder.build().unwrap();
    let (head, body) = request(&mimir, "GET", "/metrics", "*/*");
    assert!(head.starts_with("http/1.1 401") && head.contains("www-authenticate: bearer"), "{head}");
    assert!(body.is_empty() && !debug.contains("hunter2") && !format!("{mimir:?}").contains("hunter2"));
    for wrong in
        ["Bearer", "Bearer ", "Bearer hunter", "Bearer hunter22", "Bearer hunter2 ", "Basic hunter2", "hunter2"]
    {
        let head = shown(&mimir, wrong);
        // Space at the end of a header is none of its value.
        let expected = if wrong.ends_with("2 ") { "http/1.1 200" } else { "http/1.1 401" };
        assert!(head.starts_with(expected), "{wrong}: {head}");
    }
    assert!(shown(&mimir, "bearer hunter2").starts_with("http/1.1 200"));
    std::fs::write(&path, "changed").unwrap();
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    while !shown(&mimir, "Bearer changed").starts_with("http/1.1 200") {
        assert!(std::time::Instant::now() < deadline, "the new token is refused");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(shown(&mimir, "Bearer hunter2").starts_with("http/1.1 401"));
}

#[test]
fn a_head_that_is_too_large_or_has_too_many_headers_is_refused() {
    let mimir = listening();
    for header in [format!("X-Large: {}\r\n", "x".repeat(20_000)), "X: y\r\n".repeat(100)] {
        let mut stream = TcpStream::connect(mimir.local_addr().unwrap()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        // The listener may have hung up before it has got everything: then the answer may be lost on the way.
        let _ = write!(stream, "GET /metrics HTTP/1.1\r\nHost: localhost\r\n{header}\r\n");
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 431"), "{}", String::from_utf8_lossy(&answer));
    }
    assert!(request(&mimir, "GET", "/metrics", "*/*").0.starts_with("http/1.1 200"));
}

#[test]
fn who_reads_nothing_holds_up_a_few_answers_and_the_rest_is_told_to_come_back() {
    let mimir = lgtm_mimir::builder().listen(ANY).build().unwrap();
    // More than the buffers of a connection take.
    let value = "v".repeat(1000);
    with_local_recorder(&mimir.recorder(), || {
        for number in 0..10_000 {
            let labels = [("a", format!("{number}{value}")), ("b", value.clone()), ("c", value.clone())];
            metrics::gauge!("large", &labels).set(1.0);
        }
    });
    let ask = || {
        let mut stream = TcpStream::connect(mimir.local_addr().unwrap()).unwrap();
        write!(stream, "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream
    };
    let mut clients: Vec<_> = (0..8).map(|_| ask()).collect();
    let first_line = |stream: &mut TcpStream| {
        let mut line = [0; 12];
        stream.read_exact(&mut line).unwrap();
        String::from_utf8_lossy(&line).into_owned()
    };
    let answers: Vec<_> = clients.iter_mut().map(first_line).collect();
    assert_eq!(answers.iter().filter(|line| *line == "HTTP/1.1 200").count(), 4, "{answers:?}");
    assert_eq!(answers.iter().filter(|line| *line == "HTTP/1.1 503").count(), 4, "{answers:?}");
    // Who goes away makes room.
    drop(clients);
    let mut whole = String::new();
    ask().read_to_string(&mut whole).unwrap();
    assert!(whole.len() > 30_000_000 && whole.starts_with("HTTP/1.1 200"), "{} bytes", whole.len());
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
