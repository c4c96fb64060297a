//! The inventory: reserves goods. A span stands for the database that a real one would ask.

use std::time::Duration;

use axum::extract::{MatchedPath, Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use http::StatusCode;
use serde::Serialize;
use tracing::Instrument as _;

use crate::settings::Misbehaviour;
use crate::telemetry;

/// What an undisturbed query takes.
const QUERY_TIME: Duration = Duration::from_millis(2);

#[derive(Serialize)]
struct Reservation {
    sku: u64,
    reserved: u32,
}

#[derive(Debug, thiserror::Error)]
#[error("no item of sku {sku} can be reserved")]
struct ReserveError {
    sku: u64,
    source: StockError,
}

#[derive(Debug, thiserror::Error)]
#[error("out of stock")]
struct StockError;

impl IntoResponse for ReserveError {
    fn into_response(self) -> Response {
        (StatusCode::CONFLICT, self.to_string()).into_response()
    }
}

/// The routes.
pub(crate) fn router(misbehaviour: Misbehaviour) -> Router {
    Router::new()
        .route("/reserve/{sku}", post(reserve))
        .route("/healthz", get(async || "ok"))
        .layer(telemetry::layer())
        .with_state(misbehaviour)
}

async fn reserve(
    State(misbehaviour): State<Misbehaviour>,
    endpoint: MatchedPath,
    Path(sku): Path<u64>,
) -> Result<Json<Reservation>, ReserveError> {
    match take_from_stock(sku, misbehaviour).await {
        Ok(()) => {
            tracing::info!(sku, "reserved");
            Ok(Json(Reservation { sku, reserved: 1 }))
        }
        Err(source) => {
            let error = ReserveError { sku, source };
            telemetry::failed(&endpoint, &error);
            Err(error)
        }
    }
}

async fn take_from_stock(sku: u64, misbehaviour: Misbehaviour) -> Result<(), StockError> {
    let query = tracing::info_span!(
        "update stock",
        otel.name = "UPDATE stock",
        otel.kind = "client",
        db.system.name = "postgresql",
        db.namespace = "shop",
        db.operation.name = "UPDATE",
        db.collection.name = "stock",
        db.query.text = "UPDATE stock SET available = available - 1 WHERE sku = $1 AND available > 0",
        sku,
    );
    async {
        let delay = misbehaviour.delay(sku);
        if !delay.is_zero() {
            tracing::warn!(sku, "waiting for a row lock");
        }
        tokio::time::sleep(QUERY_TIME + delay).await;
        if misbehaviour.fails(sku) { Err(StockError) } else { Ok(()) }
    }
    .instrument(query)
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::{Body, to_bytes};
    use http::Request;
    use tower::ServiceExt as _;

    fn quick() -> Misbehaviour {
        Misbehaviour { fail_every: 13, slow_every: 17, slowness: Duration::from_millis(50) }
    }

    async fn answer(method: &str, path: &str) -> (StatusCode, String) {
        let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
        let response = router(quick()).oneshot(request).await.unwrap();
        let status = response.status();
        let body = to_bytes(response.into_body(), 4096).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn goods_are_reserved() {
        let expected = (StatusCode::OK, r#"{"sku":42,"reserved":1}"#.to_owned());
        assert_eq!(answer("POST", "/reserve/42").await, expected);
        assert_eq!(answer("GET", "/healthz").await, (StatusCode::OK, "ok".to_owned()));
    }

    #[tokio::test(start_paused = true)]
    async fn every_thirteenth_is_out_of_stock() {
        let expected = (StatusCode::CONFLICT, "no item of sku 26 can be reserved".to_owned());
        assert_eq!(answer("POST", "/reserve/26").await, expected);
    }

    #[tokio::test(start_paused = true)]
    async fn every_seventeenth_is_slow() {
        let started = tokio::time::Instant::now();
        assert_eq!(answer("POST", "/reserve/34").await.0, StatusCode::OK);
        assert_eq!(started.elapsed(), Duration::from_millis(52));
    }

    #[tokio::test]
    async fn a_word_is_no_sku() {
        assert_eq!(answer("POST", "/reserve/book").await.0, StatusCode::BAD_REQUEST);
        assert_eq!(answer("GET", "/reserve/1").await.0, StatusCode::METHOD_NOT_ALLOWED);
    }
}
