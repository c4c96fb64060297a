//! The queue and the flush under loom: every order of steps of a few threads, with all that the memory model allows. Run by
//! `cargo xtask check --full`, or `RUSTFLAGS="--cfg lgtm_loom" cargo test -p lgtm-core --lib models`.
//!
//! Time stands still: a thread that waits for space waits until it is woken, and a model in which nobody wakes it has failed.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "a failed step fails the model, which tells its size"
)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use loom::thread;

use super::batch::Batch;
use super::control::Control;
use super::queue::{Overflow, Queue, QueueLimits};
use super::sync::set_thread_number;
use crate::accounting::DropReason;

/// Never reached.
const LONG: Duration = Duration::from_secs(3600);

/// Every order of steps with at most so many interruptions of a thread that could go on. Most mistakes need two.
fn model(interruptions: usize, run: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(interruptions);
    builder.max_branches = 100_000;
    let runs = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = Arc::clone(&runs);
    builder.check(move || {
        counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        run();
    });
    let runs = runs.load(std::sync::atomic::Ordering::Relaxed);
    println!("{runs} orders of steps");
    assert!(runs > 10, "a model that has hardly any order of steps shows nothing: {runs}");
}

fn queue(items: usize, overflow: Overflow) -> Arc<Queue> {
    let limits = QueueLimits { bytes: 1 << 20, items, item_bytes: 1 << 10 };
    Arc::new(Queue::new(limits, overflow, 1 << 16, 1 << 10))
}

/// A thread that admits so many items, each with the thread's number and its own; how many were taken.
fn producer(queue: &Arc<Queue>, number: u32, items: u64) -> thread::JoinHandle<u64> {
    let queue = Arc::clone(queue);
    thread::spawn(move || {
        set_thread_number(number as usize);
        (0..items).map(|item| u64::from(queue.admit(number, item, |buffer| buffer.push(b'x')))).sum()
    })
}

/// Takes what there is, notes it, and releases it as delivered.
fn consume(queue: &Queue, taken: &mut Vec<(u32, u64)>) {
    for chunk in queue.take_all() {
        let mut one = std::collections::VecDeque::from([chunk]);
        let Some(batch) = Batch::gather(&mut one, &super::BatchLimits::default()) else { panic!("a chunk is a batch") };
        taken.extend(batch.iter().map(|item| (item.stream, item.timestamp)));
        for chunk in batch.into_chunks() {
            queue.accounting.delivered.fetch_add(chunk.items() as u64, std::sync::atomic::Ordering::Release);
            queue.release(chunk);
        }
    }
}

/// The items of each thread are those that it admitted, in their order.
fn assert_in_order(taken: &[(u32, u64)], thread: u32, expected: u64) {
    let of_thread: Vec<u64> = taken.iter().filter(|(of, _)| *of == thread).map(|(_, item)| *item).collect();
    assert_eq!(of_thread, (0..expected).collect::<Vec<_>>(), "of thread {thread}");
}

fn assert_nothing_pending(queue: &Queue) {
    assert_eq!(queue.pending(), 0);
    assert_eq!(queue.pending_bytes(), 0, "the budget is what it was");
}

#[test]
fn nothing_is_lost_or_taken_twice_while_threads_admit_and_the_worker_takes() {
    model(3, || {
        let queue = queue(64, Overflow::DropNewest);
        let threads = [producer(&queue, 0, 2), producer(&queue, 1, 2)];
        let mut taken = Vec::new();
        consume(&queue, &mut taken);
        for thread in threads {
            assert_eq!(thread.join().unwrap(), 2);
        }
        consume(&queue, &mut taken);
        assert_in_order(&taken, 0, 2);
        assert_in_order(&taken, 1, 2);
        assert_nothing_pending(&queue);
    });
}

#[test]
fn threads_of_one_shard_lose_nothing_either() {
    model(3, || {
        let queue = queue(64, Overflow::DropNewest);
        // An even number falls on the shard of thread 0.
        let threads = [producer(&queue, 0, 2), producer(&queue, 2, 2)];
        let mut taken = Vec::new();
        consume(&queue, &mut taken);
        threads.into_iter().for_each(|thread| assert_eq!(thread.join().unwrap(), 2));
        consume(&queue, &mut taken);
        assert_in_order(&taken, 0, 2);
        assert_in_order(&taken, 2, 2);
        assert_nothing_pending(&queue);
    });
}

#[test]
fn a_full_queue_drops_and_counts_and_the_rest_arrives() {
    model(3, || {
        let queue = queue(1, Overflow::DropNewest);
        let threads = [producer(&queue, 0, 1), producer(&queue, 1, 2)];
        let mut taken = Vec::new();
        consume(&queue, &mut taken);
        let admitted: u64 = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
        consume(&queue, &mut taken);
        assert_eq!(taken.len() as u64, admitted);
        assert_eq!(queue.admitted(), 3);
        assert_eq!(queue.accounting.dropped_for(DropReason::QueueFull), 3 - admitted);
        assert_nothing_pending(&queue);
    });
}

/// The worker sleeps until it is woken, as long as these threads wait for space.
fn consume_when_woken(queue: &Queue, taken: &mut Vec<(u32, u64)>, until: usize) {
    while taken.len() < until {
        queue.wake.wait();
        consume(queue, taken);
    }
}

#[test]
fn a_thread_that_waits_for_space_is_always_woken_and_always_wakes_the_worker() {
    model(4, || {
        let queue = queue(1, Overflow::Block(LONG));
        set_thread_number(1);
        assert!(queue.admit(1, 0, |buffer| buffer.push(b'x')));
        let waits = producer(&queue, 0, 1);
        let mut taken = Vec::new();
        consume_when_woken(&queue, &mut taken, 1);
        // There is space for the other one now: it waits for nobody.
        assert_eq!(waits.join().unwrap(), 1);
        consume(&queue, &mut taken);
        assert_eq!(taken, [(1, 0), (0, 0)]);
        assert_nothing_pending(&queue);
    });
}

#[test]
fn of_two_that_wait_for_space_neither_is_forgotten() {
    model(1, || {
        let queue = queue(1, Overflow::Block(LONG));
        set_thread_number(1);
        assert!(queue.admit(1, 0, |buffer| buffer.push(b'x')));
        let waiting = [producer(&queue, 0, 1), producer(&queue, 2, 1)];
        let mut taken = Vec::new();
        consume_when_woken(&queue, &mut taken, 2);
        waiting.into_iter().for_each(|thread| assert_eq!(thread.join().unwrap(), 1));
        consume(&queue, &mut taken);
        assert_eq!((taken.len(), taken[0]), (3, (1, 0)));
        assert_nothing_pending(&queue);
    });
}

#[test]
fn what_comes_while_the_worker_goes_to_sleep_is_found_or_calls_it() {
    model(4, || {
        let queue = queue(64, Overflow::DropNewest);
        let thread = producer(&queue, 0, 1);
        let mut taken = Vec::new();
        consume(&queue, &mut taken);
        queue.sleep(true);
        consume(&queue, &mut taken);
        if taken.is_empty() {
            queue.first.wait();
            consume(&queue, &mut taken);
        }
        assert_eq!(thread.join().unwrap(), 1);
        assert_in_order(&taken, 0, 1);
        assert_nothing_pending(&queue);
    });
}

#[test]
fn closing_wakes_whoever_waits_and_every_item_is_taken_or_counted() {
    model(3, || {
        let queue = queue(1, Overflow::Block(LONG));
        set_thread_number(1);
        assert!(queue.admit(1, 0, |buffer| buffer.push(b'x')));
        let waits = producer(&queue, 0, 1);
        queue.close();
        // What was admitted before the end is taken after it.
        let mut taken = Vec::new();
        consume(&queue, &mut taken);
        let admitted = waits.join().unwrap();
        consume(&queue, &mut taken);
        assert_eq!(taken.len() as u64, 1 + admitted);
        assert_eq!(queue.accounting.dropped_for(DropReason::Closed), 1 - admitted);
        assert_nothing_pending(&queue);
    });
}

#[test]
fn closing_alone_wakes_whoever_waits() {
    model(4, || {
        let queue = queue(1, Overflow::Block(LONG));
        set_thread_number(1);
        assert!(queue.admit(1, 0, |buffer| buffer.push(b'x')));
        let waits = producer(&queue, 0, 1);
        queue.close();
        assert_eq!(waits.join().unwrap(), 0);
        assert_eq!(queue.accounting.dropped_for(DropReason::Closed), 1);
        let mut taken = Vec::new();
        consume(&queue, &mut taken);
        assert_eq!(taken, [(1, 0)]);
        assert_nothing_pending(&queue);
    });
}

#[test]
fn what_is_admitted_before_the_end_is_there_when_the_worker_looks_a_last_time() {
    model(3, || {
        let queue = queue(64, Overflow::DropNewest);
        let threads = [producer(&queue, 0, 1), producer(&queue, 1, 1)];
        queue.close();
        let mut taken = Vec::new();
        // The worker's last look: no item comes behind it.
        consume(&queue, &mut taken);
        let admitted: u64 = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
        assert_eq!(taken.len() as u64, admitted);
        assert_eq!(queue.accounting.dropped_for(DropReason::Closed), 2 - admitted);
        assert_nothing_pending(&queue);
    });
}

#[test]
fn who_waits_for_a_flush_is_always_woken() {
    model(3, || {
        let control = Arc::new(Control::new());
        let deadline = Instant::now() + LONG;
        let waits = {
            let control = Arc::clone(&control);
            thread::spawn(move || {
                let number = control.want_flush();
                assert!(control.wait(deadline, |progress| progress.finished || progress.flushed >= number));
            })
        };
        // The task: what was wanted when it began is done at its end, and the end does everything.
        let wanted = control.flush_wanted();
        control.advance(|progress| progress.flushed = wanted);
        control.advance(|progress| progress.finished = true);
        waits.join().unwrap();
    });
}
