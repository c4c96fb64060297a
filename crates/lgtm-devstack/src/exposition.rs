//! A parser of the Prometheus text formats: OpenMetrics 1.0, strictly, and text format 0.0.4.
//!
//! It is written against the formats' specifications and shares nothing with the library's encoder, so that tests
//! can use it as the independent reader of a scrape endpoint.

use std::collections::{BTreeMap, BTreeSet};

use crate::label_text::{is_metric_name, is_name};
use crate::store::{Labels, MetricMetadata, MetricType};

/// The `Accept` header that asks for OpenMetrics and, failing that, for the older text format.
pub const ACCEPT: &str = "application/openmetrics-text; version=1.0.0, text/plain; version=0.0.4; q=0.5";

/// The most characters of an exemplar's label names and values together.
const MAX_EXEMPLAR_CHARACTERS: usize = 128;

/// The format of an exposition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `application/openmetrics-text`.
    OpenMetrics,
    /// `text/plain; version=0.0.4`.
    Text,
}

impl Format {
    /// The format that a `Content-Type` names; anything but OpenMetrics is taken as the older text format.
    #[must_use]
    pub fn from_content_type(content_type: &str) -> Self {
        if content_type.trim_start().starts_with("application/openmetrics-text") {
            Self::OpenMetrics
        } else {
            Self::Text
        }
    }
}

/// What an exposition tells.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Exposition {
    /// Type, help and unit by metric family.
    pub families: BTreeMap<String, MetricMetadata>,
    /// Samples in the order written.
    pub samples: Vec<ExposedSample>,
}

/// One line of samples.
#[derive(Clone, Debug, PartialEq)]
pub struct ExposedSample {
    /// Labels, `__name__` among them.
    pub labels: Labels,
    /// Value.
    pub value: f64,
    /// Milliseconds since 1970, if the line has a time.
    pub timestamp_ms: Option<i64>,
    /// The exemplar, if the line has one.
    pub exemplar: Option<ExposedExemplar>,
}

/// The exemplar of a sample.
#[derive(Clone, Debug, PartialEq)]
pub struct ExposedExemplar {
    /// Labels, `trace_id` among them.
    pub labels: Labels,
    /// The observed value.
    pub value: f64,
    /// Milliseconds since 1970, if it has a time.
    pub timestamp_ms: Option<i64>,
}

/// An exposition breaks its format.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct ExpositionError {
    /// The line, counted from 1.
    pub line: usize,
    /// What is wrong.
    pub reason: String,
}

/// Parses an exposition.
///
/// # Errors
/// On the first line that breaks the format. For OpenMetrics these are also: no `# EOF` at the end or something
/// after it, a family that is described twice or after its samples, a counter's sample without `_total` or
/// `_created`, an exemplar on a sample that may not have one or with more than 128 characters, the same series
/// twice.
pub fn parse(text: &str, format: Format) -> Result<Exposition, ExpositionError> {
    let mut parser = Parser { format, ..Parser::default() };
    let lines = text.strip_suffix('\n').unwrap_or(text);
    for (number, line) in lines.split('\n').enumerate() {
        parser.line(line).map_err(|reason| ExpositionError { line: number + 1, reason })?;
    }
    if format == Format::OpenMetrics && !parser.ended {
        let reason = "the exposition does not end with # EOF".to_owned();
        return Err(ExpositionError { line: lines.split('\n').count(), reason });
    }
    Ok(parser.exposition)
}

impl Default for Parser {
    fn default() -> Self {
        Self {
            format: Format::OpenMetrics,
            exposition: Exposition::default(),
            described: BTreeSet::new(),
            with_samples: BTreeSet::new(),
            seen: BTreeSet::new(),
            ended: false,
        }
    }
}

struct Parser {
    format: Format,
    exposition: Exposition,
    /// Keyword and family of the descriptions so far.
    described: BTreeSet<(&'static str, String)>,
    with_samples: BTreeSet<String>,
    seen: BTreeSet<(Labels, Option<i64>)>,
    ended: bool,
}

impl Parser {
    fn line(&mut self, line: &str) -> Result<(), String> {
        let open_metrics = self.format == Format::OpenMetrics;
        if self.ended {
            return Err("something follows # EOF".to_owned());
        }
        if line.is_empty() {
            return if open_metrics { Err("an empty line".to_owned()) } else { Ok(()) };
        }
        if line == "# EOF" && open_metrics {
            self.ended = true;
            return Ok(());
        }
        if let Some(comment) = line.strip_prefix('#') {
            for keyword in ["TYPE", "HELP", "UNIT"] {
                if let Some(rest) = comment.strip_prefix(' ').and_then(|rest| rest.strip_prefix(keyword))
                    && let Some(rest) = rest.strip_prefix(' ')
                {
                    return self.describe(keyword, rest);
                }
            }
            return if open_metrics {
                Err(format!("{line:?} is none of # TYPE, # HELP, # UNIT and # EOF"))
            } else {
                Ok(())
            };
        }
        let sample = self.sample(line)?;
        let name = sample.labels.get("__name__").cloned().unwrap_or_default();
        self.check(&name, &sample)?;
        self.exposition.samples.push(sample);
        Ok(())
    }

    fn describe(&mut self, keyword: &'static str, rest: &str) -> Result<(), String> {
        let (family, text) = rest.split_once(' ').unwrap_or((rest, ""));
        if !is_metric_name(family) {
            return Err(format!("{family:?} is not a metric name"));
        }
        if !self.described.insert((keyword, family.to_owned())) {
            return Err(format!("# {keyword} of {family} is there twice"));
        }
        if self.format == Format::OpenMetrics && self.with_samples.contains(family) {
            return Err(format!("# {keyword} of {family} comes after its samples"));
        }
        let known = self.exposition.families.entry(family.to_owned()).or_insert_with(|| MetricMetadata {
            metric_type: MetricType::Unknown,
            help: String::new(),
            unit: String::new(),
        });
        match keyword {
            "TYPE" => known.metric_type = metric_type(text).ok_or_else(|| format!("{text:?} is not a metric type"))?,
            "HELP" => known.help = unescape_help(text),
            _ => {
                if !text.is_empty() && !family.ends_with(&format!("_{text}")) {
                    return Err(format!("{family} does not end with its unit {text}"));
                }
                text.clone_into(&mut known.unit);
            }
        }
        Ok(())
    }

    fn sample(&self, line: &str) -> Result<ExposedSample, String> {
        let name_end = line.find(['{', ' ', '\t']).ok_or_else(|| format!("{line:?} has no value"))?;
        let (name, rest) = line.split_at(name_end);
        if !is_metric_name(name) {
            return Err(format!("{name:?} is not a metric name"));
        }
        let (mut labels, rest) = if rest.starts_with('{') { labels(rest)? } else { (Labels::new(), rest) };
        if labels.insert("__name__".to_owned(), name.to_owned()).is_some() {
            return Err("a label is named __name__".to_owned());
        }
        let (numbers, exemplar) = match rest.split_once(" # ") {
            Some((numbers, exemplar)) if self.format == Format::OpenMetrics => (numbers, Some(exemplar)),
            _ => (rest, None),
        };
        let (value, timestamp_ms) = self.numbers(numbers)?;
        let exemplar = exemplar.map(|text| self.exemplar(text)).transpose()?;
        Ok(ExposedSample { labels, value, timestamp_ms, exemplar })
    }

    /// A value and, perhaps, a time.
    fn numbers(&self, text: &str) -> Result<(f64, Option<i64>), String> {
        let mut words = if self.format == Format::OpenMetrics {
            // One space before each, no more.
            let text = text.strip_prefix(' ').ok_or_else(|| format!("no space before the value in {text:?}"))?;
            text.split(' ').collect::<Vec<_>>().into_iter()
        } else {
            text.split_ascii_whitespace().collect::<Vec<_>>().into_iter()
        };
        let value = words.next().unwrap_or_default();
        let value = float(value).ok_or_else(|| format!("{value:?} is not a number"))?;
        let timestamp = words.next().map(|word| self.timestamp(word)).transpose()?;
        match words.next() {
            Some(extra) => Err(format!("{extra:?} follows the time")),
            None => Ok((value, timestamp)),
        }
    }

    fn timestamp(&self, word: &str) -> Result<i64, String> {
        let milliseconds = match self.format {
            Format::OpenMetrics => float(word)
                .map(|seconds| (seconds * 1e3).round())
                .filter(|milliseconds| milliseconds.abs() < 9.2e18)
                .map(|milliseconds| milliseconds as i64),
            Format::Text => word.parse().ok(),
        };
        milliseconds.ok_or_else(|| format!("{word:?} is not a time"))
    }

    fn exemplar(&self, text: &str) -> Result<ExposedExemplar, String> {
        if !text.starts_with('{') {
            return Err(format!("the exemplar {text:?} does not start with its labels"));
        }
        let (labels, rest) = labels(text)?;
        let characters: usize = labels.iter().map(|(name, value)| name.chars().count() + value.chars().count()).sum();
        if characters > MAX_EXEMPLAR_CHARACTERS {
            return Err(format!("the exemplar's labels have {characters} characters; limit {MAX_EXEMPLAR_CHARACTERS}"));
        }
        let (value, timestamp_ms) = self.numbers(rest)?;
        Ok(ExposedExemplar { labels, value, timestamp_ms })
    }

    fn check(&mut self, name: &str, sample: &ExposedSample) -> Result<(), String> {
        if !self.seen.insert((sample.labels.clone(), sample.timestamp_ms)) {
            return Err(format!("the series {} is there twice", crate::label_text::write(&sample.labels)));
        }
        let (family, metric_type) = self.family_of(name);
        self.with_samples.insert(family.clone());
        if self.format == Format::Text {
            return Ok(());
        }
        let suffix = name.strip_prefix(family.as_str()).unwrap_or_default();
        match metric_type {
            MetricType::Counter if !matches!(suffix, "_total" | "_created") => {
                return Err(format!("the sample {name} of the counter {family} does not end with _total"));
            }
            MetricType::Counter if sample.value < 0.0 || sample.value.is_nan() => {
                return Err(format!("the counter {name} is {}", sample.value));
            }
            MetricType::Histogram | MetricType::Gaugehistogram if suffix == "_bucket" => {
                let bound = sample.labels.get("le").ok_or_else(|| format!("the bucket {name} has no label le"))?;
                float(bound).ok_or_else(|| format!("the bucket {name} has the bound {bound:?}, not a number"))?;
            }
            _ => {}
        }
        let may_have_exemplar = matches!(
            (metric_type, suffix),
            (MetricType::Counter, "_total") | (MetricType::Histogram | MetricType::Gaugehistogram, "_bucket")
        );
        if sample.exemplar.is_some() && !may_have_exemplar {
            return Err(format!(
                "{name} has an exemplar, which only counters' totals and histograms' buckets may have"
            ));
        }
        Ok(())
    }

    /// The described family that a sample belongs to, by its name without the suffix that its type allows.
    fn family_of(&self, name: &str) -> (String, MetricType) {
        for suffix in ["_total", "_created", "_bucket", "_count", "_sum", "_gcount", "_gsum", "_info"] {
            let Some(family) = name.strip_suffix(suffix) else { continue };
            let Some(known) = self.exposition.families.get(family) else { continue };
            let fits = match known.metric_type {
                MetricType::Counter => matches!(suffix, "_total" | "_created"),
                MetricType::Histogram => matches!(suffix, "_bucket" | "_count" | "_sum" | "_created"),
                MetricType::Gaugehistogram => matches!(suffix, "_bucket" | "_gcount" | "_gsum"),
                MetricType::Summary => matches!(suffix, "_count" | "_sum" | "_created"),
                MetricType::Info => suffix == "_info",
                MetricType::Unknown | MetricType::Gauge | MetricType::Stateset => false,
            };
            if fits {
                return (family.to_owned(), known.metric_type);
            }
        }
        let metric_type = self.exposition.families.get(name).map_or(MetricType::Unknown, |known| known.metric_type);
        (name.to_owned(), metric_type)
    }
}

fn metric_type(text: &str) -> Option<MetricType> {
    Some(match text {
        "unknown" | "untyped" => MetricType::Unknown,
        "counter" => MetricType::Counter,
        "gauge" => MetricType::Gauge,
        "histogram" => MetricType::Histogram,
        "gaugehistogram" => MetricType::Gaugehistogram,
        "summary" => MetricType::Summary,
        "info" => MetricType::Info,
        "stateset" => MetricType::Stateset,
        _ => return None,
    })
}

/// A number of the text formats; Rust reads all of them (`+Inf`, `NaN`, `1e5`), and some words too many.
fn float(text: &str) -> Option<f64> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'+' | b'-' | b'.' | b'e' | b'E'));
    let special =
        matches!(text.trim_start_matches(['+', '-']), "Inf" | "NaN" | "inf" | "nan" | "Infinity" | "infinity");
    if plain || special { text.parse().ok() } else { None }
}

fn unescape_help(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => match characters.next() {
                Some('n') => plain.push('\n'),
                Some('"') => plain.push('"'),
                Some('\\') | None => plain.push('\\'),
                Some(other) => plain.extend(['\\', other]),
            },
            other => plain.push(other),
        }
    }
    plain
}

/// Parses `{name="value",…}`; returns what follows.
fn labels(text: &str) -> Result<(Labels, &str), String> {
    let mut labels = Labels::new();
    let mut rest = text.strip_prefix('{').unwrap_or(text);
    loop {
        rest = rest.trim_start_matches(' ');
        if let Some(after) = rest.strip_prefix('}') {
            return Ok((labels, after));
        }
        let (name, after) = rest.split_once('=').ok_or_else(|| format!("no = in the labels {rest:?}"))?;
        let name = name.trim_end_matches(' ');
        if !is_name(name) {
            return Err(format!("{name:?} is not a label name"));
        }
        let after = after.trim_start_matches(' ').strip_prefix('"');
        let (value, after) = quoted(after.ok_or_else(|| format!("the value of the label {name} is not in quotes"))?)
            .map_err(|reason| format!("the value of the label {name} {reason}"))?;
        if labels.insert(name.to_owned(), value).is_some() {
            return Err(format!("the label {name} is there twice"));
        }
        rest = after.trim_start_matches(' ');
        match rest.strip_prefix(',') {
            Some(after) => rest = after,
            None if rest.starts_with('}') => {}
            None => return Err(format!("neither a comma nor a brace at {rest:?}")),
        }
    }
}

/// The text up to the closing quote, and what follows that.
fn quoted(text: &str) -> Result<(String, &str), &'static str> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Ok((value, text.get(at + 1..).unwrap_or_default())),
            '\\' => match characters.next() {
                Some((_, 'n')) => value.push('\n'),
                Some((_, escaped @ ('"' | '\\'))) => value.push(escaped),
                _ => return Err("has an escape other than \\n, \\\" and \\\\"),
            },
            other => value.push(other),
        }
    }
    Err("has no closing quote")
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "# TYPE requests counter\n\
        # HELP requests Requests \\\"so far\\\".\n\
        requests_total{path=\"/a\\\"b\\\\c\\nd\"} 3 1700000000.5 # {trace_id=\"abc\",span_id=\"d\"} 1 1700000000.25\n\
        # TYPE took_seconds histogram\n\
        # UNIT took_seconds seconds\n\
        took_seconds_bucket{le=\"0.1\"} 1 # {trace_id=\"abc\"} 0.05\n\
        took_seconds_bucket{le=\"+Inf\"} 2\n\
        took_seconds_sum 0.9\n\
        took_seconds_count 2\n\
        # TYPE heat gauge\n\
        heat -1.5e3\n\
        # EOF\n";

    #[test]
    fn open_metrics_is_read_with_types_exemplars_and_escapes() {
        let exposition = parse(GOOD, Format::OpenMetrics).unwrap();
        assert_eq!(exposition.samples.len(), 6);
        let requests = &exposition.samples[0];
        assert_eq!(requests.labels["path"], "/a\"b\\c\nd");
        assert_eq!(requests.timestamp_ms, Some(1_700_000_000_500));
        let exemplar = requests.exemplar.as_ref().unwrap();
        assert_eq!(exemplar.labels["trace_id"], "abc");
        assert_eq!((exemplar.value, exemplar.timestamp_ms), (1.0, Some(1_700_000_000_250)));
        assert_eq!(exposition.samples[5].value, -1500.0);
        let family = &exposition.families["took_seconds"];
        assert_eq!((family.metric_type, family.unit.as_str()), (MetricType::Histogram, "seconds"));
        assert_eq!(exposition.families["requests"].help, "Requests \"so far\".");
    }

    #[test]
    fn what_open_metrics_forbids_is_an_error_that_names_the_line() {
        let error = |text: &str| parse(text, Format::OpenMetrics).unwrap_err().to_string();
        assert!(error("a 1\n").contains("does not end with # EOF"));
        assert!(error("# EOF\na 1\n").starts_with("line 2: something follows"));
        assert!(error("# EOF\n\n").starts_with("line 2: something follows"));
        assert!(error("a 1\n\n# EOF\n").starts_with("line 2: an empty line"));
        assert!(error("# TYPE a counter\na 1\n# EOF\n").contains("does not end with _total"));
        assert!(error("# TYPE a gauge\na 1 # {b=\"c\"} 1\n# EOF\n").contains("may have"));
        assert!(error("a 1\na 2\n# EOF\n").contains("is there twice"));
        assert!(error("# TYPE a gauge\n# TYPE a gauge\n# EOF\n").contains("twice"));
        assert!(error("a{b=\"c} 1\n# EOF\n").contains("closing quote"));
        assert!(error("a{b=\"c\",b=\"d\"} 1\n# EOF\n").contains("label b is there twice"));
        assert!(error("a 0x10\n# EOF\n").contains("not a number"));
        assert!(error("a  1\n# EOF\n").contains("not a number"));
        let long = format!("# TYPE a counter\na_total 1 # {{b=\"{}\"}} 1\n# EOF\n", "x".repeat(128));
        assert!(error(&long).contains("129 characters"));
    }

    #[test]
    fn the_older_text_format_has_comments_milliseconds_and_no_end() {
        let text = "# a comment\n# TYPE a_total counter\na_total{b=\"c\",}  7 1700000000000\nb NaN\n";
        let exposition = parse(text, Format::Text).unwrap();
        assert_eq!(exposition.samples[0].timestamp_ms, Some(1_700_000_000_000));
        assert_eq!(exposition.samples[0].labels["b"], "c");
        assert!(exposition.samples[1].value.is_nan());
    }
}
