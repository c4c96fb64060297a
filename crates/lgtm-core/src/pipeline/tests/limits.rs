//! The queue's bounds, and what happens at them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::support::*;
use crate::accounting::DropReason;
use crate::pipeline::{Overflow, Pipeline, PipelineOptions};

/// Bytes before each item.
const HEADER: usize = 16;

fn bounded(bytes: usize, items: usize) -> PipelineOptions {
    let mut options = slow();
    options.queue.bytes = bytes;
    options.queue.items = items;
    options
}

#[test]
fn a_full_queue_drops_the_newest_and_counts_it() {
    let server = Server::start([]).otherwise(Answer::Held);
    let pipeline = start(server.endpoint(), bounded(1 << 20, 10));
    let taken: Vec<_> = (0..30).filter(|number| admit(pipeline.queue(), *number)).collect();
    assert_eq!(taken, (0..10).collect::<Vec<_>>(), "small bounds are exact");
    let report = pipeline.report();
    assert_eq!((report.admitted, report.pending, dropped_for(&report, DropReason::QueueFull)), (30, 10, 20));
    server.release(1000);
    let report = end(&pipeline);
    assert_eq!((report.delivered, report.lost()), (10, 20));
    assert_eq!(server.stored(), taken);
}

#[test]
fn errors_and_warnings_find_room_where_debug_lines_find_none() {
    use crate::pipeline::Priority::{High, Low, Middle};
    // Bounds in items; and in bytes, of which each item here has 116.
    for (bytes, items) in [(1 << 20, 80), (80 * 116, 100_000)] {
        let server = Server::start([]).otherwise(Answer::Held);
        let pipeline = start(server.endpoint(), bounded(bytes, items));
        let fill = |priority| {
            let text = format!("7:{}", "x".repeat(98));
            let admit = || pipeline.queue().admit_at(priority, 0, 0, |into| into.extend_from_slice(text.as_bytes()));
            (0..200).filter(|_| admit()).count()
        };
        assert_eq!((fill(Low), fill(Low)), (60, 0));
        assert_eq!((fill(Middle), fill(Middle), fill(Low)), (10, 0, 0));
        assert_eq!((fill(High), fill(High)), (10, 0));
        let report = pipeline.report();
        assert_eq!((report.pending, dropped_for(&report, DropReason::QueueFull)), (80, report.admitted - 80));
        server.release(1000);
        assert_eq!(end(&pipeline).delivered, 80);
    }
}

#[test]
fn bytes_and_items_never_exceed_the_bounds_and_all_of_both_comes_back() {
    // The second with advances in the shards, where the bound in items binds first; the third likewise with bytes.
    for (bytes, items, length) in [(64 << 10, 1000, 300), (64 << 20, 20_000, 20), (4 << 20, 200_000, 1000)] {
        let server = Server::start([]).otherwise(Answer::Held);
        let pipeline = start(server.endpoint(), bounded(bytes, items));
        for round in 0..3 {
            let (taken_items, taken_bytes) = (AtomicU64::new(0), AtomicU64::new(0));
            let expected = items.min(bytes / (length + HEADER));
            std::thread::scope(|scope| {
                for thread in 0..4 {
                    let (pipeline, taken_items, taken_bytes) = (&pipeline, &taken_items, &taken_bytes);
                    scope.spawn(move || {
                        for number in 0..expected as u64 {
                            // Larger and smaller than `length`.
                            let length = length + ((number + thread) % 3) as usize * 8 - 8;
                            if admit_padded(pipeline.queue(), number, length) {
                                taken_items.fetch_add(1, Ordering::Relaxed);
                                taken_bytes.fetch_add((length + HEADER) as u64, Ordering::Relaxed);
                            }
                            assert!(pipeline.queue().pending_bytes() <= bytes);
                        }
                    });
                }
            });
            let (taken_items, taken_bytes) = (taken_items.into_inner() as usize, taken_bytes.into_inner() as usize);
            assert!(taken_items <= items && taken_bytes <= bytes, "round {round}: {taken_items}, {taken_bytes}");
            assert!(
                taken_items >= items - items / 8 || taken_bytes >= bytes - bytes / 8,
                "round {round}: space is lost: {taken_items} of {items}, {taken_bytes} of {bytes}"
            );
            server.release(100_000);
            flush(&pipeline);
            assert_eq!(pipeline.queue().pending_bytes(), 0, "round {round}");
            assert_eq!(pipeline.queue().pending(), 0);
            server.hold_again();
        }
        server.release(100_000);
        assert_eq!(end(&pipeline).delivered, server.stored().len() as u64);
    }
}

#[test]
fn what_threads_took_in_advance_comes_back_with_the_next_round() {
    let server = Server::start([]);
    let pipeline = start(server.endpoint(), slow());
    // The worker's first round is over: the next one comes with the next flush.
    flush(&pipeline);
    std::thread::scope(|scope| {
        for number in 0..4 {
            let queue = pipeline.queue();
            scope.spawn(move || assert!(admit(queue, number)));
        }
    });
    assert!(pipeline.queue().pending_bytes() > 1000, "the threads have taken more than they need");
    flush(&pipeline);
    assert_eq!(pipeline.queue().pending_bytes(), 0);
    end(&pipeline);
}

#[test]
fn an_item_over_its_bound_is_too_large_and_takes_nothing() {
    let server = Server::start([]);
    let mut options = bounded(10_000, 10);
    options.queue.item_bytes = 100;
    let pipeline = start(server.endpoint(), options);
    assert!(!admit_padded(pipeline.queue(), 1, 101));
    assert!(admit_padded(pipeline.queue(), 2, 100));
    let report = end(&pipeline);
    assert_eq!((report.admitted, report.delivered, dropped_for(&report, DropReason::TooLarge)), (2, 1, 1));

    // An item larger than the whole queue would wait for ever.
    let mut options = bounded(100, 10);
    options.overflow = Overflow::Block(NEVER);
    let pipeline = start(server.endpoint(), options);
    assert!(!admit_padded(pipeline.queue(), 1, 100));
    assert_eq!(dropped_for(&end(&pipeline), DropReason::TooLarge), 1);
}

#[test]
fn a_small_queue_is_emptied_without_waiting_for_the_age() {
    let server = Server::start([]);
    let pipeline = start(server.endpoint(), bounded(1 << 20, 16));
    for number in 0..1000 {
        eventually("space", || pipeline.queue().pending() < 16);
        assert!(admit(pipeline.queue(), number));
    }
    assert_eq!(end(&pipeline).delivered, 1000);
}

#[test]
fn many_items_are_sent_in_batches_within_the_limits() {
    let server = Server::start([]);
    let mut options = fast();
    options.batch.items = 100;
    options.batch.bytes = 4000;
    options.overflow = Overflow::Block(PATIENCE);
    let pipeline = start(server.endpoint(), options);
    (0..5000).for_each(|number| assert!(admit_padded(pipeline.queue(), number, 10 + (number % 50) as usize)));
    assert_eq!(end(&pipeline).delivered, 5000);
    assert_eq!(server.stored(), (0..5000).collect::<Vec<_>>());
    for request in server.requests() {
        assert!(request.items.len() <= 100, "{}", request.items.len());
        let bytes: usize = request.items.iter().map(|number| 10 + (number % 50) as usize + HEADER).sum();
        assert!(bytes <= 4000, "{bytes}");
    }
}

#[test]
fn blocked_threads_lose_nothing_and_keep_their_order_with_a_slow_backend() {
    const THREADS: u64 = 8;
    const ITEMS: u64 = 500;
    let server = Server::start([]).otherwise(Answer::Slow(Duration::from_millis(2)));
    let mut options = bounded(2000, 50);
    options.overflow = Overflow::Block(PATIENCE);
    let pipeline = start(server.endpoint(), options);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let queue = pipeline.queue();
            scope.spawn(move || (0..ITEMS).for_each(|number| assert!(admit(queue, thread * 10_000 + number))));
        }
    });
    let report = end(&pipeline);
    assert_eq!((report.admitted, report.delivered), (THREADS * ITEMS, THREADS * ITEMS), "{report}");
    let stored = server.stored();
    for thread in 0..THREADS {
        let of_thread: Vec<_> = stored.iter().filter(|number| **number / 10_000 == thread).copied().collect();
        assert_eq!(of_thread, (0..ITEMS).map(|number| thread * 10_000 + number).collect::<Vec<_>>());
    }
}

#[test]
fn a_blocked_thread_goes_on_after_its_time_and_the_item_is_counted() {
    let server = Server::start([]).otherwise(Answer::Held);
    let mut options = bounded(1000, 1);
    options.overflow = Overflow::Block(Duration::from_millis(100));
    let pipeline = start(server.endpoint(), options);
    assert!(admit(pipeline.queue(), 1));
    let began = Instant::now();
    assert!(!admit(pipeline.queue(), 2));
    assert!(began.elapsed() >= Duration::from_millis(100));
    assert_eq!(dropped_for(&pipeline.report(), DropReason::QueueFull), 1);
    server.release(1);
    assert_eq!(end(&pipeline).delivered, 1);
}

#[test]
fn a_thread_blocked_without_end_goes_on_when_there_is_space() {
    let server = Server::start([]).otherwise(Answer::Held);
    let mut options = bounded(1000, 1);
    options.overflow = Overflow::Block(Duration::MAX);
    let pipeline = start(server.endpoint(), options);
    assert!(admit(pipeline.queue(), 1));
    std::thread::scope(|scope| {
        let blocked = scope.spawn(|| admit(pipeline.queue(), 2));
        server.wait_for_requests(1);
        assert!(!blocked.is_finished());
        server.release(2);
        assert!(blocked.join().unwrap());
    });
    assert_eq!(end(&pipeline).delivered, 2);
}

#[test]
fn a_thread_that_exports_never_waits() {
    let server = Server::start([]).otherwise(Answer::Held);
    let mut options = bounded(1000, 1);
    options.overflow = Overflow::Block(NEVER);
    let pipeline = start(server.endpoint(), options);
    crate::suppressed(|| {
        assert!(admit(pipeline.queue(), 1));
        assert!(!admit(pipeline.queue(), 2));
    });
    server.release(1);
    assert_eq!(end(&pipeline).delivered, 1);
}

#[test]
fn a_thread_that_panics_never_waits() {
    /// Admits while its thread unwinds, as a span does that is closed then.
    struct Late<'a>(&'a Pipeline);
    impl Drop for Late<'_> {
        fn drop(&mut self) {
            assert!(std::thread::panicking());
            assert!(!admit(self.0.queue(), 2), "there is no space, and nobody to wait for it");
        }
    }
    let server = Server::start([]).otherwise(Answer::Held);
    let mut options = bounded(1000, 1);
    options.overflow = Overflow::Block(NEVER);
    let pipeline = start(server.endpoint(), options);
    assert!(admit(pipeline.queue(), 1));
    std::thread::scope(|scope| {
        let panicked = scope.spawn(|| {
            let _late = Late(&pipeline);
            std::panic::resume_unwind(Box::new("scripted"));
        });
        assert!(panicked.join().is_err());
    });
    assert_eq!(dropped_for(&pipeline.report(), DropReason::QueueFull), 1);
    server.release(1);
    assert_eq!(end(&pipeline).delivered, 1);
}

#[test]
fn a_writer_that_panics_leaves_nothing_behind() {
    let server = Server::start([]);
    let pipeline = start(server.endpoint(), bounded(10_000, 10));
    for number in 0..5 {
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            pipeline.queue().admit(0, 0, |bytes| {
                bytes.extend_from_slice(b"garbage");
                std::panic::resume_unwind(Box::new("scripted"));
            })
        }));
        assert!(panicked.is_err());
        assert!(admit(pipeline.queue(), number));
    }
    let report = end(&pipeline);
    assert_eq!((report.admitted, report.delivered), (5, 5));
    assert_eq!(server.stored(), [0, 1, 2, 3, 4]);
    assert_eq!(pipeline.queue().pending_bytes(), 0);
}

#[test]
fn stream_and_timestamp_reach_the_encoder() {
    use crate::pipeline::{Batch, Reply, Signal, Verdict, Worker};
    struct Labels;
    impl Signal for Labels {
        fn kind(&self) -> crate::SignalKind {
            crate::SignalKind::Logs
        }
        fn encode(&mut self, batch: &Batch, body: &mut Vec<u8>) {
            assert!(!batch.is_empty());
            for item in batch.iter() {
                let number = u64::from(item.stream) + item.timestamp + item.payload.len() as u64;
                body.extend_from_slice(format!("{number}\n").as_bytes());
            }
        }
        fn halve(&mut self, _: &[u8]) -> Option<[(Vec<u8>, usize); 2]> {
            None
        }
        fn classify(&self, _: &Reply) -> Verdict {
            Verdict::delivered()
        }
    }
    let server = Server::start([]);
    let pipeline = Pipeline::start(Labels, target(server.endpoint()), fast(), &Worker::spawn().unwrap()).unwrap();
    pipeline.queue().admit(7, 1_700_000_000_000_000_000, |_| {});
    pipeline.queue().admit(u32::MAX, 0, |bytes| bytes.push(b'x'));
    assert_eq!(end(&pipeline).delivered, 2);
    assert_eq!(server.stored(), [1_700_000_000_000_000_007, u64::from(u32::MAX) + 1]);
}
