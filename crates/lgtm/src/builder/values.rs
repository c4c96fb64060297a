//! What a setting in code cannot be. Runs once, at the start; pure.

use std::time::Duration;

use lgtm_core::redaction;

use crate::error::Error;
use crate::sampling::refuse_bad_ratio;
use crate::settings::Settings;

/// The smallest budget: below it a queue would hold less than a batch.
const LEAST_MEMORY: usize = 4 * 1024 * 1024;
/// The smallest spool: below it there would be no room for a batch in each of its files.
#[cfg(feature = "spool")]
const LEAST_SPOOL: u64 = 1024 * 1024;

pub(super) fn refuse_bad_values(settings: &Settings) -> Result<(), Error> {
    if let Some(bytes) = settings.memory_budget
        && bytes < LEAST_MEMORY
    {
        let problem = format!("{bytes} bytes are too few");
        return Err(Error::Setting { setting: "memory_budget", problem, accepted: "4194304 bytes (4 MiB) or more" });
    }
    #[cfg(feature = "spool")]
    if let Some(spool) = &settings.spool
        && spool.max_bytes < LEAST_SPOOL
    {
        let problem = format!("{} bytes are too few", spool.max_bytes);
        return Err(Error::Setting { setting: "spool", problem, accepted: "1048576 bytes (1 MiB) or more" });
    }
    if let Some(timeout) = settings.shutdown_timeout
        && timeout > Duration::from_secs(24 * 60 * 60)
    {
        let problem = format!("{timeout:?} is too long");
        return Err(Error::Setting { setting: "shutdown_timeout", problem, accepted: "a day at most" });
    }
    if let Some((name, _)) = settings.redaction.iter().find(|(name, _)| !redaction::is_name(name)) {
        let problem = format!("`{name}` is no name of a field");
        return Err(Error::Setting { setting: "redact", problem, accepted: "names with a letter or digit" });
    }
    if let Some(name) = settings.service_name.as_ref().filter(|name| name.trim().is_empty()) {
        let problem = format!("`{name}` is empty");
        return Err(Error::Setting { setting: "service_name", problem, accepted: "a name" });
    }
    settings.sampler.as_ref().map_or(Ok(()), refuse_bad_ratio)
}

/// Runtime control needs a listener, and one that other machines reach needs a token.
#[cfg(feature = "mimir")]
pub(super) fn refuse_open_admin(settings: &Settings, in_code: bool) -> Result<(), Error> {
    if settings.admin != Some(true) || settings.disabled == Some(true) {
        return Ok(());
    }
    let address = settings.metrics_addr.filter(|_| !settings.without_metrics);
    let refuse = |reason: &str, code: &'static str, variables: &str| {
        if in_code {
            return Err(Error::Setting { setting: "admin", problem: format!("`true`, but {reason}"), accepted: code });
        }
        Err(Error::environment("LGTM_ADMIN", format!("`true` is set, but {reason}"), variables))
    };
    match address {
        None => refuse(
            "metrics are not offered for scraping: there is no listener",
            "metrics_addr beside it, such as ([127, 0, 0, 1], 9464)",
            "LGTM_METRICS_ADDR beside it, such as 9464",
        ),
        Some(address) if !address.ip().is_loopback() && settings.metrics_token.is_none() => refuse(
            &format!("other machines reach {address}, and there is no token"),
            "metrics_token beside it, or a loopback address",
            "LGTM_METRICS_TOKEN or LGTM_METRICS_TOKEN_FILE beside it, or a loopback address such as 127.0.0.1:9464",
        ),
        Some(_) => Ok(()),
    }
}
