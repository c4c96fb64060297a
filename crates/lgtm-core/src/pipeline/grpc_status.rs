//! What tonic must not see of an answer. It panics at details of a status that are not in base64: whatever a backend or a proxy says,
//! nothing panics, such details are none. And it takes the page of a proxy's HTTP error for a broken message, which hides the status:
//! without the page it tells the status. Worker thread.

use std::task::{Context, Poll};

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use bytes::Buf;
use futures_util::TryFutureExt as _;
use futures_util::future::MapOk;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use http_body_util::combinators::MapFrame;
use hyper::body::{Body, Frame};
use tower_service::Service;

/// `google.rpc.Status`, in base64.
const DETAILS: &str = "grpc-status-details-bin";

/// As tonic reads it: with padding or without.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A channel whose answers tonic can read.
#[derive(Clone, Debug)]
pub(super) struct Checked<S>(pub(super) S);

type CheckFrame<D> = fn(Frame<D>) -> Frame<D>;
type CheckResponse<B> = fn(Response<B>) -> Response<MapFrame<B, CheckFrame<<B as Body>::Data>>>;

impl<S, R, B> Service<Request<R>> for Checked<S>
where
    S: Service<Request<R>, Response = Response<B>>,
    B: Body,
{
    type Response = Response<MapFrame<B, CheckFrame<B::Data>>>;
    type Error = S::Error;
    type Future = MapOk<S::Future, CheckResponse<B>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: Request<R>) -> Self::Future {
        self.0.call(request).map_ok(check_response)
    }
}

/// A status is among the headers if there is no message, else among the trailers.
fn check_response<B: Body>(mut response: Response<B>) -> Response<MapFrame<B, CheckFrame<B::Data>>> {
    check(response.headers_mut());
    let change: CheckFrame<B::Data> = if response.status() == StatusCode::OK { check_frame } else { empty_frame };
    response.map(|body| body.map_frame(change))
}

/// gRPC answers with 200 whatever its status: what else comes is no gRPC.
fn empty_frame<D: Buf>(mut frame: Frame<D>) -> Frame<D> {
    if let Some(data) = frame.data_mut() {
        data.advance(data.remaining());
    }
    check_frame(frame)
}

fn check_frame<D>(mut frame: Frame<D>) -> Frame<D> {
    if let Some(trailers) = frame.trailers_mut() {
        check(trailers);
    }
    frame
}

fn check(headers: &mut HeaderMap) {
    if headers.get(DETAILS).is_some_and(|details| BASE64.decode(details.as_bytes()).is_err()) {
        headers.remove(DETAILS);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tonic::Status;

    proptest! {
        #[test]
        fn no_details_make_tonic_panic(details in "[A-Za-z0-9+/= ~-]{0,12}") {
            let mut headers = HeaderMap::new();
            headers.insert("grpc-status", http::HeaderValue::from_static("8"));
            headers.insert(DETAILS, http::HeaderValue::from_str(&details).unwrap());
            check(&mut headers);
            let status = Status::from_header_map(&headers).unwrap();
            prop_assert_eq!(status.code(), tonic::Code::ResourceExhausted);
        }
    }
}
