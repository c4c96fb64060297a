//! Encode: the text of a scrape, in Prometheus' text format 0.0.4 or OpenMetrics 1.0. Worker thread, or the caller of `render`.
//! Sources: Prometheus, "Exposition formats"; OpenMetrics 1.0.

use std::collections::BTreeSet;

use crate::collect::{Collected, Reading, exemplar_labels};
use crate::exemplar::Exemplar;
use crate::families::Kind;
use crate::naming::escape;
use crate::negotiation::preferred_text;
use crate::number::{put_float, put_integer, put_seconds};

/// A text format of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Format {
    /// Prometheus' text format 0.0.4. It has no exemplars.
    Text,
    /// OpenMetrics 1.0, with exemplars.
    OpenMetrics,
}

impl Format {
    /// The value of `Content-Type`.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// The format that a scraper's `Accept` header prefers: OpenMetrics if it is named and not liked less than text.
    #[must_use]
    pub fn negotiate(accept: &str) -> Self {
        preferred_text(accept)
    }
}

/// The exposition of these families, which are ordered by name; `capacity`: about how long it may be, in bytes.
pub(crate) fn render(families: &[Collected], format: Format, capacity: usize) -> String {
    let names: BTreeSet<&str> = families.iter().map(|family| &*family.name).collect();
    let mut encoder = Encoder { text: String::with_capacity(capacity), format };
    let mut counts = Vec::new();
    for family in families {
        encoder.family(family, &names, &mut counts);
    }
    if format == Format::OpenMetrics {
        encoder.text.push_str("# EOF\n");
    }
    encoder.text
}

struct Encoder {
    text: String,
    format: Format,
}

impl Encoder {
    fn family(&mut self, family: &Collected, names: &BTreeSet<&str>, counts: &mut Vec<u64>) {
        let head = self.head(family, names);
        self.describe(family, &head);
        for (series, labels) in family.listing.with_labels() {
            match series.read(counts) {
                Reading::Counter(value) => {
                    self.begin(head.family, head.sample_suffix, labels, None);
                    put_integer(&mut self.text, value);
                    self.text.push('\n');
                }
                Reading::FloatCounter(value) => {
                    self.begin(head.family, head.sample_suffix, labels, None);
                    put_float(&mut self.text, value);
                    self.text.push('\n');
                }
                Reading::Gauge(value) => {
                    self.begin(head.family, "", labels, None);
                    put_float(&mut self.text, value);
                    self.text.push('\n');
                }
                Reading::Histogram(histogram) => {
                    for (bucket, (le, count)) in histogram.bounds().le().zip(&*counts).enumerate() {
                        self.begin(head.family, "_bucket", labels, Some(le));
                        put_integer(&mut self.text, *count);
                        if self.format == Format::OpenMetrics {
                            self.exemplar(histogram.newest_exemplar(bucket));
                        }
                        self.text.push('\n');
                    }
                    // OpenMetrics takes a sum for a counter: it must not go down.
                    if self.format == Format::Text || !histogram.bounds().reach_below_zero() {
                        self.begin(head.family, "_sum", labels, None);
                        put_float(&mut self.text, histogram.sum());
                        self.text.push('\n');
                    }
                    self.count(head.family, labels, counts);
                }
                Reading::Summary(histogram, summary) => {
                    let values = summary.read();
                    for (quantile, value) in summary.quantiles().texts().zip(values) {
                        self.begin_quantile(head.family, labels, quantile);
                        put_float(&mut self.text, value);
                        self.text.push('\n');
                    }
                    if self.format == Format::Text || !summary.went_below_zero() {
                        self.begin(head.family, "_sum", labels, None);
                        put_float(&mut self.text, histogram.sum());
                        self.text.push('\n');
                    }
                    self.count(head.family, labels, counts);
                }
            }
        }
    }

    /// How the family is called. OpenMetrics takes `_total` from the name of a counter and gives it to its sample.
    fn head<'a>(&self, family: &'a Collected, names: &BTreeSet<&str>) -> Head<'a> {
        let plain = Head { family: &family.name, kind: family.kind.as_str(), sample_suffix: "" };
        if self.format == Format::Text || family.kind != Kind::Counter {
            return plain;
        }
        let (base, taken) = match family.name.strip_suffix("_total").filter(|base| !base.is_empty()) {
            Some(base) => (base, names.contains(base)),
            None => (&*family.name, names.contains(format!("{}_total", family.name).as_str())),
        };
        // `jobs` and `jobs_total` side by side would be one family, or one sample: the counter keeps its name without a type.
        if taken {
            Head { kind: "unknown", ..plain }
        } else {
            Head { family: base, kind: "counter", sample_suffix: "_total" }
        }
    }

    fn describe(&mut self, family: &Collected, head: &Head<'_>) {
        self.comment("TYPE", head.family);
        self.text.push_str(head.kind);
        self.text.push('\n');
        if self.format == Format::OpenMetrics
            && let Some(unit) = family.unit_at_the_end_of(head.family)
        {
            self.comment("UNIT", head.family);
            self.text.push_str(unit);
            self.text.push('\n');
        }
        if !family.help.is_empty() {
            self.comment("HELP", head.family);
            escape(&family.help, self.format == Format::OpenMetrics, &mut self.text);
            self.text.push('\n');
        }
    }

    fn comment(&mut self, keyword: &str, family: &str) {
        for part in ["# ", keyword, " ", family, " "] {
            self.text.push_str(part);
        }
    }

    /// A sample up to its value.
    #[inline]
    fn begin(&mut self, family: &str, suffix: &str, labels: &str, le: Option<&str>) {
        // What is written here, and a value: one look at the capacity for all.
        self.text.reserve(family.len() + suffix.len() + labels.len() + le.map_or(0, str::len) + 48);
        self.text.push_str(family);
        self.text.push_str(suffix);
        match le {
            Some(le) => {
                self.text.push('{');
                if !labels.is_empty() {
                    self.text.push_str(labels);
                    self.text.push(',');
                }
                self.text.push_str("le=\"");
                self.text.push_str(le);
                self.text.push_str("\"} ");
            }
            None if labels.is_empty() => self.text.push(' '),
            None => {
                self.text.push('{');
                self.text.push_str(labels);
                self.text.push_str("} ");
            }
        }
    }

    /// The value of one quantile, up to it.
    fn begin_quantile(&mut self, family: &str, labels: &str, quantile: &str) {
        let comma = if labels.is_empty() { "" } else { "," };
        for part in [family, "{", labels, comma, "quantile=\"", quantile, "\"} "] {
            self.text.push_str(part);
        }
    }

    /// The number of samples, which is that of the last bucket.
    fn count(&mut self, family: &str, labels: &str, counts: &[u64]) {
        self.begin(family, "_count", labels, None);
        put_integer(&mut self.text, counts.last().copied().unwrap_or_default());
        self.text.push('\n');
    }

    fn exemplar(&mut self, exemplar: Option<Exemplar>) {
        let Some(exemplar) = exemplar else { return };
        self.text.push_str(" # {");
        put_labels(&mut self.text, &exemplar_labels(&exemplar));
        self.text.push_str("} ");
        put_float(&mut self.text, exemplar.value);
        self.text.push(' ');
        put_seconds(&mut self.text, exemplar.timestamp);
    }
}

struct Head<'a> {
    family: &'a str,
    kind: &'static str,
    sample_suffix: &'static str,
}

/// Appends labels as they stand between braces.
pub(crate) fn put_labels<N: AsRef<str>>(text: &mut String, labels: &[(N, String)]) {
    for (index, (name, value)) in labels.iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        text.push_str(name.as_ref());
        text.push_str("=\"");
        escape(value, true, text);
        text.push('"');
    }
}
