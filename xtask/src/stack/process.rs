//! The stack without Docker: the programs of the path as child processes, whose logs and data are in the stack's folder. They
//! outlive this command; `state.json` is how the next one finds them.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use tokio::time::{Instant, sleep};

use super::plan::{Plan, Planned};
use super::probe;
use super::state::{Process, Started, State, last_lines};
use crate::shop;

/// How long all services may take to be ready. Loki takes 20 s and more.
const READY_DEADLINE: Duration = Duration::from_secs(180);
/// How long a service may take to end. Loki and Tempo write what they hold within seconds; Tempo then waits for its own connections,
/// without an end. Docker gives 10 s.
const STOP_DEADLINE: Duration = Duration::from_secs(20);
/// How often is looked.
const INTERVAL: Duration = Duration::from_millis(250);
/// The lines of a log that are shown of a service that failed.
const LAST_LINES: usize = 15;

/// Starts everything of the plan and waits until it is ready. What has been started is in `state`, and in the folder, also after an
/// error.
///
/// # Errors
/// If a port is taken, a program cannot be started, ends, or is not ready in time; with the last lines of its log.
pub(super) async fn up(plan: &Plan, folder: &Path, state: &mut State) -> anyhow::Result<()> {
    refuse_taken_ports(plan)?;
    let logs = folder.join("logs");
    fs::create_dir_all(&logs).with_context(|| logs.display().to_string())?;
    let mut children = Vec::new();
    for planned in &plan.services {
        let name = planned.program.service;
        let (child, process) = start(planned, &logs).with_context(|| format!("{name} cannot be started"))?;
        let url = format!("http://127.0.0.1:{}", planned.port);
        let ready = format!("{url}{}", planned.program.ready.1);
        state.services.push(Started { service: name.to_owned(), url, ready, process: Some(process) });
        state.write(folder)?;
        children.push((name, child));
    }
    wait_until_ready(state, children).await
}

fn refuse_taken_ports(plan: &Plan) -> anyhow::Result<()> {
    for planned in &plan.services {
        for port in planned.ports.iter().chain([&planned.port]) {
            TcpListener::bind(("127.0.0.1", *port)).with_context(|| {
                format!(
                    "the port {port}, which {} needs, is taken; end what listens there, or move the stack with --port-offset",
                    planned.program.service
                )
            })?;
        }
    }
    Ok(())
}

fn start(planned: &Planned, logs: &Path) -> anyhow::Result<(Child, Process)> {
    let path = logs.join(format!("{}.log", planned.program.service));
    let log = File::create(&path).with_context(|| path.display().to_string())?;
    let mut command = Command::new(&planned.file);
    for inherited in shop::not_inherited() {
        command.env_remove(inherited);
    }
    command
        .args(&planned.arguments)
        .envs(&planned.environment)
        .current_dir(&planned.folder)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log);
    // Ctrl-C is for this command; the services go on, or are ended by it in order.
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let mut child = command.spawn().with_context(|| planned.file.display().to_string())?;
    let Some(process) = Process::of(child.id(), path.clone()) else {
        let status = child.wait()?;
        return Err(with_last_lines(&format!("it ended at once: {status}"), &path));
    };
    Ok((child, process))
}

async fn wait_until_ready(state: &State, mut children: Vec<(&'static str, Child)>) -> anyhow::Result<()> {
    let http = probe::client()?;
    let started = Instant::now();
    let mut waiting: Vec<&Started> = state.services.iter().collect();
    while !waiting.is_empty() {
        for (name, child) in &mut children {
            if let Some(status) = child.try_wait()? {
                return Err(failed(state, name, &format!("{name} ended: {status}")));
            }
        }
        let mut unready = Vec::new();
        for started_service in waiting {
            if probe::is_ready(&http, &started_service.ready).await.is_ok() {
                eprintln!("  {} is ready after {:.0} s", started_service.service, started.elapsed().as_secs_f64());
            } else {
                unready.push(started_service);
            }
        }
        waiting = unready;
        if started.elapsed() > READY_DEADLINE
            && let Some(late) = waiting.first()
        {
            let what = format!("{} is not ready after {READY_DEADLINE:?} ({})", late.service, late.ready);
            return Err(failed(state, &late.service, &what));
        }
        if !waiting.is_empty() {
            sleep(INTERVAL).await;
        }
    }
    Ok(())
}

fn failed(state: &State, service: &str, what: &str) -> anyhow::Error {
    let process = state.service(service).and_then(|started| started.process.as_ref());
    process.map_or_else(|| anyhow!(what.to_owned()), |process| with_last_lines(what, &process.log))
}

fn with_last_lines(what: &str, log: &Path) -> anyhow::Error {
    anyhow!("{what}; the last lines of {}:\n  {}", log.display(), last_lines(log, LAST_LINES).join("\n  "))
}

/// Ends services: by SIGTERM, and what has not ended in time, or at Ctrl-C, by SIGKILL.
///
/// # Errors
/// If one still runs after that.
pub(super) async fn down(services: impl Iterator<Item = &Started>) -> anyhow::Result<()> {
    let processes = services.filter_map(|started| Some((started, started.process.as_ref()?)));
    let (ran, ended): (Vec<_>, Vec<_>) = processes.partition(|(_, process)| process.runs());
    ended.iter().for_each(|(started, _)| eprintln!("  {} had ended before", started.service));
    for (_, process) in &ran {
        process.end(false);
    }
    let deadline = Instant::now() + STOP_DEADLINE;
    let mut pressed = std::pin::pin!(tokio::signal::ctrl_c());
    let mut at_once = false;
    for (started, process) in ran {
        while process.runs() && Instant::now() < deadline && !at_once {
            tokio::select! {
                () = sleep(INTERVAL) => {}
                _ = &mut pressed => {
                    eprintln!("  not waiting any longer");
                    at_once = true;
                }
            }
        }
        if process.runs() {
            eprintln!("  {} has not ended yet and is killed", started.service);
            process.end(true);
            sleep(INTERVAL * 4).await;
        }
        if process.runs() {
            bail!("{} (process {}) cannot be ended", started.service, process.id);
        }
        eprintln!("  {} has ended", started.service);
    }
    Ok(())
}
