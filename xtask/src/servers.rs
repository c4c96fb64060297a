//! Where telemetry is sent and where it is read back: the development stack's addresses, or those of real servers from options and
//! the environment variables that lgtm has too.

use std::time::Duration;

use anyhow::Context as _;
use lgtm_devstack::Devstack;
use lgtm_query::{Client, Loki, Prometheus, Tempo};
use serde::Serialize;
use url::Url;

use crate::access::{self, Access};
use crate::stack::{self, State};

/// A signal that is not sent.
pub(crate) const OFF: &str = "off";
const USUAL_LOKI: &str = "http://localhost:3100";
const USUAL_MIMIR: &str = "http://localhost:9009";
/// The longest that one query may take.
const QUERY_TIMEOUT: Duration = Duration::from_secs(20);

/// The addresses of servers. What is not given is that of the stack that `cargo xtask stack up` has started, else the usual one.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(
    next_help_heading = "Servers; the defaults are those of the running stack, else the usual ports of this machine"
)]
pub(crate) struct ServerOptions {
    /// Loki, to push to and to read from.
    #[arg(long, env = "LOKI_URL", value_name = "URL")]
    loki_url: Option<String>,
    /// Tempo's OTLP receiver.
    #[arg(long, env = "TEMPO_ENDPOINT", value_name = "URL")]
    tempo_endpoint: Option<String>,
    /// Tempo's query API.
    #[arg(long, env = "LGTM_TEMPO_URL", value_name = "URL")]
    tempo_url: Option<String>,
    /// Remote write of Mimir; for Prometheus with the path /api/v1/write.
    #[arg(long, env = "MIMIR_ENDPOINT", value_name = "URL")]
    mimir_endpoint: Option<String>,
    /// The query API of Mimir or Prometheus. Defaults to the host of --mimir-endpoint, with Mimir's prefix /prometheus unless the
    /// path is Prometheus' /api/v1/write.
    #[arg(long, env = "LGTM_PROMETHEUS_URL", value_name = "URL")]
    prometheus_url: Option<String>,
    /// The tenant of all servers. Defaults to LGTM_TENANT, or LGTM_LOKI_TENANT and its like.
    #[arg(long)]
    tenant: Option<String>,
}

/// The addresses of real servers.
#[derive(Debug, Clone)]
pub(crate) struct Servers {
    pub(crate) loki_url: String,
    pub(crate) tempo_endpoint: String,
    pub(crate) tempo_url: String,
    pub(crate) mimir_endpoint: String,
    prometheus_url: Option<String>,
    tenant: Option<String>,
}

impl ServerOptions {
    /// What was given, else what the running stack has, else the usual addresses.
    ///
    /// # Errors
    /// If the running stack's state cannot be read.
    pub(crate) fn servers(&self) -> anyhow::Result<Servers> {
        Ok(self.over(stack::running()?.as_ref()))
    }

    /// The stack `state` alone, whatever the environment says; what does not run in it is off.
    pub(crate) fn of_stack(state: &State) -> Servers {
        let servers = Self::default().over(Some(state));
        let on = |service: &str, url: String| if state.service(service).is_some() { url } else { OFF.to_owned() };
        let metrics = if state.prometheus_for_mimir { "prometheus" } else { "mimir" };
        Servers {
            loki_url: on("loki", servers.loki_url),
            tempo_endpoint: on("tempo", servers.tempo_endpoint),
            mimir_endpoint: on(metrics, servers.mimir_endpoint),
            ..servers
        }
    }

    /// Whether somebody has said where metrics are pushed.
    pub(crate) fn say_where_metrics_go(&self) -> bool {
        self.mimir_endpoint.as_ref().is_some_and(|url| !url.is_empty())
    }

    fn over(&self, state: Option<&State>) -> Servers {
        let of_stack = |service: &str| Some(state?.service(service)?.url.clone());
        let tempo = of_stack("tempo");
        // The receiver's port is as far from the API's as in the configuration.
        let receiver = tempo.as_ref().and_then(|url| {
            let mut url = Url::parse(url).ok()?;
            url.set_port(url.port().map(|port| port + (4317 - 3200))).ok()?;
            Some(url.as_str().trim_end_matches('/').to_owned())
        });
        let metrics = match state {
            Some(state) if state.prometheus_for_mimir => {
                of_stack("prometheus").map(|url| format!("{url}/api/v1/write"))
            }
            _ => of_stack("mimir"),
        };
        let or = |given: &Option<String>, of_stack: Option<String>, usual: &str| {
            // An empty variable counts as unset, as for lgtm.
            let given = given.clone().filter(|given| !given.is_empty());
            given.or(of_stack).unwrap_or_else(|| usual.to_owned())
        };
        Servers {
            loki_url: or(&self.loki_url, of_stack("loki"), USUAL_LOKI),
            tempo_endpoint: or(&self.tempo_endpoint, receiver, "http://localhost:4317"),
            tempo_url: or(&self.tempo_url, tempo, "http://localhost:3200"),
            mimir_endpoint: or(&self.mimir_endpoint, metrics, USUAL_MIMIR),
            prometheus_url: self.prometheus_url.clone().filter(|url| !url.is_empty()),
            tenant: self.tenant.clone(),
        }
    }
}

/// Where the programs send, as lgtm's variables.
#[derive(Debug, Clone)]
pub(crate) struct Ingest {
    variables: Vec<(String, String)>,
}

impl Ingest {
    fn new<const N: usize>(variables: [(&str, String); N]) -> Self {
        Self { variables: variables.into_iter().map(|(name, value)| (name.to_owned(), value)).collect() }
    }

    pub(crate) fn variables(&self) -> impl Iterator<Item = (&str, &str)> {
        self.variables.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

/// Where the proof is read.
#[derive(Debug, Clone)]
pub(crate) struct Readers {
    pub(crate) loki: Loki,
    pub(crate) tempo: Tempo,
    pub(crate) prometheus: Prometheus,
}

/// The addresses as a person or program is told.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Addresses {
    pub(crate) loki: String,
    pub(crate) tempo_ingest: String,
    pub(crate) tempo: String,
    pub(crate) metrics_ingest: String,
    pub(crate) metrics: String,
}

impl Servers {
    /// For a stack of this machine: no credentials of the environment leave it, and its receiver speaks gRPC on any port.
    pub(crate) fn ingest_of_stack(&self) -> Ingest {
        Ingest::new([
            ("LOKI_URL", self.loki_url.clone()),
            ("TEMPO_ENDPOINT", self.tempo_endpoint.clone()),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc".to_owned()),
            ("MIMIR_ENDPOINT", self.mimir_endpoint.clone()),
        ])
    }

    pub(crate) fn ingest(&self) -> Ingest {
        let mut ingest = Ingest::new([
            ("LOKI_URL", self.loki_url.clone()),
            ("TEMPO_ENDPOINT", self.tempo_endpoint.clone()),
            ("MIMIR_ENDPOINT", self.mimir_endpoint.clone()),
        ]);
        ingest.variables.extend(access::variables());
        ingest.variables.extend(self.tenant.clone().map(|tenant| ("LGTM_TENANT".to_owned(), tenant)));
        ingest
    }

    /// Where lgtm sends to, for programs that are set up in code; `signal` is LOKI, TEMPO or MIMIR.
    ///
    /// # Errors
    /// If it is no URL, or a file of the credentials cannot be read.
    pub(crate) fn endpoint(&self, signal: &str, url: &str) -> anyhow::Result<lgtm::Endpoint> {
        let access = Access::from_environment(signal, url)?;
        Ok(access.endpoint(lgtm::Endpoint::parse(url)?, self.tenant.as_deref()))
    }

    /// # Errors
    /// If an address cannot be used, or a file of the credentials cannot be read.
    pub(crate) fn readers(&self) -> anyhow::Result<Readers> {
        let client = |signal: &str, url: &str| {
            let builder = Client::builder(url).timeout(QUERY_TIMEOUT);
            let access = Access::from_environment(signal, url)?;
            anyhow::Ok(access.client(builder, self.tenant.as_deref())?.build()?)
        };
        // What is off is not asked, but an address it must have.
        let on = |url: &'_ str, usual: &str| if url == OFF { usual.to_owned() } else { url.to_owned() };
        Ok(Readers {
            loki: Loki::new(client("LOKI", &on(&self.loki_url, USUAL_LOKI))?),
            tempo: Tempo::new(client("TEMPO", &self.tempo_url)?),
            prometheus: Prometheus::new(client("MIMIR", &self.prometheus_url()?)?),
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
        let endpoint = if self.mimir_endpoint == OFF { USUAL_MIMIR } else { &self.mimir_endpoint };
        let mut url = Url::parse(endpoint).with_context(refused)?;
        url.set_path(if url.path().ends_with("/api/v1/write") { "" } else { "/prometheus" });
        Ok(url.to_string())
    }

    /// # Errors
    /// As [`Servers::readers`].
    pub(crate) fn addresses(&self) -> anyhow::Result<Addresses> {
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
pub(crate) fn devstack_ingest(stack: &Devstack) -> Ingest {
    Ingest::new([
        ("LOKI_URL", stack.loki_url()),
        ("TEMPO_ENDPOINT", stack.otlp_grpc_url()),
        // A moved port says nothing about the protocol.
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc".to_owned()),
        ("MIMIR_ENDPOINT", stack.mimir_url()),
    ])
}

/// Where the development stack is read.
///
/// # Errors
/// None in practice: its addresses are URLs.
pub(crate) fn devstack_readers(stack: &Devstack) -> anyhow::Result<Readers> {
    let client = |url: String| Client::builder(url).timeout(QUERY_TIMEOUT).build();
    Ok(Readers {
        loki: Loki::new(client(stack.loki_url())?),
        tempo: Tempo::new(client(stack.tempo_url())?),
        prometheus: Prometheus::new(client(format!("{}/prometheus", stack.mimir_url()))?),
    })
}

pub(crate) fn devstack_addresses(stack: &Devstack) -> Addresses {
    Addresses {
        loki: stack.loki_url(),
        tempo_ingest: stack.otlp_grpc_url(),
        tempo: stack.tempo_url(),
        metrics_ingest: stack.mimir_url(),
        metrics: format!("{}/prometheus", stack.mimir_url()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_read_where_they_are_written() {
        let url = |mimir: &str, prometheus: Option<&str>| {
            let options = ServerOptions {
                mimir_endpoint: Some(mimir.to_owned()),
                prometheus_url: prometheus.map(str::to_owned),
                ..ServerOptions::default()
            };
            options.over(None).prometheus_url()
        };
        assert_eq!(url("http://localhost:9009", None).unwrap(), "http://localhost:9009/prometheus");
        assert_eq!(url("http://h:9009/api/v1/push", None).unwrap(), "http://h:9009/prometheus");
        assert_eq!(url("http://h:9090/api/v1/write", None).unwrap(), "http://h:9090/");
        assert_eq!(url("http://h:9090/api/v1/write", Some("http://other")).unwrap(), "http://other");
        let error = url("h", None).unwrap_err();
        assert!(error.to_string().contains("MIMIR_ENDPOINT") && error.to_string().contains("accepted"), "{error}");
    }

    #[test]
    fn what_is_not_given_is_that_of_the_running_stack() {
        let started = |service: &str, port: u16| stack::Started {
            service: service.to_owned(),
            url: format!("http://127.0.0.1:{port}"),
            ready: String::new(),
            process: None,
        };
        let state = State {
            runtime: stack::Runtime::Process,
            profile: stack::Profile::Full,
            services: vec![started("loki", 13100), started("tempo", 13200), started("prometheus", 19091)],
            missing: vec!["mimir".to_owned()],
            prometheus_for_mimir: true,
            port_offset: 0,
            without: Vec::new(),
        };
        let options = ServerOptions { loki_url: Some("http://other".to_owned()), ..ServerOptions::default() };
        let servers = options.over(Some(&state));
        assert_eq!(servers.loki_url, "http://other");
        assert_eq!(servers.tempo_endpoint, "http://127.0.0.1:14317");
        assert_eq!(servers.tempo_url, "http://127.0.0.1:13200");
        assert_eq!(servers.mimir_endpoint, "http://127.0.0.1:19091/api/v1/write");
        assert_eq!(servers.prometheus_url().unwrap(), "http://127.0.0.1:19091/");
    }
}
