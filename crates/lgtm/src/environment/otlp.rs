//! Where traces go: `TEMPO_ENDPOINT` and the variables of the OpenTelemetry exporter.
//! Source: OpenTelemetry specification, "OpenTelemetry Protocol Exporter".

use std::time::Duration;

use http::{HeaderName, HeaderValue};
use lgtm_core::Endpoint;
use lgtm_tempo::Protocol;

use super::variables::Variables;
use super::{credentials, value};
use crate::error::Error;
use crate::protocol::{self, GRPC_PORT, HTTP_PORT, usual_port};
use crate::settings::{Destination, Settings};

const GENERAL: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const DEFAULT: &str = "http://localhost:4317";
const TRACES_PATH: &str = "/v1/traces";

/// Chooses where traces go, and how.
pub(super) fn read(variables: &Variables<'_>, settings: &mut Settings) -> Result<(), Error> {
    let stated = stated_protocol(variables)?;
    let address = variables.first(&["TEMPO_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", GENERAL]);
    let (variable, text) = match &address {
        Some((_, text)) if text == "off" => {
            settings.tempo = Some(Destination::Off);
            return Ok(());
        }
        Some((variable, text)) => (*variable, text.as_str()),
        None => ("TEMPO_ENDPOINT", DEFAULT),
    };
    settings.tempo_is_default = address.is_none();
    let mut endpoint = Endpoint::parse(text).map_err(|error| value::url_error(variable, &error))?;
    if let Some(stated) = &stated {
        if settings.tempo_is_default {
            // An `http` URL takes any port.
            let _ = endpoint.url.set_port(Some(usual_port(stated.protocol)));
        }
        refuse_mismatch(stated, variable, &endpoint)?;
    }
    let protocol = stated.map_or_else(|| protocol::of_endpoint(&endpoint), |stated| stated.protocol);
    if variable == GENERAL && protocol == Protocol::Http {
        let path = format!("{}{TRACES_PATH}", endpoint.url.path().trim_end_matches('/'));
        endpoint.url.set_path(&path);
    }
    credentials::apply(variables, "TEMPO", &mut endpoint)?;
    add_certificates(variables, &mut endpoint)?;
    add_headers(variables, &mut endpoint)?;
    if let Some(timeout) = timeout(variables)? {
        endpoint.timeout = timeout;
    }
    settings.tempo = Some(Destination::To(endpoint));
    settings.tempo_protocol = Some(protocol);
    Ok(())
}

struct StatedProtocol {
    variable: &'static str,
    value: String,
    protocol: Protocol,
}

fn stated_protocol(variables: &Variables<'_>) -> Result<Option<StatedProtocol>, Error> {
    let names = ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"];
    let Some((variable, value)) = variables.first(&names) else { return Ok(None) };
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
    Ok(Some(StatedProtocol { variable, value, protocol }))
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

fn add_headers(variables: &Variables<'_>, endpoint: &mut Endpoint) -> Result<(), Error> {
    const FORM: &str = "key=value pairs separated by commas, values percent-encoded";
    let names = ["OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS"];
    let Some((variable, text)) = variables.first(&names) else { return Ok(()) };
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

/// Those of the exporter's own variables stand above those for all signals, and below those for Tempo.
fn add_certificates(variables: &Variables<'_>, endpoint: &mut Endpoint) -> Result<(), Error> {
    let authorities = ["LGTM_TEMPO_CA_FILE", "OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", "OTEL_EXPORTER_OTLP_CERTIFICATE"];
    if let Some((variable, _)) = variables.first(&authorities)
        && let Some(path) = variables.file(variable)?
    {
        endpoint.ca_file = Some(path);
    }
    let client = [
        ["LGTM_TEMPO_CLIENT_CERTIFICATE_FILE", "LGTM_TEMPO_CLIENT_KEY_FILE"],
        ["OTEL_EXPORTER_OTLP_TRACES_CLIENT_CERTIFICATE", "OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY"],
        ["OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", "OTEL_EXPORTER_OTLP_CLIENT_KEY"],
    ];
    for names in client {
        if let Some(files) = credentials::client_certificate(variables, names)? {
            endpoint.client_certificate = Some(files);
            break;
        }
    }
    Ok(())
}

fn timeout(variables: &Variables<'_>) -> Result<Option<Duration>, Error> {
    let names = ["OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT"];
    let Some((variable, _)) = variables.first(&names) else { return Ok(None) };
    variables.parse(variable, "a whole number of milliseconds from 1 to 3600000", |text| {
        text.parse().ok().filter(|milliseconds| (1..=3_600_000).contains(milliseconds)).map(Duration::from_millis)
    })
}
