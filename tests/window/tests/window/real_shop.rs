//! The project's own path, as a person takes it: `cargo xtask demo --keep`, its address in a browser, and every page with what the two services of
//! the example `shop` sent. The demo is ended by the signal that a terminal would send, also where the test fails.

use std::io::{BufRead as _, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::browser::{Browser, Size};

/// The longest that building may take where nothing is built yet.
const BUILD: Duration = Duration::from_secs(900);
/// The longest that the demo may take until its services run again: it builds the shop, and proves itself first.
const START: Duration = Duration::from_secs(900);
/// The longest that it may take to end: its services have 20 seconds for that.
const END: Duration = Duration::from_secs(60);

/// Waits for a child; kills it at the end of its time.
fn ended(child: &mut Child, limit: Duration) -> Option<ExitStatus> {
    let deadline = Instant::now() + limit;
    while Instant::now() < deadline {
        if let Some(status) = child.try_wait().unwrap() {
            return Some(status);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let _ = child.kill();
    let _ = child.wait();
    None
}

/// What a stream says, line by line, in a thread that ends with it.
fn lines(stream: impl Read + Send + 'static) -> Receiver<String> {
    let (say, said) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            let _ = say.send(line);
        }
    });
    said
}

/// The program `xtask`, built if it is not.
fn xtask() -> PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--package", "xtask", "--message-format", "json-render-diagnostics"]);
    cargo.current_dir(workspace).stdin(Stdio::null()).stdout(Stdio::piped());
    // What cargo tells this test of its own package is not for the build scripts of others.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("CARGO_PKG_") || name.to_string_lossy().starts_with("CARGO_MANIFEST_") {
            cargo.env_remove(name);
        }
    }
    let mut building = cargo.spawn().unwrap();
    let said = lines(building.stdout.take().unwrap());
    let status = ended(&mut building, BUILD).expect("the build does not end");
    assert!(status.success(), "cargo build --package xtask: {status}");
    let executable = said.iter().find_map(|line| {
        let artifact: Value = serde_json::from_str(&line).ok()?;
        let is_it = artifact["target"]["name"] == "xtask" && artifact["target"]["kind"] == json!(["bin"]);
        is_it.then(|| artifact["executable"].as_str().map(PathBuf::from)).flatten()
    });
    executable.expect("cargo names no executable of xtask")
}

/// The running demo. It ends with its handle, and with it its services.
struct Demo {
    child: Child,
    said: Receiver<String>,
    /// All that it said, for the message of a failure.
    heard: Vec<String>,
}

impl Demo {
    fn start(xtask: &Path) -> Self {
        let mut command = Command::new(xtask);
        command.args(["demo", "--for", "6s", "--keep"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let said = lines(child.stderr.take().unwrap());
        Self { child, said, heard: Vec::new() }
    }

    /// The rest of the first line that begins with this.
    fn says(&mut self, beginning: &str, limit: Duration) -> String {
        let deadline = Instant::now() + limit;
        loop {
            match self.said.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    let rest = line.trim_start().strip_prefix(beginning).map(|rest| rest.trim().to_owned());
                    self.heard.push(line);
                    if let Some(rest) = rest {
                        return rest;
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    panic!("the demo does not say {beginning:?}:\n{}", self.heard.join("\n"))
                }
                Err(RecvTimeoutError::Disconnected) => panic!("the demo has ended:\n{}", self.heard.join("\n")),
            }
        }
    }

    /// The processes that it started and that run now.
    fn children(&self) -> Vec<u32> {
        let of_thread =
            |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
        let tasks =
            std::fs::read_dir(format!("/proc/{}/task", self.child.id())).into_iter().flatten().filter_map(Result::ok);
        tasks
            .flat_map(|task| of_thread(task).split_whitespace().map(|id| id.parse().unwrap()).collect::<Vec<_>>())
            .collect()
    }

    /// Ends it as a terminal does; how it ended, `None` if it had to be killed.
    fn end(&mut self) -> Option<ExitStatus> {
        if let Ok(Some(status)) = self.child.try_wait() {
            return Some(status);
        }
        let services = self.children();
        let _ = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        let status = ended(&mut self.child, END);
        if status.is_none() {
            // It can end its services no more.
            for service in services {
                let _ = Command::new("kill").args(["-KILL", &service.to_string()]).status();
            }
        }
        status
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        self.end();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_page_shows_a_real_run_of_the_shop_and_leads_from_metric_to_trace_to_lines() {
    // Without a browser there is nothing to build for.
    if Browser::start("about:blank", Size::Desk).await.is_none() {
        return;
    }
    let (mut demo, address) = tokio::task::spawn_blocking(|| {
        let mut demo = Demo::start(&xtask());
        // It says it twice: at the start, and when its services run again after the proof.
        let address = demo.says("window", START);
        (demo, address)
    })
    .await
    .unwrap();
    let services = demo.children();
    assert_eq!(services.len(), 2, "{}", demo.heard.join("\n"));
    let url = address.split_whitespace().next().unwrap().trim_end_matches('/').to_owned();
    let browser = Browser::start(&url, Size::Desk).await.unwrap();
    browser.open("/").await;
    for service in ["storefront", "inventory"] {
        browser.until_text(".services", service).await;
    }
    browser.until("document.querySelectorAll('.services .is-error, .services td').length > 10").await;
    browser.shoot("real-overview").await;

    browser.click("nav a", "Logs").await;
    browser.until("document.querySelectorAll('.row.log .message').length > 10").await;
    browser
        .until("[...document.querySelectorAll('.row.log')].some((row) => row.textContent.includes('inventory'))")
        .await;
    browser.shoot("real-logs").await;

    browser.open("/traces?status=error&service=inventory").await;
    browser.until_text(".statusline", "found").await;
    browser.click(".row .name", "").await;
    browser.until_text(".failure", "failed").await;
    let of = |service: &str| {
        format!(
            "[...document.querySelectorAll('.row.span .span-title')].some((one) => one.title.startsWith('{service}: '))"
        )
    };
    browser.until(&of("storefront")).await;
    browser.until(&of("inventory")).await;
    browser.until("document.querySelectorAll('.row.span-log').length > 1 && document.querySelectorAll('.critical').length > 1").await;
    browser.shoot("real-trace").await;

    // From a metric to its exemplar to the trace to its lines, by clicking only once it is found among the many.
    browser.click("nav a", "Metrics").await;
    browser.until_text(".row .metric-name", "otlp_").await;
    browser.press("/").await;
    browser.press("spans_duration").await;
    browser.click(".row .metric-name", "otlp_spans_duration_seconds").await;
    browser.until_text(".legend", "median").await;
    browser
        .until("document.querySelector('.chart canvas') && document.querySelectorAll('a.exemplar').length > 3")
        .await;
    browser.shoot("real-histogram").await;
    // The dot that lies highest, or the one that lies on it.
    let slowest = browser
        .ask(
            "(() => { const dots = [...document.querySelectorAll('a.exemplar')]; \
             dots.sort((a, b) => parseFloat(a.style.top) - parseFloat(b.style.top)); \
             dots[0].scrollIntoView({ block: 'center' }); const box = dots[0].getBoundingClientRect(); \
             const top = document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2).closest('a.exemplar'); \
             top.id = 'slowest'; return top.getAttribute('href'); })()",
        )
        .await;
    browser.click("#slowest", "").await;
    browser
        .until("location.pathname.startsWith('/traces/') && document.querySelectorAll('.row.span').length > 0")
        .await;
    assert_eq!(browser.ask("location.pathname").await, slowest);
    browser.until("document.querySelectorAll('.row.span-log .message').length > 0").await;
    browser.click(".trace-head a", "all its lines").await;
    browser.until("document.querySelectorAll('.row.log .message').length > 0").await;
    let trace = slowest.as_str().unwrap().split('/').nth(2).unwrap().to_owned();
    assert_eq!(browser.ask("new URLSearchParams(location.search).get('trace')").await, json!(trace));

    browser.click("nav a", "Service map").await;
    browser.until_text(".node-name", "storefront").await;
    browser.until_text(".node-name", "inventory").await;
    browser.shoot("real-map").await;
    browser.end().await;

    let status = tokio::task::spawn_blocking(move || demo.end()).await.unwrap();
    assert!(status.is_some_and(|status| status.success()), "{status:?}");
    for service in services {
        assert!(!Path::new(&format!("/proc/{service}")).exists(), "the service {service} outlives the demo");
    }
}
