//! Runtime control over HTTP: routes beside `/metrics` on the scrape listener, off by default. Worker thread; nothing here blocks.
//!
//! | request | what it does |
//! |---|---|
//! | `GET /admin/report` | what has become of everything, as [`Report::json`](crate::Report::json) |
//! | `GET /admin/config` | what telemetry began with, and who chose it; no secrets |
//! | `GET`, `PUT /admin/filters` | [`Filters`]: `log_filter`, `span_filter` |
//! | `GET`, `PUT /admin/sampling` | [`Sampling`]: `sampler` |
//! | `POST /admin/flush` | sends what waits, and answers when it is done |
//!
//! The listener (lgtm-mimir's `scrape.rs`) has seen to the token, the bounds and the body before a request comes here;
//! `same_site.rs` refuses what a browser asks for somebody else, `change.rs` reads what is to change.

mod change;
mod same_site;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock, Weak};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode};
use lgtm_core::sampler::{Sampler, SamplerError};
use serde_json::json;

use crate::config::Config;
use crate::error::Error;
use crate::filter::Filters;
use crate::guard::Running;
use crate::sampling::{RATIO_FORM, Sampling};
use change::changes;

const SAMPLER_FORM: &str = "always_on, always_off, traceidratio(0.01), parentbased_always_on, parentbased_always_off or \
     parentbased_traceidratio(0.01)";

/// What the routes speak about.
struct Telemetry {
    /// The guard's: it ends with that.
    running: Weak<Running>,
    filters: Filters,
    sampling: Sampling,
    config: String,
}

/// The routes before there is telemetry to speak about: the listener opens first.
#[derive(Clone)]
pub(crate) struct Admin {
    telemetry: Arc<OnceLock<Telemetry>>,
    /// Only programs of this machine reach the listener.
    is_loopback: bool,
}

impl Admin {
    /// For a listener at this address.
    pub(crate) fn at(address: SocketAddr) -> Self {
        Self { telemetry: Arc::default(), is_loopback: address.ip().is_loopback() }
    }

    pub(crate) fn routes(&self) -> Router {
        Router::new()
            .route("/admin/report", get(report))
            .route("/admin/config", get(config))
            .route("/admin/filters", get(filters).put(set_filters))
            .route("/admin/sampling", get(sampling).put(set_sampling))
            .route("/admin/flush", post(flush))
            .layer(from_fn_with_state(self.clone(), same_site))
            .with_state(self.clone())
    }

    /// From now on requests are answered.
    pub(crate) fn open(&self, running: Weak<Running>, filters: Filters, sampling: Sampling, config: &Config) {
        let rows = config.iter().map(
            |setting| json!({ "name": setting.name, "value": setting.value, "source": setting.source.to_string() }),
        );
        let config = serde_json::Value::Array(rows.collect()).to_string();
        let _ = self.telemetry.set(Telemetry { running, filters, sampling, config });
    }

    fn telemetry(&self) -> Result<&Telemetry, Refusal> {
        self.telemetry.get().ok_or_else(|| Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "telemetry has not begun yet"))
    }

    fn running(&self) -> Result<Arc<Running>, Refusal> {
        let running = self.telemetry()?.running.upgrade();
        running.ok_or_else(|| Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "telemetry has ended"))
    }
}

/// Why a request is not answered as it wants, in a line of text.
struct Refusal {
    status: StatusCode,
    reason: String,
}

impl Refusal {
    fn new(status: StatusCode, reason: impl Into<String>) -> Self {
        Self { status, reason: reason.into() }
    }
}

/// A setting that cannot be: the error names it, the value and the accepted form.
impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error.to_string())
    }
}

impl axum::response::IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.status, [(CONTENT_TYPE, "text/plain; charset=utf-8")], self.reason + "\n").into_response()
    }
}

type Answer = Result<Response, Refusal>;

async fn same_site(State(admin): State<Admin>, request: Request, next: Next) -> Response {
    match same_site::refuse(request.headers(), admin.is_loopback) {
        Some(reason) => Refusal::new(StatusCode::FORBIDDEN, reason).into_response(),
        None => next.run(request).await,
    }
}

async fn report(State(admin): State<Admin>) -> Answer {
    Ok(object(StatusCode::OK, admin.running()?.report().json()))
}

async fn config(State(admin): State<Admin>) -> Answer {
    Ok(object(StatusCode::OK, admin.telemetry()?.config.clone()))
}

async fn filters(State(admin): State<Admin>) -> Answer {
    let filters = &admin.telemetry()?.filters;
    let members = json!({ "log_filter": filters.log_filter(), "span_filter": filters.span_filter() });
    Ok(object(StatusCode::OK, members.to_string()))
}

async fn set_filters(State(admin): State<Admin>, headers: HeaderMap, body: Bytes) -> Answer {
    let [log, span] = changes(&headers, &body, ["log_filter", "span_filter"])?;
    admin.telemetry()?.filters.set_some(log.as_deref(), span.as_deref())?;
    filters(State(admin)).await
}

async fn sampling(State(admin): State<Admin>) -> Answer {
    let members = json!({ "sampler": admin.telemetry()?.sampling.sampler().to_string() });
    Ok(object(StatusCode::OK, members.to_string()))
}

async fn set_sampling(State(admin): State<Admin>, headers: HeaderMap, body: Bytes) -> Answer {
    let [text] = changes(&headers, &body, ["sampler"])?;
    if let Some(text) = text {
        admin.telemetry()?.sampling.set(sampler(&text)?)?;
    }
    sampling(State(admin)).await
}

async fn flush(State(admin): State<Admin>) -> Answer {
    let running = admin.running()?;
    let status = if running.flush_async().await { StatusCode::OK } else { StatusCode::GATEWAY_TIMEOUT };
    Ok(object(status, running.report().json()))
}

fn object(status: StatusCode, json: String) -> Response {
    (status, [(CONTENT_TYPE, "application/json")], json).into_response()
}

/// A sampler as it is shown: its name, and the ratio in parentheses where it has one.
fn sampler(text: &str) -> Result<Sampler, Error> {
    let text = text.trim();
    let (name, argument) = match text.strip_suffix(')').and_then(|text| text.split_once('(')) {
        Some((name, argument)) => (name, Some(argument)),
        None => (text, None),
    };
    let takes_ratio = name.ends_with("traceidratio");
    let wrong = |accepted| {
        let problem = format!("`{text}` is not a sampler");
        Error::Setting { setting: "sampler", problem, accepted }
    };
    if argument.is_some() != takes_ratio {
        return Err(wrong(SAMPLER_FORM));
    }
    Sampler::parse(name, argument).map_err(|error| match error {
        SamplerError::Ratio(_) => wrong(RATIO_FORM),
        _ => wrong(SAMPLER_FORM),
    })
}
