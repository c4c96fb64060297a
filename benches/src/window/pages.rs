//! What the pages ask, each several times: the first answer is what a person waits for, the median what a refresh costs.

use std::time::Instant;

use anyhow::bail;
use axum::http::Request;
use serde::Serialize;

use crate::Client;

#[derive(Serialize)]
pub(crate) struct Page {
    name: &'static str,
    first_ms: f64,
    median_ms: f64,
    slowest_ms: f64,
    bytes: usize,
}

/// What a page does, and the request that it makes.
const PAGES: [(&str, &str); 14] = [
    ("overview", "/api/v1/overview"),
    ("overview, last minute", "/api/v1/overview?last=1m"),
    ("services", "/api/v1/services"),
    ("logs, the newest", "/api/v1/logs"),
    ("logs, in the middle", "/api/v1/logs?skip=50000"),
    ("logs, by level", "/api/v1/logs?level=error"),
    ("logs, by text", "/api/v1/logs?q=order+1234"),
    ("logs, by a field of the line", "/api/v1/logs?attr=customer%3Dc-17"),
    ("traces, with points", "/api/v1/traces?points=1"),
    ("traces, failed, slowest first", "/api/v1/traces?status=error&sort=slowest"),
    ("traces, by attribute", "/api/v1/traces?attr=customer%3Dc-17"),
    ("service map", "/api/v1/service-map"),
    ("metrics", "/api/v1/metrics"),
    ("a histogram of 100 routes", "/api/v1/metrics/http_request_duration_seconds"),
];

pub(crate) async fn ask(client: &Client, window: &str, asks: usize) -> anyhow::Result<Vec<Page>> {
    let mut pages = Vec::new();
    for (name, path) in PAGES {
        let url = format!("{window}{path}");
        let mut times = Vec::new();
        let mut bytes = 0;
        for _ in 0..asks.max(1) {
            let begin = Instant::now();
            let (status, body) = crate::ask(client, Request::get(&url).body(Default::default())?).await?;
            times.push(begin.elapsed().as_secs_f64() * 1e3);
            if !status.is_success() {
                bail!("{url}: {status} {}", String::from_utf8_lossy(&body));
            }
            bytes = body.len();
        }
        let first_ms = times.first().copied().unwrap_or_default();
        times.sort_by(f64::total_cmp);
        let median_ms = times.get(times.len() / 2).copied().unwrap_or_default();
        let slowest_ms = times.last().copied().unwrap_or_default();
        pages.push(Page { name, first_ms, median_ms, slowest_ms, bytes });
    }
    Ok(pages)
}
