//! Starting, waiting, eviction, and the end.

use std::future::Future;
use std::net::TcpListener;
use std::time::Duration;

use lgtm_devstack::{Devstack, Endpoint, Limits, Ports, Reply, StartError};

use crate::client::{
    DEADLINE, entry, export, export_http, get_text, http, now_ms, now_ns, push_logs, series, span, stream, write_series,
};

#[tokio::test]
async fn every_http_listener_is_ready_and_says_what_it_is() {
    let stack = Devstack::start().await.unwrap();
    for url in [stack.loki_url(), stack.otlp_http_url(), stack.tempo_url(), stack.mimir_url()] {
        assert!(url.starts_with("http://127.0.0.1:"), "{url}");
        assert_eq!(get_text(&format!("{url}/ready"), &[]).await, (200, "ready\n".to_owned()));
        let (status, text) = get_text(&format!("{url}/"), &[]).await;
        assert_eq!(status, 200);
        assert!(text.contains("development stack") && text.contains("do not use it in production"), "{text}");
    }
    assert_eq!(get_text(&format!("{}/-/ready", stack.mimir_url()), &[]).await.0, 200);
    let note = stack.startup_note();
    assert!(note.contains("development") && note.contains(&stack.otlp_grpc_url()), "{note}");
    assert_eq!(stack.counts().requests.received, 0, "these are not requests to an ingest or query endpoint");
}

#[tokio::test]
async fn a_taken_port_is_replaced_and_reported() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let ports = Ports { loki: port, ..Ports::free() };
    let stack = Devstack::builder().ports(ports).start().await.unwrap();
    let moved = stack.moved_ports();
    assert_eq!(moved.len(), 1);
    assert_eq!((moved[0].service, moved[0].wanted), ("Loki", port));
    assert_eq!(stack.loki_url(), format!("http://127.0.0.1:{}", moved[0].actual));
    assert!(stack.startup_note().contains(&format!("port {port} is taken")));
    let refused = Devstack::builder().ports(ports).fall_back_to_free_ports(false).start().await.unwrap_err();
    assert!(matches!(refused, StartError::Listen { service: "Loki", .. }), "{refused}");
    assert!(refused.to_string().contains(&port.to_string()), "{refused}");
}

#[tokio::test]
async fn log_entries_are_evicted_oldest_first_and_counted() {
    let limits = Limits { log_bytes: 40_000, ..Limits::default() };
    let stack = Devstack::builder().limits(limits).start().await.unwrap();
    let now = now_ns();
    for batch in 0..10 {
        let entries = (0..10).map(|n| entry(now + batch * 10 + n, &format!("{batch} {n} {}", "x".repeat(1000)), &[]));
        let pushed = vec![stream(&format!("{{batch=\"{batch}\"}}"), entries.collect())];
        assert_eq!(push_logs(&stack.loki_url(), pushed).await.0, 204);
    }
    let counts = stack.counts().logs;
    assert_eq!((counts.received, counts.held + counts.evicted), (100, 100));
    assert!(counts.evicted > 50 && counts.held > 10, "{counts:?}");
    assert!(counts.held_bytes <= 40_000, "{counts:?}");
    let logs = stack.store().logs();
    assert_eq!(logs.len() as u64, counts.held);
    assert!(logs.last().unwrap().line.starts_with("9 9 "));
    assert!(logs.is_sorted_by_key(|entry| entry.timestamp_ns));
    assert!(stack.counts().to_string().contains("log entries evicted"));
}

#[tokio::test]
async fn spans_samples_and_requests_are_evicted_too() {
    let limits = Limits { trace_bytes: 20_000, metric_bytes: 5_000, request_bytes: 20_000, ..Limits::default() };
    let stack = Devstack::builder().limits(limits).start().await.unwrap();
    let now = now_ms();
    for n in 1..=60_u8 {
        let request = export("shop", vec![span(n, n, None, &"x".repeat(500))]);
        assert_eq!(export_http(&stack.otlp_http_url(), &request).await.0, 200);
        let name = format!("metric_{}", n / 10);
        let samples = [(now + i64::from(n), 1.0), (now + i64::from(n) + 1000, 2.0)];
        let written = vec![series(&[("__name__", &name), ("n", &n.to_string())], &samples)];
        assert_eq!(write_series(&stack.mimir_url(), written).await.0, 200);
    }
    let counts = stack.counts();
    assert_eq!((counts.spans.received, counts.samples.received, counts.requests.received), (60, 120, 120));
    for (kind, limit) in [(counts.spans, 20_000), (counts.samples, 5_000), (counts.requests, 20_000)] {
        assert!(kind.evicted > 0 && kind.held > 0 && kind.held_bytes <= limit, "{kind:?}");
        assert_eq!(kind.held + kind.evicted, kind.received);
    }
    assert!(stack.store().trace(&"01".repeat(16)).is_empty());
    assert_eq!(stack.store().trace(&"3c".repeat(16)).len(), 1);
    let held: usize = stack.store().series().iter().map(|series| series.samples.len()).sum();
    assert_eq!(held as u64, counts.samples.held);
    assert_eq!(stack.store().series().len() as u64, counts.series);
    assert!(stack.store().series_named("metric_0").is_empty());
}

#[tokio::test]
async fn waiting_ends_with_the_change_or_with_an_error_that_tells_what_is_there() {
    let stack = Devstack::start().await.unwrap();
    let store = stack.store().clone();
    let waiting = tokio::spawn(async move { store.wait_for(|store| store.logs().len() == 2, DEADLINE).await });
    for line in ["a", "b"] {
        let pushed = vec![stream(r#"{app="shop"}"#, vec![entry(now_ns(), line, &[])])];
        assert_eq!(push_logs(&stack.loki_url(), pushed).await.0, 204);
    }
    waiting.await.unwrap().unwrap();
    let error = stack.wait_for(|store| store.logs().len() == 3, Duration::from_millis(10)).await.unwrap_err();
    assert!(error.to_string().contains("2 log entries"), "{error}");
    assert_eq!(error.counts().logs.held, 2);
    stack.store().clear();
    assert_eq!(stack.counts(), lgtm_devstack::Counts::default());
}

#[test]
fn without_a_runtime_the_stack_runs_on_its_own_thread() {
    let stack = Devstack::builder().script(Endpoint::LokiPush, Reply::status(500)).start_blocking().unwrap();
    let url = stack.loki_url();
    let pushing = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let pushed = || vec![stream(r#"{app="shop"}"#, vec![entry(now_ns(), "a", &[])])];
            [push_logs(&url, pushed()).await.0, push_logs(&url, pushed()).await.0]
        })
    });
    stack.wait_for_blocking(|store| store.counts().logs.held == 1, DEADLINE).unwrap();
    assert_eq!(pushing.join().unwrap(), [500, 204]);
    let error = stack.wait_for_blocking(|store| store.counts().logs.held == 2, Duration::from_millis(10));
    assert!(error.unwrap_err().to_string().contains("1 log entries"));
    let address = stack.loki_url().replace("http://", "");
    let store = stack.store().clone();
    drop(stack);
    assert!(std::net::TcpStream::connect(address).is_err(), "the listener is closed");
    assert_eq!(store.logs().len(), 1, "the store can be read on");
}

#[test]
fn starting_outside_a_runtime_is_an_error() {
    let waker = std::task::Waker::noop();
    let mut starting = Box::pin(Devstack::start());
    let polled = starting.as_mut().poll(&mut std::task::Context::from_waker(waker));
    assert!(matches!(polled, std::task::Poll::Ready(Err(StartError::NoRuntime))));
}

#[tokio::test]
async fn shutdown_ends_even_requests_that_are_never_answered() {
    let stack = Devstack::start().await.unwrap();
    stack.script(Endpoint::LokiPush, Reply::never());
    let url = format!("{}/loki/api/v1/push", stack.loki_url());
    let store = stack.store().clone();
    let hanging = tokio::spawn(async move { http().post(url).body("x").send().await });
    store.wait_for(|store| store.counts().requests.held == 1, DEADLINE).await.unwrap();
    tokio::time::timeout(DEADLINE, stack.shutdown()).await.unwrap();
    assert!(hanging.await.unwrap().is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_many_clients_send_at_once_arrives_once() {
    let stack = Devstack::start().await.unwrap();
    let senders: Vec<_> = (0..16_u8)
        .map(|sender| {
            let (loki, otlp) = (stack.loki_url(), stack.otlp_http_url());
            tokio::spawn(async move {
                for n in 1..=20_u8 {
                    let labels = format!("{{sender=\"{sender}\"}}");
                    let pushed = vec![stream(&labels, vec![entry(now_ns(), &format!("{sender} {n}"), &[])])];
                    assert_eq!(push_logs(&loki, pushed).await.0, 204);
                    let request =
                        export("shop", vec![span(sender + 1, n, None, "a"), span(sender + 1, n + 100, Some(n), "b")]);
                    assert_eq!(export_http(&otlp, &request).await.0, 200);
                }
            })
        })
        .collect();
    for sender in senders {
        sender.await.unwrap();
    }
    let mut ids: Vec<(String, String)> =
        stack.store().spans().iter().map(|span| (span.trace_id.clone(), span.span_id.clone())).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 16 * 20 * 2);
    let counts = stack.counts();
    assert_eq!((counts.logs.held, counts.logs.duplicates, counts.spans.held), (320, 0, 640));
    assert_eq!(counts.requests.received, 640);
}
