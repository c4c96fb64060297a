//! The examples, as real programs: what they record arrives.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a failed step fails the test, also in its helpers"
)]

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use lgtm_devstack::Devstack;

const EXAMPLES: [&str; 6] = ["layers", "worker", "queue", "metrics_only", "logs_only", "cli"];

/// Builds the examples; gives their programs.
fn build() -> HashMap<String, PathBuf> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet", "--message-format", "json-render-diagnostics"]);
    cargo.args(EXAMPLES.iter().flat_map(|example| ["--package", example]));
    let output = cargo.output().expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let messages = String::from_utf8_lossy(&output.stdout).into_owned();
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    messages
        .filter_map(|message| {
            let executable = message["executable"].as_str()?;
            Some((message["target"]["name"].as_str()?.to_owned(), PathBuf::from(executable)))
        })
        .collect()
}

fn run(program: &PathBuf, arguments: &[&str], stack: &Devstack) -> Output {
    let mut command = Command::new(program);
    command.args(arguments).env_clear().env("OTEL_SERVICE_NAME", "example");
    command.env("LOKI_URL", stack.loki_url()).env("MIMIR_ENDPOINT", stack.mimir_url());
    command.env("TEMPO_ENDPOINT", stack.otlp_grpc_url()).env("TEMPO_URL", stack.otlp_grpc_url());
    command.output().expect("the example runs")
}

fn lines(stack: &Devstack) -> Vec<String> {
    stack.store().logs().iter().map(|entry| entry.line.clone()).collect()
}

#[test]
fn what_the_examples_record_arrives() {
    let programs = build();
    let finished = |example: &str, arguments: &[&str]| {
        let stack = Devstack::start_blocking().expect("a development stack");
        let output = run(&programs[example], arguments, &stack);
        (stack, output)
    };

    let (stack, output) = finished("layers", &[]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(stack.store().spans().len(), 1);
    let found = lines(&stack);
    assert!(found.len() == 2 && found[1].contains("level=warn") && found[1].contains("copies=3"), "{found:?}");
    assert_eq!(stack.store().logs()[0].label("team"), Some("books"));

    let (stack, output) = finished("worker", &[]);
    assert!(output.status.success(), "{output:?}");
    let spans = stack.store().spans();
    let batch = spans.iter().find(|span| span.name == "batch").expect("the batch");
    let jobs: Vec<_> = spans.iter().filter(|span| span.name == "job").collect();
    assert_eq!((jobs.len(), stack.store().logs().len()), (4, 4));
    assert!(jobs.iter().all(|job| job.parent_span_id.as_deref() == Some(&batch.span_id)));

    let (stack, output) = finished("queue", &[]);
    assert!(output.status.success(), "{output:?}");
    let spans = stack.store().spans();
    let of = |name: &str| spans.iter().filter(|span| span.name == name).collect::<Vec<_>>();
    let producers = of("send orders");
    let consumers = [of("process orders"), of("process jobs")].concat();
    assert_eq!((producers.len(), consumers.len()), (2, 4), "{spans:?}");
    for consumer in consumers {
        let [link] = consumer.links.as_slice() else { panic!("one link: {consumer:?}") };
        assert_eq!(consumer.parent_span_id, None);
        assert!(
            producers.iter().any(|producer| (&producer.trace_id, &producer.span_id) == (&link.trace_id, &link.span_id))
        );
    }

    let (stack, output) = finished("metrics_only", &[]);
    assert!(output.status.success(), "{output:?}");
    let requests = stack.store().series_named("requests_total");
    assert_eq!((requests.len(), requests[0].last_value(), requests[0].is_stale()), (1, Some(100.0), true));

    let (stack, output) = finished("logs_only", &[]);
    assert!(output.status.success(), "{output:?}");
    let found = lines(&stack).join("\n");
    assert!(found.contains("order placed") && found.contains("old::library"), "{found}");

    let (stack, output) = finished("cli", &["17", "many", "18"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert_eq!(stack.store().logs().len(), 3);
    assert_eq!(stack.store().series_named("orders_total")[0].last_value(), Some(2.0));

    // Nobody there: it says what was lost, and does not wait for its deadline.
    let begin = Instant::now();
    let mut command = Command::new(&programs["cli"]);
    command.arg("17").env_clear().env("LGTM_SHUTDOWN_TIMEOUT", "60s");
    for name in ["LOKI_URL", "MIMIR_ENDPOINT", "TEMPO_ENDPOINT"] {
        // A port that was free a moment ago.
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("its address");
        command.env(name, format!("http://{free}"));
    }
    let output = command.output().expect("the example runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && said.contains("telemetry was lost"), "{said}");
    assert!(begin.elapsed() < Duration::from_secs(30), "{:?}", begin.elapsed());
}
