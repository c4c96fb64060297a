//! `stack status`: each service's own word that it is ready, and one write and one read through it.

use std::path::Path;
use std::time::Duration;

use reqwest::Client;

use super::docker::{Container, Docker};
use super::effective;
use super::probe;
use super::programs::Program;
use super::state::{Runtime, Started, State};
use crate::servers::{Readers, ServerOptions};
use crate::table::Table;
use crate::trip::Trip;

/// How long what was written may take to be read. Tempo shows a trace by its id at once.
const PATIENCE: Duration = Duration::from_secs(15);

/// Asks everything, and prints a table. Gives whether all is well.
///
/// # Errors
/// If the stack's own files cannot be read.
pub(super) async fn show(deploy: &Path, folder: &Path, state: &State) -> anyhow::Result<bool> {
    let http = probe::client()?;
    let containers = match state.runtime {
        Runtime::Docker => Docker::new(deploy, folder, state.profile)?.services(),
        Runtime::Process => Vec::new(),
    };
    let servers = ServerOptions::of_stack(state);
    let readers = servers.readers()?;
    let trip = Trip::write_alone(&servers.ingest_of_stack()).await;
    let mut table = Table::new(["service", "runs", "ready", "write and read", "address"]);
    let mut well = true;
    for started in &state.services {
        let runs = match &started.process {
            None => {
                let container = containers.iter().find(|container| container.service == started.service);
                well &= container.is_some_and(Container::is_well);
                container.map_or_else(|| "no: there is no container".to_owned(), Container::said)
            }
            Some(process) if process.runs() => format!("process {}", process.id),
            Some(process) => {
                well = false;
                let last = process.last_lines(1).join("");
                let row = [
                    started.service.clone(),
                    format!("no: process {} has ended", process.id),
                    "-".to_owned(),
                    format!("its last words: {}", cut(&last)),
                    started.url.clone(),
                ];
                table.row(row);
                continue;
            }
        };
        let ready = probe::is_ready(&http, &started.ready).await;
        let used = use_once(&http, deploy, state, started, &trip, &readers).await;
        well &= ready.is_ok() && used.is_ok();
        let ready = ready.map_or_else(|error| format!("no: {}", cut(&format!("{error:#}"))), |()| "yes".to_owned());
        let used = used.unwrap_or_else(|error| format!("no: {}", cut(&format!("{error:#}"))));
        table.row([started.service.clone(), runs, ready, used, started.url.clone()]);
    }
    // What publishes no port cannot be asked from here: its own health check speaks for it.
    for container in containers.iter().filter(|container| state.service(&container.service).is_none()) {
        well &= container.is_well();
        let ready = if container.is_well() { "yes" } else { "no" };
        let row = [container.service.clone(), container.said(), ready.to_owned(), "-".to_owned(), "-".to_owned()];
        table.row(row);
    }
    for name in &state.missing {
        let install = Program::of(name).map_or("", |program| program.install);
        let row =
            [name.clone(), "not installed".to_owned(), "-".to_owned(), format!("get it: {install}"), "-".to_owned()];
        table.row(row);
    }
    output!("{table}");
    if state.prometheus_for_mimir {
        outputln!("Prometheus receives what is meant for Mimir.");
    }
    Ok(well)
}

/// One write and one read.
async fn use_once(
    http: &Client,
    deploy: &Path,
    state: &State,
    started: &Started,
    trip: &anyhow::Result<Trip>,
    readers: &Readers,
) -> anyhow::Result<String> {
    let trip = || trip.as_ref().map_err(|error| anyhow::anyhow!("nothing could be written: {error:#}"));
    match started.service.as_str() {
        "loki" => {
            trip()?.delivered("logs")?;
            trip()?.log_and_its_trace(readers, PATIENCE).await
        }
        "tempo" => {
            trip()?.delivered("traces")?;
            trip()?.trace(readers, PATIENCE).await
        }
        "mimir" => metrics(trip()?, readers).await,
        "prometheus" if state.prometheus_for_mimir => metrics(trip()?, readers).await,
        "prometheus" => probe::prometheus(http, &started.url).await,
        "alertmanager" => probe::alertmanager(http, &started.url, "lgtm-check").await,
        "node-exporter" => probe::node_exporter(http, &started.url).await,
        "grafana" => {
            let variables = effective::password_variables(deploy);
            let password = variables.get("GRAFANA_ADMIN_PASSWORD").map_or("", String::as_str);
            probe::grafana(http, &started.url, password).await
        }
        service => probe::shop(http, service, &started.url).await,
    }
}

async fn metrics(trip: &Trip, readers: &Readers) -> anyhow::Result<String> {
    trip.delivered("metrics")?;
    let sample = trip.sample(readers, PATIENCE).await?;
    let exemplar = trip.exemplar(readers, PATIENCE).await?;
    Ok(format!("{sample}, {exemplar}"))
}

/// The beginning of a long text, on one line.
fn cut(text: &str) -> String {
    const LONGEST: usize = 160;
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= LONGEST { line } else { line.chars().take(LONGEST).chain(['…']).collect() }
}
