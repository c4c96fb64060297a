//! The development stack in the program itself: what it shows of the program, what it takes the place of, and how it ends.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use lgtm::{Devstack, Endpoint, Telemetry};

use crate::children::order;
use crate::harness::{Addresses, PATIENCE, backends, run, say};

pub(crate) fn program(name: &str) -> bool {
    match name {
        "devstack in code" => in_code(),
        "devstack by a variable" => by_a_variable(),
        "devstack beside a registry" => beside_a_registry(),
        "devstack by OTLP" => by_otlp(),
        #[cfg(unix)]
        "devstack, then fork" => then_fork(),
        _ => return false,
    }
    true
}

/// What the window answers; empty where nobody answers.
fn window(url: &str, path: &str) -> String {
    let host = url.trim_start_matches("http://");
    let Ok(mut stream) = TcpStream::connect(host) else { return String::new() };
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// The lines, spans and orders counted that a stack holds.
fn held(stack: &Devstack) -> (usize, usize, Option<f64>) {
    let store = stack.store();
    let counters = store.series_named("orders_total");
    let orders = counters.first().and_then(lgtm_devstack::Series::last_value);
    (store.logs().len(), store.spans().len(), orders)
}

fn in_code() {
    assert_eq!(
        lgtm::builder().devstack().config().unwrap().get("loki").unwrap().value,
        "http://127.0.0.1:3100/",
        "without a start it is the usual port"
    );
    let telemetry = lgtm::builder().devstack().init().unwrap();
    let stack = telemetry.devstack().unwrap();
    let url = stack.window_url();
    say(&url);
    order(17);
    telemetry.flush().unwrap();
    assert_eq!(held(stack), (1, 2, Some(1.0)));
    let overview = window(&url, "/api/v1/overview");
    assert!(overview.starts_with("HTTP/1.1 200") && overview.contains("\"shop\""), "{overview}");
    order(18);
    assert_eq!(telemetry.shutdown().lost(), 0);
    assert_eq!(held(stack), (2, 4, Some(2.0)));
    assert!(stack.store().series_named("orders_total").iter().all(lgtm_devstack::Series::is_stale));
    assert!(window(&url, "/").contains("<title>"), "it can still be looked at");
    drop(telemetry);
    assert_eq!(window(&url, "/"), "", "it ends with telemetry");
}

fn by_a_variable() {
    let elsewhere = Endpoint::parse(&std::env::var("ELSEWHERE").unwrap()).unwrap();
    let telemetry = lgtm::builder().loki(elsewhere).init().unwrap();
    for (name, source) in [("loki", "code"), ("tempo", "LGTM_DEVSTACK"), ("mimir.timeout", "LGTM_DEVSTACK")] {
        assert_eq!(telemetry.config().get(name).unwrap().source.to_string(), source, "{name}");
    }
    assert_eq!(telemetry.config().get("devstack").unwrap().value, "true");
    order(17);
    telemetry.flush().unwrap();
    assert_eq!(held(telemetry.devstack().unwrap()), (0, 2, Some(1.0)));
}

fn beside_a_registry() {
    use tracing_subscriber::prelude::*;

    let (layers, telemetry) = lgtm::builder().devstack().layers().unwrap();
    let dispatch = tracing::Dispatch::new(tracing_subscriber::registry().with(layers));
    tracing::dispatcher::with_default(&dispatch, || order(17));
    telemetry.flush().unwrap();
    let (lines, spans, _) = held(telemetry.devstack().unwrap());
    assert_eq!((lines, spans), (1, 2));
}

fn by_otlp() {
    let by_http = lgtm::Protocol::Http;
    let telemetry: Telemetry = lgtm::builder()
        .loki_protocol(lgtm::LogProtocol::Otlp(by_http))
        .tempo_protocol(by_http)
        .mimir_protocol(lgtm::MetricsProtocol::Otlp(lgtm::Protocol::Grpc))
        .devstack()
        .init()
        .unwrap();
    order(17);
    telemetry.flush().unwrap();
    let stack = telemetry.devstack().unwrap();
    assert_eq!(held(stack), (1, 2, Some(1.0)));
    let endpoints: std::collections::BTreeSet<String> =
        stack.store().requests().iter().map(|request| format!("{:?}", request.endpoint)).collect();
    let endpoints: Vec<_> = endpoints.iter().map(String::as_str).collect();
    assert_eq!(endpoints, ["OtlpHttp", "OtlpLogsHttp", "OtlpMetricsGrpc"]);
}

#[cfg(unix)]
fn then_fork() {
    let telemetry = lgtm::builder().devstack().init().unwrap();
    order(17);
    telemetry.flush().unwrap();
    match fork::fork().unwrap() {
        fork::Fork::Child => {
            let child = lgtm::builder().devstack().init().unwrap();
            // One process has the stack, and the child knows where.
            let has_none = child.devstack().is_none();
            order(18);
            let well = child.shutdown().lost() == 0;
            drop(telemetry);
            std::process::exit(i32::from(!(well && has_none)));
        }
        fork::Fork::Parent(child) => {
            assert_eq!(fork::waitpid(child).unwrap(), 0);
            let stack = telemetry.devstack().unwrap();
            stack.wait_for_blocking(|store| store.spans().len() == 4, PATIENCE).unwrap();
            assert_eq!(held(stack).0, 2);
        }
    }
}

fn runs(program: &str, variables: &[(&str, &str)]) -> crate::harness::Finished {
    let finished = run(program, variables);
    assert!(finished.success, "{}\n{}", finished.stdout, finished.stderr);
    finished
}

#[test]
fn a_program_with_its_own_stack_shows_itself_whatever_the_environment_says_and_until_the_end() {
    let elsewhere = Addresses::unreachable();
    let variables =
        elsewhere.with(&[("LGTM_CONSOLE", "json"), ("RUST_LOG", "programs=info"), ("LGTM_TOKEN", "s3cr3t")]);
    let finished = runs("devstack in code", &variables);
    let told = finished.stderr.lines().find(|line| line.contains("development stack")).unwrap();
    let told: serde_json::Value = serde_json::from_str(told).unwrap();
    assert_eq!(told["fields"]["window"], finished.said[0].as_str(), "the console says where, whatever the filter");
}

#[test]
fn a_variable_starts_it_too_and_what_code_sends_elsewhere_goes_there() {
    let stack = backends();
    let finished = runs("devstack by a variable", &[("LGTM_DEVSTACK", "true"), ("ELSEWHERE", &stack.loki_url())]);
    assert_eq!(finished.warnings(), [""; 0]);
    stack.wait_for_blocking(|store| store.logs().len() == 1, Duration::from_secs(10)).unwrap();
}

#[test]
fn a_registry_of_the_programs_own_sends_to_it() {
    let finished = runs("devstack beside a registry", &[]);
    assert!(!finished.stderr.contains("development stack"), "a console of the program's own is its own");
}

#[test]
fn protocols_that_are_chosen_in_code_are_spoken_to_it() {
    runs("devstack by OTLP", &[("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")]);
}

#[cfg(unix)]
#[test]
fn a_child_that_was_forked_sends_to_the_stack_of_its_parent_and_leaves_it_running() {
    runs("devstack, then fork", &[]);
}

#[test]
fn a_value_that_cannot_be_names_the_variable_and_disabled_telemetry_starts_no_stack() {
    let refused = lgtm::builder().variables([("LGTM_DEVSTACK".to_owned(), "perhaps".to_owned())]).config();
    let said = refused.unwrap_err().to_string();
    for part in ["LGTM_DEVSTACK", "`perhaps`", "true, false or force"] {
        assert!(said.contains(part), "{said}");
    }
    let (_, telemetry) = lgtm::builder()
        .ignore_environment()
        .disabled(true)
        .devstack()
        .layers::<tracing_subscriber::Registry>()
        .unwrap();
    assert!(telemetry.devstack().is_none());
}
