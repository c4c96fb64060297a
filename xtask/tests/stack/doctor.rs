//! `cargo xtask doctor`: content where all is well, and where it is not, the cause and what to do.

use lgtm_devstack::{Devstack, Endpoint, Reply};

use super::harness::{Said, xtask};

/// The settings that lead to a development stack.
fn settings_of(devstack: &Devstack) -> Vec<(&'static str, String)> {
    vec![
        ("LOKI_URL", devstack.loki_url()),
        ("TEMPO_ENDPOINT", devstack.otlp_grpc_url()),
        ("LGTM_TEMPO_URL", devstack.tempo_url()),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc".to_owned()),
        ("MIMIR_ENDPOINT", devstack.mimir_url()),
    ]
}

fn doctor(settings: &[(&str, String)]) -> Said {
    let folder = tempfile::tempdir().unwrap();
    let settings: Vec<(&str, &str)> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
    xtask(folder.path(), &["doctor"], &settings)
}

#[test]
fn doctor_is_content_where_everything_arrives_and_leads_on() {
    let devstack = Devstack::start_blocking().unwrap();
    let said = doctor(&settings_of(&devstack));
    assert!(said.ok && said.output.contains("All is well."));
    for check in ["log to trace", "trace to logs", "exemplar to trace", "one path only"] {
        assert!(said.output.contains(check), "{check}");
    }
    let both = [settings_of(&devstack), vec![("LGTM_METRICS_ADDR", "127.0.0.1:9090".to_owned())]].concat();
    let said = doctor(&both);
    assert!(!said.ok && said.output.contains("this environment has both"), "{}", said.output);
    let off: Vec<_> = ["LOKI_URL", "TEMPO_ENDPOINT", "MIMIR_ENDPOINT"].map(|name| (name, "off".to_owned())).into();
    let said = doctor(&off);
    assert!(!said.ok && said.output.contains("nothing is sent"), "{}", said.output);
}

#[test]
fn doctor_tells_a_missing_tenant_from_wrong_credentials() {
    let devstack = Devstack::builder()
        .script(Endpoint::LokiPush, [Reply::status(401).body("no org id").always()])
        .script(Endpoint::RemoteWrite, [Reply::status(401).body("invalid token").always()])
        .start_blocking()
        .unwrap();
    let said = doctor(&[settings_of(&devstack), vec![("LGTM_MIMIR_TOKEN", "not-this-one".to_owned())]].concat());
    let row = |signal: &str, check: &str| {
        let is = |line: &&str| line.split_whitespace().skip(1).take(2).eq([signal, check]);
        said.output.lines().find(is).unwrap_or_else(|| panic!("no row {signal} {check}")).to_owned()
    };
    assert!(!said.ok);
    assert!(row("logs", "tenant").starts_with('✗') && said.output.contains("LGTM_TENANT"));
    assert!(row("metrics", "auth").starts_with('✗') && said.output.contains("does not know these credentials"));
    assert!(row("traces", "auth").starts_with('✓') && row("traces", "tenant").starts_with('✓'));
    assert!(!said.output.contains("not-this-one") && !said.errors.contains("not-this-one"), "the token is a secret");
}

#[test]
fn doctor_names_what_does_not_answer_and_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    // Ports on which nothing listens, as far as a port can be kept free.
    let settings = [
        ("LOKI_URL", "http://127.0.0.1:1"),
        ("TEMPO_ENDPOINT", "http://127.0.0.1:2"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("MIMIR_ENDPOINT", "http://nowhere.invalid:9009"),
    ];
    let said = xtask(folder.path(), &["doctor"], &settings);
    assert!(!said.ok);
    let failed: Vec<&str> = said.output.lines().filter(|line| line.starts_with('✗')).collect();
    for (what, check) in [("loki", "TCP"), ("tempo", "TCP"), ("mimir", "DNS"), ("logs", "write"), ("traces", "write")] {
        let named = failed.iter().any(|line| {
            let mut words = line.split_whitespace().skip(1);
            words.next() == Some(what) && words.next() == Some(check)
        });
        assert!(named, "{what} {check}: {failed:?}");
    }
    assert!(said.output.contains("What to do:") && said.output.contains("cargo xtask stack up"));

    let wrong = xtask(folder.path(), &["doctor"], &[("LOKI_URL", "localhost:3100")]);
    assert!(!wrong.ok && wrong.output.contains("LOKI_URL") && wrong.output.contains("accepted"), "{}", wrong.output);
}
