//! A program that panics where unwinding is off: what the test `abort` runs. The environment says where the backends are.

#![allow(clippy::panic, reason = "that is what the program is for")]

fn main() -> Result<(), lgtm::Error> {
    let _telemetry = lgtm::init()?;
    let _request = tracing::info_span!("request").entered();
    tracing::info!("before the end");
    metrics::counter!("orders_total").increment(3);
    panic!("the disk is on fire");
}
