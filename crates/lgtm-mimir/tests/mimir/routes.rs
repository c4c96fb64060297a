//! Further routes of the scrape listener: behind its token, its bounds, and beside `/metrics`.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use axum::Router;
use axum::routing::post;
use lgtm_mimir::{Builder, Mimir};

fn builder() -> Builder {
    let echo = Router::new().route("/echo", post(async |body: String| body));
    lgtm_mimir::builder().listen(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0)).routes(echo)
}

fn ask(mimir: &Mimir, request: &str) -> String {
    let mut stream = TcpStream::connect(mimir.local_addr().unwrap()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    // The listener may have hung up before it has got everything.
    let _ = stream.write_all(request.as_bytes());
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

fn echo(mimir: &Mimir, headers: &str, body: &str) -> String {
    let length = body.len();
    ask(
        mimir,
        &format!(
            "POST /echo HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\ncontent-length: {length}\r\n{headers}\r\n{body}"
        ),
    )
}

#[test]
fn they_stand_beside_the_metrics_and_behind_the_same_token() {
    let mimir = builder().build().unwrap();
    let answer = echo(&mimir, "", "hello");
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("\r\n\r\nhello"), "{answer}");
    let answer = ask(&mimir, "GET /echo HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 405"), "{answer}");
    let answer = ask(&mimir, "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let answer = ask(&mimir, "GET /other HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");

    let mimir = builder().listen_token("hunter2").build().unwrap();
    for wrong in ["", "Authorization: Bearer hunter3\r\n", "Authorization: Basic hunter2\r\n"] {
        let answer = echo(&mimir, wrong, "hello");
        assert!(answer.starts_with("HTTP/1.1 401") && !answer.contains("hello"), "{answer}");
    }
    assert!(echo(&mimir, "Authorization: Bearer hunter2\r\n", "hello").ends_with("hello"));
}

#[test]
fn a_body_that_is_too_large_is_refused_and_who_sends_none_of_it_blocks_nobody_else() {
    let mimir = builder().build().unwrap();
    let answer = echo(&mimir, "", &"x".repeat(16 * 1024));
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let answer = echo(&mimir, "", &"x".repeat(16 * 1024 + 1));
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 413"), "{answer}");
    // More than are answered at a time.
    let head = "POST /echo HTTP/1.1\r\nHost: localhost\r\ncontent-length: 5\r\n\r\n";
    let _silent: Vec<_> = (0..4)
        .map(|_| {
            let mut stream = TcpStream::connect(mimir.local_addr().unwrap()).unwrap();
            stream.write_all(head.as_bytes()).unwrap();
            stream
        })
        .collect();
    assert!(echo(&mimir, "", "hello").ends_with("hello"));
}
