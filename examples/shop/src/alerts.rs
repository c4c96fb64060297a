//! Where Alertmanager's webhook delivers: each alert becomes a line in Loki, so that a stack without Slack shows its alerts too.

use std::collections::BTreeMap;

use axum::routing::{get, post};
use axum::{Json, Router};
use http::StatusCode;
use serde::Deserialize;

use crate::telemetry;

/// What Alertmanager posts, version 4 of its webhook's document.
#[derive(Deserialize)]
struct Notification {
    receiver: String,
    alerts: Vec<Alert>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Alert {
    status: String,
    labels: BTreeMap<String, String>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    starts_at: String,
}

/// The routes.
pub(crate) fn router() -> Router {
    Router::new().route("/alerts", post(receive)).route("/healthz", get(async || "ok")).layer(telemetry::layer())
}

async fn receive(Json(Notification { receiver, alerts }): Json<Notification>) -> StatusCode {
    let together = alerts.len();
    for Alert { status, labels, annotations, starts_at } in alerts {
        let label = |name: &str| labels.get(name).map_or("", String::as_str);
        let summary = annotations.get("summary").map_or("", String::as_str);
        tracing::warn!(
            receiver,
            together,
            status,
            starts_at,
            alertname = label("alertname"),
            severity = label("severity"),
            job = label("job"),
            exporter = label("exporter"),
            "alert {status}: {summary}"
        );
    }
    StatusCode::NO_CONTENT
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;
    use http::{Request, header};
    use tower::ServiceExt as _;

    async fn post_alerts(body: &'static str) -> StatusCode {
        let request = Request::post("/alerts").header(header::CONTENT_TYPE, "application/json").body(Body::from(body));
        router().oneshot(request.unwrap()).await.unwrap().status()
    }

    #[tokio::test]
    async fn a_notification_is_taken_and_anything_else_refused() {
        let notification = r##"{"version":"4","groupKey":"{}","status":"firing","receiver":"critical","groupLabels":{},"alerts":[{
            "status":"firing","labels":{"alertname":"ServiceDown","severity":"critical"},"annotations":{"summary":"down"},
            "startsAt":"2026-01-01T00:00:00Z","endsAt":"0001-01-01T00:00:00Z","generatorURL":"","fingerprint":"1"}]}"##;
        assert_eq!(post_alerts(notification).await, StatusCode::NO_CONTENT);
        assert_eq!(post_alerts("{}").await, StatusCode::UNPROCESSABLE_ENTITY);
        assert_eq!(post_alerts("firing").await, StatusCode::BAD_REQUEST);
    }
}
