//! What a program says of its effective settings.

#![allow(clippy::unwrap_used, reason = "tests end where they find something wrong")]

use super::*;
use crate::environment;

fn describe(code: Settings, variables: &[(&str, &str)]) -> Config {
    let lookup = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
    let chosen = Chosen::in_code(&code);
    let mut settings = code.or(environment::read(lookup).unwrap());
    settings.settle_tempo().unwrap();
    chosen.describe(&settings, &lookup)
}

fn of<'a>(config: &'a Config, name: &str) -> (&'a str, String) {
    config.get(name).map(|setting| (setting.value.as_str(), setting.source.to_string())).unwrap()
}

#[test]
fn each_value_has_its_source() {
    let code = Settings { log_labels: vec![("team".to_owned(), "blue".to_owned())], ..Settings::default() };
    let config = describe(
        code,
        &[
            ("OTEL_SERVICE_NAME", "shop"),
            ("LOKI_URL", "https://me:hunter2@loki.example?key=hunter2"),
            ("LGTM_TEMPO_TOKEN", "hunter2"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "x-key=hunter2"),
            ("LGTM_TENANT", "everyone"),
            ("LGTM_PROFILE", "production"),
            ("LGTM_KEEP_SLOWER_THAN", "2s"),
            ("RUST_LOG", "warn"),
        ],
    );
    for (name, value, source) in [
        ("service_name", "shop", "OTEL_SERVICE_NAME"),
        ("loki", "https://loki.example/?***", "LOKI_URL"),
        ("loki.authentication", "basic, user `me`, ***", "LOKI_URL"),
        ("loki.tenant", "everyone", "LGTM_TENANT"),
        ("loki.timeout", "10s", "default"),
        ("log_labels", "team=blue", "code"),
        ("log_format", "json", "default"),
        ("tempo", "http://localhost:4317/", "default"),
        ("tempo.authentication", "bearer ***", "LGTM_TEMPO_TOKEN"),
        ("tempo.headers", "x-key: ***", "OTEL_EXPORTER_OTLP_HEADERS"),
        ("tempo_protocol", "grpc", "default"),
        ("mimir", "http://localhost:9009/", "default"),
        ("profile", "production", "LGTM_PROFILE"),
        ("sampler", "parentbased_traceidratio(0.01)", "profile"),
        ("keep_errors", "true", "profile"),
        ("keep_slower_than", "2s", "LGTM_KEEP_SLOWER_THAN"),
        ("log_filter", "warn", "RUST_LOG"),
        ("span_filter", "info", "default"),
        ("memory_budget", "67108864 bytes", "default"),
    ] {
        assert_eq!(of(&config, name), (value, source.to_owned()), "{name}");
    }
    assert!(config.get("loki.ca_file").is_none() && config.get("disabled").is_none());
    let shown = format!("{config} {config:?}");
    assert!(!shown.contains("hunter2"), "{shown}");
}

#[test]
fn a_signal_that_is_off_has_an_address_and_nothing_else() {
    let config = describe(Settings::default(), &[("LOKI_URL", "off"), ("LGTM_METRICS_ADDR", "127.0.0.1:9090")]);
    assert_eq!(of(&config, "loki"), ("off", "LOKI_URL".to_owned()));
    assert!(config.get("loki.timeout").is_none());
    assert_eq!(of(&config, "mimir").0, "off");
    assert_eq!(of(&config, "metrics_addr"), ("127.0.0.1:9090", "LGTM_METRICS_ADDR".to_owned()));
}

#[test]
fn one_endpoint_for_all_is_told_of_every_backend_with_what_it_chooses() {
    let all = ("LGTM_ENDPOINT", "https://123456:hunter2@gateway.example/otlp");
    let config = describe(Settings::default(), &[all, ("LGTM_METRICS_ADDR", "9464"), ("LGTM_ADMIN", "true")]);
    for (backend, path) in [("loki", "logs"), ("tempo", "traces"), ("mimir", "metrics")] {
        let (name, source) = (backend.to_owned(), "LGTM_ENDPOINT".to_owned());
        assert_eq!(of(&config, &name), (format!("https://gateway.example/otlp/v1/{path}").as_str(), source.clone()));
        let authentication = of(&config, &format!("{name}.authentication"));
        assert_eq!(authentication, ("basic, user `123456`, ***", source));
    }
    assert_eq!(of(&config, "loki_protocol"), ("otlp, http/protobuf", "LGTM_ENDPOINT".to_owned()));
    assert_eq!(of(&config, "admin"), ("true", "LGTM_ADMIN".to_owned()));
    assert!(!format!("{config} {config:?}").contains("hunter2"));
}

#[test]
fn an_endpoint_in_code_is_codes_with_all_its_parts() {
    let endpoint = Endpoint::parse("http://tempo:4318").unwrap().bearer_token("hunter2");
    let code = Settings { tempo: Some(Destination::To(endpoint)), ..Settings::default() };
    let config = describe(code, &[("LGTM_TEMPO_TOKEN", "other")]);
    assert_eq!(of(&config, "tempo.authentication"), ("bearer ***", "code".to_owned()));
    assert_eq!(of(&config, "tempo_protocol"), ("http/protobuf", "default".to_owned()));
}

#[test]
fn every_variable_of_a_row_is_in_the_manual() {
    let manual = include_str!("../lib.rs");
    for row in rows() {
        for variable in row.variables {
            // Those of one signal are there as examples of those for all.
            let general = ["LOKI_", "TEMPO_", "MIMIR_"]
                .iter()
                .fold((*variable).to_owned(), |name, signal| name.replace(&format!("LGTM_{signal}"), "LGTM_"));
            assert!(manual.contains(&format!("`{general}`")), "{variable}");
        }
    }
}

const OTLP: [(&str, &str); 2] = [("OTEL_LOGS_EXPORTER", "otlp"), ("OTEL_METRICS_EXPORTER", "otlp")];

#[test]
fn what_all_signals_have_from_the_variables_for_all_names_them() {
    let general = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://me:hunter2@collector.example:4318"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "x-key=hunter2"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "2500"),
    ];
    let config = describe(Settings::default(), &[&OTLP[..], &general].concat());
    for (signal, path) in [("loki", "v1/logs"), ("tempo", "v1/traces"), ("mimir", "v1/metrics")] {
        let of = |part: &str| of(&config, &format!("{signal}{part}"));
        let url = format!("https://collector.example:4318/{path}");
        assert_eq!(of(""), (url.as_str(), "OTEL_EXPORTER_OTLP_ENDPOINT".to_owned()));
        assert_eq!(of(".authentication"), ("basic, user `me`, ***", "OTEL_EXPORTER_OTLP_ENDPOINT".to_owned()));
        assert_eq!(of(".headers"), ("x-key: ***", "OTEL_EXPORTER_OTLP_HEADERS".to_owned()));
        assert_eq!(of(".timeout"), ("2.5s", "OTEL_EXPORTER_OTLP_TIMEOUT".to_owned()));
        let (protocol, source) = of("_protocol");
        assert!(protocol.ends_with("http/protobuf"), "{signal}: {protocol}");
        assert_eq!(source, "OTEL_EXPORTER_OTLP_PROTOCOL", "{signal}");
    }
    let own = [
        ("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "http://loki:3100/otlp/v1/logs"),
        ("OTEL_EXPORTER_OTLP_METRICS_TIMEOUT", "100"),
    ];
    let config = describe(Settings::default(), &[&OTLP[..], &general, &own].concat());
    assert_eq!(of(&config, "loki").1, "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT");
    assert!(config.get("loki.authentication").is_none(), "those of another URL are not used");
    assert_eq!(of(&config, "mimir.timeout"), ("100ms", "OTEL_EXPORTER_OTLP_METRICS_TIMEOUT".to_owned()));
}

#[test]
fn certificates_for_all_signals_name_their_variables() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, "").unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (ca, certificate, key) = (file("ca.pem"), file("client.pem"), file("client.key"));
    let certificates = [
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", ca.as_str()),
        ("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", certificate.as_str()),
        ("OTEL_EXPORTER_OTLP_CLIENT_KEY", key.as_str()),
    ];
    let config = describe(Settings::default(), &[&OTLP[..], &certificates].concat());
    for signal in ["loki", "tempo", "mimir"] {
        let source = |part: &str| of(&config, &format!("{signal}.{part}")).1;
        assert_eq!(source("ca_file"), "OTEL_EXPORTER_OTLP_CERTIFICATE", "{signal}");
        assert_eq!(source("client_certificate"), "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", "{signal}");
    }
}

#[test]
fn variables_of_the_exporter_are_no_source_of_what_travels_another_way() {
    let config = describe(
        Settings::default(),
        &[
            ("LOKI_URL", "http://loki:3100"),
            ("OTEL_LOGS_EXPORTER", "otlp"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4317"),
            ("OTEL_EXPORTER_OTLP_LOGS_TIMEOUT", "100"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "200"),
        ],
    );
    assert_eq!(of(&config, "loki"), ("http://loki:3100/", "LOKI_URL".to_owned()));
    assert_eq!(of(&config, "loki.timeout"), ("10s", "default".to_owned()));
    assert_eq!(of(&config, "loki_protocol"), ("push", "default".to_owned()));
    assert_eq!(of(&config, "mimir"), ("http://localhost:9009/", "default".to_owned()));
    assert_eq!(of(&config, "mimir_protocol"), ("remote write", "default".to_owned()));
    assert_eq!(of(&config, "tempo.timeout"), ("200ms", "OTEL_EXPORTER_OTLP_TIMEOUT".to_owned()));
}

#[test]
fn a_signal_that_opentelemetrys_variables_switch_off_names_the_one_that_does() {
    let none = ["LOGS", "TRACES", "METRICS"].map(|signal| (format!("OTEL_{signal}_EXPORTER"), "none"));
    let none = none.each_ref().map(|(name, none)| (name.as_str(), *none));
    let unused = [("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "http://loki:3100/otlp/v1/logs")];
    let config = describe(Settings::default(), &[&none[..], &unused].concat());
    for (signal, (variable, _)) in ["loki", "tempo", "mimir"].into_iter().zip(none) {
        assert_eq!(of(&config, signal), ("off", variable.to_owned()));
    }
    let config = describe(Settings::default(), &[&OTLP[..], &[("OTEL_EXPORTER_OTLP_ENDPOINT", "off")]].concat());
    for signal in ["loki", "tempo", "mimir"] {
        assert_eq!(of(&config, signal), ("off", "OTEL_EXPORTER_OTLP_ENDPOINT".to_owned()));
    }
}
