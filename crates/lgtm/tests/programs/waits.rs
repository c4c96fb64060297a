//! Callers that wait for space in a full queue ([`lgtm::Overflow::Block`]): who must never wait, does not.

use std::time::{Duration, Instant};

use lgtm_devstack::Devstack;

use crate::harness::{Addresses, PATIENCE, run, say};

/// Text of each line: a few thousand lines fill the smallest queue.
const TEXT: usize = 2000;
const LINES: u64 = 6000;

pub(crate) fn program(name: &str) -> bool {
    match name {
        "backends inside" => backends_inside(),
        "waits for good" => waits_for_good(),
        _ => return false,
    }
    true
}

/// The backends run in the program, and everything is recorded: what the backends' own libraries say too.
fn backends_inside() {
    let stack = Devstack::builder().on_thread_start(lgtm_core::suppress_this_thread).start_blocking().unwrap();
    let endpoint = |url: String| lgtm::Endpoint::parse(&url).unwrap();
    let telemetry = lgtm::builder()
        .loki(endpoint(stack.loki_url()))
        .tempo(endpoint(stack.otlp_grpc_url()))
        .mimir(endpoint(stack.mimir_url()))
        .log_filter("trace")
        .span_filter("trace")
        .memory_budget(4 * 1024 * 1024)
        .overflow(lgtm::Overflow::Block(PATIENCE))
        .shutdown_timeout(PATIENCE)
        .init()
        .unwrap();
    let text = "x".repeat(TEXT);
    for number in 0..LINES {
        tracing::info_span!("request", number).in_scope(|| tracing::info!(text, "line"));
    }
    say(&telemetry.shutdown().json());
}

/// Its queues are full and its callers would wait for ever: at the end nobody does, nor while a panic unwinds.
fn waits_for_good() {
    let telemetry = lgtm::builder()
        .memory_budget(4 * 1024 * 1024)
        .overflow(lgtm::Overflow::Block(Duration::from_secs(24 * 3600)))
        .keep_errors(true)
        .sampler(lgtm::Sampler::AlwaysOff)
        .shutdown_timeout(Duration::from_secs(2))
        .init()
        .unwrap();
    let text = "x".repeat(TEXT);
    // Spans of an open trace wait beside the queue.
    let root = tracing::info_span!("root");
    root.in_scope(|| {
        for _ in 0..50 {
            tracing::info_span!("child", text, otel.status_code = "error").in_scope(|| {});
        }
    });
    // Two threads fill the queues until they wait.
    // Of the level that may take all of its queue, as the panic will.
    let line = |text: &str| tracing::error!(parent: None, text, "line");
    let span =
        |text: &str| tracing::info_span!(parent: None, "filler", otel.status_code = "error", text).in_scope(|| {});
    let (told, filled) = std::sync::mpsc::channel();
    let fillers = [line as fn(&str), span].map(|record| {
        let (told, text) = (told.clone(), text.clone());
        std::thread::spawn(move || {
            while told.send(()).is_ok() {
                record(&text);
            }
        })
    });
    // Both have stopped: there is no more space.
    while filled.recv_timeout(Duration::from_secs(1)).is_ok() {}
    let begin = Instant::now();
    let panicked = std::panic::catch_unwind(|| {
        let _closed_while_unwinding = tracing::info_span!("unwinding", text).entered();
        panic!("the program's own mistake: {text}");
    });
    assert!(panicked.is_err());
    say(&begin.elapsed().as_millis().to_string());
    let begin = Instant::now();
    let report = telemetry.shutdown();
    say(&begin.elapsed().as_millis().to_string());
    drop(filled);
    // The end lets them go.
    fillers.into_iter().for_each(|filler| filler.join().unwrap());
    drop(root);
    say(&report.json());
}

#[test]
fn backends_in_the_program_itself_never_wait_for_space_that_only_they_make() {
    let finished = run("backends inside", &[("OTEL_SERVICE_NAME", "shop")]);
    assert!(finished.success, "{}", finished.stderr);
    let report = finished.report();
    for signal in ["logs", "spans"] {
        assert_eq!(report[signal]["delivered"], report[signal]["admitted"], "{report}");
        assert!(report[signal]["admitted"].as_u64() >= Some(LINES), "{report}");
    }
    // The backends' own lines would be several for each request.
    assert!(report["logs"]["admitted"].as_u64() < Some(LINES + 1000), "{report}");
}

#[test]
fn callers_that_would_wait_for_ever_wait_neither_while_a_panic_unwinds_nor_at_the_end() {
    let silent = lgtm_devstack::Devstack::start_blocking().unwrap();
    for endpoint in
        [lgtm_devstack::Endpoint::LokiPush, lgtm_devstack::Endpoint::OtlpGrpc, lgtm_devstack::Endpoint::RemoteWrite]
    {
        silent.script(endpoint, [lgtm_devstack::Reply::never().always()]);
    }
    let finished = run("waits for good", &Addresses::of(&silent).with(&[]));
    assert!(finished.success, "{}", finished.stderr);
    let milliseconds = |line: usize| Duration::from_millis(finished.said[line].parse().unwrap());
    assert!(milliseconds(0) < PATIENCE / 2, "the panic took {:?}", milliseconds(0));
    // The deadline, and what a busy machine needs to notice it.
    assert!(milliseconds(1) < Duration::from_secs(2) + PATIENCE / 2, "the end took {:?}", milliseconds(1));
    let report = finished.report();
    crate::lifecycle::assert_conserved(&report);
    assert!(report["logs"]["dropped"]["queue_full"].as_u64() > Some(0), "the panic's line: {report}");
    assert!(report["spans"]["dropped"]["queue_full"].as_u64() > Some(0), "what waited for its decision: {report}");
}
