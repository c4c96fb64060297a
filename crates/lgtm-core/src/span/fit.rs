//! Whole attribute lists made to fit: within the program's limits, and each name once. Caller threads; hardly ever needed.

use super::attributes::{Attribute, Attributes, Value};
use super::fields::{FieldVisitor, STRING_VALUE, VisitLimits, Visited, cut};
use crate::protobuf;

impl Visited {
    /// Of several attributes of one name only the last stays, as OTLP wants it.
    #[cold]
    pub(crate) fn keep_last(&mut self) {
        let pairs: Vec<&[u8]> = split(&self.attributes).collect();
        let name = |pair: &[u8]| Attributes::new(pair).next().map(|attribute| attribute.key.to_vec());
        let names: Vec<_> = pairs.iter().map(|pair| name(pair)).collect();
        let is_last = |place: usize| !names.iter().skip(place + 1).any(|later| Some(later) == names.get(place));
        let kept: Vec<u8> =
            pairs.iter().enumerate().filter(|(place, _)| is_last(*place)).flat_map(|(_, pair)| pair.to_vec()).collect();
        self.count = u32::try_from((0..pairs.len()).filter(|place| is_last(*place)).count()).unwrap_or(u32::MAX);
        self.attributes = kept;
    }
}

/// The first encoded attribute, and those behind it.
pub(super) fn split_first(encoded: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut fields = protobuf::Fields(encoded);
    fields.next()?;
    encoded.split_at_checked(encoded.len() - fields.0.len())
}

/// The encoded attributes one by one.
fn split(encoded: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = encoded;
    std::iter::from_fn(move || {
        let (pair, after) = split_first(rest)?;
        rest = after;
        Some(pair)
    })
}

/// Appends the first `count` of these attributes, values cut at `value_bytes`; how many are left out.
pub fn fit(buffer: &mut Vec<u8>, encoded: &[u8], count: u32, value_bytes: usize) -> u32 {
    let count = count as usize;
    for pair in split(encoded).take(count) {
        match (pair.first(), Attributes::new(pair).next()) {
            (Some(tag), Some(Attribute { key, value: Value::Text(text) })) if text.len() > value_bytes => {
                // Both are UTF-8: this module has written them.
                let (key, text) = (String::from_utf8_lossy(key), String::from_utf8_lossy(text));
                let limits = VisitLimits { attributes: 1, value_bytes, bytes: usize::MAX };
                let mut visited = Visited::default();
                visited.attributes = std::mem::take(buffer);
                let text = cut(&text, value_bytes);
                let mut visitor = FieldVisitor { visited: &mut visited, tag: *tag, limits };
                visitor.begin(&key, protobuf::field_length(text.len()));
                protobuf::put_bytes(&mut visitor.visited.attributes, STRING_VALUE, text.as_bytes());
                *buffer = visited.attributes;
            }
            _ => buffer.extend_from_slice(pair),
        }
    }
    u32::try_from(split(encoded).skip(count).count()).unwrap_or(u32::MAX)
}
