//! The development stack as a program of its own: whatever sends to the usual ports is shown in the browser. It runs until it is
//! interrupted. One thread.

use std::net::IpAddr;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use lgtm_devstack::{Devstack, DevstackBuilder, Limits, Ports, ScrapeTarget};

/// Takes logs, traces and metrics as Loki, Tempo, Mimir and OpenTelemetry's collector do, and shows them in the browser. For development: everything
/// is in memory, and gone at the end.
#[derive(Debug, Parser)]
#[command(version)]
struct Options {
    /// The address to listen on. Whoever can reach it can read and write everything.
    #[arg(long, default_value = "127.0.0.1")]
    address: IpAddr,
    /// Takes free ports instead of 3100 (Loki), 4317 and 4318 (OTLP over gRPC and HTTP), 3200 (Tempo), 9009 (Mimir) and 4320 (the window); a
    /// usual port that is taken is replaced by a free one in any case.
    #[arg(long)]
    free_ports: bool,
    /// How much of each signal is held, in MiB; then the oldest goes.
    #[arg(long, value_name = "MIB", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=1_048_576))]
    memory: u32,
    /// An endpoint in Prometheus' formats that is scraped, such as http://127.0.0.1:9464/metrics; may be given several times.
    #[arg(long, value_name = "URL", value_parser = target)]
    scrape: Vec<String>,
    /// Seconds between two scrapes of a target.
    #[arg(long, value_name = "SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    scrape_interval: u64,
}

fn target(text: &str) -> Result<String, String> {
    let is_url = text.parse().is_ok_and(|url: http::Uri| url.scheme_str() == Some("http") && url.host().is_some());
    if is_url { Ok(text.to_owned()) } else { Err("accepted is a URL such as http://127.0.0.1:9464/metrics".to_owned()) }
}

impl Options {
    fn builder(&self) -> DevstackBuilder {
        let bytes = usize::try_from(u64::from(self.memory) << 20).unwrap_or(usize::MAX);
        let limits =
            Limits { log_bytes: bytes, trace_bytes: bytes, metric_bytes: bytes, request_bytes: 0, ..Limits::default() };
        let ports = if self.free_ports { Ports::free() } else { Ports::usual() };
        let builder = Devstack::builder().address(self.address).ports(ports).limits(limits);
        let interval = Duration::from_secs(self.scrape_interval);
        self.scrape
            .iter()
            .fold(builder, |builder, url| builder.scrape_target(ScrapeTarget::new(url).interval(interval)))
    }
}

#[expect(clippy::print_stderr, reason = "a program tells where it listens")]
fn main() -> ExitCode {
    let options = Options::parse();
    let run = async {
        let stack = options.builder().start().await.map_err(|error| error.to_string())?;
        eprint!("{}", stack.startup_note());
        tokio::signal::ctrl_c().await.map_err(|error| format!("cannot wait for an interrupt: {error}"))?;
        eprintln!("held at the end: {}", stack.counts());
        stack.shutdown().await;
        Ok::<_, String>(())
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime.map_err(|error| format!("cannot start: {error}")).and_then(|runtime| runtime.block_on(run)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
