//! Loki's answers to a push: one table, the texts as Loki 3.4 says them.

use std::time::Duration;

use lgtm_core::ErrorType;
use lgtm_devstack::Reply;

use super::sender::Backend;
use super::table::{AGAIN, DELIVERED, HALVED, PROBED, REJECTED, Row, TOO_LARGE, Then, redirects, row, run_all};

const OLD: &str = "2 errors like: entry for stream '{service_name=\"answers\"}' has timestamp too old: \
    2026-11-14T20:21:13Z, oldest acceptable timestamp is: 2026-11-16T05:21:14Z\n";
const BEHIND: &str = "entry with timestamp 2026-11-23 02:21:13.9 +0000 UTC ignored, reason: 'entry too far behind, \
    entry timestamp is: 2026-11-23T02:21:13Z, oldest acceptable timestamp is: 2026-11-23T04:21:13Z',\n\
    user 'fake', total ignored: 2 out of 3 for stream: {service_name=\"answers\"}";
const RATE: &str = "Ingestion rate limit exceeded for user fake (limit: 4194304 bytes/sec) while attempting to ingest '3' lines \
    totaling '60' bytes, reduce log volume or contact your Loki administrator to see if the limit can be increased";
const OVER_THE_RATE: &str = "Ingestion rate limit exceeded for user fake (limit: 50 bytes/sec) while attempting to ingest '3' \
    lines totaling '60' bytes, reduce log volume or contact your Loki administrator to see if the limit can be increased";
const ONE_OVER_THE_RATE: &str = "Ingestion rate limit exceeded for user fake (limit: 50 bytes/sec) while attempting to ingest \
    '1' lines totaling '60' bytes, reduce log volume or contact your Loki administrator to see if the limit can be increased";

/// The server stores the siblings of what it refuses, here for simplicity all three.
const PARTLY: Then = Then { delivered: 1, rejected: 2, errors: &[(ErrorType::Partial, 1)], ..DELIVERED };

fn table() -> Vec<Row> {
    let mut rows = vec![
        row("204: all is stored", [], DELIVERED),
        row("200 from what stands before it", Reply::status(200).stored(true), DELIVERED),
        row("260, the tenant's ingestion is blocked", Reply::status(260).body("blocked"), REJECTED),
        row("400, two lines are too old: the third is stored", Reply::status(400).body(OLD).stored(true), PARTLY),
        row("400, two lines are too far behind", Reply::status(400).body(BEHIND).stored(true), PARTLY),
        row("400 for a stream", Reply::status(400).body("stream '{}' has 17 label names; limit 15"), REJECTED),
        row("400 for what it cannot read", Reply::status(400).body("snappy: corrupt input"), REJECTED),
        row("401, then 403", [Reply::status(401).body("no org id"), Reply::status(403)], PROBED),
        row("407 from a proxy, twice", Reply::status(407).times(2), PROBED),
        row("404: the address is wrong", Reply::status(404).body("404 page not found"), REJECTED),
        row("408", Reply::status(408), Then { errors: &[(ErrorType::Timeout, 1)], ..AGAIN }),
        row("413: in halves", Reply::status(413), HALVED),
        row("413 for each line", Reply::status(413).always(), TOO_LARGE),
        row("422, no streams", Reply::status(422), REJECTED),
        row(
            "429, the tenant's rate",
            Reply::status(429).body(RATE),
            Then { errors: &[(ErrorType::RateLimited, 1)], ..AGAIN },
        ),
        row("429 for more than a second's rate: in halves", Reply::status(429).body(OVER_THE_RATE), HALVED),
        row(
            "429 for one line of more than a second's rate: the burst may take it",
            Reply::status(429).body(ONE_OVER_THE_RATE),
            Then { errors: &[(ErrorType::RateLimited, 1)], ..AGAIN },
        ),
        row(
            "429 with Retry-After",
            Reply::status(429).retry_after(Duration::from_secs(1)),
            Then { errors: &[(ErrorType::RateLimited, 1)], pause: Duration::from_secs(1), ..AGAIN },
        ),
        row(
            "503 with Retry-After",
            Reply::status(503).retry_after(Duration::from_secs(1)),
            Then { pause: Duration::from_secs(1), ..AGAIN },
        ),
        row(
            "500, 502, 503, 504, one after the other",
            [500, 502, 503, 504].map(Reply::status),
            Then { tries: &[0, 1, 2, 3, 4], errors: &[(ErrorType::Server, 4)], ..DELIVERED },
        ),
        row(
            "500 after all was stored: Loki knows the second copy by time and text",
            Reply::status(500).stored(true),
            Then { stored: (3, 3), ..AGAIN },
        ),
        row("a reset", Reply::reset(), Then { errors: &[(ErrorType::Connect, 1)], ..AGAIN }),
        row(
            "a reset after all was stored",
            Reply::reset().stored(true),
            Then { stored: (3, 3), errors: &[(ErrorType::Connect, 1)], ..AGAIN },
        ),
    ];
    rows.extend(redirects());
    rows
}

#[test]
fn every_answer_of_loki_has_its_consequence() {
    run_all(Backend::Loki, &table());
}
