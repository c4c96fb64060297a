//! The resident memory of this process, as Linux tells it.

use anyhow::Context as _;

/// Bytes that are resident now.
///
/// # Errors
/// Where the system does not tell it.
pub(crate) fn resident() -> anyhow::Result<u64> {
    field("VmRSS:")
}

/// The most bytes that were ever resident.
///
/// # Errors
/// As [`resident`].
pub(crate) fn peak() -> anyhow::Result<u64> {
    field("VmHWM:")
}

fn field(name: &str) -> anyhow::Result<u64> {
    let status =
        std::fs::read_to_string("/proc/self/status").context("/proc/self/status tells how much is resident")?;
    let line = status.lines().find_map(|line| line.strip_prefix(name)).with_context(|| format!("no {name}"))?;
    let kibibytes: u64 = line.trim().trim_end_matches("kB").trim().parse().with_context(|| format!("{name} {line}"))?;
    Ok(kibibytes * 1024)
}
