//! admitted = delivered + rejected + dropped + pending, whatever the backend does.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use proptest::prelude::*;

use super::support::*;
use crate::pipeline::Overflow;

fn fault() -> impl Strategy<Value = Answer> {
    prop_oneof![
        4 => Just(Answer::Status(204)),
        1 => Just(Answer::Status(200)),
        1 => Just(Answer::Status(400)),
        1 => Just(Answer::Status(401)),
        2 => Just(Answer::Status(413)),
        1 => (0_usize..20).prop_map(Answer::AtMost),
        1 => (0_usize..20).prop_map(Answer::Partial),
        2 => Just(Answer::Status(429)),
        1 => Just(Answer::RetryAfter(503, 0)),
        2 => Just(Answer::Status(500)),
        1 => Just(Answer::Reset),
        1 => Just(Answer::Close),
        1 => (0_u64..20).prop_map(|millis| Answer::Slow(Duration::from_millis(millis))),
    ]
}

#[derive(Clone, Debug)]
struct Plan {
    faults: Vec<Answer>,
    threads: u64,
    items: u64,
    queue_items: usize,
    queue_bytes: usize,
    block: bool,
    give_up_after: Option<Duration>,
    encode_panics: u32,
    classify_panics: u32,
    flushes: u32,
    spool: Option<Spool>,
}

/// A disk behind the memory.
#[derive(Clone, Copy, Debug)]
struct Spool {
    max_bytes: u64,
    durable: bool,
}

fn plan() -> impl Strategy<Value = Plan> {
    (
        prop::collection::vec(fault(), 0..25),
        (1_u64..5, 1_u64..400),
        (5_usize..300, 500_usize..20_000),
        any::<bool>(),
        prop_oneof![Just(None), (1_u64..30).prop_map(|millis| Some(Duration::from_millis(millis)))],
        (0_u32..8, 0_u32..8),
        0_u32..4,
        prop::option::of(
            (2_000_u64..100_000, any::<bool>()).prop_map(|(max_bytes, durable)| Spool { max_bytes, durable }),
        ),
    )
        .prop_map(
            |(faults, (threads, items), (queue_items, queue_bytes), block, give_up_after, panics, flushes, spool)| {
                Plan {
                    faults,
                    threads,
                    items,
                    queue_items,
                    queue_bytes,
                    block,
                    give_up_after,
                    encode_panics: panics.0,
                    classify_panics: panics.1,
                    flushes,
                    spool,
                }
            },
        )
}

fn runs_true(plan: Plan) {
    #[cfg(feature = "spool")]
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(plan.faults);
    let signal = Numbers::default();
    // A panic while classifying would lose what the server has stored: the counts say lost, the server says delivered.
    let lossy_panic = plan.classify_panics > 0;
    signal.switches.encode_panics.store(plan.encode_panics, Ordering::SeqCst);
    signal.switches.classify_panics.store(plan.classify_panics, Ordering::SeqCst);
    let mut options = fast();
    options.queue.items = plan.queue_items;
    options.queue.bytes = plan.queue_bytes;
    options.batch.items = 50;
    options.batch.bytes = 1500;
    if plan.block {
        options.overflow = Overflow::Block(PATIENCE);
    }
    if let Some(after) = plan.give_up_after {
        options.retry.give_up_after = after;
    }
    #[cfg(feature = "spool")]
    if let Some(Spool { max_bytes, durable }) = plan.spool {
        let mut spool = crate::SpoolOptions::new(folder.path());
        spool.max_bytes = max_bytes;
        spool.durable = durable;
        options.spool = Some(spool);
    }
    let pipeline = start_signal(signal, server.endpoint(), options.clone());
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let sampler = scope.spawn(|| {
            let mut before = pipeline.report();
            while !done.load(Ordering::Relaxed) {
                let now = pipeline.report();
                assert_adds_up(&now);
                assert!(now.admitted >= before.admitted && now.delivered >= before.delivered);
                assert!(now.rejected >= before.rejected && now.lost() >= before.lost());
                assert!(pipeline.queue().pending_bytes() <= plan.queue_bytes);
                before = now;
                std::thread::yield_now();
            }
        });
        let callers: Vec<_> = (0..plan.threads)
            .map(|thread| {
                let pipeline = &pipeline;
                scope.spawn(move || {
                    for number in 0..plan.items {
                        admit_padded(pipeline.queue(), thread * 1_000_000 + number, (number % 60) as usize);
                    }
                })
            })
            .collect();
        for _ in 0..plan.flushes {
            flush(&pipeline);
        }
        callers.into_iter().for_each(|caller| caller.join().unwrap());
        pipeline.begin_shutdown(soon());
        assert!(pipeline.wait_ended(soon()), "no end: {}", pipeline.report());
        done.store(true, Ordering::Relaxed);
        sampler.join().unwrap();
    });

    let report = pipeline.report();
    assert_adds_up(&report);
    assert_eq!(report.admitted, plan.threads * plan.items, "{report}");
    // What is not settled lies on disk, and the next start has it.
    assert_eq!(report.pending, report.spooled, "{report}");
    assert!(report.spooled == 0 || plan.spool.is_some());
    assert_eq!(pipeline.queue().pending_bytes(), 0, "{report}");
    #[cfg(feature = "spool")]
    let report = if plan.spool.is_some() {
        server.recover();
        let next = end(&start(server.endpoint(), options));
        assert_eq!((next.recovered, next.delivered, next.lost()), (report.spooled, report.spooled, 0), "{next}");
        crate::SignalReport { delivered: report.delivered + next.delivered, ..report }
    } else {
        report
    };
    let stored = server.stored();
    if lossy_panic {
        assert!(stored.len() as u64 >= report.delivered, "{report}");
    } else {
        assert_eq!(stored.len() as u64, report.delivered, "{report}");
    }
    assert_eq!(stored.iter().collect::<HashSet<_>>().len(), stored.len(), "an item arrived twice");
    for thread in 0..plan.threads {
        let of_thread: Vec<_> = stored.iter().filter(|number| **number / 1_000_000 == thread).collect();
        assert!(of_thread.is_sorted(), "the order of thread {thread}: {of_thread:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, max_shrink_iters: 30, ..ProptestConfig::default() })]

    #[test]
    fn every_item_is_accounted_for_under_scripted_faults(plan in plan()) {
        runs_true(plan);
    }
}
