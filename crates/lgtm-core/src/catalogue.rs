//! The metric catalogue: one table of what lgtm says about itself and about spans, and the only place where these names
//! stand. Emitted metrics, documentation and checks are made from it.

/// What kind of metric an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts samples in buckets.
    Histogram,
}

/// One metric.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Metric {
    /// Its full name.
    pub name: &'static str,
    /// Its kind.
    pub kind: MetricKind,
    /// Its unit.
    pub unit: metrics::Unit,
    /// The names of its labels.
    pub labels: &'static [&'static str],
    /// The upper bounds of a histogram's buckets, without +Inf.
    pub buckets: &'static [f64],
    /// Its help text.
    pub help: &'static str,
}

/// The names that one pipeline publishes about itself.
#[derive(Debug)]
pub(crate) struct PipelineMetrics {
    pub(crate) exported_total: &'static str,
    pub(crate) export_errors_total: &'static str,
    pub(crate) dropped_total: &'static str,
    pub(crate) batch_size: &'static str,
    pub(crate) latency_seconds: &'static str,
    pub(crate) queue_size: &'static str,
    pub(crate) spool_size: &'static str,
    pub(crate) spool_bytes: &'static str,
}

pub(crate) const SPANS: PipelineMetrics = PipelineMetrics {
    exported_total: "otlp_spans_exported_total",
    export_errors_total: "otlp_spans_export_errors_total",
    dropped_total: "otlp_spans_dropped_total",
    batch_size: "otlp_exporter_batch_size",
    latency_seconds: "otlp_exporter_latency_seconds",
    queue_size: "otlp_exporter_queue_size",
    spool_size: "otlp_exporter_spool_size",
    spool_bytes: "otlp_exporter_spool_bytes",
};

pub(crate) const LOGS: PipelineMetrics = PipelineMetrics {
    exported_total: "otlp_logs_exported_total",
    export_errors_total: "otlp_logs_export_errors_total",
    dropped_total: "otlp_logs_dropped_total",
    batch_size: "otlp_logs_batch_size",
    latency_seconds: "otlp_logs_latency_seconds",
    queue_size: "otlp_logs_queue_size",
    spool_size: "otlp_logs_spool_size",
    spool_bytes: "otlp_logs_spool_bytes",
};

pub(crate) const METRICS: PipelineMetrics = PipelineMetrics {
    exported_total: "otlp_metrics_exported_total",
    export_errors_total: "otlp_metrics_export_errors_total",
    dropped_total: "otlp_metrics_dropped_total",
    batch_size: "otlp_metrics_batch_size",
    latency_seconds: "otlp_metrics_latency_seconds",
    queue_size: "otlp_metrics_queue_size",
    spool_size: "otlp_metrics_spool_size",
    spool_bytes: "otlp_metrics_spool_bytes",
};

/// Spans created, by service and kind.
pub const SPANS_CREATED_TOTAL: &str = "otlp_spans_created_total";
/// How long spans took, by service and kind.
pub const SPANS_DURATION_SECONDS: &str = "otlp_spans_duration_seconds";
/// Traces that were kept or discarded before their local root closed, by outcome.
pub const SPANS_DECIDED_EARLY_TOTAL: &str = "otlp_spans_decided_early_total";
/// Lines that lost something because they were too long.
pub const LOGS_TRUNCATED_TOTAL: &str = "otlp_logs_truncated_total";
/// Log lines that were left out because they came too often, by `reason`: `rate`, `same`.
pub const LOGS_SUPPRESSED_TOTAL: &str = "otlp_logs_suppressed_total";
/// Lines whose stream label has the value `other` because its field has had too many values, by label.
pub const LOGS_LABEL_OVERFLOW_TOTAL: &str = "otlp_logs_label_overflow_total";
/// Series of metrics that are not exposed as they were used, by reason.
pub const METRICS_SERIES_REFUSED_TOTAL: &str = "otlp_metrics_series_refused_total";
/// CPU usage of the host.
pub const SYSTEM_CPU_USAGE_PERCENT: &str = "otlp_system_cpu_usage_percent";
/// Memory in use.
pub const SYSTEM_MEMORY_USAGE_BYTES: &str = "otlp_system_memory_usage_bytes";
/// The memory there is.
pub const SYSTEM_MEMORY_LIMIT_BYTES: &str = "otlp_system_memory_limit_bytes";
/// Tasks of the program's tokio runtime.
pub const SYSTEM_TASKS_COUNT: &str = "otlp_system_tasks_count";

const SPAN_SECONDS: &[f64] = &[0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0];
const EXPORT_SECONDS: &[f64] = &[0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0];
const BATCH_ITEMS: &[f64] = &[10.0, 50.0, 100.0, 500.0, 1000.0, 5000.0];

const fn counter(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric { name, kind: MetricKind::Counter, unit: metrics::Unit::Count, labels, buckets: &[], help }
}

const fn gauge(name: &'static str, unit: metrics::Unit, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric { name, kind: MetricKind::Gauge, unit, labels, buckets: &[], help }
}

const fn histogram(
    name: &'static str,
    unit: metrics::Unit,
    labels: &'static [&'static str],
    buckets: &'static [f64],
    help: &'static str,
) -> Metric {
    Metric { name, kind: MetricKind::Histogram, unit, labels, buckets, help }
}

/// Every metric that lgtm emits.
pub const CATALOGUE: &[Metric] = &[
    counter(SPANS_CREATED_TOTAL, &["service_name", "span_kind"], "Spans created, sampled or not"),
    histogram(
        SPANS_DURATION_SECONDS,
        metrics::Unit::Seconds,
        &["service_name", "span_kind"],
        SPAN_SECONDS,
        "Duration of spans, sampled or not",
    ),
    counter(
        SPANS_DECIDED_EARLY_TOTAL,
        &["outcome"],
        "Traces kept or discarded before their local root closed: too large, too old, or at the end of the program",
    ),
    counter(
        SPANS.exported_total,
        &["exporter", "status"],
        "Spans in export requests; those of a failed request count at each try",
    ),
    counter(SPANS.export_errors_total, &["exporter", "error_type"], "Failed span export requests"),
    counter(SPANS.dropped_total, &["exporter", "reason"], "Spans lost before a backend had them"),
    histogram(SPANS.batch_size, metrics::Unit::Count, &["exporter"], BATCH_ITEMS, "Spans in an export request"),
    histogram(
        SPANS.latency_seconds,
        metrics::Unit::Seconds,
        &["exporter", "protocol"],
        EXPORT_SECONDS,
        "Duration of span export requests",
    ),
    gauge(SPANS.queue_size, metrics::Unit::Count, &["exporter"], "Spans that wait for their export"),
    gauge(SPANS.spool_size, metrics::Unit::Count, &["exporter"], "Spans on disk that no backend has yet"),
    gauge(SPANS.spool_bytes, metrics::Unit::Bytes, &["exporter"], "Bytes of the disk spool of spans"),
    counter(
        LOGS.exported_total,
        &["exporter", "status"],
        "Log lines in push requests; those of a failed request count at each try",
    ),
    counter(LOGS.export_errors_total, &["exporter", "error_type"], "Failed log push requests"),
    counter(LOGS.dropped_total, &["exporter", "reason"], "Log lines lost before a backend had them"),
    counter(LOGS_TRUNCATED_TOTAL, &[], "Log lines that lost fields, or the end of a text, because they were too long"),
    counter(
        LOGS_SUPPRESSED_TOTAL,
        &["reason"],
        "Log lines left out because they came too often, or said the same again: rate, same",
    ),
    counter(
        LOGS_LABEL_OVERFLOW_TOTAL,
        &["label"],
        "Log lines whose stream label is `other` because its field has had more values than it may have",
    ),
    histogram(LOGS.batch_size, metrics::Unit::Count, &["exporter"], BATCH_ITEMS, "Log lines in a push request"),
    histogram(
        LOGS.latency_seconds,
        metrics::Unit::Seconds,
        &["exporter", "protocol"],
        EXPORT_SECONDS,
        "Duration of log push requests",
    ),
    gauge(LOGS.queue_size, metrics::Unit::Count, &["exporter"], "Log lines that wait for their push"),
    gauge(LOGS.spool_size, metrics::Unit::Count, &["exporter"], "Log lines on disk that no backend has yet"),
    gauge(LOGS.spool_bytes, metrics::Unit::Bytes, &["exporter"], "Bytes of the disk spool of log lines"),
    counter(
        METRICS.exported_total,
        &["exporter", "status"],
        "Samples in remote write requests; those of a failed request count at each try",
    ),
    counter(METRICS.export_errors_total, &["exporter", "error_type"], "Failed remote write requests"),
    counter(METRICS.dropped_total, &["exporter", "reason"], "Samples lost before a backend had them"),
    histogram(
        METRICS.batch_size,
        metrics::Unit::Count,
        &["exporter"],
        BATCH_ITEMS,
        "Samples in a remote write request",
    ),
    histogram(
        METRICS.latency_seconds,
        metrics::Unit::Seconds,
        &["exporter", "protocol"],
        EXPORT_SECONDS,
        "Duration of remote write requests",
    ),
    counter(
        METRICS_SERIES_REFUSED_TOTAL,
        &["reason"],
        "Uses of metrics that are not exposed as they were meant: beyond a limit, of another type, not a number",
    ),
    gauge(METRICS.queue_size, metrics::Unit::Count, &["exporter"], "Samples that wait for their remote write"),
    gauge(METRICS.spool_size, metrics::Unit::Count, &["exporter"], "Samples on disk that no backend has yet"),
    gauge(METRICS.spool_bytes, metrics::Unit::Bytes, &["exporter"], "Bytes of the disk spool of samples"),
    gauge(SYSTEM_CPU_USAGE_PERCENT, metrics::Unit::Percent, &[], "CPU usage of the host, 0 to 100"),
    gauge(
        SYSTEM_MEMORY_USAGE_BYTES,
        metrics::Unit::Bytes,
        &[],
        "Memory in use on the host, or in the control group where its limit is smaller",
    ),
    gauge(
        SYSTEM_MEMORY_LIMIT_BYTES,
        metrics::Unit::Bytes,
        &[],
        "Memory of the host, or the control group's limit where it is smaller",
    ),
    gauge(SYSTEM_TASKS_COUNT, metrics::Unit::Count, &[], "Tasks alive in the program's tokio runtime"),
];

/// Describes every metric of the catalogue to the current recorder: type, unit and help.
pub fn describe() {
    for metric in CATALOGUE {
        match metric.kind {
            MetricKind::Counter => metrics::describe_counter!(metric.name, metric.unit, metric.help),
            MetricKind::Gauge => metrics::describe_gauge!(metric.name, metric.unit, metric.help),
            MetricKind::Histogram => metrics::describe_histogram!(metric.name, metric.unit, metric.help),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_labels_follow_prometheus_conventions() {
        let mut names: Vec<_> = CATALOGUE.iter().map(|metric| metric.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), CATALOGUE.len(), "a name stands twice");
        for metric in CATALOGUE {
            assert!(metric.name.starts_with("otlp_"), "{}", metric.name);
            assert_eq!(metric.kind == MetricKind::Counter, metric.name.ends_with("_total"), "{}", metric.name);
            assert_eq!(metric.kind == MetricKind::Histogram, !metric.buckets.is_empty(), "{}", metric.name);
            assert!(metric.buckets.is_sorted(), "{}", metric.name);
            assert!(metric.unit != metrics::Unit::Seconds || metric.name.ends_with("_seconds"), "{}", metric.name);
            assert!(metric.unit != metrics::Unit::Bytes || metric.name.ends_with("_bytes"), "{}", metric.name);
        }
    }
}
