//! The queries from the command line to what is shown, against the development stack.

use std::time::Duration;

use clap::Parser;
use lgtm::{Console, Endpoint};
use lgtm_devstack::Devstack;
use lgtm_query::Wait;
use tracing_subscriber::layer::SubscriberExt as _;

use super::*;
use crate::servers::{self, Readers};

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    options: Options,
}

/// A program has said a line and a sample within a span, and all of it has arrived. It runs on: with its end its series would end.
async fn stack_with_one_of_each() -> (Devstack, Readers, lgtm::Telemetry) {
    let stack = Devstack::start().await.unwrap();
    let endpoint = |url: String| Endpoint::parse(&url).unwrap();
    let (layers, telemetry) = lgtm::builder()
        .ignore_environment()
        .service_name("shop")
        .console(Console::Off)
        .loki(endpoint(stack.loki_url()))
        .tempo(endpoint(stack.otlp_grpc_url()))
        .mimir(endpoint(stack.mimir_url()))
        .layers::<tracing_subscriber::Registry>()
        .unwrap();
    let recorder = telemetry.recorder().unwrap();
    tracing::subscriber::with_default(tracing_subscriber::registry().with(layers), || {
        metrics::with_local_recorder(&recorder, || {
            tracing::info_span!("POST /orders", otel.kind = "server").in_scope(|| {
                tracing::warn!(sku = 13, "almost out of stock");
                metrics::counter!("orders_total").increment(3);
            });
        });
    });
    let report = telemetry.flush_async().await.unwrap();
    assert_eq!(report.lost(), 0, "{report}");
    let readers = servers::devstack_readers(&stack).unwrap();
    let search = lgtm_query::TraceSearch::new("{ }");
    Wait::up_to(Duration::from_secs(10))
        .until(|| readers.tempo.search(&search), |found| !found.is_empty())
        .await
        .unwrap();
    (stack, readers, telemetry)
}

async fn answer(readers: &Readers, arguments: &[&str]) -> (anyhow::Result<Outcome>, String) {
    let line = Line::try_parse_from([&["query"], arguments].concat()).unwrap();
    let mut bytes = Vec::new();
    let mut screen = Screen::plain(&mut bytes, 100);
    let outcome = ask(&line.options, readers, &mut screen).await;
    drop(screen);
    (outcome, String::from_utf8(bytes).unwrap())
}

async fn found(readers: &Readers, arguments: &[&str]) -> String {
    let (outcome, shown) = answer(readers, arguments).await;
    assert!(matches!(outcome, Ok(Outcome::Found)), "{outcome:?}: {shown}");
    shown
}

#[tokio::test(flavor = "multi_thread")]
async fn each_signal_is_found_and_shown_as_text_and_as_lines_of_json() {
    let (_stack, readers, _telemetry) = stack_with_one_of_each().await;

    let logs = found(&readers, &["logs", r#"{service="shop"} |= "stock""#]).await;
    assert!(logs.contains("WARN  shop almost out of stock  sku=13 trace_id="), "{logs}");
    let logs = found(&readers, &["logs", r#"{service="shop"}"#, "--json"]).await;
    let entry: serde_json::Value = serde_json::from_str(logs.trim()).unwrap();
    assert_eq!(entry["labels"]["level"], "warn");
    let id = entry["structured_metadata"]["trace_id"].as_str().unwrap();

    let table = found(&readers, &["traces", r#"{ resource.service.name = "shop" }"#]).await;
    assert!(table.lines().any(|line| line.starts_with(id) && line.ends_with("POST /orders")), "{table}");
    let tree = found(&readers, &["traces", id.trim_start_matches('0')]).await;
    assert!(tree.contains("shop  POST /orders [server] ") && tree.contains("  ████"), "{tree}");
    assert!(tree.contains("• almost out of stock [warn]"), "{tree}");
    assert_eq!(found(&readers, &["traces", "{ }", "--tree"]).await, tree);
    let span: serde_json::Value =
        serde_json::from_str(found(&readers, &["traces", id, "--json"]).await.trim()).unwrap();
    assert_eq!(
        (span["name"].as_str(), span["resource"]["service.name"].as_str()),
        (Some("POST /orders"), Some("shop"))
    );

    let table = found(&readers, &["metrics", "orders_total"]).await;
    assert!(table.starts_with("3  orders_total{"), "{table}");
    let chart = found(&readers, &["metrics", "orders_total", "--since", "1m", "--step", "1s"]).await;
    assert!(chart.starts_with("orders_total{") && chart.contains("█") && chart.contains("max 3"), "{chart}");
    let lines = found(&readers, &["metrics", "orders_total", "--since", "1m", "--json"]).await;
    let series: serde_json::Value = serde_json::from_str(lines.trim()).unwrap();
    assert_eq!(series["labels"]["job"], "shop");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_is_said_with_a_hint() {
    let (_stack, readers, _telemetry) = stack_with_one_of_each().await;
    for (arguments, words) in [
        (["logs", r#"{service="shpo"}"#], ["services with logs", "shop"]),
        (["traces", r#"{ name = "GET /" }"#], ["nothing is found in 1h", "30 s"]),
        (["traces", "abc"], ["00000000000000000000000000000abc", "retention"]),
        (["metrics", "nothing_total"], ["no series has this now", "--since"]),
    ] {
        let (outcome, shown) = answer(&readers, &arguments).await;
        let Ok(Outcome::Empty(said)) = outcome else { panic!("{outcome:?}: {shown}") };
        assert!(words.iter().all(|word| said.contains(word)), "{said}");
        assert_eq!(shown, "");
    }
    let (outcome, _) = answer(&readers, &["logs", "{service="]).await;
    let error = outcome.unwrap_err().to_string();
    assert!(error.starts_with("Loki at http://127.0.0.1:"), "{error}");
}

/// Sends one message to each connection, then closes it; gives what each asked for.
async fn breaking_tail(messages: Vec<&'static str>) -> (String, tokio::task::JoinHandle<Vec<String>>) {
    use futures_util::{SinkExt as _, StreamExt as _};
    use tokio_tungstenite::tungstenite::Message;
    use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let serving = tokio::spawn(async move {
        let mut asked = Vec::new();
        for message in messages {
            let (stream, _) = listener.accept().await.unwrap();
            #[expect(clippy::result_large_err, reason = "the library's own signature")]
            let look = |request: &Request, response: Response| -> Result<Response, ErrorResponse> {
                asked.push(request.uri().query().unwrap_or_default().to_owned());
                Ok(response)
            };
            let mut socket = tokio_tungstenite::accept_hdr_async(stream, look).await.unwrap();
            socket.send(Message::text(message)).await.unwrap();
            // The client may be gone.
            let _ = socket.close(None).await;
            while let Some(Ok(_)) = socket.next().await {}
        }
        asked
    });
    (url, serving)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tail_that_breaks_off_goes_on_after_its_last_entry() {
    let first = r#"{"streams":[{"stream":{"service":"shop"},"values":[["1700000000000000002","one"],["1700000000000000001","zero"]]}]}"#;
    let second = r#"{"streams":[{"stream":{"service":"shop"},"values":[["1700000000000000009","two"]]}],
        "dropped_entries":[{"labels":{},"timestamp":"1700000000000000003"}]}"#;
    let (url, serving) = breaking_tail(vec![first, second]).await;
    let loki = Loki::at(url).unwrap();
    let prometheus = Prometheus::at("http://localhost:1").unwrap();
    let readers = Readers { loki, tempo: lgtm_query::Tempo::at("http://localhost:1").unwrap(), prometheus };
    let shown = found(&readers, &["tail", r#"{service="shop"}"#, "--limit", "3", "--since", "30000d"]).await;
    let lines: Vec<_> = shown.lines().map(|line| line.split_whitespace().last().unwrap()).collect();
    assert_eq!(lines, ["zero", "one", "two"], "{shown}");
    let asked = serving.await.unwrap();
    assert!(asked[1].contains("start=1700000000000000003"), "{asked:?}");
}

#[test]
fn an_output_that_is_gone_is_the_end_and_no_error() {
    let gone = anyhow::Error::from(std::io::Error::from(ErrorKind::BrokenPipe));
    assert!(is_broken_pipe(&gone));
    assert!(!is_broken_pipe(&std::io::Error::from(ErrorKind::StorageFull).into()));
    assert!(!is_broken_pipe(&anyhow::anyhow!("broken pipe")));
}

#[test]
fn mistyped_options_are_refused_with_the_accepted_form() {
    for (arguments, words) in [
        (&["query", "logs", "{}", "--since", "yesterday"][..], "15m"),
        (&["query", "logs", "{}", "--limit", "0"], "1.."),
        (&["query", "metrics", "up", "--step", "15s"], "--since"),
        (&["query", "tail", "{}", "--for", "0s"], "accepted"),
    ] {
        let error = Line::try_parse_from(arguments).err().unwrap().to_string();
        assert!(error.contains(words), "{error}");
    }
}
