//! Which items a request carries: log lines by the number in their text, spans by that in their attributes, series by their labels and
//! time. The types are not those of lgtm's own encoders.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::Read as _;

use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_ENCODING;
use lgtm_devstack::wire::loki::PushRequest;
use lgtm_devstack::wire::prometheus::{TimeSeries, WriteRequest};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use prost::Message as _;

use super::Backend;

/// A request decompressed may not have more bytes.
const LIMIT: usize = 256 * 1024 * 1024;
/// What stands before the number in a line.
const IN_A_LINE: &str = "\"seq\":";
const OF_A_SPAN: &str = "span_seq";
const OF_AN_EVENT: &str = "seq";

/// The items of one request.
#[derive(Debug, Default)]
pub(crate) struct Items {
    /// Log lines or spans.
    pub(crate) numbers: Vec<u64>,
    /// Of spans: their events.
    pub(crate) events: Vec<u64>,
    /// Of remote write: which series, and the newest time in it, in milliseconds since 1970.
    pub(crate) points: Vec<(u64, i64)>,
    /// Items without a number.
    pub(crate) others: usize,
}

impl Items {
    /// How many items there are. Events are part of their spans.
    pub(crate) fn len(&self) -> usize {
        self.numbers.len() + self.points.len() + self.others
    }
}

/// # Errors
/// What is wrong with the request.
pub(super) fn items(backend: Backend, headers: &HeaderMap, body: &Bytes) -> Result<Items, String> {
    let malformed = |error: prost::DecodeError| format!("{backend:?}: {error}");
    match backend {
        Backend::Loki => {
            let request = PushRequest::decode(snappy(body)?.as_slice()).map_err(malformed)?;
            let lines = request.streams.iter().flat_map(|stream| &stream.entries).map(|entry| number_in(&entry.line));
            Ok(numbered(lines))
        }
        Backend::Tempo => {
            let plain = if headers.get(CONTENT_ENCODING).is_some_and(|encoding| encoding == "gzip") {
                gunzip(body)?.into()
            } else {
                body.clone()
            };
            let request = ExportTraceServiceRequest::decode(plain).map_err(malformed)?;
            let scopes = request.resource_spans.iter().flat_map(|resource| &resource.scope_spans);
            let spans: Vec<_> = scopes.flat_map(|scope| &scope.spans).collect();
            let mut items = numbered(spans.iter().map(|span| number_of(&span.attributes, OF_A_SPAN)));
            let events = spans.iter().flat_map(|span| &span.events);
            items.events = events.filter_map(|event| number_of(&event.attributes, OF_AN_EVENT)).collect();
            Ok(items)
        }
        Backend::Mimir => {
            let request = WriteRequest::decode(snappy(body)?.as_slice()).map_err(malformed)?;
            Ok(Items { points: request.timeseries.iter().map(point).collect(), ..Items::default() })
        }
    }
}

fn numbered(numbers: impl Iterator<Item = Option<u64>>) -> Items {
    let mut items = Items::default();
    for number in numbers {
        match number {
            Some(number) => items.numbers.push(number),
            None => items.others += 1,
        }
    }
    items
}

fn number_in(line: &str) -> Option<u64> {
    let (_, rest) = line.split_once(IN_A_LINE)?;
    let end = rest.find(|character: char| !character.is_ascii_digit()).unwrap_or(rest.len());
    rest[..end].parse().ok()
}

fn number_of(attributes: &[KeyValue], name: &str) -> Option<u64> {
    let value = attributes.iter().find(|attribute| attribute.key == name)?.value.as_ref()?.value.as_ref()?;
    match value {
        Value::IntValue(number) => u64::try_from(*number).ok(),
        // How tracing-opentelemetry writes an unsigned number.
        Value::StringValue(text) => text.parse().ok(),
        _ => None,
    }
}

fn point(series: &TimeSeries) -> (u64, i64) {
    let mut hasher = DefaultHasher::new();
    for label in &series.labels {
        (&label.name, &label.value).hash(&mut hasher);
    }
    let samples = series.samples.iter().map(|sample| sample.timestamp);
    let newest = samples.chain(series.histograms.iter().map(|histogram| histogram.timestamp)).max();
    (hasher.finish(), newest.unwrap_or_default())
}

fn snappy(body: &Bytes) -> Result<Vec<u8>, String> {
    let length = snap::raw::decompress_len(body).map_err(|error| error.to_string())?;
    if length > LIMIT {
        return Err(format!("{length} bytes decompressed; {LIMIT} are accepted"));
    }
    snap::raw::Decoder::new().decompress_vec(body).map_err(|error| error.to_string())
}

fn gunzip(body: &Bytes) -> Result<Vec<u8>, String> {
    let mut plain = Vec::new();
    let read = flate2::read::GzDecoder::new(body.as_ref()).take(LIMIT as u64).read_to_end(&mut plain);
    read.map(|_| plain).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_has_its_number_as_a_number_or_as_text() {
        use opentelemetry_proto::tonic::common::v1::AnyValue;
        let attribute = |value| KeyValue {
            key: OF_A_SPAN.to_owned(),
            value: Some(AnyValue { value: Some(value) }),
            ..KeyValue::default()
        };
        for value in [Value::IntValue(17), Value::StringValue("17".to_owned())] {
            assert_eq!(number_of(&[attribute(value)], OF_A_SPAN), Some(17));
        }
        assert_eq!(number_of(&[attribute(Value::IntValue(-1))], OF_A_SPAN), None);
        assert_eq!(number_of(&[attribute(Value::IntValue(17))], OF_AN_EVENT), None);
    }

    #[test]
    fn a_line_has_its_own_number_and_not_that_of_its_span() {
        assert_eq!(number_in(r#"{"message":"x","seq":17,"span_seq":4}"#), Some(17));
        assert_eq!(number_in(r#"{"span_seq":4,"message":"x","seq":17}"#), Some(17));
        assert_eq!(number_in(r#"{"message":"worker started"}"#), None);
    }
}
