//! What spans say beside their fields, if asked.

use lgtm_devstack::Value;
use lgtm_tempo::Detail;
use tracing::info_span;

use super::harness::{Row, row, text};

fn is_int(value: Option<&Value>) -> bool {
    matches!(value, Some(Value::Int(_)))
}

pub(crate) fn rows() -> Vec<Row> {
    vec![
        row(
            "without being asked a span has its fields only",
            || drop(info_span!("work", user = "ada")),
            |arrived| assert_eq!(arrived.attributes("work"), [("user", &text("ada"))]),
        ),
        row(
            "where in the code a span is",
            || drop(info_span!("work")),
            |arrived| {
                let file = arrived.span("work").attributes.text("code.file.path").expect("a path");
                assert!(file.ends_with("details.rs"), "{file}");
                assert!(is_int(arrived.attribute("work", "code.line.number")));
            },
        )
        .tempo(|builder| builder.detail(Detail::default().with_location())),
        row(
            "on which thread a span was opened",
            || drop(info_span!("work")),
            |arrived| {
                assert!(is_int(arrived.attribute("work", "thread.id")));
                assert!(arrived.attribute("work", "thread.name").is_some());
            },
        )
        .tempo(|builder| builder.detail(Detail::default().with_threads())),
        row(
            "how long a span was busy and how long idle",
            || {
                let span = info_span!("work");
                std::thread::sleep(std::time::Duration::from_millis(5));
                span.in_scope(|| std::thread::sleep(std::time::Duration::from_millis(10)));
            },
            |arrived| {
                let time = |key: &str| arrived.span("work").attributes.int(key).expect("nanoseconds");
                assert!(time("busy_ns") >= 10_000_000 && time("idle_ns") >= 5_000_000);
            },
        )
        .tempo(|builder| builder.detail(Detail::default().with_busy_and_idle())),
    ]
}
