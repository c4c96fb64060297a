//! The scraper against a small endpoint.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::get;
use lgtm_devstack::exposition::Format;
use lgtm_devstack::{Devstack, MetricType, ScrapeError, ScrapeTarget};

use crate::client::{DEADLINE, get_json};

type Exposed = Arc<Mutex<(StatusCode, String)>>;

/// An endpoint that exposes what the test puts into it, as OpenMetrics to those who accept that.
async fn endpoint(text: &str) -> (String, Exposed) {
    let exposed: Exposed = Arc::new(Mutex::new((StatusCode::OK, text.to_owned())));
    let shown = Arc::clone(&exposed);
    let handler = async move |headers: HeaderMap| {
        let accept = headers["accept"].to_str().unwrap();
        assert!(accept.starts_with("application/openmetrics-text; version=1.0.0"), "{accept}");
        let (status, text) = shown.lock().unwrap().clone();
        (status, [("content-type", "application/openmetrics-text; version=1.0.0; charset=utf-8")], text)
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/metrics", listener.local_addr().unwrap());
    let router = Router::new().route("/metrics", get(handler));
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, exposed)
}

const FULL: &str = "# TYPE took_seconds histogram\n\
    # HELP took_seconds How long\n\
    took_seconds_bucket{le=\"0.5\"} 1 # {trace_id=\"abc\"} 0.25 1700000000.5\n\
    took_seconds_bucket{le=\"+Inf\"} 2 # {trace_id=\"def\"} 3\n\
    took_seconds_sum 3.25\n\
    took_seconds_count 2\n\
    # TYPE jobs gauge\n\
    jobs{job=\"inner\"} 4\n\
    # EOF\n";

#[tokio::test]
async fn samples_and_exemplars_are_stored_with_the_target_s_labels() {
    let stack = Devstack::start().await.unwrap();
    let (url, _) = endpoint(FULL).await;
    let report = stack.scrape(&ScrapeTarget::new(&url).job("shop").label("zone", "x")).await.unwrap();
    assert_eq!((report.format, report.samples, report.exemplars), (Format::OpenMetrics, 5, 2));
    assert!(report.problems.is_empty(), "{:?}", report.problems);
    let buckets = stack.store().series_named("took_seconds_bucket");
    assert_eq!(buckets.len(), 2);
    let half = buckets.iter().find(|series| series.labels["le"] == "0.5").unwrap();
    assert_eq!((half.labels["job"].as_str(), half.labels["zone"].as_str()), ("shop", "x"));
    assert!(url.contains(&half.labels["instance"]));
    assert_eq!((half.exemplars[0].trace_id(), half.exemplars[0].timestamp_ms), (Some("abc"), 1_700_000_000_500));
    assert_eq!(stack.store().series_named("jobs")[0].labels["exported_job"], "inner");
    assert_eq!(stack.store().series_named("up")[0].last_value(), Some(1.0));
    assert_eq!(stack.store().metric_metadata()["took_seconds"].metric_type, MetricType::Histogram);
    let query = format!("{}/api/v1/query", stack.mimir_url());
    let answer = get_json(&query, &[("query", "took_seconds_count")]).await;
    assert_eq!(answer["data"]["result"][0]["value"][1], "2");
}

#[tokio::test]
async fn an_exemplar_without_a_time_is_stored_once_over_many_scrapes() {
    let stack = Devstack::start().await.unwrap();
    let (url, _) = endpoint(FULL).await;
    stack.add_scrape_target(ScrapeTarget::new(&url).interval(Duration::from_millis(100)));
    stack
        .wait_for(|store| store.series_named("up").first().is_some_and(|up| up.samples.len() >= 3), DEADLINE)
        .await
        .unwrap();
    let buckets = stack.store().series_named("took_seconds_bucket");
    assert!(buckets.iter().all(|series| series.exemplars.len() == 1 && series.samples.len() >= 3), "{buckets:?}");
}

#[tokio::test]
async fn a_series_that_vanishes_and_a_target_that_fails_end_their_series() {
    let stack = Devstack::start().await.unwrap();
    let (url, exposed) = endpoint("a 1\nb 1\n# EOF\n").await;
    stack.add_scrape_target(ScrapeTarget::new(&url).interval(Duration::from_millis(100)));
    let has_one = |name: &'static str| {
        move |store: &lgtm_devstack::Store| store.series_named(name).first().is_some_and(|series| !series.is_stale())
    };
    let is_stale = |name: &'static str| {
        move |store: &lgtm_devstack::Store| store.series_named(name).first().is_some_and(|series| series.is_stale())
    };
    stack.wait_for(has_one("a"), DEADLINE).await.unwrap();
    *exposed.lock().unwrap() = (StatusCode::OK, "b 2\n# EOF\n".to_owned());
    stack.wait_for(is_stale("a"), DEADLINE).await.unwrap();
    assert!(has_one("b")(stack.store()));
    *exposed.lock().unwrap() = (StatusCode::INTERNAL_SERVER_ERROR, String::new());
    stack.wait_for(is_stale("b"), DEADLINE).await.unwrap();
    let failed = |store: &lgtm_devstack::Store| store.series_named("up")[0].last_value() == Some(0.0);
    stack.wait_for(failed, DEADLINE).await.unwrap();
    stack.wait_for(|_| stack.scrape_status()[0].failures > 0, DEADLINE).await.unwrap();
    let status = &stack.scrape_status()[0];
    assert!(status.scrapes > status.failures);
    assert!(matches!(&status.latest, Some(Err(ScrapeError::Status { status: 500, .. }))), "{status:?}");
}

#[tokio::test]
async fn what_cannot_be_scraped_is_an_error_that_names_the_url() {
    let stack = Devstack::start().await.unwrap();
    let (broken, _) = endpoint("a 1\n").await;
    let error = stack.scrape(&ScrapeTarget::new(&broken)).await.unwrap_err();
    assert!(error.to_string().contains(&broken), "{error}");
    assert!(matches!(error, ScrapeError::Exposition { .. }), "{error}");
    let closed = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}/metrics", listener.local_addr().unwrap())
    };
    let error = stack.scrape(&ScrapeTarget::new(&closed)).await.unwrap_err();
    assert!(matches!(error, ScrapeError::Transport { .. }), "{error}");
    let error = stack.scrape(&ScrapeTarget::new("https://x/metrics")).await.unwrap_err();
    assert!(error.to_string().contains("http://host:port/path"), "{error}");
    assert!(stack.store().series_named("a").is_empty());
}

#[test]
fn a_stack_on_its_own_thread_scrapes_for_callers_without_a_runtime() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (url, _) = runtime.block_on(endpoint("a 1\n# EOF\n"));
    let stack = Devstack::start_blocking().unwrap();
    assert_eq!(stack.scrape_blocking(&ScrapeTarget::new(&url)).unwrap().samples, 1);
    assert_eq!(stack.store().series_named("a")[0].last_value(), Some(1.0));
}
