//! What a backend answered, and what follows from it. The signal crates classify; `deliver.rs` acts.

use std::time::Duration;

use crate::accounting::ErrorType;

/// An answer.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Reply {
    /// Over HTTP.
    Http {
        /// The status code.
        status: u16,
        /// The header `Retry-After`, where it is a number of seconds or a date that is not over.
        retry_after: Option<Duration>,
        /// All headers.
        headers: http::HeaderMap,
        /// The body's beginning, at most 64 KiB.
        body: Vec<u8>,
    },
    /// Over gRPC.
    Grpc {
        /// The status code: 0 is OK.
        code: i32,
        /// The status message; for OK empty.
        message: String,
        /// The delay of `google.rpc.RetryInfo` in the status details.
        retry_delay: Option<Duration>,
        /// The answer's message; for errors empty.
        body: Vec<u8>,
    },
}

/// What an answer means for the batch.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// The backend has it, but for `rejected` items that it refuses for good.
    Delivered {
        /// Items refused.
        rejected: u64,
        /// What the backend said of them.
        message: String,
    },
    /// Try again; not before `after`, if the backend asked for it.
    Retry {
        /// What was wrong.
        error: ErrorType,
        /// The least pause.
        after: Option<Duration>,
        /// What the backend said.
        message: String,
    },
    /// Refused for good: never send it again.
    Rejected {
        /// What was wrong.
        error: ErrorType,
        /// What the backend said.
        message: String,
    },
    /// Not in this form: the signal has changed to another one, encode it anew. Nothing was stored.
    Reencode {
        /// Why, for standard error; empty: it was said before.
        message: String,
    },
    /// Too large: send it in halves.
    Split {
        /// What the backend said.
        message: String,
    },
}

impl Verdict {
    /// Everything arrived.
    #[must_use]
    pub fn delivered() -> Self {
        Self::Delivered { rejected: 0, message: String::new() }
    }
}

/// The beginning of a body as text for a warning: one line, at most 200 characters.
#[must_use]
pub fn excerpt(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body.get(..body.len().min(800)).unwrap_or_default());
    text.chars()
        .map(|character| if character.is_control() { ' ' } else { character })
        .take(200)
        .collect::<String>()
        .trim()
        .to_owned()
}
