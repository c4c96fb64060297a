//! `cargo xtask doctor`: for the settings in the environment, is everything on the way that telemetry takes as it must be? One row a
//! check; for each failure what it probably comes from and what to do.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use lgtm_query::{Prometheus, Wait};
use serde::Serialize;
use tokio::net::TcpStream;
use tokio::time::timeout;
use url::Url;

use crate::servers::{Readers, ServerOptions, Servers};
use crate::table::Table;
use crate::trip::Trip;

/// How long a connection or an answer may take.
const TIMEOUT: Duration = Duration::from_secs(5);
/// How long what was written may take to be read. Mimir and Loki show it at once, a hosted backend after some seconds.
const PATIENCE: Duration = Duration::from_secs(30);
/// Clocks that differ by more get lines and samples refused sooner or later.
const MAX_SKEW: Duration = Duration::from_secs(30);

/// What `doctor` does.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    servers: ServerOptions,
    /// Prints one JSON document.
    #[arg(long)]
    json: bool,
}

/// What a check found.
#[derive(Debug, Serialize)]
struct Finding {
    what: String,
    check: &'static str,
    ok: bool,
    said: String,
    /// What to do; nothing where all is well.
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<String>,
}

/// All findings so far.
#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn add(&mut self, what: &str, check: &'static str, outcome: anyhow::Result<String>) -> bool {
        let ok = outcome.is_ok();
        let said = outcome.unwrap_or_else(|error| format!("{error:#}"));
        let remedy = (!ok).then(|| remedy(what, check, &said));
        self.0.push(Finding { what: what.to_owned(), check, ok, said, remedy });
        ok
    }
}

/// # Errors
/// If the checks cannot be made at all. A check that fails is not an error but an exit code.
pub(crate) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("no tokio runtime")?;
    let findings = runtime.block_on(examine(options))?;
    if options.json {
        println!("{}", serde_json::to_string_pretty(&findings.0)?);
    } else {
        print(&findings.0);
    }
    Ok(if findings.0.iter().all(|finding| finding.ok) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn print(findings: &[Finding]) {
    let mut table = Table::new(["", "what", "check", "found"]);
    for finding in findings {
        let mark = if finding.ok { "✓" } else { "✗" };
        table.row([mark.to_owned(), finding.what.clone(), finding.check.to_owned(), finding.said.clone()]);
    }
    print!("{table}");
    let failures: Vec<&Finding> = findings.iter().filter(|finding| !finding.ok).collect();
    if failures.is_empty() {
        println!("\nAll is well.");
        return;
    }
    println!("\nWhat to do:");
    for Finding { what, check, remedy, .. } in failures {
        println!("  {what}, {check}: {}", remedy.as_deref().unwrap_or_default());
    }
}

async fn examine(options: &Options) -> anyhow::Result<Findings> {
    let mut findings = Findings::default();
    let config = lgtm::builder().config();
    let metrics_addr = config.as_ref().ok().and_then(|config| Some(config.get("metrics_addr")?.value.clone()));
    let settings = config.map(|config| format!("{} settings, all of the accepted form", config.iter().count()));
    if !findings.add("settings", "form", settings.map_err(anyhow::Error::from)) {
        return Ok(findings);
    }
    let servers = options.servers.servers()?;
    let is_on = |address: &str| address != "off";
    let mut reachable = true;
    for (name, address) in
        [("loki", &servers.loki_url), ("tempo", &servers.tempo_endpoint), ("mimir", &servers.mimir_endpoint)]
    {
        if is_on(address) {
            reachable &= reach(name, address, &mut findings).await;
        }
    }
    if is_on(&servers.tempo_endpoint) {
        reachable &= reach("tempo, queries", &servers.tempo_url, &mut findings).await;
    }
    write_and_read(&servers, &mut findings).await?;
    if reachable && is_on(&servers.mimir_endpoint) {
        let prometheus = servers.readers()?.prometheus;
        findings.add("metrics", "one path only", one_path(&prometheus, metrics_addr.as_deref()).await);
    }
    Ok(findings)
}

/// Name, connection, and what an HTTP server says of itself.
async fn reach(name: &str, address: &str, findings: &mut Findings) -> bool {
    let parsed = Url::parse(address).ok().and_then(|url| {
        let host = url.host_str()?.trim_matches(['[', ']']).to_owned();
        Some((host, url.port_or_known_default()?, url))
    });
    let Some((host, port, url)) = parsed else {
        let error = anyhow::anyhow!("`{address}` is no address; accepted: http://host:port");
        return findings.add(name, "address", Err(error));
    };
    let resolved = timeout(TIMEOUT, tokio::net::lookup_host((host.as_str(), port))).await;
    let resolved = resolved.context("no answer").and_then(|found| Ok(found?.collect::<Vec<SocketAddr>>()));
    let addresses = resolved.as_ref().map(Clone::clone).unwrap_or_default();
    let said = resolved.with_context(|| format!("the name {host}")).map(|found| {
        let found: Vec<String> = found.iter().map(|address| address.ip().to_string()).collect();
        format!("{host} is {}", found.join(", "))
    });
    if !findings.add(name, "DNS", said) {
        return false;
    }
    if !findings.add(name, "TCP", connect(&addresses).await) {
        return false;
    }
    // A gRPC receiver speaks no HTTP/1; the write below tells the rest of it.
    if name == "tempo" {
        return true;
    }
    let answer = ask(&url).await;
    let check = if url.scheme() == "https" { "TLS, HTTP" } else { "HTTP" };
    let said = answer.as_ref().map(|answer| format!("{} answers {}", answer.url, answer.status));
    let answered = findings.add(name, check, said.map_err(|error| anyhow::anyhow!("{error:#}")));
    if let Ok(Answer { date: Some(date), .. }) = answer {
        findings.add(name, "clock", skew(date, SystemTime::now()));
    }
    answered
}

async fn connect(addresses: &[SocketAddr]) -> anyhow::Result<String> {
    let mut last = anyhow::anyhow!("there is no address");
    for address in addresses {
        match timeout(TIMEOUT, TcpStream::connect(address)).await {
            Ok(Ok(_)) => return Ok(format!("{address} takes connections")),
            Ok(Err(error)) => last = anyhow::Error::new(error).context(address.to_string()),
            Err(_) => last = anyhow::anyhow!("{address}: no connection within {TIMEOUT:?}"),
        }
    }
    Err(last)
}

struct Answer {
    url: Url,
    status: reqwest::StatusCode,
    date: Option<SystemTime>,
}

/// Any answer will do: it shows that HTTP, and TLS where there is TLS, get through. What it says is for the write to judge.
async fn ask(url: &Url) -> anyhow::Result<Answer> {
    let mut url = url.clone();
    url.set_path("/ready");
    // Fails only for URLs that have no user info either.
    let _ = url.set_password(None);
    let _ = url.set_username("");
    let http = http_client()?;
    let answer = http.get(url.clone()).send().await.map_err(|error| error.without_url())?;
    let date = answer.headers().get("date").and_then(|date| httpdate::parse_http_date(date.to_str().ok()?).ok());
    Ok(Answer { url, status: answer.status(), date })
}

/// A client that trusts what lgtm trusts: the platform's roots and `LGTM_CA_FILE`.
fn http_client() -> anyhow::Result<reqwest::Client> {
    // Only the first of a process is installed, and all are the same.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder = reqwest::Client::builder().timeout(TIMEOUT).no_proxy();
    if let Some(file) = std::env::var_os("LGTM_CA_FILE").filter(|file| !file.is_empty()) {
        let pem = std::fs::read(&file).with_context(|| format!("LGTM_CA_FILE={}", file.display()))?;
        builder = builder.tls_certs_merge(reqwest::Certificate::from_pem_bundle(&pem)?);
    }
    builder.build().context("no HTTP client")
}

fn skew(theirs: SystemTime, ours: SystemTime) -> anyhow::Result<String> {
    let (ahead, by) = match theirs.duration_since(ours) {
        Ok(by) => ("ahead", by),
        Err(error) => ("behind", error.duration()),
    };
    anyhow::ensure!(by <= MAX_SKEW, "its clock is {} s {ahead} of this one", by.as_secs());
    Ok(format!("its clock and this one differ by less than {} s", by.as_secs() + 1))
}

/// One write of each signal, reading each back, and the links between them.
async fn write_and_read(servers: &Servers, findings: &mut Findings) -> anyhow::Result<()> {
    let trip = match Trip::write(servers.ingest().variables()).await {
        Ok(trip) => trip,
        Err(error) => {
            findings.add("settings", "start", Err(error));
            return Ok(());
        }
    };
    let readers: Readers = servers.readers()?;
    let on = |address: &String| address != "off";
    let mut written = [false; 3];
    let signals =
        [("logs", &servers.loki_url), ("traces", &servers.tempo_endpoint), ("metrics", &servers.mimir_endpoint)];
    for (index, (signal, address)) in signals.into_iter().enumerate() {
        if on(address) {
            written[index] = findings.add(signal, "write", trip.delivered(signal));
        }
    }
    let [logs, traces, metrics] = written;
    if logs {
        let found = trip.log_and_its_trace(&readers, PATIENCE).await;
        findings.add("logs", "read back, log to trace", found);
    }
    if traces {
        findings.add("traces", "read back", trip.trace(&readers, PATIENCE).await);
    }
    if logs && traces {
        findings.add("traces", "trace to logs", trip.logs_of_trace(&readers, PATIENCE).await);
    }
    if metrics {
        let found = trip.sample(&readers, PATIENCE).await;
        if findings.add("metrics", "read back", found) && traces {
            findings.add("metrics", "exemplar to trace", trip.exemplar(&readers, PATIENCE).await);
        }
    }
    Ok(())
}

/// A program whose metrics are scraped and pushed has every sample twice.
async fn one_path(prometheus: &Prometheus, metrics_addr: Option<&str>) -> anyhow::Result<String> {
    if let Some(address) = metrics_addr.filter(|address| *address != "off") {
        anyhow::bail!("this environment has both: LGTM_METRICS_ADDR ({address}) and MIMIR_ENDPOINT");
    }
    let pushed = "(last_over_time(target_info[5m]) unless on (job, instance) up)";
    let both =
        format!("group by (job, environment) ({pushed}) and on (job, environment) group by (job, environment) (up)");
    let answer = Wait::up_to(TIMEOUT).until(|| prometheus.query(&both, None), |_| true).await?;
    let jobs: Vec<String> =
        answer.data.vector().iter().filter_map(|sample| sample.labels.get("job").cloned()).collect();
    anyhow::ensure!(jobs.is_empty(), "scraped and pushed in the same environment: {}", jobs.join(", "));
    Ok("no job is both scraped and pushed".to_owned())
}

/// What a failure probably comes from, and what to do.
fn remedy(what: &str, check: &str, said: &str) -> String {
    let said = said.to_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| said.contains(word));
    let service = what.split(',').next().unwrap_or(what);
    match check {
        "form" | "start" | "address" => "mend the variable that is named; README.md has the accepted forms".to_owned(),
        "DNS" => format!("the name is misspelt, or this machine's resolver does not know it: mend the address of {service}, or /etc/hosts"),
        "TCP" if has(&["refused"]) => format!(
            "{service} does not run there, or listens on another port: `cargo xtask stack status`, `cargo xtask stack up`, or mend its address"
        ),
        "TCP" => "a firewall swallows the connection, or the machine is not reachable: try it from the server's own network".to_owned(),
        "TLS, HTTP" if has(&["certificate", "unknownissuer", "tls"]) => {
            "the server's certificate is not trusted: name its authority by LGTM_CA_FILE, or use the name that is in the certificate".to_owned()
        }
        "HTTP" | "TLS, HTTP" => "another program listens there, or http and https are mixed up: mend the address".to_owned(),
        "clock" => "set this machine's clock (NTP): Loki and Mimir refuse what is too far ahead or behind".to_owned(),
        "write" if has(&["401", "unauth"]) => "the credentials are missing or wrong: LGTM_USERNAME and LGTM_PASSWORD, or LGTM_TOKEN".to_owned(),
        "write" if has(&["403", "permission"]) => "the credentials may not write: give the token the scopes logs:write, traces:write, metrics:write".to_owned(),
        "write" if has(&["org id", "x-scope-orgid", "tenant"]) => "the server wants a tenant: LGTM_TENANT".to_owned(),
        "write" if has(&["429", "rate limit", "limit"]) => "the tenant's limits are reached: raise them at the server, or send less".to_owned(),
        "write" if has(&["connection", "unavailable", "refused", "timeout", "timed out"]) => {
            format!("the server of the {what} does not answer: see DNS and TCP above, and the server's own log (`cargo xtask stack logs`)")
        }
        "write" if has(&["404", "unimplemented"]) => "the path is wrong: MIMIR_ENDPOINT wants /api/v1/push of Mimir or /api/v1/write of Prometheus (with --web.enable-remote-write-receiver); TEMPO_ENDPOINT wants an OTLP receiver".to_owned(),
        "write" => "the server's own words are above; its log has more (`cargo xtask stack logs`)".to_owned(),
        "one path only" => "choose one: leave LGTM_METRICS_ADDR away, or set MIMIR_ENDPOINT=off; or the job is scraped by mistake".to_owned(),
        "exemplar to trace" => "the backend keeps no exemplars: Prometheus needs --enable-feature=exemplar-storage, Mimir max_global_exemplars_per_user".to_owned(),
        _ => "the write was taken, so the query asks elsewhere: check LGTM_TEMPO_URL, LGTM_PROMETHEUS_URL and the tenant (LGTM_TENANT)".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_may_differ_by_a_little() {
        let now = SystemTime::now();
        assert!(skew(now - Duration::from_secs(10), now).is_ok());
        assert!(skew(now + Duration::from_secs(31), now).unwrap_err().to_string().contains("31 s ahead"));
        assert!(skew(now - Duration::from_secs(3600), now).unwrap_err().to_string().contains("3600 s behind"));
    }

    #[test]
    fn each_failure_has_its_own_remedy() {
        for (check, said, word) in [
            ("DNS", "the name nowhere.invalid: failed to lookup", "resolver"),
            ("TCP", "127.0.0.1:1: Connection refused (os error 111)", "stack up"),
            ("TCP", "10.0.0.1:1: no connection within 5s", "firewall"),
            ("TLS, HTTP", "invalid peer certificate: UnknownIssuer", "LGTM_CA_FILE"),
            ("write", "1 failed requests (unauthenticated): status 401", "LGTM_TOKEN"),
            ("write", "no org id", "LGTM_TENANT"),
            ("write", "status 404: not found", "path"),
            ("clock", "its clock is 90 s behind", "NTP"),
        ] {
            assert!(remedy("loki", check, said).contains(word), "{check}: {said}: {}", remedy("loki", check, said));
        }
    }

    #[tokio::test]
    async fn where_nobody_listens_the_check_says_so_and_no_further_one_is_made() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        drop(listener);
        let mut findings = Findings::default();
        assert!(!reach("loki", &address, &mut findings).await);
        let checks: Vec<_> = findings.0.iter().map(|finding| (finding.check, finding.ok)).collect();
        assert_eq!(checks, [("DNS", true), ("TCP", false)]);
        assert!(!reach("loki", "localhost", &mut findings).await);
        assert_eq!(findings.0.last().unwrap().check, "address");
    }
}
