//! The same spans over OTLP and lines on standard error by lgtm.
//! The same variables say where, who and what.

fn main() -> Result<(), lgtm::Error> {
    let _telemetry = lgtm::init()?;

    migration::request_span().in_scope(migration::answer);

    Ok(())
}
