//! Loki, Tempo, Prometheus and Cortex, whose push API is Mimir's, as child processes on free ports of the loopback interface, each with a folder of its own. They
//! end with their handle.
//!
//! `LGTM_REAL` says what happens where a program is not on the `PATH`: `auto` (the default) skips its tests and says so,
//! `require` fails them.

use std::fs::File;
use std::hash::{BuildHasher as _, RandomState};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::Duration;

use lgtm_query::{Loki, Prometheus, Tempo, Wait};
use tempfile::TempDir;

/// A server may take this long until it is ready: Loki waits for its ring.
const START: Duration = Duration::from_secs(120);

/// Where this program is; `None` if it is not on the `PATH` and its tests are to be skipped.
///
/// # Panics
/// If the program is missing and `LGTM_REAL=require`, or if `LGTM_REAL` has another value than its two.
#[must_use]
pub fn find(program: &str) -> Option<PathBuf> {
    let mode = std::env::var("LGTM_REAL").unwrap_or_else(|_| "auto".to_owned());
    assert!(matches!(mode.as_str(), "auto" | "require"), "LGTM_REAL is `{mode}`; accepted are auto and require");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file());
    if found.is_none() {
        assert!(mode == "auto", "LGTM_REAL=require, but there is no `{program}` on the PATH");
        eprintln!("skipped: there is no `{program}` on the PATH (LGTM_REAL=require makes this an error)");
    }
    found
}

/// A running server.
#[derive(Debug)]
pub struct Server {
    child: Mutex<Child>,
    name: &'static str,
    folder: TempDir,
    urls: Vec<String>,
}

impl Drop for Server {
    fn drop(&mut self) {
        let child = self.child.get_mut().unwrap_or_else(PoisonError::into_inner);
        // It may have ended by itself.
        let _ = child.kill();
        let _ = child.wait();
    }
}

impl Server {
    fn start(name: &'static str, folder: TempDir, mut command: Command, ports: &[u16]) -> Self {
        let log = File::create(folder.path().join("log")).expect("a file for what the server says");
        let errors = log.try_clone().expect("a second handle to the file");
        let child = command.stdin(Stdio::null()).stdout(log).stderr(errors).spawn().expect("the server starts");
        let urls = ports.iter().map(|port| format!("http://127.0.0.1:{port}")).collect();
        Self { child: Mutex::new(child), name, folder, urls }
    }

    /// Starts Loki; `None` if it is not there.
    #[must_use]
    pub fn loki() -> Option<Self> {
        Self::loki_with("auth_enabled: false", "")
    }

    /// Starts a Loki that wants a tenant, and takes no more than 10 KiB a second of it, 20 KiB at once; `None` if it is not
    /// there.
    #[must_use]
    pub fn strict_loki() -> Option<Self> {
        Self::loki_with("auth_enabled: true", ", ingestion_rate_mb: 0.009765625, ingestion_burst_size_mb: 0.01953125")
    }

    fn loki_with(more: &str, limits: &str) -> Option<Self> {
        let program = find("loki")?;
        let folder = TempDir::new().expect("a folder");
        let [http, grpc] = free_ports();
        let config = folder.path().join("loki.yaml");
        std::fs::write(&config, loki_config(folder.path(), [http, grpc], more, limits)).expect("a configuration");
        let mut command = Command::new(program);
        command.arg(format!("-config.file={}", config.display()));
        Some(Self::start("loki", folder, command, &[http]))
    }

    /// Starts Tempo; `None` if it is not there.
    #[must_use]
    pub fn tempo() -> Option<Self> {
        Self::tempo_in(TempDir::new().expect("a folder"), "")
    }

    /// Starts a Tempo that makes metrics of spans, and writes them to another server by remote write 2 with the client of Prometheus 3, native
    /// histograms and exemplars among them; `None` if it is not there.
    #[must_use]
    pub fn tempo_writing(write_url: &str) -> Option<Self> {
        let folder = TempDir::new().expect("a folder");
        let more = format!(
            "metrics_generator: {{storage: {{path: {}/generator, remote_write: [{{url: '{write_url}', send_exemplars: true, \
             send_native_histograms: true, protobuf_message: io.prometheus.write.v2.Request}}]}}}}\n\
             overrides: {{defaults: {{metrics_generator: {{processors: [span-metrics], generate_native_histograms: both, collection_interval: 2s}}}}}}\n",
            folder.path().display()
        );
        Self::tempo_in(folder, &more)
    }

    fn tempo_in(folder: TempDir, more: &str) -> Option<Self> {
        let program = find("tempo")?;
        let [http, grpc, otlp_grpc, otlp_http, gossip] = free_ports();
        let config = folder.path().join("tempo.yaml");
        let text = tempo_config(folder.path(), [http, grpc, otlp_grpc, otlp_http, gossip]) + more;
        std::fs::write(&config, text).expect("a configuration");
        let mut command = Command::new(program);
        command.arg(format!("-config.file={}", config.display()));
        Some(Self::start("tempo", folder, command, &[http, otlp_grpc, otlp_http]))
    }

    /// Starts Prometheus with its remote-write receiver and exemplar storage; `None` if it is not there.
    #[must_use]
    pub fn prometheus() -> Option<Self> {
        Self::prometheus_with("")
    }

    /// Starts a Prometheus that scrapes this address every second, evaluates rules `(record, expression)` as often, and writes all that to
    /// another server; `None` if it is not there.
    #[must_use]
    pub fn prometheus_writing(target: SocketAddr, rules: &[(&str, &str)], write_url: &str) -> Option<Self> {
        let rules: Vec<String> =
            rules.iter().map(|(record, expr)| format!("{{record: '{record}', expr: '{expr}'}}")).collect();
        let folder = TempDir::new().expect("a folder");
        let file = folder.path().join("rules.yaml");
        let text = format!("groups: [{{name: all, interval: 1s, rules: [{}]}}]\n", rules.join(", "));
        std::fs::write(&file, text).expect("rules");
        Self::prometheus_in(
            folder,
            &format!(
                "rule_files: ['{}']\nremote_write: [{{url: '{write_url}', send_exemplars: true, send_native_histograms: true, \
                 queue_config: {{batch_send_deadline: 200ms}}}}]\n\
                 scrape_configs: [{{job_name: scraped, scrape_interval: 1s, static_configs: [{{targets: ['{target}']}}]}}]\n",
                file.display()
            ),
        )
    }

    /// Starts a Prometheus that also scrapes this address, every second; `None` if it is not there.
    #[must_use]
    pub fn prometheus_scraping(target: SocketAddr) -> Option<Self> {
        Self::prometheus_with(&format!(
            "scrape_configs: [{{job_name: scraped, scrape_interval: 1s, static_configs: [{{targets: ['{target}']}}]}}]\n"
        ))
    }

    fn prometheus_with(scrapes: &str) -> Option<Self> {
        Self::prometheus_in(TempDir::new().expect("a folder"), scrapes)
    }

    fn prometheus_in(folder: TempDir, scrapes: &str) -> Option<Self> {
        let program = find("prometheus")?;
        let [http] = free_ports();
        let config = folder.path().join("prometheus.yaml");
        let text = format!("storage: {{exemplars: {{max_exemplars: 10000}}}}\n{scrapes}");
        std::fs::write(&config, text).expect("a configuration");
        let mut command = Command::new(program);
        command
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{http}"))
            .args(["--web.enable-remote-write-receiver", "--enable-feature=exemplar-storage,native-histograms"]);
        Some(Self::start("prometheus", folder, command, &[http]))
    }

    /// Starts Cortex in one process, with remote write 2, exemplars and native histograms; `None` if it is not there. Its
    /// query API is below `/prometheus`.
    #[must_use]
    pub fn cortex() -> Option<Self> {
        let program = find("cortex")?;
        let folder = TempDir::new().expect("a folder");
        let ports = free_ports();
        let config = folder.path().join("cortex.yaml");
        std::fs::write(&config, cortex_config(folder.path(), ports)).expect("a configuration");
        for name in ["rules", "alerts"] {
            std::fs::create_dir(folder.path().join(name)).expect("a folder");
        }
        let mut command = Command::new(program);
        command.arg(format!("-config.file={}", config.display())).current_dir(folder.path());
        Some(Self::start("cortex", folder, command, &ports[..1]))
    }

    /// The URL of the server's API.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.urls[0]
    }

    /// Tempo's receiver for OTLP over gRPC.
    #[must_use]
    pub fn otlp_grpc_url(&self) -> &str {
        &self.urls[1]
    }

    /// Tempo's receiver for OTLP over HTTP.
    #[must_use]
    pub fn otlp_http_url(&self) -> &str {
        &self.urls[2]
    }

    /// Waits until the server says that it is ready.
    ///
    /// # Panics
    /// If it does not in time; with the last lines of what it said.
    pub async fn ready(&self) {
        let wait = Wait::up_to(START);
        let url = self.url();
        let is_ready = |ready: &bool| *ready;
        let waited = match self.name {
            "loki" => {
                let loki = Loki::at(url).expect("a URL");
                wait.until(|| self.unless_ended(loki.is_ready()), is_ready).await
            }
            "tempo" => {
                let tempo = Tempo::at(url).expect("a URL");
                wait.until(|| self.unless_ended(tempo.is_ready()), is_ready).await
            }
            _ => {
                let prometheus = Prometheus::at(url).expect("a URL");
                wait.until(|| self.unless_ended(prometheus.is_ready()), is_ready).await
            }
        };
        if let Err(error) = waited {
            panic!("{} did not become ready: {error}\n{}", self.name, self.last_words());
        }
    }

    /// The answer, unless nobody is there any more to give one.
    async fn unless_ended<T>(&self, answer: impl Future<Output = T>) -> T {
        assert!(self.is_running(), "{} has ended:\n{}", self.name, self.last_words());
        answer.await
    }

    /// Whether the server has not ended by itself.
    #[must_use]
    pub fn is_running(&self) -> bool {
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        matches!(child.try_wait(), Ok(None))
    }

    /// The end of what the server wrote to its outputs.
    #[must_use]
    pub fn last_words(&self) -> String {
        let text = std::fs::read(self.folder.path().join("log")).unwrap_or_default();
        let text = String::from_utf8_lossy(&text).into_owned();
        let lines: Vec<&str> = text.lines().collect();
        // A Go program that panics says so before the stacks of all its threads.
        let first = lines.iter().position(|line| line.starts_with("panic:") || line.starts_with("fatal error:"));
        let first = first.unwrap_or(lines.len().saturating_sub(30));
        lines[first..].iter().take(30).copied().collect::<Vec<_>>().join("\n")
    }
}

/// Ports that were free a moment ago, below those that the system gives to outgoing connections: in the time that a server takes to
/// start, one of the other tests' connections would get one of these.
fn free_ports<const COUNT: usize>() -> [u16; COUNT] {
    const RANGE: std::ops::Range<u64> = 15_000..32_000;
    // Elsewhere in each process, and never the same twice in one.
    static NEXT: LazyLock<AtomicU64> =
        LazyLock::new(|| AtomicU64::new(RandomState::new().hash_one(std::process::id()) / 2));
    let free = || {
        let number = NEXT.fetch_add(1, Ordering::Relaxed) % (RANGE.end - RANGE.start);
        TcpListener::bind((Ipv4Addr::LOCALHOST, u16::try_from(RANGE.start + number).expect("a port"))).ok()
    };
    let listeners: [TcpListener; COUNT] =
        std::array::from_fn(|_| (0..1000).find_map(|_| free()).expect("a free port among a thousand"));
    listeners.map(|listener| listener.local_addr().expect("its address").port())
}

fn loki_config(folder: &Path, [http, grpc]: [u16; 2], more: &str, limits: &str) -> String {
    let folder = folder.display();
    format!(
        "{more}
server: {{http_listen_address: 127.0.0.1, http_listen_port: {http}, grpc_listen_address: 127.0.0.1, grpc_listen_port: {grpc}}}
common:
  instance_addr: 127.0.0.1
  path_prefix: {folder}/loki
  replication_factor: 1
  storage: {{filesystem: {{chunks_directory: {folder}/loki/chunks, rules_directory: {folder}/loki/rules}}}}
  ring: {{kvstore: {{store: inmemory}}}}
schema_config:
  configs: [{{from: 2024-01-01, store: tsdb, object_store: filesystem, schema: v13, index: {{prefix: index_, period: 24h}}}}]
ingester: {{lifecycler: {{min_ready_duration: 1s}}}}
limits_config: {{allow_structured_metadata: true, volume_enabled: true, reject_old_samples_max_age: 168h{limits}}}
analytics: {{reporting_enabled: false}}
"
    )
}

fn cortex_config(folder: &Path, [http, grpc, gossip]: [u16; 3]) -> String {
    let folder = folder.display();
    let ring = "kvstore: {store: inmemory}";
    format!(
        "auth_enabled: false
target: all
server: {{http_listen_address: 127.0.0.1, http_listen_port: {http}, grpc_listen_address: 127.0.0.1, grpc_listen_port: {grpc}}}
distributor: {{remote_writev2_enabled: true, shard_by_all_labels: true, ring: {{instance_addr: 127.0.0.1, {ring}}}}}
ingester: {{lifecycler: {{address: 127.0.0.1, min_ready_duration: 0s, final_sleep: 0s, ring: {{replication_factor: 1, {ring}}}}}}}
blocks_storage:
  backend: filesystem
  filesystem: {{dir: {folder}/blocks}}
  tsdb: {{dir: {folder}/tsdb}}
  bucket_store: {{sync_dir: {folder}/sync}}
store_gateway: {{sharding_ring: {{instance_addr: 127.0.0.1, replication_factor: 1, {ring}}}}}
compactor: {{data_dir: {folder}/compactor, sharding_ring: {{instance_addr: 127.0.0.1, {ring}}}}}
ruler_storage: {{backend: local, local: {{directory: {folder}/rules}}}}
alertmanager: {{external_url: 'http://127.0.0.1:{http}/alertmanager', data_dir: {folder}/alertmanager, sharding_ring: {{instance_addr: 127.0.0.1, {ring}}}, cluster: {{listen_address: ''}}}}
alertmanager_storage: {{backend: local, local: {{path: {folder}/alerts}}}}
frontend_worker: {{match_max_concurrent: true, frontend_address: '127.0.0.1:{grpc}'}}
memberlist: {{bind_addr: [127.0.0.1], bind_port: {gossip}}}
limits: {{max_exemplars: 10000, enable_native_histograms: true}}
"
    )
}

fn tempo_config(folder: &Path, [http, grpc, otlp_grpc, otlp_http, gossip]: [u16; 5]) -> String {
    let folder = folder.display();
    format!(
        "server: {{http_listen_address: 127.0.0.1, http_listen_port: {http}, grpc_listen_address: 127.0.0.1, grpc_listen_port: {grpc}}}
distributor:
  receivers:
    otlp: {{protocols: {{grpc: {{endpoint: '127.0.0.1:{otlp_grpc}'}}, http: {{endpoint: '127.0.0.1:{otlp_http}'}}}}}}
memberlist: {{bind_addr: [127.0.0.1], bind_port: {gossip}}}
querier: {{frontend_worker: {{frontend_address: '127.0.0.1:{grpc}'}}}}
backend_scheduler: {{local_work_path: {folder}/tempo/scheduler}}
live_store: {{wal: {{path: {folder}/tempo/live-store/traces}}, shutdown_marker_dir: {folder}/tempo/live-store/shutdown-marker}}
storage: {{trace: {{backend: local, wal: {{path: {folder}/tempo/wal}}, local: {{path: {folder}/tempo/blocks}}}}}}
usage_report: {{reporting_enabled: false}}
"
    )
}
