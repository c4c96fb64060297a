//! Gather: chunks of items as the callers wrote them, and the batches made of whole chunks. Worker thread.

use std::collections::VecDeque;
use std::ops::Range;

/// Bytes before each item: length, stream, timestamp.
pub(super) const HEADER: usize = 16;

/// How large a batch may become, and how old.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct BatchLimits {
    /// Bytes at which a batch is sent. Default: 1 MiB.
    pub bytes: usize,
    /// Items at which a batch is sent. Default: 8,192.
    pub items: usize,
    /// The longest that an item waits for its batch. Default: 1 s.
    pub age: std::time::Duration,
}

impl Default for BatchLimits {
    fn default() -> Self {
        Self { bytes: 1024 * 1024, items: 8192, age: std::time::Duration::from_secs(1) }
    }
}

/// Items one after the other, each behind its header.
pub(super) struct Chunk {
    buffer: Vec<u8>,
    items: usize,
}

impl Chunk {
    pub(super) fn new(buffer: Vec<u8>, items: usize) -> Self {
        Self { buffer, items }
    }

    pub(super) fn write_header(header: &mut [u8], length: u32, stream: u32, timestamp: u64) {
        if let Some((length_bytes, rest)) = header.split_at_mut_checked(4)
            && let Some((stream_bytes, time_bytes)) = rest.split_at_mut_checked(4)
            && time_bytes.len() == 8
        {
            length_bytes.copy_from_slice(&length.to_ne_bytes());
            stream_bytes.copy_from_slice(&stream.to_ne_bytes());
            time_bytes.copy_from_slice(&timestamp.to_ne_bytes());
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.buffer.len()
    }

    pub(super) fn items(&self) -> usize {
        self.items
    }

    pub(super) fn into_buffer(self) -> Vec<u8> {
        self.buffer
    }
}

/// One item of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Item<'a> {
    /// What the layer said at admission; Loki's layer: which stream.
    pub stream: u32,
    /// What the layer said at admission: nanoseconds since the Unix epoch.
    pub timestamp: u64,
    /// The item's bytes.
    pub payload: &'a [u8],
}

/// The items of one request.
pub struct Batch {
    chunks: Vec<Chunk>,
    range: Range<usize>,
}

impl std::fmt::Debug for Batch {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Batch").field("items", &self.len()).finish_non_exhaustive()
    }
}

impl Batch {
    /// The next batch: whole chunks, at least one, as long as the limits hold.
    pub(super) fn gather(waiting: &mut VecDeque<Chunk>, limits: &BatchLimits) -> Option<Self> {
        let first = waiting.pop_front()?;
        let (mut bytes, mut items) = (first.bytes(), first.items());
        let mut chunks = vec![first];
        while let Some(next) = waiting.front()
            && bytes + next.bytes() <= limits.bytes
            && items + next.items() <= limits.items
        {
            bytes += next.bytes();
            items += next.items();
            chunks.extend(waiting.pop_front());
        }
        Some(Self { chunks, range: 0..items })
    }

    /// Number of items.
    #[must_use]
    pub fn len(&self) -> usize {
        self.range.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.range.is_empty()
    }

    /// Bytes of all payloads, at most.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.chunks.iter().map(Chunk::bytes).sum()
    }

    /// The items, in the order of each thread.
    pub fn iter(&self) -> impl Iterator<Item = Item<'_>> {
        self.chunks.iter().flat_map(|chunk| Items { rest: &chunk.buffer }).skip(self.range.start).take(self.range.len())
    }

    pub(super) fn range(&self) -> Range<usize> {
        self.range.clone()
    }

    pub(super) fn narrow(&mut self, range: Range<usize>) {
        self.range = range;
    }

    pub(super) fn into_chunks(self) -> Vec<Chunk> {
        self.chunks
    }

    /// The chunks; the batch is empty then.
    pub(super) fn take_chunks(&mut self) -> Vec<Chunk> {
        self.range = 0..0;
        std::mem::take(&mut self.chunks)
    }

    pub(super) const fn empty() -> Self {
        Self { chunks: Vec::new(), range: 0..0 }
    }

    /// A batch of these items, for tests of encoders.
    #[must_use]
    pub fn of(items: &[Item<'_>]) -> Self {
        let mut buffer = Vec::new();
        for item in items {
            let start = buffer.len();
            buffer.extend_from_slice(&[0; HEADER]);
            buffer.extend_from_slice(item.payload);
            if let Some(header) = buffer.get_mut(start..start + HEADER) {
                Chunk::write_header(
                    header,
                    u32::try_from(item.payload.len()).unwrap_or(u32::MAX),
                    item.stream,
                    item.timestamp,
                );
            }
        }
        Self { chunks: vec![Chunk::new(buffer, items.len())], range: 0..items.len() }
    }
}

struct Items<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Items<'a> {
    type Item = Item<'a>;

    #[inline]
    fn next(&mut self) -> Option<Item<'a>> {
        let (length, rest) = self.rest.split_first_chunk::<4>()?;
        let (stream, rest) = rest.split_first_chunk::<4>()?;
        let (timestamp, rest) = rest.split_first_chunk::<8>()?;
        let (payload, rest) = rest.split_at_checked(u32::from_ne_bytes(*length) as usize)?;
        self.rest = rest;
        Some(Item { stream: u32::from_ne_bytes(*stream), timestamp: u64::from_ne_bytes(*timestamp), payload })
    }
}
