//! The disk behind the memory: nothing is lost in an outage or over a restart, nothing comes twice, and a disk that fails harms
//! nobody.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tempfile::TempDir;

use super::support::*;
use crate::accounting::DropReason;
use crate::pipeline::{Overflow, Pipeline, PipelineOptions};
use crate::spool::SpoolOptions;

/// A small memory with a spool behind it.
fn spooling(folder: &TempDir) -> PipelineOptions {
    let mut options = fast();
    options.queue.bytes = 64 * 1024;
    options.queue.items = 1000;
    options.batch.items = 100;
    options.batch.bytes = 8 * 1024;
    let mut spool = SpoolOptions::new(folder.path());
    spool.segment_bytes = Some(16 * 1024);
    options.spool = Some(spool);
    options
}

/// As many items as this, though the memory has room for 1,000.
const MANY: u64 = 20_000;

/// Admits items as fast as the spool takes them.
fn admit_all(pipeline: &Pipeline, numbers: std::ops::Range<u64>) {
    for number in numbers {
        eventually("room", || pipeline.queue().pending() - pipeline.report().spooled < 900);
        assert!(admit(pipeline.queue(), number));
    }
}

#[test]
fn an_outage_that_memory_cannot_hold_loses_nothing_and_everything_comes_once_and_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start([]).otherwise(Answer::Status(503));
    let mut options = spooling(&folder);
    options.overflow = Overflow::Block(PATIENCE);
    let pipeline = start(server.endpoint(), options);
    for number in 0..MANY {
        assert!(admit(pipeline.queue(), number));
    }
    let report = pipeline.report();
    assert!(report.spooled > MANY - 2000 && report.lost() == 0, "{report}");
    server.answer(Answer::Status(204));
    let report = end(&pipeline);
    assert_eq!((report.delivered, report.lost(), report.spooled), (MANY, 0, 0));
    assert!(server.stored().into_iter().eq(0..MANY), "in their order");
    let left = std::fs::read_dir(folder.path().join("logs.0")).unwrap().count();
    assert_eq!(left, 1, "the lock alone");
}

#[test]
fn what_is_left_at_the_end_is_sent_first_by_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let nobody = RefusingPort::new();
    let pipeline = start(crate::Endpoint::parse(&nobody.url()).unwrap(), spooling(&folder));
    (0..500).for_each(|number| assert!(admit(pipeline.queue(), number)));
    pipeline.begin_shutdown(soon());
    assert!(pipeline.wait_ended(soon()));
    let report = pipeline.report();
    assert_eq!((report.admitted, report.pending, report.spooled, report.lost()), (500, 500, 500, 0), "{report}");
    assert!(report.to_string().contains("500 pending (500 on disk)"), "{report}");

    let server = Server::start([]);
    let pipeline = start(server.endpoint(), spooling(&folder));
    (500..600).for_each(|number| assert!(admit(pipeline.queue(), number)));
    let report = end(&pipeline);
    assert_eq!((report.admitted, report.recovered, report.delivered, report.lost()), (600, 500, 600, 0), "{report}");
    assert_eq!(server.stored(), (0..600).collect::<Vec<_>>());
}

/// A refusal for now is no arrival, a refusal for good is: the one is kept, the other counted.
#[test]
fn only_what_has_arrived_or_is_refused_for_good_is_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let mut options = spooling(&folder);
    options.spool.as_mut().unwrap().durable = true;
    options.retry.max = NEVER;
    options.retry.initial = NEVER;
    let server = Server::start([Answer::Status(204), Answer::Status(400), Answer::Status(503)]).otherwise(Answer::Held);
    let pipeline = start(server.endpoint(), options.clone());
    for (number, requests) in [(1, 1), (2, 2), (3, 3)] {
        assert!(admit(pipeline.queue(), number));
        server.wait_for_requests(requests);
    }
    assert!(admit(pipeline.queue(), 4));
    eventually("all that waits is on disk", || pipeline.report().spooled == 2);
    let report = pipeline.report();
    assert_eq!((report.delivered, report.rejected, report.pending, report.lost()), (1, 1, 2, 1), "{report}");
    pipeline.begin_shutdown(soon());
    // The shutdown tries once more; the server is gone.
    drop(server);
    assert!(pipeline.wait_ended(soon()));
    assert_eq!(pipeline.report().spooled, 2);
    let server = Server::start([]);
    let pipeline = start(server.endpoint(), options);
    eventually("both arrive", || server.stored() == [3, 4]);
    assert_eq!(end(&pipeline).delivered, 2);
    assert_eq!(server.requests().len(), 2, "in the requests that they were in");
}

#[test]
fn a_durable_spool_has_everything_on_disk_before_it_is_sent_and_nothing_afterwards() {
    let folder = tempfile::tempdir().unwrap();
    let mut options = spooling(&folder);
    options.spool.as_mut().unwrap().durable = true;
    let server = Server::start([]).otherwise(Answer::Held);
    let pipeline = start(server.endpoint(), options);
    assert!(admit(pipeline.queue(), 1));
    server.wait_for_requests(1);
    assert_eq!(pipeline.report().spooled, 1);
    assert!(admit(pipeline.queue(), 2));
    eventually("what waits goes to disk too", || pipeline.report().spooled == 2);
    server.release(10);
    flush(&pipeline);
    let report = pipeline.report();
    assert_eq!((report.delivered, report.pending), (2, 0));
    end(&pipeline);
    assert_eq!(server.stored(), [1, 2]);
}

#[test]
fn a_stored_request_that_is_too_large_is_split_and_what_is_alone_too_large_is_lost_alone() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start([]).otherwise(Answer::AtMost(7));
    let mut options = spooling(&folder);
    options.spool.as_mut().unwrap().durable = true;
    let pipeline = start(server.endpoint(), options.clone());
    (0..1000).for_each(|number| assert!(admit(pipeline.queue(), number)));
    let report = end(&pipeline);
    assert_eq!((report.delivered, report.lost()), (1000, 0), "{report}");
    assert_eq!(server.stored(), (0..1000).collect::<Vec<_>>());

    let server = Server::start([]).otherwise(Answer::AtMost(0));
    let pipeline = start(server.endpoint(), options);
    (0..10).for_each(|number| assert!(admit(pipeline.queue(), number)));
    let report = end(&pipeline);
    assert_eq!((report.lost(), dropped_for(&report, DropReason::TooLarge), report.spooled), (10, 10, 0), "{report}");
}

/// What panics once would panic at every start.
#[test]
fn a_stored_request_that_makes_the_worker_panic_is_lost_alone_and_not_tried_for_ever() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start([]);
    let mut options = spooling(&folder);
    options.spool.as_mut().unwrap().durable = true;
    let signal = Numbers::default();
    signal.switches.classify_panics.store(1, Ordering::SeqCst);
    let pipeline = start_signal(signal, server.endpoint(), options.clone());
    assert!(admit(pipeline.queue(), 1));
    eventually("the panic", || pipeline.report().lost() == 1);
    assert!(admit(pipeline.queue(), 2));
    let report = end(&pipeline);
    assert_eq!((report.delivered, dropped_for(&report, DropReason::WorkerPanic)), (1, 1), "{report}");
    let pipeline = start(server.endpoint(), options);
    assert_eq!(end(&pipeline).recovered, 0);
}

#[test]
fn an_encoder_that_panics_on_the_way_to_disk_costs_one_batch() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start([]);
    let mut options = spooling(&folder);
    options.spool.as_mut().unwrap().durable = true;
    let signal = Numbers::default();
    signal.switches.encode_panics.store(1, Ordering::SeqCst);
    let pipeline = start_signal(signal, server.endpoint(), options);
    assert!(admit(pipeline.queue(), 1));
    eventually("the panic", || pipeline.report().lost() == 1);
    assert!(admit(pipeline.queue(), 2));
    let report = end(&pipeline);
    assert_eq!((report.delivered, dropped_for(&report, DropReason::WorkerPanic)), (1, 1), "{report}");
    assert_eq!(pipeline.queue().pending_bytes(), 0);
}

#[test]
fn a_full_spool_leaves_memory_and_then_drops_the_newest_and_counts_them() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start([]).otherwise(Answer::Status(503));
    let mut options = spooling(&folder);
    options.spool.as_mut().unwrap().max_bytes = 20_000;
    // Long enough for the disk to take what it can.
    options.overflow = Overflow::Block(Duration::from_millis(20));
    let pipeline = start(server.endpoint(), options);
    let (mut taken, mut dropped) = (Vec::new(), 0);
    for number in 0..MANY {
        if admit(pipeline.queue(), number) {
            taken.push(number);
        } else {
            dropped += 1;
        }
        if dropped == 20 {
            break;
        }
    }
    assert!(taken.len() > 2000, "{}", taken.len());
    let on_disk: u64 = std::fs::read_dir(folder.path().join("logs.0"))
        .unwrap()
        .map(|entry| entry.unwrap().metadata().unwrap().len())
        .sum();
    assert!(on_disk <= 20_000, "{on_disk}");
    let report = pipeline.report();
    assert_eq!((report.lost(), dropped_for(&report, DropReason::QueueFull)), (dropped, dropped), "{report}");
    server.answer(Answer::Status(204));
    let report = end(&pipeline);
    assert_eq!(report.delivered, taken.len() as u64, "{report}");
    assert!(server.stored() == taken, "in their order");
}

#[test]
fn a_disk_that_takes_nothing_for_a_while_costs_nothing_that_memory_can_hold() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start([]).otherwise(Answer::Status(503));
    let pipeline = start(server.endpoint(), spooling(&folder));
    let own = folder.path().join("logs.0");
    let hidden = folder.path().join("hidden");
    eventually("the folder", || own.join("lock").exists());
    std::fs::rename(&own, &hidden).unwrap();
    std::fs::write(&own, "no folder").unwrap();
    // Over the half from which on items would go to disk.
    (0..900).for_each(|number| assert!(admit(pipeline.queue(), number)));
    server.wait_for_requests(10);
    assert_eq!(pipeline.report().spooled, 0);
    std::fs::remove_file(&own).unwrap();
    std::fs::rename(&hidden, &own).unwrap();
    eventually("they go to disk after all", || pipeline.report().spooled == 900);
    server.answer(Answer::Status(204));
    let report = end(&pipeline);
    assert_eq!((report.delivered, report.lost()), (900, 0), "{report}");
    assert_eq!(server.stored(), (0..900).collect::<Vec<_>>());
}

#[test]
fn what_lies_on_disk_for_too_long_is_dropped_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    let mut options = spooling(&folder);
    options.spool.as_mut().unwrap().max_age = Duration::ZERO;
    options.retry.give_up_after = Duration::ZERO;
    let nobody = RefusingPort::new();
    let first = start(crate::Endpoint::parse(&nobody.url()).unwrap(), spooling(&folder));
    (0..10).for_each(|number| assert!(admit(first.queue(), number)));
    first.begin_shutdown(soon());
    assert!(first.wait_ended(soon()));
    assert_eq!(first.report().spooled, 10);
    std::thread::sleep(Duration::from_millis(5));
    let server = Server::start([]);
    let report = end(&start(server.endpoint(), options));
    assert_eq!((report.recovered, dropped_for(&report, DropReason::Expired), report.spooled), (10, 10, 0), "{report}");
    assert!(server.requests().is_empty());
}

#[test]
fn damaged_records_are_counted_and_the_others_arrive() {
    let folder = tempfile::tempdir().unwrap();
    let mut options = spooling(&folder);
    options.spool.as_mut().unwrap().durable = true;
    let nobody = RefusingPort::new();
    let first = start(crate::Endpoint::parse(&nobody.url()).unwrap(), options.clone());
    for number in 0..5 {
        assert!(admit(first.queue(), number));
        eventually("a record of its own", || first.report().spooled == number + 1);
    }
    first.begin_shutdown(soon());
    assert!(first.wait_ended(soon()));
    let file = std::fs::read_dir(folder.path().join("logs.0"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some())
        .unwrap();
    let mut bytes = std::fs::read(&file).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    let server = Server::start([]);
    let report = end(&start(server.endpoint(), options));
    assert_eq!((report.recovered, report.delivered, dropped_for(&report, DropReason::Damaged)), (5, 4, 1), "{report}");
    assert_eq!(server.stored(), [0, 1, 2, 3]);
}

#[test]
fn a_flush_waits_for_what_lies_on_disk_too() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start([]).otherwise(Answer::Status(503));
    let pipeline = start(server.endpoint(), spooling(&folder));
    admit_all(&pipeline, 0..3000);
    server.answer(Answer::Status(204));
    flush(&pipeline);
    assert!(server.stored().into_iter().eq(0..3000), "in their order");
    let report = pipeline.report();
    assert_eq!((report.delivered, report.pending), (3000, 0), "{report}");
}
