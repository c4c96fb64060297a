//! Answers of backends: any status, headers and body, over HTTP and gRPC.

use std::time::Duration;

use lgtm_core::pipeline::{Pipeline, PipelineOptions, Queue};
use lgtm_core::{DropReason, Endpoint, Identity, Worker};
use lgtm_devstack::{Code, Devstack, Endpoint as Route, Reply};
use lgtm_mimir::RemoteWrite;
use lgtm_tempo::Protocol;
use metrics::{counter, with_local_recorder};

use super::backend::{Backend, backend, end, options};
use super::input::{Input, pairs};

/// Whatever a backend answers, every item is accounted for once and the worker does not panic.
///
/// # Panics
/// If not so.
pub fn answers(data: &[u8]) {
    let mut input = Input::new(data);
    let (route, version) = match input.byte() % 5 {
        0 => (Route::LokiPush, RemoteWrite::One),
        1 => (Route::OtlpHttp, RemoteWrite::One),
        2 => (Route::RemoteWrite, RemoteWrite::One),
        3 => (Route::RemoteWrite, RemoteWrite::Two),
        _ => (Route::OtlpGrpc, RemoteWrite::One),
    };
    let items = u64::from(input.byte() % 6);
    let code = input.byte();
    let more = input.byte();
    let after = input.byte();
    let headers = pairs(input.bytes(), ':');
    let body = input.rest();
    let mut reply = if route == Route::OtlpGrpc && more & 1 == 0 {
        let reply = Reply::grpc(Code::from(i32::from(code % 20)), String::from_utf8_lossy(body));
        if after == 0 { reply } else { reply.retry_after(Duration::from_millis(u64::from(after) << 4)) }
    } else {
        Reply::status(200 + (u16::from(code) << 1 | u16::from(more >> 7)) % 400).body(body.to_vec())
    };
    for (name, value) in &headers {
        // What frames the message would make another one of it.
        let frames = ["content-length", "transfer-encoding", "connection", "upgrade", "trailer", "te"];
        let is_header = http::HeaderName::from_bytes(name.as_bytes())
            .is_ok_and(|name| !frames.contains(&name.as_str()))
            && http::HeaderValue::from_str(value).is_ok();
        if is_header {
            reply = reply.header(name, value);
        }
    }
    let backend = backend();
    backend.stack.script(route, [reply.always()]);
    let pipeline = send(&backend, route, version, items);
    let report = end(&pipeline);
    backend.stack.clear_script(route);
    assert_eq!(report.admitted, report.delivered + report.lost(), "{report}");
    assert_eq!(report.pending, 0, "{report}");
    assert!(report.admitted >= items, "{report}");
    let panicked = report.dropped.iter().any(|(reason, _)| *reason == DropReason::WorkerPanic);
    assert!(!panicked, "{report}");
}

/// A pipeline of the route's signal with so many items at least.
fn send(backend: &Backend, route: Route, version: RemoteWrite, items: u64) -> Pipeline {
    let Backend { stack, worker } = backend;
    let pipeline = match route {
        Route::LokiPush => loki(stack, worker, options()),
        Route::RemoteWrite => return mimir(stack, worker, version, items),
        _ => tempo(stack, worker, options(), route),
    };
    admit(pipeline.queue(), items);
    pipeline
}

/// The answer says what becomes of the items: what they are nobody looks at.
fn admit(queue: &Queue, items: u64) {
    for number in 0..items {
        assert!(queue.admit(2, 1_700_000_000_000_000_000 + number, |buffer| buffer.extend_from_slice(b"\x12\x01x")));
    }
}

fn loki(stack: &Devstack, worker: &Worker, options: PipelineOptions) -> Pipeline {
    let endpoint = Endpoint::parse(&stack.loki_url()).expect("an address");
    let builder = lgtm_loki::builder().endpoint(endpoint).identity(Identity::new("shop"));
    builder.worker(worker.clone()).options(options).build().expect("a layer").1
}

fn tempo(stack: &Devstack, worker: &Worker, options: PipelineOptions, route: Route) -> Pipeline {
    let (url, protocol) = match route {
        Route::OtlpHttp => (stack.otlp_http_url(), Protocol::Http),
        _ => (stack.otlp_grpc_url(), Protocol::Grpc),
    };
    let endpoint = Endpoint::parse(&url).expect("an address");
    let builder = lgtm_tempo::builder().endpoint(endpoint).protocol(protocol).identity(Identity::new("shop"));
    builder.worker(worker.clone()).options(options).build().expect("a layer").1
}

fn mimir(stack: &Devstack, worker: &Worker, version: RemoteWrite, items: u64) -> Pipeline {
    let mimir = lgtm_mimir::builder()
        .push(Endpoint::parse(&stack.mimir_url()).expect("an address"))
        .push_interval(Duration::from_secs(3600))
        .identity(Identity::new("shop"))
        .worker(worker.clone())
        .options(options())
        .remote_write(version)
        .build()
        .expect("a recorder");
    with_local_recorder(&mimir.recorder(), || {
        (0..items).for_each(|number| counter!("requests_total", "number" => number.to_string()).increment(1));
    });
    mimir.pipeline().expect("a pipeline").clone()
}
