//! One backend that is dead, hangs, fails or is slow changes neither what becomes of the other signals nor how soon they arrive.
//! Measured side by side: how long a line, a span and a sample take from the program to their backend, with all backends well
//! and with one of them not, while its own queue is full.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a failed step fails the test, also in its helpers; measurements are shown"
)]

use std::fmt;
use std::net::{Ipv4Addr, TcpListener};
use std::time::{Duration, Instant};

use lgtm::{DropReason, Endpoint, Report, SignalKind, Telemetry};
use lgtm_devstack::{Devstack, Reply, Store};
use lgtm_tests::signals::PATIENCE;
use tracing_subscriber::Registry;
use tracing_subscriber::prelude::*;

const SIGNALS: [SignalKind; 3] = [SignalKind::Logs, SignalKind::Spans, SignalKind::Metrics];
/// Measured one after the other; each waits for its arrival.
const ROUNDS: u64 = 5;
/// More than fills any queue here.
const FLOOD: usize = 200_000;

/// What is wrong with a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Refuses,
    Hangs,
    Fails,
    IsSlow,
}

/// Which backend, and what is wrong with it; or nothing is.
type Case = Option<(SignalKind, Fault)>;

/// Times from the record to the arrival, of each signal that is well.
struct Measured {
    case: Case,
    latencies: Vec<(SignalKind, Vec<Duration>)>,
    report: Report,
}

impl Measured {
    fn median(&self, signal: SignalKind) -> Option<Duration> {
        let (_, latencies) = self.latencies.iter().find(|(of, _)| *of == signal)?;
        let mut sorted = latencies.clone();
        sorted.sort();
        sorted.get(sorted.len() / 2).copied()
    }
}

impl fmt::Display for Measured {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let case = self.case.map_or("all are well".to_owned(), |(signal, fault)| format!("{signal:?} {fault:?}"));
        write!(formatter, "{case:<18}")?;
        for signal in SIGNALS {
            let median = self.median(signal).map_or("-".to_owned(), |median| format!("{} ms", median.as_millis()));
            let report = self.report.signals().iter().find(|report| report.signal == signal).unwrap();
            write!(formatter, " | {median:>8}, lost {:>6}", report.lost())?;
        }
        Ok(())
    }
}

fn endpoint_of(signal: SignalKind) -> lgtm_devstack::Endpoint {
    match signal {
        SignalKind::Logs => lgtm_devstack::Endpoint::LokiPush,
        SignalKind::Spans => lgtm_devstack::Endpoint::OtlpGrpc,
        SignalKind::Metrics => lgtm_devstack::Endpoint::RemoteWrite,
    }
}

fn nobody_listens() -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

/// Fills the queue of one signal until it drops.
fn flood(telemetry: &Telemetry, signal: SignalKind) {
    let full = || {
        let report = telemetry.report();
        let report = report.signals().iter().find(|report| report.signal == signal).unwrap().clone();
        report.dropped.iter().any(|(reason, count)| *reason == DropReason::QueueFull && *count > 0)
    };
    let text = "x".repeat(1000);
    for number in 0..FLOOD {
        match signal {
            SignalKind::Logs => tracing::info!(text, "flood"),
            SignalKind::Spans => drop(tracing::info_span!("flood", text)),
            // Each collection has all of them.
            SignalKind::Metrics if number < 8000 => {
                metrics::gauge!("flood", "number" => number.to_string(), "text" => text.clone()).set(1.0);
            }
            SignalKind::Metrics => break,
        }
        if number % 500 == 0 && full() {
            return;
        }
    }
    let deadline = Instant::now() + PATIENCE;
    while !full() {
        assert!(Instant::now() < deadline, "{signal:?} drops nothing: {}", telemetry.report());
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn has_arrived(store: &Store, signal: SignalKind, round: u64) -> bool {
    match signal {
        SignalKind::Logs => store.logs().iter().any(|entry| entry.json().is_some_and(|line| line["round"] == round)),
        SignalKind::Spans => store.spans().iter().any(|span| span.attributes.int("round") == Some(round.cast_signed())),
        SignalKind::Metrics => {
            store.series_named("rounds_total").iter().any(|series| series.last_value() == Some(round as f64))
        }
    }
}

fn measure(case: Case) -> Measured {
    let stack = Devstack::start_blocking().unwrap();
    let address = |signal: SignalKind, well: String| match case {
        Some((of, Fault::Refuses)) if of == signal => Endpoint::parse(&nobody_listens()).unwrap(),
        _ => Endpoint::parse(&well).unwrap(),
    };
    if let Some((signal, fault)) = case {
        let reply = match fault {
            Fault::Refuses => None,
            Fault::Hangs => Some(Reply::never()),
            Fault::Fails => Some(Reply::status(503)),
            Fault::IsSlow => Some(Reply::status(503).delay(Duration::from_secs(3))),
        };
        stack.script(endpoint_of(signal), reply.map(Reply::always));
    }
    let (layers, telemetry) = lgtm::builder()
        .ignore_environment()
        .service_name("isolation")
        .loki(address(SignalKind::Logs, stack.loki_url()))
        .tempo(address(SignalKind::Spans, stack.otlp_grpc_url()))
        .mimir(address(SignalKind::Metrics, stack.mimir_url()))
        .memory_budget(4 * 1024 * 1024)
        .push_interval(Duration::from_secs(1))
        .shutdown_timeout(Duration::from_secs(10))
        .panics(false)
        .layers::<Registry>()
        .unwrap();
    let recorder = telemetry.recorder().unwrap();
    let subscriber = tracing_subscriber::registry().with(layers);
    let well: Vec<_> = SIGNALS.into_iter().filter(|signal| case.is_none_or(|(of, _)| of != *signal)).collect();
    let mut latencies: Vec<_> = well.iter().map(|signal| (*signal, Vec::new())).collect();
    metrics::with_local_recorder(&recorder, || {
        tracing::subscriber::with_default(subscriber, || {
            if let Some((signal, _)) = case {
                flood(&telemetry, signal);
            }
            for round in 1..=ROUNDS {
                let begin = Instant::now();
                tracing::info_span!("round", round).in_scope(|| {
                    tracing::info!(round, "round");
                    metrics::counter!("rounds_total").increment(1);
                });
                let mut took = vec![None; well.len()];
                let all_arrived = |store: &Store| {
                    for (took, signal) in took.iter_mut().zip(&well) {
                        if took.is_none() && has_arrived(store, *signal, round) {
                            *took = Some(begin.elapsed());
                        }
                    }
                    took.iter().all(Option::is_some)
                };
                stack.wait_for_blocking(all_arrived, PATIENCE).unwrap_or_else(|error| {
                    panic!("{case:?}, round {round}: {took:?}, {error}: {}", telemetry.report());
                });
                for ((_, latencies), took) in latencies.iter_mut().zip(took) {
                    latencies.extend(took);
                }
            }
        });
    });
    Measured { case, latencies, report: telemetry.shutdown() }
}

#[test]
fn one_backend_that_is_not_well_changes_neither_loss_nor_delay_of_the_others() {
    let faults = [Fault::Refuses, Fault::Hangs, Fault::Fails, Fault::IsSlow];
    let cases = SIGNALS.into_iter().flat_map(|signal| faults.map(|fault| Some((signal, fault))));
    // Side by side: a machine that is busy is so for all of them.
    let measured: Vec<Measured> = std::thread::scope(|scope| {
        let threads: Vec<_> = [None].into_iter().chain(cases).map(|case| scope.spawn(move || measure(case))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    println!("{:<18} | {:>21} | {:>21} | {:>21}", "", "logs", "spans", "metrics");
    measured.iter().for_each(|case| println!("{case}"));
    let well = &measured[0];
    for measured in &measured {
        for report in measured.report.signals() {
            let is_well = measured.case.is_none_or(|(signal, _)| signal != report.signal);
            let settled = report.delivered + report.lost() + report.pending;
            assert_eq!(report.admitted, settled, "{report}");
            if !is_well {
                assert!(report.lost() > 0 && report.delivered == 0, "{:?}: {report}", measured.case);
                continue;
            }
            assert_eq!((report.lost(), report.delivered), (0, report.admitted), "{:?}: {report}", measured.case);
            assert_eq!(report.errors, [], "{:?}: {report}", measured.case);
            let (usual, now) = (well.median(report.signal).unwrap(), measured.median(report.signal).unwrap());
            // A request's time-out alone is 10 s, a pause of the retries up to 30 s.
            let bound = usual * 3 + Duration::from_secs(3);
            assert!(now <= bound, "{:?}: {} take {now:?} instead of {usual:?}", measured.case, report.signal.items());
        }
    }
}
