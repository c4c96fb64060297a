//! The body of an answer, watched to its end: the request ends with it. Caller threads.

use std::any::type_name;
use std::fmt::Display;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Buf as _;
use http::{HeaderMap, header};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use crate::exchange::{End, Exchange, Running};

pin_project! {
    /// The body of the layers of this crate: the inner one as it is.
    #[derive(Debug)]
    pub struct ResponseBody<B: Body, X: Exchange> {
        // Empty only while it is dropped.
        #[pin]
        body: Option<B>,
        running: Running<X>,
        // How long it says it is.
        expected: Option<u64>,
    }

    impl<B: Body, X: Exchange> PinnedDrop for ResponseBody<B, X> {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            if this.running.is_running() {
                // A server asks a body of a known length for no more than that.
                let is_whole = this.body.as_ref().as_pin_ref().is_some_and(|body| body.is_end_stream())
                    || *this.expected == Some(this.running.bytes());
                this.running.drop_inside(|| this.body.set(None));
                this.running.end(if is_whole { End::Whole } else { End::Dropped });
            }
        }
    }
}

impl<B: Body, X: Exchange> ResponseBody<B, X> {
    pub(crate) fn new(body: B, headers: &HeaderMap, running: Running<X>) -> Self {
        let expected = body.size_hint().exact().or_else(|| content_length(headers));
        Self { body: Some(body), running, expected }
    }
}

impl<B: Body + Default, X: Exchange> Default for ResponseBody<B, X> {
    fn default() -> Self {
        Self { body: Some(B::default()), running: Running::unobserved(), expected: None }
    }
}

impl<B, X> Body for ResponseBody<B, X>
where
    B: Body,
    B::Error: Display,
    X: Exchange,
{
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let mut this = self.project();
        let running = this.running;
        let Some(mut body) = this.body.as_mut().as_pin_mut() else { return Poll::Ready(None) };
        let (frame, _) = running.step(
            || {
                let frame = body.as_mut().poll_frame(context);
                // Nothing follows trailers, and nobody may ask again.
                let is_last = body.is_end_stream();
                (frame, is_last)
            },
            |(frame, is_last), span, exchange, bytes| match frame {
                Poll::Ready(Some(Ok(frame))) => {
                    let of_data = frame.data_ref().map_or(0, |data| data.remaining());
                    *bytes = bytes.saturating_add(of_data as u64);
                    if let Some(trailers) = frame.trailers_ref() {
                        exchange.trailers(span, trailers);
                    }
                    (*is_last || frame.is_trailers()).then_some(End::Whole)
                }
                Poll::Ready(Some(Err(error))) => Some(End::Failed { kind: type_name::<B::Error>(), error }),
                Poll::Ready(None) => Some(End::Whole),
                Poll::Pending => None,
            },
        );
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

/// What the headers say of the length of the body.
pub(crate) fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}
