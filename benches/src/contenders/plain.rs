//! What the layers stand on, and what sends nothing.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::contender::Running;

/// No library, or one that has nothing to end.
pub(crate) struct Nothing;

impl Running for Nothing {
    fn end(self: Box<Self>) -> String {
        "nothing to end".to_owned()
    }
}

/// The registry alone.
pub(crate) fn registry() -> anyhow::Result<Nothing> {
    tracing_subscriber::registry().try_init()?;
    Ok(Nothing)
}

/// The text layer under a filter; the text goes nowhere.
pub(crate) fn fmt() -> anyhow::Result<Nothing> {
    let layer = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(std::io::sink);
    tracing_subscriber::registry().with(EnvFilter::new("info")).with(layer).try_init()?;
    Ok(Nothing)
}
