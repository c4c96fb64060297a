//! Encode: Loki's push request, protobuf in a snappy block; and what Loki's answers mean. Worker thread.
//! Source: Loki, "HTTP API", `POST /loki/api/v1/push`, and `pkg/push/push.proto`.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use lgtm_core::pipeline::{Batch, Item, Queue, Reply, Signal, Verdict, excerpt};
use lgtm_core::protobuf::{
    count, field_length, halve, length_tag, put_bytes, put_integer, put_varint, varint_length, varint_tag,
};
use lgtm_core::{ErrorType, SignalKind};

use crate::labels::Streams;
use crate::summaries::Summaries;

pub(crate) const PATH: &str = "/loki/api/v1/push";

const STREAMS: u8 = length_tag(1);
const LABELS: u8 = length_tag(1);
const ENTRIES: u8 = length_tag(2);
const TIMESTAMP: u8 = length_tag(1);
const SECONDS: u8 = varint_tag(1);
const NANOS: u8 = varint_tag(2);

/// Where the entries of a request are.
const ENTRY_PATH: &[u32] = &[1, 2];

/// Timestamps move forward by no more than this to keep a stream's order: what lies further back was meant so.
const REORDER_WINDOW: u64 = 1_000_000_000;

/// The protocol's headers.
pub(crate) fn headers() -> Vec<(HeaderName, HeaderValue)> {
    vec![(http::header::CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"))]
}

/// Encodes batches for one Loki.
pub(crate) struct Push {
    streams: Arc<Streams>,
    summaries: Option<Summaries>,
    /// The last timestamps of each stream.
    last: Vec<Last>,
    request: Vec<u8>,
    stream: Vec<u8>,
    snappy: snap::raw::Encoder,
}

impl Push {
    pub(crate) fn new(streams: Arc<Streams>, summaries: Option<Summaries>) -> Self {
        Self {
            streams,
            summaries,
            last: Vec::new(),
            request: Vec::new(),
            stream: Vec::new(),
            snappy: snap::raw::Encoder::new(),
        }
    }

    /// The timestamp that an entry gets: later than all before it in its stream.
    fn after_last(&mut self, stream: u32, timestamp: u64) -> u64 {
        let stream = stream as usize;
        if self.last.len() <= stream {
            self.last.resize(stream + 1, Last::default());
        }
        self.last.get_mut(stream).map_or(timestamp, |last| last.next(timestamp))
    }

    fn compress(&mut self, request: &[u8], body: &mut Vec<u8>) {
        let start = body.len();
        body.resize(start + snap::raw::max_compress_len(request.len()), 0);
        let written = body.get_mut(start..).map_or(0, |room| self.snappy.compress(request, room).unwrap_or(0));
        body.truncate(start + written);
    }

    fn request(&mut self, batch: &Batch) {
        let mut items: Vec<Item<'_>> = batch.iter().collect();
        // Threads write to shards of their own: each is in order, all together are not. The sort is stable.
        items.sort_by_key(|item| (item.stream, item.timestamp));
        self.request.clear();
        for group in items.chunk_by(|one, other| one.stream == other.stream) {
            let Some(stream) = group.first().map(|item| item.stream) else { continue };
            self.stream.clear();
            let stream_bytes = &mut self.stream;
            self.streams.with_labels(stream, |labels| put_bytes(stream_bytes, LABELS, labels.as_bytes()));
            for item in group {
                let timestamp = self.after_last(stream, item.timestamp);
                let (seconds, nanos) = (timestamp / 1_000_000_000, timestamp % 1_000_000_000);
                let time_length = 2 + varint_length(seconds) + varint_length(nanos);
                self.stream.push(ENTRIES);
                put_varint(&mut self.stream, (field_length(time_length) + item.payload.len()) as u64);
                self.stream.push(TIMESTAMP);
                put_varint(&mut self.stream, time_length as u64);
                put_integer(&mut self.stream, SECONDS, seconds);
                put_integer(&mut self.stream, NANOS, nanos);
                self.stream.extend_from_slice(item.payload);
            }
            put_bytes(&mut self.request, STREAMS, &self.stream);
        }
    }
}

/// The last timestamps of one stream.
#[derive(Clone, Copy, Default)]
struct Last {
    newest: u64,
    /// Of those that lie further back than the window.
    late: u64,
}

impl Last {
    /// The timestamp that an entry gets, later than all before it that lie within the window.
    fn next(&mut self, timestamp: u64) -> u64 {
        if timestamp > self.newest {
            self.newest = timestamp;
        } else if self.newest - timestamp < REORDER_WINDOW {
            self.newest += 1;
            return self.newest;
        } else if timestamp <= self.late && self.late - timestamp < REORDER_WINDOW {
            self.late += 1;
            return self.late;
        } else {
            self.late = timestamp;
        }
        timestamp
    }
}

impl Signal for Push {
    fn kind(&self) -> SignalKind {
        SignalKind::Logs
    }

    fn encode(&mut self, batch: &Batch, body: &mut Vec<u8>) {
        self.request(batch);
        let request = std::mem::take(&mut self.request);
        self.compress(&request, body);
        self.request = request;
    }

    fn halve(&mut self, body: &[u8]) -> Option<[(Vec<u8>, usize); 2]> {
        let request = snap::raw::Decoder::new().decompress_vec(body).ok()?;
        let (one, other) = halve(&request, ENTRY_PATH)?;
        Some([one, other].map(|half| {
            let mut body = Vec::new();
            self.compress(&half, &mut body);
            (body, count(&half, ENTRY_PATH))
        }))
    }

    fn collect_interval(&self) -> Option<Duration> {
        self.summaries.as_ref().map(|summaries| summaries.every)
    }

    fn collect(&mut self, queue: &Queue, _: bool) {
        if let Some(summaries) = &self.summaries {
            summaries.admit(queue);
        }
    }

    fn classify(&self, reply: &Reply) -> Verdict {
        let Reply::Http { status, retry_after, body, .. } = reply else {
            return Verdict::Rejected { error: ErrorType::Other, message: "not an HTTP answer".to_owned() };
        };
        reply.redirect().unwrap_or_else(|| classify(*status, *retry_after, body))
    }
}

/// What an answer means: wire tables of Loki 3.4.
fn classify(status: u16, retry_after: Option<Duration>, body: &[u8]) -> Verdict {
    let message = || format!("{status} {}", excerpt(body));
    let rejected = |error| Verdict::Rejected { error, message: message() };
    let retry = |error| Verdict::Retry { error, after: retry_after, message: message() };
    match status {
        // 260 is Loki's answer while a tenant's ingestion is blocked: nothing is stored.
        260 => rejected(ErrorType::Rejected),
        200..=299 => Verdict::delivered(),
        // Its good entries are stored: it must never be sent again.
        400 => match refused(body) {
            Some(rejected) => Verdict::Delivered { rejected, message: message() },
            None => rejected(ErrorType::Rejected),
        },
        401 | 403 | 407 => retry(ErrorType::Unauthorized),
        413 => Verdict::Split { message: message() },
        429 if is_over_the_rate(body) => Verdict::Split { message: message() },
        429 => retry(ErrorType::RateLimited),
        408 => retry(ErrorType::Timeout),
        500..=599 => retry(ErrorType::Server),
        402..=499 => rejected(ErrorType::Rejected),
        _ => rejected(ErrorType::Other),
    }
}

/// What Loki says of an entry: the others of its stream are stored.
const ENTRY_ERRORS: [&str; 4] = ["timestamp too old", "timestamp too new", "entry size", "structured metadata"];
/// What Loki says of a stream: none of its entries is stored, and it does not say how many they were.
const STREAM_ERRORS: [&str; 6] = [
    "label names; limit",
    "label name too long",
    "label value too long",
    "duplicate label name",
    "error parsing labels",
    "at least one label pair",
];

/// The number of entries that Loki refused of a request whose others it stored; `None` if it refused the request.
///
/// Its distributor counts each thing it found, `2 errors like: <what>; 1 errors like: <what>`, and says a single one without
/// a number. Its ingesters say `total ignored: 2 out of 5`, and then the distributor's are not told: the number is the least.
pub(crate) fn refused(body: &[u8]) -> Option<u64> {
    let text = String::from_utf8_lossy(body);
    if STREAM_ERRORS.iter().any(|error| text.contains(error)) {
        return None;
    }
    let ignored = text.split("total ignored: ").skip(1).filter_map(leading_number);
    let found = text.split("; ").filter(|error| error.contains(" errors like: ")).filter_map(leading_number);
    // A number may be as large as it likes.
    match ignored.chain(found).fold(0_u64, u64::saturating_add) {
        0 => ENTRY_ERRORS.iter().any(|error| text.contains(error)).then_some(1),
        refused => Some(refused),
    }
}

/// Whether Loki refuses several lines that are more than a second of the tenant's rate: the burst may be no larger, and then
/// they never fit. One such line is left to the burst.
///
/// It says `(limit: 4194304 bytes/sec) while attempting to ingest '1000' lines totaling '5000000' bytes`.
pub(crate) fn is_over_the_rate(body: &[u8]) -> bool {
    let text = String::from_utf8_lossy(body);
    let number = |before| text.split_once(before).and_then(|(_, rest)| leading_number(rest));
    let (limit, lines, bytes) = (number("(limit: "), number("to ingest '"), number("totaling '"));
    limit.zip(bytes).is_some_and(|(limit, bytes)| bytes > limit) && lines.is_some_and(|lines| lines > 1)
}

fn leading_number(text: &str) -> Option<u64> {
    text.split(|character: char| !character.is_ascii_digit()).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use lgtm_core::Identity;

    /// Loki's push messages, from the published field numbers.
    mod decoded {
        #[derive(Clone, PartialEq, prost::Message)]
        pub(super) struct PushRequest {
            #[prost(message, repeated, tag = "1")]
            pub(super) streams: Vec<Stream>,
        }
        #[derive(Clone, PartialEq, prost::Message)]
        pub(super) struct Stream {
            #[prost(string, tag = "1")]
            pub(super) labels: String,
            #[prost(message, repeated, tag = "2")]
            pub(super) entries: Vec<Entry>,
        }
        #[derive(Clone, PartialEq, prost::Message)]
        pub(super) struct Entry {
            #[prost(message, optional, tag = "1")]
            pub(super) timestamp: Option<Time>,
            #[prost(string, tag = "2")]
            pub(super) line: String,
        }
        #[derive(Clone, PartialEq, prost::Message)]
        pub(super) struct Time {
            #[prost(int64, tag = "1")]
            pub(super) seconds: i64,
            #[prost(int32, tag = "2")]
            pub(super) nanos: i32,
        }
    }

    fn push() -> Push {
        Push::new(Arc::new(Streams::new(&Identity::new("shop"), &[], &[]).unwrap()), None)
    }

    /// Encodes entries of (stream, time) and reads back (stream, times).
    fn times(push: &mut Push, entries: &[(u32, u64)]) -> Vec<(String, Vec<u64>)> {
        let payload = b"\x12\x02hi";
        let items: Vec<_> = entries
            .iter()
            .map(|(stream, timestamp)| Item { stream: *stream, timestamp: *timestamp, payload })
            .collect();
        let mut body = Vec::new();
        push.encode(&Batch::of(&items), &mut body);
        decode(&body)
    }

    /// The labels and times of each stream.
    fn decode(body: &[u8]) -> Vec<(String, Vec<u64>)> {
        use prost::Message as _;
        let request = snap::raw::Decoder::new().decompress_vec(body).unwrap();
        let request = decoded::PushRequest::decode(request.as_slice()).unwrap();
        let times = |stream: &decoded::Stream| {
            stream
                .entries
                .iter()
                .map(|entry| {
                    assert_eq!(entry.line, "hi");
                    let time = entry.timestamp.clone().unwrap();
                    time.seconds as u64 * 1_000_000_000 + time.nanos as u64
                })
                .collect()
        };
        request.streams.iter().map(|stream| (stream.labels.clone(), times(stream))).collect()
    }

    #[test]
    fn entries_are_grouped_by_stream_and_never_share_a_timestamp() {
        let mut push = push();
        let base = 1_800_000_000_000_000_000;
        let sent = times(&mut push, &[(2, base + 5), (4, base), (2, base), (2, base), (2, base + 5), (2, base + 1)]);
        assert_eq!(sent.len(), 2);
        assert_eq!(sent[0].1, [base, base + 1, base + 2, base + 5, base + 6]);
        assert!(sent[0].0.contains("level=\"info\""));
        assert_eq!(sent[1].1, [base]);
        // The next batch goes on behind the last one, but an entry from long ago stays where it was.
        assert_eq!(times(&mut push, &[(2, base + 3)])[0].1, [base + 7]);
        let late = base - 5_000_000_000;
        assert_eq!(times(&mut push, &[(2, late), (2, late)])[0].1, [late, late + 1]);
        assert_eq!(times(&mut push, &[(2, late)])[0].1, [late + 2]);
        assert_eq!(times(&mut push, &[(2, base + 8)])[0].1, [base + 8], "the newest are not concerned");
    }

    #[test]
    fn the_halves_of_a_request_that_was_too_large_have_the_entries_and_times_that_the_whole_had() {
        let mut push = push();
        let base = 1_800_000_000_000_000_000;
        let payload = b"\x12\x02hi";
        let items: Vec<_> = [(2, 0), (2, 0), (2, 500), (2, 900), (4, 100)]
            .map(|(stream, after)| Item { stream, timestamp: base + after, payload })
            .to_vec();
        let mut body = Vec::new();
        push.encode(&Batch::of(&items), &mut body);
        let whole = decode(&body);
        let mut parts = vec![body];
        // Until each entry stands alone.
        while let Some(place) = parts.iter().position(|part| push.halve(part).is_some()) {
            let halves = push.halve(&parts[place]).unwrap();
            let entries = |body: &[u8]| decode(body).iter().map(|(_, times)| times.len()).sum::<usize>();
            assert!(halves.iter().all(|(half, count)| entries(half) == *count && *count > 0));
            parts.splice(place..=place, halves.map(|(half, _)| half));
        }
        assert_eq!(parts.len(), 5);
        let alone: Vec<_> = parts.iter().flat_map(|part| decode(part)).collect();
        let flat = |streams: Vec<(String, Vec<u64>)>| -> Vec<(String, u64)> {
            streams
                .into_iter()
                .flat_map(|(labels, times)| times.into_iter().map(move |time| (labels.clone(), time)))
                .collect()
        };
        assert_eq!(flat(alone), flat(whole));
    }

    #[test]
    fn answers_are_classified_as_loki_means_them() {
        let of = |status, body: &str| classify(status, None, body.as_bytes());
        assert_eq!(of(204, ""), Verdict::delivered());
        for (status, expected) in [(260, ErrorType::Rejected), (400, ErrorType::Rejected), (422, ErrorType::Rejected)] {
            let verdict = of(status, "no");
            assert!(matches!(verdict, Verdict::Rejected { error, .. } if error == expected), "{status}: {verdict:?}");
        }
        for (status, expected) in [
            (401, ErrorType::Unauthorized),
            (403, ErrorType::Unauthorized),
            (407, ErrorType::Unauthorized),
            (429, ErrorType::RateLimited),
            (500, ErrorType::Server),
            (503, ErrorType::Server),
        ] {
            let verdict = classify(status, Some(Duration::from_secs(3)), b"");
            assert!(
                matches!(verdict, Verdict::Retry { error, after: Some(pause), .. } if error == expected && pause.as_secs() == 3),
                "{status}: {verdict:?}"
            );
        }
        assert!(matches!(of(413, "too large"), Verdict::Split { .. }));
    }

    /// Answers of Loki 3.4.6.
    #[test]
    fn entries_that_loki_refuses_are_counted_and_their_siblings_are_delivered() {
        let old = "entry for stream '{service_name=\"shop\"}' has timestamp too old: 2026-11-14T20:21:13Z, oldest acceptable \
            timestamp is: 2026-11-16T05:21:14Z";
        let long = "Max entry size '262144' bytes exceeded for stream '{service_name=\"shop\"}' while adding an entry with \
            length '263168' bytes";
        let behind = "entry with timestamp 2026-11-23 02:21:13.925242189 +0000 UTC ignored, reason: 'entry too far behind, \
            entry timestamp is: 2026-11-23T02:21:13Z, oldest acceptable timestamp is: 2026-11-23T04:21:13Z',\n\
            user 'fake', total ignored: 2 out of 3 for stream: {service_name=\"shop\"}";
        for (body, expected) in [
            (format!("{old}\n"), 1),
            (format!("2 errors like: {old}\n"), 2),
            (format!("1 errors like: {old}; 12 errors like: {long}\n"), 13),
            (behind.to_owned(), 2),
        ] {
            let verdict = classify(400, None, body.as_bytes());
            assert!(
                matches!(verdict, Verdict::Delivered { rejected, .. } if rejected == expected),
                "{body}: {verdict:?}"
            );
        }
    }

    #[test]
    fn a_stream_or_request_that_loki_refuses_is_rejected_whole() {
        for body in [
            "entry for stream '{a=\"v\", b=\"v\"}' has 17 label names; limit 15\n",
            "2 errors like: stream '{a=\"v\"}' has label value too long: 'x'",
            "snappy: corrupt input",
            "",
        ] {
            let verdict = classify(400, None, body.as_bytes());
            assert!(matches!(verdict, Verdict::Rejected { error: ErrorType::Rejected, .. }), "{body}: {verdict:?}");
        }
    }
}
