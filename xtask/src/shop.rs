//! The example program `shop`: built by cargo, for the demo and for the stack.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context as _, bail};
use cargo_metadata::Message;
use tokio::process::Command;

use crate::cargo;

/// Variables that would change what the services do or send: only those that are set here reach them.
const NOT_INHERITED: [&str; 7] = ["OTEL_", "LGTM_", "LOKI_", "TEMPO_", "MIMIR_", "SHOP_", "RUST_LOG"];

/// Builds the shop and gives the path of its executable.
///
/// # Errors
/// If cargo fails; it has said why on standard error.
pub(crate) async fn build() -> anyhow::Result<PathBuf> {
    let mut command = Command::from(cargo::command());
    command
        .args(["build", "--package", "shop", "--message-format", "json-render-diagnostics"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true);
    eprintln!("$ cargo build --package shop");
    let output = command.spawn().context("cannot start cargo")?.wait_with_output().await?;
    if !output.status.success() {
        bail!("`cargo build --package shop` failed: {}", output.status);
    }
    let messages = Message::parse_stream(output.stdout.as_slice());
    let executable = messages.filter_map(Result::ok).find_map(|message| match message {
        Message::CompilerArtifact(artifact) if artifact.target.name == "shop" => artifact.executable,
        _ => None,
    });
    executable.map(PathBuf::from).context("cargo has built the package shop, but names no executable of it")
}

/// The variables of this process that the program must not see.
pub(crate) fn not_inherited() -> impl Iterator<Item = OsString> {
    let all = std::env::vars_os().map(|(name, _)| name);
    all.filter(|name| NOT_INHERITED.iter().any(|start| name.to_string_lossy().starts_with(start)))
}
