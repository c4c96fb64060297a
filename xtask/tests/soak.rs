//! `cargo xtask soak`, short: every promise is kept in it, and each backend has been in each state. The ten minutes are not for
//! continuous integration.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "tests")]

use std::collections::BTreeSet;
use std::process::{Command, Stdio};

use serde_json::Value;

fn soak(arguments: &[&str]) -> Value {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.arg("soak").args(arguments).args(["--json", "--for", "20s"]).stdin(Stdio::null());
    let output = command.output().expect("xtask starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    let document: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {errors}"));
    let findings = serde_json::to_string_pretty(&document["findings"]).unwrap();
    assert!(output.status.success(), "{errors}\n{findings}");
    assert_eq!(document["ok"], true, "{findings}");
    document
}

fn check(document: &Value) {
    let samples = document["samples"].as_array().unwrap();
    for backend in 0..3 {
        let states: BTreeSet<&str> = samples.iter().filter_map(|sample| sample["states"][backend].as_str()).collect();
        assert_eq!(states, BTreeSet::from(["down", "slow", "up", "wrong"]));
    }
    let report = &samples.last().unwrap()["said"]["report"];
    for signal in ["logs", "spans", "metrics"] {
        assert!(report[signal]["delivered"].as_u64().unwrap() > 0, "{report}");
    }
    // Those are sent each second: they meet every state.
    for signal in ["logs", "spans"] {
        assert!(!report[signal]["errors"].as_object().unwrap().is_empty(), "nothing went wrong: {report}");
    }
}

#[test]
fn with_a_spool_a_program_loses_nothing_and_does_not_grow_while_backends_are_slow_wrong_and_down() {
    check(&soak(&["--seed", "5", "--rate", "500"]));
}

#[test]
fn without_a_spool_every_item_is_accounted_for_while_backends_are_slow_wrong_and_down() {
    check(&soak(&["--seed", "9", "--rate", "500", "--no-spool"]));
}
