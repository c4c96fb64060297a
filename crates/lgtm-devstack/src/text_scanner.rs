//! A scanner for the small languages of the query APIs: skips white space, takes tokens, tells where it stopped.

/// A position in a text.
pub(crate) struct Scanner<'a> {
    text: &'a str,
    rest: &'a str,
}

impl<'a> Scanner<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self { text, rest: text.trim_start() }
    }

    fn advance(&mut self, bytes: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(bytes);
        self.rest = rest.trim_start();
        taken
    }

    /// What is left.
    pub(crate) fn rest(&self) -> &'a str {
        self.rest
    }

    /// True at the end.
    pub(crate) fn at_end(&self) -> bool {
        self.rest.is_empty()
    }

    /// Takes `token` if it comes next.
    pub(crate) fn take(&mut self, token: &str) -> bool {
        let found = self.rest.starts_with(token);
        if found {
            self.advance(token.len());
        }
        found
    }

    /// Takes the first of `tokens` that comes next.
    pub(crate) fn take_any<'t>(&mut self, tokens: &[&'t str]) -> Option<&'t str> {
        tokens.iter().copied().find(|token| self.take(token))
    }

    pub(crate) fn expect(&mut self, token: &str) -> Result<(), String> {
        if self.take(token) { Ok(()) } else { Err(self.unexpected(&format!("{token:?}"))) }
    }

    pub(crate) fn expect_end(&self) -> Result<(), String> {
        if self.at_end() { Ok(()) } else { Err(self.unexpected("the end")) }
    }

    /// An error that tells what was expected and what is there.
    pub(crate) fn unexpected(&self, wanted: &str) -> String {
        let position = self.text.len() - self.rest.len();
        let found: String = self.rest.chars().take(20).collect();
        if found.is_empty() {
            format!("expected {wanted} at character {position}, found the end")
        } else {
            format!("expected {wanted} at character {position}, found {found:?}")
        }
    }

    /// Takes the longest non-empty run of characters that satisfy `wanted`.
    pub(crate) fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> Option<&'a str> {
        let length = self.rest.find(|c| !wanted(c)).unwrap_or(self.rest.len());
        (length > 0).then(|| self.advance(length))
    }

    /// Takes a name, `[a-zA-Z_][a-zA-Z0-9_]*`.
    pub(crate) fn name(&mut self) -> Option<&'a str> {
        if !self.rest.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
            return None;
        }
        self.take_while(|c| c.is_ascii_alphanumeric() || c == '_')
    }

    /// Takes text in double quotes, with Go's escapes, or in back quotes, without any.
    pub(crate) fn quoted(&mut self) -> Result<String, String> {
        if let Some(raw) = self.rest.strip_prefix('`') {
            let Some(end) = raw.find('`') else {
                return Err(self.unexpected("a closing back quote"));
            };
            self.advance(end + 2);
            return Ok(raw.get(..end).unwrap_or_default().to_owned());
        }
        if !self.rest.starts_with('"') {
            return Err(self.unexpected("text in quotes"));
        }
        let mut characters = self.rest.char_indices().skip(1);
        let mut text = String::new();
        while let Some((at, character)) = characters.next() {
            match character {
                '"' => {
                    self.advance(at + 1);
                    return Ok(text);
                }
                '\n' => break,
                '\\' => {
                    let escape = characters.next().map(|(_, c)| c);
                    let decoded = escape.and_then(|escape| unescape(escape, &mut characters));
                    match decoded {
                        Some(decoded) => text.push(decoded),
                        None => return Err(self.unexpected("text in quotes with valid escapes")),
                    }
                }
                other => text.push(other),
            }
        }
        Err(self.unexpected("text in quotes that are closed"))
    }
}

/// Decodes one escape of Go's string syntax, after the back slash.
fn unescape(escape: char, characters: &mut impl Iterator<Item = (usize, char)>) -> Option<char> {
    let mut hexadecimal = |digits: usize| {
        let mut number = 0;
        for _ in 0..digits {
            number = number * 16 + characters.next()?.1.to_digit(16)?;
        }
        char::from_u32(number)
    };
    match escape {
        'n' => Some('\n'),
        't' => Some('\t'),
        'r' => Some('\r'),
        'a' => Some('\u{7}'),
        'b' => Some('\u{8}'),
        'f' => Some('\u{c}'),
        'v' => Some('\u{b}'),
        '\\' => Some('\\'),
        '"' => Some('"'),
        '\'' => Some('\''),
        'x' => hexadecimal(2),
        'u' => hexadecimal(4),
        'U' => hexadecimal(8),
        _ => None,
    }
}
