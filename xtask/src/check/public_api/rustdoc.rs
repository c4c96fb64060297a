//! rustdoc's output for programs. It is not stable yet, so rustdoc has to be told that it may; and rustdoc alone: build scripts that see
//! such a compiler build half of the tree anew. So this program is cargo's rustdoc, and passes all on to the real one.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::Context as _;

use crate::cargo;

/// Set by us: where the real rustdoc is.
const REAL: &str = "LGTM_XTASK_RUSTDOC";

/// Writes the JSON of all libraries of the workspace to `target/doc`, with what `cargo doc --workspace` has built for it already.
///
/// # Errors
/// If a library does not compile.
pub(super) fn write_json() -> anyhow::Result<()> {
    let this = env::current_exe().context("this program does not know where it is")?;
    let real = real();
    let environment = [
        ("RUSTDOC", this.to_string_lossy().into_owned()),
        (REAL, real.to_string_lossy().into_owned()),
        ("RUSTDOCFLAGS", "-Z unstable-options --output-format json --cap-lints allow".to_owned()),
    ];
    let environment = environment.each_ref().map(|(name, value)| (*name, value.as_str()));
    cargo::run(&["doc", "--quiet", "--workspace", "--lib", "--no-deps", "--all-features"], &environment)
}

/// The rustdoc that cargo would take.
fn real() -> PathBuf {
    if let Some(chosen) = env::var_os("RUSTDOC") {
        return chosen.into();
    }
    let beside = env::var_os("CARGO").map(|cargo| Path::new(&cargo).with_file_name(file_name("rustdoc")));
    beside.filter(|rustdoc| rustdoc.is_file()).unwrap_or_else(|| "rustdoc".into())
}

fn file_name(program: &str) -> String {
    format!("{program}{}", env::consts::EXE_SUFFIX)
}

/// If cargo has started this program as rustdoc: runs the real one with the same arguments.
pub(crate) fn stand_in() -> Option<ExitCode> {
    let real = env::var_os(REAL)?;
    let arguments: Vec<OsString> = env::args_os().skip(1).collect();
    let status = Command::new(&real).args(arguments).env("RUSTC_BOOTSTRAP", "1").env_remove(REAL).status();
    Some(match status {
        Ok(status) => status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from),
        Err(error) => {
            eprintln!("error: cannot start {}: {error}", real.display());
            ExitCode::FAILURE
        }
    })
}
