//! The same logs to Loki by lgtm. `LOKI_URL` says where.

fn main() -> Result<(), lgtm::Error> {
    let telemetry = lgtm::builder()
        .service_name("shop")
        .resource_attribute("deployment.environment.name", "staging")
        .log_label("team", "books")
        .init()?;

    migration::place_order(17, "ada");

    drop(telemetry);
    Ok(())
}
