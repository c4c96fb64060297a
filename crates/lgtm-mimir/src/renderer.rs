//! The metrics as text or protobuf, for programs that serve them themselves. Any thread.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, header};

use crate::collect::{Collected, collect};
use crate::exposition::{self, Format};
use crate::negotiation::{Preferred, preferred};
use crate::protobuf;
use crate::registry::Registry;

/// Renders the metrics as they are now. Clones render the same ones; they live on after the [`Mimir`](crate::Mimir).
///
/// ```
/// let mimir = lgtm_mimir::builder().build()?;
/// let renderer = mimir.renderer();
/// // In a handler of any server: the request's headers in, an answer out.
/// let answer = renderer.respond(&http::HeaderMap::new());
/// assert_eq!(answer.status(), 200);
/// # Ok::<(), lgtm_mimir::BuildError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Renderer {
    registry: Arc<Registry>,
}

impl Renderer {
    pub(crate) fn new(registry: Arc<Registry>) -> Self {
        Self { registry }
    }

    /// The metrics in this text format.
    #[must_use]
    pub fn render(&self, format: Format) -> String {
        let text = exposition::render(&self.collect(), format, self.registry.exposition_bytes());
        self.registry.note_exposition_bytes(text.len());
        text
    }

    /// The metrics in Prometheus' protobuf format: messages `io.prometheus.client.MetricFamily`, each behind its length. It has native
    /// histograms ([`Builder::native_histograms_for`](crate::Builder::native_histograms_for)) beside their classic buckets, exemplars,
    /// and when each series began.
    #[must_use]
    pub fn render_protobuf(&self) -> Vec<u8> {
        let bytes = protobuf::render(&self.collect(), self.registry.exposition_bytes());
        self.registry.note_exposition_bytes(bytes.len());
        bytes
    }

    /// The answer to a scrape with these headers, for servers whose answers are text: `Accept` chooses between the text formats. Native
    /// histograms need [`Renderer::respond_bytes`].
    #[must_use]
    pub fn respond(&self, request: &HeaderMap) -> Response<String> {
        let format = Format::negotiate(&accepted(request));
        with_content_type(self.render(format), format.content_type())
    }

    /// The answer to a scrape with these headers: `Accept` chooses among the text formats and protobuf, as at
    /// [`Builder::listen`](crate::Builder::listen).
    #[must_use]
    pub fn respond_bytes(&self, request: &HeaderMap) -> Response<Bytes> {
        match preferred(&accepted(request)) {
            Preferred::Text(format) => with_content_type(self.render(format).into(), format.content_type()),
            Preferred::Protobuf => with_content_type(self.render_protobuf().into(), protobuf::CONTENT_TYPE),
        }
    }

    fn collect(&self) -> Vec<Collected> {
        self.registry.renew(Instant::now());
        collect(self.registry.families())
    }
}

fn accepted(request: &HeaderMap) -> String {
    let accepted: Vec<_> = request.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    accepted.join(",")
}

fn with_content_type<T>(body: T, content_type: &'static str) -> Response<T> {
    let mut response = Response::new(body);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
