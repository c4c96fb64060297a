//! OTLP's JSON: read by the tables of its fields and written again as protobuf, which the message types decode. Runs where the
//! [request is handled](super::otlp::read).
//!
//! Source: OpenTelemetry Protocol Specification, "JSON Protobuf Encoding", and "ProtoJSON Format" of Protocol Buffers. What SDKs of other
//! languages rely on: integers as text and as numbers, ids in hexadecimal of either case, values of enumerations also by name, `null` as what is
//! left out, unknown fields anywhere. (The crate of the message types reads JSON too, but fails at `null`, at unknown kinds of values, and where
//! objects of some types leave out a field.)

use std::fmt;

use base64::Engine as _;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use opentelemetry_proto::tonic::collector::{logs, metrics, trace};
use opentelemetry_proto::tonic::logs::v1::SeverityNumber;
use opentelemetry_proto::tonic::metrics::v1::AggregationTemporality;
use opentelemetry_proto::tonic::trace::v1::{span::SpanKind, status::StatusCode};
use prost::encoding::{WireType, encode_key, encode_varint};
use prost::{Message, encoding};
use serde_json::{Map, Value};

/// A request that has a form in JSON.
pub(crate) trait FromJson: Message + Default {
    /// The fields of its outermost object.
    const FIELDS: &'static Fields;
}

impl FromJson for trace::v1::ExportTraceServiceRequest {
    const FIELDS: &'static Fields = &TRACES;
}

impl FromJson for logs::v1::ExportLogsServiceRequest {
    const FIELDS: &'static Fields = &LOGS;
}

impl FromJson for metrics::v1::ExportMetricsServiceRequest {
    const FIELDS: &'static Fields = &METRICS;
}

/// Reads a request; the error names the field, its value and what is accepted.
pub(crate) fn decode<T: FromJson>(body: &[u8]) -> Result<T, String> {
    match serde_json::from_slice(body).map_err(|error| error.to_string())? {
        Value::Object(object) => read(&object),
        other => Err(format!("{other} is not a request: accepted is an object")),
    }
}

/// Reads a request that was parsed.
pub(crate) fn read<T: FromJson>(object: &Map<String, Value>) -> Result<T, String> {
    let mut message = Vec::new();
    encode_fields(T::FIELDS, object, &mut message).map_err(|problem| problem.to_string())?;
    T::decode(message.as_slice()).map_err(|error| error.to_string())
}

/// A field's name in JSON, its number, what it holds.
pub(crate) struct Field(&'static str, u32, Kind);

/// The fields of one message.
pub(crate) type Fields = [Field];

enum Kind {
    Text,
    Hexadecimal,
    Base64,
    Bool,
    Double,
    Sint32,
    Uint32,
    Fixed32,
    Int64,
    Sfixed64,
    Uint64,
    Fixed64,
    /// A number, or the name that the function knows.
    Enumeration(fn(&str) -> Option<i32>),
    Message(&'static Fields),
    /// A list of pairs, which may hold such lists themselves.
    Attributes,
    List(&'static Kind),
}

use Kind::{Attributes, Base64, Bool, Double, Enumeration, Fixed32, Fixed64, Hexadecimal, Int64, List};
use Kind::{Message as Object, Sfixed64, Sint32, Text, Uint32, Uint64};

static ANY_VALUE: [Field; 7] = [
    Field("stringValue", 1, Text),
    Field("boolValue", 2, Bool),
    Field("intValue", 3, Int64),
    Field("doubleValue", 4, Double),
    Field("arrayValue", 5, Object(&ARRAY)),
    Field("kvlistValue", 6, Object(&KEY_VALUE_LIST)),
    Field("bytesValue", 7, Base64),
];
static ARRAY: [Field; 1] = [Field("values", 1, List(&Object(&ANY_VALUE)))];
static KEY_VALUE_LIST: [Field; 1] = [Field("values", 1, Attributes)];
static KEY_VALUE: [Field; 2] = [Field("key", 1, Text), Field("value", 2, Object(&ANY_VALUE))];
static SCOPE: [Field; 4] = [
    Field("name", 1, Text),
    Field("version", 2, Text),
    Field("attributes", 3, Attributes),
    Field("droppedAttributesCount", 4, Uint32),
];
static ENTITY: [Field; 4] = [
    Field("schemaUrl", 1, Text),
    Field("type", 2, Text),
    Field("idKeys", 3, List(&Text)),
    Field("descriptionKeys", 4, List(&Text)),
];
static RESOURCE: [Field; 3] = [
    Field("attributes", 1, Attributes),
    Field("droppedAttributesCount", 2, Uint32),
    Field("entityRefs", 3, List(&Object(&ENTITY))),
];

static TRACES: [Field; 1] = [Field("resourceSpans", 1, List(&Object(&RESOURCE_SPANS)))];
static RESOURCE_SPANS: [Field; 3] = [
    Field("resource", 1, Object(&RESOURCE)),
    Field("scopeSpans", 2, List(&Object(&SCOPE_SPANS))),
    Field("schemaUrl", 3, Text),
];
static SCOPE_SPANS: [Field; 3] =
    [Field("scope", 1, Object(&SCOPE)), Field("spans", 2, List(&Object(&SPAN))), Field("schemaUrl", 3, Text)];
static SPAN: [Field; 16] = [
    Field("traceId", 1, Hexadecimal),
    Field("spanId", 2, Hexadecimal),
    Field("traceState", 3, Text),
    Field("parentSpanId", 4, Hexadecimal),
    Field("name", 5, Text),
    Field("kind", 6, Enumeration(|name| SpanKind::from_str_name(name).map(i32::from))),
    Field("startTimeUnixNano", 7, Fixed64),
    Field("endTimeUnixNano", 8, Fixed64),
    Field("attributes", 9, Attributes),
    Field("droppedAttributesCount", 10, Uint32),
    Field("events", 11, List(&Object(&EVENT))),
    Field("droppedEventsCount", 12, Uint32),
    Field("links", 13, List(&Object(&LINK))),
    Field("droppedLinksCount", 14, Uint32),
    Field("status", 15, Object(&STATUS)),
    Field("flags", 16, Fixed32),
];
static EVENT: [Field; 4] = [
    Field("timeUnixNano", 1, Fixed64),
    Field("name", 2, Text),
    Field("attributes", 3, Attributes),
    Field("droppedAttributesCount", 4, Uint32),
];
static LINK: [Field; 6] = [
    Field("traceId", 1, Hexadecimal),
    Field("spanId", 2, Hexadecimal),
    Field("traceState", 3, Text),
    Field("attributes", 4, Attributes),
    Field("droppedAttributesCount", 5, Uint32),
    Field("flags", 6, Fixed32),
];
static STATUS: [Field; 2] =
    [Field("message", 2, Text), Field("code", 3, Enumeration(|name| StatusCode::from_str_name(name).map(i32::from)))];

static LOGS: [Field; 1] = [Field("resourceLogs", 1, List(&Object(&RESOURCE_LOGS)))];
static RESOURCE_LOGS: [Field; 3] = [
    Field("resource", 1, Object(&RESOURCE)),
    Field("scopeLogs", 2, List(&Object(&SCOPE_LOGS))),
    Field("schemaUrl", 3, Text),
];
static SCOPE_LOGS: [Field; 3] = [
    Field("scope", 1, Object(&SCOPE)),
    Field("logRecords", 2, List(&Object(&LOG_RECORD))),
    Field("schemaUrl", 3, Text),
];
static LOG_RECORD: [Field; 11] = [
    Field("timeUnixNano", 1, Fixed64),
    Field("observedTimeUnixNano", 11, Fixed64),
    Field("severityNumber", 2, Enumeration(|name| SeverityNumber::from_str_name(name).map(i32::from))),
    Field("severityText", 3, Text),
    Field("body", 5, Object(&ANY_VALUE)),
    Field("attributes", 6, Attributes),
    Field("droppedAttributesCount", 7, Uint32),
    Field("flags", 8, Fixed32),
    Field("traceId", 9, Hexadecimal),
    Field("spanId", 10, Hexadecimal),
    Field("eventName", 12, Text),
];

static METRICS: [Field; 1] = [Field("resourceMetrics", 1, List(&Object(&RESOURCE_METRICS)))];
static RESOURCE_METRICS: [Field; 3] = [
    Field("resource", 1, Object(&RESOURCE)),
    Field("scopeMetrics", 2, List(&Object(&SCOPE_METRICS))),
    Field("schemaUrl", 3, Text),
];
static SCOPE_METRICS: [Field; 3] =
    [Field("scope", 1, Object(&SCOPE)), Field("metrics", 2, List(&Object(&METRIC))), Field("schemaUrl", 3, Text)];
static METRIC: [Field; 9] = [
    Field("name", 1, Text),
    Field("description", 2, Text),
    Field("unit", 3, Text),
    Field("gauge", 5, Object(&GAUGE)),
    Field("sum", 7, Object(&SUM)),
    Field("histogram", 9, Object(&HISTOGRAM)),
    Field("exponentialHistogram", 10, Object(&EXPONENTIAL_HISTOGRAM)),
    Field("summary", 11, Object(&SUMMARY)),
    Field("metadata", 12, Attributes),
];
const TEMPORALITY: Kind = Enumeration(|name| AggregationTemporality::from_str_name(name).map(i32::from));
static GAUGE: [Field; 1] = [Field("dataPoints", 1, List(&Object(&NUMBER_POINT)))];
static SUM: [Field; 3] = [
    Field("dataPoints", 1, List(&Object(&NUMBER_POINT))),
    Field("aggregationTemporality", 2, TEMPORALITY),
    Field("isMonotonic", 3, Bool),
];
static HISTOGRAM: [Field; 2] =
    [Field("dataPoints", 1, List(&Object(&HISTOGRAM_POINT))), Field("aggregationTemporality", 2, TEMPORALITY)];
static EXPONENTIAL_HISTOGRAM: [Field; 2] =
    [Field("dataPoints", 1, List(&Object(&EXPONENTIAL_POINT))), Field("aggregationTemporality", 2, TEMPORALITY)];
static SUMMARY: [Field; 1] = [Field("dataPoints", 1, List(&Object(&SUMMARY_POINT)))];
const EXEMPLARS: Kind = List(&Object(&EXEMPLAR));
static NUMBER_POINT: [Field; 7] = [
    Field("attributes", 7, Attributes),
    Field("startTimeUnixNano", 2, Fixed64),
    Field("timeUnixNano", 3, Fixed64),
    Field("asDouble", 4, Double),
    Field("asInt", 6, Sfixed64),
    Field("exemplars", 5, EXEMPLARS),
    Field("flags", 8, Uint32),
];
static HISTOGRAM_POINT: [Field; 11] = [
    Field("attributes", 9, Attributes),
    Field("startTimeUnixNano", 2, Fixed64),
    Field("timeUnixNano", 3, Fixed64),
    Field("count", 4, Fixed64),
    Field("sum", 5, Double),
    Field("bucketCounts", 6, List(&Fixed64)),
    Field("explicitBounds", 7, List(&Double)),
    Field("exemplars", 8, EXEMPLARS),
    Field("flags", 10, Uint32),
    Field("min", 11, Double),
    Field("max", 12, Double),
];
static EXPONENTIAL_POINT: [Field; 14] = [
    Field("attributes", 1, Attributes),
    Field("startTimeUnixNano", 2, Fixed64),
    Field("timeUnixNano", 3, Fixed64),
    Field("count", 4, Fixed64),
    Field("sum", 5, Double),
    Field("scale", 6, Sint32),
    Field("zeroCount", 7, Fixed64),
    Field("positive", 8, Object(&BUCKETS)),
    Field("negative", 9, Object(&BUCKETS)),
    Field("flags", 10, Uint32),
    Field("exemplars", 11, EXEMPLARS),
    Field("min", 12, Double),
    Field("max", 13, Double),
    Field("zeroThreshold", 14, Double),
];
static BUCKETS: [Field; 2] = [Field("offset", 1, Sint32), Field("bucketCounts", 2, List(&Uint64))];
static SUMMARY_POINT: [Field; 7] = [
    Field("attributes", 7, Attributes),
    Field("startTimeUnixNano", 2, Fixed64),
    Field("timeUnixNano", 3, Fixed64),
    Field("count", 4, Fixed64),
    Field("sum", 5, Double),
    Field("quantileValues", 6, List(&Object(&QUANTILE))),
    Field("flags", 8, Uint32),
];
static QUANTILE: [Field; 2] = [Field("quantile", 1, Double), Field("value", 2, Double)];
static EXEMPLAR: [Field; 6] = [
    Field("filteredAttributes", 7, Attributes),
    Field("timeUnixNano", 2, Fixed64),
    Field("asDouble", 3, Double),
    Field("asInt", 6, Sfixed64),
    Field("spanId", 4, Hexadecimal),
    Field("traceId", 5, Hexadecimal),
];

/// A value that does not fit its field: the field's path from the inside out, and what is wrong.
struct Problem {
    path: Vec<String>,
    text: String,
}

impl Problem {
    fn new(value: &Value, accepted: &str) -> Self {
        let mut value = value.to_string();
        value.truncate(value.floor_char_boundary(100));
        Self { path: Vec::new(), text: format!("{value} is not accepted; accepted is {accepted}") }
    }

    fn at(mut self, step: impl Into<String>) -> Self {
        self.path.push(step.into());
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, step) in self.path.iter().rev().enumerate() {
            if number > 0 && !step.starts_with('[') {
                f.write_str(".")?;
            }
            f.write_str(step)?;
        }
        write!(f, ": {}", self.text)
    }
}

fn encode_fields(fields: &Fields, object: &Map<String, Value>, out: &mut Vec<u8>) -> Result<(), Problem> {
    for Field(name, number, kind) in fields {
        match object.get(*name) {
            None | Some(Value::Null) => {}
            Some(value) => encode(kind, *number, value, out).map_err(|problem| problem.at(*name))?,
        }
    }
    Ok(())
}

/// Writes a field, also one that is its default: of some it matters that they are there.
fn encode(kind: &Kind, number: u32, value: &Value, out: &mut Vec<u8>) -> Result<(), Problem> {
    match kind {
        List(kind) => {
            let items = value.as_array().ok_or_else(|| Problem::new(value, "an array"))?;
            for (at, item) in items.iter().enumerate() {
                encode(kind, number, item, out).map_err(|problem| problem.at(format!("[{at}]")))?;
            }
        }
        Attributes => {
            static PAIR: Kind = Object(&KEY_VALUE);
            encode(&List(&PAIR), number, value, out)?;
        }
        Object(fields) => {
            let object = value.as_object().ok_or_else(|| Problem::new(value, "an object"))?;
            let mut message = Vec::new();
            encode_fields(fields, object, &mut message)?;
            encode_key(number, WireType::LengthDelimited, out);
            encode_varint(message.len() as u64, out);
            out.extend(message);
        }
        Text => {
            let text = value.as_str().ok_or_else(|| Problem::new(value, "text"))?;
            encoding::string::encode(number, &text.to_owned(), out);
        }
        Hexadecimal => {
            let bytes = value.as_str().and_then(|text| const_hex::decode(text).ok());
            let bytes = bytes.ok_or_else(|| Problem::new(value, "bytes in hexadecimal"))?;
            encoding::bytes::encode(number, &bytes, out);
        }
        Base64 => {
            let bytes = value.as_str().and_then(from_base64);
            let bytes = bytes.ok_or_else(|| Problem::new(value, "bytes in base64"))?;
            encoding::bytes::encode(number, &bytes, out);
        }
        Bool => {
            let truth = value.as_bool().ok_or_else(|| Problem::new(value, "true or false"))?;
            encoding::bool::encode(number, &truth, out);
        }
        Double => encoding::double::encode(number, &double(value)?, out),
        Enumeration(by_name) => {
            let named = value.as_str().and_then(by_name);
            let integer = named.map_or_else(|| integer(value), Ok)?;
            encoding::int32::encode(number, &integer, out);
        }
        Sint32 => encoding::sint32::encode(number, &integer(value)?, out),
        Uint32 => encoding::uint32::encode(number, &integer(value)?, out),
        Fixed32 => encoding::fixed32::encode(number, &integer(value)?, out),
        Int64 => encoding::int64::encode(number, &integer(value)?, out),
        Sfixed64 => encoding::sfixed64::encode(number, &integer(value)?, out),
        Uint64 => encoding::uint64::encode(number, &integer(value)?, out),
        Fixed64 => encoding::fixed64::encode(number, &integer(value)?, out),
    }
    Ok(())
}

/// Standard and URL-safe alphabet, with and without padding, as ProtoJSON asks of readers.
fn from_base64(text: &str) -> Option<Vec<u8>> {
    const CONFIG: GeneralPurposeConfig =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let alphabet = if text.contains(['-', '_']) { &base64::alphabet::URL_SAFE } else { &base64::alphabet::STANDARD };
    GeneralPurpose::new(alphabet, CONFIG).decode(text).ok()
}

fn double(value: &Value) -> Result<f64, Problem> {
    let number = match value {
        Value::Number(number) => number.as_f64(),
        // Also "NaN", "Infinity" and "-Infinity".
        Value::String(text) => text.parse().ok(),
        _ => None,
    };
    number.ok_or_else(|| Problem::new(value, "a number, \"NaN\", \"Infinity\" or \"-Infinity\""))
}

/// An integer as number or text; also `5.0` and `"5e2"`, which some writers make of it.
fn integer<T: TryFrom<i128>>(value: &Value) -> Result<T, Problem> {
    let whole = |number: f64| (number.fract() == 0.0 && number.abs() < 2_f64.powi(64)).then_some(number as i128);
    let number = match value {
        Value::Number(number) => number.as_i128().or_else(|| number.as_f64().and_then(whole)),
        Value::String(text) => text.parse().ok().or_else(|| text.parse().ok().and_then(whole)),
        _ => None,
    };
    number.and_then(|number| T::try_from(number).ok()).ok_or_else(|| {
        let bits = size_of::<T>() * 8;
        Problem::new(value, &format!("an integer of {bits} bits, as number or text"))
    })
}
