//! Programs that know nothing of lgtm: OpenTelemetry's SDKs for Python and for JavaScript, and `curl`. They are in `tests/window/foreign/`; what they
//! need is installed under the target folder. What they say they did is compared with what the stack holds and the window shows.
//!
//! Where `python3` with `venv`, `npm` or `curl` is missing the tests say so and pass; `LGTM_FOREIGN=require` makes that a failure.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use lgtm_devstack::{Devstack, Series};
use serde_json::{Value, json};
use tokio::process::Command;
use tokio::sync::Mutex;

use crate::browser::{Browser, Size};
use crate::shop;

/// The longest that an installation may take: it downloads.
const INSTALLATION: Duration = Duration::from_secs(300);
/// The longest that a program may take; a few seconds when all is well.
const PROGRAM: Duration = Duration::from_secs(120);

/// What a test is skipped for, unless nothing may be.
fn missing(what: &str, package: &str) {
    let is_required = std::env::var("LGTM_FOREIGN").is_ok_and(|value| value == "require");
    assert!(!is_required, "LGTM_FOREIGN=require, but {what} is not there; Debian: apt-get install {package}");
    eprintln!("skipped: {what} is not there");
}

/// What a program writes on standard output; `None` if there is no such program.
async fn run(program: &Path, arguments: &[&str], folder: &Path, limit: Duration) -> Option<String> {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(folder).stdin(Stdio::null()).kill_on_drop(true);
    let output = match tokio::time::timeout(limit, command.output()).await {
        Err(_) => panic!("{} {arguments:?} does not end", program.display()),
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::NotFound => return None,
        Ok(output) => output.unwrap(),
    };
    let (said, complained) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{} {arguments:?}: {}\n{said}\n{complained}", program.display(), output.status);
    Some(said.into_owned())
}

fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("foreign")
}

/// A folder under the target folder for what `file` names, and whether it is whole.
fn place(name: &str, file: &str) -> (PathBuf, bool) {
    let mut hasher = DefaultHasher::new();
    std::fs::read(sources().join(file)).unwrap().hash(&mut hasher);
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("foreign-{name}-{:016x}", hasher.finish()));
    let is_whole = folder.join("whole").is_file();
    if !is_whole {
        // An installation that was interrupted begins anew.
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
    }
    (folder, is_whole)
}

/// Installations are shared by the tests: one at a time, the others find it done.
static INSTALLING: Mutex<()> = Mutex::const_new(());

/// A Python that has OpenTelemetry's SDK.
async fn python() -> Option<PathBuf> {
    let _turn = INSTALLING.lock().await;
    let (folder, is_whole) = place("python", "requirements.txt");
    let python = folder.join("environment/bin/python");
    if !is_whole {
        let with_venv = ["-c", "import venv, ensurepip"];
        let is_there = Command::new("python3").args(with_venv).stderr(Stdio::null()).status().await;
        if !is_there.is_ok_and(|status| status.success()) {
            missing("python3 with venv", "python3-venv");
            return None;
        }
        run(Path::new("python3"), &["-m", "venv", "environment"], &folder, INSTALLATION).await?;
        let requirements = sources().join("requirements.txt");
        let install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"];
        run(&python, &[&install[..], &[requirements.to_str().unwrap()]].concat(), &folder, INSTALLATION).await?;
        std::fs::write(folder.join("whole"), "").unwrap();
    }
    Some(python)
}

/// A folder with OpenTelemetry's SDK for JavaScript and the program on it.
async fn javascript() -> Option<PathBuf> {
    let _turn = INSTALLING.lock().await;
    let (folder, is_whole) = place("javascript", "package.json");
    if !is_whole {
        std::fs::copy(sources().join("package.json"), folder.join("package.json")).unwrap();
        let install = ["install", "--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts", "--silent"];
        if run(Path::new("npm"), &install, &folder, INSTALLATION).await.is_none() {
            missing("npm", "nodejs npm");
            return None;
        }
        std::fs::write(folder.join("whole"), "").unwrap();
    }
    std::fs::copy(sources().join("clock.mjs"), folder.join("clock.mjs")).unwrap();
    Some(folder)
}

/// Runs the shop against a stack; what it says that it did.
async fn run_shop(python: &Path, stack: &Devstack, protocol: &str, temporality: &str) -> Value {
    let endpoint = if protocol == "grpc" { stack.otlp_grpc_url() } else { stack.otlp_http_url() };
    let program = sources().join("shop.py");
    let arguments =
        [program.to_str().unwrap(), "--protocol", protocol, "--endpoint", &endpoint, "--temporality", temporality];
    let said = run(python, &arguments, &sources(), PROGRAM).await.unwrap();
    serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"))
}

/// The sum of the newest values of the series of one name.
fn total(stack: &Devstack, name: &str) -> f64 {
    stack.store().series_named(name).iter().filter_map(Series::last_value).sum()
}

fn label<'a>(series: &'a Series, name: &str) -> &'a str {
    series.labels.get(name).map(String::as_str).unwrap_or_default()
}

/// Everything that the shop did is there, once.
fn check_shop(stack: &Devstack, truth: &Value, what: &str) {
    assert_eq!(truth["complaints"], json!([]), "{what}");
    let (orders, refused) = (truth["orders"].as_f64().unwrap(), truth["refused"].as_f64().unwrap());
    let counts = stack.counts();
    for (signal, counts) in [
        ("logs", counts.logs),
        ("spans", counts.spans),
        ("samples", counts.samples),
        ("histograms", counts.histograms),
        ("exemplars", counts.exemplars),
    ] {
        assert_eq!((counts.rejected, counts.evicted), (0, 0), "{what}: {signal}");
    }
    assert_eq!(counts.spans.held as f64, orders * 3.0, "{what}");
    assert_eq!(counts.logs.held as f64, orders * 3.0 + refused + 1.0, "{what}");
    let failed = stack.store().trace(truth["failed_trace"].as_str().unwrap());
    let services: Vec<&str> = failed.iter().map(|span| span.service_name()).collect();
    assert_eq!((failed.len(), services.contains(&"py-storefront"), services.contains(&"py-till")), (3, true, true));
    let served = failed.iter().find(|span| span.name == "POST /payments").unwrap();
    let exception = served.events.iter().find(|event| event.name == "exception").unwrap();
    assert!(exception.attributes.text("exception.stacktrace").unwrap().contains("OutOfStock"), "{what}");

    assert_eq!(total(stack, "orders_total"), orders, "{what}");
    assert_eq!(total(stack, "payments_total"), orders, "{what}");
    assert_eq!(total(stack, "order_duration_seconds_count"), orders, "{what}");
    let unbounded = stack.store().series_named("order_duration_seconds_bucket");
    let unbounded = unbounded.iter().filter(|series| label(series, "le") == "+Inf");
    assert_eq!(unbounded.filter_map(Series::last_value).sum::<f64>(), orders, "{what}");
    assert_eq!((total(stack, "carts"), total(stack, "payments_open")), (orders, 0.0), "{what}");
    let stock = stack.store().series_named("stock_level");
    let stock = stock.iter().find(|series| label(series, "sku") == "221").unwrap();
    assert_eq!(stock.last_value(), truth["stock"].as_f64(), "{what}");
    assert_eq!((label(stock, "job"), label(stock, "instance")), ("python/py-storefront", "py-storefront-1"));
    let value = &stack.store().series_named("order_value_EUR")[0];
    let newest = value.histograms.last().unwrap();
    assert_eq!((newest.count as f64, Some(newest.sum)), (orders, truth["value"].as_f64()), "{what}");
    // The SDK begins at scale 20, of which Prometheus knows nothing.
    assert!(value.histograms.len() >= 4 && value.histograms.iter().all(|one| one.schema <= 8), "{what}");

    let buckets = stack.store().series_named("order_duration_seconds_bucket");
    let exemplars: Vec<_> = buckets.iter().chain([value]).flat_map(|series| &series.exemplars).collect();
    assert!(!exemplars.is_empty(), "{what}");
    for exemplar in exemplars {
        assert_eq!(stack.store().trace(exemplar.trace_id().unwrap()).len(), 3, "{what}");
    }
    let logs = stack.store().logs();
    let closed = logs.iter().find(|entry| entry.label("event_name") == Some("shop.closed")).unwrap();
    assert_eq!(closed.line, r#"{"of":["221","17"],"orders":40}"#, "{what}");
    let refusal = logs.iter().find(|entry| entry.line == "refused").unwrap();
    assert_eq!((refusal.label("service_name"), refusal.label("exception_type")), (Some("py-till"), Some("OutOfStock")));
    assert!(
        logs.iter().filter(|entry| entry.line.contains("taken")).all(|entry| entry.label("trace_id").is_some()),
        "{what}"
    );
}

#[tokio::test]
async fn a_python_program_arrives_whole_over_grpc_and_http_cumulative_and_as_deltas() {
    let Some(python) = python().await else { return };
    for (protocol, temporality) in
        [("grpc", "cumulative"), ("grpc", "delta"), ("http", "cumulative"), ("http", "delta")]
    {
        let stack = shop::stack();
        let truth = run_shop(&python, &stack, protocol, temporality).await;
        check_shop(&stack, &truth, &format!("{temporality} over {protocol}"));
        let deltas = stack.counts().deltas;
        assert_eq!((deltas.refused, deltas.overlaps, deltas.forgotten), (0, 0, 0), "{protocol} {temporality}");
        assert_eq!(deltas.added > 0, temporality == "delta", "{protocol} {temporality}");
    }
}

#[tokio::test]
async fn a_python_program_and_curl_are_seen_in_one_window() {
    let Some(python) = python().await else { return };
    let stack = shop::stack();
    let truth = run_shop(&python, &stack, "grpc", "delta").await;
    let pushed = json!({ "streams": [{ "stream": { "service_name": "by-hand", "level": "warn" },
        "values": [[shop::now_ns().to_string(), "curl says hello", { "customer": "c-7" }]] }] });
    let url = format!("{}/loki/api/v1/push", stack.loki_url());
    let push = [
        "--silent",
        "--show-error",
        "--fail",
        "--header",
        "content-type: application/json",
        "--data",
        &pushed.to_string(),
        &url,
    ];
    if run(Path::new("curl"), &push, &sources(), PROGRAM).await.is_none() {
        return missing("curl", "curl");
    }
    let Some(browser) = Browser::start(&stack.window_url(), Size::Desk).await else { return };
    browser.open("/").await;
    browser.until_text(".services", "py-storefront").await;
    browser.until_text(".services", "py-till").await;
    browser.shoot("foreign-overview").await;

    browser.open("/logs").await;
    browser.until_text(".row .message", "curl says hello").await;
    browser.until_text(".row .message", "order 39 taken").await;
    browser.shoot("foreign-logs").await;
    browser.open("/logs?service=by-hand").await;
    browser.until_text(".statusline", "1 line").await;
    browser.click(".row .message", "curl says hello").await;
    browser.until_text(".details", "c-7").await;

    browser.open(&format!("/traces/{}", truth["failed_trace"].as_str().unwrap())).await;
    browser.until_text(".failure", "out of stock").await;
    browser.until("document.querySelectorAll('.row.span.failed').length === 3").await;
    browser.until_text(".row.span-log .message", "refused").await;
    browser.until_text(".row.span-log .message", "is not paid").await;
    browser.shoot("foreign-trace").await;

    for histogram in ["order_duration_seconds", "order_value_EUR"] {
        browser.open(&format!("/metrics/{histogram}")).await;
        browser.until_text(".legend", "median").await;
        browser
            .until("document.querySelector('.chart canvas') && document.querySelectorAll('a.exemplar').length > 0")
            .await;
        browser.shoot(&format!("foreign-{histogram}")).await;
    }
    browser.click("a.exemplar", "").await;
    browser.until_text(".row .span-title", "POST /payments").await;
    browser.open("/map").await;
    browser.until_text(".node-name", "py-till").await;
    browser.end().await;
}

#[tokio::test]
async fn a_javascript_program_arrives_whole_in_json() {
    let Some(folder) = javascript().await else { return };
    let stack = Devstack::start_blocking().unwrap();
    let said = run(Path::new("node"), &["clock.mjs", &stack.otlp_http_url(), "20"], &folder, PROGRAM).await.unwrap();
    let truth: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(truth["complaints"], json!([]));
    let store = stack.store();
    let requests = store.requests();
    assert!(requests.len() >= 6, "{}", requests.len());
    let types: std::collections::BTreeSet<_> = requests.iter().map(|request| request.header("content-type")).collect();
    assert_eq!(types.into_iter().collect::<Vec<_>>(), [Some("application/json")]);
    let counts = stack.counts();
    assert_eq!((counts.spans.held, counts.logs.held, counts.deltas.refused), (20, 20, 0));
    assert_eq!(
        (counts.spans.rejected, counts.logs.rejected, counts.samples.rejected, counts.histograms.rejected),
        (0, 0, 0, 0)
    );
    let spans = store.spans();
    let broken = spans.iter().find(|span| span.status.message == "the spring broke").unwrap();
    assert_eq!(broken.attributes.int("big.number"), Some(1 << 52));
    assert_eq!(broken.attributes.get("ratio").and_then(lgtm_devstack::Value::as_f64), Some(0.25));
    assert!(broken.events.iter().any(|event| event.name == "exception"));
    let tick = &store.logs()[3];
    assert_eq!(
        (tick.line.as_str(), tick.label("event_name")),
        (r#"{"of":["js",null,1.5],"tick":3}"#, Some("clock.tick"))
    );
    assert_eq!((tick.label("nested_deep"), tick.label("trace_id").is_some()), (Some("[1,2]"), true));
    assert_eq!((total(&stack, "ticks_total"), total(&stack, "tick_duration_milliseconds_count")), (20.0, 20.0));
    assert_eq!((total(&stack, "hands"), total(&stack, "angle_deg")), (10.0, 42.5));
    let drift = store.series_named("drift_seconds");
    let newest = drift[0].histograms.last().unwrap();
    assert_eq!(newest.count, 20);
    assert!((newest.sum - truth["drift"].as_f64().unwrap()).abs() < 1e-9);
    let Some(browser) = Browser::start(&stack.window_url(), Size::Desk).await else { return };
    browser.open(&format!("/traces/{}", truth["traceId"].as_str().unwrap())).await;
    browser.until_text(".row .span-title", "tick").await;
    browser.open("/metrics/drift_seconds").await;
    browser.until_text(".legend", "median").await;
    browser.end().await;
}
