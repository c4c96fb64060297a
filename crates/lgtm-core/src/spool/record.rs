//! One request on disk: forty bytes of its own, then the request's headers and body. Spool thread; pure functions.
//!
//! ```text
//!  0  8  mark, where a reader finds its way again
//!  8  1  state: waiting or acknowledged; alone outside the checksums, because it is overwritten
//!  9  3  zero
//! 12  4  items
//! 16  8  when it was written: milliseconds since the Unix epoch
//! 24  4  bytes of the headers
//! 28  4  bytes of the body
//! 32  4  CRC-32 of headers and body
//! 36  4  CRC-32 of the bytes 0 to 8 and 12 to 36
//! ```
//! Numbers are little-endian.

use bytes::Bytes;
use http::{HeaderName, HeaderValue};

/// Bytes before the headers and the body.
pub(super) const FIXED: usize = 40;
/// Where the state is.
pub(super) const STATE: u64 = 8;
/// What a record begins with: no text begins so.
pub(super) const MARK: [u8; 8] = *b"\xf5lgtm\x00R1";
const WAITING: u8 = 0xa5;
pub(super) const ACKNOWLEDGED: u8 = 0x5a;

/// A request that was encoded, and can be sent by any process at any time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) items: u32,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    pub(crate) body: Bytes,
}

/// What the first forty bytes say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fixed {
    pub(super) acknowledged: bool,
    pub(super) items: u32,
    pub(super) written: u64,
    header_bytes: u32,
    body_bytes: u32,
    checksum: u32,
}

impl Fixed {
    /// Reads them; nothing unless they are whole.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.first_chunk::<FIXED>()?;
        let number = |at: usize| bytes.get(at..at + 4).and_then(|four| Some(u32::from_le_bytes(four.try_into().ok()?)));
        let long = |at: usize| bytes.get(at..at + 8).and_then(|eight| Some(u64::from_le_bytes(eight.try_into().ok()?)));
        (bytes.starts_with(&MARK) && number(36)? == own_checksum(bytes)).then_some(())?;
        Some(Self {
            // A state that is neither is damaged: a second copy is better than none.
            acknowledged: bytes.get(STATE as usize) == Some(&ACKNOWLEDGED),
            items: number(12)?,
            written: long(16)?,
            header_bytes: number(24)?,
            body_bytes: number(28)?,
            checksum: number(32)?,
        })
    }

    /// Bytes of headers and body.
    pub(super) fn payload(&self) -> u64 {
        u64::from(self.header_bytes) + u64::from(self.body_bytes)
    }

    /// Bytes of all.
    pub(super) fn length(&self) -> u64 {
        FIXED as u64 + self.payload()
    }

    /// The request, unless its bytes are damaged.
    pub(super) fn record(&self, payload: Vec<u8>) -> Option<Record> {
        if payload.len() as u64 != self.payload() || crc32fast::hash(&payload) != self.checksum {
            return None;
        }
        let mut payload = Bytes::from(payload);
        let headers = read_headers(&payload.split_to(self.header_bytes as usize))?;
        Some(Record { items: self.items, headers, body: payload })
    }
}

fn own_checksum(bytes: &[u8; FIXED]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&bytes[..8]);
    hasher.update(&bytes[12..36]);
    hasher.finalize()
}

impl Record {
    /// The record as it stands on disk; nothing if it is larger than a record can be.
    pub(super) fn write(&self, written: u64) -> Option<Vec<u8>> {
        let headers = write_headers(&self.headers)?;
        let mut fixed = [0; FIXED];
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&headers);
        hasher.update(&self.body);
        let parts: [(usize, &[u8]); 7] = [
            (0, &MARK),
            (STATE as usize, &[WAITING]),
            (12, &self.items.to_le_bytes()),
            (16, &written.to_le_bytes()),
            (24, &u32::try_from(headers.len()).ok()?.to_le_bytes()),
            (28, &u32::try_from(self.body.len()).ok()?.to_le_bytes()),
            (32, &hasher.finalize().to_le_bytes()),
        ];
        for (at, part) in parts {
            fixed.get_mut(at..at + part.len())?.copy_from_slice(part);
        }
        let own = own_checksum(&fixed).to_le_bytes();
        fixed[36..].copy_from_slice(&own);
        Some([fixed.as_slice(), &headers, &self.body].concat())
    }

    /// Bytes on disk, about.
    pub(super) fn length(&self) -> u64 {
        let headers: usize = self.headers.iter().map(|(name, value)| 4 + name.as_str().len() + value.len()).sum();
        (FIXED + headers + self.body.len()) as u64
    }
}

/// Two lengths of two bytes, name, value; one after the other.
fn write_headers(headers: &[(HeaderName, HeaderValue)]) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    for (name, value) in headers {
        bytes.extend_from_slice(&u16::try_from(name.as_str().len()).ok()?.to_le_bytes());
        bytes.extend_from_slice(&u16::try_from(value.len()).ok()?.to_le_bytes());
        bytes.extend_from_slice(name.as_str().as_bytes());
        bytes.extend_from_slice(value.as_bytes());
    }
    Some(bytes)
}

fn read_headers(mut bytes: &[u8]) -> Option<Vec<(HeaderName, HeaderValue)>> {
    let mut headers = Vec::new();
    while !bytes.is_empty() {
        let (name, rest) = bytes.split_first_chunk::<2>()?;
        let (value, rest) = rest.split_first_chunk::<2>()?;
        let (name, rest) = rest.split_at_checked(u16::from_le_bytes(*name).into())?;
        let (value, rest) = rest.split_at_checked(u16::from_le_bytes(*value).into())?;
        headers.push((HeaderName::from_bytes(name).ok()?, HeaderValue::from_bytes(value).ok()?));
        bytes = rest;
    }
    Some(headers)
}
