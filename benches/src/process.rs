//! This process as Linux tells it: its resident memory, and how often its threads were woken.

use anyhow::Context as _;

/// Bytes that are resident now.
///
/// # Errors
/// Where the system does not tell it.
pub fn resident_bytes() -> anyhow::Result<u64> {
    kibibytes("VmRSS:")
}

/// The most bytes that were ever resident.
///
/// # Errors
/// As [`resident_bytes`].
pub fn peak_bytes() -> anyhow::Result<u64> {
    kibibytes("VmHWM:")
}

/// How often any thread of the process gave its core away of its own will: each time something has to wake it again.
///
/// # Errors
/// As [`resident_bytes`].
pub(crate) fn voluntary_switches() -> anyhow::Result<u64> {
    let mut switches = 0;
    for task in std::fs::read_dir("/proc/self/task").context("/proc/self/task names the threads")? {
        let status = std::fs::read_to_string(task?.path().join("status"))?;
        switches += field(&status, "voluntary_ctxt_switches:")?;
    }
    Ok(switches)
}

fn kibibytes(name: &str) -> anyhow::Result<u64> {
    let status =
        std::fs::read_to_string("/proc/self/status").context("/proc/self/status tells how much is resident")?;
    Ok(field(&status, name)? * 1024)
}

fn field(status: &str, name: &str) -> anyhow::Result<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name)).with_context(|| format!("no {name}"))?;
    line.trim().trim_end_matches("kB").trim().parse().with_context(|| format!("{name} {line}"))
}
