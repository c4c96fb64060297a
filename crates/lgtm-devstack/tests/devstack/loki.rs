//! Loki: push in both encodings, what is refused, and queries.

use lgtm_devstack::{Devstack, Limits};
use serde_json::{Value, json};

use crate::client::{entry, get_json, get_text, gzip, http, now_ns, post, push_logs, stream};

const HOUR_NS: i64 = 3_600_000_000_000;

#[tokio::test]
async fn a_protobuf_push_is_stored_with_its_structured_metadata() {
    let stack = Devstack::start().await.unwrap();
    let now = now_ns();
    let metadata = [("trace_id", "0af7651916cd43dd8448eb211c80319c"), ("http.route", "/pay")];
    let pushed = vec![stream(r#"{app="shop", level="info"}"#, vec![entry(now, "he\u{301}llo \"x\"", &metadata)])];
    assert_eq!(push_logs(&stack.loki_url(), pushed).await, (204, String::new()));
    let logs = stack.store().logs();
    assert_eq!(logs.len(), 1);
    assert_eq!((logs[0].timestamp_ns, logs[0].line.as_str()), (now, "he\u{301}llo \"x\""));
    assert_eq!(logs[0].labels.len(), 2);
    assert_eq!(logs[0].labels["level"], "info");
    assert_eq!(logs[0].label("trace_id"), Some("0af7651916cd43dd8448eb211c80319c"));
    // Loki sanitises the keys.
    assert_eq!(logs[0].structured_metadata["http_route"], "/pay");
}

#[tokio::test]
async fn a_json_push_is_stored_plain_and_gzipped() {
    let stack = Devstack::start().await.unwrap();
    let url = format!("{}/loki/api/v1/push", stack.loki_url());
    let now = now_ns();
    let body = |line: &str| {
        json!({"streams": [{"stream": {"app": "shop"}, "values": [
            [now.to_string(), line],
            [(now + 1).to_string(), line, {"trace_id": "abc"}],
        ]}]})
        .to_string()
        .into_bytes()
    };
    let json_type = ("content-type", "application/json; charset=utf-8");
    assert_eq!(post(&url, &[json_type], body("plain")).await.0, 204);
    let headers = [json_type, ("content-encoding", "gzip")];
    assert_eq!(post(&url, &headers, gzip(&body("zipped"))).await.0, 204);
    let logs = stack.store().logs();
    let lines: Vec<&str> = logs.iter().map(|entry| entry.line.as_str()).collect();
    assert_eq!(lines, ["plain", "plain", "zipped", "zipped"]);
    assert_eq!(logs[3].structured_metadata["trace_id"], "abc");
}

#[tokio::test]
async fn what_is_refused_whole_stores_nothing() {
    let stack = Devstack::start().await.unwrap();
    let url = format!("{}/loki/api/v1/push", stack.loki_url());
    let good = stream(r#"{app="shop"}"#, vec![entry(now_ns(), "good", &[])]);
    assert_eq!(push_logs(&stack.loki_url(), Vec::new()).await.0, 422);
    for labels in [r#"{service.name="x"}"#, r#"{a="1", a="2"}"#, r#"{a=1}"#, r#"a="1""#, r#"{a="1"} x"#] {
        let bad = stream(labels, vec![entry(now_ns(), "bad", &[])]);
        let (status, text) = push_logs(&stack.loki_url(), vec![good.clone(), bad]).await;
        assert_eq!(status, 400, "{labels}");
        assert!(text.contains("error parsing labels"), "{text}");
    }
    let protobuf = ("content-type", "application/x-protobuf");
    assert_eq!(post(&url, &[protobuf], b"not snappy".to_vec()).await.0, 400);
    assert_eq!(post(&url, &[("content-type", "text/plain")], b"x".to_vec()).await.0, 415);
    assert_eq!(post(&url, &[("content-type", "application/json")], b"{".to_vec()).await.0, 400);
    let bad_time = br#"{"streams":[{"stream":{"a":"b"},"values":[["soon","x"]]}]}"#.to_vec();
    assert_eq!(post(&url, &[("content-type", "application/json")], bad_time).await.0, 400);
    assert_eq!(stack.counts().logs.received, 0);
    assert_eq!(stack.counts().requests.received, 10);
}

#[tokio::test]
async fn a_bad_entry_is_answered_400_and_its_siblings_are_stored() {
    let stack = Devstack::start().await.unwrap();
    let now = now_ns();
    let long = "x".repeat(256 * 1024 + 1);
    let many: Vec<(String, String)> = (0..129).map(|n| (format!("key{n}"), "v".to_owned())).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let sixteen = (0..16).map(|n| format!("l{n}=\"x\"")).collect::<Vec<_>>().join(",");
    let cases = [
        ("too old", stream(r#"{case="old"}"#, vec![entry(now - 169 * HOUR_NS, "bad", &[])])),
        ("too new", stream(r#"{case="new"}"#, vec![entry(now + HOUR_NS, "bad", &[])])),
        (
            "too far behind",
            stream(r#"{case="behind"}"#, vec![entry(now, "first", &[]), entry(now - 2 * HOUR_NS, "bad", &[])]),
        ),
        ("max entry size", stream(r#"{case="long"}"#, vec![entry(now, &long, &[])])),
        ("structured metadata", stream(r#"{case="metadata"}"#, vec![entry(now, "bad", &many)])),
        ("label names", stream(&format!("{{{sixteen}}}"), vec![entry(now, "bad", &[])])),
    ];
    for (number, (reason, bad)) in cases.into_iter().enumerate() {
        let total = bad.entries.len() + 1;
        let good = stream(r#"{case="good"}"#, vec![entry(now + number as i64, "good", &[])]);
        let (status, text) = push_logs(&stack.loki_url(), vec![bad, good]).await;
        assert_eq!(status, 400, "{reason}");
        assert!(text.contains(reason), "{text}");
        assert!(text.contains(&format!("total ignored: 1 out of {total}")), "{text}");
    }
    let logs = stack.store().logs();
    assert_eq!(logs.iter().filter(|entry| entry.line == "good").count(), 6);
    assert!(logs.iter().all(|entry| entry.line != "bad" && entry.line.len() < 10));
    assert_eq!(stack.counts().logs.rejected, 6);
}

#[tokio::test]
async fn an_entry_with_the_time_and_text_of_another_is_dropped_and_counted() {
    let stack = Devstack::start().await.unwrap();
    let now = now_ns();
    let entries = || vec![entry(now, "same", &[]), entry(now, "same", &[]), entry(now, "other", &[])];
    for labels in [r#"{app="a"}"#, r#"{app="b"}"#, r#"{app="a"}"#] {
        assert_eq!(push_logs(&stack.loki_url(), vec![stream(labels, entries())]).await.0, 204);
    }
    assert_eq!(stack.store().logs().len(), 4);
    assert_eq!(stack.counts().logs.duplicates, 5);
}

#[tokio::test]
async fn bodies_over_the_limits_are_answered_413() {
    let limits = Limits { body_bytes: 20_000, decompressed_bytes: 100_000, ..Limits::default() };
    let stack = Devstack::builder().limits(limits).start().await.unwrap();
    let now = now_ns();
    let bomb = stream(r#"{app="a"}"#, vec![entry(now, &"x".repeat(150_000), &[])]);
    assert_eq!(push_logs(&stack.loki_url(), vec![bomb]).await.0, 413);
    let url = format!("{}/loki/api/v1/push", stack.loki_url());
    let zipped = gzip(&vec![b' '; 150_000]);
    let headers = [("content-type", "application/json"), ("content-encoding", "gzip")];
    assert_eq!(post(&url, &headers, zipped).await.0, 413);
    let (status, text) = post(&url, &[], vec![0; 20_001]).await;
    assert_eq!(status, 413);
    assert!(text.contains("20000 bytes"), "{text}");
    let fits = stream(r#"{app="a"}"#, vec![entry(now, &"x".repeat(90_000), &[])]);
    assert_eq!(push_logs(&stack.loki_url(), vec![fits]).await.0, 204);
}

/// Six entries, 1 ns apart, in two streams.
async fn with_entries() -> (Devstack, i64) {
    let stack = Devstack::start().await.unwrap();
    let base = now_ns() - 1_000_000_000;
    let entries = |level: &str| {
        (0..3)
            .map(|n| {
                let offset = n * 2 + i64::from(level == "error");
                let trace = format!("trace{n}");
                entry(base + offset, &format!("{level} {n}"), &[("trace_id", &trace)])
            })
            .collect()
    };
    let pushed = vec![
        stream(r#"{app="shop",level="info"}"#, entries("info")),
        stream(r#"{app="shop",level="error"}"#, entries("error")),
    ];
    assert_eq!(push_logs(&stack.loki_url(), pushed).await.0, 204);
    (stack, base)
}

/// All lines of a result, stream by stream.
fn lines(answer: &Value) -> Vec<&str> {
    let streams = answer["data"]["result"].as_array().unwrap();
    streams.iter().flat_map(|s| s["values"].as_array().unwrap()).map(|v| v[1].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_query_finds_entries_by_stream_line_and_structured_metadata() {
    let (stack, _) = with_entries().await;
    let url = format!("{}/loki/api/v1/query_range", stack.loki_url());
    let found = async |query: &str| {
        let answer = get_json(&url, &[("query", query)]).await;
        let mut lines: Vec<String> = lines(&answer).into_iter().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(found(r#"{app="shop", level=~"err.*"} != "2""#).await, ["error 0", "error 1"]);
    assert_eq!(found(r#"{app="shop"} | trace_id = "trace1""#).await, ["error 1", "info 1"]);
    assert_eq!(found(r#"{app=~".+", level!="info"} |~ "[12]$" | trace_id != "trace1""#).await, ["error 2"]);
    assert!(found(r#"{app="other"}"#).await.is_empty());
    let (status, text) = get_text(&url, &[("query", r#"sum(rate({app="shop"}[5m]))"#)]).await;
    assert_eq!(status, 400);
    assert!(text.contains("the development stack supports"), "{text}");
}

#[tokio::test]
async fn a_query_answers_in_loki_s_shape() {
    let (stack, base) = with_entries().await;
    let url = format!("{}/loki/api/v1/query_range", stack.loki_url());
    let query = ("query", r#"{level="error"} |= "1""#);
    let answer = get_json(&url, &[query]).await;
    assert_eq!(answer["status"], "success");
    assert_eq!(answer["data"]["resultType"], "streams");
    let expected = json!([{
        "stream": {"app": "shop", "level": "error", "trace_id": "trace1"},
        "values": [[(base + 3).to_string(), "error 1"]],
    }]);
    assert_eq!(answer["data"]["result"], expected);
    let encoded = form_urlencoded::Serializer::new(String::new()).extend_pairs([query]).finish();
    let categorized = http()
        .get(format!("{url}?{encoded}"))
        .header("x-loki-response-encoding-flags", "categorize-labels")
        .send()
        .await
        .unwrap();
    let answer: Value = serde_json::from_str(&categorized.text().await.unwrap()).unwrap();
    assert_eq!(answer["data"]["encodingFlags"], json!(["categorize-labels"]));
    let expected = json!([{
        "stream": {"app": "shop", "level": "error"},
        "values": [[(base + 3).to_string(), "error 1", {"structuredMetadata": {"trace_id": "trace1"}}]],
    }]);
    assert_eq!(answer["data"]["result"], expected);
}

#[tokio::test]
async fn direction_limit_start_and_end_choose_among_the_entries() {
    let (stack, base) = with_entries().await;
    let url = format!("{}/loki/api/v1/query_range", stack.loki_url());
    let query = ("query", r#"{app="shop"} | trace_id != "" "#);
    let found = async |parameters: &[(&str, &str)]| {
        let mut all = vec![query];
        all.extend_from_slice(parameters);
        let answer = get_json(&url, &all).await;
        let mut lines: Vec<String> = lines(&answer).into_iter().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(found(&[("limit", "2")]).await, ["error 2", "info 2"], "the newest by default");
    assert_eq!(found(&[("limit", "3"), ("direction", "forward")]).await, ["error 0", "info 0", "info 1"]);
    let (start, end) = ((base + 2).to_string(), (base + 4).to_string());
    assert_eq!(found(&[("start", &start), ("end", &end)]).await, ["error 1", "info 1"], "the end is exclusive");
    for bad in [("limit", "5001"), ("limit", "0"), ("direction", "up"), ("start", "soon"), ("end", "1")] {
        let (status, text) = get_text(&url, &[query, bad, ("start", &start)]).await;
        assert_eq!(status, 400, "{bad:?}: {text}");
    }
}

#[tokio::test]
async fn labels_and_their_values_are_listed() {
    let (stack, _) = with_entries().await;
    let names = get_json(&format!("{}/loki/api/v1/labels", stack.loki_url()), &[]).await;
    assert_eq!(names["data"], json!(["app", "level"]));
    let values = get_json(&format!("{}/loki/api/v1/label/level/values", stack.loki_url()), &[]).await;
    assert_eq!(values["data"], json!(["error", "info"]));
}
