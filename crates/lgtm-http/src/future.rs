//! The answer to come: each poll happens in the request's span. Caller threads.

use std::any::type_name;
use std::fmt::Display;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::Response;
use http_body::Body;
use pin_project_lite::pin_project;

use crate::body::ResponseBody;
use crate::exchange::{End, Exchange, Head, Running};

pin_project! {
    /// The future of the layers of this crate.
    #[derive(Debug)]
    pub struct ResponseFuture<F, X: Exchange> {
        // Empty only while it is dropped.
        #[pin]
        future: Option<F>,
        running: Running<X>,
    }

    impl<F, X: Exchange> PinnedDrop for ResponseFuture<F, X> {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            this.running.drop_inside(|| this.future.set(None));
        }
    }
}

impl<F, X: Exchange> ResponseFuture<F, X> {
    pub(crate) fn new(future: F, running: Running<X>) -> Self {
        Self { future: Some(future), running }
    }
}

impl<F, B, E, X> Future for ResponseFuture<F, X>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Body,
    E: Display,
    X: Exchange,
{
    type Output = Result<Response<ResponseBody<B, X>>, E>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let running = this.running;
        let Some(future) = this.future.as_mut().as_pin_mut() else { return Poll::Pending };
        let answer = running.step(
            || future.poll(context),
            |answer, span, exchange, _| match answer {
                Poll::Ready(Ok(response)) => {
                    let is_all = exchange.answered(span, Head::of(response)) || response.body().is_end_stream();
                    is_all.then_some(End::Whole)
                }
                Poll::Ready(Err(error)) => Some(End::Failed { kind: type_name::<E>(), error }),
                Poll::Pending => None,
            },
        );
        answer.map_ok(|response| {
            let (head, body) = response.into_parts();
            let body = ResponseBody::new(body, &head.headers, running.take());
            Response::from_parts(head, body)
        })
    }
}
