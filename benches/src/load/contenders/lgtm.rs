//! lgtm: all three signals, and the defaults of each.

use lgtm::{Console, Endpoint, Protocol, SignalKind, SpoolOptions, Telemetry};

use super::{Counted, Running};
use crate::Addresses;

pub(super) struct Lgtm(Telemetry);

impl Lgtm {
    pub(super) fn start(addresses: &Addresses, with_spool: bool) -> anyhow::Result<Self> {
        let mut builder = lgtm::builder()
            .ignore_environment()
            .service_name("load")
            .console(Console::Off)
            .loki(Endpoint::parse(&addresses.loki)?)
            .tempo(Endpoint::parse(&addresses.otlp)?)
            .tempo_protocol(Protocol::Http)
            .mimir(Endpoint::parse(&addresses.mimir)?);
        if with_spool {
            builder = builder.spool(SpoolOptions::new(&addresses.spool));
        }
        Ok(Self(builder.init()?))
    }
}

impl Running for Lgtm {
    fn end(self: Box<Self>) -> Counted {
        let report = self.0.shutdown();
        let lost = |kind| report.signals().iter().find(|signal| signal.signal == kind).map(|signal| signal.lost());
        Counted { events: lost(SignalKind::Logs), spans: lost(SignalKind::Spans), said: report.to_string() }
    }
}
