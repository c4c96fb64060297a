//! Sampling is about traces only: spans of traces that are not recorded are not sent, logs are, and say so.

use std::collections::{HashMap, HashSet};

use lgtm_core::Sampler;
use lgtm_core::sampler::Root;
use lgtm_tests::capture::capture;
use tracing::{info, info_span};

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
