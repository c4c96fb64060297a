//! Every setting as it was chosen, in code or in the environment, and what the two together mean.

use std::net::SocketAddr;
use std::time::Duration;

#[cfg(feature = "spool")]
use lgtm_core::SpoolOptions;
use lgtm_core::pipeline::Overflow;
use lgtm_core::sampler::{Root, Sampler};
#[cfg(feature = "tempo")]
use lgtm_core::span::KeepRules;
use lgtm_core::span::Limits;
use lgtm_core::{Endpoint, Identity, Proxy, Secret};

#[cfg(any(feature = "loki", feature = "tempo", feature = "mimir"))]
use crate::error::Error;
use crate::filter::Directives;
#[cfg(any(feature = "loki", feature = "tempo", feature = "mimir"))]
use crate::protocol;

/// Where a signal goes.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "three of them exist, once, at the start")]
pub(crate) enum Destination {
    /// Nowhere.
    Off,
    /// There.
    To(Endpoint),
}

/// Which traces are kept, by purpose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Profile {
    /// Every trace, unless its remote parent is not recorded. The default.
    #[default]
    Development,
    /// One trace in a hundred, whole: a remote parent's decision is honoured and passed on. And of every other trace that
    /// fails here, or takes longer than 500 ms, the part that happens in this process, marked with `lgtm.sampling.reason`.
    /// Other services do not hear of that: for whole traces of every failure use [`Profile::Gateway`].
    Production,
    /// Every trace: a collector behind it decides.
    Gateway,
}

impl Profile {
    pub(crate) const fn sampler(self) -> Sampler {
        match self {
            Self::Development => Sampler::ParentBased(Root::AlwaysOn),
            Self::Production => Sampler::ParentBased(Root::TraceIdRatio(0.01)),
            Self::Gateway => Sampler::AlwaysOn,
        }
    }
}

/// What the program's own standard error shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Console {
    /// [`Console::Pretty`] if standard error is a terminal, else [`Console::Json`]. The default.
    #[default]
    Auto,
    /// One line an event, for people, in colour on a terminal (unless `NO_COLOR` is set).
    Pretty,
    /// One JSON object an event.
    Json,
    /// Nothing.
    Off,
}

/// Each setting, if it was chosen.
#[derive(Debug, Default)]
pub(crate) struct Settings {
    pub(crate) service_name: Option<String>,
    /// Later ones win.
    pub(crate) resource_attributes: Vec<(String, String)>,
    /// One OTLP receiver for the signals that have none of their own. In code alone, and gone once it is spread over them.
    pub(crate) endpoint: Option<Endpoint>,
    pub(crate) loki: Option<Destination>,
    #[cfg(feature = "loki")]
    pub(crate) loki_protocol: Option<lgtm_loki::Protocol>,
    pub(crate) tempo: Option<Destination>,
    #[cfg(feature = "tempo")]
    pub(crate) tempo_protocol: Option<lgtm_tempo::Protocol>,
    /// Nobody chose where traces go: the protocol decides about the port.
    pub(crate) tempo_is_default: bool,
    pub(crate) mimir: Option<Destination>,
    #[cfg(feature = "mimir")]
    pub(crate) mimir_protocol: Option<lgtm_mimir::Protocol>,
    /// Where metrics are pushed if neither a destination nor an address to be scraped at is chosen.
    pub(crate) default_mimir: Option<Endpoint>,
    pub(crate) metrics_addr: Option<SocketAddr>,
    /// What scrapers must show.
    pub(crate) metrics_token: Option<Secret>,
    /// Whether the program can be asked and changed at that address.
    pub(crate) admin: Option<bool>,
    pub(crate) push_interval: Option<Duration>,
    pub(crate) buckets: Option<Vec<f64>>,
    #[cfg(feature = "mimir")]
    pub(crate) buckets_for: Vec<(lgtm_mimir::Matcher, Vec<f64>)>,
    #[cfg(feature = "mimir")]
    pub(crate) native_histograms_for: Vec<(lgtm_mimir::Matcher, usize)>,
    #[cfg(feature = "mimir")]
    pub(crate) quantiles_for: Vec<(lgtm_mimir::Matcher, Vec<f64>)>,
    pub(crate) quantile_window: Option<Duration>,
    pub(crate) expire_metrics_after: Option<Duration>,
    #[cfg(feature = "mimir")]
    pub(crate) remote_write: lgtm_mimir::RemoteWrite,
    /// A server of the program's own answers scrapes.
    pub(crate) renders_metrics: bool,
    pub(crate) sampler: Option<Sampler>,
    pub(crate) profile: Option<Profile>,
    pub(crate) keep_errors: Option<bool>,
    /// `Some(None)`: whatever the duration.
    pub(crate) keep_slower_than: Option<Option<Duration>>,
    pub(crate) span_limits: Option<Limits>,
    #[cfg(feature = "tempo")]
    pub(crate) span_detail: lgtm_tempo::Detail,
    pub(crate) overflow: Option<Overflow>,
    #[cfg(feature = "spool")]
    pub(crate) spool: Option<SpoolOptions>,
    #[cfg(feature = "loki")]
    pub(crate) log_format: Option<lgtm_loki::Format>,
    /// The most lines of a callsite within a time; `Some(None)`: no limit.
    pub(crate) log_rate_limit: Option<Option<(u32, Duration)>>,
    /// Within this time the same line of a callsite is one; `Some(None)`: never.
    pub(crate) log_deduplicate: Option<Option<Duration>>,
    /// Names and values of stream labels.
    pub(crate) log_labels: Vec<(String, String)>,
    /// Fields that are stream labels, with the most values.
    pub(crate) log_labels_from_fields: Vec<(String, usize)>,
    pub(crate) log_filter: Option<Directives>,
    pub(crate) span_filter: Option<Directives>,
    /// Names of fields, and whether their values are left out. Later ones win.
    pub(crate) redaction: Vec<(String, bool)>,
    pub(crate) console: Option<Console>,
    pub(crate) shutdown_timeout: Option<Duration>,
    pub(crate) memory_budget: Option<usize>,
    pub(crate) disabled: Option<bool>,
    #[cfg(feature = "devstack")]
    pub(crate) devstack: Option<crate::devstack::Wanted>,
    pub(crate) shutdown_on_signals: Option<bool>,
    /// The program keeps its panics to itself.
    pub(crate) without_panics: bool,
    /// The program keeps its own recorder.
    pub(crate) without_metrics: bool,
    /// Spans go through an OpenTelemetry tracer provider.
    #[cfg(feature = "opentelemetry")]
    pub(crate) opentelemetry: bool,
}

impl Settings {
    /// What is not chosen here is taken from `other`.
    pub(crate) fn or(self, other: Self) -> Self {
        // A profile in code stands above a sampler in the environment.
        let (sampler, profile) = match (self.sampler, self.profile) {
            (None, None) => (other.sampler, other.profile),
            chosen => chosen,
        };
        let mut resource_attributes = other.resource_attributes;
        resource_attributes.extend(self.resource_attributes);
        Self {
            service_name: self.service_name.or(other.service_name),
            resource_attributes,
            endpoint: self.endpoint,
            // A protocol belongs to its endpoint: that of the environment says nothing about an endpoint in code.
            #[cfg(feature = "loki")]
            loki_protocol: self.loki_protocol.or(if self.loki.is_some() { None } else { other.loki_protocol }),
            loki: self.loki.or(other.loki),
            #[cfg(feature = "tempo")]
            tempo_protocol: self.tempo_protocol.or(if self.tempo.is_some() { None } else { other.tempo_protocol }),
            tempo_is_default: self.tempo.is_none() && other.tempo_is_default,
            tempo: self.tempo.or(other.tempo),
            #[cfg(feature = "mimir")]
            mimir_protocol: self.mimir_protocol.or(if self.mimir.is_some() { None } else { other.mimir_protocol }),
            mimir: self.mimir.or(other.mimir),
            default_mimir: self.default_mimir.or(other.default_mimir),
            metrics_addr: self.metrics_addr.or(other.metrics_addr),
            metrics_token: self.metrics_token.or(other.metrics_token),
            admin: self.admin.or(other.admin),
            push_interval: self.push_interval.or(other.push_interval),
            buckets: self.buckets.or(other.buckets),
            #[cfg(feature = "mimir")]
            buckets_for: [self.buckets_for, other.buckets_for].concat(),
            #[cfg(feature = "mimir")]
            native_histograms_for: [self.native_histograms_for, other.native_histograms_for].concat(),
            #[cfg(feature = "mimir")]
            quantiles_for: [self.quantiles_for, other.quantiles_for].concat(),
            quantile_window: self.quantile_window.or(other.quantile_window),
            expire_metrics_after: self.expire_metrics_after.or(other.expire_metrics_after),
            // The environment says nothing of these.
            #[cfg(feature = "mimir")]
            remote_write: self.remote_write,
            renders_metrics: self.renders_metrics || other.renders_metrics,
            sampler,
            profile,
            keep_errors: self.keep_errors.or(other.keep_errors),
            keep_slower_than: self.keep_slower_than.or(other.keep_slower_than),
            span_limits: self.span_limits.or(other.span_limits),
            #[cfg(feature = "tempo")]
            span_detail: self.span_detail,
            overflow: self.overflow.or(other.overflow),
            #[cfg(feature = "spool")]
            spool: self.spool.or(other.spool),
            #[cfg(feature = "loki")]
            log_format: self.log_format.or(other.log_format),
            log_rate_limit: self.log_rate_limit.or(other.log_rate_limit),
            log_deduplicate: self.log_deduplicate.or(other.log_deduplicate),
            log_labels: [self.log_labels, other.log_labels].concat(),
            log_labels_from_fields: [self.log_labels_from_fields, other.log_labels_from_fields].concat(),
            log_filter: self.log_filter.or(other.log_filter),
            span_filter: self.span_filter.or(other.span_filter),
            redaction: [other.redaction, self.redaction].concat(),
            console: self.console.or(other.console),
            shutdown_timeout: self.shutdown_timeout.or(other.shutdown_timeout),
            memory_budget: self.memory_budget.or(other.memory_budget),
            disabled: self.disabled.or(other.disabled),
            #[cfg(feature = "devstack")]
            devstack: self.devstack.or(other.devstack),
            shutdown_on_signals: self.shutdown_on_signals.or(other.shutdown_on_signals),
            without_panics: self.without_panics || other.without_panics,
            without_metrics: self.without_metrics || other.without_metrics,
            #[cfg(feature = "opentelemetry")]
            opentelemetry: self.opentelemetry || other.opentelemetry,
        }
    }

    /// Backends that are to be reached by the proxy of the environment are reached directly.
    pub(crate) fn ignore_proxies(&mut self) {
        let destinations = [&mut self.loki, &mut self.tempo, &mut self.mimir].into_iter().flatten();
        let chosen = destinations.filter_map(|destination| match destination {
            Destination::To(endpoint) => Some(endpoint),
            Destination::Off => None,
        });
        for endpoint in chosen.chain(&mut self.default_mimir) {
            if matches!(endpoint.proxy, Proxy::Environment) {
                endpoint.proxy = Proxy::Direct;
            }
        }
    }

    /// Who sends.
    pub(crate) fn identity(&self) -> Identity {
        let mut identity = Identity::default();
        for (name, value) in &self.resource_attributes {
            identity.set(name, value.clone());
        }
        if let Some(name) = &self.service_name {
            identity.service_name.clone_from(name);
        }
        identity
    }

    /// Makes endpoint and protocol of traces agree, or says why they cannot.
    #[cfg(feature = "tempo")]
    pub(crate) fn settle_tempo(&mut self) -> Result<(), Error> {
        let Some(Destination::To(endpoint)) = &mut self.tempo else { return Ok(()) };
        let protocol = *self.tempo_protocol.get_or_insert_with(|| protocol::of_endpoint(endpoint));
        if self.tempo_is_default {
            // An `http` URL takes any port.
            let _ = endpoint.url.set_port(Some(protocol::usual_port(protocol)));
        }
        if protocol::has_port_of_the_other(endpoint, protocol) {
            let problem =
                format!("{protocol:?}, but `{}` has the usual port of the other protocol", endpoint.shown_url());
            let accepted = "Grpc with port 4317, Http with port 4318, or any other port";
            return Err(Error::Setting { setting: "tempo_protocol", problem, accepted });
        }
        Ok(())
    }

    /// Says where endpoint and protocol of logs or metrics cannot agree.
    #[cfg(any(feature = "loki", feature = "mimir"))]
    pub(crate) fn refuse_mismatches(&self) -> Result<(), Error> {
        let refuse = |setting, destination: &Option<Destination>, protocol| match destination {
            Some(Destination::To(endpoint)) if protocol::has_port_of_the_other(endpoint, protocol) => {
                let problem =
                    format!("{protocol:?}, but `{}` has the usual port of the other protocol", endpoint.shown_url());
                let accepted = "Grpc with port 4317, Http with port 4318, or any other port";
                Err(Error::Setting { setting, problem, accepted })
            }
            _ => Ok(()),
        };
        #[cfg(feature = "loki")]
        if let Some(lgtm_loki::Protocol::Otlp(protocol)) = self.loki_protocol {
            refuse("loki_protocol", &self.loki, protocol)?;
        }
        #[cfg(feature = "mimir")]
        if let Some(lgtm_mimir::Protocol::Otlp(protocol)) = self.mimir_protocol {
            refuse("mimir_protocol", &self.mimir, protocol)?;
        }
        Ok(())
    }

    /// Which traces are recorded.
    pub(crate) fn sampler(&self) -> Sampler {
        self.sampler.clone().unwrap_or_else(|| self.profile.unwrap_or_default().sampler())
    }

    /// What keeps traces that the sampler leaves out, if anything does. A sampler that was chosen has no rules beside it
    /// unless they were chosen too.
    #[cfg(feature = "tempo")]
    pub(crate) fn keep_rules(&self) -> Option<KeepRules> {
        let production = self.sampler.is_none() && self.profile == Some(Profile::Production);
        let mut rules = KeepRules::default();
        rules.errors = self.keep_errors.unwrap_or(production);
        rules.slower_than = self.keep_slower_than.unwrap_or(rules.slower_than.filter(|_| production));
        (rules.errors || rules.slower_than.is_some()).then_some(rules)
    }

    /// Where metrics are pushed, if they are.
    pub(crate) fn push(&self) -> Option<Destination> {
        match (&self.mimir, self.metrics_addr.is_some() || self.renders_metrics) {
            (Some(chosen), _) => Some(chosen.clone()),
            // A program is scraped or it pushes.
            (None, true) => Some(Destination::Off),
            (None, false) => self.default_mimir.clone().map(Destination::To),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_wins_over_the_environment_setting_by_setting() {
        let code = Settings {
            service_name: Some("code".to_owned()),
            resource_attributes: vec![("region".to_owned(), "eu".to_owned())],
            ..Settings::default()
        };
        let environment = Settings {
            service_name: Some("environment".to_owned()),
            resource_attributes: vec![
                ("region".to_owned(), "us".to_owned()),
                ("service.version".to_owned(), "2".to_owned()),
            ],
            console: Some(Console::Off),
            ..Settings::default()
        };
        let both = code.or(environment);
        assert_eq!(both.console, Some(Console::Off));
        let identity = both.identity();
        assert_eq!(identity.service_name, "code");
        assert_eq!(identity.service_version.as_deref(), Some("2"));
        assert_eq!(identity.attributes, [("region".to_owned(), "eu".to_owned())]);
    }

    #[test]
    #[cfg(feature = "tempo")]
    fn the_profile_production_has_keep_rules_and_a_chosen_sampler_only_those_that_were_chosen_too() {
        let production = || Settings { profile: Some(Profile::Production), ..Settings::default() };
        assert_eq!(production().keep_rules(), Some(KeepRules::default()));
        assert_eq!(Settings::default().keep_rules(), None);
        let ratio = Some(Sampler::TraceIdRatio(0.1));
        assert_eq!(Settings { sampler: ratio.clone(), ..production() }.keep_rules(), None);
        let rules = Settings { sampler: ratio, keep_errors: Some(true), ..Settings::default() }.keep_rules().unwrap();
        assert_eq!((rules.errors, rules.slower_than), (true, None));
        let rules = Settings { keep_slower_than: Some(None), ..production() }.keep_rules().unwrap();
        assert_eq!((rules.errors, rules.slower_than), (true, None));
    }

    #[test]
    fn a_profile_in_code_stands_above_a_sampler_of_the_environment() {
        let code = Settings { profile: Some(Profile::Gateway), ..Settings::default() };
        let environment = Settings { sampler: Some(Sampler::AlwaysOff), ..Settings::default() };
        assert_eq!(code.or(environment).sampler(), Sampler::AlwaysOn);
        let environment =
            Settings { sampler: Some(Sampler::AlwaysOff), profile: Some(Profile::Gateway), ..Settings::default() };
        assert_eq!(Settings::default().or(environment).sampler(), Sampler::AlwaysOff);
        assert_eq!(Settings::default().sampler(), Sampler::default());
    }

    #[cfg(feature = "tempo")]
    #[test]
    fn a_protocol_in_code_moves_the_default_endpoint_to_its_port() {
        let code = Settings { tempo_protocol: Some(lgtm_tempo::Protocol::Http), ..Settings::default() };
        let mut settings = code.or(crate::environment::read(|_| None).unwrap());
        settings.settle_tempo().unwrap();
        let Some(Destination::To(endpoint)) = settings.tempo else { panic!("{settings:?}") };
        assert_eq!(endpoint.url.as_str(), "http://localhost:4318/");
    }

    #[test]
    fn metrics_are_scraped_or_pushed_and_both_only_if_both_are_chosen() {
        let endpoint = || Endpoint::parse("http://localhost:9009").unwrap();
        let pushed = |chosen: bool, scraped: bool| {
            let settings = Settings {
                mimir: chosen.then(|| Destination::To(endpoint())),
                metrics_addr: scraped.then(|| ([127, 0, 0, 1], 9090).into()),
                default_mimir: Some(endpoint()),
                ..Settings::default()
            };
            matches!(settings.push(), Some(Destination::To(_)))
        };
        assert!(pushed(false, false));
        assert!(!pushed(false, true));
        assert!(pushed(true, true));
        assert!(pushed(true, false));
    }
}
