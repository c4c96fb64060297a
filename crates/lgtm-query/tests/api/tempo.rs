//! Traces by id and TraceQL answers.

use std::time::Duration;

use lgtm_query::{AttributeValue, Error, SpanKind, StatusCode, Tempo, TimeRange, Trace, TraceId, TraceSearch};

use crate::server::Server;

const ID: &str = "0af7651916cd43dd8448eb211c80319c";
const PATH: &str = "/api/v2/traces/0af7651916cd43dd8448eb211c80319c";

/// Two services, ids in base64: the form of Tempo's version 2 API.
const BASE64_TRACE: &str = r#"{"trace":{"resourceSpans":[
  {"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"storefront"}}]},
   "scopeSpans":[{"scope":{"name":"shop::orders","version":"0.1"},"spans":[
     {"traceId":"CvdlGRbNQ92ESOshHIAxnA==","spanId":"t61rcWkgMzE=","name":"POST /orders","kind":"SPAN_KIND_SERVER",
      "startTimeUnixNano":"1700000000000000000","endTimeUnixNano":"1700000000412345678","flags":257,
      "attributes":[{"key":"http.request.method","value":{"stringValue":"POST"}},
                    {"key":"http.response.status_code","value":{"intValue":"500"}},
                    {"key":"ratio","value":{"doubleValue":0.5}},{"key":"retried","value":{"boolValue":false}},
                    {"key":"skus","value":{"arrayValue":{"values":[{"intValue":"13"},{"stringValue":"x"}]}}},
                    {"key":"nested","value":{"kvlistValue":{"values":[{"key":"a","value":{"intValue":"1"}}]}}},
                    {"key":"raw","value":{"bytesValue":"AP8="}},{"key":"nothing","value":{}}],
      "events":[{"timeUnixNano":"1700000000400000000","name":"exception",
                 "attributes":[{"key":"exception.message","value":{"stringValue":"out of stock"}}]}],
      "links":[{"traceId":"AAAAAAAAAAAAAAAAAAAAew==","spanId":"AAAAAAAAAAE=","traceState":"a=b"}],
      "droppedEventsCount":2,
      "status":{"code":"STATUS_CODE_ERROR","message":"out of stock"}}]}]},
  {"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"inventory"}}]},
   "scopeSpans":[{"scope":{},"spans":[
     {"traceId":"CvdlGRbNQ92ESOshHIAxnA==","spanId":"AAAAAAAAAAI=","parentSpanId":"t61rcWkgMzE=","name":"POST /reserve/{sku}",
      "kind":"SPAN_KIND_CLIENT","startTimeUnixNano":"1700000000001000000","endTimeUnixNano":"1700000000002000000","status":{}}]}]}
]},"metrics":{}}"#;

#[tokio::test]
async fn a_trace_is_read_with_all_its_parts() {
    let server = Server::with(PATH, 200, BASE64_TRACE).await;
    let trace = Tempo::at(&server.url).unwrap().trace(ID.parse().unwrap()).await.unwrap().unwrap();
    assert_eq!(trace.spans.len(), 2);
    let [order, reserve] = trace.spans.as_slice() else { panic!() };
    assert_eq!(order.trace_id.to_string(), ID);
    assert_eq!(order.span_id.to_string(), "b7ad6b7169203331");
    assert_eq!(order.parent_span_id, None);
    assert_eq!((order.service_name.as_str(), order.scope.as_str()), ("storefront", "shop::orders"));
    assert_eq!((order.name.as_str(), order.kind), ("POST /orders", SpanKind::Server));
    assert_eq!((order.start_unix_nanos, order.duration_nanos()), (1_700_000_000_000_000_000, 412_345_678));
    assert_eq!((order.status.code, order.status.message.as_str()), (StatusCode::Error, "out of stock"));
    assert_eq!(order.attributes["http.response.status_code"].as_int(), Some(500));
    assert_eq!(order.attributes["ratio"], AttributeValue::Double(0.5));
    assert_eq!(order.attributes["retried"], AttributeValue::Bool(false));
    assert_eq!(order.attributes["skus"].to_string(), "[13, x]");
    assert_eq!(order.attributes["nested"].to_string(), "{a=1}");
    assert_eq!(order.attributes["raw"], AttributeValue::Bytes(vec![0, 255]));
    assert_eq!(order.attributes["nothing"], AttributeValue::Empty);
    assert_eq!(order.events[0].name, "exception");
    assert_eq!(order.events[0].time_unix_nanos, 1_700_000_000_400_000_000);
    assert_eq!(order.events[0].attributes["exception.message"].as_str(), Some("out of stock"));
    assert_eq!(order.links[0].trace_id.to_string(), "0000000000000000000000000000007b");
    assert_eq!(order.links[0].trace_state, "a=b");
    assert_eq!((order.dropped_events_count, order.dropped_links_count), (2, 0));
    assert_eq!(reserve.parent_span_id, Some(order.span_id));
    assert_eq!(reserve.status.code, StatusCode::Unset);
    assert_eq!(trace.resource(reserve).unwrap()["service.name"].as_str(), Some("inventory"));
    assert_eq!(trace.errors().count(), 1);
    assert_eq!(trace.partial, None);

    let expected = "\
trace 0af7651916cd43dd8448eb211c80319c, 2 spans, 2 services, 412.345 ms, 1 error
       start     duration  service     span
    0.000 ms   412.345 ms  storefront  POST /orders [server] ✗ out of stock
    1.000 ms     1.000 ms  inventory   └─ POST /reserve/{sku} [client]
";
    assert_eq!(trace.tree().to_string(), expected);
}

#[tokio::test]
async fn hexadecimal_ids_and_numeric_enums_are_the_same_trace() {
    let hexadecimal = BASE64_TRACE
        .replace("CvdlGRbNQ92ESOshHIAxnA==", ID)
        .replace("t61rcWkgMzE=", "B7AD6B7169203331")
        .replace("AAAAAAAAAAAAAAAAAAAAew==", "0000000000000000000000000000007b")
        .replace("AAAAAAAAAAI=", "0000000000000002")
        .replace("AAAAAAAAAAE=", "0000000000000001")
        .replace("\"SPAN_KIND_SERVER\"", "2")
        .replace("\"SPAN_KIND_CLIENT\"", "3")
        .replace("\"STATUS_CODE_ERROR\"", "2")
        .replace("\"1700000000000000000\"", "1700000000000000000")
        .replace("{\"intValue\":\"500\"}", "{\"intValue\":500}");
    let id: TraceId = ID.parse().unwrap();
    let read = |json: &str| Trace::from_json(id, json.as_bytes()).unwrap().unwrap();
    assert_eq!(read(&hexadecimal), read(BASE64_TRACE));

    let (_, body) = hexadecimal.split_once(':').unwrap();
    let otlp = body.rsplit_once(",\"metrics\"").unwrap().0;
    assert_eq!(read(otlp), read(BASE64_TRACE));
    assert_eq!(read(&otlp.replacen("resourceSpans", "batches", 1)), read(BASE64_TRACE));
}

#[tokio::test]
async fn an_unknown_trace_is_a_miss() {
    for (status, body) in [(200, r#"{"trace":{}}"#), (200, r#"{"trace":{},"metrics":{}}"#), (404, "trace not found")] {
        let server = Server::with(PATH, status, body).await;
        let found = Tempo::at(&server.url).unwrap().trace(ID.parse().unwrap()).await.unwrap();
        assert_eq!(found, None, "{status} {body}");
    }
}

#[tokio::test]
async fn a_404_of_something_else_is_not_a_miss() {
    let server = Server::with("/elsewhere", 200, "").await;
    let error = Tempo::at(&server.url).unwrap().trace(ID.parse().unwrap()).await.unwrap_err();
    assert_eq!(error.status(), Some(404));
    assert!(error.to_string().contains("404 page not found"), "{error}");
}

#[tokio::test]
async fn a_partial_trace_says_so() {
    let partial = BASE64_TRACE.replace(r#""metrics":{}"#, r#""status":"PARTIAL","message":"larger than 5 MB""#);
    let server = Server::with(PATH, 200, partial).await;
    let trace = Tempo::at(&server.url).unwrap().trace(ID.parse().unwrap()).await.unwrap().unwrap();
    assert_eq!(trace.partial.as_deref(), Some("larger than 5 MB"));
}

#[tokio::test]
async fn garbage_in_place_of_a_trace_is_an_error() {
    let wrong_id = BASE64_TRACE.replace("t61rcWkgMzE=", "t61r");
    let wrong_kind = BASE64_TRACE.replace("SPAN_KIND_CLIENT", "SPAN_KIND_HOLIDAY");
    let deep = format!(r#"{{"trace":{}"#, "[".repeat(100_000));
    for body in ["", "{}", "[]", "<html>", "{\"trace\":", wrong_id.as_str(), wrong_kind.as_str(), deep.as_str()] {
        let server = Server::with(PATH, 200, body).await;
        let outcome = Tempo::at(&server.url).unwrap().trace(ID.parse().unwrap()).await;
        assert!(matches!(outcome, Err(Error::Decode { status: 200, .. })), "{outcome:?}");
    }
}

#[tokio::test]
async fn a_search_gives_full_ids_and_matching_spans() {
    let found = r#"{"traces":[{"traceID":"7651916cd43dd8448eb211c80319c","rootServiceName":"storefront",
        "rootTraceName":"POST /orders","startTimeUnixNano":"1700000000000000000","durationMs":412,
        "spanSet":{"spans":[{"spanID":"7ad6b7169203331","startTimeUnixNano":"1700000000000000000","durationNanos":"412345678"}],"matched":2},
        "spanSets":[{"spans":[{"spanID":"7ad6b7169203331","startTimeUnixNano":"1700000000000000000","durationNanos":"412345678",
            "attributes":[{"key":"status","value":{"stringValue":"error"}}]}],"matched":2}]},
        {"traceID":"1"}],"metrics":{"inspectedTraces":2,"completedJobs":1,"totalJobs":1}}"#;
    let server = Server::with("/api/search", 200, found).await;
    let search = TraceSearch::new("{ status = error }").range(TimeRange::new(1_500_000_000, 2_500_000_000)).limit(5);
    let traces = Tempo::at(&server.url).unwrap().search(&search.spans_per_span_set(10)).await.unwrap();
    assert_eq!(traces.len(), 2);
    assert_eq!(traces[0].trace_id.to_string(), "0007651916cd43dd8448eb211c80319c");
    assert_eq!(traces[0].duration, Duration::from_millis(412));
    assert_eq!(traces[0].matched, 2);
    let [span] = traces[0].spans.as_slice() else { panic!("{traces:?}") };
    assert_eq!(span.span_id.to_string(), "07ad6b7169203331");
    assert_eq!((span.start_unix_nanos, span.duration_nanos), (1_700_000_000_000_000_000, 412_345_678));
    assert_eq!(span.attributes["status"].as_str(), Some("error"));

    let asked = server.only_request();
    assert_eq!(asked.parameter("q"), Some("{ status = error }"));
    assert_eq!((asked.parameter("start"), asked.parameter("end")), (Some("1"), Some("3")));
    assert_eq!((asked.parameter("limit"), asked.parameter("spss")), (Some("5"), Some("10")));
}

#[tokio::test]
async fn an_empty_search_is_empty_and_a_foreign_answer_an_error() {
    let server = Server::with("/api/search", 200, r#"{"metrics":{"inspectedTraces":0}}"#).await;
    assert!(Tempo::at(&server.url).unwrap().search(&TraceSearch::new("{}")).await.unwrap().is_empty());
    for body in ["{}", r#"{"traces":[{"traceID":"xyz"}]}"#, r#"{"traces":{}}"#] {
        let server = Server::with("/api/search", 200, body).await;
        let error = Tempo::at(&server.url).unwrap().search(&TraceSearch::new("{}")).await.unwrap_err();
        assert!(matches!(error, Error::Decode { .. }), "{error}");
    }
}

#[tokio::test]
async fn attribute_names_and_values_are_listed() {
    let tags = r#"{"scopes":[{"name":"resource","tags":["service.name"]},{"name":"span","tags":["http.route"]}],"metrics":{}}"#;
    let server = Server::with("/api/v2/search/tags", 200, tags).await;
    let scopes = Tempo::at(&server.url).unwrap().tags(Some("span"), None).await.unwrap();
    assert_eq!((scopes[1].name.as_str(), scopes[1].tags[0].as_str()), ("span", "http.route"));
    assert_eq!(server.only_request().parameter("scope"), Some("span"));

    let values = r#"{"tagValues":[{"type":"string","value":"shop"}],"metrics":{}}"#;
    let server = Server::with("/api/v2/search/tag/resource.service.name/values", 200, values).await;
    let range = lgtm_query::TimeRange::new(1_500_000_000, 2_500_000_000);
    let tempo = Tempo::at(&server.url).unwrap();
    let values = tempo.tag_values("resource.service.name", Some("{ status = error }"), Some(range)).await.unwrap();
    assert_eq!((values[0].value_type.as_str(), values[0].value.as_str()), ("string", "shop"));
    let asked = server.only_request();
    assert_eq!((asked.parameter("start"), asked.parameter("end")), (Some("1"), Some("3")));
    assert_eq!(asked.parameter("q"), Some("{ status = error }"));
}

#[tokio::test]
async fn traceql_metrics_are_numbers_over_time_and_at_once() {
    let metrics = r#"{"series":[{"labels":[{"key":"resource.service.name","value":{"stringValue":"shop"}}],
        "samples":[{"timestampMs":"1700000000000","value":0.5},{"timestampMs":"1700000015000"}],
        "exemplars":[{"labels":[{"key":"trace:id","value":{"stringValue":"0af7651916cd43dd8448eb211c80319c"}}],
                      "value":0.25,"timestampMs":"1700000001000"}]}],"metrics":{}}"#;
    let server = Server::with("/api/metrics/query_range", 200, metrics).await;
    let range = lgtm_query::TimeRange::new(1_700_000_000_000_000_000, 1_700_000_015_000_000_000);
    let tempo = Tempo::at(&server.url).unwrap();
    let series = tempo.metrics_range("{ } | rate()", range, std::time::Duration::from_secs(15)).await.unwrap();
    let values: Vec<f64> = series[0].samples.iter().map(|sample| sample.value).collect();
    assert_eq!(values, [0.5, 0.0]);
    assert_eq!(series[0].exemplars[0].trace_id.unwrap().to_string(), "0af7651916cd43dd8448eb211c80319c");
    let asked = server.only_request();
    assert_eq!((asked.parameter("q"), asked.parameter("step")), (Some("{ } | rate()"), Some("15s")));

    let server = Server::with("/api/metrics/query", 200, r#"{"series":[{"labels":[],"value":7}]}"#).await;
    let series = Tempo::at(&server.url).unwrap().metrics_instant("{ } | count_over_time()", range).await.unwrap();
    assert_eq!(series[0].samples[0].value, 7.0);
    let server = Server::with("/api/metrics/query", 400, "invalid TraceQL query: parse error").await;
    let error = Tempo::at(&server.url).unwrap().metrics_instant("{", range).await.unwrap_err();
    assert!(error.to_string().contains("parse error"), "{error}");
}
