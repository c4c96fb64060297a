//! How requests end: with the last piece of a streamed body, by a caller that hangs up, by an upgrade, by a panic.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::body::Body;
use axum::extract::ws::{Message, WebSocketUpgrade};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{any, get};
use http::{StatusCode, header};
use hyper_util::rt::{TokioExecutor, TokioIo};
use lgtm_http::ServerLayer;
use lgtm_tests::capture::place_of;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use crate::harness::{Dropped, attribute, connect, exchange, failure, observe, pieces, request, serve, until};

#[test]
fn the_span_of_a_streamed_answer_ends_with_its_last_piece_and_is_entered_while_it_is_made() {
    let observed = observe(async || {
        let (sender, body) = pieces();
        let body = Arc::new(std::sync::Mutex::new(Some(body)));
        let handler = async move || body.lock().unwrap().take().unwrap();
        let server = serve(Router::new().route("/stream", get(handler)).layer(ServerLayer::new())).await;
        let mut stream = connect(server, &request("GET", "/stream", &[])).await;
        sender.send("first").unwrap();
        let mut received = Vec::new();
        while !received.ends_with(b"first\r\n") {
            assert_ne!(stream.read_buf(&mut received).await.unwrap(), 0);
        }
        tracing::info!("first piece received");
        sender.send("second").unwrap();
        drop(sender);
        stream.read_to_end(&mut received).await.unwrap();
    });
    let span = observed.span("server", "GET /stream");
    assert_eq!(failure(span), (None, false, ""));
    assert_eq!(attribute(span, "http.response.body.size").as_deref(), Some("11"));
    let lines: Vec<_> =
        observed.captured.logs.iter().filter(|line| line.json().unwrap()["message"] == "piece made").collect();
    assert_eq!(lines.len(), 2);
    assert!(lines.iter().all(|line| line.structured_metadata["span_id"] == span.span_id));
    let received = observed.captured.log("first piece received").timestamp_ns;
    assert!(i128::from(span.end_ns) > i128::from(received), "the span ended with the last piece");
    assert_eq!(observed.labels("http_requests_total", &["path", "status"]), ["/stream 200"]);
    assert_eq!(observed.sum("http_requests_aborted_total", &[]), None);
}

#[test]
fn a_request_whose_caller_hangs_up_is_marked_and_counted_and_what_it_drops_is_in_its_span() {
    let observed = observe(async || {
        let reached = Arc::new(Notify::new());
        let dropped = Arc::new(AtomicBool::new(false));
        let handler = {
            let (reached, dropped) = (Arc::clone(&reached), Arc::clone(&dropped));
            async move || {
                let _dropped = Dropped(dropped);
                reached.notify_one();
                std::future::pending::<()>().await;
            }
        };
        let layer = ServerLayer::new().log_requests(true);
        let server = serve(Router::new().route("/slow", get(handler)).layer(layer)).await;
        let stream = connect(server, &request("GET", "/slow", &[])).await;
        reached.notified().await;
        drop(stream);
        until(|| dropped.load(Ordering::Acquire)).await;
    });
    let span = observed.span("server", "GET /slow");
    assert_eq!(failure(span), (Some("cancelled".to_owned()), true, ""));
    assert_eq!(attribute(span, "http.response.status_code"), None);
    for message in ["dropped", "the caller hung up"] {
        assert_eq!(observed.captured.place_of_log(message), Some(place_of(span)), "{message}");
    }
    assert_eq!(observed.labels("http_requests_total", &["path", "status"]), ["/slow 499"]);
    assert_eq!(observed.labels("http_requests_aborted_total", &["path", "reason"]), ["/slow cancelled"]);
    assert_eq!(observed.sum("active_connections", &[]), Some(0.0));
}

#[test]
fn a_caller_that_hangs_up_in_the_middle_of_a_streamed_answer_is_counted_beside_its_status() {
    let observed = observe(async || {
        let dropped = Arc::new(AtomicBool::new(false));
        let handler = {
            let dropped = Arc::clone(&dropped);
            async move || {
                let stream = futures_util::stream::unfold(Dropped(dropped), async |dropped| {
                    tokio::time::sleep(std::time::Duration::from_millis(1)).await;
                    Some((Ok::<_, std::convert::Infallible>("piece"), dropped))
                });
                Body::from_stream(stream)
            }
        };
        let server = serve(Router::new().route("/endless", get(handler)).layer(ServerLayer::new())).await;
        let mut stream = connect(server, &request("GET", "/endless", &[])).await;
        stream.read_u8().await.unwrap();
        drop(stream);
        until(|| dropped.load(Ordering::Acquire)).await;
    });
    let span = observed.span("server", "GET /endless");
    assert_eq!(failure(span), (Some("cancelled".to_owned()), true, ""));
    assert_eq!(attribute(span, "http.response.status_code").as_deref(), Some("200"));
    assert_eq!(observed.captured.place_of_log("dropped"), Some(place_of(span)));
    assert_eq!(observed.labels("http_requests_total", &["path", "status"]), ["/endless 200"]);
    assert_eq!(observed.labels("http_requests_aborted_total", &["path", "reason"]), ["/endless cancelled"]);
}

#[test]
fn a_body_that_breaks_off_fails_the_span_under_the_status_that_was_sent() {
    let observed = observe(async || {
        let handler = async || {
            let pieces = [Ok("piece"), Err(std::io::Error::other("the disk is gone"))];
            Body::from_stream(futures_util::stream::iter(pieces))
        };
        let layer = ServerLayer::new().log_requests(true);
        let server = serve(Router::new().route("/file", get(handler)).layer(layer)).await;
        exchange(server, &request("GET", "/file", &[])).await;
    });
    let span = observed.span("server", "GET /file");
    assert_eq!(failure(span), (Some("axum_core::error::Error".to_owned()), true, "the disk is gone"));
    assert_eq!(observed.captured.place_of_log("the answer broke off"), Some(place_of(span)));
    assert_eq!(observed.labels("http_requests_total", &["path", "status"]), ["/file 200"]);
    assert_eq!(observed.labels("http_requests_aborted_total", &["reason"]), ["failed"]);
}

#[test]
fn answers_whose_bodies_nobody_asks_for_to_the_end_are_whole() {
    let observed = observe(async || {
        let sized = async || {
            let pieces = ["1234", "5678"].map(Ok::<_, std::convert::Infallible>);
            let body = Body::from_stream(futures_util::stream::iter(pieces));
            ([(header::CONTENT_LENGTH, "8")], body).into_response()
        };
        let router = Router::new()
            .route("/sized", get(sized))
            .route("/empty", get(async || StatusCode::NO_CONTENT))
            .route("/cached", get(async || StatusCode::NOT_MODIFIED))
            .route("/text", get(async || "text"))
            .layer(ServerLayer::new());
        let server = serve(router).await;
        for (method, path) in
            [("GET", "/sized"), ("HEAD", "/sized"), ("GET", "/empty"), ("GET", "/cached"), ("HEAD", "/text")]
        {
            let answer = exchange(server, &request(method, path, &[])).await;
            assert!(answer.starts_with("HTTP/1.1 2") || answer.starts_with("HTTP/1.1 304"), "{answer}");
        }
    });
    assert_eq!(observed.spans("server").count(), 5);
    for span in observed.spans("server") {
        assert_eq!(failure(span), (None, false, ""), "{}", span.name);
    }
    assert_eq!(attribute(observed.span("server", "GET /sized"), "http.response.body.size").as_deref(), Some("8"));
    assert_eq!(observed.sum("http_requests_total", &[]), Some(5.0));
    assert_eq!(observed.sum("http_requests_aborted_total", &[]), None);
}

#[test]
fn an_upgrade_ends_the_span_of_the_handshake_while_the_connection_goes_on() {
    let observed = observe(async || {
        let handler = async |upgrade: WebSocketUpgrade| {
            upgrade.on_upgrade(async |mut socket| {
                while let Some(Ok(Message::Text(text))) = socket.recv().await {
                    tracing::info!("said");
                    socket.send(Message::Text(text)).await.unwrap();
                }
            })
        };
        let server = serve(Router::new().route("/socket", get(handler)).layer(ServerLayer::new())).await;
        let stream = TcpStream::connect(server).await.unwrap();
        let url = format!("ws://{server}/socket");
        let (mut socket, answer) = tokio_tungstenite::client_async(url, stream).await.unwrap();
        assert_eq!(answer.status(), StatusCode::SWITCHING_PROTOCOLS);
        tracing::info!("upgraded");
        let said = tokio_tungstenite::tungstenite::Message::text("hello");
        futures_util::SinkExt::send(&mut socket, said.clone()).await.unwrap();
        let heard = futures_util::StreamExt::next(&mut socket).await.unwrap().unwrap();
        assert_eq!(heard, said);
        socket.close(None).await.unwrap();
    });
    let span = observed.span("server", "GET /socket");
    assert_eq!(attribute(span, "http.response.status_code").as_deref(), Some("101"));
    assert_eq!(failure(span), (None, false, ""));
    let said = observed.captured.log("said");
    assert!(i128::from(said.timestamp_ns) >= i128::from(span.end_ns), "the span of the handshake is over");
    assert_eq!(said.structured_metadata.get("span_id"), None, "what is said later is no part of it");
    assert_eq!(observed.labels("http_requests_total", &["path", "status"]), ["/socket 101"]);
    assert_eq!(observed.sum("http_requests_aborted_total", &[]), None);
    assert_eq!(observed.sum("active_connections", &[]), Some(0.0));
}

/// Over HTTP/2 a websocket is a CONNECT that is answered by 200 (RFC 8441).
#[test]
fn a_websocket_over_http_2_ends_the_span_of_its_handshake_too() {
    let observed = observe(async || {
        let handler = async |upgrade: WebSocketUpgrade| {
            upgrade.on_upgrade(async |mut socket| while let Some(Ok(_)) = socket.recv().await {})
        };
        let server = serve(Router::new().route("/socket", any(handler)).layer(ServerLayer::new())).await;
        let stream = TokioIo::new(TcpStream::connect(server).await.unwrap());
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await.unwrap();
        tokio::spawn(connection);
        let request = http::Request::connect(format!("http://{server}/socket"))
            .extension(hyper::ext::Protocol::from_static("websocket"))
            .header(header::SEC_WEBSOCKET_VERSION, "13")
            .body(http_body_util::Empty::<bytes::Bytes>::new())
            .unwrap();
        let answer = sender.send_request(request).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        let upgraded = hyper::upgrade::on(answer).await.unwrap();
        tracing::info!("upgraded");
        drop(upgraded);
    });
    let span = observed.span("server", "CONNECT /socket");
    assert_eq!(failure(span), (None, false, ""));
    assert_eq!(attribute(span, "http.response.status_code").as_deref(), Some("200"));
    let upgraded = observed.captured.log("upgraded").timestamp_ns;
    assert!(i128::from(span.end_ns) <= i128::from(upgraded), "it ended before the connection");
    assert_eq!(observed.sum("http_requests_aborted_total", &[]), None);
}

/// Upgrades of other protocols have no layer of their own: hyper's upgrade of the connection itself.
#[test]
fn a_connection_that_is_upgraded_by_hand_is_not_aborted() {
    let observed = observe(async || {
        let handler = async |mut request: axum::extract::Request| {
            tokio::spawn(async move {
                let upgraded = hyper::upgrade::on(&mut request).await.unwrap();
                let mut upgraded = TokioIo::new(upgraded);
                upgraded.write_all(b"raw").await.unwrap();
            });
            Response::builder()
                .status(StatusCode::SWITCHING_PROTOCOLS)
                .header(header::UPGRADE, "raw")
                .header(header::CONNECTION, "upgrade")
                .body(Body::empty())
                .unwrap()
        };
        let server = serve(Router::new().route("/raw", get(handler)).layer(ServerLayer::new())).await;
        let wish = "GET /raw HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: raw\r\n\r\n";
        let answer = exchange(server, wish).await;
        assert!(answer.starts_with("HTTP/1.1 101") && answer.ends_with("raw"), "{answer}");
    });
    assert_eq!(failure(observed.span("server", "GET /raw")), (None, false, ""));
    assert_eq!(observed.sum("http_requests_aborted_total", &[]), None);
}

async fn panics() -> &'static str {
    panic!("no order {}", 17);
}

#[test]
fn a_panic_fails_the_span_is_counted_and_goes_on() {
    let observed = observe(async || {
        let stream = async || {
            let pieces = futures_util::stream::iter(0..3).map(|number| {
                assert!(number < 2, "no third piece");
                Ok::<_, std::convert::Infallible>("piece")
            });
            Body::from_stream(pieces)
        };
        use futures_util::StreamExt as _;
        let router = Router::new()
            .route("/panics", get(panics))
            .route("/stream", get(stream))
            .route("/fine", get(async || "fine"))
            .layer(ServerLayer::new().log_requests(true));
        let server = serve(router).await;
        assert_eq!(exchange(server, &request("GET", "/panics", &[])).await, "", "hyper's task has ended");
        exchange(server, &request("GET", "/stream", &[])).await;
        assert!(exchange(server, &request("GET", "/fine", &[])).await.ends_with("fine"), "the server goes on");
    });
    let span = observed.span("server", "GET /panics");
    assert_eq!(failure(span), (Some("panic".to_owned()), true, "panicked: no order 17"));
    assert_eq!(attribute(span, "http.response.status_code"), None, "none was sent");
    let span = observed.span("server", "GET /stream");
    assert_eq!(failure(span), (Some("panic".to_owned()), true, "panicked: no third piece"));
    let statuses = observed.labels("http_requests_total", &["path", "status"]);
    assert_eq!(statuses, ["/fine 200", "/panics 500", "/stream 200"]);
    assert_eq!(
        observed.labels("http_requests_aborted_total", &["path", "reason"]),
        ["/panics panicked", "/stream panicked"]
    );
    assert_eq!(observed.sum("active_connections", &[]), Some(0.0));
}

#[test]
fn a_panic_that_is_caught_outside_and_an_error_of_the_service_are_each_counted_once() {
    let observed = observe(async || {
        let layer = ServerLayer::new().route(|request| Some(request.uri.path().to_owned().into()));
        let service = tower::ServiceBuilder::new().layer(layer).service_fn(async |request: http::Request<Body>| {
            assert_ne!(request.uri().path(), "/panics", "no such order");
            Err::<Response, _>(std::io::Error::other("the disk is gone"))
        });
        let ask = async |path: &str| {
            let request = http::Request::get(path).body(Body::empty()).unwrap();
            tower::ServiceExt::oneshot(service.clone(), request).await
        };
        assert_eq!(ask("/fails").await.err().unwrap().to_string(), "the disk is gone");
        let caught = futures_util::FutureExt::catch_unwind(std::panic::AssertUnwindSafe(ask("/panics"))).await;
        assert!(caught.is_err(), "it went on");
    });
    let (kind, failed, why) = failure(observed.span("server", "GET /fails"));
    assert_eq!((kind.as_deref(), failed, why), (Some("std::io::error::Error"), true, "the disk is gone"));
    let (kind, failed, why) = failure(observed.span("server", "GET /panics"));
    assert!(
        kind.as_deref() == Some("panic") && failed && why.starts_with("panicked: ") && why.contains("no such order")
    );
    assert_eq!(observed.labels("http_requests_total", &["path", "status"]), ["/fails 500", "/panics 500"]);
    let aborted = observed.labels("http_requests_aborted_total", &["path", "reason"]);
    assert_eq!(aborted, ["/fails failed", "/panics panicked"]);
    assert_eq!(observed.sum("http_requests_total", &[]), Some(2.0));
}
