//! A stack of its own folder and ports, started by the command that people use, and ended with its handle.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use lgtm_query::{Loki, Prometheus, Tempo};
use serde_json::Value;
use tempfile::TempDir;

/// What the command said, and how it ended.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) ok: bool,
    pub(crate) output: String,
    pub(crate) errors: String,
}

/// Runs `cargo xtask` with these arguments, for a stack in `folder`.
pub(crate) fn xtask(folder: &Path, arguments: &[&str], more: &[(&str, &str)]) -> Said {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    // The settings of whoever runs the tests are not those of the stack.
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        if ["OTEL_", "LGTM_", "LOKI_", "TEMPO_", "MIMIR_", "SHOP_"].iter().any(|start| name.starts_with(start)) {
            command.env_remove(name);
        }
    }
    command.args(arguments).env("LGTM_STACK_FOLDER", folder).envs(more.iter().copied()).stdin(Stdio::null());
    let Output { status, stdout, stderr } = command.output().expect("xtask starts");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    let said = Said { ok: status.success(), output: text(stdout), errors: text(stderr) };
    eprintln!("$ xtask {}: {status}\n{}{}", arguments.join(" "), said.output, said.errors);
    said
}

/// Whether all of these programs are on the path, each by one of its names.
///
/// # Panics
/// If one is not, and `LGTM_REAL=require`.
pub(crate) fn are_there(programs: &[&[&str]]) -> bool {
    let required = std::env::var("LGTM_REAL").is_ok_and(|mode| mode == "require");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = |name: &&str| std::env::split_paths(&path).any(|folder| folder.join(name).is_file());
    let missing: Vec<String> =
        programs.iter().filter(|names| !names.iter().any(on_path)).map(|names| names.join(" or ")).collect();
    assert!(!required || missing.is_empty(), "LGTM_REAL=require, but not on the PATH: {}", missing.join(", "));
    if !missing.is_empty() {
        eprintln!("skipped: not on the PATH: {} (LGTM_REAL=require makes this an error)", missing.join(", "));
    }
    missing.is_empty()
}

/// The ports of all services, without an offset.
const PORTS: [u16; 20] = [
    3000, 3001, 3002, 3003, 3004, 3100, 3200, 4317, 4318, 7946, 9009, 9090, 9091, 9093, 9095, 9096, 9100, 9190, 9191,
    9192,
];

/// The first offset from `least` on with which all ports are free. A thousand further on another test may look.
///
/// # Panics
/// If there is none.
pub(crate) fn free_offset(least: u16) -> u16 {
    let is_free = |port: u16| std::net::TcpListener::bind(("127.0.0.1", port)).is_ok();
    let mut offsets = (least..least + 900).step_by(53);
    offsets.find(|offset| PORTS.iter().all(|port| is_free(port + offset))).expect("ports that are free")
}

/// One stack at a time: two need more than two cores to be ready in time, and would look for the same ports.
static ALONE: Mutex<()> = Mutex::new(());

/// A running stack.
pub(crate) struct Stack {
    folder: TempDir,
    offset: u16,
    /// The command that has started it.
    up: Vec<String>,
    _alone: MutexGuard<'static, ()>,
}

impl Drop for Stack {
    fn drop(&mut self) {
        self.xtask(&["stack", "down"]);
    }
}

impl Stack {
    /// Starts what is on the path of a profile, without `without`, all ports higher by at least `least`, so much that they are free.
    ///
    /// # Panics
    /// If it does not start.
    pub(crate) fn up(least: u16, profile: &str, without: &[&str]) -> Self {
        // A test that has failed has ended its stack all the same.
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = tempfile::tempdir().expect("a folder");
        let offset = free_offset(least);
        let mut up: Vec<String> =
            ["stack", "up", "--runtime", "process", "--profile", profile].map(str::to_owned).into();
        up.extend(["--port-offset".to_owned(), offset.to_string()]);
        if !without.is_empty() {
            up.extend(["--without".to_owned(), without.join(",")]);
        }
        let stack = Self { folder, offset, up, _alone: alone };
        assert!(stack.go().ok, "the stack starts");
        stack
    }

    fn go(&self) -> Said {
        self.xtask(&self.up.iter().map(String::as_str).collect::<Vec<_>>())
    }

    pub(crate) fn xtask(&self, arguments: &[&str]) -> Said {
        xtask(self.folder.path(), arguments, &[])
    }

    /// The same, while the test goes on.
    pub(crate) fn begin(&self, arguments: &'static [&'static str]) -> std::thread::JoinHandle<Said> {
        let folder = self.folder.path().to_owned();
        std::thread::spawn(move || xtask(&folder, arguments, &[]))
    }

    /// Starts again what has ended.
    ///
    /// # Panics
    /// If that does not succeed.
    pub(crate) fn start_again(&self, service: &str) {
        let again = self.go();
        assert!(again.ok && again.errors.contains(&format!("started again: {service}")), "{}", again.errors);
    }

    /// The address of what has `port` in the usual stack.
    pub(crate) fn url(&self, port: u16) -> String {
        format!("http://127.0.0.1:{}", port + self.offset)
    }

    pub(crate) fn port(&self, port: u16) -> u16 {
        port + self.offset
    }

    pub(crate) fn loki(&self) -> Loki {
        Loki::at(self.url(3100)).unwrap()
    }

    pub(crate) fn tempo(&self) -> Tempo {
        Tempo::at(self.url(3200)).unwrap()
    }

    pub(crate) fn prometheus(&self) -> Prometheus {
        Prometheus::at(self.url(9091)).unwrap()
    }

    /// A file that the stack has written for a program.
    pub(crate) fn config(&self, service: &str, file: &str) -> PathBuf {
        self.folder.path().join("config").join(service).join(file)
    }

    /// Kills one service, and waits until it is gone.
    ///
    /// # Panics
    /// If it does not run, or does not end.
    pub(crate) fn kill(&self, service: &str) {
        self.signal(service, "-KILL");
        wait_for("the service is gone", Duration::from_secs(20), || self.is_gone(service).then_some(()));
    }

    /// Ends one service in order, and waits until it is gone; what takes longer than the stack itself would wait is killed.
    ///
    /// # Panics
    /// If it does not run, or does not end.
    pub(crate) fn end(&self, service: &str) {
        self.signal(service, "-TERM");
        let started = Instant::now();
        while started.elapsed() < Duration::from_secs(20) {
            if self.is_gone(service) {
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        self.kill(service);
    }

    fn id_of(&self, service: &str) -> String {
        let state = std::fs::read_to_string(self.folder.path().join("state.json")).unwrap();
        let state: Value = serde_json::from_str(&state).unwrap();
        let started = state["services"].as_array().unwrap().iter().find(|one| one["service"] == service).unwrap();
        started["process"]["id"].as_i64().unwrap().to_string()
    }

    fn signal(&self, service: &str, signal: &str) {
        assert!(Command::new("kill").args([signal, &self.id_of(service)]).status().unwrap().success());
    }

    fn is_gone(&self, service: &str) -> bool {
        // Its parent is init, which may take its time to reap it.
        let state = std::fs::read_to_string(format!("/proc/{}/stat", self.id_of(service))).unwrap_or_default();
        state.rsplit_once(')').is_none_or(|(_, rest)| rest.trim_start().starts_with('Z'))
    }
}

/// Looks until there is something to see.
///
/// # Panics
/// If there is nothing by the deadline.
pub(crate) fn wait_for<T>(what: &str, deadline: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(started.elapsed() < deadline, "not within {deadline:?}: {what}");
        std::thread::sleep(Duration::from_millis(300));
    }
}

/// A runtime for the queries of a test.
pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

/// A client for the example program.
pub(crate) fn http() -> reqwest::Client {
    // Only the first of a process is installed, and all are the same.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(10)).build().unwrap()
}

/// Buys `count` things, one after the other; every 13th fails, every 17th is slow.
pub(crate) async fn buy(http: &reqwest::Client, storefront: &str, count: u64) {
    for sku in 1..=count {
        let order = http.post(format!("{storefront}/orders")).header("content-type", "application/json");
        order.body(format!("{{\"sku\":{sku}}}")).send().await.expect("the storefront answers");
        http.get(format!("{storefront}/products/{sku}")).send().await.expect("the storefront answers");
    }
}
