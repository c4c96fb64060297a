//! metrics-exporter-prometheus, with the buckets that lgtm has by default: without them its histograms are summaries.

use lgtm_mimir::DEFAULT_BUCKETS;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};

use crate::contender::Running;

pub(crate) struct Exporter(PrometheusHandle);

impl Exporter {
    pub(crate) fn start() -> anyhow::Result<Self> {
        Ok(Self(PrometheusBuilder::new().set_buckets(&DEFAULT_BUCKETS)?.install_recorder()?))
    }
}

impl Running for Exporter {
    fn scrape(&self) -> anyhow::Result<Option<String>> {
        Ok(Some(self.0.render()))
    }

    fn end(self: Box<Self>) -> String {
        self.0.run_upkeep();
        "nothing to end".to_owned()
    }
}
