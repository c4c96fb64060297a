//! Mimir's and Prometheus' answers to remote write: one table. What version 2 adds is in lgtm-mimir's tests.

use std::time::{Duration, SystemTime};

use lgtm_core::{DropReason, ErrorType};
use lgtm_devstack::{Devstack, Reply};

use super::sender::{Backend, Sender};
use super::table::{AGAIN, DELIVERED, HALVED, PROBED, REJECTED, Row, Then, redirects, row, run_all};

const LIMITED: Then = Then { errors: &[(ErrorType::RateLimited, 1)], ..AGAIN };
/// What of it is stored the answer does not say.
const PERHAPS_STORED: Then = Then { stored: (3, 0), ..REJECTED };
const SECOND: Duration = Duration::from_secs(1);

fn table() -> Vec<Row> {
    let mut rows = vec![
        row("200", [], DELIVERED),
        row("202 to the second of a high-availability pair", Reply::status(202).stored(true), DELIVERED),
        row("204", Reply::status(204).stored(true), DELIVERED),
        row(
            "400, an out-of-order sample: the others are stored, it is never sent again",
            Reply::status(400)
                .body("user=anonymous: err: out of order sample. timestamp=2026-11-26T02:00:00Z")
                .stored(true),
            PERHAPS_STORED,
        ),
        row(
            "400, a duplicate sample for a timestamp",
            Reply::status(400).body("err-mimir-sample-duplicate-timestamp").stored(true),
            PERHAPS_STORED,
        ),
        row(
            "400, an exemplar out of order",
            Reply::status(400).body("err-mimir-exemplar-out-of-order").stored(true),
            PERHAPS_STORED,
        ),
        row("400, a tenant's limit on series", Reply::status(400).body("err-mimir-max-series-per-user"), REJECTED),
        row("401, then 403", [Reply::status(401).body("no org id"), Reply::status(403)], PROBED),
        row("404: the address is wrong", Reply::status(404), REJECTED),
        row("408", Reply::status(408), Then { errors: &[(ErrorType::Timeout, 1)], ..AGAIN }),
        row("413: in halves", Reply::status(413), HALVED),
        row(
            "400 of Cortex for a request over its limit: in halves",
            Reply::status(400).body("received message larger than max (18192 vs 5000)\n"),
            HALVED,
        ),
        row(
            "413 for each series",
            Reply::status(413).always(),
            Then {
                tries: &[0; 35],
                stored: (0, 0),
                delivered: 0,
                dropped: &[(DropReason::TooLarge, 3)],
                errors: &[(ErrorType::TooLarge, 35)],
                ..DELIVERED
            },
        ),
        row("422", Reply::status(422), REJECTED),
        row(
            "429, 529, 429, one after the other",
            [429, 529, 429].map(Reply::status),
            Then { tries: &[0, 1, 2, 3], errors: &[(ErrorType::RateLimited, 3)], ..DELIVERED },
        ),
        row("429 with Retry-After", Reply::status(429).retry_after(SECOND), Then { pause: SECOND, ..LIMITED }),
        row("529 with Retry-After", Reply::status(529).retry_after(SECOND), Then { pause: SECOND, ..LIMITED }),
        row("503 with Retry-After", Reply::status(503).retry_after(SECOND), Then { pause: SECOND, ..AGAIN }),
        row(
            "500, 502, 503, 504, one after the other",
            [500, 502, 503, 504].map(Reply::status),
            Then { tries: &[0, 1, 2, 3, 4], errors: &[(ErrorType::Server, 4)], ..DELIVERED },
        ),
        row(
            "500 after all was stored: the second copy is the same samples",
            Reply::status(500).stored(true),
            Then { stored: (3, 3), ..AGAIN },
        ),
        row("a reset", Reply::reset(), Then { errors: &[(ErrorType::Connect, 1)], ..AGAIN }),
    ];
    rows.extend(redirects());
    rows
}

#[test]
fn every_answer_to_remote_write_has_its_consequence() {
    run_all(Backend::Mimir, &table());
}

#[test]
fn a_date_in_retry_after_is_waited_for() {
    for backend in Backend::HTTP {
        let stack = Devstack::start_blocking().unwrap();
        // A date has whole seconds: it is between one and two seconds away.
        let date = httpdate::HttpDate::from(SystemTime::now() + Duration::from_secs(2));
        stack.script(backend.script(), Reply::status(503).header("retry-after", &date.to_string()));
        let sender = Sender::to(backend, &stack);
        sender.emit(3);
        assert_eq!(sender.flush().lost(), 0);
        let requests = backend.requests(&stack);
        assert_eq!(requests.len(), 2, "{backend:?}");
        assert!(requests[1].received_at >= SystemTime::from(date), "{backend:?}: {requests:?}");
    }
}
