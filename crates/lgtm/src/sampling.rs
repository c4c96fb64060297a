//! Which traces are recorded, changed while the program runs. Any thread.

use lgtm_core::sampler::{ChangingSampler, Root, Sampler};

use crate::error::Error;

pub(crate) const RATIO_FORM: &str = "a number from 0 to 1, such as 0.01";

/// Changes which traces running telemetry records. Given by [`Telemetry::sampling`](crate::Telemetry::sampling); clones change the same
/// sampler.
///
/// ```no_run
/// # fn main() -> Result<(), lgtm::Error> {
/// # use lgtm::{Root, Sampler};
/// let telemetry = lgtm::init()?;
/// let sampling = telemetry.sampling();
/// let usual = sampling.sampler();
/// sampling.set(Sampler::ParentBased(Root::TraceIdRatio(0.2)))?; // such as at a request of an operator
/// sampling.set(usual)?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Sampling(pub(crate) ChangingSampler);

impl Sampling {
    /// Decides about the traces that begin here from now on; those that have begun stay what they are. What keep rules do beside it does
    /// not change.
    ///
    /// # Errors
    /// [`Error::Setting`] if a ratio is not from 0 to 1: then nothing has changed.
    pub fn set(&self, sampler: Sampler) -> Result<(), Error> {
        refuse_bad_ratio(&sampler)?;
        self.0.set(sampler);
        Ok(())
    }

    /// The sampler that decides now.
    #[must_use]
    pub fn sampler(&self) -> Sampler {
        self.0.get()
    }
}

pub(crate) fn refuse_bad_ratio(sampler: &Sampler) -> Result<(), Error> {
    match sampler {
        Sampler::TraceIdRatio(ratio) | Sampler::ParentBased(Root::TraceIdRatio(ratio))
            if !(0.0..=1.0).contains(ratio) =>
        {
            let problem = format!("the ratio {ratio} cannot be used");
            Err(Error::Setting { setting: "sampler", problem, accepted: RATIO_FORM })
        }
        _ => Ok(()),
    }
}
