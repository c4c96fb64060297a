//! When to try again: exponential back-off with full jitter. Pure functions: no clock, no socket.
//! Source: "Exponential Backoff And Jitter", AWS Architecture Blog, 2015 ("full jitter").

use std::time::Duration;

use crate::accounting::ErrorType;

/// The schedule of tries.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct RetryPolicy {
    /// The longest first pause. Default: 500 ms.
    pub initial: Duration,
    /// The longest pause of all. Default: 30 s.
    pub max: Duration,
    /// A batch is given up this long after its first try. Default: 10 min.
    pub give_up_after: Duration,
    /// The least pause while the backend takes neither these credentials nor this tenant: items wait until that is mended, and
    /// nobody is hammered. Neither jitter nor a flush makes it shorter; a shutdown has one last try. Default: 60 s.
    pub probe: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            initial: Duration::from_millis(500),
            max: Duration::from_secs(30),
            give_up_after: Duration::from_secs(600),
            probe: Duration::from_secs(60),
        }
    }
}

impl RetryPolicy {
    /// The least pause after a failure of this kind, where the backend has `asked` for one or not.
    #[must_use]
    pub fn least(&self, error: ErrorType, asked: Option<Duration>) -> Option<Duration> {
        if error == ErrorType::Unauthorized { asked.max(Some(self.probe)) } else { asked }
    }

    /// The pause before try number `attempt` + 1 (the first try is number 1), where `random` lies between 0 and 1. What the
    /// backend asked for is the least.
    #[must_use]
    pub fn pause(&self, attempt: u32, asked: Option<Duration>, random: f64) -> Duration {
        let factor = 2_u32.saturating_pow(attempt.saturating_sub(1).min(30));
        let ceiling = self.initial.saturating_mul(factor).min(self.max);
        // A tenth at least, so that jitter never turns into hammering.
        let pause = Duration::try_from_secs_f64(ceiling.as_secs_f64() * random.clamp(0.1, 1.0)).unwrap_or(ceiling);
        // A backend that asks for hours is asked again within our own bound for the whole batch.
        pause.max(asked.unwrap_or_default().min(self.give_up_after))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn pauses_grow_to_the_bound_and_honour_the_backend(attempt in 1_u32..1000, random in 0.0_f64..=1.0, asked in 0_u64..5000) {
            let policy = RetryPolicy::default();
            let pause = policy.pause(attempt, None, random);
            prop_assert!(pause <= policy.max);
            prop_assert!(pause >= Duration::from_millis(50));
            let asked = Duration::from_secs(asked);
            prop_assert!(policy.pause(attempt, Some(asked), random) >= asked.min(policy.give_up_after));
            let probe = policy.least(ErrorType::Unauthorized, Some(asked));
            prop_assert!(policy.pause(attempt, probe, random) >= policy.probe.max(asked).min(policy.give_up_after));
            prop_assert_eq!(policy.least(ErrorType::Server, Some(asked)), Some(asked));
            prop_assert_eq!(policy.least(ErrorType::Unauthorized, None), Some(policy.probe));
        }
    }
}
