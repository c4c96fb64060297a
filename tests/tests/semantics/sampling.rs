//! Sampling is about traces only: spans of traces that are not recorded are not sent, logs are, and say so.

use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::fmt;

use lgtm_core::Sampler;
use lgtm_core::sampler::Root;
use lgtm_tests::capture::{capture, capture_on};
use lgtm_tests::signals::Layers;
use tracing::{Dispatch, info, info_span};
use tracing_subscriber::prelude::*;

use super::settings;

#[test]
fn unsampled_spans_are_not_sent_and_their_logs_say_so() {
    for sampler in [Sampler::AlwaysOff, Sampler::ParentBased(Root::AlwaysOff), Sampler::TraceIdRatio(0.0)] {
        let mut settings = settings();
        settings.sampler = sampler.clone();
        let captured = capture(&settings, || {
            let _root = info_span!("request").entered();
            info!("in the root");
            let _leaf = info_span!("query").entered();
            info!("in the leaf");
        });
        assert_eq!(captured.span_names(), Vec::<&str>::new(), "{sampler:?}");
        let places = ["in the root", "in the leaf"].map(|message| captured.place_of_log(message).expect("a place"));
        assert_eq!(places[0].0, places[1].0, "{sampler:?}: both lines are in one trace");
        assert_ne!(places[0].1, places[1].1, "{sampler:?}: of different spans");
        for entry in &captured.logs {
            assert_eq!(entry.structured_metadata["trace_sampled"], "false", "{sampler:?}");
        }
    }
}

#[test]
fn a_ratio_keeps_whole_traces_and_logs_agree_with_them() {
    let mut settings = settings();
    settings.sampler = Sampler::ParentBased(Root::TraceIdRatio(0.5));
    const TRACES: usize = 400;
    let captured = capture(&settings, || {
        for _ in 0..TRACES {
            let _root = info_span!("request").entered();
            let _leaf = info_span!("query").entered();
            info!("done");
        }
    });
    let mut spans_of: HashMap<&str, usize> = HashMap::new();
    for span in &captured.spans {
        *spans_of.entry(&span.trace_id).or_default() += 1;
    }
    assert!(spans_of.values().all(|spans| *spans == 2), "only whole traces");
    // Off by more than six standard deviations of 10 would be no accident.
    assert!((140..=260).contains(&spans_of.len()), "{} of {TRACES} traces", spans_of.len());
    assert_eq!(captured.logs.len(), TRACES);
    let said: HashSet<&str> = captured
        .logs
        .iter()
        .filter(|entry| entry.structured_metadata["trace_sampled"] == "true")
        .map(|entry| entry.structured_metadata["trace_id"].as_str())
        .collect();
    assert_eq!(said, spans_of.keys().copied().collect());
}

/// Counts how often it is shown.
struct Shown<'a>(&'a Cell<u32>);

impl fmt::Debug for Shown<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.set(self.0.get() + 1);
        formatter.write_str("shown")
    }
}

#[test]
fn nobody_formats_what_is_in_a_trace_that_is_left_out() {
    let formatted = |sampler: Sampler, with_logs: bool| {
        let mut settings = settings();
        settings.sampler = sampler;
        let counts = [const { Cell::new(0) }; 3];
        let [root, child, event] = &counts;
        let subscriber = |layers: Layers| {
            let registry = tracing_subscriber::registry().with(layers.tempo);
            if with_logs { Dispatch::new(registry.with(layers.loki)) } else { Dispatch::new(registry) }
        };
        let captured = capture_on(&settings, subscriber, || {
            let _root = info_span!("request", value = ?Shown(root)).entered();
            info!(value = ?Shown(event), "in the root");
            let _child = info_span!("query", value = ?Shown(child)).entered();
            info!(value = ?Shown(event), "in the child");
        });
        (captured.spans.len(), counts.map(|count| count.get()))
    };
    assert_eq!(formatted(Sampler::AlwaysOn, false), (2, [1, 1, 2]));
    // The root may still become the child of a remote span that is sampled.
    assert_eq!(formatted(Sampler::ParentBased(Root::AlwaysOff), false), (0, [1, 0, 0]));
    assert_eq!(formatted(Sampler::ParentBased(Root::AlwaysOff), true), (0, [1, 1, 2]));
}
