//! The settings in code. Runs once, at the start.
//!
//! - this file: who the program is, how telemetry starts;
//! - `backends.rs`, `logs.rs`, `traces.rs`, `metrics.rs`: the settings of each;
//! - `receiver.rs`: what one receiver for all means for each signal;
//! - `values.rs`: what cannot be.

mod backends;
mod logs;
#[cfg(feature = "mimir")]
mod metrics;
#[cfg(any(feature = "loki", feature = "tempo", feature = "mimir"))]
mod receiver;
mod traces;
mod values;

use std::collections::BTreeMap;
use std::fmt;

use tokio::runtime::Handle;
use tracing_core::Subscriber;
use tracing_subscriber::Registry;
use tracing_subscriber::layer::Layer;
use tracing_subscriber::registry::LookupSpan;

use crate::compose;
use crate::config::{Chosen, Config};
#[cfg(feature = "devstack")]
use crate::devstack;
use crate::environment;
use crate::error::Error;
use crate::filter::directives;
use crate::guard::Telemetry;
#[cfg(feature = "devstack")]
use crate::settings::Console;
use crate::settings::Settings;

/// All layers that were chosen, as one.
pub type Layers<S> = Box<dyn Layer<S> + Send + Sync>;

/// The settings as code and environment together say them, and what else was given.
struct Settled {
    settings: Settings,
    config: Config,
    layer: Option<Layers<Registry>>,
    runtime: Option<Handle>,
    #[cfg(feature = "devstack")]
    devstack: Option<lgtm_devstack::Devstack>,
}

/// Starts from the environment; what is set here wins over it.
pub fn builder() -> Builder {
    Builder {
        settings: Settings::default(),
        use_environment: true,
        variables: None,
        log_filter: None,
        span_filter: None,
        layer: None,
        runtime: None,
    }
}

/// Configures and starts telemetry. Everything has a default, see [the crate's table](crate#configuration); each method
/// wins over the variable that says the same.
///
/// ```no_run
/// use std::time::Duration;
///
/// # fn main() -> Result<(), lgtm::Error> {
/// let telemetry = lgtm::builder()
///     .service_name("shop")
///     .resource_attribute("service.version", env!("CARGO_PKG_VERSION"))
///     .shutdown_timeout(Duration::from_secs(2))
///     .init()?;
/// # drop(telemetry);
/// # Ok(())
/// # }
/// ```
#[must_use = "nothing happens before init()"]
pub struct Builder {
    settings: Settings,
    use_environment: bool,
    /// In the place of the process's, for tests.
    variables: Option<BTreeMap<String, String>>,
    log_filter: Option<String>,
    span_filter: Option<String>,
    layer: Option<Layers<Registry>>,
    runtime: Option<Handle>,
}

impl fmt::Debug for Builder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Builder")
            .field("settings", &self.settings)
            .field("use_environment", &self.use_environment)
            .field("log_filter", &self.log_filter)
            .field("span_filter", &self.span_filter)
            .finish_non_exhaustive()
    }
}

impl Builder {
    /// Reads no environment variable: what is not set in code has its default, and backends are reached without a proxy unless
    /// their endpoint names one. (`NO_COLOR` still speaks for the terminal.)
    pub fn ignore_environment(mut self) -> Self {
        self.use_environment = false;
        self
    }

    /// Reads these variables instead of those of the process, which tests cannot change.
    #[doc(hidden)]
    pub fn variables(mut self, variables: impl IntoIterator<Item = (String, String)>) -> Self {
        self.variables = Some(variables.into_iter().collect());
        self
    }

    /// `service.name`. Defaults to the executable's name.
    pub fn service_name(mut self, name: impl Into<String>) -> Self {
        self.settings.service_name = Some(name.into());
        self
    }

    /// A resource attribute by its OpenTelemetry name, such as `service.version`, `service.namespace`, `service.instance.id`
    /// or `deployment.environment.name`. Of two with one name the later wins.
    pub fn resource_attribute(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.settings.resource_attributes.push((name.into(), value.into()));
        self
    }

    /// Whether SIGTERM and Ctrl-C send what is left before they end the process, with the exit status that they have without
    /// lgtm. A signal for which the program has a handler already is left to that; one that sets its handlers later keeps this
    /// off. Defaults to off. Unix only.
    pub fn shutdown_on_signals(mut self, on: bool) -> Self {
        self.settings.shutdown_on_signals = Some(on);
        self
    }

    /// Sends nothing, and records no metrics: only the console shows events. The same as `OTEL_SDK_DISABLED=true`.
    pub fn disabled(mut self, disabled: bool) -> Self {
        self.settings.disabled = Some(disabled);
        self
    }

    /// The runtime whose tasks are counted. Defaults to the one in which `init` is called; outside of runtimes the gauge
    /// `otlp_system_tasks_count` is absent.
    pub fn runtime(mut self, runtime: Handle) -> Self {
        self.runtime = Some(runtime);
        self
    }

    /// A layer of the program's own, behind the same filters. Several are added one by one.
    pub fn layer(mut self, layer: impl Layer<Registry> + Send + Sync) -> Self {
        self.layer = Some(match self.layer {
            None => Box::new(layer),
            Some(others) => Box::new(others.and_then(layer)),
        });
        self
    }

    /// Starts telemetry: installs the global subscriber and the global recorder. Call it once, early in `main`, in or outside
    /// of a runtime. An unreachable backend is no error: what is recorded waits in its queue.
    ///
    /// # Errors
    /// [`Error`] names the setting or variable that cannot work, its value and the accepted form; or what is installed already.
    pub fn init(self) -> Result<Telemetry, Error> {
        let settled = self.settle(true)?;
        let telemetry = compose::start(&settled.settings, settled.config, settled.layer, settled.runtime)?;
        #[cfg(feature = "devstack")]
        let telemetry = with_devstack(telemetry, settled.devstack, settled.settings.console.unwrap_or_default());
        Ok(telemetry)
    }

    /// Starts the pipelines and gives their layers, as one layer for a registry of the program's own, behind the same filters
    /// as with [`Builder::init`]; other layers of the registry are not filtered. Nothing is installed: neither a subscriber nor
    /// a recorder ([`Telemetry::recorder`] gives it), nor the bridge from the `log` crate.
    ///
    /// ```no_run
    /// use tracing_subscriber::prelude::*;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (layers, telemetry) = lgtm::layers()?; // or lgtm::builder() ... .layers()?
    /// tracing_subscriber::registry().with(layers).with(tracing_subscriber::fmt::layer()).init();
    /// if let Some(recorder) = telemetry.recorder() {
    ///     metrics::set_global_recorder(recorder)?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error`] names the setting or variable that cannot work, its value and the accepted form. [`Builder::layer`] and
    /// `Builder::opentelemetry` are for `init` alone.
    pub fn layers<S>(self) -> Result<(Layers<S>, Telemetry), Error>
    where
        S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
    {
        let settled = self.settle(true)?;
        if settled.layer.is_some() {
            let problem = "the program composes the layers itself".to_owned();
            return Err(Error::Setting { setting: "layer", problem, accepted: "registry().with(layers).with(layer)" });
        }
        let (layers, telemetry) = compose::layers(&settled.settings, settled.config, settled.runtime)?;
        #[cfg(feature = "devstack")]
        let telemetry = with_devstack(telemetry, settled.devstack, settled.settings.console.unwrap_or(Console::Off));
        Ok((layers, telemetry))
    }

    /// What telemetry would run with, and who chose it; starts nothing. Secrets are not in it.
    ///
    /// ```
    /// # fn main() -> Result<(), lgtm::Error> {
    /// println!("{}", lgtm::builder().config()?);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error`] names the setting or variable that cannot work, its value and the accepted form.
    pub fn config(self) -> Result<Config, Error> {
        self.settle(false).map(|settled| settled.config)
    }

    /// The settings that count. With `start`, what they say of the development stack is done.
    #[cfg_attr(not(feature = "devstack"), expect(unused_variables, reason = "there is nothing to start"))]
    fn settle(self, start: bool) -> Result<Settled, Error> {
        #[cfg_attr(
            not(any(feature = "loki", feature = "tempo", feature = "mimir")),
            expect(unused_mut, reason = "there is nothing to send")
        )]
        let mut code = Settings {
            log_filter: self.log_filter.map(|text| directives("log_filter", &text)).transpose()?,
            span_filter: self.span_filter.map(|text| directives("span_filter", &text)).transpose()?,
            ..self.settings
        };
        values::refuse_bad_values(&code)?;
        #[cfg(any(feature = "loki", feature = "tempo", feature = "mimir"))]
        receiver::spread(&mut code)?;
        let use_environment = self.use_environment;
        let lookup = |name: &str| match &self.variables {
            _ if !use_environment => None,
            Some(variables) => variables.get(name).cloned(),
            None => environment::variable(name),
        };
        let chosen = Chosen::in_code(&code);
        #[cfg(feature = "mimir")]
        let admin_in_code = code.admin.is_some();
        #[cfg(feature = "devstack")]
        let in_code = devstack::InCode::of(&code);
        let mut settings = code.or(environment::read(lookup)?);
        #[cfg(feature = "devstack")]
        let (chosen, stack) = if devstack::is_wanted(&settings, &in_code, cfg!(debug_assertions))? {
            let stack = devstack::take_place(&mut settings, &in_code, start)?;
            (chosen.with_devstack(in_code.replaced()), stack)
        } else {
            (chosen, None)
        };
        #[cfg(feature = "tempo")]
        settings.settle_tempo()?;
        #[cfg(any(feature = "loki", feature = "mimir"))]
        settings.refuse_mismatches()?;
        #[cfg(feature = "mimir")]
        values::refuse_open_admin(&settings, admin_in_code)?;
        if !use_environment {
            settings.ignore_proxies();
        }
        let config = chosen.describe(&settings, &lookup);
        let runtime = self.runtime.or_else(|| Handle::try_current().ok());
        Ok(Settled {
            settings,
            config,
            layer: self.layer,
            runtime,
            #[cfg(feature = "devstack")]
            devstack: stack,
        })
    }
}

/// The stack lives as long as telemetry does, and the console says where it is.
#[cfg(feature = "devstack")]
fn with_devstack(telemetry: Telemetry, stack: Option<lgtm_devstack::Devstack>, console: Console) -> Telemetry {
    if let Some(stack) = &stack {
        devstack::tell(stack, console);
    }
    telemetry.with_devstack(stack)
}

#[cfg(test)]
mod tests;
