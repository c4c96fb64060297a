//! Scripted replies, as a client meets them.

use std::time::{Duration, Instant};

use lgtm_devstack::{Answer, Code, Devstack, Endpoint, Reply};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use prost::Message;
use tonic_types::StatusExt;

use crate::client::{
    DEADLINE, entry, export, export_http, get_text, http, now_ms, now_ns, push_logs, series, snappy, span, stream,
    write_series,
};

async fn push_line(stack: &Devstack, line: &str) -> (u16, String) {
    push_logs(&stack.loki_url(), vec![stream(r#"{app="shop"}"#, vec![entry(now_ns(), line, &[])])]).await
}

#[tokio::test]
async fn replies_come_in_order_and_then_the_normal_behaviour_resumes() {
    let stack = Devstack::builder()
        .script(Endpoint::LokiPush, [Reply::status(500).body("on fire"), Reply::status(429).times(2)])
        .start()
        .await
        .unwrap();
    assert_eq!(stack.script_remaining(Endpoint::LokiPush), Some(3));
    assert_eq!(push_line(&stack, "a").await, (500, "on fire".to_owned()));
    assert_eq!(push_line(&stack, "b").await.0, 429);
    assert_eq!(push_line(&stack, "c").await.0, 429);
    assert_eq!(push_line(&stack, "d").await.0, 204);
    assert_eq!(stack.store().logs().len(), 1);
    let seen: Vec<(Option<u16>, bool)> =
        stack.store().requests().iter().map(|request| (request.status(), request.scripted)).collect();
    assert_eq!(seen, [(Some(500), true), (Some(429), true), (Some(429), true), (Some(204), false)]);
}

#[tokio::test]
async fn each_endpoint_has_its_own_script() {
    let stack = Devstack::start().await.unwrap();
    stack.script(Endpoint::RemoteWrite, Reply::status(503));
    stack.script(Endpoint::LokiQuery, Reply::status(502));
    assert_eq!(push_line(&stack, "a").await.0, 204);
    let query = format!("{}/loki/api/v1/query_range", stack.loki_url());
    assert_eq!(get_text(&query, &[("query", r#"{app="shop"}"#)]).await.0, 502);
    assert_eq!(write_series(&stack.mimir_url(), vec![series(&[("__name__", "a")], &[(now_ms(), 1.0)])]).await.0, 503);
    assert_eq!(stack.counts().samples.received, 0);
}

#[tokio::test]
async fn headers_and_retry_after_are_sent() {
    let stack = Devstack::start().await.unwrap();
    stack.script(Endpoint::OtlpHttp, [Reply::status(429).retry_after(Duration::from_millis(4500)).header("x-a", "b")]);
    let response = http()
        .post(format!("{}/v1/traces", stack.otlp_http_url()))
        .header("content-type", "application/x-protobuf")
        .send()
        .await
        .unwrap();
    assert_eq!(response.headers()["retry-after"], "5", "rounded up to whole seconds");
    assert_eq!(response.headers()["x-a"], "b");
}

#[tokio::test]
async fn a_failure_can_store_and_a_script_without_end_can_be_cleared() {
    let stack = Devstack::start().await.unwrap();
    stack.script(Endpoint::LokiPush, Reply::status(500).stored(true).always());
    for line in ["a", "b", "c"] {
        assert_eq!(push_line(&stack, line).await.0, 500);
    }
    assert_eq!(stack.store().logs().len(), 3);
    assert_eq!(stack.script_remaining(Endpoint::LokiPush), None);
    stack.clear_script(Endpoint::LokiPush);
    assert_eq!(push_line(&stack, "d").await.0, 204);
}

#[tokio::test]
async fn a_delayed_reply_is_recorded_before_the_client_has_it() {
    let stack = Devstack::start().await.unwrap();
    let delay = Duration::from_millis(300);
    stack.script(Endpoint::LokiPush, Reply::normal().delay(delay));
    let started = Instant::now();
    let (answer, recorded) = tokio::join!(push_line(&stack, "a"), async {
        stack.wait_for(|store| store.counts().requests.held == 1, DEADLINE).await.unwrap();
        stack.store().logs().len()
    });
    assert_eq!((answer.0, recorded), (204, 1));
    assert!(started.elapsed() >= delay);
}

#[tokio::test]
async fn a_reset_breaks_the_connection() {
    let stack = Devstack::start().await.unwrap();
    stack.script(Endpoint::LokiPush, Reply::reset());
    let body = snappy(&lgtm_devstack::wire::loki::PushRequest::default());
    let error = http().post(format!("{}/loki/api/v1/push", stack.loki_url())).body(body).send().await.unwrap_err();
    let mut causes = std::iter::successors(std::error::Error::source(&error), |cause| cause.source());
    let is_reset = |cause: &(dyn std::error::Error + 'static)| {
        cause.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset)
    };
    assert!(causes.any(is_reset), "{error:?}");
    assert_eq!(stack.store().requests()[0].answer, Answer::Reset);
    assert_eq!(push_line(&stack, "after").await.0, 204);
}

#[tokio::test]
async fn a_request_without_an_answer_ends_with_the_client_s_patience() {
    let stack = Devstack::start().await.unwrap();
    stack.script(Endpoint::LokiPush, Reply::never().stored(true));
    let patience = Duration::from_millis(200);
    let pushed = tokio::time::timeout(patience, push_line(&stack, "a")).await;
    assert!(pushed.is_err());
    assert_eq!(stack.store().requests()[0].answer, Answer::Never);
    assert_eq!(stack.store().logs().len(), 1);
    assert_eq!(push_line(&stack, "b").await.0, 204);
}

#[tokio::test]
async fn grpc_replies_carry_code_message_and_retry_info() {
    let stack = Devstack::start().await.unwrap();
    stack.script(
        Endpoint::OtlpGrpc,
        [
            Reply::grpc(Code::ResourceExhausted, "rate limited").retry_after(Duration::from_millis(1500)),
            Reply::grpc(Code::ResourceExhausted, "for good").header("x-a", "b"),
            Reply::status(503),
            Reply::reset(),
        ],
    );
    let mut client = TraceServiceClient::connect(stack.otlp_grpc_url()).await.unwrap();
    let request = || export("shop", vec![span(1, 1, None, "a")]);
    let status = client.export(request()).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::ResourceExhausted, "rate limited"));
    let details = status.get_error_details();
    assert_eq!(details.retry_info().and_then(|info| info.retry_delay), Some(Duration::from_millis(1500)));
    let status = client.export(request()).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(status.get_error_details().retry_info().is_none());
    assert_eq!(status.metadata().get("x-a").unwrap(), "b");
    let status = client.export(request()).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "what tonic makes of a proxy's 503");
    assert!(client.export(request()).await.is_err());
    client.export(request()).await.unwrap();
    assert_eq!(stack.store().spans().len(), 1);
    let answers: Vec<Answer> = stack.store().requests().iter().map(|request| request.answer).collect();
    assert_eq!(answers, [Answer::Grpc(8), Answer::Grpc(8), Answer::Http(503), Answer::Reset, Answer::Grpc(0)]);
}

#[tokio::test]
async fn partial_success_is_told_on_both_otlp_endpoints() {
    let stack = Devstack::start().await.unwrap();
    let partial = || Reply::partial_success(2, "two were bad");
    stack.script(Endpoint::OtlpGrpc, partial());
    stack.script(Endpoint::OtlpHttp, partial().stored(false));
    let mut client = TraceServiceClient::connect(stack.otlp_grpc_url()).await.unwrap();
    let request = export("shop", vec![span(1, 1, None, "a")]);
    let response = client.export(request.clone()).await.unwrap().into_inner();
    let told = response.partial_success.unwrap();
    assert_eq!((told.rejected_spans, told.error_message.as_str()), (2, "two were bad"));
    let response = http()
        .post(format!("{}/v1/traces", stack.otlp_http_url()))
        .header("content-type", "application/x-protobuf")
        .body(request.encode_to_vec())
        .send()
        .await
        .unwrap();
    assert_eq!(response.status().as_u16(), 200);
    let response = ExportTraceServiceResponse::decode(response.bytes().await.unwrap()).unwrap();
    assert_eq!(response.partial_success.map(|told| told.rejected_spans), Some(2));
    assert_eq!(stack.store().spans().len(), 1, "only the first was stored");
}

#[tokio::test]
async fn a_grpc_reply_on_an_http_endpoint_becomes_its_http_status() {
    let stack = Devstack::start().await.unwrap();
    stack.script(Endpoint::OtlpHttp, Reply::grpc(Code::Unavailable, "away"));
    let answer = export_http(&stack.otlp_http_url(), &export("shop", Vec::new())).await;
    assert_eq!(answer, (503, "away".to_owned()));
}

#[tokio::test]
async fn a_mistake_in_a_script_is_answered_with_a_text_that_names_it() {
    let stack = Devstack::start().await.unwrap();
    let mistakes = [
        (Reply::status(99), "99"),
        (Reply::status(200).header("bad header", "x"), "bad header"),
        (Reply::partial_success(1, "x"), "partial success"),
    ];
    for (reply, named) in mistakes {
        stack.script(Endpoint::LokiPush, reply);
        let (status, text) = push_line(&stack, "a").await;
        assert_eq!(status, 500);
        assert!(text.contains("mistake in the script") && text.contains(named), "{text}");
    }
}
