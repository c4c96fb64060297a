//! The settings in code of log lines and of the console: their form, how many, and what does not show.

#[cfg(feature = "loki")]
use std::time::Duration;

use super::Builder;
use crate::settings::Console;

impl Builder {
    /// What log lines look like in Loki. Defaults to JSON.
    #[cfg(feature = "loki")]
    pub fn log_format(mut self, format: lgtm_loki::Format) -> Self {
        self.settings.log_format = Some(format);
        self
    }

    /// Of the lines of one callsite at most so many within a time; further ones are left out, counted and told: see
    /// [`lgtm_loki::Builder::rate_limit`]. Spans and the console have all events. Defaults to no limit.
    #[cfg(feature = "loki")]
    pub fn log_rate_limit(mut self, lines: u32, within: Duration) -> Self {
        self.settings.log_rate_limit = Some(Some((lines, within)));
        self
    }

    /// Lines of one callsite that say the same are one within this time after the first of them: see
    /// [`lgtm_loki::Builder::deduplicate`]. Defaults to none.
    #[cfg(feature = "loki")]
    pub fn log_deduplicate(mut self, within: Duration) -> Self {
        self.settings.log_deduplicate = Some(Some(within));
        self
    }

    /// Adds a stream label to all lines, beside `service_name`, `service`, `environment` and `level`. Streams are expensive in
    /// Loki: use few labels, with few values.
    #[cfg(feature = "loki")]
    pub fn log_label(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.settings.log_labels.push((name.into(), value.into()));
        self
    }

    /// Adds a stream label whose value is that of a field of the event, else of the nearest of its spans that has it. Only the
    /// first `most_values` (1 to 1,000) are told apart, further ones are `other` and counted.
    #[cfg(feature = "loki")]
    pub fn log_label_from_field(mut self, field: impl Into<String>, most_values: usize) -> Self {
        self.settings.log_labels_from_fields.push((field.into(), most_values));
        self
    }

    /// Which events are recorded, as directives of `RUST_LOG`. Defaults to `info`.
    pub fn log_filter(mut self, directives: impl Into<String>) -> Self {
        self.log_filter = Some(directives.into());
        self
    }

    /// Fields of these names do not show their values: `[redacted]` stands in logs, spans, their events and links, metric labels
    /// and on the console instead. For the whole process, beside [the defaults](lgtm_core::redaction::DEFAULTS) such as
    /// `password`, `token` and `authorization`. A name also stands for all that end with its words:
    /// [how names match](crate::redaction).
    ///
    /// ```no_run
    /// # fn main() -> Result<(), lgtm::Error> {
    /// let telemetry = lgtm::builder().redact(["ssn", "iban"]).without_redacting(["page_token"]).init()?;
    /// # drop(telemetry);
    /// # Ok(())
    /// # }
    /// ```
    pub fn redact<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.settings.redaction.extend(names.into_iter().map(|name| (name.into(), true)));
        self
    }

    /// Fields of these names show their values, although a shorter name of the list stands for them (`page_token`), or they are
    /// a default themselves.
    pub fn without_redacting<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.settings.redaction.extend(names.into_iter().map(|name| (name.into(), false)));
        self
    }

    /// What standard error shows. Defaults to [`Console::Auto`].
    pub fn console(mut self, console: Console) -> Self {
        self.settings.console = Some(console);
        self
    }

    /// Whether a panic is an event of level ERROR, with the target `panic`, before the program's own hook runs. Defaults to true.
    /// Call `init` after setting a hook of your own: one that is set later replaces this one.
    pub fn panics(mut self, on: bool) -> Self {
        self.settings.without_panics = !on;
        self
    }
}
