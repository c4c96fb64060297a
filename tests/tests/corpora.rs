//! What the fuzzer has kept, in `fuzz/corpus`, is run through its targets again: each input is a test of its own that has once
//! reached new code, or was once a mistake.

#![allow(clippy::expect_used, clippy::panic, reason = "a broken expectation is a failed test")]

use std::fs;
use std::panic::catch_unwind;
use std::path::Path;

use lgtm_tests::fuzz::TARGETS;

/// The inputs of a target, by their names.
fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut inputs: Vec<_> = entries
        .map(|entry| {
            let entry = entry.expect("an input");
            let name = entry.file_name().to_string_lossy().into_owned();
            (name, fs::read(entry.path()).expect("its bytes"))
        })
        .collect();
    inputs.sort();
    inputs
}

/// Runs all inputs of one target, also after one has failed.
fn replay(target: &str) {
    let (_, run) = TARGETS.iter().find(|(name, _)| *name == target).expect("a target");
    let inputs = corpus(target);
    assert!(inputs.len() >= 5, "only {} inputs of {target}", inputs.len());
    let failed: Vec<_> =
        inputs.iter().filter(|(_, data)| catch_unwind(|| run(data)).is_err()).map(|(name, _)| name.as_str()).collect();
    assert!(failed.is_empty(), "{} of {} inputs: {}", failed.len(), inputs.len(), failed.join(", "));
}

macro_rules! replayed {
    ($($test:ident: $target:literal),+ $(,)?) => {
        $(#[test]
        fn $test() {
            replay($target);
        })+

        #[test]
        fn every_target_is_replayed_and_built() {
            let replayed = [$($target),+];
            assert_eq!(TARGETS.map(|(name, _)| name), replayed);
            let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/Cargo.toml");
            let manifest = fs::read_to_string(manifest).expect("the manifest of the fuzz targets");
            for target in replayed {
                assert!(manifest.contains(&format!("name = \"{target}\"")), "fuzz/Cargo.toml has no {target}");
            }
        }
    };
}

replayed! {
    any_answer_leaves_every_item_accounted_for_once: "answers",
    any_environment_is_accepted_or_refused_by_name_without_a_secret: "configuration",
    any_headers_are_passed_on_as_they_were_accepted: "headers",
    any_body_is_taken_whole_by_the_development_stack_or_refused_with_a_reason: "ingest",
    any_labels_are_read_back_as_they_were_given: "labels",
    any_event_is_one_line_in_every_format: "lines",
    any_samples_are_exposed_and_pushed_with_the_same_values: "metrics",
    any_query_has_an_answer: "queries",
    anything_said_of_a_span_arrives_as_it_was_said: "spans",
}
