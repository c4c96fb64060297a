//! PromQL answers, from Prometheus and under Mimir's prefix.

use std::time::Duration;

use lgtm_query::{MetricData, Prometheus, TimeRange};

use crate::server::Server;

#[tokio::test]
async fn an_instant_query_gives_values_and_warnings() {
    let vector = r#"{"status":"success","data":{"resultType":"vector","result":[
        {"metric":{"__name__":"http_requests_total","status":"500"},"value":[1700000000.123,"42"]}]},
        "warnings":["w"],"infos":["PromQL info: metric might not be a counter"]}"#;
    let server = Server::with("/api/v1/query", 200, vector).await;
    let answer = Prometheus::at(&server.url).unwrap().query("http_requests_total", Some(1_500_000_000)).await.unwrap();
    assert_eq!(answer.data.single_value(), Some(42.0));
    assert_eq!(answer.data.vector()[0].labels["status"], "500");
    assert_eq!(answer.data.vector()[0].sample.unwrap().timestamp_unix_nanos, 1_700_000_000_123_000_000);
    assert_eq!(answer.warnings, ["w", "PromQL info: metric might not be a counter"]);
    assert_eq!(server.only_request().parameter("time"), Some("1.500000000"));
}

#[tokio::test]
async fn scalars_strings_and_nothing_are_told_apart() {
    let data = async |result: &str| {
        let server = Server::with("/api/v1/query", 200, format!(r#"{{"status":"success","data":{result}}}"#)).await;
        Prometheus::at(&server.url).unwrap().query("x", None).await.unwrap().data
    };
    assert_eq!(data(r#"{"resultType":"scalar","result":[1,"+Inf"]}"#).await.single_value(), Some(f64::INFINITY));
    let text = data(r#"{"resultType":"string","result":[1,"hello"]}"#).await;
    assert_eq!(text, MetricData::String((1.0, "hello".into())));
    let nothing = data(r#"{"resultType":"vector","result":[]}"#).await;
    assert!(nothing.is_empty() && nothing.single_value().is_none());
}

#[tokio::test]
async fn a_range_query_under_mimirs_prefix_gives_series() {
    let matrix = r#"{"status":"success","data":{"resultType":"matrix","result":[
        {"metric":{"job":"shop"},"values":[[1700000000,"1"],[1700000015,"2"]]},
        {"metric":{"job":"native"},"histograms":[[1700000000,{"count":"1","sum":"2"}]]}]}}"#;
    let server = Server::with("/prometheus/api/v1/query_range", 200, matrix).await;
    let mimir = Prometheus::at(format!("{}/prometheus", server.url)).unwrap();
    let range = TimeRange::new(1_700_000_000_000_000_000, 1_700_000_015_000_000_000);
    let answer = mimir.query_range("up", range, Duration::from_secs(15)).await.unwrap();
    let series = answer.data.matrix();
    assert_eq!(series[0].samples.iter().map(|sample| sample.value).collect::<Vec<_>>(), [1.0, 2.0]);
    assert!(series[1].samples.is_empty());
    assert_eq!(series[1].histograms[0].sum, 2.0);
    let asked = server.only_request();
    assert_eq!((asked.parameter("query"), asked.parameter("step")), (Some("up"), Some("15")));
    assert_eq!(asked.parameter("end"), Some("1700000015.000000000"));
}

#[tokio::test]
async fn exemplars_name_their_traces() {
    let exemplars = r#"{"status":"success","data":[{"seriesLabels":{"__name__":"http_request_duration_seconds_bucket","le":"0.5"},
        "exemplars":[{"labels":{"trace_id":"0af7651916cd43dd8448eb211c80319c","span_id":"b7ad6b7169203331"},"value":"0.412","timestamp":1700000000.412},
                     {"labels":{"user":"x"},"value":"0.2","timestamp":1700000001}]}]}"#;
    let server = Server::with("/api/v1/query_exemplars", 200, exemplars).await;
    let range = TimeRange::new(1, 2_000_000_000);
    let series = Prometheus::at(&server.url)
        .unwrap()
        .query_exemplars("http_request_duration_seconds_bucket", range)
        .await
        .unwrap();
    assert_eq!(series[0].labels["le"], "0.5");
    let [first, second] = series[0].exemplars.as_slice() else { panic!("{series:?}") };
    assert_eq!(first.trace_id().unwrap().to_string(), "0af7651916cd43dd8448eb211c80319c");
    assert_eq!((first.value, first.timestamp_unix_nanos), (0.412, 1_700_000_000_412_000_000));
    assert_eq!(second.trace_id(), None);
    assert_eq!(server.only_request().parameter("start"), Some("0.000000001"));
}

#[tokio::test]
async fn series_are_listed_for_several_matchers() {
    let listed = r#"{"status":"success","data":[{"__name__":"up","job":"shop"}]}"#;
    let server = Server::with("/api/v1/series", 200, listed).await;
    let series =
        Prometheus::at(&server.url).unwrap().series(&["up", r#"{job="x"}"#], TimeRange::new(1, 2)).await.unwrap();
    assert_eq!(series[0]["job"], "shop");
    assert_eq!(server.only_request().parameters("match[]"), ["up", r#"{job="x"}"#]);
}

#[tokio::test]
async fn readiness_is_found_at_prometheus_and_at_mimir() {
    let prometheus = Server::with("/-/ready", 200, "Prometheus Server is Ready.\n").await;
    assert!(Prometheus::at(&prometheus.url).unwrap().is_ready().await.unwrap());
    let mimir = Server::with("/ready", 503, "Some services are not Running").await;
    assert!(!Prometheus::at(format!("{}/prometheus", mimir.url)).unwrap().is_ready().await.unwrap());
}

#[tokio::test]
async fn labels_and_their_values_are_listed() {
    let listed = r#"{"status":"success","data":["checkout","shop"]}"#;
    let server = Server::with("/api/v1/label/job/values", 200, listed).await;
    let prometheus = Prometheus::at(&server.url).unwrap();
    let values = prometheus.label_values("job", &["up"], TimeRange::new(1, 2)).await.unwrap();
    assert_eq!(values, ["checkout", "shop"]);
    assert_eq!(server.only_request().parameters("match[]"), ["up"]);
    let server = Server::with("/api/v1/labels", 200, r#"{"status":"success","data":["job"]}"#).await;
    assert_eq!(Prometheus::at(&server.url).unwrap().labels(&[], TimeRange::new(1, 2)).await.unwrap(), ["job"]);
}

#[tokio::test]
async fn metadata_is_listed_by_name() {
    let known =
        r#"{"status":"success","data":{"up":[{"type":"gauge","help":"Up","unit":""}],"x":[{"type":"unknown"}]}}"#;
    let server = Server::with("/api/v1/metadata", 200, known).await;
    let metadata = Prometheus::at(&server.url).unwrap().metadata(Some("up")).await.unwrap();
    assert_eq!((metadata["up"][0].metric_type.as_str(), metadata["up"][0].help.as_str()), ("gauge", "Up"));
    assert_eq!(server.only_request().parameter("metric"), Some("up"));
}

#[tokio::test]
async fn rules_alerts_targets_and_the_version_are_read() {
    let rules = r#"{"status":"success","data":{"groups":[{"name":"g","file":"f.yaml","interval":15,"rules":[
        {"type":"alerting","name":"Down","query":"up == 0","state":"firing","health":"ok","duration":60,"labels":{"severity":"page"},
         "annotations":{"summary":"s"},"alerts":[{"labels":{"alertname":"Down"},"annotations":{},"state":"firing",
         "activeAt":"2026-01-01T00:00:00Z","value":"0e+00"}]},
        {"type":"recording","name":"a:b","query":"sum(up)","health":"err","lastError":"bad"}]}]}}"#;
    let server = Server::with("/api/v1/rules", 200, rules).await;
    let groups = Prometheus::at(&server.url).unwrap().rules().await.unwrap();
    let [down, recorded] = groups[0].rules.as_slice() else { panic!("{groups:?}") };
    assert_eq!((down.state.as_deref(), down.alerts[0].labels["alertname"].as_str()), (Some("firing"), "Down"));
    assert_eq!((recorded.rule_type.as_str(), recorded.last_error.as_str()), ("recording", "bad"));

    let alerts =
        r#"{"status":"success","data":{"alerts":[{"labels":{"alertname":"Down"},"state":"pending","value":"1"}]}}"#;
    let server = Server::with("/api/v1/alerts", 200, alerts).await;
    assert_eq!(Prometheus::at(&server.url).unwrap().alerts().await.unwrap()[0].state, "pending");

    let targets = r#"{"status":"success","data":{"activeTargets":[{"labels":{"job":"shop"},"scrapeUrl":"http://x/metrics",
        "health":"down","lastError":"refused"}],"droppedTargets":[]}}"#;
    let server = Server::with("/api/v1/targets", 200, targets).await;
    let targets = Prometheus::at(&server.url).unwrap().targets().await.unwrap();
    assert_eq!((targets[0].health.as_str(), targets[0].last_error.as_str()), ("down", "refused"));

    let build = r#"{"status":"success","data":{"version":"3.1.0","revision":"x"}}"#;
    let server = Server::with("/api/v1/status/buildinfo", 200, build).await;
    assert_eq!(Prometheus::at(&server.url).unwrap().version().await.unwrap(), "3.1.0");
}
