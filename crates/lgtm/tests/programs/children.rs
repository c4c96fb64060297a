//! The programs. Each is what a user's `main` looks like.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::harness::say;

pub(crate) fn run(name: &str) {
    match name {
        "order" => order_and_report(),
        "order in current_thread" => in_runtime(&mut tokio::runtime::Builder::new_current_thread()),
        "order in multi_thread" => in_runtime(tokio::runtime::Builder::new_multi_thread().worker_threads(2)),
        "order, then drop" => drop_in_runtime(),
        "order, then panic" => panic_after_order(),
        "order, then flush" => flush(),
        "order in code" => in_code(),
        "scraped" => scraped(),
        "told" => told(),
        "own registry" => own_registry(),
        #[cfg(unix)]
        "fork" => fork_and_go_on(),
        #[cfg(unix)]
        "order, then signal" => order_then_signal(),
        #[cfg(unix)]
        "own handler" => own_handler(),
        "cancelled shutdown" => cancelled_shutdown(),
        "late" => late(),
        "secrets" => secrets(),
        "failing start" => failing_start(),
        "init only" => init_only(),
        "init twice" => init_twice(),
        "subscriber set" => subscriber_set(),
        "recorder set" => recorder_set(),
        "recorder that logs" => crate::hostile::recorder_that_logs(),
        "guard dropped inside" => crate::hostile::guard_dropped_inside(),
        other => {
            let programs = [
                crate::waits::program,
                crate::hostile::program,
                crate::clocks::program,
                crate::ends::program,
                crate::admin::program,
                crate::authentication::program,
            ];
            let mut known = programs.iter().any(|program| program(other));
            #[cfg(unix)]
            {
                known = known || crate::forks::program(other);
            }
            #[cfg(feature = "devstack")]
            {
                known = known || crate::devstack::program(other);
            }
            #[cfg(target_os = "linux")]
            {
                known = known || crate::idle::program(other);
            }
            assert!(known, "no program `{other}`");
        }
    }
}

/// A span with a child and an event, a counter, and a histogram inside the span.
#[tracing::instrument(fields(otel.kind = "server"))]
pub(crate) fn order(id: u64) {
    metrics::counter!("orders_total", "kind" => "book").increment(1);
    metrics::histogram!("order_duration_seconds").record(0.25);
    tracing::info!(copies = 3, "order placed");
    tracing::info_span!("store", db.system.name = "sqlite").in_scope(|| tracing::debug!("stored"));
}

fn order_and_report() {
    let telemetry = lgtm::init().unwrap();
    order(17);
    say(&telemetry.shutdown().json());
}

fn in_runtime(builder: &mut tokio::runtime::Builder) {
    builder.enable_all().build().unwrap().block_on(async {
        let telemetry = lgtm::init().unwrap();
        order(17);
        telemetry.flush_async().await.unwrap();
        say(&telemetry.shutdown_async().await.json());
    });
}

/// What a program can ask and change while it runs.
fn told() {
    let telemetry = lgtm::builder()
        .log_label("team", "books")
        .log_label_from_field("queue", 2)
        .remote_write(lgtm::RemoteWrite::Two)
        .native_histograms_for("order_duration_seconds", 160)
        .render_metrics()
        .init()
        .unwrap();
    for name in ["service_name", "log_labels", "log_filter"] {
        let setting = telemetry.config().get(name).unwrap();
        say(&format!("{} from {}", setting.value, setting.source));
    }
    let filters = telemetry.filters();
    tracing::debug!(queue = "mail", "not yet");
    filters.set_log_filter("debug").unwrap();
    tracing::debug!(queue = "mail", "now");
    order(17);
    let sampling = telemetry.sampling();
    let usual = sampling.sampler();
    assert!(sampling.set(lgtm::Sampler::TraceIdRatio(1.5)).unwrap_err().to_string().contains("1.5"));
    sampling.set(lgtm::Sampler::AlwaysOff).unwrap();
    tracing::info_span!("left out").in_scope(|| tracing::info!("in a trace that is left out"));
    sampling.set(usual).unwrap();
    tracing::info_span!("kept").in_scope(|| ());
    let renderer = telemetry.metrics_renderer().unwrap();
    let text = renderer.render(lgtm::MetricsFormat::Text);
    say(text.lines().find(|line| line.starts_with("orders_total{")).unwrap());
    say(&telemetry.shutdown().json());
}

fn drop_in_runtime() {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
        let telemetry = lgtm::init().unwrap();
        order(17);
        drop(telemetry);
    });
}

fn panic_after_order() {
    let _telemetry = lgtm::init().unwrap();
    order(17);
    panic!("the program's own mistake");
}

fn flush() {
    let telemetry = lgtm::init().unwrap();
    order(17);
    let report = telemetry.flush().unwrap();
    assert_eq!(report.pending(), 0, "{report}");
    say(&report.json());
    // No destructor runs: what arrived, arrived by the flush.
    std::process::exit(0);
}

fn in_code() {
    let endpoint = |variable: &str| lgtm::Endpoint::parse(&std::env::var(variable).unwrap()).unwrap();
    let telemetry = lgtm::builder()
        .ignore_environment()
        .service_name("code")
        .resource_attribute("deployment.environment.name", "test")
        .loki(endpoint("LOKI_URL"))
        .tempo(endpoint("TEMPO_ENDPOINT"))
        .tempo_protocol(lgtm::Protocol::Grpc)
        .mimir(endpoint("MIMIR_ENDPOINT"))
        .console(lgtm::Console::Off)
        .sampler(lgtm::Sampler::AlwaysOn)
        .log_filter("debug")
        .span_filter("info")
        .overflow(lgtm::Overflow::Block(Duration::from_secs(30)))
        .memory_budget(8 * 1024 * 1024)
        .shutdown_timeout(Duration::from_secs(30))
        .init()
        .unwrap();
    order(17);
    say(&telemetry.shutdown().json());
}

fn scraped() {
    let telemetry = lgtm::init().unwrap();
    order(17);
    let mut connection = TcpStream::connect(telemetry.metrics_addr().unwrap()).unwrap();
    connection
        .write_all(b"GET /metrics HTTP/1.1\r\nhost: localhost\r\naccept: application/openmetrics-text; version=1.0.0\r\nconnection: close\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    for line in answer.lines() {
        say(line);
    }
    say(&telemetry.shutdown().json());
}

/// What an asynchronous shutdown began, dropping the guard ends.
fn cancelled_shutdown() {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
        let telemetry = lgtm::init().unwrap();
        order(17);
        tokio::select! {
            biased;
            report = telemetry.shutdown_async() => panic!("ended at once: {report}"),
            () = std::future::ready(()) => {}
        }
        drop(telemetry);
    });
}

/// Events after the end are counted, and the shutdown's duration is said.
fn late() {
    let telemetry = lgtm::init().unwrap();
    order(17);
    let begin = Instant::now();
    let _ = telemetry.shutdown();
    say(&begin.elapsed().as_millis().to_string());
    tracing::warn!("too late");
    say(&telemetry.report().json());
}

fn init_only() {
    match lgtm::init() {
        Ok(_) => say("started"),
        Err(error) => say(&format!("{error:?}")),
    }
}

/// Says everything that can be said of everything that knows a secret.
fn secrets() {
    let builder = lgtm::builder();
    say(&format!("{builder:?} {builder:#?}"));
    let telemetry = builder.init().unwrap();
    say(&format!("{telemetry:?} {telemetry:#?} {} {:?}", telemetry.config(), telemetry.config()));
    let address = telemetry.metrics_addr().unwrap();
    say_what_endpoints_show();
    let span = tracing::info_span!("login", db.password = "s3cr3t-of-a-field", late_token = tracing::field::Empty);
    span.record("late_token", "s3cr3t-of-a-late-field");
    span.in_scope(|| {
        tracing::info!(api_key = "s3cr3t-of-an-event", authorization = ?Some("s3cr3t"), "in");
        metrics::histogram!("logins_seconds", "password" => "s3cr3t-of-a-label").record(0.1);
        let error = std::io::Error::other("s3cr3t-of-an-error");
        tracing::error!(secret = &error as &dyn std::error::Error, "out");
    });
    let _ = std::panic::catch_unwind(|| {
        let _inside = tracing::info_span!("fails", session_cookie = "s3cr3t-of-a-panic").entered();
        panic!("on purpose");
    });
    let _ = telemetry.flush();
    say(&scrape(address, "s3cr3t-token-of-a-file"));
    say(&scrape(address, "s3cr3t-wrong"));
    say(&format!("{:?}", telemetry.report()));
    let report = telemetry.shutdown();
    say(&format!("the end: {report} {report:?} {}", report.json()));
}

/// What a scrape with this token gets.
fn scrape(address: std::net::SocketAddr, token: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    let head = "Host: localhost\r\nConnection: close\r\n";
    write!(stream, "GET /metrics HTTP/1.1\r\n{head}Authorization: Bearer {token}\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Endpoints, targets, builders and errors of every crate, with a secret in each place.
fn say_what_endpoints_show() {
    use lgtm::{Endpoint, Proxy, Secret};
    use lgtm_core::pipeline::Target;
    let proxy = Proxy::At("http://me:s3cr3t@proxy.example/?s3cr3t#s3cr3t".parse().unwrap());
    let endpoint = Endpoint::parse("https://me:s3cr3t@localhost/?key=s3cr3t#s3cr3t")
        .unwrap()
        .header(http::HeaderName::from_static("x-key"), "s3cr3t")
        .proxy(proxy.clone());
    let token = endpoint.clone().bearer_token("s3cr3t");
    let target = Target::Http { endpoint: token.clone(), default_path: "/", headers: Vec::new() };
    say(&format!("{endpoint:?} {token:#?} {target:?} {proxy:?} {:?}", Secret::new("s3cr3t")));
    let loki = lgtm_loki::builder().endpoint(endpoint.clone());
    let tempo = lgtm_tempo::builder().endpoint(endpoint.clone());
    let mimir = lgtm_mimir::builder().push(endpoint.clone()).listen_token("s3cr3t");
    let all =
        lgtm::builder().loki(endpoint.clone()).tempo(token.clone()).mimir(endpoint.clone()).metrics_token("s3cr3t");
    say(&format!("{loki:?} {tempo:?} {mimir:?} {all:?} {all:#?}"));
    // Both fail: the proxy's scheme, the header's value.
    let refused = endpoint.clone().proxy(Proxy::At("socks5://me:s3cr3t@proxy".parse().unwrap()));
    let unsendable = endpoint.bearer_token("s3cr3t\n");
    for endpoint in [refused, unsendable] {
        let error = lgtm_loki::builder().endpoint(endpoint).build().map(|_| ()).unwrap_err();
        say(&format!("{error} {error:?}"));
    }
    let pipeline =
        lgtm_loki::builder().endpoint(Endpoint::parse("http://me:s3cr3t@127.0.0.1:9/?s3cr3t").unwrap()).build();
    say(&format!("{:?}", pipeline.unwrap()));
}

fn failing_start() {
    let builder = lgtm::builder();
    say(&format!("{builder:?}"));
    match builder.init() {
        Ok(_) => say("started"),
        Err(error) => {
            say(&format!("{error} {error:?} {:?}", std::error::Error::source(&error).map(ToString::to_string)))
        }
    }
}

fn init_twice() {
    let _first = lgtm::init().unwrap();
    say(&lgtm::init().unwrap_err().to_string());
}

fn subscriber_set() {
    use tracing_subscriber::util::SubscriberInitExt as _;
    tracing_subscriber::registry().init();
    say(&lgtm::init().unwrap_err().to_string());
}

fn recorder_set() {
    metrics::set_global_recorder(metrics::NoopRecorder).unwrap();
    say(&lgtm::init().unwrap_err().to_string());
    say(&lgtm::builder().without_metrics().init().is_ok().to_string());
}

fn own_registry() {
    use tracing_subscriber::prelude::*;

    let (layers, telemetry) = lgtm::builder().layers().unwrap();
    // The program's other layer sees what lgtm's filter refuses.
    let seen = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counter = std::sync::Arc::clone(&seen);
    let own = tracing_subscriber::filter::dynamic_filter_fn(move |_, _| {
        counter.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        true
    });
    let other = tracing_subscriber::fmt::layer().with_writer(std::io::sink).with_filter(own);
    tracing_subscriber::registry().with(layers).with(other).init();
    metrics::set_global_recorder(telemetry.recorder().unwrap()).unwrap();
    order(17);
    tracing::debug!("for the other layer alone");
    say(&seen.load(std::sync::atomic::Ordering::SeqCst).to_string());
    say(&telemetry.shutdown().json());
}

#[cfg(unix)]
fn order_then_signal() {
    let _telemetry = lgtm::init().unwrap();
    order(17);
    signal_hook::low_level::raise(signal_hook::consts::SIGTERM).unwrap();
    std::thread::sleep(Duration::from_secs(60));
    say("still alive");
}

#[cfg(unix)]
fn own_handler() {
    let mut signals = signal_hook::iterator::Signals::new([signal_hook::consts::SIGTERM]).unwrap();
    let telemetry = lgtm::init().unwrap();
    order(17);
    signal_hook::low_level::raise(signal_hook::consts::SIGTERM).unwrap();
    say(&signals.forever().next().unwrap().to_string());
    say(&telemetry.shutdown().json());
}

#[cfg(unix)]
fn fork_and_go_on() {
    let telemetry = lgtm::init().unwrap();
    order(17);
    match fork::fork().unwrap() {
        fork::Fork::Child => {
            order(18);
            let begin = Instant::now();
            assert!(telemetry.flush().is_err(), "nobody sends here");
            drop(telemetry);
            // The parent reads standard output: the child speaks by its status.
            std::process::exit(i32::from(begin.elapsed() > Duration::from_secs(2)));
        }
        fork::Fork::Parent(child) => {
            let status = fork::waitpid(child).unwrap();
            say(&format!("{status:?}"));
            order(19);
            say(&telemetry.shutdown().json());
        }
    }
}
