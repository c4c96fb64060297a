//! Configuration: from endpoint and identity to a layer and its running pipeline.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use lgtm_core::pipeline::{Pipeline, PipelineOptions, StartError, Target};
use lgtm_core::{Endpoint, Identity, Worker, otlp};

use crate::labels::Streams;
use crate::layer::Layer;
use crate::repeats::{Bounds, Repeats};
use crate::summaries::Summaries;
use crate::writer::{EntryShape, Shape, Writer};
use crate::{metadata, push};

/// Loki's usual address.
const DEFAULT_URL: &str = "http://localhost:3100";

/// Why a layer could not be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The endpoint or the spool cannot work.
    #[error("Loki {0}")]
    Start(#[from] StartError),
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
    /// A label from a field with no value, or with too many.
    #[error("label `{name}` with at most {value} values: 1 to {most} are accepted")]
    LabelValues {
        /// The field.
        name: String,
        /// What was given.
        value: usize,
        /// The most.
        most: usize,
    },
    /// No line would fit, or none into the queue.
    #[error(
        "lines of at most {value} bytes: {least} to {most} are accepted (the queue takes items of {most} bytes with what goes along); 262144 is Loki's own limit"
    )]
    LineBytes {
        /// What was given.
        value: usize,
        /// The least.
        least: usize,
        /// The most.
        most: usize,
    },
    /// A limit on repetitions that lets nothing pass, or everything.
    #[error("{setting} of {value}: {accepted} are accepted")]
    Repeats {
        /// `rate_limit` or `deduplicate`.
        setting: &'static str,
        /// What was given.
        value: String,
        /// What would be.
        accepted: &'static str,
    },
    /// OTLP has no stream labels.
    #[error("label `{name}` beside OTLP, which has none: set an attribute of the resource, or use Loki's push")]
    LabelWithOtlp {
        /// What was given.
        name: String,
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

/// How events travel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Protocol {
    /// Loki's own push. The default, and the cheapest.
    #[default]
    Push,
    /// OTLP log records: to any receiver, over HTTP also to Loki's OTLP endpoint.
    Otlp(otlp::Protocol),
}

impl Protocol {
    fn default_url(self) -> &'static str {
        match self {
            Self::Push => DEFAULT_URL,
            Self::Otlp(otlp::Protocol::Http) => "http://localhost:4318",
            Self::Otlp(_) => "http://localhost:4317",
        }
    }
}

/// Loki's default limit on a line.
const MAX_LINE_BYTES: usize = 256 * 1024;
/// A shorter line would hold no more than its own frame.
const LEAST_LINE_BYTES: usize = 1024;

/// What a line's structured metadata takes of an item of the queue, at most in practice: paths and targets are short.
const METADATA_BYTES: usize = 4096;

/// Begins a Loki layer. See [`Builder`] for the defaults.
#[must_use]
pub fn builder() -> Builder {
    Builder::default()
}

/// Configures a Loki layer.
#[derive(Debug, Default)]
pub struct Builder {
    endpoint: Option<Endpoint>,
    protocol: Protocol,
    identity: Option<Identity>,
    worker: Option<Worker>,
    labels: Vec<(String, String)>,
    field_labels: Vec<(String, usize)>,
    format: Format,
    max_line_bytes: Option<usize>,
    repeats: Bounds,
    options: PipelineOptions,
}

impl Builder {
    /// Where to push. An endpoint without a path gets `/loki/api/v1/push`, or `/v1/logs` for OTLP over HTTP. Defaults to
    /// `http://localhost:3100`, `http://localhost:4317` for OTLP over gRPC, and `http://localhost:4318` for OTLP over HTTP.
    #[must_use]
    pub fn endpoint(mut self, endpoint: Endpoint) -> Self {
        self.endpoint = Some(endpoint);
        self
    }

    /// How to send. Defaults to Loki's push.
    #[must_use]
    pub fn protocol(mut self, protocol: Protocol) -> Self {
        self.protocol = protocol;
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

    /// Adds a stream label whose value is that of a field: of the event, else of the nearest of its spans that has it. Lines
    /// without the field have no such label. The name is sanitised as with [`Builder::label`]; the field stays in the line,
    /// where LogQL's parsers call it `<field>_extracted`.
    ///
    /// Every value is a stream of its own in Loki: only the first `most_values` (1 to 1,000) are told apart, all further ones
    /// are `other`, counted (`otlp_logs_label_overflow_total`) and told on standard error once. At most 1,000 combinations of
    /// several such labels are told apart. For fields with a small, fixed set of values, such as a queue's name.
    #[must_use]
    pub fn label_from_field(mut self, field: impl Into<String>, most_values: usize) -> Self {
        self.field_labels.push((field.into(), most_values));
        self
    }

    /// What a line looks like in Loki's push. Defaults to JSON. What links a line to its trace is in its structured metadata in any format.
    #[must_use]
    pub fn format(mut self, format: Format) -> Self {
        self.format = format;
        self
    }

    /// The longest line, in bytes, 1,024 at least. A longer one keeps the beginning of its message, cut at a character's
    /// boundary, and those fields that fit; it is marked with `truncated` and counted (`otlp_logs_truncated_total`). Defaults
    /// to 262,144, which is Loki's default limit.
    #[must_use]
    pub fn max_line_bytes(mut self, bytes: usize) -> Self {
        self.max_line_bytes = Some(bytes);
        self
    }

    /// Of the lines of one callsite at most so many within a time, 1 ms at least; further ones are left out. Once a window (a second at
    /// least) a line of the same level and target says how many they were and what the last of them said, with the field
    /// `suppressed`; `otlp_logs_suppressed_total{reason="rate"}` counts them. Defaults to no limit.
    ///
    /// For a loop that fails ten thousand times a second: the first lines say it, the rest is a number. Lines of one callsite share the
    /// limit whatever they say, and of whatever level they are; records of the `log` crate have a limit for each place in the source.
    #[must_use]
    pub fn rate_limit(mut self, lines: u32, within: Duration) -> Self {
        self.repeats.rate = Some((lines, within));
        self
    }

    /// Lines of one callsite with the same message and the same fields of their own are one line within this time, 1 ms at least, after
    /// the first of them; told and counted as with [`Builder::rate_limit`], with the reason `same`. Defaults to none.
    #[must_use]
    pub fn deduplicate(mut self, within: Duration) -> Self {
        self.repeats.same = Some(within);
        self
    }

    /// Bounds, overflow, batches and retries.
    #[must_use]
    pub fn options(mut self, options: PipelineOptions) -> Self {
        self.options = options;
        self
    }

    /// Starts the pipeline and gives its layer, and an OpenTelemetry logger provider whose records go the same way: see
    /// [`opentelemetry`](crate::opentelemetry).
    ///
    /// # Errors
    /// As [`Builder::build`].
    #[cfg(feature = "opentelemetry")]
    pub fn build_opentelemetry(
        self,
    ) -> Result<(Layer, opentelemetry_sdk::logs::SdkLoggerProvider, Pipeline), BuildError> {
        let (layer, pipeline) = self.build()?;
        let provider = crate::opentelemetry::logger_provider(layer.records(), pipeline.clone());
        Ok((layer, provider, pipeline))
    }

    /// Starts the pipeline and gives its layer.
    ///
    /// # Errors
    /// [`BuildError`] names what cannot work. An unreachable Loki is no error: lines wait in the queue.
    pub fn build(self) -> Result<(Layer, Pipeline), BuildError> {
        let identity = self.identity.unwrap_or_default();
        let most = self.options.queue.item_bytes.saturating_sub(METADATA_BYTES);
        // What was not chosen adapts itself.
        let max_line_bytes = self.max_line_bytes.unwrap_or_else(|| MAX_LINE_BYTES.min(most.max(LEAST_LINE_BYTES)));
        if !(LEAST_LINE_BYTES..=most).contains(&max_line_bytes) && self.max_line_bytes.is_some() {
            return Err(BuildError::LineBytes { value: max_line_bytes, least: LEAST_LINE_BYTES, most });
        }
        refuse_bad_repeats(self.repeats)?;
        let endpoint = match (self.endpoint, self.protocol) {
            (Some(endpoint), _) => endpoint,
            (None, protocol) => Endpoint::parse(protocol.default_url()).map_err(StartError::from)?,
        };
        let worker = match self.worker {
            Some(worker) => worker,
            None => Worker::shared()?,
        };
        let repeats = self.repeats.interval().map(|_| Arc::new(Repeats::new(self.repeats)));
        let summaries = |writer: &Arc<Writer>| {
            Some(Summaries { repeats: repeats.clone()?, every: self.repeats.interval()?, writer: Arc::clone(writer) })
        };
        let (pipeline, writer) = match self.protocol {
            Protocol::Push => {
                let streams = Arc::new(Streams::new(&identity, &self.labels, &self.field_labels)?);
                let identity = metadata::of_identity(&identity);
                let shape = Shape::Entry(EntryShape { identity, streams: Arc::clone(&streams), format: self.format });
                let writer = Arc::new(Writer::new(shape, max_line_bytes));
                let target = Target::Http { endpoint, default_path: push::PATH, headers: push::headers() };
                let signal = push::Push::new(streams, summaries(&writer));
                (Pipeline::start(signal, target, self.options, &worker)?, writer)
            }
            Protocol::Otlp(protocol) => {
                let mut names =
                    self.labels.iter().map(|(name, _)| name).chain(self.field_labels.iter().map(|(name, _)| name));
                if let Some(name) = names.next() {
                    return Err(BuildError::LabelWithOtlp { name: name.clone() });
                }
                let writer = Arc::new(Writer::new(Shape::Record, max_line_bytes));
                let target = protocol.target(endpoint, crate::otlp::GRPC_PATH, crate::otlp::HTTP_PATH);
                let signal = crate::otlp::Otlp::new(&identity, summaries(&writer));
                (Pipeline::start(signal, target, self.options, &worker)?, writer)
            }
        };
        let layer = Layer::new(pipeline.shared_queue(), writer, repeats);
        Ok((layer, pipeline))
    }
}

fn refuse_bad_repeats(repeats: Bounds) -> Result<(), BuildError> {
    const LEAST: Duration = Duration::from_millis(1);
    if let Some((lines, within)) = repeats.rate
        && (lines == 0 || within < LEAST)
    {
        let value = format!("{lines} lines within {within:?}");
        return Err(BuildError::Repeats {
            setting: "rate_limit",
            value,
            accepted: "1 line or more within 1 ms or more",
        });
    }
    if let Some(within) = repeats.same.filter(|within| *within < LEAST) {
        let value = format!("{within:?}");
        return Err(BuildError::Repeats { setting: "deduplicate", value, accepted: "1 ms or more" });
    }
    Ok(())
}
