//! LogQL answers.

use std::time::Duration;

use lgtm_query::{Direction, LogData, LogQuery, Loki, TimeRange};

use crate::server::Server;

const QUERY_RANGE: &str = "/loki/api/v1/query_range";

const CATEGORISED: &str = r#"{"status":"success","data":{"resultType":"streams","encodingFlags":["categorize-labels"],"result":[
    {"stream":{"level":"error","service_name":"shop"},"values":[
        ["1700000000000000003","{\"message\":\"refused\",\"latency_ms\":12}",
         {"structuredMetadata":{"trace_id":"0af7651916cd43dd8448eb211c80319c","detected_level":"error"},"parsed":{"latency_ms":"12"}}],
        ["1700000000000000001","{\"message\":\"asked\"}",{"structuredMetadata":{"trace_id":"0af7651916cd43dd8448eb211c80319c"}}]]},
    {"stream":{"level":"info","service_name":"inventory"},"values":[["1700000000000000002","hello",{}]]}],
    "stats":{"summary":{"bytesProcessedPerSecond":1,"execTime":0.01}}}}"#;

#[tokio::test]
async fn streams_keep_nanoseconds_and_structured_metadata() {
    let server = Server::with(QUERY_RANGE, 200, CATEGORISED).await;
    let loki = Loki::at(&server.url).unwrap();
    let query = LogQuery::new(r#"{service_name="shop"} | json"#)
        .range(TimeRange::new(1_700_000_000_000_000_000, 1_700_000_000_000_000_009))
        .limit(50)
        .direction(Direction::Forward);
    let data = loki.query_range(&query).await.unwrap();

    let entries = data.entries();
    let times: Vec<_> = entries.iter().map(|(_, entry)| entry.timestamp_unix_nanos).collect();
    assert_eq!(times, [1_700_000_000_000_000_001, 1_700_000_000_000_000_002, 1_700_000_000_000_000_003]);
    let (stream, entry) = entries[2];
    assert_eq!(entry.line, r#"{"message":"refused","latency_ms":12}"#);
    assert_eq!(entry.structured_metadata["trace_id"], "0af7651916cd43dd8448eb211c80319c");
    assert!(!stream.labels.contains_key("trace_id"), "metadata is not a label");
    assert_eq!(stream.value(entry, "latency_ms"), Some("12"));
    assert_eq!(stream.value(entry, "level"), Some("error"));
    assert_eq!(stream.value(entry, "absent"), None);
    assert_eq!(data.values("trace_id").into_iter().collect::<Vec<_>>(), ["0af7651916cd43dd8448eb211c80319c"]);

    let asked = server.only_request();
    assert_eq!(asked.parameter("query"), Some(r#"{service_name="shop"} | json"#));
    assert_eq!(asked.parameter("start"), Some("1700000000000000000"));
    assert_eq!(asked.parameter("end"), Some("1700000000000000009"));
    assert_eq!(asked.parameter("limit"), Some("50"));
    assert_eq!(asked.parameter("direction"), Some("forward"));
    assert_eq!(asked.header("x-loki-response-encoding-flags"), Some("categorize-labels"));
}

#[tokio::test]
async fn metadata_among_the_labels_is_found_too() {
    let flat = r#"{"status":"success","data":{"result":[{"values":[["1700000000000000001","hello"]],
        "stream":{"service_name":"shop","trace_id":"0af7651916cd43dd8448eb211c80319c"}}],"resultType":"streams"}}"#;
    let server = Server::with(QUERY_RANGE, 200, flat).await;
    let data = Loki::at(&server.url).unwrap().query_range(&LogQuery::new(r#"{service_name="shop"}"#)).await.unwrap();
    let [stream] = data.streams() else { panic!("{data:?}") };
    assert_eq!(stream.value(&stream.entries[0], "trace_id"), Some("0af7651916cd43dd8448eb211c80319c"));
}

#[tokio::test]
async fn a_metric_query_gives_numbers() {
    let matrix = r#"{"status":"success","data":{"resultType":"matrix","result":[
        {"metric":{"endpoint":"/orders"},"values":[[1700000000,"412.5"],[1700000060.5,"NaN"]]}],"stats":{}}}"#;
    let server = Server::with(QUERY_RANGE, 200, matrix).await;
    let query = LogQuery::new("quantile_over_time(0.95, {a=\"b\"} | json | unwrap latency_ms [5m]) by (endpoint)");
    let data = Loki::at(&server.url).unwrap().query_range(&query.step(Duration::from_millis(1500))).await.unwrap();
    let LogData::Matrix(series) = &data else { panic!("{data:?}") };
    assert_eq!(series[0].labels["endpoint"], "/orders");
    assert_eq!(series[0].samples[0].value, 412.5);
    assert_eq!(series[0].samples[1].timestamp_unix_nanos, 1_700_000_060_500_000_000);
    assert!(data.entries().is_empty());
    assert_eq!(server.only_request().parameter("step"), Some("1.5"));
}

#[tokio::test]
async fn an_instant_query_gives_a_vector() {
    let vector = r#"{"status":"success","data":{"resultType":"vector","result":[
        {"metric":{"level":"error"},"value":[1700000000.123,"3"]}],"stats":{}}}"#;
    let server = Server::with("/loki/api/v1/query", 200, vector).await;
    let data = Loki::at(&server.url).unwrap().query("count_over_time({a=\"b\"}[1m])", Some(17)).await.unwrap();
    let LogData::Vector(samples) = &data else { panic!("{data:?}") };
    let sample = samples[0].sample.unwrap();
    assert_eq!((sample.timestamp_unix_nanos, sample.value), (1_700_000_000_123_000_000, 3.0));
    assert_eq!(server.only_request().parameter("time"), Some("17"));
}

#[tokio::test]
async fn labels_and_their_values_are_listed() {
    let server =
        Server::with("/loki/api/v1/labels", 200, r#"{"status":"success","data":["level","service_name"]}"#).await;
    let labels = Loki::at(&server.url).unwrap().labels(TimeRange::new(1, 2)).await.unwrap();
    assert_eq!(labels, ["level", "service_name"]);

    // Loki leaves `data` out where there is nothing.
    let server = Server::with("/loki/api/v1/label/level/values", 200, r#"{"status":"success"}"#).await;
    let values = Loki::at(&server.url).unwrap().label_values("level", TimeRange::new(1, 2)).await.unwrap();
    assert!(values.is_empty());
}

#[tokio::test]
async fn an_answer_of_another_kind_is_an_error() {
    for body in [
        r#"{"status":"success"}"#,
        r#"{"status":"success","data":{"resultType":"streams","result":[{"stream":{},"values":[["x","line"]]}]}}"#,
        r#"{"status":"success","data":{"resultType":"streams","result":[{"stream":{},"values":[["1"]]}]}}"#,
        r#"{"status":"success","data":{"resultType":"table","result":[]}}"#,
    ] {
        let server = Server::with(QUERY_RANGE, 200, body).await;
        let error = Loki::at(&server.url).unwrap().query_range(&LogQuery::new("{a=\"b\"}")).await.unwrap_err();
        assert!(matches!(error, lgtm_query::Error::Decode { status: 200, .. }), "{error}");
    }
}

#[tokio::test]
async fn what_there_is_in_loki_is_read() {
    let range = lgtm_query::TimeRange::new(1, 2);
    let server = Server::with("/loki/api/v1/series", 200, r#"{"status":"success","data":[{"service":"shop"}]}"#).await;
    let series = Loki::at(&server.url).unwrap().series(&["{a=\"b\"}", "{c=\"d\"}"], range).await.unwrap();
    assert_eq!(series[0]["service"], "shop");
    assert_eq!(server.only_request().parameters("match[]"), ["{a=\"b\"}", "{c=\"d\"}"]);

    let server =
        Server::with("/loki/api/v1/index/stats", 200, r#"{"streams":1,"chunks":2,"entries":3,"bytes":4}"#).await;
    let stats = Loki::at(&server.url).unwrap().stats("{}", range).await.unwrap();
    assert_eq!((stats.streams, stats.chunks, stats.entries, stats.bytes), (1, 2, 3, 4));

    let volume = r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{"level":"info"},"value":[1,"42"]}]}}"#;
    let server = Server::with("/loki/api/v1/index/volume", 200, volume).await;
    let volume = Loki::at(&server.url).unwrap().volume("{}", &["level", "service"], range, 5).await.unwrap();
    assert_eq!(volume[0].sample.unwrap().value, 42.0);
    assert_eq!(server.only_request().parameter("targetLabels"), Some("level,service"));

    let fields = r#"{"fields":[{"label":"order_id","type":"int","cardinality":7,"parsers":["json"]},
        {"label":"trace_id","type":"string","cardinality":9,"parsers":null}],"limit":1000}"#;
    let server = Server::with("/loki/api/v1/detected_fields", 200, fields).await;
    let fields = Loki::at(&server.url).unwrap().detected_fields("{}", range).await.unwrap();
    assert_eq!((fields[0].value_type.as_str(), fields[0].parsers.as_slice()), ("int", &["json".to_owned()][..]));
    assert!(fields[1].parsers.is_empty());

    let patterns = r#"{"status":"success","data":[{"pattern":"took <_> ms","samples":[[1700000000,3]]}]}"#;
    let server = Server::with("/loki/api/v1/patterns", 200, patterns).await;
    let patterns = Loki::at(&server.url).unwrap().patterns("{}", range).await.unwrap();
    assert_eq!((patterns[0].pattern.as_str(), patterns[0].samples[0]), ("took <_> ms", (1_700_000_000, 3)));

    let server = Server::with("/loki/api/v1/format_query", 200, r#"{"status":"success","data":"{a=\"b\"}"}"#).await;
    assert_eq!(Loki::at(&server.url).unwrap().format_query("{a= \"b\"}").await.unwrap(), "{a=\"b\"}");
}
