//! The end of a program: everything is sent, or counted, by the deadline.

use std::time::Duration;

use lgtm_devstack::{Endpoint, Reply};

use crate::harness::{Addresses, PATIENCE, backends, run};

pub(crate) fn assert_conserved(report: &serde_json::Value) {
    for (signal, counts) in report.as_object().unwrap() {
        let number = |name: &str| counts[name].as_u64().unwrap();
        let dropped: u64 = counts["dropped"].as_object().unwrap().values().map(|count| count.as_u64().unwrap()).sum();
        let settled = number("delivered") + number("rejected") + dropped + number("pending");
        assert_eq!(number("admitted"), settled, "{signal}: {report}");
    }
}

#[test]
fn without_backends_the_program_ends_at_once_and_the_loss_is_counted_and_said_once_each() {
    let finished = run("late", &Addresses::unreachable().with(&[("LGTM_SHUTDOWN_TIMEOUT", "1m")]));
    assert!(finished.success, "{}", finished.stderr);
    let took = Duration::from_millis(finished.said[0].parse().unwrap());
    assert!(took < Duration::from_secs(30), "refused connections end the retrying: {took:?}");
    let report = finished.report();
    assert_conserved(&report);
    assert_eq!(report["logs"]["dropped"], serde_json::json!({"shutdown": 1, "closed": 1}), "{report}");
    assert_eq!(report["spans"]["dropped"], serde_json::json!({"shutdown": 2}), "{report}");
    assert!(report["metrics"]["dropped"]["shutdown"].as_u64() > Some(0), "{report}");
    for signal in ["logs", "spans", "metrics"] {
        assert!(report[signal]["errors"]["connect"].as_u64() > Some(0), "{report}");
    }
    for backend in ["loki", "tempo", "mimir"] {
        let about = |line: &&&str| line.contains(backend);
        assert_eq!(finished.warnings().iter().filter(about).count(), 1, "{backend}: {}", finished.stderr);
    }
}

#[test]
fn backends_that_never_answer_hold_the_program_no_longer_than_its_deadline() {
    let stack = backends();
    for endpoint in [Endpoint::LokiPush, Endpoint::OtlpGrpc, Endpoint::RemoteWrite] {
        stack.script(endpoint, [Reply::never().always()]);
    }
    let finished = run("late", &Addresses::of(&stack).with(&[("LGTM_SHUTDOWN_TIMEOUT", "1s")]));
    assert!(finished.success, "{}", finished.stderr);
    let took = Duration::from_millis(finished.said[0].parse().unwrap());
    // The time-out of one request alone is 10 s.
    assert!(took < Duration::from_secs(8), "{took:?}");
    let report = finished.report();
    assert_conserved(&report);
    assert_eq!(report["logs"]["dropped"], serde_json::json!({"shutdown": 1, "closed": 1}), "{report}");
    assert_eq!(report["spans"]["dropped"], serde_json::json!({"shutdown": 2}), "{report}");
}

#[test]
fn one_dead_backend_takes_nothing_from_the_others() {
    let stack = backends();
    let (live, dead) = (Addresses::of(&stack), Addresses::unreachable());
    let mut variables = live.with(&[("LGTM_SHUTDOWN_TIMEOUT", "30s")]);
    variables.retain(|(name, _)| *name != "LOKI_URL");
    variables.push(dead.variables()[0]);
    let report = run("order", &variables).report();
    assert_eq!(report["spans"]["delivered"], 2, "{report}");
    assert_eq!(report["metrics"]["delivered"], report["metrics"]["admitted"], "{report}");
    assert_eq!(report["logs"]["dropped"], serde_json::json!({"shutdown": 1}), "{report}");
    // The last push knows of the loss.
    let dropped = stack.store().series_named("otlp_logs_dropped_total");
    let shutdown = dropped.iter().find(|series| series.labels["reason"] == "shutdown");
    assert_eq!(shutdown.and_then(lgtm_devstack::Series::last_value), Some(1.0), "{dropped:?}");
}

#[test]
fn a_dropped_guard_sends_what_is_left() {
    for program in ["order, then drop", "order, then panic", "cancelled shutdown", "order, then flush"] {
        let stack = backends();
        let finished = run(program, &Addresses::of(&stack).with(&[("LGTM_SHUTDOWN_TIMEOUT", "30s")]));
        assert_eq!(finished.success, program != "order, then panic", "{program}: {}", finished.stderr);
        // A panic is a line too.
        let lines = if program == "order, then panic" { 2 } else { 1 };
        let arrived = |store: &lgtm_devstack::Store| {
            store.logs().len() == lines && store.spans().len() == 2 && !store.series_named("orders_total").is_empty()
        };
        stack.wait_for_blocking(arrived, PATIENCE).unwrap_or_else(|error| panic!("{program}: {error}"));
    }
}

#[test]
fn layers_work_on_a_registry_of_the_programs_own_and_filter_nothing_else() {
    let stack = backends();
    let finished = run("own registry", &Addresses::of(&stack).with(&[]));
    assert!(finished.success, "{}", finished.stderr);
    let report = finished.report();
    assert_eq!((&report["logs"]["delivered"], &report["spans"]["delivered"]), (&1.into(), &2.into()), "{report}");
    assert!(report["metrics"]["delivered"].as_u64() > Some(0), "{report}");
    assert!(finished.said[0].parse::<u64>().unwrap() >= 5, "two spans and three events: {:?}", finished.said);
    let messages: Vec<_> = stack.store().logs().iter().map(|entry| entry.json().unwrap()["message"].clone()).collect();
    assert_eq!(messages, ["order placed"]);
    assert_eq!(stack.store().series_named("orders_total").len(), 1);
}

#[cfg(unix)]
#[test]
fn a_signal_ends_the_program_as_ever_after_everything_was_sent() {
    const SIGTERM: i32 = 15;
    let stack = backends();
    let variables = Addresses::of(&stack);
    let finished = run("order, then signal", &variables.with(&[("LGTM_SHUTDOWN_ON_SIGNALS", "true")]));
    assert_eq!((finished.signal, finished.said.len()), (Some(SIGTERM), 0), "{}", finished.stderr);
    assert_eq!((stack.store().logs().len(), stack.store().spans().len()), (1, 2));
    assert_eq!(stack.store().series_named("orders_total")[0].last_value(), Some(1.0));

    // Not asked for: nothing is held up.
    let stack = backends();
    let finished = run("order, then signal", &Addresses::of(&stack).with(&[]));
    assert_eq!(finished.signal, Some(SIGTERM));
}

#[cfg(unix)]
#[test]
fn a_signal_that_the_program_handles_itself_is_left_to_it() {
    let stack = backends();
    let finished = run("own handler", &Addresses::of(&stack).with(&[("LGTM_SHUTDOWN_ON_SIGNALS", "true")]));
    assert!(finished.success, "{}", finished.stderr);
    assert_eq!(finished.said[0], "15");
    assert_eq!(finished.report()["logs"]["delivered"], 1);
}

#[cfg(unix)]
#[test]
fn a_forked_child_sends_nothing_and_waits_for_nothing() {
    let stack = backends();
    let finished = run("fork", &Addresses::of(&stack).with(&[("LGTM_SHUTDOWN_TIMEOUT", "30s")]));
    assert!(finished.success, "{} {:?}", finished.stderr, finished.said);
    let report = finished.report();
    assert_eq!((&report["logs"]["delivered"], &report["spans"]["delivered"]), (&2.into(), &4.into()), "{report}");
    assert!(
        finished.said[0].ends_with('0') || finished.said[0].contains("(0)"),
        "the child ended well: {:?}",
        finished.said
    );
    assert_eq!((stack.store().logs().len(), stack.store().spans().len()), (2, 4));
}

#[test]
fn a_panic_is_an_event() {
    let stack = backends();
    let finished = run("order, then panic", &Addresses::of(&stack).with(&[]));
    assert!(!finished.success);
    let logs = stack.store().logs();
    let panic = logs.iter().find(|entry| entry.structured_metadata["target"] == "panic").unwrap();
    let line = panic.json().unwrap();
    assert_eq!((&line["level"], &line["exception.type"]), (&"error".into(), &"panic".into()), "{line}");
    assert!(line["panic.file"].as_str().unwrap().ends_with("children.rs"), "{line}");
}
