//! Encode: remote write 1, protobuf in a snappy block; and what a backend's answers mean. Worker thread. Version 2 is in
//! `remote_write2.rs`.
//! Sources: Prometheus Remote-Write 1.0 and `prompb/types.proto`; OpenTelemetry, "Prometheus and OpenMetrics compatibility".

use std::borrow::Cow;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use lgtm_core::pipeline::{Batch, Reply, Verdict, excerpt};
use lgtm_core::protobuf::{
    field_length, fixed64_tag, length_tag, put_bytes, put_fixed64, put_integer, put_varint, varint_length, varint_tag,
};
use lgtm_core::{ErrorType, Identity};

use crate::collect::{Collected, exemplar_labels};
use crate::exemplar::Exemplar;
use crate::families::Kind;
use crate::naming;
use crate::native::{Buckets, State, ZERO_THRESHOLD};

pub(crate) const PATH: &str = "/api/v1/push";

const TIMESERIES: u8 = length_tag(1);
const METADATA: u8 = length_tag(3);

const LABELS: u8 = length_tag(1);
const SAMPLES: u8 = length_tag(2);
const EXEMPLARS: u8 = length_tag(3);

const LABEL_NAME: u8 = length_tag(1);
const LABEL_VALUE: u8 = length_tag(2);

const SAMPLE_VALUE: u8 = fixed64_tag(1);
const SAMPLE_TIMESTAMP: u8 = varint_tag(2);

const EXEMPLAR_LABELS: u8 = length_tag(1);
const EXEMPLAR_VALUE: u8 = fixed64_tag(2);
const EXEMPLAR_TIMESTAMP: u8 = varint_tag(3);

const HISTOGRAMS: u8 = length_tag(4);
const HISTOGRAM_COUNT: u8 = varint_tag(1);
const HISTOGRAM_SUM: u8 = fixed64_tag(3);
const HISTOGRAM_SCHEMA: u8 = varint_tag(4);
const HISTOGRAM_ZERO_THRESHOLD: u8 = fixed64_tag(5);
const HISTOGRAM_ZERO_COUNT: u8 = varint_tag(6);
/// The counts are the field behind it.
const HISTOGRAM_NEGATIVE_SPANS: u8 = length_tag(8);
const HISTOGRAM_POSITIVE_SPANS: u8 = length_tag(11);
const HISTOGRAM_TIMESTAMP: u8 = varint_tag(15);
const SPAN_OFFSET: u8 = varint_tag(1);
const SPAN_LENGTH: u8 = varint_tag(2);
/// From the tag of a field to that of the next one of the same wire type.
const NEXT_FIELD: u8 = 8;

const METADATA_TYPE: u8 = varint_tag(1);
const METADATA_FAMILY: u8 = length_tag(2);
const METADATA_HELP: u8 = length_tag(4);
const METADATA_UNIT: u8 = length_tag(5);

/// The headers of both versions.
pub(crate) fn common_headers() -> Vec<(HeaderName, HeaderValue)> {
    vec![(http::header::CONTENT_ENCODING, HeaderValue::from_static("snappy"))]
}

/// The headers that tell the two versions apart.
pub(crate) fn headers() -> Vec<(HeaderName, HeaderValue)> {
    vec![
        (http::header::CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf")),
        (HeaderName::from_static("x-prometheus-remote-write-version"), HeaderValue::from_static("0.1.0")),
    ]
}

/// The labels that tell this process's series from those of others.
pub(crate) struct IdentityLabels(Vec<(&'static str, String)>);

impl IdentityLabels {
    pub(crate) fn new(identity: &Identity) -> Self {
        let value = |value: &str| naming::cut(value, naming::MAX_VALUE_BYTES).to_owned();
        let mut labels = vec![("job", value(&identity.job())), ("instance", value(&identity.service_instance_id))];
        labels.extend(identity.environment.as_deref().map(|environment| ("environment", value(environment))));
        labels.retain(|(_, value)| !value.is_empty());
        Self(labels)
    }

    /// The name under which a label of the program is sent: as at a scrape, the identity wins.
    fn exported<'a>(&self, name: &'a str, all: &'a [(String, String)]) -> Cow<'a, str> {
        let mut exported = Cow::Borrowed(name);
        while self.0.iter().any(|(own, _)| *own == exported)
            || (exported != name && all.iter().any(|(other, _)| *other == exported))
        {
            exported = Cow::Owned(format!("exported_{exported}"));
        }
        exported
    }
}

/// The resource's attributes as the labels of `target_info`.
pub(crate) fn target_info_labels(identity: &Identity) -> naming::Labels {
    let attributes = identity.resource_attributes();
    let labels: Vec<_> =
        attributes.map(|(name, value)| metrics::Label::new(name.to_owned(), value.to_owned())).collect();
    naming::labels(labels.iter(), Kind::Gauge).0
}

/// One point of a series.
#[derive(Clone, Copy)]
pub(crate) struct Sample {
    pub(crate) value: f64,
    /// Milliseconds since the Unix epoch.
    pub(crate) timestamp: i64,
}

/// What a series says, in time order.
#[derive(Clone, Copy)]
pub(crate) enum Points<'a> {
    Samples(&'a [Sample]),
    /// As [`native_message`] writes them.
    Histograms(&'a [Vec<u8>]),
}

/// Which series: a sample's name, the labels of its label set, and the one that tells a bucket or a quantile from others.
#[derive(Clone, Copy)]
pub(crate) struct SeriesName<'a> {
    pub(crate) name: &'a str,
    pub(crate) labels: &'a [(String, String)],
    /// `le` or `quantile`, with its value.
    pub(crate) part: Option<(&'static str, &'a str)>,
}

/// Appends the labels of a series, sorted, as fields of it.
pub(crate) fn put_labels(buffer: &mut Vec<u8>, identity: &IdentityLabels, series: SeriesName<'_>) {
    let mut labels: Vec<(Cow<'_, str>, &str)> = Vec::with_capacity(series.labels.len() + identity.0.len() + 2);
    labels.push((Cow::Borrowed("__name__"), series.name));
    labels.extend(identity.0.iter().map(|(name, value)| (Cow::Borrowed(*name), value.as_str())));
    labels.extend(series.part.map(|(name, value)| (Cow::Borrowed(name), value)));
    labels.extend(series.labels.iter().map(|(name, value)| (identity.exported(name, series.labels), value.as_str())));
    labels.sort_unstable();
    for (name, value) in &labels {
        put_label(buffer, LABELS, name, value);
    }
}

/// Appends a series with its encoded labels, samples and exemplar, in time order, as a field of the request.
pub(crate) fn put_series(buffer: &mut Vec<u8>, labels: &[u8], points: Points<'_>, exemplar: Option<Exemplar>) {
    let (samples, histograms) = match points {
        Points::Samples(samples) => (samples, &[][..]),
        Points::Histograms(histograms) => (&[][..], histograms),
    };
    let length = labels.len()
        + samples.iter().map(|sample| field_length(sample_length(sample))).sum::<usize>()
        + histograms.iter().map(|histogram| field_length(histogram.len())).sum::<usize>();
    let exemplar = exemplar.map(|exemplar| (exemplar_message(&exemplar), EXEMPLARS));
    let exemplar_bytes = exemplar.as_ref().map_or(0, |(message, _)| field_length(message.len()));
    buffer.push(TIMESERIES);
    put_varint(buffer, (length + exemplar_bytes) as u64);
    buffer.extend_from_slice(labels);
    samples.iter().for_each(|sample| put_sample(buffer, sample));
    if let Some((message, tag)) = exemplar {
        put_bytes(buffer, tag, &message);
    }
    for histogram in histograms {
        put_bytes(buffer, HISTOGRAMS, histogram);
    }
}

/// A native histogram at a time (milliseconds since the Unix epoch), as Prometheus' `Histogram` message.
pub(crate) fn native_message(state: &State, timestamp: i64) -> Vec<u8> {
    let mut message = Vec::with_capacity(256);
    put_integer(&mut message, HISTOGRAM_COUNT, state.count());
    put_fixed64(&mut message, HISTOGRAM_SUM, state.sum.to_bits());
    put_integer(&mut message, HISTOGRAM_SCHEMA, zigzag(state.schema.into()));
    put_fixed64(&mut message, HISTOGRAM_ZERO_THRESHOLD, ZERO_THRESHOLD.to_bits());
    put_integer(&mut message, HISTOGRAM_ZERO_COUNT, state.zero);
    put_buckets(&mut message, HISTOGRAM_NEGATIVE_SPANS, &state.negative);
    put_buckets(&mut message, HISTOGRAM_POSITIVE_SPANS, &state.positive);
    put_integer(&mut message, HISTOGRAM_TIMESTAMP, timestamp.cast_unsigned());
    message
}

/// The spans of one sign, under the tag given, and behind them the counts, as differences, under the next one.
pub(crate) fn put_buckets(message: &mut Vec<u8>, spans: u8, buckets: &Buckets) {
    let mut deltas = Vec::new();
    let mut previous = 0;
    for (offset, counts) in buckets.runs() {
        let mut span = Vec::with_capacity(8);
        put_integer(&mut span, SPAN_OFFSET, zigzag(offset.into()));
        put_integer(&mut span, SPAN_LENGTH, counts.len() as u64);
        put_bytes(message, spans, &span);
        for count in counts {
            let count = count.cast_signed();
            put_varint(&mut deltas, zigzag(count.wrapping_sub(previous)));
            previous = count;
        }
    }
    if !deltas.is_empty() {
        put_bytes(message, spans + NEXT_FIELD, &deltas);
    }
}

/// Signed numbers as protobuf's `sint` writes them.
pub(crate) const fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

fn label_length(name: &str, value: &str) -> usize {
    field_length(name.len()) + field_length(value.len())
}

/// Appends a name and a value as a message under this tag.
pub(crate) fn put_label(buffer: &mut Vec<u8>, tag: u8, name: &str, value: &str) {
    buffer.push(tag);
    put_varint(buffer, label_length(name, value) as u64);
    put_bytes(buffer, LABEL_NAME, name.as_bytes());
    put_bytes(buffer, LABEL_VALUE, value.as_bytes());
}

fn sample_length(sample: &Sample) -> usize {
    9 + 1 + varint_length(sample.timestamp.cast_unsigned())
}

/// Appends a sample. Most of what a push writes beside labels are these: they go into the buffer in one piece.
#[inline]
fn put_sample(buffer: &mut Vec<u8>, sample: &Sample) {
    const HEAD: usize = 12;
    let mut message = [0; HEAD + 10];
    let [v0, v1, v2, v3, v4, v5, v6, v7] = sample.value.to_bits().to_le_bytes();
    let head = [SAMPLES, 0, SAMPLE_VALUE, v0, v1, v2, v3, v4, v5, v6, v7, SAMPLE_TIMESTAMP];
    let mut timestamp = sample.timestamp.cast_unsigned();
    let mut length = HEAD;
    for byte in &mut message[HEAD..] {
        length += 1;
        *byte = (timestamp as u8) | 0x80;
        timestamp >>= 7;
        if timestamp == 0 {
            *byte &= 0x7f;
            break;
        }
    }
    message[..HEAD].copy_from_slice(&head);
    message[1] = (length - 2) as u8;
    buffer.extend_from_slice(message.get(..length).unwrap_or_default());
}

fn exemplar_message(exemplar: &Exemplar) -> Vec<u8> {
    let mut message = Vec::with_capacity(96);
    for (name, value) in exemplar_labels(exemplar) {
        put_label(&mut message, EXEMPLAR_LABELS, name, &value);
    }
    put_fixed64(&mut message, EXEMPLAR_VALUE, exemplar.value.to_bits());
    put_integer(&mut message, EXEMPLAR_TIMESTAMP, exemplar.timestamp.cast_unsigned());
    message
}

/// Appends type, help and unit of a family, as a field of the request.
pub(crate) fn put_metadata(buffer: &mut Vec<u8>, family: &Collected) {
    let mut message = Vec::with_capacity(64 + family.help.len());
    let kind = match family.kind {
        Kind::Counter => 1,
        Kind::Gauge => 2,
        Kind::Histogram => 3,
        Kind::Summary => 5,
    };
    put_integer(&mut message, METADATA_TYPE, kind);
    put_bytes(&mut message, METADATA_FAMILY, family.name.as_bytes());
    if !family.help.is_empty() {
        put_bytes(&mut message, METADATA_HELP, family.help.as_bytes());
    }
    if let Some(unit) = family.unit {
        put_bytes(&mut message, METADATA_UNIT, unit.as_str().as_bytes());
    }
    put_bytes(buffer, METADATA, &message);
}

/// Appends the request: the items are its fields.
pub(crate) fn put_request(batch: &Batch, request: &mut Vec<u8>) {
    for item in batch.iter() {
        request.extend_from_slice(item.payload);
    }
}

/// Makes snappy blocks.
pub(crate) struct Snappy {
    encoder: snap::raw::Encoder,
    /// As long as the longest block so far may have become: it is not cleared for each.
    room: Vec<u8>,
}

impl Snappy {
    pub(crate) fn new() -> Self {
        Self { encoder: snap::raw::Encoder::new(), room: Vec::new() }
    }

    /// Appends a request as a snappy block.
    pub(crate) fn compress(&mut self, request: &[u8], body: &mut Vec<u8>) {
        let most = snap::raw::max_compress_len(request.len());
        if self.room.len() < most {
            self.room.resize(most, 0);
        }
        let written = self.encoder.compress(request, &mut self.room).unwrap_or(0);
        body.extend_from_slice(self.room.get(..written).unwrap_or_default());
    }
}

/// What an answer means.
pub(crate) fn classify(reply: &Reply) -> Verdict {
    let Reply::Http { status, retry_after, body, .. } = reply else {
        return Verdict::Rejected { error: ErrorType::Other, message: "not an HTTP answer".to_owned() };
    };
    reply.redirect().unwrap_or_else(|| classify_status(*status, *retry_after, body))
}

fn classify_status(status: u16, after: Option<Duration>, body: &[u8]) -> Verdict {
    let message = || format!("{status} {}", excerpt(body));
    let rejected = |error| Verdict::Rejected { error, message: message() };
    let retry = |error| Verdict::Retry { error, after, message: message() };
    match status {
        // 202 is Mimir's answer to the second of a high-availability pair: the first has delivered it.
        200..=299 => Verdict::delivered(),
        401 | 403 | 407 => retry(ErrorType::Unauthorized),
        408 => retry(ErrorType::Timeout),
        413 => Verdict::Split { message: message() },
        // Cortex says so of a request that it has not looked into.
        400 if body.starts_with(b"received message larger than max") => Verdict::Split { message: message() },
        // 529 is Mimir's "too many requests" where it is configured not to use 429.
        429 | 529 => retry(ErrorType::RateLimited),
        500..=599 => retry(ErrorType::Server),
        // Any other 400 among them: its good samples are stored, it must never be sent again.
        400..=499 => rejected(ErrorType::Rejected),
        _ => rejected(ErrorType::Other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_mean_what_the_protocol_says() {
        let verdict = |status| match classify_status(status, Some(Duration::from_secs(3)), b"why") {
            Verdict::Delivered { rejected: 0, .. } => "delivered",
            Verdict::Retry { after: Some(after), error, message } => {
                assert_eq!((after, message), (Duration::from_secs(3), format!("{status} why")));
                error.as_str()
            }
            Verdict::Rejected { error: ErrorType::Rejected, .. } => "refused",
            Verdict::Split { .. } => "split",
            _ => "other",
        };
        let expected = [
            (200, "delivered"),
            (202, "delivered"),
            (204, "delivered"),
            (400, "refused"),
            (401, "unauthorized"),
            (403, "unauthorized"),
            (404, "refused"),
            (408, "timeout"),
            (413, "split"),
            (429, "rate_limited"),
            (500, "server"),
            (503, "server"),
            (529, "rate_limited"),
        ];
        for (status, outcome) in expected {
            assert_eq!(verdict(status), outcome, "{status}");
        }
    }

    #[test]
    fn a_sample_is_as_long_as_its_length_says_and_reads_back() {
        for timestamp in [0, 1, 127, 128, 1_700_000_000_000, i64::MAX, -1, i64::MIN] {
            let sample = Sample { value: 0.25, timestamp };
            let mut buffer = Vec::new();
            put_sample(&mut buffer, &sample);
            assert_eq!(buffer.len(), field_length(sample_length(&sample)), "{timestamp}");
            let mut expected = vec![SAMPLES];
            put_varint(&mut expected, sample_length(&sample) as u64);
            put_fixed64(&mut expected, SAMPLE_VALUE, sample.value.to_bits());
            put_integer(&mut expected, SAMPLE_TIMESTAMP, timestamp.cast_unsigned());
            assert_eq!(buffer, expected, "{timestamp}");
        }
    }

    #[test]
    fn a_programs_label_steps_aside_for_the_identity() {
        let mut identity = Identity::new("shop");
        identity.environment = Some("test".to_owned());
        let own = IdentityLabels::new(&identity);
        let labels = |names: &[&str]| names.iter().map(|name| ((*name).to_owned(), "x".to_owned())).collect::<Vec<_>>();
        let all = labels(&["exported_job", "instance", "job"]);
        assert_eq!(own.exported("instance", &all), "exported_instance");
        assert_eq!(own.exported("job", &all), "exported_exported_job");
        assert_eq!(own.exported("exported_job", &all), "exported_job");
        assert_eq!(own.exported("environment", &all), "exported_environment");
    }
}
