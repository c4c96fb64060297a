//! `cargo xtask stack`: Loki, Tempo, Mimir, Grafana and what watches them, as `deploy/compose.yaml` says it.
//!
//! ```text
//! deploy/compose.yaml ── compose.rs ─┬─ docker.rs   docker compose
//! deploy/<service>/*.yaml            └─ plan.rs     the programs of the path: programs.rs; files for this machine: rewrite.rs
//!        │ effective.rs: overlays         └─ process.rs   child processes ── state.rs (target/stack/state.json)
//!        ▼                                                                      │
//!     stack config                       stack status ── status.rs, probe.rs ◀──┘
//! ```

pub(crate) mod compose;
mod docker;
pub(crate) mod effective;
mod folder;
mod metrics;
mod plan;
mod probe;
mod process;
pub(crate) mod programs;
mod queries;
pub(crate) mod rewrite;
mod state;
mod status;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};

use crate::servers::ServerOptions;
use crate::{cargo, shop};
pub(crate) use compose::Profile;
use docker::Docker;
use effective::Storage;
use plan::{Plan, Site};
use programs::Program;
pub(crate) use programs::on_path;
#[cfg(test)]
pub(crate) use state::Started;
pub(crate) use state::{Runtime, State};

/// The variable with the folder of the stack.
const FOLDER: &str = "LGTM_STACK_FOLDER";

/// What `stack` does.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    action: Action,
    /// Where logs, data and the state of the stack are. Defaults to the folder `stack` of cargo's target folder.
    #[arg(long, env = FOLDER, global = true, value_name = "FOLDER")]
    folder: Option<PathBuf>,
}

#[derive(Debug, Clone, clap::Subcommand)]
enum Action {
    /// Starts the services, waits until all are ready, and says where they are.
    Up(Up),
    /// Ends the services; their data stays.
    Down,
    /// Asks each service whether it is ready, and makes one write and one read through it.
    Status,
    /// Shows what the services have logged.
    Logs {
        /// Only this service.
        service: Option<String>,
        /// The newest lines of each.
        #[arg(long, default_value_t = 50)]
        lines: usize,
        /// Goes on with new lines until Ctrl-C; of one service.
        #[arg(long, requires = "service")]
        follow: bool,
    },
    /// Asks for every metric that a dashboard, a rule or a page names, and says which the stack has not got.
    Metrics {
        /// Prints all of them as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Asks the servers every query of dashboards, rules and pages, and says which they refuse.
    Queries,
    /// Ends the services and removes their data.
    Wipe,
    /// Prints the configuration of a service, or names those that have one.
    Config {
        /// The service.
        service: Option<String>,
        /// Where its data lies.
        #[arg(long, value_enum, default_value_t = Storage::Local)]
        storage: Storage,
    },
}

/// What `stack up` starts.
#[derive(Debug, Clone, clap::Args)]
struct Up {
    /// Which services.
    #[arg(long, value_enum, default_value_t = Profile::Full)]
    profile: Profile,
    /// What runs them. Defaults to Docker where there is an engine with its compose plugin, else the programs of the path.
    #[arg(long, value_enum)]
    runtime: Option<Runtime>,
    /// Services to leave out; only with --runtime process.
    #[arg(long, value_name = "SERVICE", value_delimiter = ',')]
    without: Vec<String>,
    /// Added to every port of this machine; only with --runtime process.
    #[arg(long, default_value_t = 0, value_name = "NUMBER", value_parser = clap::value_parser!(u16).range(0..=40_000))]
    port_offset: u16,
}

/// The state of the stack that runs, if any does.
///
/// # Errors
/// If its file cannot be read.
pub(crate) fn running() -> anyhow::Result<Option<State>> {
    State::read(&folder(None)?)
}

fn folder(given: Option<&Path>) -> anyhow::Result<PathBuf> {
    let chosen = given.map(Path::to_owned).or_else(|| std::env::var_os(FOLDER).map(PathBuf::from));
    let folder = match chosen {
        Some(folder) => folder,
        None => cargo::metadata()?.target_directory.join("stack").into(),
    };
    std::path::absolute(&folder).with_context(|| folder.display().to_string())
}

/// # Errors
/// If the action fails; with what a person can do about it.
pub(crate) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let deploy = cargo::metadata()?.workspace_root.join("deploy").into_std_path_buf();
    let folder = folder(options.folder.as_deref())?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("no tokio runtime")?;
    runtime.block_on(async {
        match &options.action {
            Action::Up(up) => self::up(&deploy, &folder, up).await.map(|()| ExitCode::SUCCESS),
            Action::Down => {
                if !down(&deploy, &folder).await? {
                    eprintln!("no stack runs in {}", folder.display());
                }
                Ok(ExitCode::SUCCESS)
            }
            Action::Status => {
                let state = started(&folder)?;
                let well = status::show(&deploy, &folder, &state).await?;
                Ok(if well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
            }
            Action::Logs { service, lines, follow } => {
                logs(&deploy, &folder, service.as_deref(), *lines, *follow).await
            }
            Action::Metrics { json } => {
                let well = metrics::show(&started(&folder)?, *json).await?;
                Ok(if well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
            }
            Action::Queries => {
                let well = queries::ask(&started(&folder)?).await?;
                Ok(if well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
            }
            Action::Wipe => wipe(&deploy, &folder).await.map(|()| ExitCode::SUCCESS),
            Action::Config { service, storage } => {
                config(&deploy, service.as_deref(), *storage).map(|()| ExitCode::SUCCESS)
            }
        }
    })
}

fn started(folder: &Path) -> anyhow::Result<State> {
    State::read(folder)?
        .with_context(|| format!("no stack runs in {}; start one with `cargo xtask stack up`", folder.display()))
}

async fn up(deploy: &Path, folder: &Path, up: &Up) -> anyhow::Result<()> {
    let there_is_docker = up.runtime != Some(Runtime::Process) && docker::is_there();
    let runtime = up.runtime.unwrap_or(if there_is_docker { Runtime::Docker } else { Runtime::Process });
    let _lock = folder::claim(folder, runtime)?;
    effective::make_password(deploy)?;
    let fresh = State {
        runtime,
        profile: up.profile,
        services: Vec::new(),
        missing: Vec::new(),
        prometheus_for_mimir: false,
        port_offset: up.port_offset,
        without: up.without.clone(),
    };
    let mut state = match State::read(folder)? {
        Some(state) if state.is_of(&fresh) => state,
        Some(state) if state.runtime == Runtime::Docker || state.ended().len() < state.services.len() => {
            bail!(
                "another stack runs already in {}: runtime {}, profile {}, ports {} higher; end it with `cargo xtask stack down`",
                folder.display(),
                state.runtime.name(),
                state.profile.name(),
                state.port_offset
            );
        }
        _ => fresh,
    };
    match runtime {
        Runtime::Docker => {
            if !there_is_docker {
                bail!(
                    "there is no Docker engine with the compose plugin; accepted: --runtime process, which runs the programs of the path"
                );
            }
            if !up.without.is_empty() || up.port_offset != 0 {
                bail!("--without and --port-offset are for --runtime process");
            }
            up_docker(deploy, folder, &mut state).await?;
        }
        Runtime::Process => up_processes(deploy, folder, &mut state).await?,
    }
    addresses(&state);
    Ok(())
}

/// Compose starts what does not run, and leaves the rest alone.
async fn up_docker(deploy: &Path, folder: &Path, state: &mut State) -> anyhow::Result<()> {
    let ran_before = !state.services.is_empty();
    state.services = docker::services(deploy, state.profile)?;
    state.write(folder)?;
    let docker = Docker::new(deploy, folder, state.profile)?;
    let outcome = docker.up(&state.services).await;
    if outcome.is_err() && !ran_before {
        eprintln!("ending what was started");
        match docker.run(&["down"]) {
            Ok(()) => State::remove(folder)?,
            // What went wrong first is what a person must know.
            Err(second) => eprintln!("it cannot be ended: {second:#}"),
        }
    }
    outcome
}

/// Starts what does not run, and leaves the rest alone.
async fn up_processes(deploy: &Path, folder: &Path, state: &mut State) -> anyhow::Result<()> {
    let without: BTreeSet<String> = state.without.iter().cloned().collect();
    if let Some(unknown) = without.iter().find(|name| Program::of(name).is_none()) {
        let known: Vec<&str> = programs::PROGRAMS.iter().map(|program| program.service).collect();
        bail!("--without {unknown}: there is no such service; accepted: {}", known.join(", "));
    }
    let wants_shop = ["storefront", "inventory", "alerts"].iter().any(|name| !without.contains(*name));
    let shop = if wants_shop { Some(shop::build().await?) } else { None };
    let site = Site {
        deploy,
        folder,
        profile: state.profile,
        port_offset: state.port_offset,
        without: &without,
        shop: shop.as_deref(),
    };
    let mut plan = Plan::make(&site)?;
    let ended = state.ended();
    state.services.retain(|started| !ended.contains(&started.service));
    let running: BTreeSet<String> = state.services.iter().map(|started| started.service.clone()).collect();
    plan.services.retain(|planned| !running.contains(planned.program.service));
    if !running.is_empty() {
        let names: Vec<&str> = plan.services.iter().map(|planned| planned.program.service).collect();
        let again = if names.is_empty() { "nothing has to be started".to_owned() } else { names.join(", ") };
        eprintln!("the stack runs already; started again: {again}");
    }
    state.prometheus_for_mimir = plan.prometheus_for_mimir;
    state.missing = plan.missing.iter().map(|program| program.service.to_owned()).collect();
    for program in &plan.missing {
        eprintln!(
            "  {} does not start: {} is not on the path; get it: {}",
            program.service,
            program.names.join(" or "),
            program.install
        );
    }
    plan.notes.iter().for_each(|note| eprintln!("  {note}"));
    if plan.services.is_empty() && running.is_empty() {
        bail!("none of the programs is on the path");
    }
    let outcome = tokio::select! {
        outcome = process::up(&plan, folder, state) => outcome,
        _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("interrupted")),
    };
    if outcome.is_err() {
        eprintln!("ending what was started");
        let is_new = |started: &state::Started| !running.contains(&started.service);
        match process::down(state.services.iter().filter(|started| is_new(started))).await {
            Ok(()) if running.is_empty() => State::remove(folder)?,
            Ok(()) => {
                state.services.retain(|started| !is_new(started));
                state.write(folder)?;
            }
            // What went wrong first is what a person must know.
            Err(second) => eprintln!("not all of it has ended: {second:#}"),
        }
    }
    outcome
}

fn addresses(state: &State) {
    outputln!("The stack is up, profile {}:", state.profile.name());
    for started in &state.services {
        if let Some(opened) = Program::of(&started.service).and_then(|program| program.opened) {
            outputln!("  {:13} {}  {opened}", started.service, started.url);
        }
    }
    if state.service("tempo").is_some() {
        outputln!("  {:13} {}  traces, OTLP over gRPC", "", ServerOptions::of_stack(state).tempo_endpoint);
    }
    outputln!("Next: cargo xtask demo --against stack; cargo xtask stack status; cargo xtask stack down");
}

/// Ends the stack of `folder`; `false` if there is none.
async fn down(deploy: &Path, folder: &Path) -> anyhow::Result<bool> {
    let Some(_lock) = folder::lock(folder)? else { return Ok(false) };
    let Some(state) = State::read(folder)? else { return Ok(false) };
    match state.runtime {
        // All services, also those of a profile that ran before.
        Runtime::Docker => Docker::new(deploy, folder, Profile::Full)?.run(&["down"])?,
        Runtime::Process => process::down(state.services.iter()).await?,
    }
    State::remove(folder)?;
    Ok(true)
}

async fn wipe(deploy: &Path, folder: &Path) -> anyhow::Result<()> {
    let Some(_lock) = folder::lock(folder)? else {
        bail!("{} is no folder of a stack: nothing is removed", folder.display());
    };
    if let Some(state) = State::read(folder)?
        && state.runtime == Runtime::Process
    {
        process::down(state.services.iter()).await?;
    }
    if folder::has_run(folder, Runtime::Docker) {
        // Volumes of services outside the profile would stay.
        Docker::new(deploy, folder, Profile::Full)?.run(&["down", "--volumes"])?;
    }
    State::remove(folder)?;
    folder::remove_parts(folder)?;
    eprintln!("the data of the stack in {} is gone", folder.display());
    Ok(())
}

async fn logs(
    deploy: &Path,
    folder: &Path,
    service: Option<&str>,
    lines: usize,
    follow: bool,
) -> anyhow::Result<ExitCode> {
    let state = started(folder)?;
    if let Some(name) = service
        && state.service(name).is_none()
        && state.runtime == Runtime::Process
    {
        let known: Vec<&str> = state.services.iter().map(|started| started.service.as_str()).collect();
        bail!("`{name}` does not run; accepted: {}", known.join(", "));
    }
    if state.runtime == Runtime::Docker {
        let lines = lines.to_string();
        let mut arguments = vec!["logs", "--tail", &lines];
        arguments.extend(follow.then_some("--follow"));
        arguments.extend(service);
        Docker::new(deploy, folder, state.profile)?.run(&arguments)?;
        return Ok(ExitCode::SUCCESS);
    }
    let chosen = state.services.iter().filter(|started| service.is_none_or(|name| started.service == name));
    for (started, process) in chosen.filter_map(|started| Some((started, started.process.as_ref()?))) {
        if service.is_none() {
            outputln!("== {} ({})", started.service, process.log.display());
        }
        process.last_lines(lines).iter().for_each(|line| outputln!("{line}"));
        if follow {
            follow_file(&process.log).await?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints what is added to a file, until Ctrl-C.
async fn follow_file(path: &Path) -> anyhow::Result<()> {
    use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
    let mut file = fs::File::open(path).with_context(|| path.display().to_string())?;
    file.seek(SeekFrom::End(0))?;
    let mut output = std::io::stdout();
    loop {
        let mut added = Vec::new();
        file.read_to_end(&mut added)?;
        output.write_all(&added)?;
        output.flush()?;
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(300)) => {}
            _ = tokio::signal::ctrl_c() => return Ok(()),
        }
    }
}

fn config(deploy: &Path, service: Option<&str>, storage: Storage) -> anyhow::Result<()> {
    match service {
        None => outputln!("{}", effective::with_configuration(deploy).join("\n")),
        Some(service) => output!("{}", serde_yaml_ng::to_string(&effective::document(deploy, service, storage)?)?),
    }
    Ok(())
}
