//! Where unwinding is off a panic ends the program at once: the hook sends what is left before. Such a program needs a profile of
//! its own, so this test builds one.

#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "a failed step fails the test")]

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use lgtm_devstack::Devstack;

/// Builds the program with `panic = "abort"`; gives its path.
fn build() -> PathBuf {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet", "--message-format", "json-render-diagnostics", "--profile", "abort"]);
    cargo.args(["--package", "lgtm-tests", "--bin", "abort"]);
    let output = cargo.output().expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let messages = String::from_utf8_lossy(&output.stdout).into_owned();
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    messages.filter_map(|message| message["executable"].as_str().map(PathBuf::from)).next_back().expect("a program")
}

#[test]
fn a_panic_that_aborts_sends_what_is_left_before() {
    let program = build();
    let stack = Devstack::start_blocking().expect("a development stack");
    let mut command = Command::new(&program);
    command.env_clear().env("OTEL_SERVICE_NAME", "abort").env("LOKI_URL", stack.loki_url());
    command.env("MIMIR_ENDPOINT", stack.mimir_url()).env("TEMPO_ENDPOINT", stack.otlp_grpc_url());
    let began = Instant::now();
    let output = command.output().expect("the program runs");
    assert!(began.elapsed() < Duration::from_secs(30));
    #[cfg(unix)]
    {
        use std::os::unix::process::ExitStatusExt as _;
        assert_eq!(output.status.signal(), Some(6), "it dies as it would without lgtm: {output:?}");
    }
    assert!(!output.status.success());
    let logs = stack.store().logs();
    let messages: Vec<_> = logs.iter().filter_map(|entry| entry.json()).map(|line| line["message"].clone()).collect();
    assert_eq!(messages, ["before the end", "the disk is on fire"]);
    assert_eq!((logs[1].label("level"), logs[1].structured_metadata["target"].as_str()), (Some("error"), "panic"));
    assert_eq!(stack.store().series_named("orders_total")[0].last_value(), Some(3.0));
    // The span was open: it is lost with the program.
    assert!(stack.store().spans().is_empty());
}
