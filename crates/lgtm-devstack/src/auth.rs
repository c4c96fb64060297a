//! Authentication in front of every listener, as a gateway before the real servers has it. Runs on the connection's task.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, StatusCode, header};
use http_body_util::BodyExt as _;

use crate::builder::DevstackBuilder;

/// Bytes of a refused request's body that are read, so that its client reads the answer.
const REFUSED_BYTES: usize = 32 * 1024 * 1024;

/// What requests must show.
#[derive(Clone)]
pub(crate) struct Authentication {
    scheme: &'static str,
    credentials: Arc<str>,
}

impl DevstackBuilder {
    /// Wants HTTP basic authentication of every request, on all listeners, HTTP and gRPC; one without it, or with another, is
    /// answered with 401, as the gateways of Grafana Cloud and others do. Replaces [`bearer`](Self::bearer). Defaults to none.
    pub fn basic_auth(mut self, user: &str, password: &str) -> Self {
        let credentials = STANDARD.encode(format!("{user}:{password}")).into();
        self.authentication = Some(Authentication { scheme: "Basic", credentials });
        self
    }

    /// Wants this bearer token of every request. Otherwise as [`basic_auth`](Self::basic_auth), which it replaces.
    pub fn bearer(mut self, token: &str) -> Self {
        self.authentication = Some(Authentication { scheme: "Bearer", credentials: token.into() });
        self
    }
}

impl Authentication {
    fn is_shown(&self, headers: &HeaderMap) -> bool {
        let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        given.and_then(|given| given.split_once(' ')).is_some_and(|(scheme, credentials)| {
            scheme.eq_ignore_ascii_case(self.scheme) && credentials.trim() == &*self.credentials
        })
    }
}

/// Puts what is wanted, if anything is, before all routes of a listener.
pub(crate) fn before(routes: Router, wanted: Option<&Authentication>) -> Router {
    match wanted {
        Some(wanted) => routes.layer(from_fn_with_state(wanted.clone(), pass)),
        None => routes,
    }
}

async fn pass(State(wanted): State<Authentication>, request: Request, next: Next) -> Response {
    if wanted.is_shown(request.headers()) {
        return next.run(request).await;
    }
    discard(request.into_body()).await;
    let challenge = format!("{} realm=\"lgtm development stack\"", wanted.scheme);
    (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, challenge)], "401 unauthorized\n").into_response()
}

async fn discard(mut body: Body) {
    let mut bytes = 0;
    while let Some(Ok(frame)) = body.frame().await {
        bytes += frame.data_ref().map_or(0, bytes::Bytes::len);
        if bytes > REFUSED_BYTES {
            return;
        }
    }
}
