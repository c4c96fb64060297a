//! Keep rules: what the sampler leaves out is kept whole if it fails or is slow here, and says why.

use std::time::Duration;

use ::metrics::histogram;
use lgtm_core::Sampler;
use lgtm_core::propagation::set_parent;
use lgtm_core::sampler::Root;
use lgtm_core::span::KeepRules;
use lgtm_devstack::Value;
use tracing::{error, info, info_span};

use super::harness::{Arrived, Row, row, text};
use super::propagation::{TRACE, headers};
use super::tree::on_another_thread;

fn failures(builder: lgtm_tempo::Builder) -> lgtm_tempo::Builder {
    let mut rules = KeepRules::default();
    rules.slower_than = None;
    builder.keep(rules)
}

fn slow(builder: lgtm_tempo::Builder) -> lgtm_tempo::Builder {
    let mut rules = KeepRules::default();
    (rules.errors, rules.slower_than) = (false, Some(Duration::from_millis(20)));
    builder.keep(rules)
}

fn names(arrived: &Arrived) -> Vec<&str> {
    let mut names = arrived.span_names();
    names.sort_unstable();
    names
}

pub(crate) fn rows() -> Vec<Row> {
    vec![
        row(
            "a failure anywhere keeps the whole local trace, and each span says why",
            || {
                let _request = info_span!("request").entered();
                drop(info_span!("before"));
                info_span!("failing").in_scope(|| error!("it broke"));
                drop(info_span!("after"));
            },
            |arrived| {
                assert_eq!(names(arrived), ["after", "before", "failing", "request"]);
                for span in &arrived.spans {
                    assert_eq!(span.attributes.get("lgtm.sampling.reason"), Some(&text("error")), "{}", span.name);
                    assert_eq!(span.attributes.get("lgtm.sampling.probability"), Some(&Value::Double(1.0)));
                    assert_eq!((&span.trace_id, span.flags & 1), (&arrived.span("request").trace_id, 0));
                }
                assert_eq!(arrived.parent_of("failing").as_deref(), Some("request"));
                assert!(arrived.is_in("it broke", "failing"));
                assert_eq!(arrived.sampled("it broke"), Some("undecided"));
            },
        )
        .sampler(|| Sampler::AlwaysOff)
        .tempo(failures),
        row(
            "a trace in which nothing fails is left out",
            || info_span!("request").in_scope(|| info_span!("query").in_scope(|| info!("fine"))),
            |arrived| assert!(arrived.spans.is_empty() && arrived.logs.len() == 1),
        )
        .sampler(|| Sampler::AlwaysOff)
        .tempo(failures),
        row(
            "a slow local root keeps its trace, a fast one does not",
            || {
                info_span!("slow").in_scope(|| {
                    drop(info_span!("query"));
                    std::thread::sleep(Duration::from_millis(25));
                });
                info_span!("fast").in_scope(|| ());
            },
            |arrived| {
                assert_eq!(names(arrived), ["query", "slow"]);
                assert_eq!(arrived.attribute("query", "lgtm.sampling.reason"), Some(&text("slow")));
            },
        )
        .sampler(|| Sampler::AlwaysOff)
        .tempo(slow),
        row(
            "a status that the program sets keeps a trace like an event of level ERROR",
            || drop(info_span!("request", otel.status_code = "error")),
            |arrived| assert_eq!(names(arrived), ["request"]),
        )
        .sampler(|| Sampler::AlwaysOff)
        .tempo(failures),
        row(
            "what a sampler keeps by chance says with which, and failures are certain",
            || {
                for number in 0..200 {
                    info_span!("fine", number).in_scope(|| ());
                    info_span!("failing", number).in_scope(|| error!("no"));
                }
            },
            |arrived| {
                let of = |name: &'static str| arrived.spans.iter().filter(move |span| span.name == name);
                assert_eq!(of("failing").count(), 200);
                assert!((60..=140).contains(&of("fine").count()), "{}", of("fine").count());
                let probability = |value: f64| {
                    let value = Value::Double(value);
                    move |span: &std::sync::Arc<lgtm_devstack::Span>| {
                        span.attributes.get("lgtm.sampling.probability") == Some(&value)
                    }
                };
                assert!(of("fine").all(probability(0.5)));
                assert!(of("failing").all(probability(1.0)));
            },
        )
        .sampler(|| Sampler::ParentBased(Root::TraceIdRatio(0.5)))
        .tempo(failures),
        row(
            "without rules too a span says with which probability it is kept",
            || (0..100).for_each(|_| info_span!("work").in_scope(|| drop(info_span!("child")))),
            |arrived| {
                assert!(!arrived.spans.is_empty() && arrived.spans.len() < 200);
                let half = Value::Double(0.5);
                assert!(
                    arrived.spans.iter().all(|span| span.attributes.get("lgtm.sampling.probability") == Some(&half))
                );
            },
        )
        .sampler(|| Sampler::TraceIdRatio(0.5)),
        row(
            "a trace that is kept with certainty says nothing of it",
            || info_span!("work").in_scope(|| error!("no")),
            |arrived| assert!(arrived.attributes("work").is_empty()),
        )
        .tempo(failures),
        row(
            "what a remote parent leaves out is kept here if it fails here",
            || {
                let span = info_span!("handle");
                set_parent(&span, &headers("00")).expect("a parent");
                span.in_scope(|| info_span!("query").in_scope(|| error!("no")));
            },
            |arrived| {
                assert_eq!(names(arrived), ["handle", "query"]);
                assert!(arrived.spans.iter().all(|span| span.trace_id == TRACE));
            },
        )
        .tempo(failures),
        row(
            "two local roots of one trace are decided apart",
            || {
                for name in ["fine", "failing"] {
                    let span = info_span!("handle", otel.name = name);
                    set_parent(&span, &headers("00")).expect("a parent");
                    span.in_scope(|| if name == "failing" { error!("no") } else { info!("yes") });
                }
            },
            |arrived| assert_eq!(names(arrived), ["failing"]),
        )
        .tempo(failures),
        row(
            "a child on another thread fails the trace of its root",
            || {
                let request = info_span!("request");
                on_another_thread(|| request.in_scope(|| info_span!("elsewhere").in_scope(|| error!("no"))));
                request.in_scope(|| ());
            },
            |arrived| assert_eq!(names(arrived), ["elsewhere", "request"]),
        )
        .sampler(|| Sampler::AlwaysOff)
        .tempo(failures),
        row(
            "exemplars wait with their trace, and are there only if it is",
            || {
                info_span!("failing").in_scope(|| {
                    histogram!("failing_seconds").record(0.01);
                    error!("no");
                });
                info_span!("fine").in_scope(|| histogram!("fine_seconds").record(0.01));
            },
            |arrived| {
                let id = &arrived.span("failing").span_id;
                let of =
                    |name: &str| arrived.exposition.lines().filter(|line| line.starts_with(name)).collect::<Vec<_>>();
                assert_eq!(of("failing_seconds_bucket").iter().filter(|line| line.contains(id.as_str())).count(), 1);
                assert!(of("fine_seconds_bucket").iter().all(|line| !line.contains("span_id")));
            },
        )
        .sampler(|| Sampler::AlwaysOff)
        .tempo(failures),
    ]
}
