//! Who chose a setting: the program, a variable, the profile, or nobody. Runs once, at the start.

use super::{Config, Row, Setting, Source, rows};
use crate::settings::{Destination, Settings};

/// What the variables of the OpenTelemetry exporter begin with.
const EXPORTERS: &str = "OTEL_EXPORTER_OTLP_";
/// One OTLP receiver for all signals.
const ENDPOINT: &str = "LGTM_ENDPOINT";

type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Which settings the program has chosen.
pub(crate) struct Chosen {
    rows: Vec<&'static str>,
    /// The backends whose place the development stack takes: who chose it has chosen their settings.
    #[cfg(feature = "devstack")]
    devstack: Vec<&'static str>,
}

impl Chosen {
    /// The settings that are chosen in code; these are not merged with the environment's yet.
    pub(crate) fn in_code(code: &Settings) -> Self {
        Self {
            rows: rows().iter().filter(|row| (row.in_code)(code)).map(|row| row.name).collect(),
            #[cfg(feature = "devstack")]
            devstack: Vec::new(),
        }
    }

    /// The development stack takes the place of these backends.
    #[cfg(feature = "devstack")]
    pub(crate) fn with_devstack(self, devstack: Vec<&'static str>) -> Self {
        Self { devstack, ..self }
    }

    /// What the merged settings are, and who chose them.
    pub(crate) fn describe(&self, settings: &Settings, lookup: Lookup<'_>) -> Config {
        // Where metrics go is decided late.
        let pushes = Settings {
            mimir: settings.push(),
            #[cfg(feature = "mimir")]
            mimir_protocol: settings.mimir_protocol,
            ..Settings::default()
        };
        let setting = |row: &Row| {
            let settings = if row.name.starts_with("mimir") { &pushes } else { settings };
            Some(Setting { name: row.name, value: (row.value)(settings)?, source: self.source(row, settings, lookup) })
        };
        Config(rows().iter().filter_map(setting).collect())
    }

    fn source(&self, row: &Row, settings: &Settings, lookup: Lookup<'_>) -> Source {
        if self.rows.contains(&row.name) {
            return Source::Code;
        }
        #[cfg(feature = "devstack")]
        if self.devstack.iter().any(|backend| row.name.split(['.', '_']).next() == Some(backend)) {
            let in_code = self.rows.contains(&"devstack");
            return if in_code { Source::Code } else { Source::Variable("LGTM_DEVSTACK".to_owned()) };
        }
        if let Some(name) = variable(row, settings, lookup) {
            return Source::Variable(name.to_owned());
        }
        if row.of_profile && settings.profile.is_some() && settings.sampler.is_none() {
            return Source::Profile;
        }
        Source::Default
    }
}

/// The variable that has chosen a value: of those that can, the first that is set.
fn variable(row: &Row, settings: &Settings, lookup: Lookup<'_>) -> Option<&'static str> {
    let text = |name: &str| lookup(name).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
    // A URL is where credentials come from only if it is the one that is used, and has some.
    let url = row.name.strip_suffix(".authentication").map(|signal| {
        let address = rows().into_iter().find(|row| row.name == signal);
        address.and_then(|address| variable(&address, settings, lookup))
    });
    let counts = |name: &str, text: &str| match url {
        Some(url) if !name.starts_with("LGTM_") || name == ENDPOINT => url == Some(name) && text.contains('@'),
        _ if row.name == "service_name" && name == "OTEL_RESOURCE_ATTRIBUTES" => text.contains("service.name="),
        _ => reaches(row, settings, name, text),
    };
    row.variables.iter().copied().find(|name| text(name).is_some_and(|text| counts(name, &text)))
}

/// Whether a variable of OTLP says something of a signal, which may travel another way.
fn reaches(row: &Row, settings: &Settings, name: &str, text: &str) -> bool {
    let signal = row.name.split(['.', '_']).next().unwrap_or_default();
    let is_exporter = name.starts_with("OTEL_") && name.ends_with("_EXPORTER");
    let destination = match signal {
        "loki" => &settings.loki,
        "tempo" => &settings.tempo,
        "mimir" => &settings.mimir,
        _ => return true,
    };
    if !is_exporter && !name.starts_with(EXPORTERS) && name != ENDPOINT {
        return true;
    }
    match destination {
        Some(Destination::Off) => matches!(text, "off" | "none"),
        // For traces there is no other way: `otlp` chooses nothing.
        _ => travels_by_otlp(signal, settings) && !(signal == "tempo" && is_exporter),
    }
}

fn travels_by_otlp(signal: &str, settings: &Settings) -> bool {
    #[cfg(feature = "loki")]
    if signal == "loki" {
        return matches!(settings.loki_protocol, Some(lgtm_loki::Protocol::Otlp(_)));
    }
    #[cfg(feature = "mimir")]
    if signal == "mimir" {
        return matches!(settings.mimir_protocol, Some(lgtm_mimir::Protocol::Otlp(_)));
    }
    let _ = (signal, settings);
    true
}
