//! The same metrics to be scraped, by lgtm.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let address = migration::metrics_address()?;
    let telemetry = lgtm::builder().metrics_addr(address).buckets(&migration::SECONDS).init()?;

    migration::count_orders();

    migration::wait_for_the_end()?;
    drop(telemetry);
    Ok(())
}
