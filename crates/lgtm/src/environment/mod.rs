//! The environment table: variables to settings. Pure but for the files that `*_FILE` variables name, so that tests need no
//! real environment. Runs once, in `init()`.

mod credentials;
#[cfg(any(feature = "loki", feature = "tempo", feature = "mimir"))]
mod otlp;
#[cfg(feature = "spool")]
mod spool;
mod value;
mod variables;

#[cfg(test)]
mod tests;

use lgtm_core::Endpoint;
use lgtm_core::sampler::{Sampler, SamplerError};
use lgtm_core::span::Limits;

use crate::error::Error;
use crate::filter::{self, Directives};
use crate::settings::{Console, Destination, Profile, Settings};
use variables::Variables;

const KEEP_FORM: &str = "a duration such as 500ms or 2s, or off";
const LOKI_DEFAULT: &str = "http://localhost:3100";
const MIMIR_DEFAULT: &str = "http://localhost:9009";

/// A variable of the process's environment.
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
}

/// The settings that these variables choose.
pub(crate) fn read(lookup: impl Fn(&str) -> Option<String>) -> Result<Settings, Error> {
    let variables = Variables::new(&lookup);
    let mut settings = Settings {
        service_name: variables.text("OTEL_SERVICE_NAME"),
        resource_attributes: resource_attributes(&variables)?,
        sampler: sampler(&variables)?,
        profile: variables.parse("LGTM_PROFILE", "development, production or gateway", |text| match text {
            "development" => Some(Profile::Development),
            "production" => Some(Profile::Production),
            "gateway" => Some(Profile::Gateway),
            _ => None,
        })?,
        log_filter: directives(&variables, "RUST_LOG")?,
        span_filter: directives(&variables, "LGTM_SPAN_FILTER")?,
        #[cfg(feature = "loki")]
        log_format: variables.parse("LGTM_LOG_FORMAT", "json, logfmt or text", |text| match text {
            "json" => Some(lgtm_loki::Format::Json),
            "logfmt" => Some(lgtm_loki::Format::Logfmt),
            "text" => Some(lgtm_loki::Format::Text),
            _ => None,
        })?,
        log_rate_limit: variables.parse("LGTM_LOG_RATE_LIMIT", value::RATE_FORM, value::rate)?,
        log_deduplicate: variables.parse(
            "LGTM_LOG_DEDUPLICATE",
            "a duration such as 5s, or off",
            |text| match text {
                "off" => Some(None),
                text => value::duration(text).filter(|within| !within.is_zero()).map(Some),
            },
        )?,
        keep_errors: variables.parse("LGTM_KEEP_ERRORS", "true or false", value::switch)?,
        keep_slower_than: variables.parse("LGTM_KEEP_SLOWER_THAN", KEEP_FORM, |text| match text {
            "off" => Some(None),
            text => value::duration(text).map(Some),
        })?,
        span_limits: span_limits(&variables)?,
        overflow: variables.parse("LGTM_OVERFLOW", value::OVERFLOW_FORM, value::overflow)?,
        #[cfg(feature = "spool")]
        spool: spool::read(&variables)?,
        shutdown_timeout: variables.parse("LGTM_SHUTDOWN_TIMEOUT", value::DURATION_FORM, value::duration)?,
        metrics_addr: variables.parse("LGTM_METRICS_ADDR", value::ADDRESS_FORM, value::address)?.flatten(),
        metrics_token: variables.secret("LGTM_METRICS_TOKEN")?,
        admin: variables.parse("LGTM_ADMIN", "true or false", value::switch)?,
        console: variables.parse("LGTM_CONSOLE", "auto, pretty, json or off", |text| match text {
            "auto" => Some(Console::Auto),
            "pretty" => Some(Console::Pretty),
            "json" => Some(Console::Json),
            "off" => Some(Console::Off),
            _ => None,
        })?,
        redaction: variables.parse("LGTM_REDACT", value::NAMES_FORM, value::names)?.unwrap_or_default(),
        #[cfg(feature = "devstack")]
        devstack: variables.parse("LGTM_DEVSTACK", value::DEVSTACK_FORM, value::devstack)?,
        disabled: variables.parse("OTEL_SDK_DISABLED", "true or false", value::switch)?,
        shutdown_on_signals: variables.parse("LGTM_SHUTDOWN_ON_SIGNALS", "true or false", value::switch)?,
        ..Settings::default()
    };
    #[cfg(not(feature = "spool"))]
    if let Some(folder) = variables.text("LGTM_SPOOL_DIR") {
        let problem = format!("`{folder}` cannot be used: the program was built without the feature `spool`");
        return Err(Error::environment("LGTM_SPOOL_DIR", problem, "lgtm-telemetry with the feature `spool`"));
    }
    #[cfg(not(feature = "devstack"))]
    if let Some(text) = variables.text("LGTM_DEVSTACK").filter(|text| !text.eq_ignore_ascii_case("false")) {
        let problem = format!("`{text}` cannot be used: the program was built without the feature `devstack`");
        return Err(Error::environment("LGTM_DEVSTACK", problem, "lgtm-telemetry with the feature `devstack`"));
    }
    if settings.disabled == Some(true) {
        // Nothing is sent: where to need not be right.
        return Ok(settings);
    }
    #[cfg(feature = "loki")]
    if variables.text("LOKI_URL").is_some() || !otlp::logs(&variables, &mut settings)? {
        settings.loki = Some(destination(&variables, "LOKI_URL", "LOKI", LOKI_DEFAULT)?);
    }
    #[cfg(feature = "tempo")]
    otlp::traces(&variables, &mut settings)?;
    #[cfg(feature = "mimir")]
    {
        let chosen = variables.text("MIMIR_ENDPOINT").is_some();
        let is_otlp = !chosen && otlp::metrics(&variables, &mut settings)?;
        if !is_otlp && (chosen || settings.metrics_addr.is_none()) {
            match destination(&variables, "MIMIR_ENDPOINT", "MIMIR", MIMIR_DEFAULT)? {
                Destination::To(endpoint) if !chosen => settings.default_mimir = Some(endpoint),
                destination => settings.mimir = Some(destination),
            }
        }
    }
    Ok(settings)
}

/// The bounds of the OpenTelemetry specification: those for spans win over those for all attributes.
fn span_limits(variables: &Variables<'_>) -> Result<Option<Limits>, Error> {
    let mut limits = Limits::default();
    let mut chosen = false;
    let mut read = |names: &[&str], set: &mut dyn FnMut(&mut Limits, u32)| {
        for name in names {
            if let Some(limit) = variables.parse(name, "a number from 0 to 4294967295", |text| text.parse().ok())? {
                set(&mut limits, limit);
                chosen = true;
                return Ok(());
            }
        }
        Ok::<_, Error>(())
    };
    read(&["OTEL_ATTRIBUTE_COUNT_LIMIT"], &mut |limits, limit| {
        limits.attributes = limit;
        limits.event_attributes = limit;
        limits.link_attributes = limit;
    })?;
    read(&["OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT"], &mut |limits, limit| limits.attributes = limit)?;
    read(&["OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT"], &mut |limits, limit| limits.event_attributes = limit)?;
    read(&["OTEL_LINK_ATTRIBUTE_COUNT_LIMIT"], &mut |limits, limit| limits.link_attributes = limit)?;
    read(&["OTEL_SPAN_EVENT_COUNT_LIMIT"], &mut |limits, limit| limits.events = limit)?;
    read(&["OTEL_SPAN_LINK_COUNT_LIMIT"], &mut |limits, limit| limits.links = limit)?;
    read(&["OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT", "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT"], &mut |limits, limit| {
        limits.value_bytes = limits.value_bytes.min(limit as usize)
    })?;
    Ok(chosen.then_some(limits))
}

/// The destination that `variable` names, with the credentials of `signal`.
fn destination(variables: &Variables<'_>, variable: &str, signal: &str, default: &str) -> Result<Destination, Error> {
    let text = variables.text(variable);
    match text.as_deref() {
        Some("off") => Ok(Destination::Off),
        Some(text) => endpoint(variables, variable, text, signal),
        None => endpoint(variables, variable, default, signal),
    }
}

fn endpoint(variables: &Variables<'_>, variable: &str, text: &str, signal: &str) -> Result<Destination, Error> {
    let mut endpoint = Endpoint::parse(text).map_err(|error| value::url_error(variable, &error))?;
    credentials::apply(variables, signal, &mut endpoint)?;
    Ok(Destination::To(endpoint))
}

fn resource_attributes(variables: &Variables<'_>) -> Result<Vec<(String, String)>, Error> {
    const NAME: &str = "OTEL_RESOURCE_ATTRIBUTES";
    let Some(text) = variables.text(NAME) else { return Ok(Vec::new()) };
    value::pairs(&text).map_err(|reason| {
        let form = "key=value pairs separated by commas, other characters percent-encoded";
        Error::environment(NAME, format!("`{text}` cannot be used ({reason})"), form)
    })
}

fn directives(variables: &Variables<'_>, name: &str) -> Result<Option<Directives>, Error> {
    let Some(text) = variables.text(name) else { return Ok(None) };
    match Directives::parse(&text) {
        Ok(directives) => Ok(Some(directives)),
        Err(reason) => Err(Error::environment(name, format!("`{text}` is not a filter ({reason})"), filter::FORM)),
    }
}

fn sampler(variables: &Variables<'_>) -> Result<Option<Sampler>, Error> {
    const NAME: &str = "OTEL_TRACES_SAMPLER";
    const ARGUMENT: &str = "OTEL_TRACES_SAMPLER_ARG";
    let Some(name) = variables.text(NAME) else { return Ok(None) };
    Sampler::parse(&name, variables.text(ARGUMENT).as_deref()).map(Some).map_err(|error| {
        let (variable, value, accepted) = match error {
            SamplerError::Ratio(value) => (ARGUMENT, value, "a number from 0 to 1, such as 0.01"),
            _ => (
                NAME,
                name,
                "always_on, always_off, traceidratio, parentbased_always_on, parentbased_always_off or parentbased_traceidratio",
            ),
        };
        Error::environment(variable, format!("`{value}` is not a sampler's value"), accepted)
    })
}
