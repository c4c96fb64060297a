//! One order through four programs: axum, tonic, OpenTelemetry's own API, and a queue. What they tell is one trace with one link, and each
//! log line leads into it.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "a failed step fails the test, also in its helpers; the trace is shown"
)]

use std::error::Error;
use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use lgtm_devstack::Devstack;
use lgtm_query::{LogQuery, Loki, Span, SpanKind, Tempo, TimeRange, Trace, TraceId, Wait};
use lgtm_tests::real::Server;
use lgtm_tests::signals::PATIENCE;

type Outcome = Result<(), Box<dyn Error>>;

/// A running service; its end ends the program.
struct Service {
    child: Child,
    out: BufReader<ChildStdout>,
    address: String,
}

impl Service {
    fn start(arguments: &[&str], loki: &str, otlp: &str) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_relay"));
        command.args(arguments).env_clear().env("LOKI_URL", loki).env("TEMPO_ENDPOINT", otlp);
        command.env("MIMIR_ENDPOINT", "off").env("LGTM_CONSOLE", "off").env("LGTM_SHUTDOWN_TIMEOUT", "30s");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the service starts");
        let mut out = BufReader::new(child.stdout.take().expect("its output"));
        let mut address = String::new();
        out.read_line(&mut address).expect("its address");
        Self { child, out, address: address.trim().to_owned() }
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Ends it in order; gives what it says of its telemetry.
    fn end(mut self) -> String {
        drop(self.child.stdin.take());
        let mut said = String::new();
        self.out.read_to_string(&mut said).expect("its report");
        assert!(self.child.wait().expect("its end").success(), "{said}");
        said
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends an order through the four, and ends them.
async fn order(loki: &str, otlp: &str) -> Outcome {
    let packer = Service::start(&["packer"], loki, otlp);
    let dispatcher = Service::start(&["dispatcher", &packer.address], loki, otlp);
    let stock = Service::start(&["stock", &dispatcher.url()], loki, otlp);
    let front = Service::start(&["front", &stock.url()], loki, otlp);
    let answer = lgtm_tests::client::plain().post(format!("{}/orders/17", front.url())).send().await?;
    assert_eq!(answer.error_for_status()?.text().await?, "on its way\n");
    // From the front backwards: each ends when nobody asks it any more; the packer by the end of its queue.
    for (service, spans) in [(front, 2), (stock, 2), (dispatcher, 2), (packer, 1)] {
        let said = service.end();
        for created in
            [format!("spans: {spans} created, {spans} delivered"), "log lines: 1 created, 1 delivered".to_owned()]
        {
            assert!(said.contains(&created), "{created}: {said}");
        }
    }
    Ok(())
}

/// The one line of a service: its message, trace and span.
async fn line(loki: &Loki, service: &str) -> Result<(String, TraceId, String), Box<dyn Error>> {
    let range = TimeRange::last(Duration::from_secs(600)).widened(Duration::from_secs(60));
    let query = LogQuery::new(format!(r#"{{service_name="relay-{service}"}}"#)).range(range);
    let found = Wait::up_to(PATIENCE).until(|| loki.query_range(&query), |data| !data.entries().is_empty()).await?;
    let entries = found.entries();
    let [(stream, entry)] = entries.as_slice() else { panic!("one line of {service}: {entries:?}") };
    let value = |name: &str| stream.value(entry, name).unwrap_or_default().to_owned();
    let line: serde_json::Value = serde_json::from_str(&entry.line)?;
    assert_eq!((value("trace_sampled").as_str(), &line["order_id"]), ("true", &line["order_id"]), "{line}");
    Ok((line["message"].as_str().unwrap_or_default().to_owned(), value("trace_id").parse()?, value("span_id")))
}

async fn one_trace_and_one_link(loki: &str, tempo: &str, otlp: &str) -> Outcome {
    order(loki, otlp).await?;
    let (loki, tempo) = (Loki::at(loki)?, Tempo::at(tempo)?);
    let (taken, id, taken_in) = line(&loki, "front").await?;
    let whole =
        |count: usize| move |trace: &Option<Trace>| trace.as_ref().is_some_and(|trace| trace.spans.len() == count);
    let trace = Wait::up_to(PATIENCE).until(|| tempo.trace(id), whole(6)).await?.expect("a trace");
    println!("{}", trace.tree());

    let find = |service: &str, kind: SpanKind| -> &Span {
        let of = |span: &&Span| span.service_name == format!("relay-{service}") && span.kind == kind;
        trace.spans.iter().find(of).unwrap_or_else(|| panic!("no {kind:?} of {service}"))
    };
    let front = find("front", SpanKind::Server);
    let (asks, stock) = (find("front", SpanKind::Client), find("stock", SpanKind::Server));
    let (posts, dispatcher) = (find("stock", SpanKind::Client), find("dispatcher", SpanKind::Server));
    let sends = find("dispatcher", SpanKind::Producer);
    let chain = [front, asks, stock, posts, dispatcher, sends];
    assert_eq!(
        chain.map(|span| span.name.as_str()),
        [
            "POST /orders/{id}",
            "grpc.health.v1.Health/Check",
            "grpc.health.v1.Health/Check",
            "POST",
            "POST /dispatch/{order}",
            "send shipments"
        ]
    );
    let parents = chain.map(|span| span.parent_span_id);
    assert_eq!(
        parents,
        [
            None,
            Some(front.span_id),
            Some(asks.span_id),
            Some(stock.span_id),
            Some(posts.span_id),
            Some(dispatcher.span_id)
        ]
    );

    let (reserved, reserved_id, reserved_in) = line(&loki, "stock").await?;
    let (handed, handed_id, handed_in) = line(&loki, "dispatcher").await?;
    assert_eq!([taken, reserved, handed], ["order taken", "goods reserved", "handed to the packers"]);
    assert_eq!([reserved_id, handed_id], [id, id]);
    assert_eq!([taken_in, reserved_in, handed_in], [front, stock, dispatcher].map(|span| span.span_id.to_string()));

    let (packed, packed_id, packed_in) = line(&loki, "packer").await?;
    let linked = Wait::up_to(PATIENCE).until(|| tempo.trace(packed_id), whole(1)).await?.expect("a trace");
    println!("{}", linked.tree());
    let [span] = linked.spans.as_slice() else { panic!("one span: {linked:?}") };
    assert_eq!((packed.as_str(), span.name.as_str(), span.kind), ("packed", "process shipments", SpanKind::Consumer));
    assert_eq!((packed_in, span.parent_span_id), (span.span_id.to_string(), None));
    let [link] = span.links.as_slice() else { panic!("one link: {:?}", span.links) };
    assert_eq!((link.trace_id, link.span_id), (id, sends.span_id));
    Ok(())
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

#[test]
fn an_order_through_four_programs_is_one_trace_and_one_link_with_the_lines_of_all() -> Outcome {
    let stack = Devstack::start_blocking()?;
    runtime().block_on(one_trace_and_one_link(&stack.loki_url(), &stack.tempo_url(), &stack.otlp_grpc_url()))
}

#[test]
fn real_loki_and_tempo_show_the_same() -> Outcome {
    let (Some(loki), Some(tempo)) = (Server::loki(), Server::tempo()) else { return Ok(()) };
    runtime().block_on(async {
        loki.ready().await;
        tempo.ready().await;
        one_trace_and_one_link(loki.url(), tempo.url(), tempo.otlp_grpc_url()).await
    })
}
