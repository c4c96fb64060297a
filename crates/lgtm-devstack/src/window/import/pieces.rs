//! A body of any length cut into pieces, each of which is a JSON document: its lines, or the whole where the first line is not one.
//! It holds the piece that is being read, never more than the limit.

use serde::de::IgnoredAny;

/// A part of the body that should be a document of its own, or what is known of one that is too long. With the number of its first line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece {
    Line(u64, Vec<u8>),
    /// Documents over several lines.
    Whole(u64, Vec<u8>),
    TooLong(u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// No line was seen yet that is not blank.
    Undecided,
    Lines,
    Whole,
    /// What comes up to the end of the line, or in the whole, is passed over.
    PassingLine,
    PassingWhole,
}

pub(super) struct Cutter {
    limit: usize,
    mode: Mode,
    /// The number of the line at the buffer's beginning, from 1.
    line: u64,
    buffer: Vec<u8>,
    /// How far the buffer has been searched for the end of a line.
    searched: usize,
}

impl Cutter {
    /// `limit` in bytes is of one piece.
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, mode: Mode::Undecided, line: 1, buffer: Vec::new(), searched: 0 }
    }

    /// The bytes held now.
    pub(super) fn held(&self) -> usize {
        self.buffer.len()
    }

    /// The pieces that these bytes complete.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Vec<Piece> {
        let mut pieces = Vec::new();
        if self.mode == Mode::PassingWhole {
            return pieces;
        }
        self.buffer.extend_from_slice(bytes);
        let mut begin = 0;
        while self.mode != Mode::Whole {
            let rest = self.buffer.get(begin.max(self.searched)..).unwrap_or_default();
            let Some(length) = rest.iter().position(|byte| *byte == b'\n') else { break };
            let end = begin.max(self.searched) + length + 1;
            self.searched = 0;
            let line = trimmed(self.buffer.get(begin..end).unwrap_or_default());
            match self.mode {
                Mode::PassingLine => self.mode = Mode::Lines,
                // It goes on: the buffer keeps this line too.
                Mode::Undecided if is_beginning(line) => {
                    self.mode = Mode::Whole;
                    break;
                }
                _ if line.is_empty() => {}
                _ if line.len() > self.limit => {
                    self.mode = Mode::Lines;
                    pieces.push(Piece::TooLong(self.line));
                }
                _ => {
                    self.mode = Mode::Lines;
                    pieces.push(Piece::Line(self.line, line.to_vec()));
                }
            }
            self.line += 1;
            begin = end;
        }
        self.buffer.drain(..begin);
        self.searched = self.buffer.len();
        match self.mode {
            Mode::PassingLine => self.forget(),
            _ if self.buffer.len() <= self.limit => {}
            Mode::Whole => {
                pieces.push(Piece::TooLong(self.line));
                self.forget();
                self.mode = Mode::PassingWhole;
            }
            _ => {
                pieces.push(Piece::TooLong(self.line));
                self.forget();
                self.mode = Mode::PassingLine;
            }
        }
        pieces
    }

    /// The last piece, where the body does not end with the end of a line.
    pub(super) fn end(mut self) -> Option<Piece> {
        let rest = trimmed(&self.buffer);
        match self.mode {
            Mode::PassingLine | Mode::PassingWhole => None,
            _ if rest.is_empty() => None,
            Mode::Whole => {
                if self.buffer.starts_with(MARK) {
                    self.buffer.drain(..MARK.len());
                }
                Some(Piece::Whole(self.line, self.buffer))
            }
            Mode::Undecided | Mode::Lines => Some(Piece::Line(self.line, rest.to_vec())),
        }
    }

    fn forget(&mut self) {
        self.buffer = Vec::new();
        self.searched = 0;
    }
}

/// Whether a line is the beginning of a document that goes on in the next one.
fn is_beginning(line: &[u8]) -> bool {
    !line.is_empty() && serde_json::from_slice::<IgnoredAny>(line).is_err_and(|error| error.is_eof())
}

/// By which some programs begin UTF-8.
const MARK: &[u8] = b"\xef\xbb\xbf";

/// Without white space and the mark around it.
fn trimmed(line: &[u8]) -> &[u8] {
    line.strip_prefix(MARK).unwrap_or(line).trim_ascii()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The pieces of a body that comes in chunks of this size.
    fn cut(body: &[u8], limit: usize, chunk: usize) -> Vec<Piece> {
        let mut cutter = Cutter::new(limit);
        let mut pieces = Vec::new();
        for part in body.chunks(chunk) {
            pieces.extend(cutter.push(part));
            assert!(cutter.held() <= limit, "{} bytes are held", cutter.held());
        }
        pieces.extend(cutter.end());
        pieces
    }

    fn line(number: u64, text: &str) -> Piece {
        Piece::Line(number, text.as_bytes().to_vec())
    }

    #[test]
    fn lines_are_documents_and_keep_their_numbers_however_the_body_comes() {
        let body = b"\xef\xbb\xbf\n{\"a\":1}\r\n\n  {broken}\n{\"cut\": [\n{\"b\":2}";
        let expected = [line(2, "{\"a\":1}"), line(4, "{broken}"), line(5, "{\"cut\": ["), line(6, "{\"b\":2}")];
        for chunk in [1, 2, 3, 7, 100] {
            assert_eq!(cut(body, 1000, chunk), expected, "{chunk}");
        }
    }

    #[test]
    fn a_document_over_several_lines_is_one_piece() {
        let body = b"\n{\n  \"a\": [\n    1\n  ]\n}\n";
        for chunk in [1, 4, 100] {
            assert_eq!(cut(body, 1000, chunk), [Piece::Whole(2, body[1..].to_vec())], "{chunk}");
            let marked = [MARK, &body[1..]].concat();
            assert_eq!(cut(&marked, 1000, chunk), [Piece::Whole(1, body[1..].to_vec())], "{chunk}");
        }
    }

    #[test]
    fn what_is_too_long_is_told_and_passed_over_and_never_held() {
        let long = "x".repeat(300);
        let body = format!("{{\"a\":1}}\n{{\"long\":\"{long}\"}}\n{{\"b\":2}}\n{long}");
        for chunk in [1, 10, 99] {
            let pieces = cut(body.as_bytes(), 100, chunk);
            assert_eq!(pieces, [line(1, "{\"a\":1}"), Piece::TooLong(2), line(3, "{\"b\":2}"), Piece::TooLong(4)]);
            let whole = format!("{{\n{long}\n{long}");
            assert_eq!(cut(whole.as_bytes(), 100, chunk), [Piece::TooLong(1)]);
        }
    }

    #[test]
    fn a_body_of_nothing_has_no_piece() {
        assert_eq!(cut(b"", 10, 1), []);
        assert_eq!(cut(b"\n \r\n\t", 10, 1), []);
    }
}
