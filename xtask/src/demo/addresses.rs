//! Where telemetry is sent and where it is read back: the development stack's addresses, or those of real servers from options and
//! the environment variables that lgtm has too.

use std::time::Duration;

use anyhow::Context as _;
use lgtm_devstack::Devstack;
use lgtm_query::{Client, Loki, Prometheus, Tempo};
use serde::Serialize;
use url::Url;

/// The longest that one query may take.
const QUERY_TIMEOUT: Duration = Duration::from_secs(20);

/// The addresses of real servers, for `--against stack`.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Servers, for --against stack")]
pub(super) struct Servers {
    /// Loki, to push to and to read from.
    #[arg(long, env = "LOKI_URL", default_value = "http://localhost:3100", value_name = "URL")]
    loki_url: String,
    /// Tempo's OTLP receiver.
    #[arg(long, env = "TEMPO_ENDPOINT", default_value = "http://localhost:4317", value_name = "URL")]
    tempo_endpoint: String,
    /// Tempo's query API.
    #[arg(long, env = "LGTM_TEMPO_URL", default_value = "http://localhost:3200", value_name = "URL")]
    tempo_url: String,
    /// Remote write of Mimir; for Prometheus with the path /api/v1/write.
    #[arg(long, env = "MIMIR_ENDPOINT", default_value = "http://localhost:9009", value_name = "URL")]
    mimir_endpoint: String,
    /// The query API of Mimir or Prometheus. Defaults to the host of --mimir-endpoint, with Mimir's prefix /prometheus unless the
    /// path is Prometheus' /api/v1/write.
    #[arg(long, env = "LGTM_PROMETHEUS_URL", value_name = "URL")]
    prometheus_url: Option<String>,
    /// The tenant of all servers.
    #[arg(long, env = "LGTM_TENANT")]
    tenant: Option<String>,
}

/// Credentials for all servers: from the environment alone, because arguments are seen by every process.
const CREDENTIALS: [&str; 3] = ["LGTM_USERNAME", "LGTM_PASSWORD", "LGTM_TOKEN"];

/// Where the programs send, as lgtm's variables.
#[derive(Debug, Clone)]
pub(super) struct Ingest {
    variables: Vec<(&'static str, String)>,
}

impl Ingest {
    pub(super) fn variables(&self) -> impl Iterator<Item = (&'static str, &String)> {
        self.variables.iter().map(|(name, value)| (*name, value))
    }
}

/// Where the proof is read.
#[derive(Debug, Clone)]
pub(super) struct Readers {
    pub(super) loki: Loki,
    pub(super) tempo: Tempo,
    pub(super) prometheus: Prometheus,
}

/// The addresses as a person or program is told.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Addresses {
    pub(super) loki: String,
    pub(super) tempo_ingest: String,
    pub(super) tempo: String,
    pub(super) metrics_ingest: String,
    pub(super) metrics: String,
}

impl Servers {
    pub(super) fn ingest(&self) -> Ingest {
        let mut variables = vec![
            ("LOKI_URL", self.loki_url.clone()),
            ("TEMPO_ENDPOINT", self.tempo_endpoint.clone()),
            ("MIMIR_ENDPOINT", self.mimir_endpoint.clone()),
        ];
        variables.extend(self.tenant.clone().map(|tenant| ("LGTM_TENANT", tenant)));
        variables.extend(CREDENTIALS.iter().filter_map(|name| Some((*name, variable(name)?))));
        Ingest { variables }
    }

    /// # Errors
    /// If an address cannot be used.
    pub(super) fn readers(&self) -> anyhow::Result<Readers> {
        let [username, password, token] = CREDENTIALS.map(variable);
        let client = |url: &str| {
            let mut builder = Client::builder(url).timeout(QUERY_TIMEOUT);
            if let Some(tenant) = &self.tenant {
                builder = builder.tenant(tenant);
            }
            if let (Some(username), Some(password)) = (&username, &password) {
                builder = builder.basic_auth(username, password);
            } else if let Some(token) = &token {
                builder = builder.bearer_token(token);
            }
            builder.build()
        };
        Ok(Readers {
            loki: Loki::new(client(&self.loki_url)?),
            tempo: Tempo::new(client(&self.tempo_url)?),
            prometheus: Prometheus::new(client(&self.prometheus_url()?)?),
        })
    }

    /// # Errors
    /// If the address of remote write is no URL and no other is given.
    fn prometheus_url(&self) -> anyhow::Result<String> {
        if let Some(url) = &self.prometheus_url {
            return Ok(url.clone());
        }
        let refused = || {
            format!(
                "--mimir-endpoint (MIMIR_ENDPOINT) is `{}`; accepted: http://host:port, with a path for other servers than Mimir",
                self.mimir_endpoint
            )
        };
        let mut url = Url::parse(&self.mimir_endpoint).with_context(refused)?;
        url.set_path(if url.path().ends_with("/api/v1/write") { "" } else { "/prometheus" });
        Ok(url.to_string())
    }

    /// # Errors
    /// As [`Servers::readers`].
    pub(super) fn addresses(&self) -> anyhow::Result<Addresses> {
        let readers = self.readers()?;
        let shown = |url: &str| {
            Url::parse(url).map_or_else(
                |_| url.to_owned(),
                |mut url| {
                    // Fails only for URLs that have no user info either.
                    let _ = url.set_password(None);
                    url.to_string()
                },
            )
        };
        Ok(Addresses {
            loki: readers.loki.client().url().to_string(),
            tempo_ingest: shown(&self.tempo_endpoint),
            tempo: readers.tempo.client().url().to_string(),
            metrics_ingest: shown(&self.mimir_endpoint),
            metrics: readers.prometheus.client().url().to_string(),
        })
    }
}

/// Where the development stack is sent to.
pub(super) fn devstack_ingest(stack: &Devstack) -> Ingest {
    Ingest {
        variables: vec![
            ("LOKI_URL", stack.loki_url()),
            ("TEMPO_ENDPOINT", stack.otlp_grpc_url()),
            // A moved port says nothing about the protocol.
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc".to_owned()),
            ("MIMIR_ENDPOINT", stack.mimir_url()),
        ],
    }
}

/// Where the development stack is read.
///
/// # Errors
/// None in practice: its addresses are URLs.
pub(super) fn devstack_readers(stack: &Devstack) -> anyhow::Result<Readers> {
    let client = |url: String| Client::builder(url).timeout(QUERY_TIMEOUT).build();
    Ok(Readers {
        loki: Loki::new(client(stack.loki_url())?),
        tempo: Tempo::new(client(stack.tempo_url())?),
        prometheus: Prometheus::new(client(format!("{}/prometheus", stack.mimir_url()))?),
    })
}

pub(super) fn devstack_addresses(stack: &Devstack) -> Addresses {
    Addresses {
        loki: stack.loki_url(),
        tempo_ingest: stack.otlp_grpc_url(),
        tempo: stack.tempo_url(),
        metrics_ingest: stack.mimir_url(),
        metrics: format!("{}/prometheus", stack.mimir_url()),
    }
}

/// The value of a variable; an empty one counts as unset.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn servers(mimir: &str, prometheus: Option<&str>) -> Servers {
        Servers {
            loki_url: "http://localhost:3100".to_owned(),
            tempo_endpoint: "http://localhost:4317".to_owned(),
            tempo_url: "http://localhost:3200".to_owned(),
            mimir_endpoint: mimir.to_owned(),
            prometheus_url: prometheus.map(str::to_owned),
            tenant: None,
        }
    }

    #[test]
    fn metrics_are_read_where_they_are_written() {
        let url = |mimir, prometheus| servers(mimir, prometheus).prometheus_url().unwrap();
        assert_eq!(url("http://localhost:9009", None), "http://localhost:9009/prometheus");
        assert_eq!(url("http://h:9009/api/v1/push", None), "http://h:9009/prometheus");
        assert_eq!(url("http://h:9090/api/v1/write", None), "http://h:9090/");
        assert_eq!(url("http://h:9090/api/v1/write", Some("http://other")), "http://other");
        let error = servers("h", None).prometheus_url().unwrap_err();
        assert!(error.to_string().contains("MIMIR_ENDPOINT") && error.to_string().contains("accepted"), "{error}");
    }
}
