//! Prometheus' remote write messages: version 1 (package `prometheus`), and in [`v2`] version 2.

/// The body of a remote write request, in a snappy block. Field 2 is reserved.
#[derive(Clone, PartialEq, prost::Message)]
pub struct WriteRequest {
    /// Series with their new samples and exemplars.
    #[prost(message, repeated, tag = "1")]
    pub timeseries: Vec<TimeSeries>,
    /// Type, help and unit of metric families.
    #[prost(message, repeated, tag = "3")]
    pub metadata: Vec<MetricMetadata>,
}

/// One series.
#[derive(Clone, PartialEq, prost::Message)]
pub struct TimeSeries {
    /// Labels, `__name__` among them, sorted by name.
    #[prost(message, repeated, tag = "1")]
    pub labels: Vec<Label>,
    /// Samples in time order.
    #[prost(message, repeated, tag = "2")]
    pub samples: Vec<Sample>,
    /// Exemplars in time order.
    #[prost(message, repeated, tag = "3")]
    pub exemplars: Vec<Exemplar>,
    /// Native histograms in time order.
    #[prost(message, repeated, tag = "4")]
    pub histograms: Vec<Histogram>,
}

/// A native histogram, the same in both versions.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Histogram {
    /// Number of observations; of a histogram with float counts nothing.
    #[prost(uint64, tag = "1")]
    pub count: u64,
    /// Number of observations of a histogram with float counts; that it is there tells the two kinds apart.
    #[prost(double, optional, tag = "2")]
    pub count_float: Option<f64>,
    /// Their sum; a certain NaN is the stale marker.
    #[prost(double, tag = "3")]
    pub sum: f64,
    /// The resolution: each power of two has `2^schema` buckets. -53 stands for the bounds in `custom_values`.
    #[prost(sint32, tag = "4")]
    pub schema: i32,
    /// Observations nearer to zero than this count as zero.
    #[prost(double, tag = "5")]
    pub zero_threshold: f64,
    /// Number of those.
    #[prost(uint64, tag = "6")]
    pub zero_count: u64,
    /// Number of those in a histogram with float counts.
    #[prost(double, optional, tag = "7")]
    pub zero_count_float: Option<f64>,
    /// Which buckets of negative observations follow.
    #[prost(message, repeated, tag = "8")]
    pub negative_spans: Vec<BucketSpan>,
    /// Their counts, each as the difference to the one before.
    #[prost(sint64, repeated, tag = "9")]
    pub negative_deltas: Vec<i64>,
    /// The counts themselves in a histogram with float counts.
    #[prost(double, repeated, tag = "10")]
    pub negative_counts: Vec<f64>,
    /// Which buckets of positive observations follow.
    #[prost(message, repeated, tag = "11")]
    pub positive_spans: Vec<BucketSpan>,
    /// Their counts, each as the difference to the one before.
    #[prost(sint64, repeated, tag = "12")]
    pub positive_deltas: Vec<i64>,
    /// The counts themselves in a histogram with float counts.
    #[prost(double, repeated, tag = "13")]
    pub positive_counts: Vec<f64>,
    /// What is known of a restart since the histogram before.
    #[prost(enumeration = "ResetHint", tag = "14")]
    pub reset_hint: i32,
    /// Milliseconds since 1970.
    #[prost(int64, tag = "15")]
    pub timestamp: i64,
    /// Upper bounds of the buckets of schema -53, without the last one, which is infinite.
    #[prost(double, repeated, tag = "16")]
    pub custom_values: Vec<f64>,
}

/// What the sender of a native histogram knows of a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum ResetHint {
    /// Nothing: whoever needs to know compares.
    Unknown = 0,
    /// It is the first one after a restart.
    Yes = 1,
    /// There was none.
    No = 2,
    /// It counts what is there now, and may fall.
    Gauge = 3,
}

/// Buckets that follow each other.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct BucketSpan {
    /// The first bucket's number, from the end of the span before.
    #[prost(sint32, tag = "1")]
    pub offset: i32,
    /// How many buckets.
    #[prost(uint32, tag = "2")]
    pub length: u32,
}

/// One label.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Label {
    /// Name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Value.
    #[prost(string, tag = "2")]
    pub value: String,
}

/// One sample.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct Sample {
    /// Value; a certain NaN is the stale marker.
    #[prost(double, tag = "1")]
    pub value: f64,
    /// Milliseconds since 1970.
    #[prost(int64, tag = "2")]
    pub timestamp: i64,
}

/// One exemplar.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Exemplar {
    /// Labels, `trace_id` among them.
    #[prost(message, repeated, tag = "1")]
    pub labels: Vec<Label>,
    /// The observed value.
    #[prost(double, tag = "2")]
    pub value: f64,
    /// Milliseconds since 1970.
    #[prost(int64, tag = "3")]
    pub timestamp: i64,
}

/// Type, help and unit of one metric family.
#[derive(Clone, PartialEq, prost::Message)]
pub struct MetricMetadata {
    /// The type.
    #[prost(enumeration = "MetricType", tag = "1")]
    pub r#type: i32,
    /// The family's name.
    #[prost(string, tag = "2")]
    pub metric_family_name: String,
    /// Help text.
    #[prost(string, tag = "4")]
    pub help: String,
    /// Unit.
    #[prost(string, tag = "5")]
    pub unit: String,
}

/// The type of a metric family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum MetricType {
    /// Not said.
    Unknown = 0,
    /// A counter.
    Counter = 1,
    /// A gauge.
    Gauge = 2,
    /// A classic histogram.
    Histogram = 3,
    /// A histogram of gauges.
    Gaugehistogram = 4,
    /// A summary.
    Summary = 5,
    /// An info metric.
    Info = 6,
    /// A set of states.
    Stateset = 7,
}

/// Remote write 2 (package `io.prometheus.write.v2`).
pub mod v2 {
    use super::{Histogram, Sample};

    /// The body of a request, in a snappy block.
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Request {
        /// All texts; the first one is empty.
        #[prost(string, repeated, tag = "4")]
        pub symbols: Vec<String>,
        /// Series.
        #[prost(message, repeated, tag = "5")]
        pub timeseries: Vec<TimeSeries>,
    }

    /// One series.
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct TimeSeries {
        /// Name and value of each label in turn, as places in the symbols.
        #[prost(uint32, repeated, tag = "1")]
        pub labels_refs: Vec<u32>,
        /// Samples in time order.
        #[prost(message, repeated, tag = "2")]
        pub samples: Vec<Sample>,
        /// Native histograms in time order.
        #[prost(message, repeated, tag = "3")]
        pub histograms: Vec<Histogram>,
        /// Exemplars in time order.
        #[prost(message, repeated, tag = "4")]
        pub exemplars: Vec<Exemplar>,
        /// Type, help and unit.
        #[prost(message, optional, tag = "5")]
        pub metadata: Option<Metadata>,
    }

    /// One exemplar.
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Exemplar {
        /// As those of a series.
        #[prost(uint32, repeated, tag = "1")]
        pub labels_refs: Vec<u32>,
        /// The observed value.
        #[prost(double, tag = "2")]
        pub value: f64,
        /// Milliseconds since 1970.
        #[prost(int64, tag = "3")]
        pub timestamp: i64,
    }

    /// Type, help and unit of a series.
    #[derive(Clone, Copy, PartialEq, prost::Message)]
    pub struct Metadata {
        /// The type.
        #[prost(enumeration = "super::MetricType", tag = "1")]
        pub r#type: i32,
        /// Place of the help text in the symbols.
        #[prost(uint32, tag = "3")]
        pub help_ref: u32,
        /// Place of the unit in the symbols.
        #[prost(uint32, tag = "4")]
        pub unit_ref: u32,
    }
}
