//! Refusals, silence and garbage; credentials on the wire and nowhere else.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::http::StatusCode;
use axum::response::IntoResponse;
use lgtm_query::{Client, Error, LogQuery, Loki, Prometheus, Tempo, Wait};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;

use crate::server::Server;

#[tokio::test]
async fn tenant_and_credentials_travel_as_headers() {
    let server = Server::with("/ready", 200, "ready").await;
    let client = Client::builder(&server.url).tenant("acme").basic_auth("ann", "hunter2").build().unwrap();
    assert!(Loki::new(client).is_ready().await.unwrap());
    let request = server.only_request();
    assert_eq!(request.header("x-scope-orgid"), Some("acme"));
    assert_eq!(request.header("authorization"), Some("Basic YW5uOmh1bnRlcjI="));

    let server = Server::with("/ready", 200, "ready").await;
    let client = Client::builder(&server.url).bearer_token("hunter2").build().unwrap();
    assert!(Tempo::new(client).is_ready().await.unwrap());
    let request = server.only_request();
    assert_eq!(request.header("authorization"), Some("Bearer hunter2"));
    assert_eq!(request.header("x-scope-orgid"), None);
}

#[tokio::test]
async fn a_page_is_given_as_it_is() {
    let server = Server::with("/tempo/metrics", 200, "up 1\n").await;
    let client = Client::builder(format!("{}/tempo", server.url)).build().unwrap();
    assert_eq!(client.page(&["metrics"]).await.unwrap(), "up 1\n");
    assert_eq!(client.page(&["config"]).await.unwrap_err().status(), Some(404));
}

#[tokio::test]
async fn a_refusal_carries_the_servers_words_and_no_credentials() {
    let cases = [
        (
            400,
            r#"{"status":"error","errorType":"bad_data","error":"invalid parameter \"query\": 1:3: parse error"}"#,
            "bad_data: invalid",
        ),
        (400, "parse error at line 1, col 3: syntax error: unexpected IDENTIFIER\n", "parse error at line 1, col 3"),
        (401, r#"{"message":"no org id"}"#, "no org id"),
        (502, "<html><body>Bad Gateway</body></html>", "Bad Gateway"),
        (500, "", "(no message)"),
    ];
    for (status, body, words) in cases {
        let server = Server::with("/loki/api/v1/query_range", status, body).await;
        let url = server.url.replace("http://", "http://ann:hunter2@");
        let error = Loki::at(url).unwrap().query_range(&LogQuery::new("{a=")).await.unwrap_err();
        assert!(matches!(&error, Error::Status { .. }), "{error:?}");
        assert_eq!(error.status(), Some(status));
        assert_eq!(error.is_transient(), status >= 500);
        let text = error.to_string();
        assert!(text.contains(words) && text.contains(&format!("status {status}")), "{text}");
        assert!(text.contains(&format!("{}/loki/api/v1/query_range?query=%7Ba%3D", server.url)), "{text}");
        assert!(!text.contains("hunter2") && !format!("{error:?}").contains("hunter2"), "{text}");
    }
}

#[tokio::test]
async fn success_that_says_error_is_a_refusal() {
    let body = r#"{"status":"error","errorType":"timeout","error":"query timed out"}"#;
    let server = Server::with("/api/v1/query", 200, body).await;
    let error = Prometheus::at(&server.url).unwrap().query("up", None).await.unwrap_err();
    assert!(matches!(error, Error::Status { status: 200, .. }), "{error:?}");
    assert!(error.to_string().contains("timeout: query timed out"), "{error}");
}

#[tokio::test]
async fn a_long_refusal_is_cut() {
    let server = Server::with("/api/v1/query", 500, "é".repeat(1 << 20)).await;
    let error = Prometheus::at(&server.url).unwrap().query("up", None).await.unwrap_err();
    assert!(error.to_string().len() < 2048, "{}", error.to_string().len());
}

#[tokio::test]
async fn garbage_is_an_error_that_shows_its_beginning() {
    let server = Server::with("/api/v1/query", 200, "<html>\n<title>Log in</title>").await;
    let error = Prometheus::at(&server.url).unwrap().query("up", None).await.unwrap_err();
    assert!(matches!(error, Error::Decode { status: 200, .. }), "{error:?}");
    assert!(error.to_string().contains("it begins: <html> <title>Log in</title>"), "{error}");
    assert!(!error.is_transient());
}

#[tokio::test]
async fn an_endless_answer_ends_at_the_limit() {
    let server = Server::with("/api/v1/query", 200, " ".repeat(1 << 20)).await;
    let client = Client::builder(&server.url).max_response_bytes(1000).build().unwrap();
    let error = Prometheus::new(client).query("up", None).await.unwrap_err();
    assert!(matches!(error, Error::TooLarge { status: 200, limit_bytes: 1000, .. }), "{error:?}");
}

#[tokio::test]
async fn a_redirect_is_named_and_not_followed() {
    let server = Server::start(|_| {
        let target = "https://user:hunter2@login.example/?next=hunter2";
        (StatusCode::FOUND, [("location", target)], "Found").into_response()
    })
    .await;
    let error = Tempo::at(&server.url).unwrap().trace("1".parse().unwrap()).await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains("status 302: redirected to https://***@login.example/, which is not followed"), "{text}");
}

#[tokio::test]
async fn a_closed_port_is_no_answer() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let error = Loki::at(format!("http://{address}")).unwrap().is_ready().await.unwrap_err();
    assert!(matches!(error, Error::Transport { .. }) && error.is_transient(), "{error:?}");
    assert!(error.to_string().contains(&format!("GET http://{address}/ready: no answer")), "{error}");
}

#[tokio::test]
async fn a_silent_server_is_a_timeout() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let silent = tokio::spawn(async move {
        let (mut connection, _) = listener.accept().await.unwrap();
        // Reads until the client gives up.
        let mut bytes = Vec::new();
        connection.read_to_end(&mut bytes).await
    });
    let client = Client::builder(format!("http://{address}")).timeout(Duration::from_millis(50)).build().unwrap();
    let error = Loki::new(client).is_ready().await.unwrap_err();
    assert!(matches!(error, Error::Timeout { after, .. } if after == Duration::from_millis(50)), "{error:?}");
    silent.abort();
}

#[tokio::test]
async fn a_wait_bridges_a_server_that_is_not_ready_yet() {
    let asked = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&asked);
    let server = Server::start(move |_| match count.fetch_add(1, Ordering::Relaxed) {
        0 => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        1 => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        _ => StatusCode::OK.into_response(),
    })
    .await;
    let loki = Loki::at(&server.url).unwrap();
    let wait = Wait::up_to(Duration::from_secs(30)).every(Duration::from_millis(1));
    assert!(wait.until(|| loki.is_ready(), |ready| *ready).await.unwrap());
    assert_eq!(asked.load(Ordering::Relaxed), 3);
}
