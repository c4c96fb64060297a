//! Logs: streams, label values, lines, structured metadata.

use lgtm_core::Identity;
use lgtm_tests::capture::{Captured, capture};
use lgtm_tests::counting::Counting;
use lgtm_tests::signals::Settings;
use tracing::{info, info_span};

use crate::settings;

/// Loki's bounds.
const LINE_BYTES: usize = 256 * 1024;
const METADATA_BYTES: usize = 64 * 1024;

fn counted(settings: &Settings, program: impl FnOnce()) -> (Captured, Counting) {
    let recorder = Counting::default();
    let captured = metrics::with_local_recorder(&recorder, || capture(settings, program));
    (captured, recorder)
}

#[test]
fn a_field_of_endless_values_makes_no_more_streams_than_its_cap_and_one_for_all_others() {
    let mut settings = settings();
    settings.loki = |builder| builder.label_from_field("user", 10);
    let (captured, recorder) = counted(&settings, || {
        for user in 0..500 {
            info!(user = format!("{user}-{}", "x".repeat(3000)), "seen");
        }
    });
    assert_eq!(captured.logs.len(), 500);
    let streams: std::collections::HashSet<_> =
        captured.logs.iter().map(|entry| entry.labels["user"].clone()).collect();
    assert_eq!((streams.len(), streams.contains("other")), (11, true));
    assert!(streams.iter().all(|value| value.len() <= 2048), "Loki's bound on a label's value");
    assert_eq!(recorder.counter("otlp_logs_label_overflow_total"), 490);
}

#[test]
fn a_line_of_any_size_is_within_lokis_bound_and_says_that_it_is_cut() {
    let huge = "\u{1}\"ä".repeat(1_000_000);
    let (captured, recorder) = counted(&settings(), || {
        info!(kept = 1, "{huge}");
        info!(huge, kept = 2, "field");
        let span = info_span!("span", huge, more = huge);
        span.in_scope(|| info!(kept = 3, "inside"));
    });
    assert_eq!(captured.logs.len(), 3);
    for (entry, kept) in captured.logs.iter().zip(1..) {
        let line = entry.json().unwrap();
        assert!(entry.line.len() <= LINE_BYTES, "{} bytes", entry.line.len());
        assert_eq!((&line["truncated"], &line["kept"]), (&true.into(), &kept.into()), "{kept}");
    }
    assert_eq!(recorder.counter("otlp_logs_truncated_total"), 3);
}

#[test]
fn an_identity_of_any_length_leaves_room_for_the_line() {
    let mut settings = settings();
    let mut identity = Identity::new("s".repeat(100_000));
    identity.service_version = Some("v".repeat(100_000));
    identity.service_instance_id = "i".repeat(100_000);
    identity.environment = Some("e".repeat(100_000));
    settings.identity = identity;
    let (captured, _) = counted(&settings, || info!("said"));
    let entry = captured.log("said");
    let metadata: usize = entry.structured_metadata.iter().map(|(name, value)| name.len() + value.len()).sum();
    assert!(metadata <= METADATA_BYTES, "{metadata} bytes");
    assert!(entry.labels.values().all(|value| value.len() <= 2048));
}
