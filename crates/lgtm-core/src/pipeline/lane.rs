//! Requests on their way: those of one lane go one after the other, those of several lanes at once. Worker thread.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderName, HeaderValue};

use super::Signal;
use super::batch::{Batch, BatchLimits};
use crate::spool::{Position, Record};

/// An encoded request.
pub(super) struct Request {
    pub(super) body: Bytes,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) items: usize,
    /// From 1.
    pub(super) attempt: u32,
    /// When it was encoded, or read from disk.
    pub(super) first: Instant,
    /// The items of the batch that it was made of; nothing if it is a part of a request, or comes from disk.
    pub(super) made_of: Option<Range<usize>>,
    /// Where it lies on disk: with all its parts, each of which has this.
    pub(super) stored: Option<Arc<Position>>,
}

impl Request {
    /// A request that was read from disk.
    pub(super) fn stored(position: Position, record: Record) -> Self {
        Self {
            body: record.body,
            headers: record.headers,
            items: record.items as usize,
            attempt: 1,
            first: Instant::now(),
            made_of: None,
            stored: Some(Arc::new(position)),
        }
    }

    /// What has to be on disk, so that any process can send it.
    pub(super) fn record(&self) -> Record {
        Record {
            items: u32::try_from(self.items).unwrap_or(u32::MAX),
            headers: self.headers.clone(),
            body: self.body.clone(),
        }
    }

    /// This request in two; nothing if it has but one item.
    pub(super) fn halves(&self, signal: &mut impl Signal) -> Option<[Self; 2]> {
        let [(one, items), (other, _)] = signal.halve(&self.body)?;
        // Whatever the signal counts, none is lost and none is invented.
        let items = items.clamp(1, self.items.saturating_sub(1));
        let half = |body: Vec<u8>, items| Self {
            body: Bytes::from(body),
            headers: self.headers.clone(),
            items,
            attempt: 1,
            first: self.first,
            made_of: None,
            stored: self.stored.clone(),
        };
        Some([half(one, items), half(other, self.items - items)])
    }
}

/// Items that must arrive in their order.
#[derive(Default)]
pub(super) struct Lane {
    /// The present request.
    pub(super) request: Option<Request>,
    /// Those that follow it.
    pub(super) ready: VecDeque<Request>,
    /// What of the batch comes after those.
    pub(super) parts: VecDeque<Range<usize>>,
}

impl Lane {
    /// A lane of one request.
    pub(super) fn of(request: Request) -> Self {
        Self { request: Some(request), ..Self::default() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.request.is_none() && self.ready.is_empty() && self.parts.is_empty()
    }

    /// Makes the next request the present one, if there is none.
    pub(super) fn advance(&mut self, batch: &mut Batch, signal: &mut impl Signal) {
        if self.request.is_some() {
            return;
        }
        self.request = self.ready.pop_front().or_else(|| Some(encode(batch, self.parts.pop_front()?, signal)));
    }

    /// Items of the present request.
    pub(super) fn items(&self) -> usize {
        self.request.as_ref().map_or(0, |request| request.items)
    }

    /// All requests that there are, the present one first.
    pub(super) fn requests(&self) -> impl Iterator<Item = &Request> {
        self.request.iter().chain(&self.ready)
    }

    pub(super) fn is_to_be_sent_again(&self) -> bool {
        self.request.as_ref().is_some_and(|request| request.attempt > 1)
    }

    /// Items that are in memory alone.
    pub(super) fn unstored(&self) -> usize {
        let requests = self.requests().filter(|request| request.stored.is_none()).map(|request| request.items);
        requests.sum::<usize>() + self.parts.iter().map(Range::len).sum::<usize>()
    }
}

/// The request of these items.
pub(super) fn encode(batch: &mut Batch, part: Range<usize>, signal: &mut impl Signal) -> Request {
    batch.narrow(part.clone());
    let mut body = Vec::with_capacity(batch.bytes() + 1024);
    signal.encode(batch, &mut body);
    request(body, signal.headers(), part)
}

/// The same, so that any process can send it.
pub(super) fn encode_to_store(batch: &mut Batch, part: Range<usize>, signal: &mut impl Signal) -> Request {
    batch.narrow(part.clone());
    let mut body = Vec::with_capacity(batch.bytes() + 1024);
    let headers = signal.encode_to_store(batch, &mut body);
    request(body, headers, part)
}

fn request(body: Vec<u8>, headers: Vec<(HeaderName, HeaderValue)>, part: Range<usize>) -> Request {
    Request {
        body: Bytes::from(body),
        headers,
        items: part.len(),
        attempt: 1,
        first: Instant::now(),
        made_of: Some(part),
        stored: None,
    }
}

/// The batch's items by lane. One lane takes a batch as it is; of several each gets requests within the limits.
pub(super) fn lanes(batch: &Batch, count: u32, limits: &BatchLimits) -> Vec<Lane> {
    if count <= 1 {
        return vec![Lane { parts: VecDeque::from([batch.range()]), ..Lane::default() }];
    }
    let mut lanes: Vec<Lane> = (0..count).map(|_| Lane::default()).collect();
    let mut bytes = 0;
    let mut last = None;
    for (place, item) in batch.iter().enumerate() {
        let place = batch.range().start + place;
        let number = item.stream % count;
        let Some(lane) = lanes.get_mut(number as usize) else { continue };
        bytes += item.payload.len();
        match lane.parts.back_mut().filter(|_| last == Some(number)) {
            Some(part) if part.len() < limits.items && bytes <= limits.bytes => part.end = place + 1,
            _ => {
                bytes = item.payload.len();
                lane.parts.push_back(place..place + 1);
            }
        }
        last = Some(number);
    }
    lanes
}

/// What is to be sent again, of all lanes.
#[derive(Clone, Copy)]
pub(super) struct Retry {
    pub(super) attempt: u32,
    pub(super) first: Instant,
    pub(super) after: Option<Duration>,
    pub(super) unreachable: bool,
}

impl Retry {
    /// The longer pause of two.
    pub(super) fn with(self, other: Self) -> Self {
        Self {
            attempt: self.attempt.max(other.attempt),
            first: self.first.min(other.first),
            after: self.after.max(other.after),
            unreachable: self.unreachable && other.unreachable,
        }
    }
}
