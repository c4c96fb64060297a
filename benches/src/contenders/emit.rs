//! emit with emit_otlp, logs and traces to OTLP over HTTP, uncompressed.

use crate::contender::{PATIENCE, Running, Settings};

/// emit's runtime, of which only the flush is of interest.
pub(crate) struct Emit(Box<dyn Fn() -> bool + Sync>);

pub(crate) fn start(settings: &Settings) -> anyhow::Result<Emit> {
    let otlp = emit_otlp::new()
        .resource(emit::props! {
            #[emit::key("service.name")]
            service_name: "cost",
        })
        .logs(emit_otlp::logs_http_proto(format!("{}/v1/logs", settings.backend)))
        .traces(emit_otlp::traces_http_proto(format!("{}/v1/traces", settings.backend)))
        .spawn();
    let runtime = emit::setup().emit_to(otlp).init();
    Ok(Emit(Box::new(move || runtime.blocking_flush(PATIENCE))))
}

impl Running for Emit {
    fn flush(&self) -> anyhow::Result<bool> {
        Ok((self.0)())
    }

    fn end(self: Box<Self>) -> String {
        if (self.0)() { "flushed".to_owned() } else { "not all was flushed".to_owned() }
    }
}
