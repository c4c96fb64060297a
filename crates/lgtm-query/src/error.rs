//! What can go wrong with a query. No variant holds a credential: URLs lose their user info before
//! they get here, and headers are never shown.

use std::time::Duration;

/// The longest server message that an error carries, in bytes.
pub(crate) const MAX_MESSAGE_BYTES: usize = 1024;

/// Why a client could not be built or a query has no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The base URL cannot be used.
    #[error(
        "the URL `{value}` cannot be used: {reason}; accepted: http:// or https://, a host, optionally a port and a path prefix"
    )]
    InvalidUrl {
        /// The URL as given, without user info and query.
        value: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A tenant, user name, password or token holds a byte that a header cannot carry. The value is not shown.
    #[error("the {name} cannot be sent as a header: only visible ASCII characters are accepted")]
    InvalidHeader {
        /// Which setting it is.
        name: &'static str,
    },
    /// A trace or span id that is not hexadecimal.
    #[error("`{value}` is not a {kind} id; accepted: 1 to {digits} hexadecimal digits")]
    InvalidId {
        /// The text as given, shortened.
        value: String,
        /// `trace` or `span`.
        kind: &'static str,
        /// The number of digits of a full id.
        digits: usize,
    },
    /// Text that is not a trace in OTLP's JSON.
    #[error("not a trace in OTLP's JSON: {reason}")]
    InvalidTrace {
        /// Where decoding stopped.
        reason: String,
    },
    /// TLS could not be set up.
    #[error("TLS for {url} cannot be set up: {reason}")]
    Tls {
        /// The base URL.
        url: String,
        /// What the TLS library said.
        reason: String,
    },
    /// No answer: connection refused, name not found, TLS failure, connection closed.
    #[error("GET {url}: no answer: {reason}")]
    Transport {
        /// The URL that was asked.
        url: String,
        /// The chain of causes.
        reason: String,
    },
    /// No complete answer within the client's timeout.
    #[error("GET {url}: no complete answer within {after:?}")]
    Timeout {
        /// The URL that was asked.
        url: String,
        /// The timeout.
        after: Duration,
    },
    /// The server refused: a status other than 200, or a body that says `"status":"error"`.
    #[error("GET {url}: status {status}: {message}")]
    Status {
        /// The URL that was asked.
        url: String,
        /// The HTTP status code.
        status: u16,
        /// The server's own words, at most 1 KiB.
        message: String,
    },
    /// The answer has the right status and the wrong content.
    #[error("GET {url}: status {status}, but the body is not the expected answer: {reason}; it begins: {excerpt}")]
    Decode {
        /// The URL that was asked.
        url: String,
        /// The HTTP status code.
        status: u16,
        /// Where decoding stopped.
        reason: String,
        /// The beginning of the body.
        excerpt: String,
    },
    /// The answer is longer than the client's limit.
    #[error("GET {url}: status {status}, but the body is longer than {limit_bytes} bytes")]
    TooLarge {
        /// The URL that was asked.
        url: String,
        /// The HTTP status code.
        status: u16,
        /// The limit, see [`ClientBuilder::max_response_bytes`](crate::ClientBuilder::max_response_bytes).
        limit_bytes: usize,
    },
    /// A [`Wait`](crate::Wait) ended before its condition held.
    #[error("waited {waited:?} in {attempts} attempts, and {}", last_words(.last))]
    WaitExpired {
        /// How long it waited.
        waited: Duration,
        /// How many queries were started.
        attempts: u32,
        /// The error of the last completed query; absent if it succeeded with an answer that did not satisfy the condition,
        /// or if no query completed.
        last: Option<Box<Error>>,
    },
}

impl Error {
    /// Whether the same query may succeed later: no answer, a timeout, 408, 425, 429 or a status from 500 on.
    /// A refused query, a wrong content and a wrong setting stay wrong.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Transport { .. } | Self::Timeout { .. } | Self::WaitExpired { .. } => true,
            Self::Status { status, .. } => matches!(status, 408 | 425 | 429) || *status >= 500,
            _ => false,
        }
    }

    /// The HTTP status of the answer, when there was one.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Status { status, .. } | Self::Decode { status, .. } | Self::TooLarge { status, .. } => Some(*status),
            _ => None,
        }
    }
}

fn last_words(last: &Option<Box<Error>>) -> String {
    match last {
        Some(error) => format!("the last answer was an error: {error}"),
        None => "the condition did not hold".to_owned(),
    }
}

/// `text` on one line, without control characters, cut at `limit` bytes.
pub(crate) fn one_line(text: &str, limit: usize) -> String {
    let mut line = String::with_capacity(text.len().min(limit));
    let mut gap = false;
    for character in text.trim().chars() {
        if character.is_whitespace() || character.is_control() {
            gap = true;
            continue;
        }
        if gap {
            line.push(' ');
            gap = false;
        }
        if line.len() + character.len_utf8() > limit {
            line.push('…');
            return line;
        }
        line.push(character);
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_messages_are_cut_between_characters() {
        let line = one_line(&"é".repeat(2000), MAX_MESSAGE_BYTES);
        assert_eq!(line.len(), MAX_MESSAGE_BYTES + '…'.len_utf8());
        assert!(line.ends_with('…'));
    }

    #[test]
    fn line_breaks_and_escapes_become_spaces() {
        assert_eq!(one_line(" a\r\n\tb\u{1b}[31mc ", 100), "a b [31mc");
    }
}
