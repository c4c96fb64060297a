//! Starts a program and reads what it said.

use std::process::{Command, Output};
use std::time::Duration;

use lgtm_devstack::Devstack;

pub(crate) const PROGRAM: &str = "LGTM_TEST_PROGRAM";
const SAYS: &str = "child says: ";

/// Says something to the parent, in a child.
pub(crate) fn say(text: &str) {
    // libtest may have begun a line.
    println!("\n{SAYS}{text}");
}

/// What a program left behind.
pub(crate) struct Finished {
    pub(crate) success: bool,
    /// The signal that ended it.
    #[cfg(unix)]
    pub(crate) signal: Option<i32>,
    /// What it said, line by line.
    pub(crate) said: Vec<String>,
    /// All of standard output.
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Finished {
    /// The JSON report, said last.
    pub(crate) fn report(&self) -> serde_json::Value {
        let text = self.said.last().unwrap_or_else(|| panic!("it said nothing: {}", self.stderr));
        serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// lgtm's own lines on standard error.
    pub(crate) fn warnings(&self) -> Vec<&str> {
        self.stderr.lines().filter(|line| line.starts_with("lgtm: ")).collect()
    }
}

/// Runs a program with nothing but these variables.
pub(crate) fn run(program: &str, variables: &[(&str, &str)]) -> Finished {
    let output: Output = Command::new(std::env::current_exe().unwrap())
        .args(["child", "--exact", "--ignored", "--nocapture", "--test-threads=1"])
        .env_clear()
        .env("OTEL_SERVICE_NAME", "shop")
        .env("LGTM_CONSOLE", "off")
        .envs(variables.iter().copied())
        .env(PROGRAM, program)
        .output()
        .unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    Finished {
        success: output.status.success(),
        #[cfg(unix)]
        signal: std::os::unix::process::ExitStatusExt::signal(&output.status),
        said: stdout.lines().filter_map(|line| line.strip_prefix(SAYS)).map(str::to_owned).collect(),
        stdout,
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// The variables that point a program at these backends.
pub(crate) struct Addresses {
    loki: String,
    tempo: String,
    mimir: String,
}

impl Addresses {
    pub(crate) fn of(stack: &Devstack) -> Self {
        Self { loki: stack.loki_url(), tempo: stack.otlp_grpc_url(), mimir: stack.mimir_url() }
    }

    /// Ports at which nobody listens.
    pub(crate) fn unreachable() -> Self {
        let free = || {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            format!("http://{}", listener.local_addr().unwrap())
        };
        Self { loki: free(), tempo: free(), mimir: free() }
    }

    pub(crate) fn variables(&self) -> [(&str, &str); 3] {
        [("LOKI_URL", &self.loki), ("TEMPO_ENDPOINT", &self.tempo), ("MIMIR_ENDPOINT", &self.mimir)]
    }

    /// These variables and further ones.
    pub(crate) fn with<'a>(&'a self, further: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
        self.variables().into_iter().chain(further.iter().copied()).collect()
    }
}

pub(crate) fn backends() -> Devstack {
    Devstack::start_blocking().unwrap()
}

/// Longer than anything here takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
