//! One write and one read through a service, and its own word on whether it is ready.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use reqwest::Client;
use serde_json::{Value, json};

/// How long one request may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// A client for servers of this machine, without TLS and proxy.
///
/// # Errors
/// If it cannot be made.
pub(crate) fn client() -> anyhow::Result<Client> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    Client::builder().tls_backend_preconfigured(tls).no_proxy().timeout(TIMEOUT).build().context("no HTTP client")
}

/// # Errors
/// If `url` does not answer 200; with what it answers.
pub(crate) async fn is_ready(http: &Client, url: &str) -> anyhow::Result<()> {
    text(http, url).await.map(drop)
}

/// # Errors
/// If `url` does not answer 200; with what it answers.
async fn text(http: &Client, url: &str) -> anyhow::Result<String> {
    let answer = http.get(url).send().await.map_err(|error| error.without_url()).with_context(|| url.to_owned())?;
    let status = answer.status();
    let text = answer.text().await.with_context(|| url.to_owned())?;
    if !status.is_success() {
        bail!("{url} answers {status}: {}", text.lines().next().unwrap_or_default());
    }
    Ok(text)
}

/// Makes a silence for an alert that does not exist, reads it, and ends it.
///
/// # Errors
/// If Alertmanager does not take it or give it back.
pub(super) async fn alertmanager(http: &Client, url: &str, id: &str) -> anyhow::Result<String> {
    let now = chrono::Utc::now();
    let silence = json!({
        "matchers": [{"name": "alertname", "value": id, "isRegex": false, "isEqual": true}],
        "startsAt": now.to_rfc3339(),
        "endsAt": (now + chrono::Duration::minutes(1)).to_rfc3339(),
        "createdBy": "cargo xtask stack status",
        "comment": "a check; it ends by itself",
    });
    let silences = format!("{url}/api/v2/silences");
    let answer = http.post(&silences).json(&silence).send().await?.error_for_status()?;
    let made: Value = answer.json().await?;
    let made = made["silenceID"].as_str().context("no silenceID in the answer")?.to_owned();
    let read: Value = serde_json::from_str(&text(http, &format!("{url}/api/v2/silence/{made}")).await?)?;
    http.delete(format!("{url}/api/v2/silence/{made}")).send().await?.error_for_status()?;
    if read["matchers"][0]["value"] != id {
        bail!("the silence {made} came back as another: {read}");
    }
    Ok("a silence made, read and ended".to_owned())
}

/// Reads what the machine says.
///
/// # Errors
/// If there is no CPU time in it.
pub(super) async fn node_exporter(http: &Client, url: &str) -> anyhow::Result<String> {
    let metrics = text(http, &format!("{url}/metrics")).await?;
    let series = metrics.lines().filter(|line| line.starts_with("node_cpu_seconds_total{")).count();
    if series == 0 {
        bail!("no node_cpu_seconds_total among its metrics");
    }
    Ok(format!("{series} series of node_cpu_seconds_total read"))
}

/// Asks Grafana to ask its data sources.
///
/// # Errors
/// If one of them does not answer through Grafana.
pub(super) async fn grafana(http: &Client, url: &str, password: &str) -> anyhow::Result<String> {
    for source in ["loki", "tempo", "mimir"] {
        let health = format!("{url}/api/datasources/uid/{source}/health");
        let answer = http.get(&health).basic_auth("admin", Some(password)).send().await?;
        let status = answer.status();
        let body: Value = answer.json().await.unwrap_or_default();
        if !status.is_success() || body["status"] != "OK" {
            bail!("the data source {source}: {status}: {}", body["message"].as_str().unwrap_or_default());
        }
    }
    Ok("its data sources loki, tempo and mimir answer".to_owned())
}

/// Asks the example program for a product, or for its health.
///
/// # Errors
/// If it does not answer.
pub(super) async fn shop(http: &Client, service: &str, url: &str) -> anyhow::Result<String> {
    let path = if service == "storefront" { "/products/35" } else { "/healthz" };
    text(http, &format!("{url}{path}")).await?;
    Ok(format!("GET {path} answered"))
}

/// Asks Prometheus for what it has scraped.
///
/// # Errors
/// If it has scraped nothing, or a target is down; with its job.
pub(super) async fn prometheus(http: &Client, url: &str) -> anyhow::Result<String> {
    let answer: Value = serde_json::from_str(&text(http, &format!("{url}/api/v1/query?query=up")).await?)?;
    let Some(targets) = answer["data"]["result"].as_array().filter(|targets| !targets.is_empty()) else {
        bail!("it has scraped nothing yet: {answer}");
    };
    let down = targets.iter().filter(|target| target["value"][1] != "1");
    let down: Vec<&str> = down.filter_map(|target| target["metric"]["job"].as_str()).collect();
    if !down.is_empty() {
        bail!("it cannot scrape {}", down.join(", "));
    }
    Ok(format!("{} targets scraped and read", targets.len()))
}
