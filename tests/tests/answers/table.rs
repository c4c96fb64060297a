//! What a row of a table of answers is, and how it runs: one batch of three items, one flush, a backend that answers by script and
//! then as it should. A recorder adds samples of its own: its batch has nine, and each number of items is three times as large.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use lgtm_core::{DropReason, ErrorType};
use lgtm_devstack::{Devstack, Reply};

use super::sender::{Backend, Sender};

/// One answer and what follows from it.
pub(crate) struct Row {
    /// In words.
    pub(crate) answer: &'static str,
    pub(crate) replies: Vec<Reply>,
    pub(crate) then: Then,
}

/// What follows for three items.
#[derive(Clone, Copy)]
pub(crate) struct Then {
    /// The requests; of each which try of the same bytes it is: the header `Retry-Attempt`, 0 where it is absent.
    pub(crate) tries: &'static [u32],
    /// Items that the backend has, and how often one came once more.
    pub(crate) stored: (u64, u64),
    pub(crate) delivered: u64,
    pub(crate) rejected: u64,
    pub(crate) dropped: &'static [(DropReason, u64)],
    pub(crate) errors: &'static [(ErrorType, u64)],
    /// The least time between two requests.
    pub(crate) pause: Duration,
}

/// Sent once, stored, delivered.
pub(crate) const DELIVERED: Then =
    Then { tries: &[0], stored: (3, 0), delivered: 3, rejected: 0, dropped: &[], errors: &[], pause: Duration::ZERO };
/// Sent once, refused for good, never sent again.
pub(crate) const REJECTED: Then =
    Then { stored: (0, 0), delivered: 0, rejected: 3, errors: &[(ErrorType::Rejected, 1)], ..DELIVERED };
/// Sent twice, the second time taken.
pub(crate) const AGAIN: Then = Then { tries: &[0, 1], errors: &[(ErrorType::Server, 1)], ..DELIVERED };
/// Sent again in halves: one item, and two.
pub(crate) const HALVED: Then = Then { tries: &[0, 0, 0], errors: &[(ErrorType::TooLarge, 1)], ..DELIVERED };
/// Sent in halves down to single items, which are dropped.
pub(crate) const TOO_LARGE: Then = Then {
    tries: &[0, 0, 0, 0, 0],
    stored: (0, 0),
    delivered: 0,
    dropped: &[(DropReason::TooLarge, 3)],
    errors: &[(ErrorType::TooLarge, 5)],
    ..DELIVERED
};
/// As in the options of these tests; 60 s by default.
pub(crate) const PROBE: Duration = Duration::from_millis(150);
/// Sent again slowly until the credentials are taken.
pub(crate) const PROBED: Then =
    Then { tries: &[0, 1, 2], errors: &[(ErrorType::Unauthorized, 2)], pause: PROBE, ..DELIVERED };

pub(crate) fn row(answer: &'static str, replies: impl IntoIterator<Item = Reply>, then: Then) -> Row {
    Row { answer, replies: replies.into_iter().collect(), then }
}

impl Row {
    fn run(&self, backend: Backend) {
        let stack = Devstack::start_blocking().unwrap();
        stack.script(backend.script(), self.replies.iter().cloned());
        let sender = Sender::to(backend, &stack);
        // The recorder has twelve series of its own: with these it is three times six.
        let items = if backend == Backend::Mimir { 6 } else { 3 };
        sender.emit(items);
        let report = sender.flush();
        let Then { tries, stored, delivered, rejected, dropped, errors, pause } = self.then;
        let scale = report.admitted / 3;
        assert_eq!((scale, report.admitted % 3), (if backend == Backend::Mimir { 6 } else { 1 }, 0), "{report}");
        let dropped: Vec<_> = dropped.iter().map(|(reason, items)| (*reason, items * scale)).collect();
        assert_eq!(
            (report.delivered, report.rejected, report.dropped.as_slice(), report.errors.as_slice()),
            (delivered * scale, rejected * scale, dropped.as_slice(), errors),
            "{report}"
        );
        assert_eq!(backend.stored(&stack), (stored.0 * scale, stored.1 * scale), "stored, and stored again");
        let requests = backend.requests(&stack);
        assert_eq!(requests.len(), tries.len(), "requests");
        for (request, attempt) in requests.iter().zip(tries) {
            let sent = request.header("retry-attempt").map_or(0, |attempt| attempt.parse().unwrap());
            assert_eq!(sent, if backend == Backend::TempoGrpc { 0 } else { *attempt }, "Retry-Attempt");
        }
        for (pair, attempt) in requests.windows(2).zip(&tries[1..]) {
            assert_eq!(pair[0].body == pair[1].body, *attempt > 0, "the same bytes are sent again");
            let paused = pair[1].received_at.duration_since(pair[0].received_at).unwrap_or_default();
            assert!(paused >= pause, "a pause of {paused:?}");
        }
        stack.clear_script(backend.script());
        // Whatever happened, the pipeline goes on.
        sender.emit(3);
        assert!(sender.flush().delivered > delivered * scale, "{}", sender.pipeline.report());
    }
}

/// Runs all rows; fails with those that fail.
pub(crate) fn run_all(backend: Backend, rows: &[Row]) {
    let fails = |row: &&Row| catch_unwind(AssertUnwindSafe(|| row.run(backend))).is_err();
    let failed: Vec<_> = rows.iter().filter(fails).map(|row| format!("- {}", row.answer)).collect();
    assert!(failed.is_empty(), "{backend:?}, {} of {} answers:\n{}", failed.len(), rows.len(), failed.join("\n"));
}

/// Redirects are not followed: the credentials would go with them.
pub(crate) fn redirects() -> Vec<Row> {
    let to = |status| Reply::status(status).header("location", "http://elsewhere.example/push?token=x");
    vec![
        row("301 Moved Permanently", to(301), REJECTED),
        row("302 Found", to(302), REJECTED),
        row("303 See Other", to(303), REJECTED),
        row("307 Temporary Redirect", to(307), REJECTED),
        row("308 Permanent Redirect", to(308), REJECTED),
        row("a redirect to nowhere", Reply::status(302), REJECTED),
    ]
}
