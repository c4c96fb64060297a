//! A stack that wants authentication, as Grafana Cloud does: one URL, a user and a token are enough; a wrong token is told, what waits
//! is kept and counted, and the right one in the same file mends it.

use std::time::{Duration, Instant};

use lgtm_devstack::Devstack;

use crate::children::order;
use crate::harness::{Addresses, PATIENCE, run, say};

pub(crate) fn program(name: &str) -> bool {
    match name {
        "order with a token that is renewed" => order_with_a_token_that_is_renewed(),
        _ => return false,
    }
    true
}

/// Each signal's failed requests of this kind.
fn unauthorized(report: &lgtm::Report) -> Vec<u64> {
    let count = |signal: &lgtm::SignalReport| {
        let errors = signal.errors.iter().filter(|(error, _)| *error == lgtm::ErrorType::Unauthorized);
        errors.map(|(_, count)| *count).sum()
    };
    report.signals().iter().map(count).collect()
}

fn order_with_a_token_that_is_renewed() {
    let telemetry = lgtm::builder().push_interval(Duration::from_millis(200)).init().unwrap();
    order(17);
    let deadline = Instant::now() + PATIENCE;
    let refused = loop {
        let report = telemetry.report();
        if report.signals().len() == 3 && unauthorized(&report).iter().all(|count| *count > 0) {
            break report;
        }
        assert!(Instant::now() < deadline, "{report}");
        std::thread::sleep(Duration::from_millis(20));
    };
    // Nothing arrived, nothing is lost.
    assert_eq!(refused.lost(), 0, "{refused}");
    assert!(refused.signals().iter().all(|signal| signal.delivered == 0 && signal.pending > 0), "{refused}");
    std::fs::write(std::env::var("LGTM_PASSWORD_FILE").unwrap(), "glc_right\n").unwrap();
    say(&telemetry.shutdown().json());
}

fn stored(stack: &Devstack) -> [u64; 3] {
    let orders = stack.store().series_named("orders_total").len() as u64;
    [stack.counts().logs.held, stack.counts().spans.held, orders]
}

#[test]
fn one_url_with_a_user_and_a_token_serves_all_three_signals() {
    for bearer in [false, true] {
        let builder = Devstack::builder();
        let builder = if bearer { builder.bearer("glc_right") } else { builder.basic_auth("123456", "glc_right") };
        let stack = builder.start_blocking().unwrap();
        let url = stack.otlp_http_url();
        let with_credentials = url.replace("http://", "http://123456:glc_right@");
        let forms: Vec<Vec<(&str, &str)>> = if bearer {
            vec![vec![("LGTM_ENDPOINT", &url), ("LGTM_TOKEN", "glc_right")]]
        } else {
            vec![
                vec![("LGTM_ENDPOINT", &with_credentials)],
                vec![("LGTM_ENDPOINT", &url), ("LGTM_USERNAME", "123456"), ("LGTM_PASSWORD", "glc_right")],
                vec![
                    ("OTEL_EXPORTER_OTLP_ENDPOINT", &with_credentials),
                    ("OTEL_LOGS_EXPORTER", "otlp"),
                    ("OTEL_METRICS_EXPORTER", "otlp"),
                ],
            ]
        };
        for mut variables in forms {
            // The gateway's address says so by its path, `/otlp`.
            variables.push(("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"));
            let before = stored(&stack);
            let finished = run("order", &variables);
            assert!(finished.success, "{}", finished.stderr);
            let report = finished.report();
            for signal in ["logs", "spans", "metrics"] {
                assert_eq!(report[signal]["delivered"], report[signal]["admitted"], "{variables:?}: {report}");
                assert!(report[signal]["delivered"].as_u64() > Some(0), "{variables:?}: {report}");
            }
            assert!(finished.warnings().is_empty(), "{}", finished.stderr);
            let after = stored(&stack);
            assert!(before.iter().zip(after).all(|(before, after)| after > *before), "{before:?} {after:?}");
        }
    }
}

#[test]
fn each_backend_with_a_user_of_its_own_shares_the_token() {
    // As in Grafana Cloud: Loki, Tempo and Prometheus have users of their own, and one token.
    let [loki, tempo, mimir] =
        ["111", "222", "333"].map(|user| Devstack::builder().basic_auth(user, "glc_right").start_blocking().unwrap());
    let write = format!("{}/api/v1/push", mimir.mimir_url());
    let finished = run(
        "order",
        &[
            ("LOKI_URL", &loki.loki_url()),
            ("TEMPO_ENDPOINT", &tempo.otlp_grpc_url()),
            ("MIMIR_ENDPOINT", &write),
            ("LGTM_LOKI_USERNAME", "111"),
            ("LGTM_TEMPO_USERNAME", "222"),
            ("LGTM_MIMIR_USERNAME", "333"),
            ("LGTM_PASSWORD", "glc_right"),
        ],
    );
    assert!(finished.success && finished.warnings().is_empty(), "{}", finished.stderr);
    assert!(loki.counts().logs.held > 0 && tempo.counts().spans.held > 0);
    assert_eq!(mimir.store().series_named("orders_total").len(), 1);
}

#[test]
fn a_wrong_token_is_told_and_kept_and_counted_and_the_right_one_in_its_file_mends_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    let path = path.to_str().unwrap();
    let stack = Devstack::builder().basic_auth("123456", "glc_right").start_blocking().unwrap();
    let addresses = Addresses::of(&stack);
    let otlp_http = stack.otlp_http_url();
    // All by OTLP over HTTP; and each by its own protocol, traces by gRPC.
    let all = vec![("LGTM_ENDPOINT", otlp_http.as_str()), ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")];
    for places in [all, addresses.variables().to_vec()] {
        std::fs::write(path, "glc_wrong").unwrap();
        let before = stored(&stack);
        let variables =
            [places, vec![("LGTM_USERNAME", "123456"), ("LGTM_PASSWORD_FILE", path), ("LGTM_SHUTDOWN_TIMEOUT", "30s")]]
                .concat();
        let finished = run("order with a token that is renewed", &variables);
        assert!(finished.success, "{}", finished.stderr);
        let report = finished.report();
        for signal in ["logs", "spans", "metrics"] {
            assert_eq!(report[signal]["delivered"], report[signal]["admitted"], "{report}");
            assert!(report[signal]["errors"]["unauthorized"].as_u64() > Some(0), "{report}");
        }
        let warnings = finished.warnings();
        let told = warnings.iter().filter(|line| line.contains("(unauthorized)")).count();
        assert_eq!(told, 3, "once for each backend: {warnings:#?}");
        assert!(!finished.stderr.contains("glc_"), "{}", finished.stderr);
        let after = stored(&stack);
        assert!(before.iter().zip(after).all(|(before, after)| after > *before), "{before:?} {after:?}");
    }
}
