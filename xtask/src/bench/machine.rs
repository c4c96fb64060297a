//! Where the figures come from: the machine, the compiler, and the versions that Cargo.lock has.

use std::fs;
use std::process::Command;

use anyhow::Context as _;

use crate::cargo;

/// Whose versions are told.
const PEERS: [&str; 14] = [
    "tracing",
    "tracing-subscriber",
    "tracing-loki",
    "tracing-opentelemetry",
    "opentelemetry_sdk",
    "opentelemetry-otlp",
    "fastrace",
    "fastrace-opentelemetry",
    "emit",
    "emit_otlp",
    "metrics",
    "metrics-exporter-prometheus",
    "prometheus",
    "prometheus-client",
];

/// A paragraph on the machine.
pub(super) fn describe() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let processors = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = processors
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .map(|rest| rest.trim_matches([':', ' ', '\t']));
    let said = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).output().ok()?;
        Some(String::from_utf8_lossy(&output.stdout).trim().to_owned()).filter(|text| !text.is_empty())
    };
    let kernel = said("uname", &["-sm"]).unwrap_or_else(|| std::env::consts::OS.to_owned());
    let compiler = compiler().unwrap_or_else(|| "rustc".to_owned());
    format!("{} shared cores ({}), {kernel}; {compiler}", cores, model.unwrap_or("an unnamed processor"))
}

/// The compiler's name for itself.
pub(crate) fn compiler() -> Option<String> {
    let output =
        Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into())).arg("--version").output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    // Without the hash and the date: `rustc 1.95.0`.
    Some(text.split(" (").next().unwrap_or(&text).to_owned()).filter(|text| !text.is_empty())
}

/// The peers and their versions, as Cargo.lock has them.
///
/// # Errors
/// If it cannot be read, or has none of a peer.
pub(super) fn versions() -> anyhow::Result<String> {
    let lock = fs::read_to_string(cargo::workspace_root().join("Cargo.lock")).context("Cargo.lock has the versions")?;
    let versions = PEERS.map(|peer| {
        let version = version(&lock, peer).with_context(|| format!("Cargo.lock has no {peer}"))?;
        Ok(format!("{peer} {version}"))
    });
    Ok(versions.into_iter().collect::<anyhow::Result<Vec<_>>>()?.join(", "))
}

fn version<'a>(lock: &'a str, package: &str) -> Option<&'a str> {
    let (_, rest) = lock.split_once(&format!("name = \"{package}\"\nversion = \""))?;
    rest.split('"').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_file_says_the_versions() {
        let lock = "[[package]]\nname = \"emit\"\nversion = \"2.23.0\"\nsource = \"x\"\n\n[[package]]\nname = \"emit_otlp\"\nversion = \"3.1.0\"\n";
        assert_eq!(version(lock, "emit"), Some("2.23.0"));
        assert_eq!(version(lock, "emit_otlp"), Some("3.1.0"));
        assert_eq!(version(lock, "prometheus"), None);
        assert!(versions().unwrap().contains("tracing-loki "));
    }
}
