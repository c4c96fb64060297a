//! Wrong settings, and what may not show.

use std::time::Duration;

#[cfg(any(feature = "loki", feature = "tempo", feature = "mimir"))]
use lgtm_core::Endpoint;
use lgtm_core::Sampler;

use super::*;
#[cfg(all(feature = "loki", feature = "tempo", feature = "mimir"))]
use crate::settings::Console;

#[test]
fn wrong_settings_are_errors_that_name_setting_value_and_form() {
    let base = || builder().ignore_environment();
    let table: [(Builder, [&str; 3]); 5] = [
        (base().log_filter("info,x=loud"), ["log_filter", "info,x=loud", "debug"]),
        (base().span_filter("=="), ["span_filter", "==", "debug"]),
        (base().memory_budget(1000), ["memory_budget", "1000", "4194304"]),
        (base().sampler(Sampler::TraceIdRatio(f64::NAN)), ["sampler", "NaN", "0 to 1"]),
        (base().shutdown_timeout(Duration::MAX), ["shutdown_timeout", "18446744073709551615", "a day"]),
    ];
    for (builder, parts) in table {
        let error = builder.init().unwrap_err();
        for part in parts {
            assert!(error.to_string().contains(part), "`{part}` is not in `{error}`");
        }
        assert_eq!(format!("{error:?}"), error.to_string(), "main prints Debug");
    }
}

#[cfg(all(feature = "loki", feature = "tempo", feature = "mimir"))]
#[test]
fn what_a_signal_cannot_work_with_is_an_error_that_names_it_and_starts_nothing() {
    use crate::{Matcher, Proxy};
    let base = || builder().ignore_environment().console(Console::Off).panics(false);
    let endpoint = |url: &str| Endpoint::parse(url).unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let socks = Proxy::At("socks5://me:hunter2@proxy:1080".parse().unwrap());
    let table: Vec<(Builder, [String; 3])> = [
        (base().log_label("", "x"), ["``", "label name", "letters"]),
        (base().log_label("service.name", "x"), ["service.name", "service_name", "another name"]),
        (base().log_label_from_field("level", 3), ["level", "collides", "another name"]),
        (base().log_label_from_field("queue", 0), ["queue", "0 values", "1 to 1000"]),
        (base().loki(endpoint("https://loki").ca_file("/no/such.pem")), ["/no/such.pem", "No such file", "PEM"]),
        (base().loki(endpoint("http://loki").tenant("te\nam")), ["tenant", "HTTP header", "ASCII"]),
        (base().loki(endpoint("http://loki").bearer_token("a\nb")), ["bearer token", "HTTP header", "ASCII"]),
        (base().loki(endpoint("http://loki").proxy(socks)), ["socks5://***@proxy:1080", "scheme", "http://host:port"]),
        (
            base().tempo(endpoint("https://tempo").client_certificate("/no/such.pem", "/no/such.key")),
            ["/no/such.pem", "client certificate", "private key"],
        ),
        (base().push_interval(Duration::ZERO), ["0ns", "interval", "100"]),
        (base().buckets(&[2.0, 1.0]), ["1", "2", "bound"]),
        (base().buckets_for("sizes", &[f64::NAN]), ["NaN", "bound", "bound"]),
        (base().native_histograms_for("sizes", 1), ["1", "native", "4"]),
        (base().native_histograms_for(Matcher::Prefix(String::new()), 1000), ["1000", "native", "512"]),
        (base().quantiles_for("sizes", &[0.5, 2.0]), ["2", "quantiles of `sizes`", "0 to 1"]),
        (base().quantile_window(Duration::ZERO), ["0ns", "window", "1 s"]),
        (base().admin(true), ["admin", "no listener", "metrics_addr"]),
        (base().admin(true).metrics_addr(([0, 0, 0, 0], 0)), ["0.0.0.0:0", "no token", "metrics_token"]),
        (base().expire_metrics_after(Duration::ZERO), ["0ns", "expiry", "1 s"]),
        (base().metrics_addr(address), [&address.to_string(), "in use", "address"]),
    ]
    .map(|(builder, parts)| (builder, parts.map(str::to_owned)))
    .into();
    for (builder, parts) in table {
        let outcome = builder.layers::<Registry>();
        let error = outcome.map(|_| ()).unwrap_err().to_string();
        for part in parts {
            assert!(error.to_lowercase().contains(&part.to_lowercase()), "`{part}` is not in `{error}`");
        }
        assert!(!error.contains("hunter2"), "{error}");
    }
}

#[cfg(feature = "tempo")]
#[test]
fn a_protocol_with_the_port_of_the_other_one_is_an_error() {
    let endpoint = Endpoint::parse("http://tempo:4317").unwrap();
    let builder = builder().ignore_environment().tempo(endpoint).tempo_protocol(lgtm_tempo::Protocol::Http);
    let error = builder.init().unwrap_err().to_string();
    assert!(error.contains("tempo_protocol") && error.contains("http://tempo:4317"), "{error}");
}

#[cfg(all(feature = "loki", feature = "tempo", feature = "mimir"))]
#[test]
fn one_receiver_takes_every_signal_that_has_no_endpoint_of_its_own() {
    let endpoint = |url: &str| Endpoint::parse(url).unwrap();
    let base = |url: &str| builder().variables([("LOKI_URL".into(), "http://loki".into())]).endpoint(endpoint(url));
    let shown = |builder: Builder| {
        let config = builder.config().unwrap();
        ["loki", "loki_protocol", "tempo", "tempo_protocol", "mimir", "mimir_protocol"]
            .map(|name| config.get(name).map(|setting| format!("{} {}", setting.value, setting.source)))
            .map(Option::unwrap)
    };
    assert_eq!(
        shown(base("https://gateway/otlp/")),
        [
            "https://gateway/otlp/v1/logs code",
            "otlp, http/protobuf code",
            "https://gateway/otlp/v1/traces code",
            "http/protobuf code",
            "https://gateway/otlp/v1/metrics code",
            "otlp, http/protobuf code",
        ]
    );
    let by_both = base("http://collector:4317")
        .loki(endpoint("http://own"))
        .mimir_protocol(lgtm_mimir::Protocol::Otlp(crate::Protocol::Grpc));
    assert_eq!(
        shown(by_both),
        [
            "http://own/ code",
            "push default",
            "http://collector:4317/ code",
            "grpc code",
            "http://collector:4317/ code",
            "otlp, grpc code",
        ]
    );
    assert!(base("http://c:4317").without_tempo().config().unwrap().get("tempo_protocol").is_none());
    let push = base("http://user:hunter2@c:4317").loki_protocol(lgtm_loki::Protocol::Push);
    let said = push.config().unwrap_err().to_string();
    for part in ["loki_protocol", "Push", "http://c:4317/", "Otlp"] {
        assert!(said.contains(part) && !said.contains("hunter2"), "{said}");
    }
    let wrong = base("http://c:4317").tempo_protocol(crate::Protocol::Http).config().unwrap_err().to_string();
    assert!(wrong.contains("tempo_protocol") && wrong.contains("4317"), "{wrong}");
}

#[test]
fn debug_shows_no_secret() {
    #[cfg(feature = "loki")]
    {
        let endpoint = Endpoint::parse("http://me:hunter2@localhost").unwrap();
        let shown = format!("{:?}", builder().loki(endpoint));
        assert!(shown.contains("localhost") && !shown.contains("hunter2"), "{shown}");
    }
}

#[cfg(all(feature = "mimir", feature = "http"))]
#[test]
fn sizes_of_bodies_have_buckets_of_bytes_unless_the_program_says_otherwise() {
    use crate::Matcher;
    let bounds = |builder: Builder, name: &'static str| -> Vec<String> {
        let (_, telemetry) = builder.ignore_environment().render_metrics().panics(false).layers::<Registry>().unwrap();
        ::metrics::with_local_recorder(&telemetry.recorder().unwrap(), || ::metrics::histogram!(name).record(5000.0));
        let text = telemetry.metrics_renderer().unwrap().render(crate::MetricsFormat::Text);
        let buckets = text.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix("_bucket{le=\""));
        buckets.filter_map(|rest| Some(rest.split_once('"')?.0.to_owned())).collect()
    };
    const REQUEST: &str = "http_request_body_size_bytes";
    const RESPONSE: &str = "http_response_body_size_bytes";
    let bytes: Vec<String> = lgtm_http::catalogue::BODY_BYTES.iter().map(ToString::to_string).collect();
    for name in [REQUEST, RESPONSE] {
        assert_eq!(bounds(builder().buckets(&[0.1, 1.0]), name), [&bytes[..], &["+Inf".to_owned()]].concat());
    }
    let own = &[1000.0];
    for rule in [
        Matcher::Full(REQUEST.to_owned()),
        Matcher::Prefix("http_".to_owned()),
        Matcher::Suffix("_bytes".to_owned()),
        Matcher::Suffix("_body_size_bytes".to_owned()),
    ] {
        assert_eq!(bounds(builder().buckets_for(rule.clone(), own), REQUEST), ["1000", "+Inf"], "{rule}");
    }
    assert_eq!(bounds(builder().buckets(own), "upload_body_size_bytes"), ["1000", "+Inf"], "of the program's own");
}
