//! Clients that mean harm, or are broken: nothing that they send takes the stack's memory, its connections or its process away.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use lgtm_devstack::{Devstack, Limits};
use prost::Message as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::client::{DEADLINE, export, export_http, get_text, gzip, post, push_logs, span};

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// A stack with small limits.
async fn small() -> Devstack {
    let limits = Limits { body_bytes: MIB, decompressed_bytes: 2 * MIB, ..Limits::default() };
    Devstack::builder().limits(limits).start().await.unwrap()
}

/// It still works.
async fn assert_alive(stack: &Devstack) {
    let (status, text) = export_http(&stack.otlp_http_url(), &export("shop", vec![span(9, 9, None, "alive")])).await;
    assert_eq!(status, 200, "{text}");
}

fn address(url: &str) -> SocketAddr {
    url.strip_prefix("http://").unwrap().parse().unwrap()
}

#[tokio::test]
async fn every_listener_is_on_the_loopback_address_unless_asked() {
    let stack = Devstack::start().await.unwrap();
    for url in [stack.loki_url(), stack.otlp_grpc_url(), stack.otlp_http_url(), stack.tempo_url(), stack.mimir_url()] {
        assert_eq!(address(&url).ip(), Ipv4Addr::LOCALHOST, "{url}");
    }
}

#[tokio::test]
async fn a_bomb_is_refused_by_what_it_would_become_in_every_compression() {
    let stack = small().await;
    let zeros = vec![0; 64 * MIB];
    let bomb = gzip(&zeros);
    assert!(bomb.len() < MIB);
    for content_type in ["application/x-protobuf", "application/json"] {
        let headers = [("content-type", content_type), ("content-encoding", "gzip")];
        let (status, text) = post(&format!("{}/v1/traces", stack.otlp_http_url()), &headers, bomb.clone()).await;
        assert!(status == 400 && text.contains("too large"), "{status} {text}");
    }
    let headers = [("content-type", "application/json"), ("content-encoding", "gzip")];
    let (status, _) = post(&format!("{}/loki/api/v1/push", stack.loki_url()), &headers, bomb.clone()).await;
    assert_eq!(status, 413);
    // A block that declares four gigabytes and has nothing.
    let declared = vec![0xff, 0xff, 0xff, 0xff, 0x0f, 0x00, 0x00];
    let snappy = snap::raw::Encoder::new().compress_vec(&zeros[..16 * MIB]).unwrap();
    for body in [declared, snappy] {
        let headers = [("content-type", "application/x-protobuf"), ("content-encoding", "snappy")];
        let (status, _) = post(&format!("{}/loki/api/v1/push", stack.loki_url()), &headers, body.clone()).await;
        assert_eq!(status, 413);
        let (status, _) = post(&format!("{}/api/v1/push", stack.mimir_url()), &headers, body).await;
        assert_eq!(status, 413);
    }
    // Over gRPC: a compressed message.
    let mut message = vec![1];
    message.extend_from_slice(&u32::try_from(bomb.len()).unwrap().to_be_bytes());
    message.extend_from_slice(&bomb);
    let code = call(&stack, message).await;
    assert!(matches!(code.as_deref(), Some("8" | "11")), "{code:?}");
    assert_alive(&stack).await;
}

/// Sends this as the body of an export over gRPC; the status code of the answer.
async fn call(stack: &Devstack, body: Vec<u8>) -> Option<String> {
    let client = reqwest::Client::builder().http2_prior_knowledge().no_proxy().timeout(DEADLINE).build().unwrap();
    let url = format!("{}/opentelemetry.proto.collector.trace.v1.TraceService/Export", stack.otlp_grpc_url());
    let request = client.post(url).header("content-type", "application/grpc").header("te", "trailers");
    let answer = request.header("grpc-encoding", "gzip").body(body).send().await.unwrap();
    answer.headers().get("grpc-status").map(|code| code.to_str().unwrap().to_owned())
}

#[tokio::test]
async fn values_nested_without_end_are_refused() {
    let stack = small().await;
    // ArrayValue in AnyValue in ArrayValue ...: protobuf from the inside out, field 5 and field 1.
    let mut value = Vec::new();
    for _ in 0..20_000 {
        let mut outer = Vec::with_capacity(value.len() + 12);
        for field in [0x0a, 0x2a] {
            let mut wrapped = vec![field];
            prost::encoding::encode_varint(value.len() as u64, &mut wrapped);
            wrapped.extend_from_slice(&value);
            value = wrapped;
        }
        outer.append(&mut value);
        value = outer;
    }
    let mut pair = vec![0x0a, 1, b'k', 0x12];
    prost::encoding::encode_varint(value.len() as u64, &mut pair);
    pair.extend_from_slice(&value);
    let mut body = Vec::new();
    // KeyValue in Resource in ResourceSpans in the request.
    for field in [0x0a, 0x0a, 0x0a] {
        let mut wrapped = vec![field];
        prost::encoding::encode_varint(pair.len() as u64, &mut wrapped);
        wrapped.extend_from_slice(&pair);
        pair = wrapped;
        body.clone_from(&pair);
    }
    assert!(is_refused_by_prost(&body));
    let headers = [("content-type", "application/x-protobuf")];
    let (status, text) = post(&format!("{}/v1/traces", stack.otlp_http_url()), &headers, body).await;
    assert!(status == 400, "{status} {text}");
    let json = format!(
        r#"{{"resourceSpans":[{{"resource":{{"attributes":[{{"key":"k","value":{}}}]}}}}]}}"#,
        r#"{"arrayValue":{"values":["#.repeat(10_000)
    );
    let headers = [("content-type", "application/json")];
    let (status, text) = post(&format!("{}/v1/traces", stack.otlp_http_url()), &headers, json.into_bytes()).await;
    assert!(status == 400, "{status} {text}");
    let json = format!("{{\"streams\":{}", "[".repeat(100_000));
    let (status, text) = post(&format!("{}/loki/api/v1/push", stack.loki_url()), &headers, json.into_bytes()).await;
    assert!(status == 400, "{status} {text}");
    assert_alive(&stack).await;
}

fn is_refused_by_prost(body: &[u8]) -> bool {
    opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest::decode(body).is_err()
}

#[tokio::test]
async fn queries_nested_without_end_are_refused() {
    let stack = small().await;
    for depth in [1_000, 10_000, 60_000] {
        let opening = "(".repeat(depth);
        let nested = [
            format!("{opening}up{}", ")".repeat(depth)),
            opening.clone(),
            "-".repeat(depth) + "1",
            "sum(".repeat(depth),
            "{a=\"".to_owned() + &"(".repeat(depth) + "\"}",
            "up[5m:".repeat(depth),
        ];
        for query in &nested {
            let body = form_urlencoded::Serializer::new(String::new()).append_pair("query", query).finish();
            let headers = [("content-type", "application/x-www-form-urlencoded")];
            let url = format!("{}/prometheus/api/v1/query", stack.mimir_url());
            let (status, text) = post(&url, &headers, body.clone().into_bytes()).await;
            assert!((200..500).contains(&status), "{depth} {status} {:.200}", text);
            let url = format!("{}/loki/api/v1/query_range", stack.loki_url());
            let (status, text) = post(&url, &headers, body.into_bytes()).await;
            assert!((200..500).contains(&status), "{depth} {status} {:.200}", text);
        }
        // In a URL, which has less room.
        let depth = depth.min(5_000);
        for query in ["{".repeat(depth), format!("{{ {}", "(".repeat(depth)), "!".repeat(depth)] {
            let (status, text) = get_text(&format!("{}/api/search", stack.tempo_url()), &[("q", &query)]).await;
            assert!((200..500).contains(&status), "{depth} {status} {:.200}", text);
        }
    }
    let labels = "{a=\"".to_owned() + &"{".repeat(100_000);
    let (status, text) = push_logs(&stack.loki_url(), vec![super::client::stream(&labels, Vec::new())]).await;
    assert!((400..500).contains(&status), "{status} {:.200}", text);
    assert_alive(&stack).await;
}

/// Connects and sends this, and no more. How long until the stack hangs up.
async fn hung_up_after(url: &str, sent: &[u8]) -> Duration {
    let mut stream = TcpStream::connect(address(url)).await.unwrap();
    stream.write_all(sent).await.unwrap();
    let began = Instant::now();
    let mut answer = Vec::new();
    // What it says with that is its affair; that it hangs up is ours.
    let _ = tokio::time::timeout(Duration::from_secs(120), stream.read_to_end(&mut answer)).await.unwrap();
    began.elapsed()
}

#[tokio::test]
async fn who_sends_nothing_or_half_of_a_head_loses_the_connection() {
    let limits = Limits { head_timeout: Duration::from_millis(300), ..Limits::default() };
    let stack = Devstack::builder().limits(limits).start().await.unwrap();
    let halves: [&[u8]; 6] = [
        b"",
        b"P",
        // The beginning of what HTTP/2 begins with.
        b"PRI * HTTP/2.0\r\n",
        b"POST /v1/traces HTTP/1.1\r\nHost: x\r\nX-",
        b"GET /ready HTTP/1.1\r\nHost: x\r\n\r\n",
        // HTTP/2 without its settings.
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ];
    for url in [stack.loki_url(), stack.otlp_http_url(), stack.otlp_grpc_url()] {
        let all = halves.iter().map(|half| hung_up_after(&url, half));
        for (half, after) in halves.iter().zip(futures_util::future::join_all(all).await) {
            assert!(after < DEADLINE, "{:?}: {after:?}", String::from_utf8_lossy(half));
        }
    }
    assert_alive(&stack).await;
}
