//! The settings in code of spans: which are recorded, and what they say.

use std::time::Duration;

use lgtm_core::Sampler;
use lgtm_core::span::Limits;

use super::Builder;
use crate::settings::Profile;

impl Builder {
    /// Which traces are recorded. Defaults to that of the profile.
    pub fn sampler(mut self, sampler: Sampler) -> Self {
        self.settings.sampler = Some(sampler);
        self
    }

    /// Whether traces that the sampler leaves out are kept if a span of this process fails: the part of them that happens
    /// here. Defaults to that of the profile.
    pub fn keep_errors(mut self, keep: bool) -> Self {
        self.settings.keep_errors = Some(keep);
        self
    }

    /// Whether traces that the sampler leaves out are kept if they take longer than this here; `None`: not for that. Defaults
    /// to that of the profile.
    pub fn keep_slower_than(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.settings.keep_slower_than = Some(limit.into());
        self
    }

    /// Bounds of a span's attributes, events and links. Defaults to those of the OpenTelemetry specification.
    pub fn span_limits(mut self, limits: Limits) -> Self {
        self.settings.span_limits = Some(limits);
        self
    }

    /// What spans say beside their fields: location, thread, busy and idle time, backtraces. Nothing by default.
    #[cfg(feature = "tempo")]
    pub fn span_detail(mut self, detail: lgtm_tempo::Detail) -> Self {
        self.settings.span_detail = detail;
        self
    }

    /// The purpose, which chooses the sampler. Defaults to [`Profile::Development`].
    pub fn profile(mut self, profile: Profile) -> Self {
        self.settings.profile = Some(profile);
        self
    }

    /// Which spans are recorded, as directives of `RUST_LOG`. Defaults to `info`.
    pub fn span_filter(mut self, directives: impl Into<String>) -> Self {
        self.span_filter = Some(directives.into());
        self
    }
}
