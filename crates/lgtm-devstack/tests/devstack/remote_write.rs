//! Remote write, and the Prometheus query API over what it brought.

use lgtm_devstack::wire::prometheus::{Exemplar, MetricMetadata, TimeSeries, WriteRequest};
use lgtm_devstack::{Devstack, Endpoint, MetricType};
use serde_json::json;

use crate::client::{get_json, get_text, labels, now_ms, post, series, snappy, write_request, write_series};

const STALE: f64 = f64::from_bits(0x7ff0_0000_0000_0002);

fn bucket(timestamp: i64, count: f64, exemplar: Option<(&str, f64, i64)>) -> TimeSeries {
    TimeSeries {
        exemplars: exemplar
            .map(|(trace, value, timestamp)| Exemplar { labels: labels(&[("trace_id", trace)]), value, timestamp })
            .into_iter()
            .collect(),
        ..series(&[("__name__", "took_seconds_bucket"), ("job", "shop"), ("le", "0.5")], &[(timestamp, count)])
    }
}

#[tokio::test]
async fn samples_exemplars_and_metadata_are_stored() {
    let stack = Devstack::start().await.unwrap();
    let now = now_ms();
    let request = WriteRequest {
        timeseries: vec![
            series(&[("__name__", "up"), ("job", "shop")], &[(now - 1000, 0.0), (now, 1.0)]),
            bucket(now, 3.0, Some(("abc", 0.25, now - 5))),
        ],
        metadata: vec![MetricMetadata {
            r#type: MetricType::Histogram as i32,
            metric_family_name: "took_seconds".to_owned(),
            help: "How long".to_owned(),
            unit: "seconds".to_owned(),
        }],
    };
    assert_eq!(write_request(&stack.mimir_url(), &request).await, (200, String::new()));
    let up = &stack.store().series_named("up")[0];
    let samples: Vec<(i64, f64)> = up.samples.iter().map(|sample| (sample.timestamp_ms, sample.value)).collect();
    assert_eq!(samples, [(now - 1000, 0.0), (now, 1.0)]);
    let took = &stack.store().series_named("took_seconds_bucket")[0];
    assert_eq!((took.name(), took.last_value()), ("took_seconds_bucket", Some(3.0)));
    assert_eq!((took.exemplars[0].trace_id(), took.exemplars[0].value), (Some("abc"), 0.25));
    let known = &stack.store().metric_metadata()["took_seconds"];
    assert_eq!((known.metric_type, known.unit.as_str()), (MetricType::Histogram, "seconds"));
    let counts = stack.counts();
    assert_eq!((counts.series, counts.samples.received, counts.exemplars.received), (2, 3, 1));
    let recorded = &stack.store().requests_to(Endpoint::RemoteWrite)[0];
    assert_eq!(recorded.header("x-prometheus-remote-write-version"), Some("0.1.0"));
    assert_eq!(recorded.decoded_body().unwrap(), prost::Message::encode_to_vec(&request));
}

#[tokio::test]
async fn prometheus_path_answers_204() {
    let stack = Devstack::start().await.unwrap();
    let request =
        WriteRequest { timeseries: vec![series(&[("__name__", "up")], &[(now_ms(), 1.0)])], metadata: vec![] };
    let headers = [("content-type", "application/x-protobuf"), ("content-encoding", "snappy")];
    let url = format!("{}/api/v1/write", stack.mimir_url());
    assert_eq!(post(&url, &headers, snappy(&request)).await.0, 204);
    assert_eq!(stack.counts().samples.held, 1);
}

#[tokio::test]
async fn what_breaks_the_order_is_answered_400_and_the_rest_is_stored() {
    let stack = Devstack::start().await.unwrap();
    let url = stack.mimir_url();
    let now = now_ms();
    let a = [("__name__", "a")];
    assert_eq!(write_series(&url, vec![series(&a, &[(now, 1.0)])]).await.0, 200);
    let (status, text) =
        write_series(&url, vec![series(&a, &[(now - 1, 1.0)]), series(&[("__name__", "b")], &[(now, 1.0)])]).await;
    assert_eq!(status, 400);
    assert!(text.contains("out of order sample") && text.contains("__name__=\"a\""), "{text}");
    assert_eq!(stack.store().series_named("b").len(), 1);
    let (status, text) = write_series(&url, vec![series(&a, &[(now, 2.0)])]).await;
    assert_eq!(status, 400);
    assert!(text.contains("duplicate sample for timestamp"), "{text}");
    assert_eq!(write_series(&url, vec![series(&a, &[(now, 1.0)])]).await.0, 200, "the same sample again is no error");
    let (status, text) = write_series(&url, vec![series(&a, &[(now + 3_600_000, 1.0)])]).await;
    assert_eq!(status, 400);
    assert!(text.contains("future"), "{text}");
    assert_eq!(write_series(&url, vec![bucket(now, 1.0, Some(("new", 0.1, now)))]).await.0, 200);
    assert_eq!(write_series(&url, vec![bucket(now + 1, 1.0, Some(("new", 0.1, now)))]).await.0, 200, "the same again");
    let (status, text) = write_series(&url, vec![bucket(now + 2, 1.0, Some(("old", 0.1, now - 1)))]).await;
    assert_eq!(status, 400);
    assert!(text.contains("out of order exemplar"), "{text}");
    let counts = stack.counts();
    assert_eq!((counts.samples.rejected, counts.samples.duplicates), (3, 1));
    assert_eq!((counts.exemplars.rejected, counts.exemplars.duplicates, counts.exemplars.held), (1, 1, 1));
    assert_eq!(stack.store().series_named("took_seconds_bucket")[0].samples.len(), 3);
}

#[tokio::test]
async fn series_that_break_the_specification_are_refused() {
    let stack = Devstack::start().await.unwrap();
    let now = now_ms();
    for (pairs, reason) in [
        (&[("job", "shop")][..], "no metric name"),
        (&[("__name__", "a.b")], "invalid metric name"),
        (&[("__name__", "a"), ("service.name", "x")], "invalid label"),
        (&[("__name__", "a"), ("b", "1"), ("b", "2")], "duplicate label name: 'b'"),
        (&[("__name__", ""), ("b", "1")], "no metric name"),
    ] {
        let (status, text) = write_series(&stack.mimir_url(), vec![series(pairs, &[(now, 1.0)])]).await;
        assert_eq!(status, 400, "{pairs:?}");
        assert!(text.contains(reason), "{pairs:?}: {text}");
    }
    let long = "x".repeat(128);
    let (status, text) = write_series(&stack.mimir_url(), vec![bucket(now, 1.0, Some((&long, 0.1, now)))]).await;
    assert_eq!(status, 400);
    assert!(text.contains("136 characters"), "{text}");
    assert_eq!(stack.counts().samples.rejected, 5);
}

#[tokio::test]
async fn labels_in_any_order_are_sorted_and_empty_ones_left_out() {
    let stack = Devstack::start().await.unwrap();
    let written = series(&[("zone", "x"), ("__name__", "a"), ("b", "")], &[(now_ms(), 1.0)]);
    assert_eq!(write_series(&stack.mimir_url(), vec![written]).await, (200, String::new()));
    let found = &stack.store().series_named("a")[0].labels;
    assert_eq!(
        found.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect::<Vec<_>>(),
        [("__name__", "a"), ("zone", "x")]
    );
}

#[tokio::test]
async fn other_types_and_encodings_are_refused() {
    let stack = Devstack::start().await.unwrap();
    let url = format!("{}/api/v1/push", stack.mimir_url());
    let body = snappy(&WriteRequest::default());
    let snappy_encoding = ("content-encoding", "snappy");
    for (headers, status) in [
        (&[snappy_encoding, ("content-type", "application/json")][..], 415),
        (&[snappy_encoding, ("content-type", "application/x-protobuf;proto=io.prometheus.write.v3.Request")], 415),
        (&[snappy_encoding, ("content-type", "application/x-protobuf;proto=prometheus.WriteRequest")], 200),
        (&[("content-type", "application/x-protobuf"), ("content-encoding", "gzip")], 415),
        (&[("content-type", "application/x-protobuf")], 200),
        (&[], 200),
    ] {
        assert_eq!(post(&url, headers, body.clone()).await.0, status, "{headers:?}");
    }
    let headers = [snappy_encoding, ("content-type", "application/x-protobuf")];
    assert_eq!(post(&url, &headers, b"junk".to_vec()).await.0, 400);
}

#[tokio::test]
async fn an_instant_query_answers_the_newest_fresh_value_of_each_series() {
    let stack = Devstack::start().await.unwrap();
    let now = now_ms();
    let written = vec![
        series(&[("__name__", "up"), ("job", "bank")], &[(now - 1000, 1.0), (now, STALE)]),
        series(&[("__name__", "up"), ("job", "old")], &[(now - 301_000, 1.0)]),
        series(&[("__name__", "up"), ("job", "shop")], &[(now - 2000, 0.5), (now - 1000, f64::INFINITY)]),
    ];
    assert_eq!(write_series(&stack.mimir_url(), written).await.0, 200);
    for prefix in ["/prometheus", ""] {
        let url = format!("{}{prefix}/api/v1/query", stack.mimir_url());
        let time = format!("{}", now as f64 / 1e3);
        let answer = get_json(&url, &[("query", "up"), ("time", &time)]).await;
        let expected = json!({"status": "success", "data": {"resultType": "vector", "result": [
            {"metric": {"__name__": "up", "job": "shop"}, "value": [now as f64 / 1e3, "+Inf"]},
        ]}});
        assert_eq!(answer, expected);
    }
    let url = format!("{}/api/v1/query", stack.mimir_url());
    let before = format!("{}", (now - 1000) as f64 / 1e3);
    let answer = get_json(&url, &[("query", r#"{__name__=~"u.", job!="shop"}"#), ("time", &before)]).await;
    let jobs: Vec<&str> =
        answer["data"]["result"].as_array().unwrap().iter().map(|s| s["metric"]["job"].as_str().unwrap()).collect();
    assert_eq!(jobs, ["bank"], "300 seconds back are too far");
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let (status, text) = post(&url, &form, b"query=up".to_vec()).await;
    assert_eq!(status, 200, "{text}");
}

#[tokio::test]
async fn a_range_query_answers_a_matrix() {
    let stack = Devstack::start().await.unwrap();
    let start = now_ms() / 1000 - 100;
    let samples = [((start) * 1000, 1.0), ((start + 20) * 1000, 2.5)];
    assert_eq!(write_series(&stack.mimir_url(), vec![series(&[("__name__", "a")], &samples)]).await.0, 200);
    let url = format!("{}/prometheus/api/v1/query_range", stack.mimir_url());
    let (from, to) = ((start - 10).to_string(), (start + 30).to_string());
    let answer = get_json(&url, &[("query", "a"), ("start", &from), ("end", &to), ("step", "10s")]).await;
    let point = |second: i64, value: &str| json!([second as f64, value]);
    let expected = json!({"resultType": "matrix", "result": [{"metric": {"__name__": "a"}, "values": [
        point(start, "1"), point(start + 10, "1"), point(start + 20, "2.5"), point(start + 30, "2.5"),
    ]}]});
    assert_eq!(answer["data"], expected);
    for bad in [
        &[("start", from.as_str()), ("end", &to)][..],
        &[("start", &to), ("end", &from), ("step", "1")],
        &[("start", &from), ("end", &to), ("step", "0.001")],
        &[("start", "-9000000000000000"), ("end", "9000000000000000"), ("step", "1")],
    ] {
        let (status, text) = get_text(&url, &[&[("query", "a")], bad].concat()).await;
        assert_eq!(status, 400, "{text}");
        assert!(text.contains("bad_data"), "{text}");
    }
}

#[tokio::test]
async fn exemplars_are_found_through_any_expression() {
    let stack = Devstack::start().await.unwrap();
    let now = now_ms();
    assert_eq!(write_series(&stack.mimir_url(), vec![bucket(now, 1.0, Some(("abc", 0.25, now)))]).await.0, 200);
    let url = format!("{}/prometheus/api/v1/query_exemplars", stack.mimir_url());
    let (from, to) = ((now / 1000 - 10).to_string(), (now / 1000 + 10).to_string());
    let time = [("start", from.as_str()), ("end", to.as_str())];
    for query in
        ["took_seconds_bucket", r#"histogram_quantile(0.95, sum by (le) (rate(took_seconds_bucket{job="shop"}[5m])))"#]
    {
        let answer = get_json(&url, &[&[("query", query)], &time[..]].concat()).await;
        let expected = json!([{
            "seriesLabels": {"__name__": "took_seconds_bucket", "job": "shop", "le": "0.5"},
            "exemplars": [{"labels": {"trace_id": "abc"}, "value": "0.25", "timestamp": now as f64 / 1e3}],
        }]);
        assert_eq!(answer["data"], expected, "{query}");
    }
    let earlier = [("query", "took_seconds_bucket"), ("start", "1"), ("end", "2")];
    assert_eq!(get_json(&url, &earlier).await["data"], json!([]));
}

#[tokio::test]
async fn series_labels_and_metadata_are_listed() {
    let stack = Devstack::start().await.unwrap();
    let now = now_ms();
    let request = WriteRequest {
        timeseries: vec![
            series(&[("__name__", "a"), ("job", "shop")], &[(now, 1.0)]),
            series(&[("__name__", "b"), ("job", "bank"), ("zone", "x")], &[(now, 1.0)]),
        ],
        metadata: vec![MetricMetadata {
            r#type: MetricType::Counter as i32,
            metric_family_name: "a".to_owned(),
            help: "Some".to_owned(),
            unit: String::new(),
        }],
    };
    assert_eq!(write_request(&stack.mimir_url(), &request).await.0, 200);
    let base = format!("{}/prometheus/api/v1", stack.mimir_url());
    let found = get_json(&format!("{base}/series"), &[("match[]", "a"), ("match[]", r#"{zone="x"}"#)]).await;
    let expected = json!([{"__name__": "a", "job": "shop"}, {"__name__": "b", "job": "bank", "zone": "x"}]);
    assert_eq!(found["data"], expected);
    assert_eq!(get_text(&format!("{base}/series"), &[]).await.0, 400);
    assert_eq!(get_json(&format!("{base}/labels"), &[]).await["data"], json!(["__name__", "job", "zone"]));
    let values = get_json(&format!("{base}/label/job/values"), &[("match[]", "a")]).await;
    assert_eq!(values["data"], json!(["shop"]));
    let known = get_json(&format!("{base}/metadata"), &[]).await;
    assert_eq!(known["data"], json!({"a": [{"type": "counter", "help": "Some", "unit": ""}]}));
}

#[tokio::test]
async fn what_would_need_an_evaluator_is_refused_in_prometheus_shape() {
    let stack = Devstack::start().await.unwrap();
    let url = format!("{}/prometheus/api/v1/query", stack.mimir_url());
    for query in ["sum(up)", "rate(up[5m])", "up + 1", "up[5m]", "up offset 5m", "1"] {
        let (status, text) = get_text(&url, &[("query", query)]).await;
        assert_eq!(status, 422, "{query}: {text}");
        let answer: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&answer["status"], &answer["errorType"]), (&json!("error"), &json!("execution")));
        assert!(answer["error"].as_str().unwrap().contains("supports vector selectors"), "{text}");
    }
    let (status, text) = get_text(&url, &[("query", "up{")]).await;
    assert_eq!(status, 400);
    assert!(text.contains("bad_data"), "{text}");
}

#[cfg(feature = "window")]
#[tokio::test]
async fn exemplars_lead_to_their_trace_whatever_a_client_calls_it() {
    let stack = Devstack::start().await.unwrap();
    let mut span = crate::client::span(0, 1, None, "work");
    span.trace_id[1..].fill(0xab);
    crate::client::export_http(&stack.otlp_http_url(), &crate::client::export("shop", vec![span])).await;
    let (now, whole) = (now_ms(), format!("00{}", "ab".repeat(15)));
    // Tempo leaves out the zeros at the beginning.
    for (age, name, id) in
        [(3, "trace_id", whole.as_str()), (2, "traceID", "AB".repeat(15).as_str()), (1, "traceId", &whole)]
    {
        let mut one = series(&[("__name__", "took_seconds_bucket"), ("le", "1.0")], &[(now - age, 1.0)]);
        one.exemplars = vec![Exemplar { labels: labels(&[(name, id)]), value: age as f64, timestamp: now - age }];
        assert_eq!(write_series(&stack.mimir_url(), vec![one]).await, (200, String::new()));
    }
    let found = get_json(&format!("{}/api/v1/metrics/took_seconds", stack.window_url()), &[]).await;
    let exemplars = found["exemplars"].as_array().unwrap();
    assert_eq!(exemplars.len(), 3, "{found}");
    assert!(exemplars.iter().all(|one| one["trace_id"] == whole && one["is_held"] == true), "{exemplars:?}");
}
