//! The bodies of the fuzz targets: one function for each, from any bytes to a proof or a panic. `fuzz/` runs them under libFuzzer,
//! `tests/corpora.rs` with what the fuzzer has kept. The calling thread; pipelines and development stacks have their own.
//!
//! A target says what must hold for every input; what it compares with is not the code that it tests: `prost` and
//! `opentelemetry-proto`, `serde_json`, the development stack's parsers, and models of a few lines.

mod answers;
mod backend;
mod configuration;
mod headers;
mod ingest;
mod input;
mod labels;
mod lines;
mod metrics;
mod queries;
mod spans;

pub use answers::answers;
pub use configuration::configuration;
pub use headers::headers;
pub use ingest::ingest;
pub use labels::labels;
pub use lines::lines;
pub use metrics::metrics;
pub use queries::queries;
pub use spans::spans;

/// A target: any bytes, or a panic.
pub type Target = fn(&[u8]);

/// Every target by the name of its corpus.
pub const TARGETS: [(&str, Target); 9] = [
    ("answers", answers),
    ("configuration", configuration),
    ("headers", headers),
    ("ingest", ingest),
    ("labels", labels),
    ("lines", lines),
    ("metrics", metrics),
    ("queries", queries),
    ("spans", spans),
];
