//! Trace and span ids: W3C trace context sizes, random, never zero. Caller threads.

use std::cell::RefCell;
use std::fmt;

use rand::rngs::{SmallRng, SysRng};
use rand::{Rng, SeedableRng};

/// The 16-byte id that all spans of one trace share.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct TraceId([u8; 16]);

/// The 8-byte id of one span.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct SpanId([u8; 8]);

thread_local! {
    static GENERATOR: RefCell<Option<SmallRng>> = const { RefCell::new(None) };
}

/// Runs `draw` on this thread's generator, seeded once from the operating system.
fn with_generator<R>(draw: impl FnOnce(&mut SmallRng) -> R) -> R {
    let mut draw = Some(draw);
    let drawn = GENERATOR.try_with(|cell| {
        let mut slot = cell.try_borrow_mut().ok()?;
        let generator = slot.get_or_insert_with(seed);
        draw.take().map(|draw| draw(generator))
    });
    match (drawn, draw) {
        (Ok(Some(drawn)), _) => drawn,
        // The thread is ending and its generator is gone already.
        (_, Some(draw)) => draw(&mut seed()),
        (_, None) => unreachable!("the draw is taken only when it returns a value"),
    }
}

/// The calling thread draws from a new seed: after a `fork` two processes would else draw the same ids.
pub(crate) fn seed_anew() {
    let _ = GENERATOR.try_with(|cell| cell.replace(None));
}

fn seed() -> SmallRng {
    SmallRng::try_from_rng(&mut SysRng).unwrap_or_else(|_| SmallRng::seed_from_u64(fastrand::u64(..)))
}

/// New random ids for the first span of a trace, in one draw.
pub(crate) fn random_root() -> (TraceId, SpanId) {
    with_generator(|generator| (TraceId::draw(generator), SpanId::draw(generator)))
}

impl TraceId {
    /// A new random id.
    #[must_use]
    pub fn random() -> Self {
        with_generator(Self::draw)
    }

    fn draw(generator: &mut SmallRng) -> Self {
        loop {
            let (high, low) = (generator.next_u64(), generator.next_u64());
            if (high | low) != 0 {
                let mut bytes = [0; 16];
                bytes[..8].copy_from_slice(&high.to_be_bytes());
                bytes[8..].copy_from_slice(&low.to_be_bytes());
                return Self(bytes);
            }
        }
    }

    /// The id with these bytes; `None` for all zeros, which W3C trace context forbids.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Option<Self> {
        (bytes != [0; 16]).then_some(Self(bytes))
    }

    /// Parses exactly 32 lower-case hexadecimal digits.
    #[must_use]
    pub fn from_hex(text: &[u8]) -> Option<Self> {
        parse_hex(text).and_then(Self::from_bytes)
    }

    /// The id's bytes, in network order.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0
    }

    /// The id as 32 lower-case hexadecimal digits.
    #[must_use]
    pub fn to_hex(self) -> [u8; 32] {
        let mut text = [0; 32];
        write_hex(&self.0, &mut text);
        text
    }

    /// The low 64 bits, on which ratio samplers decide.
    #[must_use]
    pub fn low_bits(self) -> u64 {
        let [.., a, b, c, d, e, f, g, h] = self.0;
        u64::from_be_bytes([a, b, c, d, e, f, g, h])
    }
}

impl SpanId {
    /// No span.
    pub const ZERO: Self = Self([0; 8]);

    /// A new random id.
    #[must_use]
    pub fn random() -> Self {
        with_generator(Self::draw)
    }

    fn draw(generator: &mut SmallRng) -> Self {
        loop {
            let id = generator.next_u64();
            if id != 0 {
                return Self(id.to_be_bytes());
            }
        }
    }

    /// The id with these bytes; `None` for all zeros, which W3C trace context forbids.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 8]) -> Option<Self> {
        (bytes != [0; 8]).then_some(Self(bytes))
    }

    /// Parses exactly 16 lower-case hexadecimal digits.
    #[must_use]
    pub fn from_hex(text: &[u8]) -> Option<Self> {
        parse_hex(text).and_then(Self::from_bytes)
    }

    /// The id's bytes, in network order.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 8] {
        self.0
    }

    /// The id as 16 lower-case hexadecimal digits.
    #[must_use]
    pub fn to_hex(self) -> [u8; 16] {
        let mut text = [0; 16];
        write_hex(&self.0, &mut text);
        text
    }

    /// Whether this stands for no span.
    #[must_use]
    pub fn is_zero(self) -> bool {
        self.0 == [0; 8]
    }
}

/// Eight digits at a time: each half byte gets a byte of its own, then its digit.
#[inline]
fn write_hex(bytes: &[u8], text: &mut [u8]) {
    const ONES: u64 = 0x0101_0101_0101_0101;
    for (digits, four) in text.as_chunks_mut::<8>().0.iter_mut().zip(bytes.as_chunks::<4>().0) {
        let mut halves = u64::from(u32::from_be_bytes(*four));
        halves = (halves | (halves << 16)) & 0x0000_ffff_0000_ffff;
        halves = (halves | (halves << 8)) & 0x00ff_00ff_00ff_00ff;
        halves = (halves | (halves << 4)) & 0x0f0f_0f0f_0f0f_0f0f;
        let letters = ((halves + ONES * 6) >> 4) & ONES;
        *digits = (halves + ONES * u64::from(b'0') + letters * u64::from(b'a' - b'0' - 10)).to_be_bytes();
    }
}

/// Lower case only: W3C trace context section 3.2.2.3.
fn parse_hex<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    if text.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        let [high, low] = pair else { return None };
        *byte = (hex_digit(*high)? << 4) | hex_digit(*low)?;
    }
    Some(bytes)
}

pub(crate) fn hex_digit(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

macro_rules! text_forms {
    ($id:ident) => {
        impl fmt::Display for $id {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                let text = self.to_hex();
                formatter.write_str(std::str::from_utf8(&text).unwrap_or_default())
            }
        }

        impl fmt::Debug for $id {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, formatter)
            }
        }
    };
}

text_forms!(TraceId);
text_forms!(SpanId);

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn ids_are_distinct_on_all_threads() {
        let threads: Vec<_> = (0..4)
            .map(|_| {
                std::thread::spawn(|| (0..10_000).map(|_| (TraceId::random(), SpanId::random())).collect::<Vec<_>>())
            })
            .collect();
        let all: Vec<_> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        assert_eq!(all.iter().map(|(trace, _)| trace).collect::<HashSet<_>>().len(), 40_000);
        assert_eq!(all.iter().map(|(_, span)| span).collect::<HashSet<_>>().len(), 40_000);
    }

    #[test]
    fn hex_survives_the_round_trip_and_refuses_what_w3c_refuses() {
        let id = TraceId::random();
        assert_eq!(TraceId::from_hex(&id.to_hex()), Some(id));
        assert_eq!(
            TraceId::from_hex(id.to_string().to_uppercase().as_bytes()).is_some(),
            id.to_string() == id.to_string().to_uppercase()
        );
        assert_eq!(TraceId::from_hex(&[b'0'; 32]), None);
        assert_eq!(SpanId::from_hex(b"00f067aa0ba902b"), None);
        assert_eq!(SpanId::from_hex(b"00f067aa0ba902bg"), None);
        assert_eq!(SpanId::from_hex(b"00f067aa0ba902b7").unwrap().to_string(), "00f067aa0ba902b7");
        assert_eq!(
            SpanId::from_bytes([0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef]).unwrap().to_string(),
            "0123456789abcdef"
        );
    }
}
