//! What telemetry runs with, setting by setting, and who chose it. Runs once, at the start.
//!
//! - this file: the settings and how they are shown;
//! - `source.rs`: who chose them.

mod source;

use std::fmt;

use lgtm_core::{Auth, Compression, Endpoint, Proxy};

use crate::compose::{MEMORY_BUDGET, SHUTDOWN_TIMEOUT};
use crate::settings::{Destination, Settings};

pub(crate) use source::Chosen;

/// The effective settings. `Display` prints one a line, with its source; secrets show as `***`.
///
/// ```text
/// service_name              shop                      OTEL_SERVICE_NAME
/// loki                      http://localhost:3100/    default
/// loki.authentication       basic, user `me`, ***     LGTM_USERNAME
/// sampler                   parentbased_traceidratio(0.01)   profile
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config(Vec<Setting>);

/// One setting.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Setting {
    /// Its name: the builder's method, where there is one.
    pub name: &'static str,
    /// Its value, without secrets.
    pub value: String,
    /// Who chose it.
    pub source: Source,
}

/// Who chose a value.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Source {
    /// The program, with the builder.
    Code,
    /// This environment variable.
    Variable(String),
    /// The profile.
    Profile,
    /// Nobody.
    Default,
}

impl fmt::Display for Source {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Code => "code",
            Self::Variable(name) => name,
            Self::Profile => "profile",
            Self::Default => "default",
        })
    }
}

impl fmt::Display for Config {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.0.iter().map(|setting| setting.name.len()).max().unwrap_or(0);
        let value = self.0.iter().map(|setting| setting.value.chars().count()).filter(|length| *length < 48).max();
        let value = value.unwrap_or(0);
        for setting in &self.0 {
            writeln!(formatter, "{:name$}  {:value$}  {}", setting.name, setting.value, setting.source)?;
        }
        Ok(())
    }
}

impl Config {
    /// All settings, in a fixed order.
    pub fn iter(&self) -> impl Iterator<Item = &Setting> {
        self.0.iter()
    }

    /// The setting of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Setting> {
        self.0.iter().find(|setting| setting.name == name)
    }
}

/// How one setting is shown.
struct Row {
    name: &'static str,
    /// The variables that choose it, the winning one first.
    variables: &'static [&'static str],
    in_code: fn(&Settings) -> bool,
    /// `None`: there is nothing to show.
    value: fn(&Settings) -> Option<String>,
    of_profile: bool,
}

const fn row(
    name: &'static str,
    variables: &'static [&'static str],
    in_code: fn(&Settings) -> bool,
    value: fn(&Settings) -> Option<String>,
) -> Row {
    Row { name, variables, in_code, value, of_profile: false }
}

const fn of_profile(row: Row) -> Row {
    Row { of_profile: true, ..row }
}

/// The rows of one backend, with the variables of the OpenTelemetry exporter where it has some.
macro_rules! backend {
    (
        $field:expr, $name:literal, $signal:literal, url: [$($url:literal),+],
        headers: [$($headers:literal),*], ca_file: [$($ca_file:literal),*],
        client_certificate: [$($certificate:literal),*], compression: [$($compression:literal),*],
        timeout: [$($timeout:literal),*]
    ) => {
        [
            row($name, &[$($url),+], |settings| $field(settings).is_some(), |settings| Some(address($field(settings)))),
            row(
                concat!($name, ".tenant"),
                &[concat!("LGTM_", $signal, "_TENANT"), "LGTM_TENANT"],
                |settings| $field(settings).is_some(),
                |settings| endpoint($field(settings))?.tenant.clone(),
            ),
            row(
                concat!($name, ".authentication"),
                &[
                    concat!("LGTM_", $signal, "_TOKEN"),
                    concat!("LGTM_", $signal, "_TOKEN_FILE"),
                    concat!("LGTM_", $signal, "_USERNAME"),
                    concat!("LGTM_", $signal, "_PASSWORD"),
                    concat!("LGTM_", $signal, "_PASSWORD_FILE"),
                    // A URL may have credentials.
                    $($url,)+
                    "LGTM_TOKEN",
                    "LGTM_TOKEN_FILE",
                    "LGTM_USERNAME",
                ],
                |settings| $field(settings).is_some(),
                |settings| authentication(&endpoint($field(settings))?.auth),
            ),
            row(
                concat!($name, ".headers"),
                &[$($headers),*],
                |settings| $field(settings).is_some(),
                |settings| headers(endpoint($field(settings))?),
            ),
            row(
                concat!($name, ".ca_file"),
                &[concat!("LGTM_", $signal, "_CA_FILE"), $($ca_file,)* "LGTM_CA_FILE"],
                |settings| $field(settings).is_some(),
                |settings| Some(endpoint($field(settings))?.ca_file.as_ref()?.display().to_string()),
            ),
            row(
                concat!($name, ".client_certificate"),
                &[
                    concat!("LGTM_", $signal, "_CLIENT_CERTIFICATE_FILE"),
                    $($certificate,)*
                    "LGTM_CLIENT_CERTIFICATE_FILE",
                ],
                |settings| $field(settings).is_some(),
                |settings| Some(endpoint($field(settings))?.client_certificate.as_ref()?.0.display().to_string()),
            ),
            row(
                concat!($name, ".proxy"),
                &[],
                |settings| $field(settings).is_some(),
                |settings| proxy(&endpoint($field(settings))?.proxy),
            ),
            row(
                concat!($name, ".compression"),
                &[$($compression),*],
                |settings| $field(settings).is_some(),
                |settings| match endpoint($field(settings))?.compression {
                    Compression::Gzip => Some("gzip".to_owned()),
                    _ => None,
                },
            ),
            row(
                concat!($name, ".timeout"),
                &[$($timeout),*],
                |settings| $field(settings).is_some(),
                |settings| Some(format!("{:?}", endpoint($field(settings))?.timeout)),
            ),
        ]
    };
}

fn loki(settings: &Settings) -> Option<&Destination> {
    settings.loki.as_ref()
}

fn tempo(settings: &Settings) -> Option<&Destination> {
    settings.tempo.as_ref()
}

fn mimir(settings: &Settings) -> Option<&Destination> {
    settings.mimir.as_ref()
}

fn rows() -> Vec<Row> {
    let mut rows = vec![
        row(
            "disabled",
            &["OTEL_SDK_DISABLED"],
            |settings| settings.disabled.is_some(),
            |settings| settings.disabled.filter(|disabled| *disabled).map(|disabled| disabled.to_string()),
        ),
        row(
            "service_name",
            &["OTEL_SERVICE_NAME", "OTEL_RESOURCE_ATTRIBUTES"],
            |settings| settings.service_name.is_some(),
            |settings| Some(settings.identity().service_name),
        ),
        row(
            "resource_attributes",
            &["OTEL_RESOURCE_ATTRIBUTES"],
            |settings| !settings.resource_attributes.is_empty(),
            |settings| {
                let identity = settings.identity();
                let all = identity.resource_attributes().filter(|(name, _)| *name != "service.name");
                Some(all.map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(","))
            },
        ),
        row(
            "profile",
            &["LGTM_PROFILE"],
            |settings| settings.profile.is_some(),
            |settings| Some(format!("{:?}", settings.profile.unwrap_or_default()).to_lowercase()),
        ),
    ];
    #[cfg(feature = "devstack")]
    rows.push(row(
        "devstack",
        &["LGTM_DEVSTACK"],
        |settings| settings.devstack.is_some(),
        |settings| match settings.devstack? {
            crate::devstack::Wanted::Off => None,
            crate::devstack::Wanted::InDebugBuilds => Some("true".to_owned()),
            crate::devstack::Wanted::Always => Some("force".to_owned()),
        },
    ));
    if cfg!(feature = "loki") {
        rows.extend(backend!(
            loki, "loki", "LOKI",
            url: [
                "LOKI_URL",
                "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT",
                "LGTM_ENDPOINT",
                "OTEL_EXPORTER_OTLP_ENDPOINT",
                "OTEL_LOGS_EXPORTER"
            ],
            headers: ["OTEL_EXPORTER_OTLP_LOGS_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS"],
            ca_file: ["OTEL_EXPORTER_OTLP_LOGS_CERTIFICATE", "OTEL_EXPORTER_OTLP_CERTIFICATE"],
            client_certificate:
                ["OTEL_EXPORTER_OTLP_LOGS_CLIENT_CERTIFICATE", "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE"],
            compression: ["OTEL_EXPORTER_OTLP_LOGS_COMPRESSION", "OTEL_EXPORTER_OTLP_COMPRESSION"],
            timeout: ["OTEL_EXPORTER_OTLP_LOGS_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT"]
        ));
        rows.push(row(
            "log_labels",
            &[],
            |settings| !settings.log_labels.is_empty() || !settings.log_labels_from_fields.is_empty(),
            |settings| {
                let fixed = settings.log_labels.iter().map(|(name, value)| format!("{name}={value}"));
                let of_fields = settings.log_labels_from_fields.iter();
                let of_fields = of_fields.map(|(field, most)| format!("{field} (of a field, {most} values)"));
                let all: Vec<_> = fixed.chain(of_fields).collect();
                (!all.is_empty()).then(|| all.join(", "))
            },
        ));
    }
    #[cfg(feature = "loki")]
    rows.push(row(
        "loki_protocol",
        &[
            "OTEL_EXPORTER_OTLP_LOGS_PROTOCOL",
            "OTEL_EXPORTER_OTLP_PROTOCOL",
            "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT",
            "LGTM_ENDPOINT",
            "OTEL_LOGS_EXPORTER",
        ],
        |settings| settings.loki_protocol.is_some(),
        |settings| {
            endpoint(loki(settings))?;
            Some(match settings.loki_protocol.unwrap_or_default() {
                lgtm_loki::Protocol::Otlp(lgtm_core::otlp::Protocol::Http) => "otlp, http/protobuf".to_owned(),
                lgtm_loki::Protocol::Otlp(_) => "otlp, grpc".to_owned(),
                _ => "push".to_owned(),
            })
        },
    ));
    #[cfg(feature = "loki")]
    rows.push(row(
        "log_format",
        &["LGTM_LOG_FORMAT"],
        |settings| settings.log_format.is_some(),
        |settings| Some(format!("{:?}", settings.log_format.unwrap_or_default()).to_lowercase()),
    ));
    if cfg!(feature = "loki") {
        rows.extend([
            row(
                "log_rate_limit",
                &["LGTM_LOG_RATE_LIMIT"],
                |settings| settings.log_rate_limit.is_some(),
                |settings| {
                    let limit = settings.log_rate_limit.flatten();
                    Some(limit.map_or_else(|| "off".to_owned(), |(lines, within)| format!("{lines}/{within:?}")))
                },
            ),
            row(
                "log_deduplicate",
                &["LGTM_LOG_DEDUPLICATE"],
                |settings| settings.log_deduplicate.is_some(),
                |settings| {
                    let within = settings.log_deduplicate.flatten();
                    Some(within.map_or_else(|| "off".to_owned(), |within| format!("{within:?}")))
                },
            ),
        ]);
    }
    if cfg!(feature = "tempo") {
        rows.extend(backend!(
            tempo, "tempo", "TEMPO",
            url: [
                "TEMPO_ENDPOINT",
                "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
                "LGTM_ENDPOINT",
                "OTEL_EXPORTER_OTLP_ENDPOINT",
                "OTEL_TRACES_EXPORTER"
            ],
            headers: ["OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS"],
            ca_file: ["OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", "OTEL_EXPORTER_OTLP_CERTIFICATE"],
            client_certificate:
                ["OTEL_EXPORTER_OTLP_TRACES_CLIENT_CERTIFICATE", "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE"],
            compression: ["OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "OTEL_EXPORTER_OTLP_COMPRESSION"],
            timeout: ["OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT"]
        ));
    }
    #[cfg(feature = "tempo")]
    rows.extend([
        row(
            "tempo_protocol",
            &["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"],
            |settings| settings.tempo_protocol.is_some(),
            |settings| {
                endpoint(tempo(settings))?;
                Some(match settings.tempo_protocol? {
                    lgtm_tempo::Protocol::Http => "http/protobuf".to_owned(),
                    _ => "grpc".to_owned(),
                })
            },
        ),
        of_profile(row(
            "keep_errors",
            &["LGTM_KEEP_ERRORS"],
            |settings| settings.keep_errors.is_some(),
            |settings| Some(settings.keep_rules().is_some_and(|rules| rules.errors).to_string()),
        )),
        of_profile(row(
            "keep_slower_than",
            &["LGTM_KEEP_SLOWER_THAN"],
            |settings| settings.keep_slower_than.is_some(),
            |settings| {
                let limit = settings.keep_rules().and_then(|rules| rules.slower_than);
                Some(limit.map_or_else(|| "off".to_owned(), |limit| format!("{limit:?}")))
            },
        )),
    ]);
    rows.extend([
        of_profile(row(
            "sampler",
            &["OTEL_TRACES_SAMPLER"],
            |settings| settings.sampler.is_some(),
            |settings| Some(settings.sampler().to_string()),
        )),
        row(
            "span_limits",
            &[
                "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT",
                "OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT",
                "OTEL_LINK_ATTRIBUTE_COUNT_LIMIT",
                "OTEL_ATTRIBUTE_COUNT_LIMIT",
                "OTEL_SPAN_EVENT_COUNT_LIMIT",
                "OTEL_SPAN_LINK_COUNT_LIMIT",
                "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT",
                "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT",
            ],
            |settings| settings.span_limits.is_some(),
            |settings| {
                let limits = settings.span_limits.unwrap_or_default();
                Some(format!(
                    "attributes {}, of events {}, of links {}; events {}, links {}; {} bytes a value",
                    limits.attributes,
                    limits.event_attributes,
                    limits.link_attributes,
                    limits.events,
                    limits.links,
                    limits.value_bytes
                ))
            },
        ),
    ]);
    if cfg!(feature = "mimir") {
        rows.extend(backend!(
            mimir, "mimir", "MIMIR",
            url: [
                "MIMIR_ENDPOINT",
                "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
                "LGTM_ENDPOINT",
                "OTEL_EXPORTER_OTLP_ENDPOINT",
                "OTEL_METRICS_EXPORTER"
            ],
            headers: ["OTEL_EXPORTER_OTLP_METRICS_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS"],
            ca_file: ["OTEL_EXPORTER_OTLP_METRICS_CERTIFICATE", "OTEL_EXPORTER_OTLP_CERTIFICATE"],
            client_certificate:
                ["OTEL_EXPORTER_OTLP_METRICS_CLIENT_CERTIFICATE", "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE"],
            compression: ["OTEL_EXPORTER_OTLP_METRICS_COMPRESSION", "OTEL_EXPORTER_OTLP_COMPRESSION"],
            timeout: ["OTEL_EXPORTER_OTLP_METRICS_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT"]
        ));
        #[cfg(feature = "mimir")]
        rows.push(row(
            "mimir_protocol",
            &[
                "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL",
                "OTEL_EXPORTER_OTLP_PROTOCOL",
                "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
                "LGTM_ENDPOINT",
                "OTEL_METRICS_EXPORTER",
            ],
            |settings| settings.mimir_protocol.is_some(),
            |settings| {
                endpoint(settings.push().as_ref())?;
                Some(match settings.mimir_protocol.unwrap_or_default() {
                    lgtm_mimir::Protocol::Otlp(lgtm_core::otlp::Protocol::Http) => "otlp, http/protobuf".to_owned(),
                    lgtm_mimir::Protocol::Otlp(_) => "otlp, grpc".to_owned(),
                    _ => "remote write".to_owned(),
                })
            },
        ));
        rows.extend([
            row(
                "metrics_addr",
                &["LGTM_METRICS_ADDR"],
                |settings| settings.metrics_addr.is_some(),
                |settings| settings.metrics_addr.map(|address| address.to_string()),
            ),
            row(
                "metrics_token",
                &["LGTM_METRICS_TOKEN", "LGTM_METRICS_TOKEN_FILE"],
                |settings| settings.metrics_token.is_some(),
                |settings| settings.metrics_token.as_ref().map(|_| "***".to_owned()),
            ),
            row(
                "admin",
                &["LGTM_ADMIN"],
                |settings| settings.admin.is_some(),
                |settings| settings.admin.filter(|on| *on).map(|on| on.to_string()),
            ),
            row(
                "push_interval",
                &[],
                |settings| settings.push_interval.is_some(),
                |settings| settings.push_interval.map(|interval| format!("{interval:?}")),
            ),
        ]);
    }
    rows.extend([
        row(
            "log_filter",
            &["RUST_LOG"],
            |settings| settings.log_filter.is_some(),
            |settings| Some(settings.log_filter.clone().unwrap_or_default().to_string()),
        ),
        row(
            "span_filter",
            &["LGTM_SPAN_FILTER"],
            |settings| settings.span_filter.is_some(),
            |settings| Some(settings.span_filter.clone().unwrap_or_default().to_string()),
        ),
        row(
            "redact",
            &["LGTM_REDACT"],
            |settings| !settings.redaction.is_empty(),
            |settings| {
                let name = |(name, redacted): &(String, bool)| format!("{}{name}", if *redacted { "" } else { "-" });
                let names: Vec<_> = settings.redaction.iter().map(name).collect();
                (!names.is_empty()).then(|| names.join(","))
            },
        ),
        row(
            "console",
            &["LGTM_CONSOLE"],
            |settings| settings.console.is_some(),
            |settings| Some(format!("{:?}", settings.console.unwrap_or_default()).to_lowercase()),
        ),
        row(
            "overflow",
            &["LGTM_OVERFLOW"],
            |settings| settings.overflow.is_some(),
            |settings| {
                Some(match settings.overflow.unwrap_or_default() {
                    lgtm_core::pipeline::Overflow::Block(time) => format!("block:{time:?}"),
                    _ => "drop_newest".to_owned(),
                })
            },
        ),
        #[cfg(feature = "spool")]
        row(
            "spool",
            &["LGTM_SPOOL_DIR"],
            |settings| settings.spool.is_some(),
            |settings| {
                let lgtm_core::SpoolOptions { folder, max_bytes, max_age, durable, .. } = settings.spool.as_ref()?;
                let durable = if *durable { ", durable" } else { "" };
                Some(format!("{}, {max_bytes} bytes and {max_age:?} at most{durable}", folder.display()))
            },
        ),
        row(
            "memory_budget",
            &[],
            |settings| settings.memory_budget.is_some(),
            |settings| Some(format!("{} bytes", settings.memory_budget.unwrap_or(MEMORY_BUDGET))),
        ),
        row(
            "shutdown_timeout",
            &["LGTM_SHUTDOWN_TIMEOUT"],
            |settings| settings.shutdown_timeout.is_some(),
            |settings| Some(format!("{:?}", settings.shutdown_timeout.unwrap_or(SHUTDOWN_TIMEOUT))),
        ),
        row(
            "shutdown_on_signals",
            &["LGTM_SHUTDOWN_ON_SIGNALS"],
            |settings| settings.shutdown_on_signals.is_some(),
            |settings| Some(settings.shutdown_on_signals.unwrap_or_default().to_string()),
        ),
        row("panics", &[], |settings| settings.without_panics, |settings| Some((!settings.without_panics).to_string())),
    ]);
    rows
}

fn endpoint(destination: Option<&Destination>) -> Option<&Endpoint> {
    match destination? {
        Destination::To(endpoint) => Some(endpoint),
        Destination::Off => None,
    }
}

fn address(destination: Option<&Destination>) -> String {
    endpoint(destination).map_or_else(|| "off".to_owned(), |endpoint| endpoint.shown_url().to_string())
}

fn authentication(auth: &Auth) -> Option<String> {
    match auth {
        Auth::Basic { username, .. } => Some(format!("basic, user `{username}`, ***")),
        Auth::Bearer(_) => Some("bearer ***".to_owned()),
        _ => None,
    }
}

fn headers(endpoint: &Endpoint) -> Option<String> {
    let names: Vec<_> = endpoint.headers.iter().map(|(name, _)| format!("{name}: ***")).collect();
    (!names.is_empty()).then(|| names.join(", "))
}

fn proxy(proxy: &Proxy) -> Option<String> {
    match proxy {
        Proxy::At(url) => Some(format!("{}:{}", url.host_str()?, url.port_or_known_default()?)),
        // What the environment says is found out when the pipeline starts.
        _ => None,
    }
}

#[cfg(all(test, feature = "loki", feature = "tempo", feature = "mimir"))]
mod tests;
