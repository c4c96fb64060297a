//! What the targets make of a fuzzer's bytes. Pure functions.

use arbitrary::Unstructured;

/// One piece after the other of an input; at its end only zeros and empty texts.
pub(super) struct Input<'a>(Unstructured<'a>);

impl<'a> Input<'a> {
    pub(super) fn new(data: &'a [u8]) -> Self {
        Self(Unstructured::new(data))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn byte(&mut self) -> u8 {
        self.0.arbitrary().unwrap_or_default()
    }

    pub(super) fn flag(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    pub(super) fn number(&mut self) -> i64 {
        self.0.arbitrary().unwrap_or_default()
    }

    pub(super) fn float(&mut self) -> f64 {
        self.0.arbitrary().unwrap_or_default()
    }

    /// Up to 255 bytes, mostly few: the length stands before them, so that a part of an input that is cut or copied keeps its meaning.
    pub(super) fn bytes(&mut self) -> &'a [u8] {
        let length = usize::from(self.byte()).min(self.0.len());
        self.0.bytes(length).unwrap_or_default()
    }

    pub(super) fn text(&mut self) -> String {
        String::from_utf8_lossy(self.bytes()).into_owned()
    }

    /// A text of up to 64 KiB.
    pub(super) fn long_text(&mut self) -> String {
        let times = usize::from(self.byte());
        self.text().repeat(times.max(1))
    }

    /// As many as a number of at most `most` says, as long as there is input.
    pub(super) fn some<T>(&mut self, most: u8, mut one: impl FnMut(&mut Self) -> T) -> Vec<T> {
        let count = self.byte() % (most + 1);
        let mut all = Vec::new();
        for _ in 0..count {
            if self.is_empty() {
                break;
            }
            all.push(one(self));
        }
        all
    }

    pub(super) fn rest(self) -> &'a [u8] {
        self.0.take_rest()
    }
}

/// The name of a field: any that describes no span, for such names are no attributes.
pub(super) fn field_name(input: &mut Input<'_>) -> String {
    let name = input.text();
    if name.is_empty() || name.starts_with("otel.") { format!("x{name}") } else { name }
}

/// Whether a value of this name may stand in the list of secrets, which are not sent as they are.
pub(super) fn may_be_secret(name: &str) -> bool {
    let letters: String = name.chars().filter(char::is_ascii_alphabetic).collect::<String>().to_ascii_lowercase();
    ["pass", "pwd", "secret", "credential", "token", "jwt", "bearer", "auth", "cookie", "key", "string", "url", "dsn"]
        .iter()
        .any(|word| letters.contains(word))
}

/// The lines of an input that a person can read and a dictionary can help with: `name: value` or `name=value`.
pub(super) fn pairs(data: &[u8], separator: char) -> Vec<(String, String)> {
    let text = String::from_utf8_lossy(data);
    text.lines()
        .filter_map(|line| line.split_once(separator))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}
