//! Configuration: from endpoint and identity to a layer and its running pipeline.

use std::io;

use lgtm_core::pipeline::{Pipeline, PipelineOptions, Target};
use lgtm_core::{Endpoint, EndpointError, Identity, Worker};

use crate::labels::Streams;
use crate::layer::Layer;
use crate::{metadata, push};

/// Loki's usual address.
const DEFAULT_URL: &str = "http://localhost:3100";

/// Why a layer could not be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The endpoint cannot work.
    #[error("Loki endpoint: {0}")]
    Endpoint(#[from] EndpointError),
    /// A label's name is none.
    #[error(
        "`{name}` is not a label name: 1 to 1024 characters are accepted; other characters than letters, digits and _ become _"
    )]
    LabelName {
        /// What was given.
        name: String,
    },
    /// Two labels would have the same name.
    #[error("label `{name}` collides with `{label}`, which stands already: choose another name")]
    LabelCollision {
        /// What was given.
        name: String,
        /// The name that it has after sanitising.
        label: String,
    },
    /// More labels than Loki takes.
    #[error("{count} stream labels, but Loki takes {limit}: use fewer")]
    TooManyLabels {
        /// All labels, lgtm's own included.
        count: usize,
        /// Loki's limit.
        limit: usize,
    },
    /// No line would fit.
    #[error("lines of at most {value} bytes: at least {least} are accepted, 262144 is Loki's own limit")]
    LineBytes {
        /// What was given.
        value: usize,
        /// The least.
        least: usize,
    },
    /// The worker could not be started.
    #[error("the worker thread could not be started: {0}")]
    Worker(#[from] io::Error),
}

/// What a line looks like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Format {
    /// `{"message":"paid","level":"info","target":"shop","order_id":17,"spans":["request"]}`, for LogQL's `json`. The default,
    /// and the fastest.
    #[default]
    Json,
    /// `level=info target=shop message=paid order_id=17 spans=request`, for LogQL's `logfmt`.
    Logfmt,
    /// `INFO request: shop: paid order_id=17`, for people.
    Text,
}

/// Loki's default limit on a line.
const MAX_LINE_BYTES: usize = 256 * 1024;
/// A shorter line would hold no more than its own frame.
const LEAST_LINE_BYTES: usize = 1024;

/// Begins a Loki layer. See [`Builder`] for the defaults.
#[must_use]
pub fn builder() -> Builder {
    Builder::default()
}

/// Configures a Loki layer.
#[derive(Debug, Default)]
pub struct Builder {
    endpoint: Option<Endpoint>,
    identity: Option<Identity>,
    worker: Option<Worker>,
    labels: Vec<(String, String)>,
    format: Format,
    max_line_bytes: Option<usize>,
    options: PipelineOptions,
}

impl Builder {
    /// Where to push. An endpoint without a path gets `/loki/api/v1/push`. Defaults to `http://localhost:3100`.
    #[must_use]
    pub fn endpoint(mut self, endpoint: Endpoint) -> Self {
        self.endpoint = Some(endpoint);
        self
    }

    /// Who sends. Defaults to the executable's name.
    #[must_use]
    pub fn identity(mut self, identity: Identity) -> Self {
        self.identity = Some(identity);
        self
    }

    /// The worker that sends. Defaults to the one that all layers without one share.
    #[must_use]
    pub fn worker(mut self, worker: Worker) -> Self {
        self.worker = Some(worker);
        self
    }

    /// Adds a stream label. Streams are expensive in Loki: use few labels, with few values. The name is sanitised
    /// (`team.name` becomes `team_name`), the value cut at 2,048 bytes.
    #[must_use]
    pub fn label(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.labels.push((name.into(), value.into()));
        self
    }

    /// What a line looks like. Defaults to JSON. What links a line to its trace is in its structured metadata in any format.
    #[must_use]
    pub fn format(mut self, format: Format) -> Self {
        self.format = format;
        self
    }

    /// The longest line, in bytes, 1,024 at least. A longer one is replaced by the beginning of its message, cut at a
    /// character's boundary, with `truncated` beside it. Defaults to 262,144, which is Loki's default limit.
    #[must_use]
    pub fn max_line_bytes(mut self, bytes: usize) -> Self {
        self.max_line_bytes = Some(bytes);
        self
    }

    /// Bounds, overflow, batches and retries.
    #[must_use]
    pub fn options(mut self, options: PipelineOptions) -> Self {
        self.options = options;
        self
    }

    /// Starts the pipeline and gives its layer.
    ///
    /// # Errors
    /// [`BuildError`] names what cannot work. An unreachable Loki is no error: lines wait in the queue.
    pub fn build(self) -> Result<(Layer, Pipeline), BuildError> {
        let identity = self.identity.unwrap_or_default();
        let max_line_bytes = self.max_line_bytes.unwrap_or(MAX_LINE_BYTES);
        if max_line_bytes < LEAST_LINE_BYTES {
            return Err(BuildError::LineBytes { value: max_line_bytes, least: LEAST_LINE_BYTES });
        }
        let endpoint = match self.endpoint {
            Some(endpoint) => endpoint,
            None => Endpoint::parse(DEFAULT_URL)?,
        };
        let worker = match self.worker {
            Some(worker) => worker,
            None => Worker::shared()?,
        };
        let streams = Streams::new(&identity, &self.labels)?;
        let target = Target::Http { endpoint, default_path: push::PATH, headers: push::headers() };
        let pipeline = Pipeline::start(push::Push::new(streams), target, self.options, &worker)?;
        let layer = Layer::new(pipeline.shared_queue(), metadata::of_identity(&identity), self.format, max_line_bytes);
        Ok((layer, pipeline))
    }
}
