//! Four services, one role each, through which one order goes: a front door (axum), a stock (tonic), a dispatcher whose spans are those of
//! OpenTelemetry's own API, and a packer behind a queue. All of them call `lgtm::init`, and each says on stdout where it listens.
//!
//! ```text
//! relay front <stock's URL> | relay stock <dispatcher's URL> | relay dispatcher <packer's address> | relay packer
//! ```
//!
//! `POST /orders/{id}` at the front door sends an order through all. A service ends in order when its stdin ends, and says what became of
//! its telemetry.

#![allow(clippy::print_stdout, reason = "a program tells where it listens and what became of it")]

use std::collections::HashMap;
use std::error::Error;
use std::io::Read as _;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use lgtm::http::{GrpcClientLayer, GrpcServerLayer, ReqwestMiddleware, ServerLayer};
use lgtm::propagation::{self, RemoteParent};
use lgtm::{SpanExt as _, TraceContext};
use opentelemetry::trace::{FutureExt as _, SpanKind, Status, TraceContextExt as _, Tracer as _};
use opentelemetry::{Context, KeyValue, global};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tonic::transport::server::TcpIncoming;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tower::ServiceBuilder;
use tracing::{info, info_span};

type Outcome<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Outcome {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let role = arguments.first().copied().unwrap_or_default();
    let mut builder = lgtm::builder().service_name(format!("relay-{role}"));
    if role == "dispatcher" {
        builder = builder.opentelemetry();
    }
    let telemetry = builder.init()?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    let serving = async {
        match *arguments.as_slice() {
            ["front", stock] => front(listener, stock).await,
            ["stock", dispatcher] => stock(listener, dispatcher).await,
            ["dispatcher", packer] => dispatcher(listener, packer.parse()?).await,
            ["packer"] => packer(listener).await,
            _ => Err("usage: relay front <stock> | stock <dispatcher> | dispatcher <packer> | packer".into()),
        }
    };
    let ended = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()));
    tokio::select! {
        served = serving => served?,
        ended = ended => drop(ended??),
    }
    println!("{}", telemetry.shutdown_async().await);
    Ok(())
}

type Stock = HealthClient<lgtm::http::GrpcClient<tonic::transport::Channel>>;

/// axum on this side, gRPC on the other.
async fn front(listener: TcpListener, stock: &str) -> Outcome {
    async fn order(State(mut stock): State<Stock>, Path(id): Path<u32>) -> Result<&'static str, StatusCode> {
        info!(order_id = id, "order taken");
        let asked = stock.check(HealthCheckRequest { service: id.to_string() }).await;
        asked.map_err(|_| StatusCode::BAD_GATEWAY).map(|_| "on its way\n")
    }
    let channel = tonic::transport::Endpoint::from_shared(stock.to_owned())?.connect_lazy();
    let stock = HealthClient::new(ServiceBuilder::new().layer(GrpcClientLayer::new()).service(channel));
    let router = Router::new().route("/orders/{id}", post(order)).layer(ServerLayer::new()).with_state(stock);
    Ok(axum::serve(listener, router).await?)
}

/// gRPC on this side, reqwest on the other. The health service stands for one with methods of its own: it needs no protoc.
struct Reserve {
    dispatcher: String,
    client: reqwest_middleware::ClientWithMiddleware,
}

#[tonic::async_trait]
impl Health for Reserve {
    async fn check(
        &self,
        request: tonic::Request<HealthCheckRequest>,
    ) -> Result<tonic::Response<HealthCheckResponse>, tonic::Status> {
        let order = request.into_inner().service;
        info!(order_id = order, "goods reserved");
        let url = format!("{}/dispatch/{order}", self.dispatcher);
        let sent = self.client.post(url).send().await;
        sent.and_then(|answer| answer.error_for_status().map_err(Into::into))
            .map_err(|error| tonic::Status::unavailable(error.to_string()))?;
        Ok(tonic::Response::new(HealthCheckResponse { status: ServingStatus::Serving.into() }))
    }

    type WatchStream = futures_util::stream::Empty<Result<HealthCheckResponse, tonic::Status>>;

    async fn watch(
        &self,
        _: tonic::Request<HealthCheckRequest>,
    ) -> Result<tonic::Response<Self::WatchStream>, tonic::Status> {
        Err(tonic::Status::unimplemented("orders are not watched"))
    }
}

async fn stock(listener: TcpListener, dispatcher: &str) -> Outcome {
    let client =
        reqwest_middleware::ClientBuilder::new(lgtm_tests::client::plain()).with(ReqwestMiddleware::new()).build();
    let service = HealthServer::new(Reserve { dispatcher: dispatcher.to_owned(), client });
    let server = tonic::transport::Server::builder().layer(GrpcServerLayer::new()).add_service(service);
    Ok(server.serve_with_incoming(TcpIncoming::from(listener)).await?)
}

/// Nothing of lgtm's but `init`: spans, context and propagation are those of the OpenTelemetry API.
async fn dispatcher(listener: TcpListener, packer: SocketAddr) -> Outcome {
    async fn dispatch(
        State(queue): State<Arc<tokio::sync::Mutex<TcpStream>>>,
        Path(order): Path<String>,
        headers: HeaderMap,
    ) -> Result<(), StatusCode> {
        let caller = global::get_text_map_propagator(|propagator| {
            let headers: HashMap<String, String> = headers
                .iter()
                .filter_map(|(name, value)| Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned())))
                .collect();
            propagator.extract(&headers)
        });
        let tracer = global::tracer("dispatcher");
        let builder = tracer.span_builder("POST /dispatch/{order}").with_kind(SpanKind::Server);
        let span = tracer.build_with_context(builder, &caller);
        let context = caller.with_span(span);
        let sent = send(&queue, &order).with_context(context.clone()).await;
        if let Err(error) = &sent {
            context.span().set_status(Status::error(error.to_string()));
        }
        context.span().end();
        sent.map_err(|_| StatusCode::BAD_GATEWAY)
    }

    async fn send(queue: &tokio::sync::Mutex<TcpStream>, order: &str) -> Outcome {
        info!(order_id = order, "handed to the packers");
        let tracer = global::tracer("dispatcher");
        let attributes =
            [KeyValue::new("messaging.system", "relay"), KeyValue::new("messaging.operation.type", "send")];
        let builder = tracer.span_builder("send shipments").with_kind(SpanKind::Producer).with_attributes(attributes);
        let context = Context::current_with_span(tracer.build_with_context(builder, &Context::current()));
        let mut message = HashMap::from([("order".to_owned(), order.to_owned())]);
        global::get_text_map_propagator(|propagator| propagator.inject_context(&context, &mut message));
        let mut line = serde_json::to_vec(&message)?;
        line.push(b'\n');
        queue.lock().await.write_all(&line).with_context(context.clone()).await?;
        context.span().end();
        Ok(())
    }

    let queue = Arc::new(tokio::sync::Mutex::new(TcpStream::connect(packer).await?));
    let router = Router::new().route("/dispatch/{order}", post(dispatch)).with_state(queue);
    Ok(axum::serve(listener, router).await?)
}

/// Takes messages from the queue, a JSON object a line, and points at who sent them.
async fn packer(listener: TcpListener) -> Outcome {
    let (queue, _) = listener.accept().await?;
    let mut messages = BufReader::new(queue).lines();
    while let Some(message) = messages.next_line().await? {
        let message: HashMap<String, String> = serde_json::from_str(&message)?;
        let span = info_span!("process shipments", otel.kind = "consumer", messaging.operation.type = "process");
        if let Some(RemoteParent { trace_id, span_id, sampled, .. }) = propagation::extract(&message) {
            span.add_link(TraceContext::new(trace_id, span_id, sampled), &[]);
        }
        span.in_scope(|| info!(order_id = message.get("order"), "packed"));
    }
    Ok(())
}
