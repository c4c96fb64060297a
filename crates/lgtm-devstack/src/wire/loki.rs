//! Loki's push messages (package `logproto`).

/// The body of `POST /loki/api/v1/push`, in a snappy block.
#[derive(Clone, PartialEq, prost::Message)]
pub struct PushRequest {
    /// Streams, each with the entries of one label set.
    #[prost(message, repeated, tag = "1")]
    pub streams: Vec<StreamAdapter>,
}

/// One stream: a label set and its entries.
#[derive(Clone, PartialEq, prost::Message)]
pub struct StreamAdapter {
    /// The label set as text: `{name="value", …}`.
    #[prost(string, tag = "1")]
    pub labels: String,
    /// Entries in time order.
    #[prost(message, repeated, tag = "2")]
    pub entries: Vec<EntryAdapter>,
    /// A hash of the labels that Loki ignores on ingest.
    #[prost(uint64, tag = "3")]
    pub hash: u64,
}

/// One log entry.
#[derive(Clone, PartialEq, prost::Message)]
pub struct EntryAdapter {
    /// Time of the entry.
    #[prost(message, optional, tag = "1")]
    pub timestamp: Option<Timestamp>,
    /// The text.
    #[prost(string, tag = "2")]
    pub line: String,
    /// Structured metadata: text pairs beside the line.
    #[prost(message, repeated, tag = "3")]
    pub structured_metadata: Vec<LabelPairAdapter>,
    /// What Loki parsed of the line; only Loki's own components send it.
    #[prost(message, repeated, tag = "4")]
    pub parsed: Vec<LabelPairAdapter>,
}

/// One pair of structured metadata.
#[derive(Clone, PartialEq, prost::Message)]
pub struct LabelPairAdapter {
    /// Key.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Value.
    #[prost(string, tag = "2")]
    pub value: String,
}

/// `google.protobuf.Timestamp`.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Timestamp {
    /// Seconds since 1970.
    #[prost(int64, tag = "1")]
    pub seconds: i64,
    /// Nanoseconds within the second, 0 to 999,999,999.
    #[prost(int32, tag = "2")]
    pub nanos: i32,
}
