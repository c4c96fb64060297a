//! A span with an event in it, through lgtm, as its documentation shows.

#[tracing::instrument]
fn place_order(id: u64) {
    tracing::info!(order = id, "order placed");
}

fn main() -> Result<(), lgtm::Error> {
    let _telemetry = lgtm::init()?;
    place_order(1);
    Ok(())
}
