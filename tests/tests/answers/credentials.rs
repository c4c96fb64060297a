//! Credentials that are not taken: the items are kept, nobody is hammered, one warning begins it and one ends it.

use std::process::Command;
use std::time::{Duration, Instant};

use lgtm_core::{DropReason, ErrorType};
use lgtm_devstack::{Code, Devstack, Reply};
use lgtm_tests::signals::PATIENCE;

use super::sender::{Backend, NEVER, Sender, assert_adds_up, dropped, endpoint, errors, eventually, options};

/// Set for the program whose standard error is read.
const BACKEND: &str = "LGTM_TEST_BACKEND";

fn refusal(backend: Backend) -> Reply {
    if backend == Backend::TempoGrpc { Reply::grpc(Code::Unauthenticated, "who?") } else { Reply::status(401) }
}

#[test]
fn the_probe_is_a_minute_by_default() {
    assert_eq!(lgtm_core::pipeline::PipelineOptions::default().retry.probe, Duration::from_secs(60));
}

#[test]
fn items_wait_in_the_bounded_queue_and_a_flush_does_not_hurry_the_probe() {
    for backend in Backend::ALL {
        let stack = Devstack::start_blocking().unwrap();
        stack.script(backend.script(), refusal(backend).always());
        let mut options = options();
        options.retry.probe = NEVER;
        options.queue.items = 12;
        let sender = Sender::start(backend, endpoint(&backend.url(&stack)), options);
        sender.emit(3);
        let first = sender.pipeline.begin_flush();
        eventually("the refusal", || errors(&sender.pipeline.report(), ErrorType::Unauthorized) == 1);
        for _ in 0..3 {
            let flush = sender.pipeline.begin_flush();
            assert!(!sender.pipeline.wait_flushed(&flush, Instant::now() + Duration::from_millis(20)));
        }
        assert!(!sender.pipeline.wait_flushed(&first, Instant::now()));
        assert_eq!(backend.requests(&stack).len(), 1, "{backend:?}");
        if backend != Backend::Mimir {
            sender.emit(20);
            let report = sender.pipeline.report();
            // Lines of lower levels leave room for errors.
            assert!((10..=12).contains(&report.pending), "{backend:?}: {report}");
            assert_eq!(report.pending + dropped(&report, DropReason::QueueFull), 23, "{backend:?}: {report}");
        }

        // The end of the program is one last try.
        let (report, took) = sender.end(PATIENCE);
        assert_eq!(backend.requests(&stack).len(), 2, "{backend:?}");
        assert!(took < PATIENCE / 2, "{backend:?}: {took:?}");
        assert_eq!((report.delivered, report.rejected), (0, 0), "{backend:?}: {report}");
        let lost = dropped(&report, DropReason::Shutdown) + dropped(&report, DropReason::QueueFull);
        assert_eq!(lost, report.admitted, "{backend:?}: {report}");
    }
}

#[test]
fn credentials_that_are_mended_before_the_end_deliver_what_has_waited() {
    for backend in Backend::ALL {
        let stack = Devstack::start_blocking().unwrap();
        stack.script(backend.script(), refusal(backend));
        let mut options = options();
        options.retry.probe = NEVER;
        let sender = Sender::start(backend, endpoint(&backend.url(&stack)), options);
        sender.emit(3);
        let _ = sender.pipeline.begin_flush();
        eventually("the refusal", || errors(&sender.pipeline.report(), ErrorType::Unauthorized) == 1);
        let (report, _) = sender.end(PATIENCE);
        assert_eq!((report.delivered, report.lost()), (report.admitted, 0), "{backend:?}: {report}");
    }
}

#[test]
fn a_batch_is_given_up_when_its_time_is_over() {
    for backend in Backend::ALL {
        let stack = Devstack::start_blocking().unwrap();
        stack.script(backend.script(), refusal(backend).always());
        let mut options = options();
        options.retry.probe = NEVER;
        options.retry.give_up_after = Duration::from_millis(100);
        let sender = Sender::start(backend, endpoint(&backend.url(&stack)), options);
        sender.emit(3);
        let report = sender.flush();
        assert_eq!(dropped(&report, DropReason::RetriesExhausted), report.admitted, "{backend:?}: {report}");
        assert_eq!(backend.requests(&stack).len(), 2, "{backend:?}: the first try, and one at the end of its time");
    }
}

/// A program of its own if it is told a backend: its standard error is read by the test below.
#[test]
fn what_is_said_of_a_backend() {
    let Ok(name) = std::env::var(BACKEND) else {
        return said_by_programs();
    };
    let backend = Backend::ALL.into_iter().find(|backend| format!("{backend:?}") == name).unwrap();
    let stack = Devstack::start_blocking().unwrap();
    let mut options = options();
    options.retry.probe = Duration::from_millis(1);
    let secret = endpoint(&backend.url(&stack)).bearer_token("hunter2");
    // Refused twenty times, then taken.
    stack.script(backend.script(), refusal(backend).times(20));
    let sender = Sender::start(backend, secret, options);
    sender.emit(3);
    let report = sender.flush();
    assert_eq!((report.lost(), errors(&report, ErrorType::Unauthorized)), (0, 20), "{report}");
    // Up and down again and again, within the same minute.
    for _ in 0..20 {
        stack.script(backend.script(), refusal(backend));
        sender.emit(3);
        assert_adds_up(&sender.flush());
    }
    let report = sender.pipeline.report();
    assert_eq!((report.lost(), errors(&report, ErrorType::Unauthorized)), (0, 40), "{report}");
}

fn said_by_programs() {
    for backend in Backend::ALL {
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "credentials::what_is_said_of_a_backend", "--nocapture", "--test-threads=1"])
            .env(BACKEND, format!("{backend:?}"))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{backend:?}: {said}");
        let lines: Vec<_> = said.lines().filter(|line| line.starts_with("lgtm: ")).collect();
        let [begin, end] = lines.as_slice() else { panic!("{backend:?}: two warnings, not {lines:#?}") };
        assert!(begin.contains("does not take") && begin.contains("(unauthorized)"), "{begin}");
        assert!(end.contains("again after") && end.contains("(failed 19 times meanwhile)"), "{end}");
        assert!(!said.contains("hunter2"), "{said}");
    }
}
