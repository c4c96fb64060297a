//! The development stack beside the real servers that it stands for: it takes what a real Prometheus writes, and answers what Prometheus and Loki
//! answer to the same questions. `LGTM_REAL` says what happens where a server is missing, see [`lgtm_tests::real`].

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed step fails the test, also in its helpers"
)]

use std::collections::BTreeMap;
use std::error::Error;
use std::time::Duration;

use lgtm_core::unix_nanos;
use lgtm_devstack::Devstack;
use lgtm_tests::client::plain;
use lgtm_tests::real::Server;
use lgtm_tests::signals::PATIENCE;
use serde_json::{Value, json};

type Outcome = Result<(), Box<dyn Error>>;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}

async fn ask(url: &str, query: &[(&str, &str)]) -> Value {
    let query: Vec<String> = query.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
    let response = plain().get(format!("{url}?{}", query.join("&"))).send().await.expect("an answer");
    let (status, text) = (response.status(), response.text().await.expect("a text"));
    assert!(status.is_success(), "{url}: {status} {text}");
    serde_json::from_str(&text).expect("JSON")
}

fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02x}")).collect()
}

/// Series of an answer by their labels, with the text of their numbers as numbers: the last digit of a bound may differ.
fn by_labels(answer: &Value) -> BTreeMap<String, Value> {
    let found = answer["data"]["result"].as_array().expect("a result");
    found.iter().map(|series| (series["metric"].to_string(), series.clone())).collect()
}

fn assert_close(one: &Value, other: &Value, what: &str) {
    match (one, other) {
        (Value::Array(one), Value::Array(other)) => {
            assert_eq!(one.len(), other.len(), "{what}: {one:?} {other:?}");
            one.iter().zip(other).for_each(|(one, other)| assert_close(one, other, what));
        }
        (Value::Object(one), Value::Object(other)) => {
            assert!(one.keys().eq(other.keys()), "{what}: {one:?} {other:?}");
            one.iter().for_each(|(name, value)| assert_close(value, &other[name], what));
        }
        (Value::String(one), Value::String(other)) if one != other => {
            let [one, other] = [one, other].map(|text| text.parse::<f64>().expect("a number"));
            assert!((one - other).abs() <= one.abs() * 1e-14, "{what}: {one} {other}");
        }
        (one, other) => assert_eq!(one, other, "{what}"),
    }
}

#[test]
fn a_real_prometheus_writes_what_it_scraped_and_both_answer_the_same() -> Outcome {
    let builder = lgtm_mimir::builder().listen(([127, 0, 0, 1], 0).into()).native_histograms_for("work_seconds", 160);
    let mimir = builder.build()?;
    let work = || {
        metrics::with_local_recorder(&mimir.recorder(), || {
            let (work, classic) = (metrics::histogram!("work_seconds"), metrics::histogram!("classic_seconds"));
            for millisecond in 1..=500 {
                work.record(f64::from(millisecond) / 1000.0);
                classic.record(f64::from(millisecond) / 1000.0);
            }
            work.record(-0.5);
            work.record(0.0);
            metrics::counter!("orders_total", "outcome" => "taken").increment(3);
        });
    };
    runtime().block_on(async {
        let stack = Devstack::start().await?;
        let url = format!("{}/api/v1/write", stack.mimir_url());
        // Of a rate the counts are floats.
        let rules = [("work:rate", "rate(work_seconds[1m])"), ("orders:rate", "rate(orders_total[1m])")];
        let target = mimir.local_addr().expect("it listens");
        let Some(server) = Server::prometheus_writing(target, &rules, &url) else { return Ok(()) };
        server.ready().await;
        work();
        let has = |name: &'static str| move |store: &lgtm_devstack::Store| !store.series_named(name).is_empty();
        stack.wait_for(has("work_seconds"), PATIENCE).await?;
        work();
        let store = stack.store();
        let full = |store: &lgtm_devstack::Store| {
            store
                .series_named("work_seconds")
                .iter()
                .any(|series| series.histograms.last().is_some_and(|one| one.count == 1004))
        };
        stack.wait_for(full, PATIENCE).await?;
        let grown = |store: &lgtm_devstack::Store| {
            let rates = store.series_named("work:rate");
            rates
                .iter()
                .flat_map(|series| &series.histograms)
                .any(|one| one.count_float.is_some_and(|count| count > 0.0))
        };
        stack.wait_for(grown, PATIENCE).await?;
        assert_eq!((stack.counts().histograms.rejected, stack.counts().samples.rejected), (0, 0));
        for name in
            ["work_seconds", "work:rate", "classic_seconds_bucket", "classic_seconds_count", "orders_total", "up"]
        {
            let series = store.series_named(name);
            let times = series.iter().filter_map(|series| {
                let sample = series.samples.last().map(|sample| sample.timestamp_ms);
                sample.max(series.histograms.last().map(|histogram| histogram.timestamp))
            });
            let time = times.max().ok_or_else(|| format!("{name} is not written"))?;
            let time = (time as f64 / 1000.0).to_string();
            let query = [("query", name), ("time", time.as_str())];
            let theirs = by_labels(&ask(&format!("{}/api/v1/query", server.url()), &query).await);
            let ours = by_labels(&ask(&format!("{}/api/v1/query", stack.mimir_url()), &query).await);
            assert!(!theirs.is_empty() && ours.keys().eq(theirs.keys()), "{name}: {ours:?} {theirs:?}");
            for (labels, ours) in &ours {
                assert_close(ours, &theirs[labels], labels);
            }
        }
        assert!(server.is_running(), "{}", server.last_words());
        Ok(())
    })
}

/// Tempo has the remote write of Prometheus 3 in it, whose version 2 Debian's Prometheus has not.
#[test]
fn a_real_client_of_remote_write_2_is_taken_with_native_histograms_and_exemplars() -> Outcome {
    const SPANS: u64 = 20;
    runtime().block_on(async {
        let stack = Devstack::start().await?;
        let Some(server) = Server::tempo_writing(&format!("{}/api/v1/write", stack.mimir_url())) else { return Ok(()) };
        server.ready().await;
        let now = unix_nanos();
        let span = |number: u64| {
            json!({ "traceId": format!("{:032x}", now + number), "spanId": format!("{:016x}", number + 1), "name": "work", "kind": 2,
                "startTimeUnixNano": (now - 1_000_000 * (number + 1)).to_string(), "endTimeUnixNano": now.to_string() })
        };
        let resource = json!({ "attributes": pairs(&[("service.name", text("shop"))]) });
        let spans: Vec<Value> = (0..SPANS).map(span).collect();
        let body = json!({ "resourceSpans": [{ "resource": resource, "scopeSpans": [{ "spans": spans }] }] }).to_string();
        let request = plain().post(format!("{}/v1/traces", server.otlp_http_url())).header("content-type", "application/json");
        assert_eq!(request.body(body).send().await?.status().as_u16(), 200);
        let store = stack.store();
        let counted = |store: &lgtm_devstack::Store| {
            let series = store.series_named("traces_spanmetrics_latency");
            let has_exemplar = |series: &lgtm_devstack::Series| series.exemplars.iter().any(|exemplar| exemplar.trace_id().is_some());
            series.iter().any(|series| series.histograms.last().is_some_and(|newest| newest.count == SPANS))
                && store.series().iter().any(has_exemplar)
        };
        // It reads its own log again for a quarter of a minute before it sends.
        stack.wait_for(counted, PATIENCE).await.map_err(|error| format!("{error}\n{}", server.last_words()))?;
        let requests = store.requests_to(lgtm_devstack::Endpoint::RemoteWrite);
        for request in &requests {
            assert_eq!(request.header("x-prometheus-remote-write-version"), Some("2.0.0"));
            assert_eq!(request.status(), Some(204), "{request:?}");
        }
        let counts = stack.counts();
        assert_eq!((counts.samples.rejected, counts.histograms.rejected, counts.exemplars.rejected), (0, 0, 0));
        let calls = store.series_named("traces_spanmetrics_calls_total");
        assert_eq!(calls.iter().filter_map(lgtm_devstack::Series::last_value).sum::<f64>(), SPANS as f64);
        Ok(())
    })
}

fn text(text: &str) -> Value {
    json!({ "stringValue": text })
}

fn pairs(values: &[(&str, Value)]) -> Value {
    values.iter().map(|(key, value)| json!({ "key": key, "value": value })).collect()
}

/// Records of everything that OTLP has, with what is odd in it.
fn records(now: u64) -> Vec<Value> {
    let map = json!({ "kvlistValue": { "values": pairs(&[("z", text("1")), ("a", json!({ "intValue": "2" })),
        ("m", json!({ "kvlistValue": { "values": pairs(&[("x", text("y"))]) } }))]) } });
    let array = json!({ "arrayValue": { "values": [{ "intValue": "1" }, text("a<b>&\"q\" é\u{2028}"), { "doubleValue": 1.5 },
        { "bytesValue": "AQL/" }, { "arrayValue": { "values": [] } }, {}, { "doubleValue": 1e-9 }, map] } });
    let kinds = [
        text("plain"),
        json!({ "boolValue": true }),
        json!({ "intValue": "-7" }),
        json!({ "doubleValue": 0.1 }),
        json!({ "doubleValue": 1e21 }),
        json!({ "doubleValue": 1e-7 }),
        json!({ "doubleValue": 5 }),
        json!({ "bytesValue": "AQL/" }),
        array,
        map,
        json!({ "kvlistValue": { "values": [] } }),
        json!({ "arrayValue": { "values": [] } }),
        json!({}),
    ];
    let bodies = kinds.iter().map(|kind| json!({ "body": kind }));
    let attributes =
        kinds.iter().map(|kind| json!({ "body": text("of any kind"), "attributes": pairs(&[("v", kind.clone())]) }));
    let odd = [
        json!({ "body": text("all"), "observedTimeUnixNano": (now + 5).to_string(), "severityNumber": 17, "severityText": "ERROR",
            "droppedAttributesCount": 2, "flags": 1, "traceId": "5B8EFFF798038103D269B633813FC60C", "spanId": "EEE19B7EC3C1B174" }),
        json!({ "body": text("zero ids"), "traceId": "0".repeat(32), "spanId": "0".repeat(16) }),
        json!({ "body": text("names"), "traceId": "", "attributes": pairs(&[
            ("http.route", text("r")), ("_under", text("u")), ("__dunder", text("d")), ("9lives", text("n")), ("a-b", text("1")), ("a.b", text("2")),
            ("empty", text("")), ("trace_id", text("own")), ("both", text("log")), ("scope_name", text("mine")), ("twice", text("1")),
            ("twice", text("2")),
        ]) }),
        json!({ "body": text("") }),
        json!({ "body": text("number only"), "severityNumber": 5 }),
        json!({ "body": text("text only"), "severityText": "warn" }),
    ];
    let mut all: Vec<Value> = bodies.chain(attributes).chain(odd).collect();
    for (at, record) in all.iter_mut().enumerate() {
        record["timeUnixNano"] = json!((now + at as u64).to_string());
    }
    all.push(json!({ "observedTimeUnixNano": (now + 900).to_string(), "body": text("observed only") }));
    all
}

/// Time, line and labels of each entry, in order. What Loki makes of the line by itself is left out.
async fn entries(url: &str, now: u64) -> Vec<(String, String, BTreeMap<String, String>)> {
    let (start, end) = ((now - 1_000_000_000).to_string(), (now + 1_000_000_000).to_string());
    let query = [("query", r#"{service_name=~".+"}"#), ("limit", "1000"), ("start", &start), ("end", &end)];
    let answer = ask(&format!("{url}/loki/api/v1/query_range"), &query).await;
    let mut found = Vec::new();
    for stream in answer["data"]["result"].as_array().expect("a result") {
        let mut labels: BTreeMap<String, String> = serde_json::from_value(stream["stream"].clone()).expect("labels");
        labels.remove("detected_level");
        for value in stream["values"].as_array().expect("values") {
            let part = |at: usize| value[at].as_str().expect("text").to_owned();
            found.push((part(0), part(1), labels.clone()));
        }
    }
    found.sort();
    found
}

#[test]
fn log_records_are_kept_as_a_real_loki_keeps_them() -> Outcome {
    let Some(server) = Server::loki() else { return Ok(()) };
    runtime().block_on(async {
        server.ready().await;
        let stack = Devstack::start().await?;
        let now = unix_nanos();
        let resource = pairs(&[
            ("service.name", text("shop")),
            ("service.namespace", text("ns")),
            ("service.instance.id", text("i1")),
            ("cloud.availability_zone", text("z")),
            ("k8s.cluster.name", text("c")),
            ("k8s.job.name", text("j")),
            ("host.name", text("h")),
            ("both", text("resource")),
            ("deep", json!({ "kvlistValue": { "values": pairs(&[("in.ner", text("x"))]) } })),
        ]);
        let scope = json!({ "name": "sc", "version": "1", "droppedAttributesCount": 3,
            "attributes": pairs(&[("scope.attr", text("sa")), ("both", text("scope"))]) });
        let lone = |at: u64, attributes: &[(&str, Value)]| {
            json!({ "resource": { "attributes": pairs(attributes) },
            "scopeLogs": [{ "logRecords": [{ "timeUnixNano": (now + at).to_string(), "body": text("lone") }] }] })
        };
        let body = json!({ "resourceLogs": [
            { "resource": { "attributes": resource }, "scopeLogs": [{ "scope": scope, "logRecords": records(now) }] },
            lone(1000, &[("k8s.container.name", text("kc")), ("container.name", text("cn"))]),
            lone(1001, &[("service.name", text("")), ("x", text("y"))]),
            lone(1002, &[]),
        ] });
        for url in [server.url(), &stack.loki_url()] {
            let request = plain().post(format!("{url}/otlp/v1/logs")).header("content-type", "application/json");
            assert_eq!(request.body(body.to_string()).send().await?.status().as_u16(), 204);
        }
        let ours = entries(&stack.loki_url(), now).await;
        let mut theirs = entries(server.url(), now).await;
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while theirs.len() < ours.len() && tokio::time::Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(100)).await;
            theirs = entries(server.url(), now).await;
        }
        assert_eq!(ours.len(), 36);
        for (ours, theirs) in ours.iter().zip(&theirs) {
            assert_eq!(ours, theirs);
        }
        assert_eq!(ours.len(), theirs.len());
        Ok(())
    })
}
