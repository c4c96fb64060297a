//! Fields whose names stand for secrets: their values do not leave the process, whichever way they came in.

use std::error::Error;
use std::fmt;

use lgtm_core::TraceContext;
use lgtm_core::redaction::REDACTED;
use lgtm_core::span::SpanExt as _;
use lgtm_core::{SpanId, TraceId};
use tracing::field::Empty;
use tracing::{error, info, info_span};

use super::harness::{Arrived, Row, row, text};

/// What must arrive nowhere.
const SECRET: &str = "hunter2";

/// Shows its secret in every way that a value has.
#[derive(Debug)]
struct Wrong(&'static str, Option<Box<Wrong>>);

impl fmt::Display for Wrong {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "refused {}", self.0)
    }
}

impl Error for Wrong {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.1.as_ref().map(|cause| &**cause as _)
    }
}

/// A value that must not even be formatted.
struct Untouchable;

impl fmt::Debug for Untouchable {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        panic!("a secret was formatted")
    }
}

fn is_nowhere(arrived: &Arrived) {
    let all = format!("{:?} {}", arrived.captured, arrived.exposition);
    assert!(!all.contains(SECRET), "{all}");
}

pub(crate) fn rows() -> Vec<Row> {
    vec![
        row(
            "a span's field with a secret's name shows that it was there, in the trace and in its lines",
            || {
                let span = info_span!("work", db.password = SECRET, api_key = 17, pwd = true, user = "ada");
                span.in_scope(|| (0..3).for_each(|number| info!("line {number}")));
            },
            |arrived| {
                for name in ["db.password", "api_key", "pwd"] {
                    assert_eq!(arrived.attribute("work", name), Some(&text(REDACTED)), "{name}");
                    assert_eq!(arrived.field("line 0", name), REDACTED);
                    assert_eq!(arrived.field("line 2", name), REDACTED);
                }
                assert_eq!(arrived.attribute("work", "user"), Some(&text("ada")));
                is_nowhere(arrived);
            },
        ),
        row(
            "a secret that is recorded late does not show",
            || {
                let span = info_span!("work", session_token = Empty, user = Empty);
                span.in_scope(|| (0..2).for_each(|number| info!("before {number}")));
                span.record("session_token", SECRET).record("user", "ada");
                span.in_scope(|| info!("after"));
            },
            |arrived| {
                assert_eq!(arrived.attribute("work", "session_token"), Some(&text(REDACTED)));
                assert_eq!(arrived.attribute("work", "user"), Some(&text("ada")));
                assert_eq!(arrived.field("after", "session_token"), REDACTED);
                is_nowhere(arrived);
            },
        ),
        row(
            "an event's field with a secret's name shows neither in its line nor on its span",
            || {
                info_span!("work").in_scope(|| {
                    info!(authorization = %format_args!("Bearer {SECRET}"), token_count = 3, "asked");
                });
                info!(cookie = SECRET, "outside");
            },
            |arrived| {
                assert_eq!(arrived.field("asked", "authorization"), REDACTED);
                assert_eq!(arrived.field("outside", "cookie"), REDACTED);
                let event = arrived.event("work");
                assert_eq!(event.attributes.get("authorization"), Some(&text(REDACTED)));
                assert_eq!(arrived.field("asked", "token_count"), 3);
                is_nowhere(arrived);
            },
        ),
        row(
            "an error under a secret's name shows neither itself nor its causes",
            || {
                let wrong = Wrong(SECRET, Some(Box::new(Wrong(SECRET, None))));
                let span = info_span!("work", secret = &wrong as &dyn Error);
                span.in_scope(|| error!(password = &wrong as &dyn Error, "refused"));
            },
            |arrived| {
                assert_eq!(arrived.field("refused", "password"), REDACTED);
                assert_eq!(arrived.attribute("work", "secret"), Some(&text(REDACTED)));
                is_nowhere(arrived);
            },
        ),
        row(
            "attributes set at run time, and those of links, are judged by their names too",
            || {
                let span = info_span!("work");
                let to = TraceContext::new(TraceId::random(), SpanId::random(), true);
                span.add_link(to, &[("link.token", SECRET.into()), ("reason", "retry".into())]);
                span.set_attribute("http.request.header.x-api-key", SECRET);
                span.set_attribute("http.route", "/pay");
                span.in_scope(|| info!("here"));
            },
            |arrived| {
                let key = "http.request.header.x-api-key";
                assert_eq!(arrived.attribute("work", key), Some(&text(REDACTED)));
                assert_eq!(arrived.field("here", key), REDACTED);
                assert_eq!(arrived.attribute("work", "http.route"), Some(&text("/pay")));
                let link = &arrived.span("work").links[0].attributes;
                assert_eq!((link.get("link.token"), link.get("reason")), (Some(&text(REDACTED)), Some(&text("retry"))));
                is_nowhere(arrived);
            },
        ),
        row(
            "a stream label of a secret's name has the value that its field shows",
            || info_span!("work", tenant.secret = SECRET).in_scope(|| info!("here")),
            |arrived| {
                let labels = &arrived.log("here").labels;
                assert_eq!(labels.get("tenant_secret").map(String::as_str), Some(REDACTED), "{labels:?}");
                is_nowhere(arrived);
            },
        )
        .loki(|builder| builder.label_from_field("tenant.secret", 3)),
        row(
            "metric labels of a secret's name do not show their values, and differ in nothing else",
            || {
                metrics::counter!("logins_total", "api_key" => SECRET, "way" => "web").increment(1);
                metrics::counter!("logins_total", "api_key" => "hunter22", "way" => "web").increment(2);
                metrics::histogram!("login_seconds", "password" => SECRET).record(0.1);
            },
            |arrived| {
                let line = format!("logins_total{{api_key=\"{REDACTED}\",way=\"web\"}} 3");
                assert!(arrived.exposition.contains(&line), "{}", arrived.exposition);
                is_nowhere(arrived);
            },
        ),
        row(
            "a field that stands twice is redacted twice, and its last value is not shown either",
            || info!(token = SECRET, token = SECRET, "twice"),
            |arrived| {
                assert_eq!(arrived.field("twice", "token"), REDACTED);
                is_nowhere(arrived);
            },
        ),
        row(
            "own layers do not even format a secret",
            || {
                // tracing-opentelemetry does, before anything of lgtm's is asked.
                if std::thread::current().name() == Some("own_layer_over_grpc") {
                    info_span!("work", password = ?Untouchable).in_scope(|| info!(token = ?Untouchable, "alive"));
                } else {
                    info!("alive");
                }
            },
            |arrived| assert_eq!(arrived.log("alive").labels.get("level").map(String::as_str), Some("info")),
        ),
    ]
}
