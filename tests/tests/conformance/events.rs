//! Events on spans: names, attributes, order, errors.

use std::error::Error;
use std::fmt;

use lgtm_devstack::{StatusCode, Value};
use tracing::{Level, debug, error, event, info, info_span, instrument, trace, warn};

use super::harness::{Row, row, text};

/// An error with a source.
#[derive(Debug)]
pub(crate) struct Wrapped(pub(crate) &'static str, pub(crate) Option<Box<Wrapped>>);

impl fmt::Display for Wrapped {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.0)
    }
}

impl Error for Wrapped {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.1.as_deref().map(|source| source as _)
    }
}

/// "not saved", because "unreachable", because "refused".
pub(crate) fn chain() -> Wrapped {
    Wrapped("not saved", Some(Box::new(Wrapped("unreachable", Some(Box::new(Wrapped("refused", None)))))))
}

const CHAIN: &str = "tracing-opentelemetry keeps the event's name and writes the chain as an array";

pub(crate) fn rows() -> Vec<Row> {
    vec![
        row(
            "an event is named by its message",
            || info_span!("work").in_scope(|| info!("found {} rows", 3)),
            |arrived| assert_eq!(arrived.events("work"), ["found 3 rows"]),
        ),
        row(
            "an event's fields are its attributes, by type",
            || info_span!("work").in_scope(|| info!(delta = -3_i64, ratio = 0.5, ok = true, user = "ada", "done")),
            |arrived| {
                let attributes = &arrived.event("work").attributes;
                assert_eq!(attributes.get("delta"), Some(&Value::Int(-3)));
                assert_eq!(attributes.get("ratio"), Some(&Value::Double(0.5)));
                assert_eq!(attributes.get("ok"), Some(&Value::Bool(true)));
                assert_eq!(attributes.get("user"), Some(&text("ada")));
                assert_eq!(attributes.get("message"), None);
            },
        ),
        row(
            "an event says its level and its target",
            || info_span!("work").in_scope(|| warn!(target: "shop::stock", "low")),
            |arrived| {
                let attributes = &arrived.event("work").attributes;
                assert_eq!((attributes.text("level"), attributes.text("target")), (Some("WARN"), Some("shop::stock")));
            },
        ),
        row(
            "events stay in their order and within their span's time",
            || {
                info_span!("work").in_scope(|| {
                    for number in 0..20_i64 {
                        info!(number, "step");
                    }
                });
            },
            |arrived| {
                let span = arrived.span("work");
                let numbers: Vec<_> = span.events.iter().map(|event| event.attributes.int("number")).collect();
                assert_eq!(numbers, (0..20).map(Some).collect::<Vec<_>>());
                let times: Vec<u64> = span.events.iter().map(|event| event.time_ns).collect();
                assert!(times.is_sorted() && times.iter().all(|time| (span.start_ns..=span.end_ns).contains(time)));
            },
        ),
        row(
            "events of every level are on the span",
            || {
                info_span!("work").in_scope(|| {
                    trace!("one");
                    debug!("two");
                    info!("three");
                    warn!("four");
                    event!(Level::ERROR, "five");
                });
            },
            |arrived| assert_eq!(arrived.events("work"), ["one", "two", "three", "four", "five"]),
        ),
        row(
            "an event belongs to the innermost span",
            || {
                info_span!("outer").in_scope(|| {
                    info!("before");
                    info_span!("inner").in_scope(|| info!("inside"));
                    info!("after");
                });
            },
            |arrived| {
                assert_eq!(arrived.events("outer"), ["before", "after"]);
                assert_eq!(arrived.events("inner"), ["inside"]);
            },
        ),
        row(
            "an event with an explicit parent belongs to it",
            || {
                let elsewhere = info_span!("elsewhere");
                info_span!("here").in_scope(|| info!(parent: &elsewhere, "said for it"));
            },
            |arrived| {
                assert!(arrived.events("here").is_empty());
                assert_eq!(arrived.events("elsewhere"), ["said for it"]);
                assert!(arrived.is_in("said for it", "elsewhere"));
            },
        ),
        row(
            "an event that is told to have no parent belongs to no span",
            || info_span!("work").in_scope(|| info!(parent: None, "for nobody")),
            |arrived| {
                assert!(arrived.events("work").is_empty());
                assert_eq!(arrived.place_of_log("for nobody"), None);
            },
        ),
        row(
            "an event outside of all spans is a line and nothing else",
            || info!("alone"),
            |arrived| {
                assert!(arrived.spans.is_empty());
                assert_eq!((arrived.logs.len(), arrived.place_of_log("alone")), (1, None));
            },
        ),
        row(
            "an event without a message has the name that the program gave it",
            || info_span!("work").in_scope(|| event!(name: "stock.low", Level::INFO, item = 7_i64)),
            |arrived| assert_eq!(arrived.events("work"), ["stock.low"]),
        ),
        row(
            "a message wins over a name",
            || info_span!("work").in_scope(|| event!(name: "stock.low", Level::INFO, "only {} left", 2)),
            |arrived| assert_eq!(arrived.events("work"), ["only 2 left"]),
        ),
        row(
            "an error value gives an exception with the chain of its sources",
            || {
                info_span!("work").in_scope(|| {
                    let failure = chain();
                    error!(error = &failure as &(dyn Error + 'static), "giving up");
                });
            },
            |arrived| {
                let event = arrived.event("work");
                assert_eq!(event.name, "exception");
                assert_eq!(event.attributes.text("exception.message"), Some("not saved"));
                assert_eq!(
                    event.attributes.text("exception.stacktrace"),
                    Some("not saved\ncaused by: unreachable\ncaused by: refused")
                );
                assert_eq!(event.attributes.text("message"), Some("giving up"));
                assert_eq!(arrived.span("work").status.code, StatusCode::Error);
            },
        )
        .but(CHAIN, |arrived| {
            let event = arrived.event("work");
            assert_eq!(event.name, "giving up");
            assert_eq!(event.attributes.text("exception.message"), Some("not saved"));
            let sources = Value::Array(vec![text("unreachable"), text("refused")]);
            assert_eq!(event.attributes.get("exception.stacktrace"), Some(&sources));
            assert_eq!(arrived.span("work").status.code, StatusCode::Error);
        }),
        row(
            "an error value below level ERROR is told and fails nothing",
            || {
                info_span!("work").in_scope(|| {
                    let failure = chain();
                    warn!(error = &failure as &(dyn Error + 'static), "trying again");
                });
            },
            |arrived| {
                assert_eq!(arrived.event("work").attributes.text("exception.message"), Some("not saved"));
                assert_eq!(arrived.span("work").status.code, StatusCode::Unset);
            },
        ),
        row(
            "instrument(err) fails the span with the error's text",
            || {
                #[instrument(err)]
                fn load() -> Result<(), &'static str> {
                    Err("no such page")
                }
                let _ = load();
            },
            |arrived| {
                assert_eq!(arrived.span("load").status.code, StatusCode::Error);
                assert_eq!(arrived.event("load").attributes.text("error"), Some("no such page"));
            },
        )
        .but("tracing-opentelemetry turns an `error` field without a message into an exception", |arrived| {
            assert_eq!(arrived.span("load").status.code, StatusCode::Error);
            assert_eq!(arrived.event("load").attributes.text("exception.message"), Some("no such page"));
        }),
        row(
            "instrument(ret) tells the value",
            || {
                #[instrument(ret)]
                fn add(left: i64, right: i64) -> i64 {
                    left + right
                }
                add(1, 2);
            },
            |arrived| {
                assert_eq!(arrived.event("add").attributes.text("return"), Some("3"));
                assert_eq!(arrived.attribute("add", "left"), Some(&Value::Int(1)));
            },
        ),
        row(
            "instrument(skip_all, fields) tells what it is told to",
            || {
                #[instrument(skip_all, fields(kind = "order", size = secret.len() as i64))]
                fn take(secret: &str) {
                    let _ = secret;
                }
                take("four");
            },
            |arrived| {
                assert_eq!(arrived.attribute("take", "size"), Some(&Value::Int(4)));
                assert_eq!(arrived.attribute("take", "secret"), None);
            },
        ),
        row(
            "an event's own fields `level` and `target` win",
            || info_span!("work").in_scope(|| info!(level = 3_i64, target = "moon", "said")),
            |arrived| {
                let attributes = &arrived.event("work").attributes;
                assert_eq!(attributes.duplicate_keys(), Vec::<&str>::new());
                assert_eq!((attributes.int("level"), attributes.text("target")), (Some(3), Some("moon")));
            },
        ),
        row(
            "an event's fields of one name are one attribute and one field of the line, the last",
            || info_span!("work").in_scope(|| info!(twice = 1_i64, other = true, twice = 2_i64, "said")),
            |arrived| {
                let attributes = &arrived.event("work").attributes;
                assert_eq!(attributes.duplicate_keys(), Vec::<&str>::new());
                assert_eq!(attributes.int("twice"), Some(2));
                assert_eq!(arrived.logs[0].line.matches("twice").count(), 1);
                assert_eq!(arrived.field("said", "twice"), 2);
            },
        ),
        row(
            "an event's huge value is cut on the span",
            || info_span!("work").in_scope(|| info!(long = "x".repeat(200 * 1024), "big")),
            |arrived| assert_eq!(arrived.event("work").attributes.text("long").map(str::len), Some(128 * 1024)),
        ),
    ]
}
