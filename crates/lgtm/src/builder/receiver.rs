//! One OTLP receiver for all signals, in code: what it means for each of them. Runs once, at the start; pure.

use lgtm_core::Endpoint;
use lgtm_core::otlp::Protocol;

use crate::error::Error;
use crate::protocol;
use crate::settings::{Destination, Settings};

/// Sends each signal that has no endpoint of its own to the receiver, by the protocol that is chosen for it, or that the endpoint says.
pub(super) fn spread(settings: &mut Settings) -> Result<(), Error> {
    let Some(receiver) = settings.endpoint.take() else { return Ok(()) };
    #[cfg(feature = "loki")]
    if settings.loki.is_none() {
        let chosen = match settings.loki_protocol {
            Some(lgtm_loki::Protocol::Otlp(protocol)) => Some(protocol),
            Some(other) => return Err(mismatch("loki_protocol", &format!("{other:?}"), &receiver)),
            None => None,
        };
        let (endpoint, protocol) = of_signal(&receiver, chosen, "/v1/logs");
        settings.loki = Some(Destination::To(endpoint));
        settings.loki_protocol = Some(lgtm_loki::Protocol::Otlp(protocol));
    }
    #[cfg(feature = "tempo")]
    if settings.tempo.is_none() {
        let (endpoint, protocol) = of_signal(&receiver, settings.tempo_protocol, "/v1/traces");
        settings.tempo = Some(Destination::To(endpoint));
        settings.tempo_protocol = Some(protocol);
    }
    #[cfg(feature = "mimir")]
    if settings.mimir.is_none() {
        let chosen = match settings.mimir_protocol {
            Some(lgtm_mimir::Protocol::Otlp(protocol)) => Some(protocol),
            Some(other) => return Err(mismatch("mimir_protocol", &format!("{other:?}"), &receiver)),
            None => None,
        };
        let (endpoint, protocol) = of_signal(&receiver, chosen, "/v1/metrics");
        settings.mimir = Some(Destination::To(endpoint));
        settings.mimir_protocol = Some(lgtm_mimir::Protocol::Otlp(protocol));
    }
    Ok(())
}

fn of_signal(receiver: &Endpoint, chosen: Option<Protocol>, path: &str) -> (Endpoint, Protocol) {
    let protocol = chosen.unwrap_or_else(|| protocol::of_endpoint(receiver));
    let mut endpoint = receiver.clone();
    if protocol == Protocol::Http {
        let path = format!("{}{path}", endpoint.url.path().trim_end_matches('/'));
        endpoint.url.set_path(&path);
    }
    (endpoint, protocol)
}

fn mismatch(setting: &'static str, chosen: &str, receiver: &Endpoint) -> Error {
    let problem = format!("{chosen}, but `{}` takes OTLP", receiver.shown_url());
    Error::Setting { setting, problem, accepted: "Otlp, or an endpoint of that signal's own" }
}
