//! Loki's tail, against a websocket server that sends what Loki sends.

use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use lgtm_query::{Client, Error, LogQuery, Loki, TimeRange};
use tokio::net::TcpListener;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};

/// Sends these messages to the first client, then closes; gives the request line and headers it saw.
async fn server(messages: Vec<Message>) -> (String, tokio::task::JoinHandle<(String, String)>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let serving = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut seen = (String::new(), String::new());
        #[expect(clippy::result_large_err, reason = "the library's own signature")]
        let look = |request: &Request, response: Response| -> Result<Response, ErrorResponse> {
            let header =
                |name: &str| request.headers().get(name).map_or("", |value| value.to_str().unwrap()).to_owned();
            seen = (
                request.uri().to_string(),
                ["x-scope-orgid", "authorization", "x-loki-response-encoding-flags"].map(header).join(" "),
            );
            Ok(response)
        };
        let mut socket = tokio_tungstenite::accept_hdr_async(stream, look).await.unwrap();
        for message in messages {
            socket.send(message).await.unwrap();
        }
        // The client may be gone.
        let _ = socket.close(None).await;
        while let Some(Ok(_)) = socket.next().await {}
        seen
    });
    (url, serving)
}

#[tokio::test]
async fn entries_arrive_in_batches_until_the_server_ends_it() {
    let first = r#"{"streams":[{"stream":{"service":"shop"},"values":[["1700000000000000001","one"],["1700000000000000002","two"]]}]}"#;
    let second =
        r#"{"streams":[],"dropped_entries":[{"labels":{"service":"shop"},"timestamp":"1700000000000000003"}]}"#;
    let third = r#"{"streams":null,"dropped_entries":null}"#.replace("null,", "[],");
    let messages = vec![
        Message::text(first),
        Message::Ping(Vec::new().into()),
        Message::binary(second.as_bytes().to_vec()),
        Message::text(third),
    ];
    let (url, serving) = server(messages).await;
    let client = Client::builder(&url).tenant("team").basic_auth("me", "secret").build().unwrap();
    let query = LogQuery::new(r#"{service="shop"}"#).range(TimeRange::new(5, 6)).limit(7);
    let mut tail = Loki::new(client).tail(&query).await.unwrap();
    let batch = tail.next().await.unwrap().unwrap();
    let lines: Vec<_> = batch.streams[0].entries.iter().map(|entry| entry.line.as_str()).collect();
    assert_eq!((lines, batch.streams[0].labels["service"].as_str()), (vec!["one", "two"], "shop"));
    let batch = tail.next().await.unwrap().unwrap();
    assert_eq!(batch.dropped[0].timestamp_unix_nanos, 1_700_000_000_000_000_003);
    assert!(tail.next().await.unwrap().unwrap().dropped.is_empty());
    assert_eq!(tail.next().await.unwrap(), None);
    tail.close().await;
    let (uri, headers) = serving.await.unwrap();
    assert_eq!(uri, "/loki/api/v1/tail?query=%7Bservice%3D%22shop%22%7D&start=5&limit=7");
    assert_eq!(headers, "team Basic bWU6c2VjcmV0 categorize-labels");
}

#[tokio::test]
async fn what_is_no_batch_is_an_error_that_shows_it() {
    let (url, _serving) = server(vec![Message::text("not json")]).await;
    let mut tail = Loki::at(url).unwrap().tail(&LogQuery::new("{}")).await.unwrap();
    let error = tail.next().await.unwrap_err();
    assert!(matches!(&error, Error::Decode { excerpt, .. } if excerpt == "not json"), "{error}");
}

#[tokio::test]
async fn a_refusal_has_the_servers_words_and_silence_times_out() {
    let refusing = crate::server::Server::with("/loki/api/v1/tail", 400, "parse error at line 1, col 1").await;
    let error = Loki::at(&refusing.url).unwrap().tail(&LogQuery::new("{")).await.unwrap_err();
    assert_eq!(error.status(), Some(400));
    assert!(error.to_string().contains("parse error at line 1"), "{error}");

    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let client = Client::builder(url).timeout(Duration::from_millis(50)).build().unwrap();
    let error = Loki::new(client).tail(&LogQuery::new("{}")).await.unwrap_err();
    assert!(matches!(error, Error::Timeout { .. }), "{error}");
}
