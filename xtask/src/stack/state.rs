//! What runs, as `stack up` leaves it behind in `state.json` for `down`, `status`, `logs`, and for the commands that talk to the stack.

use std::fs;
use std::io::{ErrorKind, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use super::compose::Profile;

/// A stack that was started and not yet ended.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct State {
    pub(crate) runtime: Runtime,
    pub(crate) profile: Profile,
    pub(crate) services: Vec<Started>,
    /// Services of the profile that did not start because their program is not there.
    pub(crate) missing: Vec<String>,
    /// Whether Prometheus receives what is meant for Mimir.
    pub(crate) prometheus_for_mimir: bool,
    /// What is added to every port.
    pub(crate) port_offset: u16,
    /// Services that were to be left out.
    pub(crate) without: Vec<String>,
}

/// What runs the services.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Runtime {
    /// Docker, through its compose plugin.
    Docker,
    /// The programs of the path, as child processes.
    Process,
}

impl Runtime {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Process => "process",
        }
    }
}

/// A service that was started.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Started {
    pub(crate) service: String,
    /// `http://127.0.0.1:<port>`, where it answers.
    pub(crate) url: String,
    /// What answers 200 when it is ready.
    pub(crate) ready: String,
    /// Its process; none where Docker has it.
    pub(crate) process: Option<Process>,
}

/// A process that was started.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Process {
    pub(crate) id: u32,
    /// When it started, in the system's own form. A process of this number with another start is another process.
    pub(crate) started: String,
    pub(crate) log: PathBuf,
}

impl State {
    const FILE: &'static str = "state.json";

    /// The stack of `folder`, if there is one.
    ///
    /// # Errors
    /// If the file is there and cannot be read.
    pub(crate) fn read(folder: &Path) -> anyhow::Result<Option<Self>> {
        let path = folder.join(Self::FILE);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("{} cannot be read", path.display())),
        };
        let remedy =
            || format!("{} is not what `stack up` writes; end the services yourself and remove it", path.display());
        serde_json::from_str(&text).with_context(remedy).map(Some)
    }

    /// # Errors
    /// If the file cannot be written.
    pub(crate) fn write(&self, folder: &Path) -> anyhow::Result<()> {
        let path = folder.join(Self::FILE);
        // Never half a file: whoever loses it loses the processes.
        let fresh = folder.join("state.json.new");
        fs::write(&fresh, serde_json::to_string_pretty(self)?)
            .and_then(|()| fs::rename(&fresh, &path))
            .with_context(|| format!("{} cannot be written", path.display()))
    }

    /// # Errors
    /// If the file is there and cannot be removed.
    pub(crate) fn remove(folder: &Path) -> anyhow::Result<()> {
        let path = folder.join(Self::FILE);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(error).with_context(|| format!("{} cannot be removed", path.display()))
            }
            _ => Ok(()),
        }
    }

    /// Whether it was started as `other` is to be.
    pub(crate) fn is_of(&self, other: &Self) -> bool {
        let what = |state: &Self| (state.runtime, state.profile, state.port_offset, state.without.clone());
        what(self) == what(other)
    }

    /// The names of the services whose process has ended.
    pub(crate) fn ended(&self) -> Vec<String> {
        let ended = self.services.iter().filter(|started| started.process.as_ref().is_some_and(|it| !it.runs()));
        ended.map(|started| started.service.clone()).collect()
    }

    pub(crate) fn service(&self, name: &str) -> Option<&Started> {
        self.services.iter().find(|started| started.service == name)
    }
}

impl Process {
    /// Remembers a process that runs.
    pub(crate) fn of(id: u32, log: PathBuf) -> Option<Self> {
        Some(Self { id, started: start_of(id)?, log })
    }

    /// Whether it still runs: it, and not another of the same number.
    pub(crate) fn runs(&self) -> bool {
        start_of(self.id).as_ref() == Some(&self.started)
    }

    /// SIGTERM, or SIGKILL with `force`; nothing if it has ended.
    pub(crate) fn end(&self, force: bool) {
        if !self.runs() {
            return;
        }
        #[cfg(unix)]
        if let Some(process) = i32::try_from(self.id).ok().and_then(rustix::process::Pid::from_raw) {
            use rustix::process::Signal;
            // It fails only where the process has just ended.
            let _ = rustix::process::kill_process(process, if force { Signal::KILL } else { Signal::TERM });
        }
        #[cfg(not(unix))]
        {
            let _ = force;
            let id = sysinfo::Pid::from_u32(self.id);
            if let Ok(mut system) = sysinfo::System::new() {
                system.refresh_processes(sysinfo::ProcessesToUpdate::Some(&[id]), true);
                system.process(id).map(sysinfo::Process::kill);
            }
        }
    }

    /// The last lines of its log.
    pub(crate) fn last_lines(&self, count: usize) -> Vec<String> {
        last_lines(&self.log, count)
    }
}

/// The newest lines of a log, looked for in its last megabyte; none if it cannot be read.
pub(super) fn last_lines(log: &Path, count: usize) -> Vec<String> {
    const LOOK_BACK_BYTES: u64 = 1 << 20;
    let read = || {
        let mut file = fs::File::open(log)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(LOOK_BACK_BYTES)))?;
        let mut text = Vec::new();
        file.read_to_end(&mut text).map(|_| text)
    };
    let text: Vec<u8> = read().unwrap_or_else(|_: std::io::Error| Vec::new());
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines.iter().skip(lines.len().saturating_sub(count)).map(|line| (*line).to_owned()).collect()
}

/// When a process started; `None` if it does not run. On Linux in ticks since the boot, with the boot: a time of day would change
/// with the clock.
#[cfg(target_os = "linux")]
fn start_of(id: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // The name stands in parentheses and may hold anything.
    let (_, fields) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let (state, start) = (fields.first()?, fields.get(19)?);
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    (!matches!(*state, "Z" | "X")).then(|| format!("{start} of {}", boot.trim()))
}

/// When a process started; `None` if it does not run.
#[cfg(not(target_os = "linux"))]
fn start_of(id: u32) -> Option<String> {
    let id = Pid::from_u32(id);
    let mut system = System::new().ok()?;
    system.refresh_processes_specifics(ProcessesToUpdate::Some(&[id]), true, ProcessRefreshKind::nothing());
    let process = system.process(id)?;
    let ended = matches!(process.status(), ProcessStatus::Zombie | ProcessStatus::Dead);
    (!ended).then(|| process.start_time().to_string())
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn only_the_process_that_was_started_counts_as_running() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let mut process = Process::of(child.id(), PathBuf::new()).unwrap();
        assert!(process.runs());
        let started = std::mem::replace(&mut process.started, "another".to_owned());
        assert!(!process.runs());
        process.end(false);
        assert!(child.try_wait().unwrap().is_none(), "another process was ended");
        process.started = started;
        process.end(false);
        assert!(!child.wait().unwrap().success());
        assert!(!process.runs());
    }

    #[test]
    fn what_was_written_is_read_and_what_is_not_ours_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        assert!(State::read(folder.path()).unwrap().is_none());
        let state = State {
            runtime: Runtime::Process,
            profile: Profile::Core,
            services: Vec::new(),
            missing: vec!["mimir".to_owned()],
            prometheus_for_mimir: true,
            port_offset: 0,
            without: Vec::new(),
        };
        state.write(folder.path()).unwrap();
        assert_eq!(State::read(folder.path()).unwrap().unwrap().missing, ["mimir"]);
        State::remove(folder.path()).unwrap();
        State::remove(folder.path()).unwrap();
        fs::write(folder.path().join(State::FILE), "{}").unwrap();
        assert!(format!("{:#}", State::read(folder.path()).unwrap_err()).contains("stack up"));
    }
}
