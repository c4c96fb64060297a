//! `cargo xtask doctor`: for the settings in the environment, is everything on the way that telemetry takes as it must be? One row a
//! check; for each failure what it probably comes from and what to do.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use lgtm::Config;
use lgtm_query::{Labels, Prometheus};
use serde::Serialize;
use tokio::net::TcpStream;
use tokio::time::timeout;
use url::Url;

use crate::servers::{OFF, Readers, ServerOptions, Servers};
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
        outputln!("{}", serde_json::to_string_pretty(&findings.0)?);
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
    output!("{table}");
    let failures: Vec<&Finding> = findings.iter().filter(|finding| !finding.ok).collect();
    if failures.is_empty() {
        outputln!("\nAll is well.");
        return;
    }
    outputln!("\nWhat to do:");
    for Finding { what, check, remedy, .. } in failures {
        outputln!("  {what}, {check}: {}", remedy.as_deref().unwrap_or_default());
    }
}

async fn examine(options: &Options) -> anyhow::Result<Findings> {
    let mut findings = Findings::default();
    let config = match lgtm::builder().config() {
        Ok(config) => config,
        Err(error) => {
            findings.add("settings", "form", Err(error.into()));
            return Ok(findings);
        }
    };
    findings.add("settings", "form", Ok(format!("{} settings, all of the accepted form", config.iter().count())));
    let mut servers = options.servers.servers()?;
    let scraped = setting(&config, "", "metrics_addr").map(str::to_owned);
    if let Some(address) = scraped.as_ref().filter(|_| !options.servers.say_where_metrics_go()) {
        // As lgtm has it: a program that is told only where it is scraped does not push.
        servers.mimir_endpoint = OFF.to_owned();
        findings.add("metrics", "path", Ok(format!("scraped at {address} while the program runs, not pushed")));
    }
    let is_on = |address: &str| address != OFF;
    if ![&servers.loki_url, &servers.tempo_endpoint, &servers.mimir_endpoint].into_iter().any(|url| is_on(url)) {
        findings.add(
            "settings",
            "start",
            Err(anyhow::anyhow!("nothing is sent: LOKI_URL, TEMPO_ENDPOINT and MIMIR_ENDPOINT are off")),
        );
        return Ok(findings);
    }
    let mut reachable = true;
    for (name, address) in
        [("loki", &servers.loki_url), ("tempo", &servers.tempo_endpoint), ("mimir", &servers.mimir_endpoint)]
    {
        if is_on(address) {
            reachable &= reach(name, address, setting(&config, name, "ca_file"), &mut findings).await;
        }
    }
    if is_on(&servers.tempo_endpoint) {
        let ca_file = setting(&config, "tempo", "ca_file");
        reachable &= reach("tempo, queries", &servers.tempo_url, ca_file, &mut findings).await;
    }
    let metrics_arrive = write_and_read(&servers, &config, &mut findings).await?;
    if reachable && metrics_arrive && is_on(&servers.mimir_endpoint) {
        let prometheus = servers.readers()?.prometheus;
        findings.add("metrics", "one path only", one_path(&prometheus, scraped.as_deref()).await);
    }
    Ok(findings)
}

/// A setting of one server, or of all with an empty name, if it has a value.
fn setting<'a>(config: &'a Config, server: &str, name: &str) -> Option<&'a str> {
    let name = if server.is_empty() { name.to_owned() } else { format!("{server}.{name}") };
    let value = config.get(&name)?.value.as_str();
    (!matches!(value, "" | "none" | "off")).then_some(value)
}

/// Name, connection, and what an HTTP server says of itself.
async fn reach(name: &str, address: &str, ca_file: Option<&str>, findings: &mut Findings) -> bool {
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
    // A gRPC receiver without TLS, where HTTP/2 would be agreed on, speaks no HTTP/1; the write below tells the rest of it.
    if name == "tempo" && url.scheme() == "http" {
        return true;
    }
    let answer = ask(&url, ca_file).await;
    let check = if url.scheme() == "https" { "TLS, HTTP" } else { "HTTP" };
    let said = match &answer {
        Ok(answer) if answer.status.is_server_error() => {
            Err(anyhow::anyhow!("{} answers {}", answer.url, answer.status))
        }
        Ok(answer) => Ok(format!("{} answers {}", answer.url, answer.status)),
        Err(error) => Err(anyhow::anyhow!("{error:#}")),
    };
    let answered = findings.add(name, check, said);
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
async fn ask(url: &Url, ca_file: Option<&str>) -> anyhow::Result<Answer> {
    let mut url = url.clone();
    url.set_path("/ready");
    // Fails only for URLs that have no user info either.
    let _ = url.set_password(None);
    let _ = url.set_username("");
    let http = http_client(ca_file)?;
    let answer = http.get(url.clone()).send().await.map_err(|error| error.without_url())?;
    let date = answer.headers().get("date").and_then(|date| httpdate::parse_http_date(date.to_str().ok()?).ok());
    Ok(Answer { url, status: answer.status(), date })
}

/// A client that trusts what lgtm trusts: the platform's roots and the file of the settings.
fn http_client(ca_file: Option<&str>) -> anyhow::Result<reqwest::Client> {
    // Only the first of a process is installed, and all are the same.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder = reqwest::Client::builder().timeout(TIMEOUT).no_proxy();
    if let Some(file) = ca_file {
        let pem = std::fs::read(file).with_context(|| format!("the file of authorities {file}"))?;
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

/// One write of each signal, reading each back, and the links between them. Gives whether metrics arrive.
async fn write_and_read(servers: &Servers, config: &Config, findings: &mut Findings) -> anyhow::Result<bool> {
    let trip = match Trip::write(&servers.ingest()).await {
        Ok(trip) => trip,
        Err(error) => {
            findings.add("settings", "start", Err(error));
            return Ok(false);
        }
    };
    let readers: Readers = servers.readers()?;
    let on = |address: &String| address != OFF;
    let mut written = [false; 3];
    let signals = [
        ("logs", "loki", &servers.loki_url),
        ("traces", "tempo", &servers.tempo_endpoint),
        ("metrics", "mimir", &servers.mimir_endpoint),
    ];
    for ((signal, server, address), written) in signals.into_iter().zip(&mut written) {
        if on(address) {
            let delivered = trip.delivered(signal);
            admission(signal, server, config, &delivered, findings);
            *written = findings.add(signal, "write", delivered);
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
    Ok(metrics)
}

/// Who we are to the server, and as which tenant: what the write says of both. Nothing where it has not got so far.
fn admission(signal: &str, server: &str, config: &Config, delivered: &anyhow::Result<String>, findings: &mut Findings) {
    let refusal = delivered.as_ref().err().map(|error| format!("{error:#}"));
    let (auth, tenant) = match refusal.as_deref() {
        None => (true, true),
        Some(said) if is_about_tenants(said) => (true, false),
        Some(said) if is_unauthorized(said) => (false, true),
        Some(_) => return,
    };
    let with = |what: Option<&str>, none: &str| what.map_or_else(|| none.to_owned(), str::to_owned);
    let outcome = |taken: bool, shown: String| {
        if taken { Ok(format!("taken {shown}")) } else { Err(anyhow::anyhow!("refused {shown}")) }
    };
    let authentication = setting(config, server, "authentication");
    let authentication = with(authentication.map(|it| format!("with {it}")).as_deref(), "without credentials");
    // Whoever is not let in is not asked for a tenant.
    findings.add(signal, "auth", outcome(auth, authentication));
    if auth {
        let name = setting(config, server, "tenant").map(|tenant| format!("as tenant {tenant}"));
        findings.add(signal, "tenant", outcome(tenant, with(name.as_deref(), "without a tenant")));
    }
}

/// Whether a refusal is about the missing tenant: Loki, Tempo and Mimir answer 401 with these words.
fn is_about_tenants(said: &str) -> bool {
    let said = said.to_lowercase();
    ["no org id", "x-scope-orgid", "no credentials provided"].iter().any(|words| said.contains(words))
}

/// A bare number would not do: what is said has counts of items in it.
fn is_unauthorized(said: &str) -> bool {
    let said = said.to_lowercase();
    let words = ["status 401", "status 403", "unauthorized", "unauthenticated", "permission"];
    words.iter().any(|words| said.contains(words))
}

/// A program whose metrics are scraped and pushed has every sample twice.
async fn one_path(prometheus: &Prometheus, metrics_addr: Option<&str>) -> anyhow::Result<String> {
    if let Some(address) = metrics_addr.filter(|address| *address != "off") {
        anyhow::bail!("this environment has both: LGTM_METRICS_ADDR ({address}) and MIMIR_ENDPOINT");
    }
    let series = async |name: &str| -> anyhow::Result<Vec<Labels>> {
        let answer = timeout(TIMEOUT, prometheus.query(name, None)).await.context("no answer")??;
        Ok(answer.data.vector().iter().map(|sample| sample.labels.clone()).collect())
    };
    let (scraped, told) = (series("up").await?, series("target_info").await?);
    let same = |a: &Labels, b: &Labels, names: [&str; 2]| names.iter().all(|name| a.get(*name) == b.get(*name));
    // What is scraped may tell of itself too: those have the instance that the scraper gives.
    let pushed = told.iter().filter(|one| !scraped.iter().any(|other| same(one, other, ["job", "instance"])));
    let both = pushed.filter(|one| scraped.iter().any(|other| same(one, other, ["job", "environment"])));
    let jobs: BTreeSet<&str> = both.filter_map(|one| one.get("job").map(String::as_str)).collect();
    let jobs: Vec<&str> = jobs.into_iter().collect();
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
        "HTTP" | "TLS, HTTP" if has(&["answers 5"]) => {
            format!("{service} runs and is not ready: `cargo xtask stack status`, and its own log")
        }
        "HTTP" | "TLS, HTTP" => "another program listens there, or http and https are mixed up: mend the address".to_owned(),
        "clock" => "set this machine's clock (NTP): Loki and Mimir refuse what is too far ahead or behind".to_owned(),
        "tenant" => "the server wants a tenant: LGTM_TENANT".to_owned(),
        "auth" if has(&["with "]) => "the server does not know these credentials, or they may not write: LGTM_USERNAME and LGTM_PASSWORD, or LGTM_TOKEN with the scopes logs:write, traces:write, metrics:write".to_owned(),
        "auth" => "the server wants credentials: LGTM_USERNAME and LGTM_PASSWORD, or LGTM_TOKEN".to_owned(),
        "write" if is_about_tenants(&said) || is_unauthorized(&said) => "see the row above".to_owned(),
        "write" if has(&["rate_limited", "rate limit", "limit"]) => "the tenant's limits are reached: raise them at the server, or send less".to_owned(),
        "write" if has(&["connection", "unavailable", "refused", "timeout", "timed out"]) => {
            format!("the server of the {what} does not answer: see DNS and TCP above, and the server's own log (`cargo xtask stack logs`)")
        }
        "write" if has(&["status 404", "): 404", "unimplemented"]) => "the path is wrong: MIMIR_ENDPOINT wants /api/v1/push of Mimir or /api/v1/write of Prometheus (with --web.enable-remote-write-receiver); TEMPO_ENDPOINT wants an OTLP receiver".to_owned(),
        "write" => "the server's own words are above; its log has more (`cargo xtask stack logs`)".to_owned(),
        "one path only" => "choose one: leave LGTM_METRICS_ADDR away, or set MIMIR_ENDPOINT=off; or the job is scraped by mistake".to_owned(),
        "exemplar to trace" => "the backend keeps no exemplars: Prometheus needs --enable-feature=exemplar-storage, Mimir max_global_exemplars_per_user".to_owned(),
        _ if is_unauthorized(&said) || is_about_tenants(&said) => {
            "the credentials may write and not read: give them the scopes logs:read, traces:read, metrics:read".to_owned()
        }
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
            ("HTTP", "http://localhost:3100/ready answers 503 Service Unavailable", "not ready"),
            ("HTTP", "error sending request", "another program"),
            ("auth", "refused without credentials", "wants credentials"),
            ("auth", "refused with basic ann", "does not know these"),
            ("tenant", "refused without a tenant", "LGTM_TENANT"),
            ("write", "1 failed requests (unauthorized): 401", "row above"),
            ("write", "status 404: not found", "path"),
            ("clock", "its clock is 90 s behind", "NTP"),
        ] {
            assert!(remedy("loki", check, said).contains(word), "{check}: {said}: {}", remedy("loki", check, said));
        }
    }

    #[test]
    fn a_refusal_is_about_the_tenant_or_the_credentials_or_neither() {
        let checks = |delivered: anyhow::Result<String>| {
            let mut findings = Findings::default();
            admission("logs", "loki", &lgtm::builder().config().unwrap(), &delivered, &mut findings);
            findings.0.iter().map(|finding| (finding.check, finding.ok)).collect::<Vec<_>>()
        };
        let refused = |said: &'static str| checks(Err(anyhow::anyhow!(said)));
        assert_eq!(checks(Ok("log lines: 1 created".to_owned())), [("auth", true), ("tenant", true)]);
        assert_eq!(refused("1 rejected: 401 Unauthorized: no org id"), [("auth", true), ("tenant", false)]);
        assert_eq!(refused("1 rejected: 401 Unauthorized: invalid token"), [("auth", false)]);
        assert_eq!(refused("Connection refused"), []);
        assert_eq!(refused("samples: 401 created, 0 delivered, 403 dropped (shutdown)"), [], "counts are no answers");
    }

    #[tokio::test]
    async fn where_nobody_listens_the_check_says_so_and_no_further_one_is_made() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        drop(listener);
        let mut findings = Findings::default();
        assert!(!reach("loki", &address, None, &mut findings).await);
        let checks: Vec<_> = findings.0.iter().map(|finding| (finding.check, finding.ok)).collect();
        assert_eq!(checks, [("DNS", true), ("TCP", false)]);
        assert!(!reach("loki", "localhost", None, &mut findings).await);
        assert_eq!(findings.0.last().unwrap().check, "address");
    }
}
