//! Batches: whatever the sizes of the items, a request stays under the backends' limits; an item that alone is over one is dropped
//! alone, by its reason, and its neighbours arrive.

use axum::body::Body;
use axum::http::Response;
use lgtm_core::DropReason;
use lgtm_core::pipeline::{Overflow, QueueLimits};
use lgtm_core::protobuf::{length_tag, put_bytes};
use lgtm_devstack::Devstack;
use lgtm_tests::signals::PATIENCE;
use proptest::prelude::*;
use tracing_subscriber::prelude::*;

use super::hostile_grpc::ok;
use super::sender::{Backend, Sender, dropped, endpoint, errors, options};
use super::server::Answers;

const MIB: usize = 1024 * 1024;
/// The smallest limit of any backend: what a gRPC receiver takes by default, before decompression. Loki's burst is 6 MB,
/// Prometheus takes 32 MiB, Mimir 100 MiB.
const LEAST_LIMIT: usize = 4 * MIB;
/// What a request has at most: a batch, or a buffer of the queue with one item behind it; and its own frame.
const MOST: usize = MIB + MIB / 4;

fn accept(backend: Backend) -> Response<Body> {
    if backend == Backend::TempoGrpc { ok() } else { Response::new(Body::empty()) }
}

/// How large a request is before its compression.
fn size(backend: Backend, body: &[u8]) -> usize {
    match backend {
        Backend::Loki | Backend::Mimir => snap::raw::decompress_len(body).unwrap(),
        Backend::TempoHttp => body.len(),
        // A byte for compression, four for the length.
        Backend::TempoGrpc => body.len() - 5,
    }
}

/// Admits an item as the layer would: a line, a span, a series, as the field of its message.
fn admit(backend: Backend, sender: &Sender, bytes: usize) -> bool {
    let tag = length_tag(if backend == Backend::Mimir { 1 } else { 2 });
    let stream = if backend == Backend::Loki { 2 } else { 0 };
    sender.pipeline.queue().admit(stream, lgtm_core::unix_nanos(), |buffer| put_bytes(buffer, tag, &vec![b'x'; bytes]))
}

/// Sends items of these sizes; the sizes of the requests.
fn sent(backend: Backend, items: &[usize]) -> Vec<usize> {
    let server = Answers::start(move |_, _| accept(backend));
    let mut options = options();
    options.overflow = Overflow::Block(PATIENCE);
    let sender = Sender::start(backend, endpoint(&server.url()), options);
    for bytes in items {
        assert!(admit(backend, &sender, *bytes), "{bytes} bytes");
    }
    let report = sender.flush();
    // A recorder has samples of its own.
    let own = if backend == Backend::Mimir { report.admitted - items.len() as u64 } else { 0 };
    assert_eq!((report.delivered, report.lost()), (items.len() as u64 + own, 0), "{report}");
    let sizes: Vec<_> = server.bodies().iter().map(|body| size(backend, body)).collect();
    assert!(sizes.iter().sum::<usize>() >= items.iter().sum::<usize>(), "{sizes:?}");
    sizes
}

/// Any size up to the bound on an item, less its tag and length: small ones as often as large ones.
fn item() -> impl Strategy<Value = usize> {
    let most = QueueLimits::default().item_bytes - 8;
    (0_u32..=20, any::<u32>())
        .prop_map(move |(power, random)| ((1 << power) + random as usize % (1 << power)).min(most))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 20, ..ProptestConfig::default() })]

    #[test]
    fn a_request_stays_under_every_limit_whatever_its_items_are(items in prop::collection::vec(item(), 1..120)) {
        const { assert!(MOST < LEAST_LIMIT) };
        for backend in Backend::ALL {
            for size in sent(backend, &items) {
                prop_assert!(size <= MOST, "{backend:?}: {size} bytes");
            }
        }
    }
}

#[test]
fn many_small_items_are_many_requests_under_every_limit() {
    for backend in Backend::ALL {
        let sizes = sent(backend, &[100; 50_000]);
        assert!(sizes.iter().all(|size| *size <= MOST), "{backend:?}: {sizes:?}");
        assert!(sizes.len() >= 50_000 / 8192, "{backend:?}: {sizes:?}");
    }
}

#[test]
fn an_item_over_the_bound_of_the_queue_is_dropped_alone() {
    for backend in Backend::ALL {
        let server = Answers::start(move |_, _| accept(backend));
        let sender = Sender::start(backend, endpoint(&server.url()), options());
        assert!(admit(backend, &sender, 100));
        assert!(!admit(backend, &sender, QueueLimits::default().item_bytes + 1));
        assert!(admit(backend, &sender, 100));
        let report = sender.flush();
        assert_eq!(dropped(&report, DropReason::TooLarge), 1, "{backend:?}: {report}");
        assert_eq!((report.delivered, report.lost()), (report.admitted - 1, 1), "{backend:?}: {report}");
    }
}

#[test]
fn an_item_over_the_backends_limit_is_dropped_alone_and_its_neighbours_arrive() {
    const LIMIT: usize = 10_000;
    for backend in Backend::ALL {
        let server = Answers::start(move |_, body| {
            let size = size(backend, body);
            if size <= LIMIT {
                return accept(backend);
            }
            let answer = Response::builder();
            let answer = match backend {
                Backend::TempoGrpc => answer
                    .header("content-type", "application/grpc")
                    .header("grpc-status", "8")
                    .header("grpc-message", format!("grpc: received message larger than max ({size} vs. {LIMIT})")),
                _ => answer.status(413),
            };
            answer.body(Body::empty()).unwrap()
        });
        let sender = Sender::start(backend, endpoint(&server.url()), options());
        for number in 0..41 {
            assert!(admit(backend, &sender, if number % 20 == 7 { LIMIT * 2 } else { 100 + number }));
        }
        let report = sender.flush();
        assert_eq!(dropped(&report, DropReason::TooLarge), 2, "{backend:?}: {report}");
        assert_eq!((report.delivered, report.lost()), (report.admitted - 2, 2), "{backend:?}: {report}");
        assert!(errors(&report, lgtm_core::ErrorType::TooLarge) >= 2, "{backend:?}: {report}");
    }
}

#[test]
fn layers_cut_their_items_to_the_limits_so_that_none_is_too_large() {
    let stack = Devstack::start_blocking().unwrap();
    let long = "x".repeat(2 * MIB);
    for backend in [Backend::Loki, Backend::TempoGrpc] {
        let sender = Sender::to(backend, &stack);
        sender.emit(1);
        sender.emit_with(&long);
        sender.emit(1);
        let report = sender.flush();
        assert_eq!((report.admitted, report.delivered), (3, 3), "{backend:?}: {report}");
    }
    let lines = stack.store().logs();
    assert!(lines.iter().any(|entry| (100_000..=256 * 1024).contains(&entry.line.len())), "cut, and in Loki's limit");

    let (layer, pipeline) = lgtm_tempo::builder().endpoint(endpoint(&stack.otlp_grpc_url())).build().unwrap();
    let dispatch = tracing::Dispatch::new(tracing_subscriber::registry().with(layer));
    tracing::dispatcher::with_default(&dispatch, || {
        drop(tracing::info_span!("before"));
        tracing::info_span!("large").in_scope(|| (0..100).for_each(|_| tracing::info!(text = long, "step")));
        drop(tracing::info_span!("behind"));
    });
    let flush = pipeline.begin_flush();
    assert!(pipeline.wait_flushed(&flush, std::time::Instant::now() + PATIENCE));
    let report = pipeline.report();
    assert_eq!((report.admitted, report.delivered, report.lost()), (3, 3, 0), "{report}");
    let spans = stack.store().spans();
    let large = spans.iter().find(|span| span.name == "large").unwrap();
    assert!(
        large.dropped_events > 0 && large.events.len() + large.dropped_events as usize == 100,
        "what is cut is counted"
    );
}
