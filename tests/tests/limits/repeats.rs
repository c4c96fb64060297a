//! Lines that say the same again and again: what is left out is told, counted, and no loss.

use std::sync::Arc;
use std::time::{Duration, Instant};

use lgtm_core::{Endpoint, Identity};
use lgtm_devstack::{Devstack, LogEntry};
use lgtm_loki::{Builder, Format, OtlpProtocol, Protocol};
use lgtm_tests::counting::Counting;
use lgtm_tests::signals::PATIENCE;
use tracing::Dispatch;
use tracing_subscriber::prelude::*;

const HOUR: Duration = Duration::from_secs(3600);

/// What arrives of a program; nothing may be lost.
fn run(configure: impl FnOnce(Builder) -> Builder, program: impl FnOnce()) -> Vec<Arc<LogEntry>> {
    run_at(Devstack::loki_url, configure, program)
}

fn run_at(
    url: fn(&Devstack) -> String,
    configure: impl FnOnce(Builder) -> Builder,
    program: impl FnOnce(),
) -> Vec<Arc<LogEntry>> {
    let stack = Devstack::start_blocking().unwrap();
    let endpoint = Endpoint::parse(&url(&stack)).unwrap();
    let builder = lgtm_loki::builder().endpoint(endpoint).identity(Identity::new("repeats"));
    let (layer, pipeline) = configure(builder).build().unwrap();
    tracing::dispatcher::with_default(&Dispatch::new(tracing_subscriber::registry().with(layer)), program);
    pipeline.begin_shutdown(Instant::now() + PATIENCE);
    assert!(pipeline.wait_ended(Instant::now() + PATIENCE));
    let report = pipeline.report();
    assert_eq!((report.lost(), report.delivered), (0, report.admitted), "{report}");
    stack.store().logs()
}

fn messages(logs: &[Arc<LogEntry>]) -> Vec<String> {
    logs.iter().map(|entry| entry.json().unwrap()["message"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn beyond_the_rate_of_a_callsite_lines_are_a_number_and_other_callsites_go_on() {
    let recorder = Counting::install();
    let logs = run(
        |builder| builder.rate_limit(3, HOUR),
        || {
            for number in 0..10 {
                let _span = tracing::info_span!("attempt", number).entered();
                tracing::error!(number, "it failed again");
                tracing::info!("done");
            }
            tracing::warn!("over");
        },
    );
    // Other tests of this program add to it.
    assert!(recorder.sum("otlp_logs_suppressed_total", ("reason", "rate")) >= 14);
    let messages = messages(&logs);
    let count = |text: &str| messages.iter().filter(|message| *message == text).count();
    assert_eq!((count("it failed again"), count("done"), count("over")), (3, 3, 1), "{messages:?}");
    let told = logs.iter().filter(|entry| entry.json().unwrap()["suppressed"] == 7).collect::<Vec<_>>();
    assert_eq!(told.len(), 2, "{messages:?}");
    let failed = told.iter().find(|entry| entry.label("level") == Some("error")).unwrap();
    let line = failed.json().unwrap();
    assert_eq!(line["message"], "7 more lines like this one were left out: it failed again");
    assert_eq!((&line["target"], failed.label("trace_id")), (&module_path!().into(), None));
}

#[test]
fn the_same_line_is_one_and_one_with_other_fields_is_another() {
    let logs = run(
        |builder| builder.deduplicate(HOUR),
        || {
            for customer in ["ada", "ada", "ada", "bob", "bob", "ada"] {
                tracing::info!(customer, "signed in");
            }
        },
    );
    let customers: Vec<_> =
        logs.iter().filter_map(|entry| Some(entry.json()?["customer"].as_str()?.to_owned())).collect();
    assert_eq!(customers, ["ada", "bob", "ada"]);
    assert!(logs.iter().any(|entry| entry.json().unwrap()["suppressed"] == 3));
}

#[test]
fn every_format_tells_what_was_left_out() {
    let program = || (0..5).for_each(|_| tracing::info!("again"));
    for (format, expected) in [
        (Format::Logfmt, "message=\"4 more lines like this one were left out: again\" suppressed=4"),
        (Format::Text, "4 more lines like this one were left out: again suppressed=4"),
    ] {
        let logs = run(|builder| builder.format(format).rate_limit(1, HOUR), program);
        assert!(logs.iter().any(|entry| entry.line.contains(expected)), "{logs:?}");
    }
    let otlp = |builder: Builder| builder.protocol(Protocol::Otlp(OtlpProtocol::Http)).rate_limit(1, HOUR);
    let logs = run_at(Devstack::otlp_http_url, otlp, program);
    let suppressed =
        |entry: &Arc<LogEntry>| entry.structured_metadata.get("suppressed").is_some_and(|count| count == "4");
    assert!(logs.len() == 2 && logs.iter().any(suppressed), "{logs:?}");
}

#[test]
fn limits_that_let_nothing_pass_are_refused() {
    for builder in [lgtm_loki::builder().rate_limit(0, HOUR), lgtm_loki::builder().deduplicate(Duration::ZERO)] {
        let error = builder.build().unwrap_err().to_string();
        assert!(error.contains("1 ms or more"), "{error}");
    }
}
