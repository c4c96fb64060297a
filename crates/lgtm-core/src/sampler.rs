//! The head-sampling decision: once per local root, before its first id leaves the process. Caller threads.
//! Source: OpenTelemetry specification, "Trace SDK", Sampling.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::ids::TraceId;

/// Which traces are recorded.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Sampler {
    /// Every trace.
    AlwaysOn,
    /// No trace.
    AlwaysOff,
    /// This part of all traces, between 0 and 1, chosen by the trace id.
    TraceIdRatio(f64),
    /// What the remote parent decided; roots as given. The default is `ParentBased(Root::AlwaysOn)`.
    ParentBased(Root),
    /// The one that was set last.
    Changing(ChangingSampler),
}

/// A sampler that is replaced while the program runs. Clones are the same one.
#[derive(Clone, Debug)]
pub struct ChangingSampler(Arc<ArcSwap<Sampler>>);

impl ChangingSampler {
    /// Begins with this one.
    #[must_use]
    pub fn new(sampler: Sampler) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(sampler.current())))
    }

    /// Decides about the traces that begin from now on.
    pub fn set(&self, sampler: Sampler) {
        self.0.store(Arc::new(sampler.current()));
    }

    /// The one that decides now.
    #[must_use]
    pub fn get(&self) -> Sampler {
        Sampler::clone(&self.0.load())
    }
}

/// Whether they are the same one, whatever decides now.
impl PartialEq for ChangingSampler {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// What a parent-based sampler does with traces that begin here.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Root {
    /// Every trace.
    AlwaysOn,
    /// No trace.
    AlwaysOff,
    /// This part of all traces, between 0 and 1.
    TraceIdRatio(f64),
}

/// A sampler's name or argument that is not one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SamplerError {
    /// No sampler of that name.
    #[error(
        "`{0}` is not a sampler; accepted are always_on, always_off, traceidratio, parentbased_always_on, parentbased_always_off and parentbased_traceidratio"
    )]
    Name(String),
    /// Not a probability.
    #[error("`{0}` is not a sampling ratio; accepted is a number from 0 to 1, such as 0.01")]
    Ratio(String),
}

impl Default for Sampler {
    fn default() -> Self {
        Self::ParentBased(Root::AlwaysOn)
    }
}

/// The name of the specification, with the argument in parentheses: `parentbased_traceidratio(0.01)`.
impl fmt::Display for Sampler {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AlwaysOn => formatter.write_str("always_on"),
            Self::AlwaysOff => formatter.write_str("always_off"),
            Self::TraceIdRatio(ratio) => write!(formatter, "traceidratio({ratio})"),
            Self::ParentBased(Root::AlwaysOn) => formatter.write_str("parentbased_always_on"),
            Self::ParentBased(Root::AlwaysOff) => formatter.write_str("parentbased_always_off"),
            Self::ParentBased(Root::TraceIdRatio(ratio)) => {
                write!(formatter, "parentbased_traceidratio({ratio})")
            }
            Self::Changing(changing) => changing.get().fmt(formatter),
        }
    }
}

impl Sampler {
    /// Reads the values of `OTEL_TRACES_SAMPLER` and `OTEL_TRACES_SAMPLER_ARG`. A ratio sampler without an argument takes 1.
    ///
    /// # Errors
    /// [`SamplerError`] names the value and the accepted forms.
    pub fn parse(name: &str, argument: Option<&str>) -> Result<Self, SamplerError> {
        let ratio = || match argument.map(str::trim).filter(|text| !text.is_empty()) {
            None => Ok(1.0),
            Some(text) => match text.parse::<f64>() {
                Ok(ratio) if (0.0..=1.0).contains(&ratio) => Ok(ratio),
                _ => Err(SamplerError::Ratio(text.to_owned())),
            },
        };
        match name.trim() {
            "always_on" => Ok(Self::AlwaysOn),
            "always_off" => Ok(Self::AlwaysOff),
            "traceidratio" => Ok(Self::TraceIdRatio(ratio()?)),
            "parentbased_always_on" => Ok(Self::ParentBased(Root::AlwaysOn)),
            "parentbased_always_off" => Ok(Self::ParentBased(Root::AlwaysOff)),
            "parentbased_traceidratio" => Ok(Self::ParentBased(Root::TraceIdRatio(ratio()?))),
            other => Err(SamplerError::Name(other.to_owned())),
        }
    }

    /// The one that decides now.
    fn current(self) -> Self {
        match self {
            Self::Changing(changing) => changing.get(),
            sampler => sampler,
        }
    }

    /// Whether the trace is recorded, and with which probability this sampler itself keeps it: as [`Sampler::decide`] and
    /// [`Sampler::probability`], by one sampler if it is being replaced.
    #[inline]
    pub(crate) fn decide_with_probability(&self, trace_id: TraceId, remote: Option<bool>) -> (bool, Option<f64>) {
        match self {
            Self::Changing(changing) => {
                let sampler = changing.0.load();
                (sampler.decide(trace_id, remote), sampler.probability(remote))
            }
            sampler => (sampler.decide(trace_id, remote), sampler.probability(remote)),
        }
    }

    /// Whether the trace is recorded. `remote` is the decision of a parent in another process.
    #[must_use]
    pub fn decide(&self, trace_id: TraceId, remote: Option<bool>) -> bool {
        match (self, remote) {
            (Self::Changing(changing), _) => changing.0.load().decide(trace_id, remote),
            (Self::AlwaysOn, _) => true,
            (Self::AlwaysOff, _) => false,
            (Self::TraceIdRatio(ratio), _) => within(trace_id, *ratio),
            (Self::ParentBased(_), Some(sampled)) => sampled,
            (Self::ParentBased(Root::AlwaysOn), None) => true,
            (Self::ParentBased(Root::AlwaysOff), None) => false,
            (Self::ParentBased(Root::TraceIdRatio(ratio)), None) => within(trace_id, *ratio),
        }
    }
}

impl Sampler {
    /// The probability with which this sampler itself keeps a trace; `None` if it follows the remote parent.
    #[must_use]
    pub fn probability(&self, remote: Option<bool>) -> Option<f64> {
        match (self, remote) {
            (Self::Changing(changing), _) => changing.0.load().probability(remote),
            (Self::ParentBased(_), Some(_)) => None,
            (Self::AlwaysOn | Self::ParentBased(Root::AlwaysOn), _) => Some(1.0),
            (Self::AlwaysOff | Self::ParentBased(Root::AlwaysOff), _) => Some(0.0),
            (Self::TraceIdRatio(ratio) | Self::ParentBased(Root::TraceIdRatio(ratio)), _) => {
                Some(ratio.clamp(0.0, 1.0))
            }
        }
    }
}

/// The low 63 bits against the ratio, as the OpenTelemetry SDKs do, so that services with the same ratio agree.
fn within(trace_id: TraceId, ratio: f64) -> bool {
    if ratio >= 1.0 {
        return true;
    }
    let bound = (ratio.max(0.0) * (1_u64 << 63) as f64) as u64;
    (trace_id.low_bits() >> 1) < bound
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sampler_that_changes_decides_as_the_one_that_was_set_last() {
        let changing = ChangingSampler::new(Sampler::AlwaysOff);
        let sampler = Sampler::Changing(changing.clone());
        let decide = || sampler.decide_with_probability(TraceId::random(), None);
        assert_eq!((decide(), sampler.to_string().as_str()), ((false, Some(0.0)), "always_off"));
        changing.set(Sampler::AlwaysOn);
        assert_eq!((decide(), sampler.to_string().as_str()), ((true, Some(1.0)), "always_on"));
        // It may be set to itself.
        changing.set(sampler.clone());
        assert_eq!(changing.get(), Sampler::AlwaysOn);
        assert!(sampler.decide(TraceId::random(), Some(false)) && sampler.probability(None) == Some(1.0));
    }

    #[test]
    fn the_ratio_holds_and_is_the_same_for_the_same_trace() {
        let sampler = Sampler::TraceIdRatio(0.25);
        let ids: Vec<_> = (0..40_000).map(|_| TraceId::random()).collect();
        let kept = ids.iter().filter(|id| sampler.decide(**id, None)).count();
        assert!((9_000..11_000).contains(&kept), "{kept}");
        assert!(ids.iter().all(|id| sampler.decide(*id, None) == sampler.decide(*id, Some(true))));
    }

    #[test]
    fn a_parent_based_sampler_follows_the_remote_parent() {
        for root in [Root::AlwaysOn, Root::AlwaysOff, Root::TraceIdRatio(0.5)] {
            for decision in [true, false] {
                assert_eq!(Sampler::ParentBased(root).decide(TraceId::random(), Some(decision)), decision);
            }
        }
    }

    #[test]
    fn wrong_values_are_errors_that_name_value_and_form() {
        let name = Sampler::parse("sometimes", None).unwrap_err().to_string();
        assert!(name.contains("`sometimes`") && name.contains("parentbased_traceidratio"), "{name}");
        for wrong in ["2", "-0.1", "NaN", "half"] {
            let ratio = Sampler::parse("traceidratio", Some(wrong)).unwrap_err().to_string();
            assert!(ratio.contains(wrong) && ratio.contains("from 0 to 1"), "{ratio}");
        }
        assert_eq!(Sampler::parse("traceidratio", None), Ok(Sampler::TraceIdRatio(1.0)));
    }
}
