//! What can go wrong at the start. Nothing goes wrong later: a backend that fails is counted, not an error.

use std::fmt;

/// Why telemetry could not be started.
///
/// `Debug` reads like `Display`, because `fn main() -> Result<(), lgtm::Error>` prints the former.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An environment variable with a value that cannot work.
    #[error("environment variable {variable}: {problem}; accepted: {accepted}")]
    Environment {
        /// The variable.
        variable: String,
        /// What is wrong. Names the value, unless it is a secret.
        problem: String,
        /// The accepted form.
        accepted: String,
    },
    /// A setting in code that cannot work.
    #[error("{setting}: {problem}; accepted: {accepted}")]
    Setting {
        /// The setting: the builder's method.
        setting: &'static str,
        /// What is wrong. Names the value.
        problem: String,
        /// The accepted form.
        accepted: &'static str,
    },
    /// The Loki layer could not be built.
    #[cfg(feature = "loki")]
    #[error(transparent)]
    Loki(#[from] lgtm_loki::BuildError),
    /// The Tempo layer could not be built.
    #[cfg(feature = "tempo")]
    #[error(transparent)]
    Tempo(#[from] lgtm_tempo::BuildError),
    /// The metrics recorder could not be built: the push endpoint, or the address to be scraped at.
    #[cfg(feature = "mimir")]
    #[error(transparent)]
    Mimir(#[from] lgtm_mimir::BuildError),
    /// The worker thread could not be started.
    #[error("the worker thread could not be started: {0}")]
    Worker(#[source] std::io::Error),
    /// The handlers of SIGTERM and SIGINT could not be set.
    #[error("the handlers of SIGTERM and SIGINT could not be set: {0}")]
    Signals(#[source] std::io::Error),
    /// The development stack could not be started.
    #[cfg(feature = "devstack")]
    #[error("devstack: {0}")]
    Devstack(#[from] lgtm_devstack::StartError),
    /// `init` was called before.
    #[error("lgtm is running already: call init() once, at the start of main, and keep what it returns")]
    AlreadyInitialized,
    /// Something else receives the program's spans and events.
    #[error(
        "a global tracing subscriber is set already: remove the other one (such as tracing_subscriber::fmt().init()), or add its layer with lgtm::builder().layer(...)"
    )]
    SubscriberAlreadySet,
    /// Something else receives the program's metrics.
    #[error(
        "a global metrics recorder is set already: remove the other one, or keep it and call lgtm::builder().without_metrics()"
    )]
    RecorderAlreadySet,
}

impl fmt::Debug for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl Error {
    pub(crate) fn environment(variable: &str, problem: impl Into<String>, accepted: impl Into<String>) -> Self {
        Self::Environment { variable: variable.to_owned(), problem: problem.into(), accepted: accepted.into() }
    }
}
