//! Where signals go that travel by OTLP: the variables of the OpenTelemetry exporter, and `TEMPO_ENDPOINT`.
//! Source: OpenTelemetry specification, "OpenTelemetry Protocol Exporter" and "Environment Variable Specification".

use std::time::Duration;

use http::{HeaderName, HeaderValue};
use lgtm_core::otlp::Protocol;
use lgtm_core::{Compression, Endpoint};

use super::variables::Variables;
use super::{credentials, value};
use crate::error::Error;
use crate::protocol::{self, GRPC_PORT, HTTP_PORT, usual_port};
use crate::settings::{Destination, Settings};

/// One receiver for all signals: it chooses OTLP for logs and metrics too.
const ALL: &str = "LGTM_ENDPOINT";
const GENERAL: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const DEFAULT: &str = "http://localhost:4317";

/// What a signal is called in variables.
struct Names {
    /// In `OTEL_EXPORTER_OTLP_<SIGNAL>_*`.
    signal: &'static str,
    /// In `LGTM_<BACKEND>_*`.
    backend: &'static str,
    /// What is appended to the endpoint for all signals.
    path: &'static str,
}

impl Names {
    /// The signal's own variable, and the one for all signals.
    fn of(&self, what: &str) -> [String; 2] {
        [format!("OTEL_EXPORTER_OTLP_{}_{what}", self.signal), format!("OTEL_EXPORTER_OTLP_{what}")]
    }
}

#[cfg(feature = "tempo")]
const TRACES: Names = Names { signal: "TRACES", backend: "TEMPO", path: "/v1/traces" };
#[cfg(feature = "loki")]
const LOGS: Names = Names { signal: "LOGS", backend: "LOKI", path: "/v1/logs" };
#[cfg(feature = "mimir")]
const METRICS: Names = Names { signal: "METRICS", backend: "MIMIR", path: "/v1/metrics" };

/// Chooses where traces go, and how.
#[cfg(feature = "tempo")]
pub(super) fn traces(variables: &Variables<'_>, settings: &mut Settings) -> Result<(), Error> {
    let [own, _] = TRACES.of("ENDPOINT");
    let address = variables.first(&["TEMPO_ENDPOINT", &own, ALL, GENERAL]);
    let is_off = match &address {
        Some((_, text)) if text == "off" => true,
        Some((variable, _)) if ![ALL, GENERAL].contains(variable) => false,
        // An endpoint for all signals says nothing of traces alone.
        _ => exporter(variables, "OTEL_TRACES_EXPORTER")? == Some(Exporter::None),
    };
    if is_off {
        settings.tempo = Some(Destination::Off);
        return Ok(());
    }
    settings.tempo_is_default = address.is_none();
    let (endpoint, protocol) = endpoint(variables, &TRACES, address, "TEMPO_ENDPOINT")?;
    settings.tempo = Some(Destination::To(endpoint));
    settings.tempo_protocol = Some(protocol);
    Ok(())
}

/// Chooses OTLP for logs, or nothing, if a variable of OpenTelemetry says so; else they go to Loki's push.
#[cfg(feature = "loki")]
pub(super) fn logs(variables: &Variables<'_>, settings: &mut Settings) -> Result<bool, Error> {
    let Some(chosen) = chosen(variables, &LOGS)? else { return Ok(false) };
    (settings.loki, settings.loki_protocol) = match chosen {
        Some((endpoint, protocol)) => (Some(Destination::To(endpoint)), Some(lgtm_loki::Protocol::Otlp(protocol))),
        None => (Some(Destination::Off), None),
    };
    Ok(true)
}

/// Chooses OTLP for metrics, or nothing, if a variable of OpenTelemetry says so; else they go by remote write.
#[cfg(feature = "mimir")]
pub(super) fn metrics(variables: &Variables<'_>, settings: &mut Settings) -> Result<bool, Error> {
    let Some(chosen) = chosen(variables, &METRICS)? else { return Ok(false) };
    variables.parse("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "cumulative", |text| {
        text.eq_ignore_ascii_case("cumulative").then_some(())
    })?;
    (settings.mimir, settings.mimir_protocol) = match chosen {
        Some((endpoint, protocol)) => (Some(Destination::To(endpoint)), Some(lgtm_mimir::Protocol::Otlp(protocol))),
        None => (Some(Destination::Off), None),
    };
    Ok(true)
}

/// Where a signal goes by OTLP, which has another way too: `None` where nothing chooses OTLP, an inner one where nothing is sent.
#[cfg(any(feature = "loki", feature = "mimir"))]
fn chosen(variables: &Variables<'_>, names: &Names) -> Result<Option<Option<(Endpoint, Protocol)>>, Error> {
    let [own, _] = names.of("ENDPOINT");
    let address = match exporter(variables, &format!("OTEL_{}_EXPORTER", names.signal))? {
        Some(Exporter::Otlp) => variables.first(&[&own, ALL, GENERAL]),
        Some(Exporter::None) => return Ok(Some(None)),
        None => match variables.first(&[&own, ALL]) {
            Some(chosen) => Some(chosen),
            None => return Ok(None),
        },
    };
    if address.as_ref().is_some_and(|(_, text)| text == "off") {
        return Ok(Some(None));
    }
    endpoint(variables, names, address, GENERAL).map(Some).map(Some)
}

/// What `OTEL_<SIGNAL>_EXPORTER` says.
#[derive(PartialEq)]
enum Exporter {
    Otlp,
    None,
}

fn exporter(variables: &Variables<'_>, name: &str) -> Result<Option<Exporter>, Error> {
    variables.parse(name, "otlp or none", |text| match text {
        "otlp" => Some(Exporter::Otlp),
        "none" => Some(Exporter::None),
        _ => None,
    })
}

/// The endpoint at this address, or at the usual one, with everything that variables say of it, and its protocol.
fn endpoint(
    variables: &Variables<'_>,
    names: &Names,
    address: Option<(&str, String)>,
    default_variable: &'static str,
) -> Result<(Endpoint, Protocol), Error> {
    let stated = stated_protocol(variables, names)?;
    let is_default = address.is_none();
    let (variable, text) = address.unwrap_or_else(|| (default_variable, DEFAULT.to_owned()));
    let mut endpoint = Endpoint::parse(&text).map_err(|error| value::url_error(variable, &error))?;
    if let Some(stated) = &stated {
        if is_default {
            // An `http` URL takes any port.
            let _ = endpoint.url.set_port(Some(usual_port(stated.protocol)));
        }
        refuse_mismatch(stated, variable, &endpoint)?;
    }
    let protocol = stated.map_or_else(|| protocol::of_endpoint(&endpoint), |stated| stated.protocol);
    if [ALL, GENERAL].contains(&variable) && !is_default && protocol == Protocol::Http {
        let path = format!("{}{}", endpoint.url.path().trim_end_matches('/'), names.path);
        endpoint.url.set_path(&path);
    }
    credentials::apply(variables, names.backend, &mut endpoint)?;
    add_certificates(variables, names, &mut endpoint)?;
    add_headers(variables, names, &mut endpoint)?;
    if let Some(compression) = compression(variables, names)? {
        endpoint.compression = compression;
    }
    if let Some(timeout) = timeout(variables, names)? {
        endpoint.timeout = timeout;
    }
    Ok((endpoint, protocol))
}

struct StatedProtocol {
    variable: String,
    value: String,
    protocol: Protocol,
}

fn stated_protocol(variables: &Variables<'_>, names: &Names) -> Result<Option<StatedProtocol>, Error> {
    let names = names.of("PROTOCOL");
    let Some((variable, value)) = variables.first(&names.each_ref().map(String::as_str)) else { return Ok(None) };
    let protocol = match value.as_str() {
        "grpc" => Protocol::Grpc,
        "http/protobuf" => Protocol::Http,
        _ => {
            let problem = if value == "http/json" {
                "`http/json` is not supported".to_owned()
            } else {
                format!("`{value}` is not a protocol")
            };
            return Err(Error::environment(variable, problem, "grpc or http/protobuf"));
        }
    };
    Ok(Some(StatedProtocol { variable: variable.to_owned(), value, protocol }))
}

fn refuse_mismatch(stated: &StatedProtocol, variable: &str, endpoint: &Endpoint) -> Result<(), Error> {
    if !protocol::has_port_of_the_other(endpoint, stated.protocol) {
        return Ok(());
    }
    let usual = usual_port(stated.protocol);
    let StatedProtocol { variable: protocol_variable, value, .. } = stated;
    Err(Error::environment(
        variable,
        format!("`{}` has the port of the other protocol: {protocol_variable} is `{value}`", endpoint.shown_url()),
        format!(
            "port {usual} with {value}, or {protocol_variable} unset: then port {GRPC_PORT} means grpc and port {HTTP_PORT} http/protobuf"
        ),
    ))
}

fn add_headers(variables: &Variables<'_>, names: &Names, endpoint: &mut Endpoint) -> Result<(), Error> {
    const FORM: &str = "key=value pairs separated by commas, values percent-encoded";
    let names = names.of("HEADERS");
    let Some((variable, text)) = variables.first(&names.each_ref().map(String::as_str)) else { return Ok(()) };
    let refuse = |problem: String| Error::environment(variable, format!("{problem} (values are not shown)"), FORM);
    for (number, (key, value)) in (1..).zip(value::pairs(&text).map_err(refuse)?) {
        let Ok(name) = HeaderName::try_from(&key) else {
            // `authorization: Basic dXNlcjpw...=` has its secret before the `=`.
            return Err(refuse(format!("pair {number} does not begin with the name of an HTTP header")));
        };
        if HeaderValue::from_str(&value).is_err() {
            return Err(refuse(format!("the value of `{key}` cannot be sent as an HTTP header")));
        }
        endpoint.headers.push((name, value.into()));
    }
    Ok(())
}

/// Those of the exporter's own variables stand above those for all signals, and below those for the backend.
fn add_certificates(variables: &Variables<'_>, names: &Names, endpoint: &mut Endpoint) -> Result<(), Error> {
    let backend = |what: &str| format!("LGTM_{}_{what}", names.backend);
    let [own, general] = names.of("CERTIFICATE");
    if let Some((variable, _)) = variables.first(&[&backend("CA_FILE"), &own, &general])
        && let Some(path) = variables.file(variable)?
    {
        endpoint.ca_file = Some(path);
    }
    let ([own, general], [own_key, general_key]) = (names.of("CLIENT_CERTIFICATE"), names.of("CLIENT_KEY"));
    let client =
        [[backend("CLIENT_CERTIFICATE_FILE"), backend("CLIENT_KEY_FILE")], [own, own_key], [general, general_key]];
    for names in client {
        if let Some(files) = credentials::client_certificate(variables, names.each_ref().map(String::as_str))? {
            endpoint.client_certificate = Some(files);
            break;
        }
    }
    Ok(())
}

fn compression(variables: &Variables<'_>, names: &Names) -> Result<Option<Compression>, Error> {
    let names = names.of("COMPRESSION");
    let Some((variable, _)) = variables.first(&names.each_ref().map(String::as_str)) else { return Ok(None) };
    variables.parse(variable, "gzip or none", |text| match text {
        "gzip" => Some(Compression::Gzip),
        "none" => Some(Compression::None),
        _ => None,
    })
}

fn timeout(variables: &Variables<'_>, names: &Names) -> Result<Option<Duration>, Error> {
    let names = names.of("TIMEOUT");
    let Some((variable, _)) = variables.first(&names.each_ref().map(String::as_str)) else { return Ok(None) };
    variables.parse(variable, "a whole number of milliseconds from 1 to 3600000", |text| {
        text.parse().ok().filter(|milliseconds| (1..=3_600_000).contains(milliseconds)).map(Duration::from_millis)
    })
}
