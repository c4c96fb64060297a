//! The end of a program in every order: exit without destructors, exit handlers, thread-locals that are destroyed late, a runtime
//! that is gone, ends that meet; and threads that end while telemetry goes on.

use std::cell::RefCell;
use std::sync::{Arc, Barrier, OnceLock};
use std::time::{Duration, Instant};

use lgtm::Telemetry;

use crate::harness::{Addresses, PATIENCE, backends, run, say};
use crate::lifecycle::assert_conserved;

static TELEMETRY: OnceLock<Telemetry> = OnceLock::new();

pub(crate) fn program(name: &str) -> bool {
    match name {
        "exit without a word" => exit_without_a_word(),
        "exit handler" => exit_handler(),
        "late exit handler" => late_exit_handler(),
        "thread-locals" => thread_locals(),
        "guard in a thread-local" => guard_in_a_thread_local(),
        "runtime gone" => runtime_gone(),
        "ends that meet" => ends_that_meet(),
        "short threads" => short_threads(),
        _ => return false,
    }
    true
}

/// What a program records anywhere.
fn record(place: &'static str) {
    tracing::info_span!("in place", place).in_scope(|| tracing::info!(place, "recorded"));
    metrics::counter!("places_total", "place" => place).increment(1);
}

/// What a program may record where its thread's locals are gone: a registry of tracing-subscriber opens no span there.
fn record_late(place: &'static str) {
    tracing::info!(place, "recorded");
    metrics::counter!("places_total", "place" => place).increment(1);
}

/// The last second is lost, nothing before it.
fn exit_without_a_word() {
    let telemetry = lgtm::init().unwrap();
    for _ in 0..50 {
        record("early");
    }
    // Without a flush: what is older than a batch may be is sent.
    let deadline = Instant::now() + PATIENCE;
    let delivered = |index: usize| telemetry.report().signals()[index].delivered;
    while delivered(0) < 50 || delivered(1) < 50 {
        assert!(Instant::now() < deadline, "{}", telemetry.report());
        std::thread::sleep(Duration::from_millis(5));
    }
    for _ in 0..50 {
        record("late");
    }
    std::process::exit(0);
}

extern "C" fn shut_down_at_exit() {
    record_late("exit handler");
    let begin = Instant::now();
    let report = TELEMETRY.get().unwrap().shutdown();
    say(&begin.elapsed().as_millis().to_string());
    say(&report.json());
    record_late("after the end");
}

/// A guard that nobody drops, ended by a handler that runs at `exit`.
fn exit_handler() {
    shutdown_hooks::add_shutdown_hook(shut_down_at_exit);
    assert!(TELEMETRY.set(lgtm::init().unwrap()).is_ok());
    record("main");
    std::process::exit(0);
}

extern "C" fn record_at_exit() {
    record_late("exit handler");
    say("recorded");
}

/// The guard is gone when the handler records.
fn late_exit_handler() {
    shutdown_hooks::add_shutdown_hook(record_at_exit);
    let telemetry = lgtm::init().unwrap();
    record("main");
    drop(telemetry);
    std::process::exit(0);
}

/// Records, and then closes a span, when its thread's locals are destroyed.
struct Last(&'static str, tracing::Span);

impl Last {
    fn of(place: &'static str) -> Option<Self> {
        Some(Self(place, tracing::info_span!("last", place)))
    }
}

impl Drop for Last {
    fn drop(&mut self) {
        record_late(self.0);
        self.1.record("place", self.0);
        tracing::info!(parent: &self.1, "inside");
    }
}

thread_local! {
    static LAST: RefCell<Option<Last>> = const { RefCell::new(None) };
}

/// Locals that are destroyed after all that lgtm and its libraries have on the thread, and before it.
fn thread_locals() {
    let telemetry = lgtm::init().unwrap();
    let first = || {
        LAST.set(Last::of("registered first"));
        record("thread");
    };
    let last = || {
        record("thread");
        LAST.set(Last::of("registered last"));
    };
    let alone = || LAST.set(Last::of("registered alone"));
    for work in [&first as &(dyn Fn() + Sync), &last, &alone] {
        std::thread::scope(|scope| scope.spawn(work).join().unwrap());
    }
    say(&telemetry.shutdown().json());
}

thread_local! {
    static GUARD: RefCell<Option<Telemetry>> = const { RefCell::new(None) };
}

fn guard_in_a_thread_local() {
    let thread = std::thread::spawn(|| {
        GUARD.set(Some(lgtm::init().unwrap()));
        record("thread");
    });
    thread.join().unwrap();
    record("after the end");
    say("ended");
}

/// The runtime in which telemetry was started is gone before its end.
fn runtime_gone() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let telemetry = runtime.block_on(async { lgtm::init().unwrap() });
    runtime.block_on(async {
        tokio::spawn(async { record("task") }).await.unwrap();
    });
    drop(runtime);
    record("main");
    telemetry.flush().unwrap();
    record("main");
    say(&telemetry.shutdown().json());
}

/// Flushes, shutdowns and records of many threads at once, and all of it again.
fn ends_that_meet() {
    let telemetry = Arc::new(lgtm::init().unwrap());
    record("main");
    let barrier = Arc::new(Barrier::new(9));
    let begin = Instant::now();
    let threads: Vec<_> = (0..9)
        .map(|number| {
            let (telemetry, barrier) = (Arc::clone(&telemetry), Arc::clone(&barrier));
            std::thread::spawn(move || {
                barrier.wait();
                match number % 3 {
                    0 => drop(telemetry.flush()),
                    1 => drop(telemetry.shutdown()),
                    _ => record("thread"),
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    let once = telemetry.shutdown();
    assert_eq!(telemetry.shutdown(), once, "nothing is left to change");
    telemetry.flush().unwrap();
    say(&begin.elapsed().as_millis().to_string());
    say(&once.json());
}

fn short_threads() {
    let telemetry = lgtm::init().unwrap();
    for _ in 0..20 {
        let threads: Vec<_> = (0..50)
            .map(|number: u64| {
                std::thread::spawn(move || {
                    tracing::info_span!("short", number).in_scope(|| tracing::info!(number, "said"));
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    }
    say(&telemetry.shutdown().json());
}

const PATIENT: (&str, &str) = ("LGTM_SHUTDOWN_TIMEOUT", "60s");

fn places(stack: &lgtm_devstack::Devstack) -> Vec<String> {
    let logs = stack.store().logs();
    let mut places: Vec<_> =
        logs.iter().map(|entry| entry.json().unwrap()["place"].as_str().unwrap().to_owned()).collect();
    places.sort();
    places
}

#[test]
fn exit_without_dropping_the_guard_loses_what_was_recorded_last_and_nothing_that_is_older_than_a_batch() {
    let stack = backends();
    let finished = run("exit without a word", &Addresses::of(&stack).with(&[PATIENT]));
    assert!(finished.success, "{}", finished.stderr);
    let places = places(&stack);
    assert_eq!(places.iter().filter(|place| *place == "early").count(), 50);
    assert!(places.len() <= 100);
    let early = |span: &&std::sync::Arc<lgtm_devstack::Span>| span.attributes.text("place") == Some("early");
    assert_eq!(stack.store().spans().iter().filter(early).count(), 50);
}

#[test]
fn an_exit_handler_can_end_telemetry_and_everything_is_sent() {
    let stack = backends();
    let finished = run("exit handler", &Addresses::of(&stack).with(&[PATIENT]));
    assert!(finished.success, "{}", finished.stderr);
    let report = finished.report();
    assert_conserved(&report);
    for signal in ["logs", "spans", "metrics"] {
        assert_eq!(report[signal]["delivered"], report[signal]["admitted"], "{report}");
    }
    assert_eq!(places(&stack), ["exit handler", "main"]);
    assert_eq!(stack.store().series_named("places_total").len(), 2);

    // With nobody there the handler is back within its deadline.
    let finished = run("exit handler", &Addresses::unreachable().with(&[("LGTM_SHUTDOWN_TIMEOUT", "1s")]));
    assert!(finished.success, "{}", finished.stderr);
    assert!(Duration::from_millis(finished.said[0].parse().unwrap()) < PATIENCE / 2);
    assert_conserved(&finished.report());
}

#[test]
fn an_exit_handler_that_records_after_the_guard_is_gone_does_no_harm() {
    let stack = backends();
    let finished = run("late exit handler", &Addresses::of(&stack).with(&[PATIENT, ("LGTM_CONSOLE", "json")]));
    assert!(finished.success, "{}", finished.stderr);
    assert_eq!((finished.said, places(&stack)), (vec!["recorded".to_owned()], vec!["main".to_owned()]));
}

#[test]
fn thread_locals_that_record_when_they_are_destroyed_arrive_and_panic_nothing() {
    for console in ["off", "json", "pretty"] {
        let stack = backends();
        let finished = run("thread-locals", &Addresses::of(&stack).with(&[PATIENT, ("LGTM_CONSOLE", console)]));
        assert!(finished.success, "{console}: {}", finished.stderr);
        let last = ["registered alone", "registered first", "registered last"];
        let mut expected: Vec<_> = last.iter().flat_map(|place| [*place; 2]).collect();
        expected.extend(["thread"; 2]);
        assert_eq!(places(&stack), expected, "{console}");
        assert_eq!(stack.store().spans().iter().filter(|span| span.name == "last").count(), 3, "{console}");
        assert_eq!(stack.store().series_named("places_total").len(), 4);
    }
}

#[test]
fn a_guard_in_a_thread_local_sends_what_is_left() {
    let stack = backends();
    let finished = run("guard in a thread-local", &Addresses::of(&stack).with(&[PATIENT]));
    assert!(finished.success, "{}", finished.stderr);
    assert_eq!((places(&stack), stack.store().spans().len()), (vec!["thread".to_owned()], 1));
    assert_eq!(stack.store().series_named("places_total").len(), 1);
}

#[test]
fn telemetry_outlives_the_runtime_in_which_it_was_started() {
    let stack = backends();
    let finished = run("runtime gone", &Addresses::of(&stack).with(&[PATIENT]));
    assert!(finished.success, "{}", finished.stderr);
    let report = finished.report();
    for (signal, count) in [("logs", 3), ("spans", 3)] {
        assert_eq!(
            (&report[signal]["delivered"], &report[signal]["admitted"]),
            (&count.into(), &count.into()),
            "{report}"
        );
    }
}

#[test]
fn ends_that_meet_all_return_with_the_same_account() {
    for round in 0..5 {
        let stack = backends();
        let finished = run("ends that meet", &Addresses::of(&stack).with(&[PATIENT]));
        assert!(finished.success, "{round}: {}", finished.stderr);
        let report = finished.report();
        assert_conserved(&report);
        assert_eq!((&report["logs"]["admitted"], &report["logs"]["pending"]), (&4.into(), &0.into()), "{report}");
        assert_eq!(stack.store().logs().len() as u64, report["logs"]["delivered"].as_u64().unwrap());
    }
    let unreachable = Addresses::unreachable();
    let finished = run("ends that meet", &unreachable.with(&[("LGTM_SHUTDOWN_TIMEOUT", "1s")]));
    assert!(finished.success, "{}", finished.stderr);
    assert!(Duration::from_millis(finished.said[0].parse().unwrap()) < PATIENCE / 2);
    assert_conserved(&finished.report());
}

#[test]
fn a_thousand_threads_that_end_at_once_leave_nothing_behind() {
    let stack = backends();
    let finished = run("short threads", &Addresses::of(&stack).with(&[PATIENT]));
    assert!(finished.success, "{}", finished.stderr);
    let report = finished.report();
    for signal in ["logs", "spans"] {
        assert_eq!(
            (&report[signal]["admitted"], &report[signal]["delivered"]),
            (&1000.into(), &1000.into()),
            "{report}"
        );
    }
    assert_eq!((stack.store().logs().len(), stack.store().spans().len()), (1000, 1000));
}
