//! What follows from each kind of answer, and from none.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::support::*;
use crate::accounting::{DropReason, ErrorType};
use crate::endpoint::Endpoint;

#[test]
fn what_the_backend_takes_is_delivered_once_in_order() {
    let server = Server::start([]);
    let pipeline = start(server.endpoint().tenant("team"), fast());
    for number in 0..100 {
        assert!(admit(pipeline.queue(), number));
    }
    let report = end(&pipeline);
    assert_eq!((report.admitted, report.delivered), (100, 100));
    assert_eq!(server.stored(), (0..100).collect::<Vec<_>>());
    let head = &server.requests()[0].head;
    assert!(head.starts_with("post /push http/1.1") && head.contains("x-scope-orgid: team"), "{head}");
}

#[test]
fn a_refused_batch_is_rejected_and_never_sent_again() {
    for (status, error) in [(400, ErrorType::Rejected), (401, ErrorType::Unauthorized)] {
        let server = Server::start([Answer::Status(status)]);
        let pipeline = start(server.endpoint(), slow());
        (0..3).for_each(|number| assert!(admit(pipeline.queue(), number)));
        flush(&pipeline);
        (3..5).for_each(|number| assert!(admit(pipeline.queue(), number)));
        let report = end(&pipeline);
        assert_eq!((report.rejected, report.delivered, errors_of(&report, error)), (3, 2, 1), "{report}");
        assert_eq!(server.stored(), [3, 4]);
    }
}

#[test]
fn a_partly_refused_batch_is_counted_in_its_parts() {
    let server = Server::start([Answer::Partial(2), Answer::Partial(usize::MAX)]);
    let pipeline = start(server.endpoint(), slow());
    (0..5).for_each(|number| assert!(admit(pipeline.queue(), number)));
    flush(&pipeline);
    // More refused than sent would be a lie.
    (5..8).for_each(|number| assert!(admit(pipeline.queue(), number)));
    let report = end(&pipeline);
    assert_eq!((report.delivered, report.rejected, errors_of(&report, ErrorType::Partial)), (3, 5, 2), "{report}");
}

#[test]
fn a_batch_that_is_too_large_is_halved_until_it_fits_in_order() {
    let server = Server::start([]).otherwise(Answer::AtMost(1));
    let pipeline = start(server.endpoint(), fast());
    (0..13).for_each(|number| assert!(admit(pipeline.queue(), number)));
    let report = end(&pipeline);
    assert_eq!((report.delivered, report.lost()), (13, 0), "{report}");
    assert_eq!(server.stored(), (0..13).collect::<Vec<_>>());
    assert!(errors_of(&report, ErrorType::TooLarge) > 0);
}

#[test]
fn an_item_that_alone_is_too_large_is_dropped_and_the_others_arrive() {
    let server = Server::start([]).otherwise(Answer::AtMost(0));
    let pipeline = start(server.endpoint(), slow());
    (0..7).for_each(|number| assert!(admit(pipeline.queue(), number)));
    flush(&pipeline);
    server.answer(Answer::Status(204));
    (7..9).for_each(|number| assert!(admit(pipeline.queue(), number)));
    let report = end(&pipeline);
    assert_eq!((dropped_for(&report, DropReason::TooLarge), report.delivered), (7, 2), "{report}");
    assert_eq!(server.stored(), [7, 8]);
}

#[test]
fn failures_are_tried_again_until_the_backend_takes_it() {
    let server =
        Server::start([Answer::Status(503), Answer::Reset, Answer::Close, Answer::Status(500), Answer::Status(429)]);
    let pipeline = start(server.endpoint(), fast());
    (0..10).for_each(|number| assert!(admit(pipeline.queue(), number)));
    eventually("the delivery", || pipeline.report().delivered == 10);
    let report = end(&pipeline);
    assert_eq!(server.stored(), (0..10).collect::<Vec<_>>());
    assert_eq!(errors_of(&report, ErrorType::Server), 2, "{report}");
    assert_eq!(errors_of(&report, ErrorType::RateLimited), 1, "{report}");
    assert!(errors_of(&report, ErrorType::Connect) >= 2, "{report}");
    // Mimir scales its Retry-After by the number of the try.
    assert!(server.requests().iter().any(|request| request.head.contains("retry-attempt: 2")));
}

#[test]
fn a_pause_that_the_backend_asks_for_is_kept_even_by_a_flush() {
    let server = Server::start([Answer::RetryAfter(429, 1)]);
    let pipeline = start(server.endpoint(), fast());
    assert!(admit(pipeline.queue(), 1));
    server.wait_for_requests(1);
    flush(&pipeline);
    let requests = server.requests();
    assert_eq!(requests.len(), 2);
    assert!(requests[1].at - requests[0].at >= Duration::from_millis(990), "{:?}", requests[1].at - requests[0].at);
    assert_eq!(end(&pipeline).delivered, 1);
}

#[test]
fn an_absurd_pause_is_cut_to_the_time_that_a_batch_has() {
    let server = Server::start([Answer::RetryAfter(503, u64::MAX)]);
    let mut options = fast();
    options.retry.give_up_after = Duration::from_millis(50);
    let pipeline = start(server.endpoint(), options);
    assert!(admit(pipeline.queue(), 1));
    eventually("the last try", || pipeline.report().delivered == 1);
    assert_eq!(end(&pipeline).lost(), 0);
}

#[test]
fn limitless_settings_do_not_overflow() {
    let server = Server::start([Answer::RetryAfter(503, u64::MAX), Answer::Status(503)]);
    let mut options = fast();
    options.batch.age = Duration::MAX;
    options.retry.initial = Duration::MAX;
    options.retry.max = Duration::MAX;
    options.retry.give_up_after = Duration::MAX;
    let pipeline = start(server.endpoint(), options);
    assert!(admit(pipeline.queue(), 1));
    let _ = pipeline.begin_flush();
    server.wait_for_requests(1);
    // It waits for the end of time; the shutdown is one more try, and then gives up.
    let report = end(&pipeline);
    assert_eq!((server.requests().len(), dropped_for(&report, DropReason::Shutdown)), (2, 1), "{report}");

    let mut options = fast();
    options.batch.age = Duration::ZERO;
    options.retry.initial = Duration::ZERO;
    let pipeline = start(server.endpoint(), options);
    assert!(admit(pipeline.queue(), 2));
    assert_eq!(end(&pipeline).delivered, 1);
}

#[test]
fn a_batch_whose_time_is_over_is_dropped_and_the_next_one_is_sent() {
    let server = Server::start([]).otherwise(Answer::Status(503));
    let mut options = fast();
    options.retry.give_up_after = Duration::from_millis(300);
    let pipeline = start(server.endpoint(), options);
    (0..4).for_each(|number| assert!(admit(pipeline.queue(), number)));
    eventually("the loss", || dropped_for(&pipeline.report(), DropReason::RetriesExhausted) == 4);
    server.answer(Answer::Status(204));
    (4..6).for_each(|number| assert!(admit(pipeline.queue(), number)));
    let report = end(&pipeline);
    assert_eq!((report.delivered, report.lost()), (2, 4), "{report}");
    assert!(server.requests().len() >= 3, "it was tried more than once");
}

#[test]
fn a_panic_while_encoding_or_classifying_costs_one_batch() {
    let signal = Numbers::default();
    let server = Server::start([]);
    let pipeline = start_signal(signal.clone(), server.endpoint(), slow());
    let mut lost = 0;
    for (round, switch) in [&signal.switches.encode_panics, &signal.switches.classify_panics].into_iter().enumerate() {
        switch.store(1, Ordering::SeqCst);
        (0..3).for_each(|number| assert!(admit(pipeline.queue(), number)));
        flush(&pipeline);
        lost += 3;
        assert_eq!(dropped_for(&pipeline.report(), DropReason::WorkerPanic), lost);
        assert!(admit(pipeline.queue(), 10));
        flush(&pipeline);
        assert_eq!(pipeline.report().delivered, round as u64 + 1, "the pipeline goes on");
    }
    assert_eq!(end(&pipeline).lost(), 6);
}

#[test]
fn a_panic_after_a_part_was_settled_counts_the_rest_only() {
    let signal = Numbers::default();
    let server = Server::start([]).otherwise(Answer::AtMost(2));
    let pipeline = start_signal(signal.clone(), server.endpoint(), slow());
    // 413 for four, 204 for the first two, a panic with the others.
    signal.switches.classify_panics.store(3, Ordering::SeqCst);
    (0..4).for_each(|number| assert!(admit(pipeline.queue(), number)));
    let report = end(&pipeline);
    assert_eq!((report.delivered, dropped_for(&report, DropReason::WorkerPanic)), (2, 2), "{report}");
}

#[test]
fn no_answer_in_time_is_a_timeout_and_tried_again() {
    let server = Server::start([Answer::Held]);
    let pipeline = start(server.endpoint().timeout(Duration::from_millis(200)), fast());
    assert!(admit(pipeline.queue(), 1));
    eventually("the delivery", || pipeline.report().delivered == 1);
    assert!(errors_of(&end(&pipeline), ErrorType::Timeout) >= 1);
}

#[test]
fn an_answer_whose_body_does_not_end_counts_by_its_status() {
    let server = Server::start([Answer::Unfinished]);
    let pipeline = start(server.endpoint().timeout(Duration::from_millis(200)), fast());
    assert!(admit(pipeline.queue(), 1));
    let report = end(&pipeline);
    assert_eq!((report.delivered, server.stored().len(), report.errors.len()), (1, 1, 0), "{report}");
}

/// Starts a pipeline to this URL and ends it with one item in it.
fn lost_at(url: &str) -> (crate::SignalReport, Duration) {
    // Its pauses are short: what ends it early is that nobody is there.
    let pipeline = start(Endpoint::parse(url).unwrap().timeout(PATIENCE), slow_with_fast_retries());
    assert!(admit(pipeline.queue(), 1));
    let began = Instant::now();
    (end(&pipeline), began.elapsed())
}

#[test]
fn a_refused_connection_a_host_without_address_and_a_failed_handshake_end_a_shutdown_at_once() {
    let server = Server::start([]);
    let nobody = RefusingPort::new();
    for (url, error) in [
        (nobody.url(), ErrorType::Connect),
        // A label of more than 63 characters is refused without asking anybody.
        (format!("http://{}.invalid", "x".repeat(64)), ErrorType::Connect),
        (format!("https://{}", server.address), ErrorType::Tls),
    ] {
        let (report, took) = lost_at(&url);
        assert_eq!(dropped_for(&report, DropReason::Shutdown), 1, "{url}: {report}");
        assert_eq!(errors_of(&report, error), 1, "{url}: {report}");
        assert!(took < PATIENCE / 2, "{url}: {took:?}");
    }
}
