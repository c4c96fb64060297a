//! The gate before every scripted endpoint: reads the body within its limits, plays the script, records the request.
//! Runs on the connection's task.

use std::time::{Duration, SystemTime};

use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use http::{HeaderValue, StatusCode, header};
use http_body_util::BodyExt;
use tokio::sync::SemaphorePermit;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::devstack::Shared;
use crate::script::{Endpoint, Reply, ReplyKind};
use crate::server::Connection;
use crate::store::{Answer, ReceivedRequest};

/// How long a client may take to send a body, and may wait for memory to hold it.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// State of the gate of one endpoint.
#[derive(Clone)]
pub(crate) struct Gate {
    pub(crate) shared: Shared,
    pub(crate) endpoint: Endpoint,
}

/// What the script wants an OTLP handler to answer; found among the request's extensions.
#[derive(Clone, Debug)]
pub(crate) struct PartialSuccess {
    pub(crate) rejected: i64,
    pub(crate) message: String,
    pub(crate) stored: bool,
}

pub(crate) async fn pass(State(gate): State<Gate>, request: Request, next: Next) -> Response {
    let Gate { shared, endpoint } = gate;
    let (mut parts, body) = request.into_parts();
    let connection = parts.extensions.get::<Connection>().cloned();
    let reading = tokio::time::timeout(BODY_TIMEOUT, read_body(body, &shared)).await;
    let (body, refusal, permit) = match reading {
        Ok(Ok((body, permit))) => (body, None, permit),
        Ok(Err(error)) => (Bytes::new(), Some(error), None),
        Err(_) => (Bytes::new(), Some(BodyError::TimedOut), None),
    };
    let mut received = ReceivedRequest {
        endpoint,
        method: parts.method.clone(),
        path: parts.uri.path_and_query().map_or_else(|| parts.uri.path().to_owned(), ToString::to_string),
        headers: parts.headers.clone(),
        body: body.clone(),
        received_at: SystemTime::now(),
        answer: Answer::Never,
        scripted: false,
    };
    if let Some(error) = refusal {
        let response = error.response(endpoint, shared.limits.body_bytes);
        received.answer = answer_of(endpoint, &response);
        shared.store.record_request(received);
        return response;
    }
    let Some(reply) = shared.scripts.next(endpoint) else {
        let response = handle(&shared, next, Request::from_parts(parts, Body::from(body))).await;
        received.answer = answer_of(endpoint, &response);
        shared.store.record_request(received);
        return response;
    };
    received.scripted = true;
    let delay = reply.delay;
    let outcome = match reply.kind {
        ReplyKind::PartialSuccess { rejected, message } => {
            if endpoint.is_otlp() {
                parts.extensions.insert(PartialSuccess { rejected, message, stored: reply.stored });
                Outcome::Respond(handle(&shared, next, Request::from_parts(parts, Body::from(body))).await)
            } else {
                Outcome::Respond(mistake(&format!("scripted partial success: {endpoint:?} has none")))
            }
        }
        ReplyKind::Normal => {
            let mut response = handle(&shared, next, Request::from_parts(parts, Body::from(body))).await;
            response.headers_mut().extend(reply.headers);
            Outcome::Respond(response)
        }
        _ => {
            if reply.stored {
                // Stored under the normal validation; its answer gives way to the scripted one.
                drop(handle(&shared, next, Request::from_parts(parts, Body::from(body))).await);
            }
            scripted_outcome(endpoint, reply)
        }
    };
    received.answer = match &outcome {
        Outcome::Respond(response) => answer_of(endpoint, response),
        Outcome::Reset => Answer::Reset,
        Outcome::Never => Answer::Never,
    };
    shared.store.record_request(received);
    // The body's memory is free while the script lets the client wait.
    drop(permit);
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
    match outcome {
        Outcome::Respond(response) => response,
        Outcome::Reset => {
            if let Some(connection) = &connection {
                connection.reset.cancel();
            }
            hold(connection).await
        }
        Outcome::Never => hold(connection).await,
    }
}

/// Decompresses, decodes and answers when it is this request's turn.
async fn handle(shared: &Shared, next: Next, request: Request) -> Response {
    let _turn = shared.decoding.acquire().await;
    next.run(request).await
}

enum Outcome {
    Respond(Response),
    Reset,
    Never,
}

fn scripted_outcome(endpoint: Endpoint, reply: Reply) -> Outcome {
    let mut response = match reply.kind {
        ReplyKind::Reset => return Outcome::Reset,
        ReplyKind::Never => return Outcome::Never,
        ReplyKind::Http(status) => (status, reply.body).into_response(),
        ReplyKind::Mistake(text) => mistake(&text),
        ReplyKind::Grpc { code, message, retry_after } => {
            if endpoint.is_grpc() {
                grpc_status(code, message, retry_after)
            } else {
                let mut response = (http_status_of(code), message).into_response();
                if let Some(delay) = retry_after {
                    let seconds = delay.as_secs() + u64::from(delay.subsec_nanos() > 0);
                    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
                }
                response
            }
        }
        ReplyKind::Normal | ReplyKind::PartialSuccess { .. } => mistake("a reply of this kind answers normally"),
    };
    for (name, value) in &reply.headers {
        response.headers_mut().insert(name, value.clone());
    }
    Outcome::Respond(response)
}

fn grpc_status(code: Code, message: String, retry_after: Option<Duration>) -> Response {
    let status = match retry_after {
        Some(delay) => Status::with_error_details(code, message, ErrorDetails::with_retry_info(Some(delay))),
        None => Status::new(code, message),
    };
    status.into_http()
}

fn mistake(text: &str) -> Response {
    (StatusCode::INTERNAL_SERVER_ERROR, format!("mistake in the script of the development stack: {text}\n"))
        .into_response()
}

/// The HTTP status that stands for a gRPC code.
fn http_status_of(code: Code) -> StatusCode {
    match code {
        Code::Ok => StatusCode::OK,
        Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => StatusCode::BAD_REQUEST,
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::AlreadyExists | Code::Aborted => StatusCode::CONFLICT,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        Code::Unimplemented => StatusCode::NOT_IMPLEMENTED,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        Code::Cancelled | Code::Unknown | Code::Internal | Code::DataLoss => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// Waits for the end of the connection; what is returned then reaches nobody.
async fn hold(connection: Option<Connection>) -> Response {
    if let Some(connection) = connection {
        connection.closed.cancelled().await;
    }
    StatusCode::SERVICE_UNAVAILABLE.into_response()
}

fn answer_of(endpoint: Endpoint, response: &Response) -> Answer {
    let is_grpc = response
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"));
    if endpoint.is_grpc() && is_grpc {
        // An error comes in the headers; success comes in the trailers, after this.
        let status = response.headers().get("grpc-status").and_then(|value| value.to_str().ok()?.parse().ok());
        return Answer::Grpc(status.unwrap_or(0));
    }
    Answer::Http(response.status().as_u16())
}

#[derive(Debug)]
enum BodyError {
    TooLarge,
    Broken(String),
    TimedOut,
}

impl BodyError {
    fn response(&self, endpoint: Endpoint, limit: usize) -> Response {
        let text = match self {
            Self::TooLarge => format!("request body too large: the limit is {limit} bytes"),
            Self::Broken(reason) => format!("request body not readable: {reason}"),
            Self::TimedOut => format!("request body not complete after {BODY_TIMEOUT:?}"),
        };
        if endpoint.is_grpc() {
            let code = match self {
                Self::TooLarge => Code::ResourceExhausted,
                Self::Broken(_) => Code::Internal,
                Self::TimedOut => Code::DeadlineExceeded,
            };
            return Status::new(code, text).into_http();
        }
        let status = match self {
            // Tempo answers 400 where the others answer 413.
            Self::TooLarge if endpoint == Endpoint::OtlpHttp => StatusCode::BAD_REQUEST,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Broken(_) => StatusCode::BAD_REQUEST,
            Self::TimedOut => StatusCode::REQUEST_TIMEOUT,
        };
        (status, text).into_response()
    }
}

type ReadBody<'a> = (Bytes, Option<SemaphorePermit<'a>>);

/// Reads a body frame by frame; each frame first takes its size from the memory shared by all requests in flight.
async fn read_body(mut body: Body, shared: &Shared) -> Result<ReadBody<'_>, BodyError> {
    let mut collected = BytesMut::new();
    let mut permit: Option<SemaphorePermit<'_>> = None;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| BodyError::Broken(error.to_string()))?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if collected.len() + data.len() > shared.limits.body_bytes {
            return Err(BodyError::TooLarge);
        }
        let bytes = u32::try_from(data.len()).map_err(|_| BodyError::TooLarge)?;
        let more = shared
            .body_memory
            .acquire_many(bytes)
            .await
            .map_err(|_| BodyError::Broken("the stack is shutting down".to_owned()))?;
        match &mut permit {
            Some(permit) => permit.merge(more),
            None => permit = Some(more),
        }
        collected.extend_from_slice(&data);
    }
    Ok((collected.freeze(), permit))
}
