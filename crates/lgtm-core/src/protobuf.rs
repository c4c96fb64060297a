//! Protocol buffers' wire format, as far as the encoders write it and the log line reads it back.
//! Caller and worker threads; pure functions over byte buffers.
//! Source: protobuf.dev, "Encoding".

/// A field's tag for a variable-length integer.
#[must_use]
pub const fn varint_tag(field: u32) -> u8 {
    (field << 3) as u8
}

/// A field's tag for eight fixed bytes.
#[must_use]
pub const fn fixed64_tag(field: u32) -> u8 {
    ((field << 3) | 1) as u8
}

/// A field's tag for a string, bytes or a message. Fields up to 15 only: one byte.
#[must_use]
pub const fn length_tag(field: u32) -> u8 {
    ((field << 3) | 2) as u8
}

/// Appends a base-128 varint.
#[inline]
pub fn put_varint(buffer: &mut Vec<u8>, value: u64) {
    if value < 0x80 {
        buffer.push(value as u8);
    } else if value < 0x4000 {
        buffer.extend_from_slice(&[(value as u8) | 0x80, (value >> 7) as u8]);
    } else {
        put_long_varint(buffer, value);
    }
}

#[inline(never)]
fn put_long_varint(buffer: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        buffer.push((value as u8) | 0x80);
        value >>= 7;
    }
    buffer.push(value as u8);
}

/// The number of bytes [`put_varint`] appends.
#[must_use]
#[inline]
pub const fn varint_length(value: u64) -> usize {
    // 7 bits a byte, one byte for 0.
    (70 - (value | 1).leading_zeros() as usize) / 7
}

/// The number of bytes of a length-delimited field with a one-byte tag.
#[must_use]
#[inline]
pub const fn field_length(content: usize) -> usize {
    1 + varint_length(content as u64) + content
}

/// Appends a length-delimited field.
#[inline]
pub fn put_bytes(buffer: &mut Vec<u8>, tag: u8, bytes: &[u8]) {
    if bytes.len() < 0x80 {
        buffer.extend_from_slice(&[tag, bytes.len() as u8]);
    } else {
        buffer.push(tag);
        put_varint(buffer, bytes.len() as u64);
    }
    buffer.extend_from_slice(bytes);
}

/// Appends a varint field.
#[inline]
pub fn put_integer(buffer: &mut Vec<u8>, tag: u8, value: u64) {
    buffer.push(tag);
    put_varint(buffer, value);
}

/// Appends a field of eight bytes.
#[inline]
pub fn put_fixed64(buffer: &mut Vec<u8>, tag: u8, value: u64) {
    let mut bytes = [tag, 0, 0, 0, 0, 0, 0, 0, 0];
    bytes[1..].copy_from_slice(&value.to_le_bytes());
    buffer.extend_from_slice(&bytes);
}

/// One field of a message.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Field<'a> {
    /// Wire type 0.
    Varint(u32, u64),
    /// Wire type 1.
    Fixed64(u32, u64),
    /// Wire type 2.
    Bytes(u32, &'a [u8]),
    /// Wire type 5.
    Fixed32(u32, u32),
}

/// A message in two, each with about half of the bytes of what repeats at the end of this path of field numbers, and with all that
/// stands beside it; nothing if it is there but once. `[1, 2]`: the fields 2 of the messages in fields 1.
#[must_use]
pub fn halve(message: &[u8], path: &[u32]) -> Option<(Vec<u8>, Vec<u8>)> {
    let (number, deeper) = path.split_first()?;
    let fields: Vec<_> = raw_fields(message).collect();
    let is_element = |field: &Field<'_>| matches!(field, Field::Bytes(this, _) if this == number);
    let elements = || fields.iter().filter(|(field, _)| is_element(field));
    let (mut one, mut other) = (Vec::with_capacity(message.len()), Vec::with_capacity(message.len() / 2));
    if elements().nth(1).is_none() {
        let (Field::Bytes(_, content), _) = elements().next()? else { return None };
        let (first, second) = halve(content, deeper)?;
        for (field, raw) in &fields {
            if is_element(field) {
                put_bytes(&mut one, length_tag(*number), &first);
                put_bytes(&mut other, length_tag(*number), &second);
            } else {
                one.extend_from_slice(raw);
                other.extend_from_slice(raw);
            }
        }
        return Some((one, other));
    }
    let count = elements().count();
    let half = elements().map(|(_, raw)| raw.len()).sum::<usize>() / 2;
    let (mut place, mut bytes) = (0, 0);
    for (field, raw) in &fields {
        if !is_element(field) {
            one.extend_from_slice(raw);
            other.extend_from_slice(raw);
            continue;
        }
        // One at least on each side.
        let first = place == 0 || (place + 1 < count && bytes + raw.len() <= half);
        if first { &mut one } else { &mut other }.extend_from_slice(raw);
        bytes += raw.len();
        place += 1;
    }
    Some((one, other))
}

/// How often something stands at the end of this path of field numbers.
#[must_use]
pub fn count(message: &[u8], path: &[u32]) -> usize {
    let Some((number, deeper)) = path.split_first() else { return 1 };
    let contents = Fields(message).filter_map(|field| match field {
        Field::Bytes(this, content) if this == *number => Some(content),
        _ => None,
    });
    contents.map(|content| count(content, deeper)).sum()
}

/// The fields of a message, each with its own bytes, tag and all.
fn raw_fields(message: &[u8]) -> impl Iterator<Item = (Field<'_>, &[u8])> {
    let mut fields = Fields(message);
    std::iter::from_fn(move || {
        let before = fields.0;
        let field = fields.next()?;
        Some((field, before.get(..before.len() - fields.0.len()).unwrap_or_default()))
    })
}

/// Reads the fields of a message one after the other; ends at the first byte that is not well formed.
#[derive(Clone, Debug)]
pub struct Fields<'a>(pub &'a [u8]);

impl<'a> Fields<'a> {
    #[inline]
    pub(crate) fn varint(&mut self) -> Option<u64> {
        let (byte, rest) = self.0.split_first()?;
        if *byte < 0x80 {
            self.0 = rest;
            return Some(u64::from(*byte));
        }
        self.long_varint()
    }

    #[inline(never)]
    fn long_varint(&mut self) -> Option<u64> {
        let mut value = 0_u64;
        for shift in (0..70).step_by(7) {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            value |= u64::from(byte & 0x7f).checked_shl(shift)?;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    #[inline]
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(bytes)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Field<'a>;

    #[inline]
    fn next(&mut self) -> Option<Field<'a>> {
        let tag = self.varint()?;
        let field = u32::try_from(tag >> 3).ok()?;
        match tag & 7 {
            0 => Some(Field::Varint(field, self.varint()?)),
            1 => Some(Field::Fixed64(field, u64::from_le_bytes(self.take(8)?.try_into().ok()?))),
            2 => {
                let length = usize::try_from(self.varint()?).ok()?;
                Some(Field::Bytes(field, self.take(length)?))
            }
            5 => Some(Field::Fixed32(field, u32::from_le_bytes(self.take(4)?.try_into().ok()?))),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_written_reads_back(value: u64, bytes: Vec<u8>, fixed: u64) {
            let mut buffer = Vec::new();
            put_integer(&mut buffer, varint_tag(3), value);
            prop_assert_eq!(buffer.len(), 1 + varint_length(value));
            put_bytes(&mut buffer, length_tag(4), &bytes);
            prop_assert_eq!(buffer.len(), 1 + varint_length(value) + field_length(bytes.len()));
            put_fixed64(&mut buffer, fixed64_tag(5), fixed);
            let fields: Vec<_> = Fields(&buffer).collect();
            prop_assert_eq!(fields, vec![Field::Varint(3, value), Field::Bytes(4, &bytes), Field::Fixed64(5, fixed)]);
        }

        #[test]
        fn garbage_ends_the_reading_without_panic(bytes: Vec<u8>) {
            let _ = Fields(&bytes).count();
        }
    }
}
