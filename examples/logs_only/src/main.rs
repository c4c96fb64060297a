//! Logs alone, of `tracing` and of the `log` crate: the other signals are not even compiled in.
//!
//! ```text
//! LOKI_URL=http://localhost:3100 RUST_LOG=debug cargo run --package logs_only
//! ```

fn main() -> Result<(), lgtm::Error> {
    let telemetry = lgtm::init()?;
    tracing::info!(copies = 3, "order placed");
    log::warn!(target: "old::library", "disk {} is nearly full", 7);
    drop(telemetry);
    Ok(())
}
