//! A program in which nothing happens: lgtm's threads sleep. And what the beginning and an empty flush take.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::harness::{Addresses, backends, run, say};

/// How long nothing happens.
const WATCHED: Duration = Duration::from_secs(8);

pub(crate) fn program(name: &str) -> bool {
    if name != "idle" {
        return false;
    }
    let begin = Instant::now();
    let telemetry = lgtm::init().unwrap();
    say(&begin.elapsed().as_micros().to_string());
    tracing::info_span!("the only one").in_scope(|| tracing::info!("the only line"));
    // What was recorded is sent, and the processor was looked at twice.
    telemetry.flush().unwrap();
    std::thread::sleep(Duration::from_secs(3));
    let begin = Instant::now();
    telemetry.flush().unwrap();
    say(&begin.elapsed().as_micros().to_string());
    std::thread::sleep(Duration::from_secs(1));
    let before = wake_ups();
    std::thread::sleep(WATCHED);
    let after = wake_ups();
    for (thread, count) in &after {
        let earlier = before.iter().find(|(known, _)| known == thread).map_or(0, |(_, count)| *count);
        println!("{}: {} in {WATCHED:?}", thread.display(), count - earlier);
    }
    let sum = |all: &[(PathBuf, u64)]| all.iter().map(|(_, count)| count).sum::<u64>();
    say(&(sum(&after) - sum(&before)).to_string());
    let begin = Instant::now();
    let report = telemetry.shutdown();
    println!("shutdown: {} us", begin.elapsed().as_micros());
    say(&report.json());
    true
}

/// How often each of lgtm's threads has gone to sleep so far.
fn wake_ups() -> Vec<(PathBuf, u64)> {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().map(|task| task.unwrap().path());
    tasks
        .filter(|task| std::fs::read_to_string(task.join("comm")).is_ok_and(|name| name.starts_with("lgtm-")))
        .map(|task| {
            let status = std::fs::read_to_string(task.join("status")).unwrap();
            let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")).unwrap();
            (task, line.trim().parse().unwrap())
        })
        .collect()
}

fn assert_sleeps(further: &[(&str, &str)]) {
    let stack = backends();
    let finished = run("idle", &Addresses::of(&stack).with(further));
    assert!(finished.success, "{}", finished.stderr);
    let wake_ups: u64 = finished.said[2].parse().unwrap();
    // Pipelines that look for work once a second would be 24 or more.
    assert!(wake_ups < 2 * WATCHED.as_secs(), "{wake_ups} in {WATCHED:?}: {}", finished.stdout);
    let report = finished.report();
    crate::lifecycle::assert_conserved(&report);
    assert_eq!((report["logs"]["delivered"].as_u64(), report["spans"]["delivered"].as_u64()), (Some(1), Some(1)));
}

#[test]
fn a_program_in_which_nothing_happens_is_left_asleep() {
    assert_sleeps(&[]);
}

#[test]
fn so_is_one_with_a_spool() {
    let folder = tempfile::tempdir().unwrap();
    assert_sleeps(&[("LGTM_SPOOL_DIR", folder.path().to_str().unwrap())]);
}
