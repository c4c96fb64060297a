//! The metrics as text, for programs that serve them themselves. Any thread.

use std::sync::Arc;
use std::time::Instant;

use http::{HeaderMap, HeaderValue, Response, header};

use crate::collect::collect;
use crate::exposition::{self, Format};
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

    /// The metrics in this format.
    #[must_use]
    pub fn render(&self, format: Format) -> String {
        self.registry.renew(Instant::now());
        let text = exposition::render(&collect(self.registry.families()), format, self.registry.exposition_bytes());
        self.registry.note_exposition_bytes(text.len());
        text
    }

    /// The answer to a scrape with these headers: `Accept` chooses the format, as at [`Builder::listen`](crate::Builder::listen).
    #[must_use]
    pub fn respond(&self, request: &HeaderMap) -> Response<String> {
        let accepted: Vec<_> = request.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
        let format = Format::negotiate(&accepted.join(","));
        let mut response = Response::new(self.render(format));
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(format.content_type()));
        response
    }
}
