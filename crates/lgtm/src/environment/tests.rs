//! The environment table, row by row.

use std::io::Write as _;
use std::time::Duration;

use lgtm_core::pipeline::Overflow;
use lgtm_core::{Auth, Secret};

use super::*;

fn settings(variables: &[(&str, &str)]) -> Result<Settings, Error> {
    read(|name| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned()))
}

fn endpoint(destination: Option<Destination>) -> Endpoint {
    match destination {
        Some(Destination::To(endpoint)) => endpoint,
        other => panic!("{other:?}"),
    }
}

#[cfg(all(feature = "loki", feature = "tempo", feature = "mimir"))]
mod all_signals {
    use super::*;
    use lgtm_tempo::Protocol;

    fn tempo(variables: &[(&str, &str)]) -> (String, Protocol) {
        let settings = settings(variables).unwrap();
        (endpoint(settings.tempo).url.to_string(), settings.tempo_protocol.unwrap())
    }

    #[test]
    fn nothing_set_means_the_usual_local_addresses() {
        let settings = settings(&[]).unwrap();
        assert_eq!(endpoint(settings.loki.clone()).url.as_str(), "http://localhost:3100/");
        assert_eq!(endpoint(settings.tempo.clone()).url.as_str(), "http://localhost:4317/");
        assert_eq!(endpoint(settings.push()).url.as_str(), "http://localhost:9009/");
        assert_eq!(settings.tempo_protocol, Some(Protocol::Grpc));
        assert_eq!(settings.sampler(), Sampler::default());
        assert!(settings.metrics_addr.is_none() && settings.disabled.is_none());
    }

    #[test]
    fn the_specific_trace_endpoint_wins_and_the_protocol_follows_statement_port_and_path() {
        let general = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://general:4318");
        let traces = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://traces:4318/custom");
        let own = ("TEMPO_ENDPOINT", "http://tempo:4317");
        let grpc = ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc");
        let http = ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf");
        let url = |text: &str, protocol| (text.to_owned(), protocol);
        assert_eq!(tempo(&[general, traces, own]), url("http://tempo:4317/", Protocol::Grpc));
        assert_eq!(tempo(&[general, traces]), url("http://traces:4318/custom", Protocol::Http));
        assert_eq!(tempo(&[general]), url("http://general:4318/v1/traces", Protocol::Http));
        assert_eq!(tempo(&[http]), url("http://localhost:4318/", Protocol::Http));
        let base = ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://gateway.example/otlp");
        assert_eq!(tempo(&[base]), url("https://gateway.example/otlp/v1/traces", Protocol::Http));
        let plain = ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://collector.example");
        assert_eq!(tempo(&[plain]), url("https://collector.example/", Protocol::Grpc));
        assert_eq!(tempo(&[plain, grpc]), url("https://collector.example/", Protocol::Grpc));
        assert_eq!(tempo(&[plain, http]), url("https://collector.example/v1/traces", Protocol::Http));
        let specific = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/protobuf");
        assert_eq!(tempo(&[plain, grpc, specific]), url("https://collector.example/v1/traces", Protocol::Http));
    }

    fn logs(variables: &[(&str, &str)]) -> (String, lgtm_loki::Protocol) {
        let settings = settings(variables).unwrap();
        (endpoint(settings.loki).url.to_string(), settings.loki_protocol.unwrap_or_default())
    }

    #[test]
    fn logs_travel_by_otlp_where_a_variable_of_opentelemetry_says_so_and_none_names_loki() {
        use lgtm_loki::Protocol::{Otlp, Push};
        let general = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://general:4318");
        let own = ("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "http://loki:3100/otlp/v1/logs");
        let otlp = ("OTEL_LOGS_EXPORTER", "otlp");
        let loki = ("LOKI_URL", "http://loki:3100");
        let url = |text: &str, protocol| (text.to_owned(), protocol);
        assert_eq!(logs(&[general]), url("http://localhost:3100/", Push));
        assert_eq!(logs(&[general, otlp]), url("http://general:4318/v1/logs", Otlp(Protocol::Http)));
        assert_eq!(logs(&[otlp]), url("http://localhost:4317/", Otlp(Protocol::Grpc)));
        assert_eq!(logs(&[general, own]), url("http://loki:3100/otlp/v1/logs", Otlp(Protocol::Http)));
        assert_eq!(logs(&[general, own, otlp, loki]), url("http://loki:3100/", Push));
        let http = ("OTEL_EXPORTER_OTLP_LOGS_PROTOCOL", "http/protobuf");
        assert_eq!(logs(&[otlp, http]), url("http://localhost:4318/", Otlp(Protocol::Http)));
        let off = |variables: &[(&str, &str)]| matches!(settings(variables).unwrap().loki, Some(Destination::Off));
        assert!(off(&[("OTEL_LOGS_EXPORTER", "none")]) && off(&[("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "off")]));
        assert!(matches!(settings(&[("OTEL_TRACES_EXPORTER", "none")]).unwrap().tempo, Some(Destination::Off)));
    }

    #[test]
    fn one_collector_takes_all_signals_and_metrics_go_by_remote_write_where_no_variable_says_otherwise() {
        let all = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4317"),
            ("OTEL_LOGS_EXPORTER", "otlp"),
            ("OTEL_METRICS_EXPORTER", "otlp"),
        ];
        let chosen = settings(&all).unwrap();
        let otlp = lgtm_mimir::Protocol::Otlp(Protocol::Grpc);
        assert_eq!((chosen.mimir_protocol, chosen.tempo_protocol), (Some(otlp), Some(Protocol::Grpc)));
        for destination in [chosen.loki.clone(), chosen.tempo.clone(), chosen.push()] {
            assert_eq!(endpoint(destination).url.as_str(), "http://collector:4317/");
        }
        let mimir = |more: &[(&str, &str)]| {
            let chosen = settings(&[&all, more].concat()).unwrap();
            (endpoint(chosen.push()).url.to_string(), chosen.mimir_protocol)
        };
        assert_eq!(mimir(&[("MIMIR_ENDPOINT", "http://mimir:9009")]), ("http://mimir:9009/".to_owned(), None));
        let own = ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://mimir:9009/otlp/v1/metrics");
        let http = Some(lgtm_mimir::Protocol::Otlp(Protocol::Http));
        assert_eq!(mimir(&[own]), ("http://mimir:9009/otlp/v1/metrics".to_owned(), http));
        // A program that is scraped pushes too where a variable says so.
        let both = settings(&[all[0], all[2], ("LGTM_METRICS_ADDR", "9464")]).unwrap();
        assert!(matches!(both.push(), Some(Destination::To(_))) && both.metrics_addr.is_some());
        let none = settings(&[("OTEL_METRICS_EXPORTER", "none")]).unwrap();
        assert!(matches!(none.push(), Some(Destination::Off)));
    }

    #[test]
    fn one_url_with_a_user_and_a_token_is_enough_for_all_signals() {
        let gateway = "https://otlp-gateway-prod-eu-west-2.grafana.net/otlp";
        let in_url = gateway.replace("https://", "https://123456:glc_token@");
        let forms: [&[(&str, &str)]; 3] = [
            &[("LGTM_ENDPOINT", &in_url)],
            &[("LGTM_ENDPOINT", gateway), ("LGTM_USERNAME", "123456"), ("LGTM_PASSWORD", "glc_token")],
            &[
                ("OTEL_EXPORTER_OTLP_ENDPOINT", &in_url),
                ("OTEL_LOGS_EXPORTER", "otlp"),
                ("OTEL_METRICS_EXPORTER", "otlp"),
            ],
        ];
        for form in forms {
            let chosen = settings(form).unwrap();
            assert_eq!(chosen.tempo_protocol, Some(Protocol::Http));
            assert_eq!(chosen.loki_protocol, Some(lgtm_loki::Protocol::Otlp(Protocol::Http)));
            assert_eq!(chosen.mimir_protocol, Some(lgtm_mimir::Protocol::Otlp(Protocol::Http)));
            let all = [(chosen.loki.clone(), "logs"), (chosen.tempo.clone(), "traces"), (chosen.push(), "metrics")];
            for (destination, path) in all {
                let endpoint = endpoint(destination);
                assert_eq!(endpoint.url.as_str(), format!("{gateway}/v1/{path}"));
                let Auth::Basic { username, password } = endpoint.auth else { panic!("{form:?}") };
                assert_eq!((username.as_str(), password.reveal()), ("123456", "glc_token"));
            }
        }
        // What is said of one backend or signal wins.
        let all = ("LGTM_ENDPOINT", "http://collector:4317");
        let url = |destination: Option<Destination>| endpoint(destination).url.to_string();
        let chosen = settings(&[all, ("LOKI_URL", "http://loki:3100"), ("OTEL_TRACES_EXPORTER", "none")]).unwrap();
        assert_eq!(url(chosen.loki.clone()), "http://loki:3100/");
        assert_eq!((chosen.loki_protocol, matches!(chosen.tempo, Some(Destination::Off))), (None, true));
        assert_eq!(url(chosen.push()), "http://collector:4317/");
        let general = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://general:4317");
        let own = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://traces:4317");
        let chosen = settings(&[all, general, own, ("OTEL_LOGS_EXPORTER", "none")]).unwrap();
        assert_eq!(url(chosen.tempo.clone()), "http://traces:4317/");
        assert!(matches!(chosen.loki, Some(Destination::Off)));
        assert_eq!(url(settings(&[all, general]).unwrap().tempo), "http://collector:4317/");
        let off = settings(&[("LGTM_ENDPOINT", "off")]).unwrap();
        let all = [off.loki.clone(), off.tempo.clone(), off.push()];
        assert!(all.iter().all(|destination| matches!(destination, Some(Destination::Off))));
    }

    #[test]
    fn headers_and_timeout_reach_the_trace_endpoint() {
        let settings = settings(&[
            ("OTEL_EXPORTER_OTLP_HEADERS", "x-general=no"),
            ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "authorization=Basic%20abc%3D,x-scope-orgid=team"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "2500"),
        ])
        .unwrap();
        let endpoint = endpoint(settings.tempo);
        let headers: Vec<_> = endpoint.headers.iter().map(|(name, value)| (name.as_str(), value.reveal())).collect();
        assert_eq!(headers, [("authorization", "Basic abc="), ("x-scope-orgid", "team")]);
        assert_eq!(endpoint.timeout, Duration::from_millis(2500));
    }

    #[test]
    fn metrics_are_scraped_instead_of_pushed_when_only_the_address_is_set() {
        let scraped = ("LGTM_METRICS_ADDR", "127.0.0.1:9090");
        let pushed = ("MIMIR_ENDPOINT", "http://mimir:9009");
        let push = |variables: &[(&str, &str)]| settings(variables).unwrap().push();
        assert!(matches!(push(&[scraped]), Some(Destination::Off)));
        assert_eq!(endpoint(push(&[scraped, pushed])).url.as_str(), "http://mimir:9009/");
        let off = settings(&[("LGTM_METRICS_ADDR", "off")]).unwrap();
        assert!(off.metrics_addr.is_none() && off.default_mimir.is_some(), "it is pushed");
        for port in ["9464", ":9464", "localhost:9464", "127.0.0.1:9464"] {
            let addr = settings(&[("LGTM_METRICS_ADDR", port)]).unwrap().metrics_addr;
            assert_eq!(addr, Some(([127, 0, 0, 1], 9464).into()), "{port}");
        }
        let addr = settings(&[("LGTM_METRICS_ADDR", "localhost:0")]).unwrap().metrics_addr;
        assert_eq!(addr, Some(([127, 0, 0, 1], 0).into()));
    }

    #[test]
    fn a_signal_is_switched_off() {
        let settings = settings(&[("LOKI_URL", "off"), ("TEMPO_ENDPOINT", "off"), ("MIMIR_ENDPOINT", "off")]).unwrap();
        assert!(matches!(settings.loki, Some(Destination::Off)));
        assert!(matches!(settings.tempo, Some(Destination::Off)));
        assert!(matches!(settings.push(), Some(Destination::Off)));
    }

    #[test]
    fn the_signals_credentials_win_over_the_urls_and_they_over_those_for_all() {
        let settings = settings(&[
            ("LGTM_TENANT", "everyone"),
            ("LGTM_MIMIR_TENANT", "metrics"),
            ("LGTM_TOKEN", "for-all"),
            ("LGTM_LOKI_USERNAME", "12345"),
            ("LGTM_LOKI_PASSWORD", "for-loki"),
            ("LOKI_URL", "http://url-user:url-password@loki:3100"),
            ("MIMIR_ENDPOINT", "http://url-user:url-password@mimir"),
        ])
        .unwrap();
        let (loki, tempo, mimir) = (endpoint(settings.loki), endpoint(settings.tempo), endpoint(settings.mimir));
        let basic = |username: &str, password: &str| (username.to_owned(), password.to_owned());
        let of = |auth: &Auth| match auth {
            Auth::Basic { username, password } => basic(username, password.reveal()),
            Auth::Bearer(token) => basic("bearer", token.reveal()),
            other => panic!("{other:?}"),
        };
        assert_eq!(of(&loki.auth), basic("12345", "for-loki"));
        assert_eq!(of(&tempo.auth), basic("bearer", "for-all"));
        assert_eq!(of(&mimir.auth), basic("url-user", "url-password"));
        assert_eq!(loki.tenant.as_deref(), Some("everyone"));
        assert_eq!(mimir.tenant.as_deref(), Some("metrics"));
    }

    #[test]
    fn one_password_serves_signals_with_user_names_of_their_own() {
        let settings = settings(&[
            ("LGTM_PASSWORD", "cloud-token"),
            ("LGTM_LOKI_USERNAME", "1"),
            ("LGTM_MIMIR_USERNAME", "2"),
            ("MIMIR_ENDPOINT", "https://mimir.example"),
        ])
        .unwrap();
        let password = Secret::new("cloud-token");
        assert!(matches!(endpoint(settings.loki).auth, Auth::Basic { username, password: given }
            if username == "1" && given == password));
        assert!(matches!(endpoint(settings.mimir).auth, Auth::Basic { username, .. } if username == "2"));
        assert!(matches!(endpoint(settings.tempo).auth, Auth::None));
    }

    #[test]
    fn a_secret_is_read_from_a_file_without_its_line_end() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        writeln!(file, "from-file").unwrap();
        let path = file.path().to_str().unwrap();
        let loki = endpoint(settings(&[("LGTM_LOKI_TOKEN_FILE", path)]).unwrap().loki);
        assert!(matches!(loki.auth, Auth::Bearer(token) if token.reveal() == "from-file"));
        let error = settings(&[("LGTM_TOKEN_FILE", path), ("LGTM_TOKEN", "direct")]).unwrap_err().to_string();
        assert!(error.contains("LGTM_TOKEN_FILE") && !error.contains("direct"), "{error}");
        let empty = tempfile::NamedTempFile::new().unwrap();
        let path = empty.path().to_str().unwrap();
        let error = settings(&[("LGTM_TOKEN_FILE", path)]).unwrap_err().to_string();
        assert!(error.contains("LGTM_TOKEN_FILE") && error.contains(path) && error.contains("empty"), "{error}");
    }

    /// Variable, wrong value, and what its error says of the accepted form; no value: the variable takes any.
    const WRONG: &[(&str, &str, &str)] = &[
        ("OTEL_RESOURCE_ATTRIBUTES", "service.version", "key=value"),
        ("OTEL_RESOURCE_ATTRIBUTES", "=1", "key=value"),
        ("OTEL_RESOURCE_ATTRIBUTES", "team=%ff", "key=value"),
        ("LGTM_ENDPOINT", "otlp-gateway.example/otlp", "http://"),
        ("LOKI_URL", "localhost:3100", "http://localhost:3100"),
        ("TEMPO_ENDPOINT", "localhost:4317", "http://"),
        ("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "ftp://collector", "http://"),
        ("OTEL_EXPORTER_OTLP_LOGS_PROTOCOL", "udp", "grpc or http/protobuf"),
        ("OTEL_EXPORTER_OTLP_LOGS_TIMEOUT", "0", "milliseconds"),
        ("OTEL_EXPORTER_OTLP_LOGS_HEADERS", "x y=1", "key=value"),
        ("OTEL_EXPORTER_OTLP_LOGS_CERTIFICATE", "no/such/file.pem", "PEM"),
        ("OTEL_EXPORTER_OTLP_LOGS_CLIENT_CERTIFICATE", "Cargo.toml", "two PEM files"),
        ("OTEL_EXPORTER_OTLP_LOGS_CLIENT_KEY", "Cargo.toml", "two PEM files"),
        ("LGTM_LOG_RATE_LIMIT", "100", "100/1s"),
        ("LGTM_LOG_RATE_LIMIT", "0/1s", "100/1s"),
        ("LGTM_LOG_DEDUPLICATE", "often", "5s"),
        ("OTEL_METRICS_EXPORTER", "prometheus", "otlp or none"),
        ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "ftp://collector", "http://"),
        ("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "udp", "grpc or http/protobuf"),
        ("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "delta", "cumulative"),
        ("OTEL_EXPORTER_OTLP_METRICS_TIMEOUT", "0", "milliseconds"),
        ("OTEL_EXPORTER_OTLP_METRICS_COMPRESSION", "zstd", "gzip or none"),
        ("OTEL_EXPORTER_OTLP_LOGS_COMPRESSION", "snappy", "gzip or none"),
        ("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "true", "gzip or none"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "GZIP", "gzip or none"),
        ("OTEL_EXPORTER_OTLP_METRICS_HEADERS", "x y=1", "key=value"),
        ("OTEL_EXPORTER_OTLP_METRICS_CERTIFICATE", "no/such/file.pem", "PEM"),
        ("OTEL_EXPORTER_OTLP_METRICS_CLIENT_CERTIFICATE", "Cargo.toml", "two PEM files"),
        ("OTEL_EXPORTER_OTLP_METRICS_CLIENT_KEY", "Cargo.toml", "two PEM files"),
        ("OTEL_TRACES_EXPORTER", "zipkin", "otlp or none"),
        ("OTEL_LOGS_EXPORTER", "console", "otlp or none"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "ftp://tempo", "http://"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "/v1/traces", "http://"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json", "grpc or http/protobuf"),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "udp", "grpc or http/protobuf"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s", "milliseconds"),
        ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "0", "milliseconds"),
        ("MIMIR_ENDPOINT", "mimir", "http://"),
        ("LGTM_METRICS_ADDR", "70000", "host:port"),
        ("LGTM_METRICS_ADDR", ":", "host:port"),
        ("LGTM_METRICS_TOKEN", "", ""),
        ("LGTM_ADMIN", "yes", "true or false"),
        #[cfg(feature = "devstack")]
        ("LGTM_DEVSTACK", "perhaps", "true, false or force"),
        #[cfg(not(feature = "devstack"))]
        ("LGTM_DEVSTACK", "true", "the feature `devstack`"),
        ("LGTM_METRICS_TOKEN_FILE", "/no/such/file", "readable file"),
        ("LGTM_METRICS_ADDR", "http://localhost:9090", "host:port"),
        ("OTEL_TRACES_SAMPLER", "sometimes", "parentbased_traceidratio"),
        ("LGTM_PROFILE", "prod", "development, production or gateway"),
        ("RUST_LOG", "info,my_crate=loud", "my_crate=debug"),
        ("LGTM_SPAN_FILTER", "info,=", "my_crate=debug"),
        ("LGTM_TENANT", "te\nam", "visible ASCII"),
        ("LGTM_LOKI_TENANT", "te\u{7f}am", "visible ASCII"),
        ("LGTM_USERNAME", "", ""),
        ("LGTM_LOKI_USERNAME", "me", "password"),
        ("LGTM_PASSWORD_FILE", "/no/such/file", "readable file"),
        ("LGTM_TEMPO_TOKEN_FILE", "/no/such/file", "readable file"),
        ("LGTM_CA_FILE", "no/such/file.pem", "PEM"),
        ("LGTM_MIMIR_CA_FILE", "no/such/file.pem", "PEM"),
        ("LGTM_OVERFLOW", "drop_oldest", "block:<time>"),
        ("LGTM_OVERFLOW", "block", "block:<time>"),
        ("LGTM_OVERFLOW", "block:5", "block:<time>"),
        ("LGTM_SPOOL_DIR", "Cargo.toml", "a folder that this process may create"),
        ("LGTM_SPOOL_MAX_BYTES", "12", "512MiB"),
        ("LGTM_SPOOL_MAX_BYTES", "5TB", "512MiB"),
        ("LGTM_SPOOL_MAX_BYTES", "99999999999GiB", "512MiB"),
        ("LGTM_SPOOL_MAX_BYTES", "512MiB", "LGTM_SPOOL_DIR beside it"),
        ("LGTM_SPOOL_MAX_AGE", "forever", "30m, 6h or 7d"),
        ("LGTM_SPOOL_MAX_AGE", "31d", "up to 30 days"),
        ("LGTM_SPOOL_MAX_AGE", "6h", "LGTM_SPOOL_DIR beside it"),
        ("LGTM_SPOOL_DURABLE", "yes", "true or false"),
        ("LGTM_SPOOL_DURABLE", "true", "LGTM_SPOOL_DIR beside it"),
        ("LGTM_SHUTDOWN_TIMEOUT", "5", "500ms, 5s or 1m"),
        ("LGTM_SHUTDOWN_TIMEOUT", "0s", "500ms, 5s or 1m"),
        ("LGTM_SHUTDOWN_TIMEOUT", "99999999999999999999s", "500ms, 5s or 1m"),
        ("LGTM_CONSOLE", "yes", "auto, pretty, json or off"),
        ("LGTM_REDACT", "ssn,-", "separated by commas"),
        ("OTEL_SDK_DISABLED", "1", "true or false"),
        ("LGTM_KEEP_ERRORS", "yes", "true or false"),
        ("LGTM_SHUTDOWN_ON_SIGNALS", "SIGTERM", "true or false"),
        ("LGTM_KEEP_SLOWER_THAN", "500", "500ms or 2s, or off"),
        ("LGTM_LOG_FORMAT", "xml", "json, logfmt or text"),
        ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "-1", "0 to 4294967295"),
        ("OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT", "many", "0 to 4294967295"),
        ("OTEL_LINK_ATTRIBUTE_COUNT_LIMIT", "1.5", "0 to 4294967295"),
        ("OTEL_ATTRIBUTE_COUNT_LIMIT", "x", "0 to 4294967295"),
        ("OTEL_SPAN_EVENT_COUNT_LIMIT", "x", "0 to 4294967295"),
        ("OTEL_SPAN_LINK_COUNT_LIMIT", "x", "0 to 4294967295"),
        ("OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT", "x", "0 to 4294967295"),
        ("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "x", "0 to 4294967295"),
        ("OTEL_TRACES_SAMPLER_ARG", "", ""),
        ("OTEL_SERVICE_NAME", "", ""),
        ("OTEL_EXPORTER_OTLP_HEADERS", "x y=1", "key=value"),
        ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "x y=1", "key=value"),
        ("LGTM_PASSWORD", "secret", "user name"),
        ("LGTM_TOKEN", "to\nken", "visible ASCII"),
        ("LGTM_TOKEN_FILE", "/no/such/file", "readable file"),
        ("LGTM_TEMPO_TOKEN", "to\nken", "visible ASCII"),
        ("LGTM_CLIENT_CERTIFICATE_FILE", "no/such/file.pem", "PEM"),
        ("LGTM_CLIENT_KEY_FILE", "no/such/file.pem", "PEM"),
        ("LGTM_LOKI_CLIENT_KEY_FILE", "Cargo.toml", "two PEM files"),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", "no/such/file.pem", "PEM"),
        ("OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", "no/such/file.pem", "PEM"),
        ("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", "no/such/file.pem", "PEM"),
        ("OTEL_EXPORTER_OTLP_CLIENT_KEY", "no/such/file.pem", "PEM"),
        ("OTEL_EXPORTER_OTLP_TRACES_CLIENT_CERTIFICATE", "Cargo.toml", "two PEM files"),
        ("OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY", "Cargo.toml", "two PEM files"),
    ];

    #[test]
    fn a_wrong_value_is_an_error_that_names_variable_value_and_form() {
        for (variable, value, form) in WRONG {
            // They are looked at where the signal travels by OTLP.
            let chosen = |part| if variable.contains(part) { "otlp" } else { "" };
            let logs = ("OTEL_LOGS_EXPORTER", chosen("_OTLP_LOGS_"));
            let result = settings(&[(variable, value), logs, ("OTEL_METRICS_EXPORTER", chosen("_OTLP_METRICS_"))]);
            if value.is_empty() {
                assert!(result.is_ok(), "{variable}: an empty variable counts as unset");
                continue;
            }
            let error = result.expect_err(variable).to_string();
            // Secrets and files that are there are not shown.
            let secret = ["TOKEN", "PASSWORD", "HEADERS"].iter().any(|end| variable.ends_with(end));
            let shown = !secret && *value != "Cargo.toml";
            let value = if shown { value.split('=').next().unwrap() } else { "" };
            for part in [*variable, value, *form] {
                assert!(error.contains(part), "{variable}={value}: `{part}` is not in `{error}`");
            }
        }
        let error = settings(&[("OTEL_TRACES_SAMPLER", "traceidratio"), ("OTEL_TRACES_SAMPLER_ARG", "2")]);
        let error = error.unwrap_err().to_string();
        assert!(error.contains("OTEL_TRACES_SAMPLER_ARG") && error.contains("`2`"), "{error}");
    }

    #[test]
    fn the_readme_has_the_manuals_table() {
        let readme = include_str!("../../../../README.md");
        let rows: Vec<_> = include_str!("../lib.rs").lines().filter_map(|line| line.strip_prefix("//! ")).collect();
        let rows: Vec<_> = rows.iter().filter(|row| row.starts_with("| `")).collect();
        assert!(rows.len() > 30);
        for row in rows {
            assert!(readme.contains(*row), "the README lacks the row {row}");
        }
    }

    #[test]
    fn every_variable_of_the_manual_is_in_the_table_of_wrong_values() {
        let manual = include_str!("../lib.rs");
        let rows = manual.lines().filter_map(|line| line.strip_prefix("//! | `"));
        let names = rows.filter_map(|row| row.split(" | ").next()).flat_map(|cell| cell.split('`'));
        let is_name = |text: &&str| text.contains('_') && text.chars().all(|c| c.is_ascii_uppercase() || c == '_');
        // Their errors are those of `lgtm_core`, when the pipeline starts.
        let names = names.filter(is_name).filter(|name| !name.ends_with("_PROXY"));
        let mut count = 0;
        for name in names {
            assert!(WRONG.iter().any(|(known, ..)| *known == name), "{name} has no wrong value");
            count += 1;
        }
        assert!(count > 50, "{count}");
    }

    #[test]
    fn a_protocol_with_the_port_of_the_other_one_is_an_error_that_names_both() {
        for (endpoint, value) in [("http://tempo:4318", "grpc"), ("http://tempo:4317", "http/protobuf")] {
            for variable in ["TEMPO_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"] {
                let given = [(variable, endpoint), ("OTEL_EXPORTER_OTLP_PROTOCOL", value)];
                let error = settings(&given).unwrap_err().to_string();
                for part in [variable, endpoint, "OTEL_EXPORTER_OTLP_PROTOCOL", value] {
                    assert!(error.contains(part), "{error}");
                }
            }
        }
    }

    #[test]
    fn no_error_shows_a_secret() {
        let table: &[&[(&str, &str)]] = &[
            &[("LGTM_TOKEN", "hunter\n2")],
            &[("LGTM_TOKEN", "hunter2"), ("LGTM_USERNAME", "me")],
            &[("LGTM_TOKEN", "hunter2"), ("LGTM_PASSWORD", "hunter2")],
            &[("LGTM_PASSWORD", "hunter2")],
            &[("LGTM_LOKI_PASSWORD", "hunter2")],
            &[("LGTM_USERNAME", "me")],
            &[("LOKI_URL", "loki://me:hunter2@host")],
            &[("OTEL_EXPORTER_OTLP_HEADERS", "hunter2")],
            &[("OTEL_EXPORTER_OTLP_HEADERS", "x y=hunter2")],
            &[("OTEL_EXPORTER_OTLP_HEADERS", "x-key=hunter2%0a")],
        ];
        for variables in table {
            let error = settings(variables).unwrap_err().to_string();
            assert!(!error.contains("hunter"), "{error}");
            assert!(variables.iter().any(|(variable, _)| error.contains(variable)), "{error}");
        }
    }

    #[test]
    fn a_disabled_sdk_needs_no_right_addresses() {
        let settings = settings(&[("OTEL_SDK_DISABLED", "TRUE"), ("LOKI_URL", "nonsense")]).unwrap();
        assert_eq!(settings.disabled, Some(true));
        assert!(settings.loki.is_none());
    }
}

#[test]
fn good_values_arrive() {
    let settings = settings(&[
        ("OTEL_SERVICE_NAME", " shop "),
        ("OTEL_RESOURCE_ATTRIBUTES", "service.name=other,deployment.environment.name=live, team=caf%C3%A9%2C1"),
        ("OTEL_TRACES_SAMPLER", "traceidratio"),
        ("OTEL_TRACES_SAMPLER_ARG", "0.25"),
        ("LGTM_PROFILE", "production"),
        ("LGTM_OVERFLOW", "block:5s"),
        ("LGTM_SHUTDOWN_TIMEOUT", "250ms"),
        ("LGTM_REDACT", "ssn, -page_token,,"),
        ("LGTM_CONSOLE", "json"),
        ("OTEL_SDK_DISABLED", "false"),
        ("RUST_LOG", "warn,shop=debug"),
        ("LGTM_SPAN_FILTER", "off"),
        ("LGTM_KEEP_ERRORS", "TRUE"),
        ("LGTM_KEEP_SLOWER_THAN", "2s"),
        ("LGTM_LOG_FORMAT", "logfmt"),
        ("LGTM_LOG_RATE_LIMIT", "100/2s"),
        ("LGTM_LOG_DEDUPLICATE", "5s"),
        ("OTEL_ATTRIBUTE_COUNT_LIMIT", "10"),
        ("OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT", "11"),
        ("OTEL_SPAN_EVENT_COUNT_LIMIT", "12"),
        ("OTEL_SPAN_LINK_COUNT_LIMIT", "13"),
        ("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "1000"),
    ])
    .unwrap();
    assert_eq!((settings.keep_errors, settings.keep_slower_than), (Some(true), Some(Some(Duration::from_secs(2)))));
    #[cfg(feature = "loki")]
    assert_eq!(settings.log_format, Some(lgtm_loki::Format::Logfmt));
    assert_eq!(settings.log_rate_limit, Some(Some((100, Duration::from_secs(2)))));
    assert_eq!(settings.log_deduplicate, Some(Some(Duration::from_secs(5))));
    let limits = settings.span_limits.unwrap();
    assert_eq!((limits.attributes, limits.event_attributes, limits.link_attributes), (10, 11, 10));
    assert_eq!((limits.events, limits.links, limits.value_bytes), (12, 13, 1000));
    let identity = settings.identity();
    assert_eq!(identity.service_name, "shop");
    assert_eq!(identity.environment.as_deref(), Some("live"));
    assert_eq!(identity.attributes, [("team".to_owned(), "café,1".to_owned())]);
    assert_eq!(settings.sampler(), Sampler::TraceIdRatio(0.25), "the sampler wins over the profile");
    assert_eq!(settings.overflow, Some(Overflow::Block(Duration::from_secs(5))));
    assert_eq!(settings.shutdown_timeout, Some(Duration::from_millis(250)));
    assert_eq!(settings.console, Some(Console::Json));
    assert_eq!(settings.log_filter, Some(Directives::parse("warn,shop=debug").unwrap()));
    assert_eq!(settings.span_filter, Some(Directives::parse("off").unwrap()));
}

#[cfg(feature = "spool")]
#[test]
fn a_spool_is_where_how_large_how_old_and_how_safe() {
    let spool = |variables: &[(&str, &str)]| settings(variables).unwrap().spool;
    assert_eq!(spool(&[("LGTM_SPOOL_DURABLE", "false")]), None);
    let defaults = spool(&[("LGTM_SPOOL_DIR", "/var/lib/shop/spool")]).unwrap();
    assert_eq!(defaults, lgtm_core::SpoolOptions::new("/var/lib/shop/spool"));
    let all = spool(&[
        ("LGTM_SPOOL_DIR", "spool"),
        ("LGTM_SPOOL_MAX_BYTES", "2 GiB"),
        ("LGTM_SPOOL_MAX_AGE", "7d"),
        ("LGTM_SPOOL_DURABLE", "true"),
    ])
    .unwrap();
    assert_eq!((all.max_bytes, all.max_age, all.durable), (2 << 30, Duration::from_secs(7 * 24 * 3600), true));
}

#[test]
fn empty_variables_count_as_unset() {
    let settings = read(|_| Some(String::new())).unwrap();
    assert!(settings.service_name.is_none() && settings.sampler.is_none() && settings.console.is_none());
    let settings = self::settings(&[("RUST_LOG", " "), ("LGTM_CONSOLE", "\t")]).unwrap();
    assert!(settings.log_filter.is_none() && settings.console.is_none());
}
