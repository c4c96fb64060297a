//! The answers of an OTLP receiver to traces, over HTTP and gRPC: two tables.

use std::time::Duration;

use lgtm_core::ErrorType;
use lgtm_devstack::{Code, Reply};

use super::sender::Backend;
use super::table::{AGAIN, DELIVERED, HALVED, PROBED, REJECTED, Row, TOO_LARGE, Then, redirects, row, run_all};

const PARTLY: Then = Then { delivered: 1, rejected: 2, errors: &[(ErrorType::Partial, 1)], ..DELIVERED };
const FAILED: Then = Then { errors: &[(ErrorType::Server, 1)], ..REJECTED };
const LIMITED: Then = Then { errors: &[(ErrorType::RateLimited, 1)], ..AGAIN };
const SECOND: Duration = Duration::from_secs(1);

/// Of both protocols.
fn partial_success() -> Vec<Row> {
    vec![
        row("partial_success: two spans are refused", Reply::partial_success(2, "too old"), PARTLY),
        row("partial_success of none: a warning", Reply::partial_success(0, "soon deprecated"), DELIVERED),
        row("partial_success of a negative number", Reply::partial_success(-5, "?"), DELIVERED),
        row(
            "partial_success of more than were sent",
            Reply::partial_success(500, "all"),
            Then { delivered: 0, rejected: 3, ..PARTLY },
        ),
        row("a reset", Reply::reset(), Then { errors: &[(ErrorType::Connect, 1)], ..AGAIN }),
    ]
}

fn http() -> Vec<Row> {
    let mut rows = vec![
        row("200", [], DELIVERED),
        row("400, bad data: an all-zero trace id", Reply::status(400).body("trace ids must be 128 bit"), REJECTED),
        row("400, request body too large: in halves", Reply::status(400).body("request body too large"), HALVED),
        row("401, then 403", [Reply::status(401), Reply::status(403)], PROBED),
        row("404: the address is wrong", Reply::status(404), REJECTED),
        row("413: in halves", Reply::status(413), HALVED),
        row("413 for each span", Reply::status(413).always(), TOO_LARGE),
        row("415, wrong content type", Reply::status(415), REJECTED),
        row("429", Reply::status(429), LIMITED),
        row("429 with Retry-After", Reply::status(429).retry_after(SECOND), Then { pause: SECOND, ..LIMITED }),
        row("503 with Retry-After", Reply::status(503).retry_after(SECOND), Then { pause: SECOND, ..AGAIN }),
        row(
            "502, 503, 504, one after the other",
            [502, 503, 504].map(Reply::status),
            Then { tries: &[0, 1, 2, 3], errors: &[(ErrorType::Server, 3)], ..DELIVERED },
        ),
        row("500: not to be sent again, says the specification", Reply::status(500), FAILED),
        row("501", Reply::status(501), FAILED),
    ];
    rows.extend(partial_success());
    rows.extend(redirects());
    rows
}

fn grpc() -> Vec<Row> {
    let status = |code| Reply::grpc(code, "scripted");
    let retried = [Code::Cancelled, Code::Aborted, Code::OutOfRange, Code::Unavailable, Code::DataLoss];
    let mut rows = vec![
        row("OK", [], DELIVERED),
        row(
            "CANCELLED, ABORTED, OUT_OF_RANGE, UNAVAILABLE, DATA_LOSS, one after the other",
            retried.map(status),
            Then { tries: &[0, 1, 2, 3, 4, 5], errors: &[(ErrorType::Server, 5)], ..DELIVERED },
        ),
        row("DEADLINE_EXCEEDED", status(Code::DeadlineExceeded), Then { errors: &[(ErrorType::Timeout, 1)], ..AGAIN }),
        row(
            "RESOURCE_EXHAUSTED with RetryInfo",
            status(Code::ResourceExhausted).retry_after(SECOND),
            Then { pause: SECOND, ..LIMITED },
        ),
        row(
            "RESOURCE_EXHAUSTED without RetryInfo: not to be sent again, says the specification",
            status(Code::ResourceExhausted),
            Then { errors: &[(ErrorType::RateLimited, 1)], ..REJECTED },
        ),
        row(
            "RESOURCE_EXHAUSTED for a message over the receiver's limit: in halves",
            Reply::grpc(Code::ResourceExhausted, "grpc: received message larger than max (5000000 vs. 4194304)"),
            HALVED,
        ),
        row(
            "the same for each span",
            Reply::grpc(Code::ResourceExhausted, "grpc: received message larger than max (9 vs. 4)").always(),
            TOO_LARGE,
        ),
        row(
            "UNAVAILABLE with RetryInfo",
            status(Code::Unavailable).retry_after(SECOND),
            Then { pause: SECOND, ..AGAIN },
        ),
        row(
            "UNAUTHENTICATED, then PERMISSION_DENIED",
            [status(Code::Unauthenticated), status(Code::PermissionDenied)],
            PROBED,
        ),
        row("401 and 403 of a proxy", [Reply::status(401), Reply::status(403)], PROBED),
        row("INVALID_ARGUMENT", status(Code::InvalidArgument), REJECTED),
        row("UNKNOWN", status(Code::Unknown), FAILED),
        row("UNIMPLEMENTED: the address is wrong", status(Code::Unimplemented), FAILED),
        row("INTERNAL", status(Code::Internal), FAILED),
        row(
            "429, 502, 503 of a proxy, one after the other",
            [429, 502, 503].map(Reply::status),
            Then { tries: &[0, 1, 2, 3], errors: &[(ErrorType::Server, 3)], ..DELIVERED },
        ),
        row("413 of a proxy: in halves", Reply::status(413), HALVED),
        row("a redirect", Reply::status(307).header("location", "http://elsewhere.example"), REJECTED),
    ];
    rows.extend(partial_success());
    rows
}

#[test]
fn every_answer_over_http_has_its_consequence() {
    run_all(Backend::TempoHttp, &http());
}

#[test]
fn every_answer_over_grpc_has_its_consequence() {
    run_all(Backend::TempoGrpc, &grpc());
}
