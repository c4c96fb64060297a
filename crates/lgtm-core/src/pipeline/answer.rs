//! What a backend answered, and what follows from it. The signal crates classify; `deliver.rs` acts.

use std::time::Duration;

use http::header::LOCATION;
use url::Url;

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

impl Reply {
    /// What follows from a redirect (any 3xx), over HTTP: it is refused. To follow it would give the tenant, the credentials and
    /// the data to whoever the answer names. `None` for other answers.
    #[must_use]
    pub fn redirect(&self) -> Option<Verdict> {
        let Self::Http { status: status @ 300..=399, headers, .. } = self else { return None };
        let to = headers.get(LOCATION).map(|to| place(to.as_bytes()));
        let to = to.map_or_else(|| "to nowhere".to_owned(), |to| format!("to {to}"));
        let message =
            format!("{status}, a redirect {to}: it is not followed; set the endpoint's URL to the final address");
        Some(Verdict::Rejected { error: ErrorType::Rejected, message })
    }
}

/// Where a redirect points, without what may be secret: the query, the fragment, the credentials.
fn place(location: &[u8]) -> String {
    let text = String::from_utf8_lossy(location);
    match Url::parse(&text) {
        Ok(mut url) => {
            url.set_query(None);
            url.set_fragment(None);
            // Both calls fail only for URLs without a host.
            let _ = url.set_username("");
            let _ = url.set_password(None);
            excerpt(url.as_str().as_bytes())
        }
        // `//host/path` keeps the scheme alone.
        Err(_) if text.starts_with("//") => place(format!("https:{text}").as_bytes()).replacen("https:", "", 1),
        Err(_) => {
            let path = text.split(['?', '#']).next().unwrap_or_default();
            format!("`{}` on the same host", excerpt(path.as_bytes()))
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_names_its_aim_without_secrets_and_is_refused() {
        for (location, named) in [
            (
                Some("https://me:hunter2@loki.example:3100/push?token=hunter2#hunter2"),
                "to https://loki.example:3100/push:",
            ),
            (Some("/login?state=hunter2"), "to `/login` on the same host:"),
            (Some("//elsewhere.example/"), "to //elsewhere.example/:"),
            (None, "to nowhere:"),
        ] {
            let headers = location.map(|location| (LOCATION, location.parse().unwrap())).into_iter().collect();
            let reply = Reply::Http { status: 307, retry_after: None, headers, body: Vec::new() };
            let Some(Verdict::Rejected { error: ErrorType::Rejected, message }) = reply.redirect() else {
                panic!("{reply:?}");
            };
            assert!(message.starts_with("307, a redirect ") && message.contains(named), "{message}");
            assert!(message.contains("set the endpoint's URL") && !message.contains("hunter2"), "{message}");
        }
        for status in [200, 299, 400] {
            let headers = http::HeaderMap::from_iter([(LOCATION, "https://loki.example".parse().unwrap())]);
            assert_eq!(Reply::Http { status, retry_after: None, headers, body: Vec::new() }.redirect(), None);
        }
    }
}
