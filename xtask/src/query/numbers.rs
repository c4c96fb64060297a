//! Answers that are numbers, of whichever server: as a table at one time, as charts over time.

use std::cmp::Ordering;
use std::io;
use std::time::Duration;

use lgtm_query::{
    Attributes, HistogramSample, InstantSample, Labels, LogData, MetricData, Sample, Series, TimeRange, TraceMetric,
};

use super::chart::Columns;
use super::screen::{BOLD, CYAN, DIM, Screen, clean, columns, cut, fit, nanos, styled};

/// Up to so many series get a tall chart each.
const TALL_CHARTS: usize = 3;
/// The rows of a tall chart.
const TALL_ROWS: usize = 8;
/// The columns of a chart of one line.
const LINE_COLUMNS: usize = 40;

/// One series at one time.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Reading {
    pub(super) name: String,
    pub(super) value: String,
}

/// One series over time.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Curve {
    pub(super) labels: Labels,
    pub(super) samples: Vec<Sample>,
    /// What the numbers are, if not the series' own values.
    pub(super) remark: Option<&'static str>,
}

/// Numbers, of one time or over time.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Numbers {
    Readings(Vec<Reading>),
    Curves(Vec<Curve>),
}

impl Numbers {
    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Readings(readings) => readings.is_empty(),
            Self::Curves(curves) => curves.is_empty(),
        }
    }

    pub(super) fn of_metrics(data: &MetricData) -> Self {
        match data {
            MetricData::Vector(samples) => Self::Readings(samples.iter().map(reading).collect()),
            MetricData::Matrix(series) => Self::Curves(series.iter().map(curve).collect()),
            MetricData::Scalar(sample) => Self::Readings(vec![scalar(sample)]),
            MetricData::String((_, text)) => {
                Self::Readings(vec![Reading { name: "(text)".to_owned(), value: clean(text) }])
            }
        }
    }

    /// `None` for log entries.
    pub(super) fn of_logs(data: &LogData) -> Option<Self> {
        match data {
            LogData::Streams(_) => None,
            LogData::Matrix(series) => Some(Self::Curves(series.iter().map(curve).collect())),
            LogData::Vector(samples) => Some(Self::Readings(samples.iter().map(reading).collect())),
            LogData::Scalar(sample) => Some(Self::Readings(vec![scalar(sample)])),
        }
    }

    pub(super) fn of_traces(series: &[TraceMetric], instant: bool) -> Self {
        if instant {
            let reading = |series: &TraceMetric| {
                let value = series.samples.last().map_or("(no value)".to_owned(), |sample| number(sample.value));
                Reading { name: name(&texts(&series.labels)), value }
            };
            return Self::Readings(series.iter().map(reading).collect());
        }
        let curve = |series: &TraceMetric| Curve {
            labels: texts(&series.labels),
            samples: series.samples.clone(),
            remark: None,
        };
        Self::Curves(series.iter().map(curve).collect())
    }

    /// Shows at most `limit` series; over time those with the highest peaks. Says how many more there are.
    ///
    /// # Errors
    /// If the output is gone.
    pub(super) fn show(
        mut self,
        screen: &mut Screen<'_>,
        range: TimeRange,
        step: Duration,
        limit: usize,
    ) -> io::Result<()> {
        let all = match &self {
            Self::Readings(readings) => readings.len(),
            Self::Curves(curves) => curves.len(),
        };
        match &mut self {
            Self::Readings(readings) => {
                readings.truncate(limit);
                table(screen, readings)?;
            }
            Self::Curves(curves) => {
                curves.sort_by(by_peak);
                curves.truncate(limit);
                charts(screen, curves, range, step)?;
            }
        }
        if all > limit {
            let more = format!("… and {} more series of {all}: --limit shows more of them", all - limit);
            screen.line(&styled(DIM, &more))?;
        }
        Ok(())
    }
}

fn scalar(sample: &Sample) -> Reading {
    Reading { name: "(scalar)".to_owned(), value: number(sample.value) }
}

fn reading(sample: &InstantSample) -> Reading {
    let value = match (&sample.sample, &sample.histogram) {
        (Some(sample), _) => number(sample.value),
        (None, Some(histogram)) => {
            format!("{} observations, sum {}", number(histogram.count), number(histogram.sum))
        }
        (None, None) => "(no value)".to_owned(),
    };
    Reading { name: name(&sample.labels), value }
}

fn curve(series: &Series) -> Curve {
    let of_histogram = |histogram: &HistogramSample| Sample {
        timestamp_unix_nanos: histogram.timestamp_unix_nanos,
        value: histogram.count,
    };
    let (samples, remark) = if series.samples.is_empty() && !series.histograms.is_empty() {
        (series.histograms.iter().map(of_histogram).collect(), Some("count of a native histogram"))
    } else {
        (series.samples.clone(), None)
    };
    Curve { labels: series.labels.clone(), samples, remark }
}

/// A series as PromQL selects it.
pub(super) fn name(labels: &Labels) -> String {
    let metric = labels.get("__name__").map_or("", String::as_str);
    let pairs: Vec<_> = labels
        .iter()
        .filter(|(name, _)| *name != "__name__")
        .map(|(name, value)| format!("{}={:?}", clean(name), clean(value)))
        .collect();
    if pairs.is_empty() && !metric.is_empty() {
        return clean(metric);
    }
    format!("{}{{{}}}", clean(metric), pairs.join(", "))
}

fn texts(attributes: &Attributes) -> Labels {
    attributes.iter().map(|(name, value)| (name.clone(), value.to_string())).collect()
}

/// The labels that all series share.
fn shared(curves: &[Curve]) -> Labels {
    let mut curves = curves.iter().map(|curve| &curve.labels);
    let Some(first) = curves.next() else { return Labels::new() };
    let mut shared = first.clone();
    for labels in curves {
        shared.retain(|name, value| labels.get(name) == Some(value));
    }
    shared
}

/// A number with at most six digits that count, and what is a whole number as it is.
pub(super) fn number(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let size = value.abs();
    if value == value.trunc() && size < 1e15 {
        return format!("{value:.0}");
    }
    if !(1e-4..1e12).contains(&size) {
        return format!("{value:.3e}");
    }
    let digits_before = if size < 1.0 { 0 } else { size.log10().floor() as usize + 1 };
    let text = format!("{value:.*}", 6_usize.saturating_sub(digits_before).max(1));
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// The highest first; what has no number last; equal ones by name.
fn by_peak(one: &Curve, another: &Curve) -> Ordering {
    let peak = |curve: &Curve| finite(curve).fold(f64::NEG_INFINITY, f64::max);
    peak(another).total_cmp(&peak(one)).then_with(|| one.labels.cmp(&another.labels))
}

fn finite(curve: &Curve) -> impl Iterator<Item = f64> + '_ {
    curve.samples.iter().map(|sample| sample.value).filter(|value| value.is_finite())
}

fn table(screen: &mut Screen<'_>, readings: &[Reading]) -> io::Result<()> {
    let width = readings.iter().map(|reading| columns(&reading.value)).max().unwrap_or(0);
    for reading in readings {
        let gap = " ".repeat(width - columns(&reading.value));
        // Names are for copying: they are not cut.
        screen.line(&format!("{gap}{}  {}", styled(BOLD, &reading.value), reading.name))?;
    }
    Ok(())
}

/// Smallest, largest and last value, as text.
struct Summary {
    least: String,
    most: String,
    last: String,
}

impl Summary {
    fn new(curve: &Curve) -> Self {
        let none = || "–".to_owned();
        let or_none = |value: f64| if value.is_finite() { number(value) } else { none() };
        Self {
            least: or_none(finite(curve).fold(f64::INFINITY, f64::min)),
            most: or_none(finite(curve).fold(f64::NEG_INFINITY, f64::max)),
            last: curve.samples.last().map_or_else(none, |sample| number(sample.value)),
        }
    }
}

fn charts(screen: &mut Screen<'_>, curves: &[Curve], range: TimeRange, step: Duration) -> io::Result<()> {
    if curves.len() <= TALL_CHARTS {
        curves.iter().try_for_each(|curve| tall(screen, curve, range, step))
    } else {
        lines(screen, curves, range, step)
    }
}

fn tall(screen: &mut Screen<'_>, curve: &Curve, range: TimeRange, step: Duration) -> io::Result<()> {
    let remark = curve.remark.map_or_else(String::new, |remark| format!(" ({remark})"));
    screen.line(&format!("{}{}", styled(BOLD, &name(&curve.labels)), styled(DIM, &remark)))?;
    let axis = 12;
    let chart = Columns::new(&curve.samples, range, nanos(step), screen.width.saturating_sub(axis + 2));
    let (low, high) = chart.edges();
    for (index, row) in chart.rows(TALL_ROWS).iter().enumerate() {
        let label = match index {
            0 => number(high),
            last if last + 1 == TALL_ROWS => number(low),
            _ => String::new(),
        };
        let label = cut(&label, axis - 2);
        let gap = " ".repeat(axis - 2 - columns(&label));
        let tick = if label.is_empty() { "│" } else { "┤" };
        let row = styled(CYAN, row.trim_end());
        screen.line(&format!("{gap}{label} {}{row}", styled(DIM, tick)))?;
    }
    screen.line(&styled(DIM, &format!("{}└{}", " ".repeat(axis - 1), foot(screen, range, chart.width()))))?;
    let Summary { least, most, last } = Summary::new(curve);
    let summary =
        format!("{}min {least}  max {most}  last {last}  step {}", " ".repeat(axis), humantime::format_duration(step));
    screen.line(&styled(DIM, &summary))
}

/// The times at both ends, as far apart as the chart is wide.
fn foot(screen: &Screen<'_>, range: TimeRange, width: usize) -> String {
    let seconds = range.duration().as_secs();
    let begin = screen.short_time(range.start_unix_nanos, seconds);
    let end = screen.short_time(range.end_unix_nanos, seconds);
    let line = width.saturating_sub(columns(&begin) + columns(&end) + 2);
    format!("{begin} {} {end}", "─".repeat(line))
}

fn lines(screen: &mut Screen<'_>, curves: &[Curve], range: TimeRange, step: Duration) -> io::Result<()> {
    let shared = shared(curves);
    if !shared.is_empty() {
        screen.line(&styled(DIM, &format!("all: {}", name(&shared))))?;
    }
    let summaries: Vec<_> = curves.iter().map(Summary::new).collect();
    let width = |heading: &str, cell: fn(&Summary) -> &String| {
        summaries.iter().map(|summary| columns(cell(summary))).max().unwrap_or(0).max(heading.len())
    };
    let widths = [width("min", |s| &s.least), width("max", |s| &s.most), width("last", |s| &s.last)];
    let numbers = widths.iter().sum::<usize>() + 6;
    let room = screen.width.saturating_sub(numbers + 2);
    let chart_width = (room / 2).clamp(10, LINE_COLUMNS);
    let charts: Vec<_> =
        curves.iter().map(|curve| Columns::new(&curve.samples, range, nanos(step), chart_width)).collect();
    let chart_width = charts.iter().map(Columns::width).max().unwrap_or(chart_width);
    let [least, most, last] = widths;
    let heading = format!(
        "{}  {:>least$}  {:>most$}  {:>last$}  series, step {}",
        fit(&foot(screen, range, chart_width), chart_width),
        "min",
        "max",
        "last",
        humantime::format_duration(step)
    );
    screen.line(&styled(DIM, &heading))?;
    for ((curve, chart), summary) in curves.iter().zip(&charts).zip(&summaries) {
        let labels = curve.labels.iter().filter(|(name, _)| !shared.contains_key(*name));
        let labels: Labels = labels.map(|(name, value)| (name.clone(), value.clone())).collect();
        let name = cut(&name(&labels), screen.width.saturating_sub(chart_width + numbers + 2).max(20));
        screen.line(&format!(
            "{}  {:>least$}  {:>most$}  {}  {name}",
            styled(CYAN, &fit(&chart.line(), chart_width)),
            summary.least,
            summary.most,
            styled(BOLD, &format!("{:>last$}", summary.last)),
        ))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: Duration = Duration::from_secs(60);
    const START: u64 = 1_700_000_000_000_000_000;

    fn range(points: u64) -> TimeRange {
        TimeRange::new(START, START + (points - 1) * 60_000_000_000)
    }

    fn series(route: &str, values: &[f64]) -> Series {
        let sample = |(index, value): (usize, &f64)| Sample {
            timestamp_unix_nanos: START + index as u64 * 60_000_000_000,
            value: *value,
        };
        let labels = [("__name__", "http_requests_total"), ("path", route)];
        Series {
            labels: labels.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
            samples: values.iter().enumerate().map(sample).collect(),
            histograms: Vec::new(),
        }
    }

    fn shown(numbers: Numbers, points: u64, limit: usize) -> String {
        let mut bytes = Vec::new();
        numbers.show(&mut Screen::plain(&mut bytes, 80), range(points), STEP, limit).unwrap();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn numbers_have_the_digits_that_count() {
        let table = [
            (0.0, "0"),
            (42.0, "42"),
            (-1_234_567.0, "-1234567"),
            (0.1 + 0.2, "0.3"),
            (1234.5678, "1234.57"),
            (123_456.789, "123456.8"),
            (0.000_012_3, "1.230e-5"),
            (1.5e300, "1.500e300"),
            (f64::NEG_INFINITY, "-Inf"),
        ];
        for (value, text) in table {
            assert_eq!(number(value), text);
        }
        assert_eq!(number(f64::NAN), "NaN");
    }

    #[test]
    fn one_series_over_time_is_a_tall_chart() {
        let values: Vec<f64> =
            (0..30).map(|index| if index == 20 { f64::NAN } else { f64::from(index % 10) }).collect();
        let numbers = Numbers::of_metrics(&MetricData::Matrix(vec![series("/", &values)]));
        insta::assert_snapshot!(shown(numbers, 30, 10));
    }

    #[test]
    fn many_series_over_time_are_lines_with_the_highest_first_and_the_rest_counted() {
        let all = (0..6).map(|index| series(&format!("/{index}"), &[0.0, f64::from(index), 0.25])).collect();
        insta::assert_snapshot!(shown(Numbers::of_metrics(&MetricData::Matrix(all)), 3, 4));
    }

    #[test]
    fn numbers_of_one_time_are_a_table_in_the_servers_order() {
        let sample = |route: &str, value: f64| InstantSample {
            labels: series(route, &[]).labels,
            sample: Some(Sample { timestamp_unix_nanos: START, value }),
            histogram: None,
        };
        let native = InstantSample {
            labels: Labels::new(),
            sample: None,
            histogram: Some(HistogramSample { timestamp_unix_nanos: START, count: 3.0, sum: 4.5, buckets: Vec::new() }),
        };
        let samples = vec![sample("/a\u{1b}[2J", 1.0), sample("/b", 12.5), native, sample("/c", 0.0)];
        insta::assert_snapshot!(shown(Numbers::of_metrics(&MetricData::Vector(samples)), 1, 3), @r#"
                              1  http_requests_total{path="/a\\u{1b}[2J"}
                           12.5  http_requests_total{path="/b"}
        3 observations, sum 4.5  {}
        … and 1 more series of 4: --limit shows more of them
        "#);
    }
}
