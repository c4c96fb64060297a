//! Flush and shutdown: from sync and async code, any tokio flavour or none, while the pipeline is idle, waits for an answer
//! or pauses.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::support::*;
use crate::accounting::{DropReason, ErrorType};
use crate::pipeline::{Overflow, Pipeline, Worker};

fn runtimes() -> [tokio::runtime::Runtime; 2] {
    [
        tokio::runtime::Builder::new_current_thread().build().unwrap(),
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap(),
    ]
}

#[test]
fn a_flush_sends_what_was_admitted_before_it() {
    let server = Server::start([]);
    let pipeline = start(server.endpoint(), slow());
    for number in 0..3 {
        assert!(admit(pipeline.queue(), number));
        flush(&pipeline);
        assert_eq!(server.stored().len() as u64, number + 1);
    }
    // Nothing to send is flushed as well.
    flush(&pipeline);
    assert_eq!(end(&pipeline).delivered, 3);
}

#[test]
fn a_flush_works_in_every_runtime() {
    // The runtimes have no timer: the pipeline's clock is its own.
    for runtime in runtimes() {
        let server = Server::start([]);
        let pipeline = start(server.endpoint(), slow());
        runtime.block_on(async {
            assert!(admit(pipeline.queue(), 1));
            assert!(pipeline.flushed(&pipeline.begin_flush(), soon()).await);
            assert_eq!(server.stored(), [1]);
            // Blocking in a task is unkind to the program's other tasks, and works.
            assert!(admit(pipeline.queue(), 2));
            flush(&pipeline);
            assert_eq!(server.stored(), [1, 2]);
            let task = {
                let pipeline = pipeline.clone();
                tokio::spawn(async move {
                    assert!(admit(pipeline.queue(), 3));
                    pipeline.flushed(&pipeline.begin_flush(), soon()).await
                })
            };
            assert!(task.await.unwrap());
            pipeline.begin_shutdown(soon());
            assert!(pipeline.ended(soon()).await);
        });
        assert_eq!((pipeline.report().delivered, pipeline.report().pending), (3, 0));
    }
}

#[test]
fn flushes_from_many_threads_at_once_all_end() {
    let server = Server::start([]);
    let pipeline = start(server.endpoint(), slow());
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let (pipeline, server) = (&pipeline, &server);
            scope.spawn(move || {
                for number in 0..20 {
                    let number = thread * 100 + number;
                    assert!(admit(pipeline.queue(), number));
                    flush(pipeline);
                    assert!(server.stored().contains(&number), "flushed, but {number} is not there");
                }
            });
        }
    });
    assert_eq!(end(&pipeline).delivered, 160);
}

#[test]
fn a_flush_that_begins_during_a_request_sends_what_came_meanwhile() {
    let server = Server::start([Answer::Held]);
    let pipeline = start(server.endpoint(), slow());
    assert!(admit(pipeline.queue(), 1));
    let first = pipeline.begin_flush();
    server.wait_for_requests(1);
    assert!(admit(pipeline.queue(), 2));
    let second = pipeline.begin_flush();
    assert!(!pipeline.wait_flushed(&first, Instant::now() + Duration::from_millis(20)), "it has no answer yet");
    server.release(1);
    assert!(pipeline.wait_flushed(&first, soon()));
    assert!(pipeline.wait_flushed(&second, soon()));
    assert_eq!(server.stored(), [1, 2]);
    end(&pipeline);
}

#[test]
fn a_flush_that_begins_during_a_pause_ends_it() {
    let server = Server::start([Answer::Status(503)]);
    let pipeline = start(server.endpoint(), slow());
    assert!(admit(pipeline.queue(), 1));
    let first = pipeline.begin_flush();
    eventually("the failure", || errors_of(&pipeline.report(), ErrorType::Server) == 1);
    flush(&pipeline);
    assert!(pipeline.wait_flushed(&first, Instant::now()));
    assert_eq!(server.stored(), [1]);
    end(&pipeline);
}

#[test]
fn a_flush_that_cannot_end_gives_up_at_its_deadline() {
    let server = Server::start([]).otherwise(Answer::Held);
    let pipeline = start(server.endpoint(), slow());
    assert!(admit(pipeline.queue(), 1));
    let flush = pipeline.begin_flush();
    assert!(!pipeline.wait_flushed(&flush, Instant::now() + Duration::from_millis(30)));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    assert!(!runtime.block_on(pipeline.flushed(&flush, Instant::now() + Duration::from_millis(30))));
    server.release(1);
    end(&pipeline);
}

#[test]
fn a_shutdown_that_begins_during_a_request_waits_for_the_answer_and_sends_the_rest() {
    let server = Server::start([Answer::Held]);
    let pipeline = start(server.endpoint(), slow());
    assert!(admit(pipeline.queue(), 1));
    let _ = pipeline.begin_flush();
    server.wait_for_requests(1);
    assert!(admit(pipeline.queue(), 2));
    pipeline.begin_shutdown(soon());
    server.release(1);
    assert!(pipeline.wait_ended(soon()));
    assert_eq!(server.stored(), [1, 2]);
    assert_eq!(pipeline.report().delivered, 2);
}

#[test]
fn a_shutdown_that_begins_during_a_pause_tries_at_once() {
    for failure in [Answer::Status(503), Answer::RetryAfter(503, 10_000)] {
        let server = Server::start([failure]);
        let pipeline = start(server.endpoint(), slow());
        assert!(admit(pipeline.queue(), 1));
        let _ = pipeline.begin_flush();
        eventually("the failure", || errors_of(&pipeline.report(), ErrorType::Server) == 1);
        assert_eq!(end(&pipeline).delivered, 1);
    }
}

#[test]
fn a_shutdown_keeps_trying_a_backend_that_fails_until_the_deadline() {
    let server = Server::start(vec![Answer::Status(503); 5]);
    let pipeline = start(server.endpoint(), fast());
    assert!(admit(pipeline.queue(), 1));
    assert_eq!(end(&pipeline).delivered, 1, "the sixth try");

    let server = Server::start([]).otherwise(Answer::Status(503));
    let pipeline = start(server.endpoint(), fast());
    (0..5).for_each(|number| assert!(admit(pipeline.queue(), number)));
    pipeline.begin_shutdown(Instant::now() + Duration::from_millis(200));
    assert!(pipeline.wait_ended(soon()));
    let report = pipeline.report();
    assert_adds_up(&report);
    assert_eq!((dropped_for(&report, DropReason::Shutdown), report.pending), (5, 0), "{report}");
    assert!(server.requests().len() > 2);
}

#[test]
fn a_shutdown_after_refused_connections_ends_at_once() {
    let nobody = RefusingPort::new();
    let mut options = slow();
    options.batch.items = 1;
    let pipeline = start(crate::Endpoint::parse(&nobody.url()).unwrap(), options);
    (0..100).for_each(|number| assert!(admit(pipeline.queue(), number)));
    let _ = pipeline.begin_flush();
    eventually("the refusal", || errors_of(&pipeline.report(), ErrorType::Connect) >= 1);
    let began = Instant::now();
    let report = end(&pipeline);
    assert_eq!(dropped_for(&report, DropReason::Shutdown), 100, "{report}");
    assert!(began.elapsed() < PATIENCE / 2);
    // One for what the worker found when it started, one for the flush, one at the end: not one for each batch.
    assert!(errors_of(&report, ErrorType::Connect) <= 3, "{report}");
}

#[test]
fn a_server_that_never_answers_does_not_hold_up_the_deadline() {
    let server = Server::start([]).otherwise(Answer::Held);
    let mut options = fast();
    options.batch.items = 4;
    let pipeline = start(server.endpoint(), options);
    (0..50).for_each(|number| assert!(admit(pipeline.queue(), number)));
    server.wait_for_requests(1);
    let began = Instant::now();
    pipeline.begin_shutdown(began + Duration::from_millis(300));
    assert!(pipeline.wait_ended(soon()));
    assert!(began.elapsed() < PATIENCE / 2);
    let report = pipeline.report();
    assert_adds_up(&report);
    assert_eq!((dropped_for(&report, DropReason::Shutdown), report.pending), (50, 0), "{report}");
    assert_eq!(server.requests().len(), 1, "what is late is not tried");
}

#[test]
fn the_earliest_deadline_counts() {
    let server = Server::start([]).otherwise(Answer::Held);
    let pipeline = start(server.endpoint(), fast());
    assert!(admit(pipeline.queue(), 1));
    server.wait_for_requests(1);
    pipeline.begin_shutdown(Instant::now() + NEVER);
    pipeline.begin_shutdown(Instant::now() + Duration::from_millis(50));
    pipeline.begin_shutdown(Instant::now() + NEVER);
    assert!(pipeline.wait_ended(soon()));
    assert_eq!(dropped_for(&pipeline.report(), DropReason::Shutdown), 1);
}

#[test]
fn after_the_end_everything_returns_at_once_and_items_are_counted_as_late() {
    let server = Server::start([]);
    let pipeline = start(server.endpoint(), slow());
    assert!(admit(pipeline.queue(), 1));
    end(&pipeline);
    assert!(!admit(pipeline.queue(), 2));
    flush(&pipeline);
    let report = end(&pipeline);
    assert_eq!((report.admitted, report.delivered, dropped_for(&report, DropReason::Closed)), (2, 1, 1));
}

#[test]
fn items_that_race_with_the_end_are_delivered_or_counted_never_pending() {
    for round in 0..60 {
        let server = Server::start([]);
        let mut options = fast();
        options.queue.items = 200;
        if round % 2 == 0 {
            options.overflow = Overflow::Block(NEVER);
        }
        let pipeline = start(server.endpoint(), options);
        let ended = AtomicBool::new(false);
        let admitted = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        let mut admitted = 0;
                        while !ended.load(Ordering::Relaxed) {
                            admitted += 1;
                            admit(pipeline.queue(), admitted);
                        }
                        admitted
                    })
                })
                .collect();
            if round % 3 == 0 {
                server.wait_for_requests(1);
            }
            pipeline.begin_shutdown(soon());
            assert!(pipeline.wait_ended(soon()));
            assert_adds_up(&pipeline.report());
            ended.store(true, Ordering::Relaxed);
            threads.into_iter().map(|thread| thread.join().unwrap()).sum::<u64>()
        });
        let report = pipeline.report();
        assert_adds_up(&report);
        assert_eq!((report.admitted, report.pending), (admitted, 0), "{report}");
        assert_eq!(report.delivered, server.stored().len() as u64);
    }
}

#[test]
fn one_dead_backend_does_not_hold_up_another_on_the_same_worker() {
    let worker = Worker::spawn().unwrap();
    let (dead, alive) = (Server::start([]).otherwise(Answer::Held), Server::start([]));
    let pipeline =
        |server: &Server| Pipeline::start(Numbers::default(), target(server.endpoint()), fast(), &worker).unwrap();
    let (stuck, fine) = (pipeline(&dead), pipeline(&alive));
    assert!(admit(stuck.queue(), 1));
    dead.wait_for_requests(1);
    assert!(admit(fine.queue(), 2));
    flush(&fine);
    assert_eq!(alive.stored(), [2]);
    dead.release(1);
    end(&stuck);
    end(&fine);
}

#[test]
fn collections_come_by_the_interval_at_a_flush_and_last_at_the_end() {
    let server = Server::start([]);
    let mut signal = Numbers { collect_every: Some(NEVER), ..Numbers::default() };
    let pipeline = start_signal(signal.clone(), server.endpoint(), slow());
    flush(&pipeline);
    assert_eq!(server.stored(), [1_000_001]);
    assert_eq!(end(&pipeline).delivered, 2);
    assert_eq!(*signal.switches.collected.lock(), [false, true]);

    signal = Numbers { collect_every: Some(Duration::from_millis(5)), ..Numbers::default() };
    let server = Server::start([Answer::Status(503), Answer::Status(503)]);
    let pipeline = start_signal(signal.clone(), server.endpoint(), fast());
    eventually("five collections", || pipeline.report().delivered >= 5);
    end(&pipeline);

    // A backend that is away makes no gap: the samples wait for it.
    signal = Numbers { collect_every: Some(Duration::from_millis(5)), ..Numbers::default() };
    let server = Server::start([]).otherwise(Answer::Status(503));
    let pipeline = start_signal(signal.clone(), server.endpoint(), fast());
    eventually("samples of the outage", || pipeline.report().pending >= 5);
    server.answer(Answer::Status(204));
    assert!(end(&pipeline).delivered >= 5);
}

#[test]
fn a_collection_that_panics_is_tried_again() {
    let server = Server::start([]);
    let signal = Numbers { collect_every: Some(NEVER), ..Numbers::default() };
    signal.switches.collect_panics.store(true, Ordering::SeqCst);
    let pipeline = start_signal(signal.clone(), server.endpoint(), slow());
    flush(&pipeline);
    flush(&pipeline);
    assert_eq!(server.stored(), [1_000_002]);
    assert_eq!(end(&pipeline).delivered, 2);
}

#[test]
fn the_last_handle_sends_what_waits_and_closes_the_queue_that_a_layer_keeps() {
    let server = Server::start([]);
    let pipeline = start(server.endpoint(), slow());
    let queue = pipeline.shared_queue();
    assert!(admit(&queue, 1));
    drop(pipeline.clone());
    assert!(admit(&queue, 2));
    drop(pipeline);
    assert_eq!((server.stored(), queue.pending()), (vec![1, 2], 0));
    assert!(!admit(&queue, 3));
}

#[test]
fn a_worker_that_ends_without_a_shutdown_counts_what_it_had_and_lets_blocked_threads_go() {
    let server = Server::start([]).otherwise(Answer::Held);
    let mut options = fast();
    options.queue.items = 10;
    options.overflow = Overflow::Block(NEVER);
    let pipeline = start(server.endpoint(), options);
    let queue = pipeline.shared_queue();
    (0..5).for_each(|number| assert!(admit(&queue, number)));
    server.wait_for_requests(1);
    (5..10).for_each(|number| assert!(admit(&queue, number)));
    std::thread::scope(|scope| {
        let blocked = scope.spawn(|| admit(&queue, 10));
        eventually("the eleventh item", || queue.admitted() == 11);
        // A thread that exports does not wait for the pipeline's end.
        crate::suppressed(|| drop(pipeline));
        assert!(!blocked.join().unwrap());
    });
    eventually("all of them counted", || queue.pending() == 0);
    assert_eq!(queue.accounting.dropped_for(DropReason::Shutdown), 10);
    assert_eq!(queue.accounting.dropped_for(DropReason::Closed), 1);
}
