//! The settings in code of metrics: who may read them, and what histograms are.

use std::net::SocketAddr;
use std::time::Duration;

use super::Builder;

impl Builder {
    /// Where metrics can be scraped, at `/metrics`; port 0 takes a free one, see [`Telemetry::metrics_addr`](crate::Telemetry::metrics_addr). Set alone,
    /// metrics are not pushed. Default: nowhere.
    #[cfg(feature = "mimir")]
    pub fn metrics_addr(mut self, address: impl Into<SocketAddr>) -> Self {
        self.settings.metrics_addr = Some(address.into());
        self
    }

    /// Scrapers must show this bearer token. Without one everybody who reaches [`Builder::metrics_addr`] may read: choose a loopback
    /// address then, or one that only the scraper reaches. One that comes from a file
    /// ([`Secret::from_file`](crate::Secret::from_file)) is read again when that changes.
    #[cfg(feature = "mimir")]
    pub fn metrics_token(mut self, token: impl Into<lgtm_core::Secret>) -> Self {
        self.settings.metrics_token = Some(token.into());
        self
    }

    /// Whether the program can be asked and changed while it runs, under `/admin/` at [`Builder::metrics_addr`]: report, configuration,
    /// [filters](crate::Filters), [sampling](crate::Sampling), flush. The book's page "Runtime control" has the requests.
    /// Whoever reaches the address can do all that, so one that other machines reach needs [`Builder::metrics_token`]. Defaults to false.
    #[cfg(feature = "mimir")]
    pub fn admin(mut self, on: bool) -> Self {
        self.settings.admin = Some(on);
        self
    }

    /// The upper bounds of every histogram's buckets, `+Inf` is implied. Defaults to Prometheus' own: 5 ms to 10 s, in seconds.
    #[cfg(feature = "mimir")]
    pub fn buckets(mut self, bounds: &[f64]) -> Self {
        self.settings.buckets = Some(bounds.to_vec());
        self
    }

    /// The upper bounds of the buckets of some histograms: those of this name, or those that a [`Matcher`](crate::Matcher)
    /// chooses. lgtm's own histograms, and the sizes of bodies of `lgtm::http`, have theirs.
    #[cfg(feature = "mimir")]
    pub fn buckets_for(mut self, histograms: impl Into<lgtm_mimir::Matcher>, bounds: &[f64]) -> Self {
        self.settings.buckets_for.push((histograms.into(), bounds.to_vec()));
        self
    }

    /// Also pushes these histograms as native ones (exponential buckets), at most so many buckets of each sign (4 to 512; 160 in
    /// OpenTelemetry), beside the classic buckets. `Matcher::Prefix(String::new())` means all. Defaults to none; the backend
    /// must take them.
    #[cfg(feature = "mimir")]
    pub fn native_histograms_for(mut self, histograms: impl Into<lgtm_mimir::Matcher>, buckets: usize) -> Self {
        self.settings.native_histograms_for.push((histograms.into(), buckets));
        self
    }

    /// Exposes these histograms as summaries: these quantiles of the last minute in place of buckets. Quantiles of several instances
    /// cannot be put together: see [`lgtm_mimir::Builder::quantiles_for`] before. Defaults to none.
    #[cfg(feature = "mimir")]
    pub fn quantiles_for(mut self, histograms: impl Into<lgtm_mimir::Matcher>, quantiles: &[f64]) -> Self {
        self.settings.quantiles_for.push((histograms.into(), quantiles.to_vec()));
        self
    }

    /// The time that the quantiles of summaries are told of, 1 s to 24 h. Defaults to one minute.
    #[cfg(feature = "mimir")]
    pub fn quantile_window(mut self, window: Duration) -> Self {
        self.settings.quantile_window = Some(window);
        self
    }

    /// Series in which nothing was recorded for this long go, if no handle to them is held; at least one second, and longer than
    /// the interval of pushes or scrapes. Defaults to never.
    #[cfg(feature = "mimir")]
    pub fn expire_metrics_after(mut self, idle: Duration) -> Self {
        self.settings.expire_metrics_after = Some(idle);
        self
    }

    /// Metrics are recorded for a server of the program's own, which answers scrapes by [`Telemetry::metrics_renderer`](crate::Telemetry::metrics_renderer). Set
    /// alone, they are not pushed, as with [`Builder::metrics_addr`].
    #[cfg(feature = "mimir")]
    pub fn render_metrics(mut self) -> Self {
        self.settings.renders_metrics = true;
        self
    }
}
