//! Encode: remote write 2, made of the items of remote write 1: a table of all texts, and series that point into it. Worker
//! thread. Source: Prometheus Remote-Write 2.0 and `io/prometheus/write/v2/types.proto`.

use std::collections::HashMap;

use http::{HeaderMap, HeaderName, HeaderValue};
use lgtm_core::pipeline::Batch;
use lgtm_core::protobuf::{
    Field, Fields, fixed64_tag, length_tag, put_bytes, put_fixed64, put_integer, put_varint, varint_tag,
};

const SYMBOLS: u8 = length_tag(4);
const TIMESERIES: u8 = length_tag(5);
const LABEL_REFS: u8 = length_tag(1);
const SAMPLES: u8 = length_tag(2);
const HISTOGRAMS: u8 = length_tag(3);
const EXEMPLARS: u8 = length_tag(4);
const METADATA: u8 = length_tag(5);
const EXEMPLAR_VALUE: u8 = fixed64_tag(2);
const EXEMPLAR_TIMESTAMP: u8 = varint_tag(3);
const METADATA_TYPE: u8 = varint_tag(1);
const METADATA_HELP: u8 = varint_tag(3);
const METADATA_UNIT: u8 = varint_tag(4);

/// The headers that tell the two versions apart.
pub(crate) fn headers() -> Vec<(HeaderName, HeaderValue)> {
    vec![
        (
            http::header::CONTENT_TYPE,
            HeaderValue::from_static("application/x-protobuf;proto=io.prometheus.write.v2.Request"),
        ),
        (HeaderName::from_static("x-prometheus-remote-write-version"), HeaderValue::from_static("2.0.0")),
    ]
}

/// How many points a request has, and how many of them a receiver says it has stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Points {
    pub(crate) samples: u64,
    pub(crate) histograms: u64,
    pub(crate) exemplars: u64,
}

impl Points {
    /// What the receiver says it has written; `None` if it says nothing of it: then it does not know this version.
    pub(crate) fn written(headers: &HeaderMap) -> Option<Self> {
        let number = |name: &str| -> Option<u64> { headers.get(name)?.to_str().ok()?.trim().parse().ok() };
        let samples = number("x-prometheus-remote-write-samples-written");
        let histograms = number("x-prometheus-remote-write-histograms-written");
        let exemplars = number("x-prometheus-remote-write-exemplars-written");
        samples.or(histograms).or(exemplars)?;
        let all = |number: Option<u64>| number.unwrap_or(0);
        Some(Self { samples: all(samples), histograms: all(histograms), exemplars: all(exemplars) })
    }

    /// How many of these were not written. Exemplars are an extra: a receiver may be set to keep none.
    pub(crate) fn lost(self, written: Self) -> u64 {
        self.samples.saturating_sub(written.samples) + self.histograms.saturating_sub(written.histograms)
    }
}

/// All texts of a request, each once.
#[derive(Default)]
struct Symbols<'a> {
    numbers: HashMap<&'a [u8], u64>,
    texts: Vec<&'a [u8]>,
}

impl<'a> Symbols<'a> {
    fn number(&mut self, text: &'a [u8]) -> u64 {
        if self.texts.is_empty() {
            // The first one is always empty: a reference of zero means nothing.
            self.texts.push(b"");
            self.numbers.insert(b"", 0);
        }
        *self.numbers.entry(text).or_insert_with(|| {
            self.texts.push(text);
            self.texts.len() as u64 - 1
        })
    }
}

/// Appends the request that these items make.
pub(crate) fn put_request(batch: &Batch, request: &mut Vec<u8>) -> Points {
    let mut symbols = Symbols::default();
    symbols.number(b"");
    let mut series = Vec::new();
    let mut points = Points::default();
    for item in batch.iter() {
        let mut metadata = None;
        let mut one = None;
        for field in Fields(item.payload) {
            match field {
                Field::Bytes(1, content) => one = Some(content),
                Field::Bytes(3, content) => metadata = Some(content),
                _ => {}
            }
        }
        if let Some(content) = one {
            let message = put_series(content, metadata, &mut symbols, &mut points);
            put_bytes(&mut series, TIMESERIES, &message);
        }
    }
    for text in &symbols.texts {
        put_bytes(request, SYMBOLS, text);
    }
    request.extend_from_slice(&series);
    points
}

fn put_series<'a>(
    content: &'a [u8],
    metadata: Option<&'a [u8]>,
    symbols: &mut Symbols<'a>,
    points: &mut Points,
) -> Vec<u8> {
    let mut references = Vec::new();
    let mut rest = Vec::new();
    for field in Fields(content) {
        match field {
            Field::Bytes(1, label) => put_label(label, symbols, &mut references),
            Field::Bytes(2, sample) => {
                points.samples += 1;
                put_bytes(&mut rest, SAMPLES, sample);
            }
            Field::Bytes(3, exemplar) => {
                points.exemplars += 1;
                let message = exemplar_message(exemplar, symbols);
                put_bytes(&mut rest, EXEMPLARS, &message);
            }
            // The message is the same in both versions.
            Field::Bytes(4, histogram) => {
                points.histograms += 1;
                put_bytes(&mut rest, HISTOGRAMS, histogram);
            }
            _ => {}
        }
    }
    let mut message = Vec::with_capacity(references.len() + rest.len() + 16);
    put_bytes(&mut message, LABEL_REFS, &references);
    message.extend_from_slice(&rest);
    if let Some(metadata) = metadata {
        let metadata = metadata_message(metadata, symbols);
        put_bytes(&mut message, METADATA, &metadata);
    }
    message
}

/// Name and value, as two numbers.
fn put_label<'a>(label: &'a [u8], symbols: &mut Symbols<'a>, references: &mut Vec<u8>) {
    let (mut name, mut value) = (&[][..], &[][..]);
    for field in Fields(label) {
        match field {
            Field::Bytes(1, text) => name = text,
            Field::Bytes(2, text) => value = text,
            _ => {}
        }
    }
    put_varint(references, symbols.number(name));
    put_varint(references, symbols.number(value));
}

fn exemplar_message<'a>(exemplar: &'a [u8], symbols: &mut Symbols<'a>) -> Vec<u8> {
    let mut references = Vec::new();
    let mut rest = Vec::new();
    for field in Fields(exemplar) {
        match field {
            Field::Bytes(1, label) => put_label(label, symbols, &mut references),
            Field::Fixed64(2, value) => put_fixed64(&mut rest, EXEMPLAR_VALUE, value),
            Field::Varint(3, timestamp) => put_integer(&mut rest, EXEMPLAR_TIMESTAMP, timestamp),
            _ => {}
        }
    }
    let mut message = Vec::with_capacity(references.len() + rest.len() + 4);
    put_bytes(&mut message, LABEL_REFS, &references);
    message.extend_from_slice(&rest);
    message
}

fn metadata_message<'a>(metadata: &'a [u8], symbols: &mut Symbols<'a>) -> Vec<u8> {
    let mut message = Vec::with_capacity(12);
    for field in Fields(metadata) {
        match field {
            Field::Varint(1, kind) => put_integer(&mut message, METADATA_TYPE, kind),
            Field::Bytes(4, help) => put_integer(&mut message, METADATA_HELP, symbols.number(help)),
            Field::Bytes(5, unit) => put_integer(&mut message, METADATA_UNIT, symbols.number(unit)),
            _ => {}
        }
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_from_the_headers_and_silence_is_no_zero() {
        let mut headers = HeaderMap::new();
        assert_eq!(Points::written(&headers), None);
        headers.insert("x-prometheus-remote-write-samples-written", HeaderValue::from_static("7"));
        let written = Points::written(&headers).unwrap();
        assert_eq!(written, Points { samples: 7, ..Points::default() });
        let sent = Points { samples: 9, histograms: 2, exemplars: 5 };
        assert_eq!(sent.lost(written), 4);
        assert_eq!(sent.lost(sent), 0);
    }
}
