//! A pipeline that has nothing to do sleeps, and misses nothing.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::support::*;
use crate::pipeline::{Pipeline, Worker};

/// A round of a pipeline that has something to do.
const AGE: Duration = Duration::from_millis(5);

/// How often this thread has gone to sleep so far.
fn wake_ups(thread: &Path) -> u64 {
    let status = std::fs::read_to_string(thread.join("status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")).unwrap();
    line.trim().parse().unwrap()
}

#[test]
fn an_empty_pipeline_sleeps_until_something_comes() {
    let worker = Worker::spawn().unwrap();
    let (tell, told) = std::sync::mpsc::channel();
    worker.handle().spawn(async move {
        let thread = std::fs::read_link("/proc/thread-self").unwrap();
        tell.send(PathBuf::from("/proc").join(thread)).unwrap();
    });
    let thread = told.recv().unwrap();
    let server = Server::start([]);
    let pipelines: Vec<_> = (0..3)
        .map(|_| Pipeline::start(Numbers::default(), target(server.endpoint()), fast(), &worker).unwrap())
        .collect();
    let mut number = 0;
    for _ in 0..2 {
        let before = (Instant::now(), wake_ups(&thread));
        std::thread::sleep(Duration::from_millis(500));
        let (passed, woken) = (before.0.elapsed(), wake_ups(&thread) - before.1);
        // Three rounds an age would be 300.
        assert!(woken < 60, "{woken} times in {passed:?}");
        // Whatever comes is sent by itself: it calls the worker, and waits an age.
        for pipeline in &pipelines {
            for _ in 0..3 {
                assert!(admit(pipeline.queue(), number));
                eventually("the item", || server.stored().contains(&number));
                number += 1;
            }
        }
        // Longer than the age of what was sent last.
        std::thread::sleep(20 * AGE);
    }
    for pipeline in &pipelines {
        assert_eq!(end(pipeline).delivered, 6);
    }
}
