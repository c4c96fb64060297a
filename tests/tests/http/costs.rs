//! What a request costs in memory, beyond what it costs without the layer.

use std::borrow::Cow;
use std::convert::Infallible;
use std::fmt::Debug;

use bytes::Bytes;
use futures_util::FutureExt as _;
use http::{Request, Response};
use http_body::Body;
use http_body_util::{BodyExt as _, Empty, Full};
use lgtm_http::ServerLayer;
use tower::{Layer as _, Service};

use crate::harness::{observe, observe_on};

#[derive(Clone)]
struct Hello;

impl Service<Request<Empty<Bytes>>> for Hello {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Infallible>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Empty<Bytes>>) -> Self::Future {
        std::future::ready(Ok(Response::new(Full::new(Bytes::from_static(b"hello")))))
    }
}

/// Allocations of a request, once everything has been used.
fn allocations<S, B>(mut service: S) -> u64
where
    S: Service<Request<Empty<Bytes>>, Response = Response<B>, Error = Infallible>,
    B: Body<Data = Bytes>,
    B::Error: Debug,
{
    let mut ask = || {
        let request = Request::get("/orders/17?color=blue").header("host", "shop.example").body(Empty::new()).unwrap();
        let answer = service.call(request).now_or_never().unwrap().unwrap();
        answer.into_body().collect().now_or_never().unwrap().unwrap();
    };
    for _ in 0..1000 {
        ask();
    }
    const REQUESTS: u64 = 100;
    allocation_counter::measure(|| (0..REQUESTS).for_each(|_| ask())).count_total / REQUESTS
}

fn beyond_the_service() -> u64 {
    let layer = ServerLayer::new().route(|_| Some(Cow::Borrowed("/orders/{id}")));
    allocations(layer.layer(Hello)) - allocations(Hello)
}

#[test]
fn a_request_that_is_not_traced_costs_the_labels_of_its_metrics_and_nothing_else() {
    assert_eq!(beyond_the_service(), 2, "without a subscriber");
    let hidden = |_: lgtm_tests::signals::Layers| tracing::Dispatch::none();
    observe_on(hidden, async || assert_eq!(beyond_the_service(), 2, "with a recorder"));
}

#[test]
fn a_traced_request_costs_the_name_of_its_span_besides() {
    observe(async || assert_eq!(beyond_the_service(), 3));
}
