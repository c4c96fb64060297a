//! A program with servers and clients on one thread, and what became of it.

use std::borrow::Borrow;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use lgtm_core::Endpoint;
use lgtm_devstack::{Devstack, Exemplar, Span};
use lgtm_tests::capture::Captured;
use lgtm_tests::signals::{Layers, PATIENCE, Settings};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tracing::Dispatch;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::prelude::*;

/// What has arrived.
pub(crate) struct Observed {
    pub(crate) captured: Captured,
    stack: Devstack,
}

/// Runs `program` on one thread, under all layers and a recorder. What libraries say of themselves is left out.
pub(crate) fn observe(program: impl AsyncFnOnce()) -> Observed {
    let own = filter_fn(|metadata| matches!(metadata.target().split("::").next(), Some("http" | "lgtm_http")));
    observe_on(
        |Layers { loki, tempo, spanmetrics }| {
            Dispatch::new(tracing_subscriber::registry().with(tempo).with(loki).with(spanmetrics).with(own))
        },
        program,
    )
}

/// The same under what `subscriber` makes of the layers.
pub(crate) fn observe_on(subscriber: impl FnOnce(Layers) -> Dispatch, program: impl AsyncFnOnce()) -> Observed {
    let settings = Settings::of("shop");
    let stack = Devstack::start_blocking().expect("a development stack");
    let (layers, pipelines) = settings.start(&stack);
    let endpoint = Endpoint::parse(&stack.mimir_url()).expect("Mimir's address");
    let mimir = lgtm_mimir::builder().push(endpoint).identity(settings.identity.clone()).build().expect("a recorder");
    let dispatch = subscriber(layers);
    metrics::with_local_recorder(&mimir.recorder(), || tracing::dispatcher::with_default(&dispatch, || run(program)));
    for report in pipelines.shutdown(PATIENCE) {
        assert_eq!(report.delivered, report.admitted, "{report}");
    }
    let pipeline = mimir.pipeline().expect("it pushes");
    let deadline = Instant::now() + PATIENCE;
    assert!(pipeline.wait_flushed(&pipeline.begin_flush(), deadline), "{}", pipeline.report());
    pipeline.begin_shutdown(deadline);
    assert!(pipeline.wait_ended(deadline), "{}", pipeline.report());
    let captured = Captured { logs: stack.store().logs(), spans: stack.store().spans() };
    Observed { captured, stack }
}

/// Runs `program` on this thread; its tasks end with it.
pub(crate) fn run(program: impl AsyncFnOnce()) {
    // reqwest does not choose one.
    let _ = tokio_rustls::rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        tokio::time::timeout(PATIENCE, program()).await.expect("the program ends in time");
    });
}

impl Observed {
    /// The only span of this name and kind, such as `server`.
    #[track_caller]
    pub(crate) fn span(&self, kind: &str, name: &str) -> &Span {
        let found: Vec<_> = self.spans(kind).filter(|span| span.name == name).collect();
        match found.as_slice() {
            [span] => span,
            _ => panic!("{} {kind} spans `{name}` among {:?}", found.len(), self.captured.span_names()),
        }
    }

    pub(crate) fn spans(&self, kind: &str) -> impl Iterator<Item = &Span> {
        self.captured.spans.iter().map(|span| &**span).filter(move |span| span.kind.as_str() == kind)
    }

    /// What the series with these labels add up to; `None` if there is no such series.
    pub(crate) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let series = self.stack.store().series_named(name);
        let matching = series.iter().filter(|series| {
            labels.iter().all(|(label, value)| series.labels.get(*label).is_some_and(|found| found == value))
        });
        matching.map(|series| series.last_value().unwrap_or_default()).reduce(|sum, value| sum + value)
    }

    /// The values of these labels of all series of this name, in order.
    pub(crate) fn labels(&self, name: &str, labels: &[&str]) -> Vec<String> {
        let series = self.stack.store().series_named(name);
        let of = |label: &&str, labels: &lgtm_devstack::Labels| labels.get(*label).cloned().unwrap_or_default();
        let mut found: Vec<_> = series
            .iter()
            .map(|series| labels.iter().map(|label| of(label, &series.labels)).collect::<Vec<_>>().join(" "))
            .collect();
        found.sort();
        found
    }

    pub(crate) fn exemplars(&self, histogram: &str) -> Vec<Exemplar> {
        let series = self.stack.store().series_named(&format!("{histogram}_bucket"));
        series.into_iter().flat_map(|series| series.exemplars).collect()
    }
}

/// All attributes of a span but those of its resource, as text, in order of their names.
pub(crate) fn attributes(span: &Span) -> Vec<(&str, String)> {
    let text = |value: &lgtm_devstack::Value| match (value.as_str(), value.as_i64()) {
        (Some(text), _) => text.to_owned(),
        (None, Some(number)) => number.to_string(),
        (None, None) => format!("{value:?}"),
    };
    let mut attributes: Vec<_> = span.attributes.iter().map(|(key, value)| (key, text(value))).collect();
    attributes.sort();
    attributes
}

/// One attribute as text.
pub(crate) fn attribute(span: &Span, key: &str) -> Option<String> {
    attributes(span).into_iter().find(|(name, _)| *name == key).map(|(_, value)| value)
}

/// `error.type`, whether the span failed, and why it says so.
pub(crate) fn failure(span: &Span) -> (Option<String>, bool, &str) {
    (attribute(span, "error.type"), span.is_error(), &span.status.message)
}

/// Serves a router on a free port; callers are known by their addresses.
pub(crate) async fn serve(router: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("its address");
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move { axum::serve(listener, service).await });
    address
}

/// Sends this text to the server and reads its answer until the server closes the connection.
pub(crate) async fn exchange(server: SocketAddr, request: &str) -> String {
    let mut stream = connect(server, request).await;
    let mut answer = Vec::new();
    // A connection that is reset has nothing more to say.
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

/// Sends this text to the server.
pub(crate) async fn connect(server: SocketAddr, request: &str) -> TcpStream {
    let mut stream = TcpStream::connect(server).await.expect("a connection");
    stream.write_all(request.as_bytes()).await.expect("the server listens");
    stream
}

/// A request for `exchange`: the server closes the connection after its answer.
pub(crate) fn request(method: &str, path: &str, headers: &[(&str, &str)]) -> String {
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    format!("{method} {path} HTTP/1.1\r\nHost: shop.example:8080\r\nConnection: close\r\n{headers}\r\n")
}

/// Waits until this is so.
pub(crate) async fn until(is_so: impl Fn() -> bool) {
    while !is_so() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// A body of pieces that come when the test says so; after the last one the sender is dropped.
pub(crate) fn pieces() -> (tokio::sync::mpsc::UnboundedSender<&'static str>, axum::body::Body) {
    let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
    let stream = futures_util::stream::unfold(receiver, async |mut receiver| {
        let piece: &'static str = receiver.recv().await?;
        tracing::info!(piece, "piece made");
        Some((Ok::<_, Infallible>(piece), receiver))
    });
    (sender, axum::body::Body::from_stream(stream))
}

/// Sets its flag when it is dropped, and says so.
pub(crate) struct Dropped<F: Borrow<AtomicBool>>(pub(crate) F);

impl<F: Borrow<AtomicBool>> Drop for Dropped<F> {
    fn drop(&mut self) {
        tracing::info!("dropped");
        self.0.borrow().store(true, Ordering::Release);
    }
}
