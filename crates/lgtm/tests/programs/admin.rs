//! Runtime control: a running program is asked and changed from outside, over a socket, by who may.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use crate::children::order;
use crate::harness::{Addresses, PATIENCE, backends, run, say};

pub(crate) fn program(name: &str) -> bool {
    match name {
        "changed from outside" => changed_from_outside(),
        _ => return false,
    }
    true
}

fn ask(address: SocketAddr, request: &str, headers: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let length = body.len();
    write!(
        stream,
        "{request} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

fn changed_from_outside() {
    let telemetry = lgtm::init().unwrap();
    let address = telemetry.metrics_addr().unwrap();
    let token = "authorization: Bearer s3cr3t\r\n";
    let json = format!("{token}content-type: application/json\r\n");
    for (request, headers) in [("GET /admin/report", ""), ("PUT /admin/filters", "content-type: application/json\r\n")]
    {
        assert_eq!(ask(address, request, headers, r#"{"log_filter":"off"}"#).0, 401);
    }
    tracing::debug!("not yet");
    let change = r#"{"log_filter":"info,programs=debug"}"#;
    let (status, body) = ask(address, "PUT /admin/filters", &json, change);
    assert_eq!((status, body.as_str()), (200, r#"{"log_filter":"info,programs=debug","span_filter":"info"}"#));
    tracing::debug!("now");
    let (status, body) = ask(address, "PUT /admin/filters", &json, r#"{"log_filter":"programs=loud"}"#);
    assert!(status == 400 && body.contains("`programs=loud`") && body.contains("my_crate=debug"), "{body}");
    tracing::debug!("still");

    let (status, _) = ask(address, "PUT /admin/sampling", &json, r#"{"sampler":"always_off"}"#);
    assert_eq!(status, 200);
    order(17);
    let (status, body) = ask(address, "PUT /admin/sampling", &json, r#"{"sampler":"parentbased_traceidratio(1)"}"#);
    assert_eq!((status, body.as_str()), (200, r#"{"sampler":"parentbased_traceidratio(1)"}"#));
    order(18);

    let other_site = format!("{token}origin: https://evil.example\r\n");
    assert_eq!(ask(address, "POST /admin/flush", &other_site, "").0, 403);
    let (status, report) = ask(address, "POST /admin/flush", token, "");
    assert_eq!(status, 200, "{report}");
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    for signal in ["logs", "spans"] {
        assert!(report[signal]["delivered"].as_u64() > Some(0) && report[signal]["pending"] == 0, "{report}");
    }
    let (_, config) = ask(address, "GET /admin/config", token, "");
    assert!(config.contains("LGTM_ADMIN") && !config.contains("s3cr3t"), "{config}");
    say(&telemetry.shutdown().json());
}

#[test]
fn filters_and_sampling_of_a_running_program_are_changed_by_who_shows_the_token() {
    let stack = backends();
    let addresses = Addresses::of(&stack);
    let variables =
        addresses.with(&[("LGTM_METRICS_ADDR", "0"), ("LGTM_METRICS_TOKEN", "s3cr3t"), ("LGTM_ADMIN", "true")]);
    let finished = run("changed from outside", &variables);
    assert!(finished.success, "{}{}", finished.stdout, finished.stderr);
    let lines: Vec<_> = stack.store().logs().iter().map(|entry| entry.line.clone()).collect();
    let has = |text: &str| lines.iter().any(|line| line.contains(text));
    assert!(has("\"now\"") && has("\"still\"") && !has("not yet"), "{lines:#?}");
    let roots: Vec<_> = stack.store().spans().iter().filter(|span| span.name == "order").cloned().collect();
    assert_eq!(roots.len(), 1, "the first order was left out: {roots:#?}");
}

#[test]
fn it_is_off_by_default_and_one_that_other_machines_reach_needs_a_token() {
    let stack = backends();
    let addresses = Addresses::of(&stack);
    for (variables, parts) in [
        (&[("LGTM_ADMIN", "true")][..], &["LGTM_ADMIN", "LGTM_METRICS_ADDR"][..]),
        (
            &[("LGTM_ADMIN", "true"), ("LGTM_METRICS_ADDR", "0.0.0.0:0")],
            &["LGTM_ADMIN", "0.0.0.0:0", "LGTM_METRICS_TOKEN"],
        ),
    ] {
        let finished = run("init only", &addresses.with(variables));
        let said = finished.said.join("\n");
        assert!(parts.iter().all(|part| said.contains(part)), "{said}");
    }
    for variables in [
        &[("LGTM_ADMIN", "true"), ("LGTM_METRICS_ADDR", "0")][..],
        &[("LGTM_ADMIN", "true"), ("LGTM_METRICS_ADDR", "0.0.0.0:0"), ("LGTM_METRICS_TOKEN", "s3cr3t")],
        &[("LGTM_ADMIN", "false")],
    ] {
        let finished = run("init only", &addresses.with(variables));
        assert_eq!(finished.said, ["started"], "{}", finished.stderr);
    }
}
