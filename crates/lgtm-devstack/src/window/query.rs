//! Parameters of the window's API: typed, bounded, and refused with the parameter's name, its value and what is accepted.

use std::convert::Infallible;
use std::time::Duration;

use axum::Json;
use axum::extract::{FromRequestParts, OriginalUri};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::request::Parts;
use regex::{Regex, RegexBuilder};

use crate::read::parameters::loki_time;

/// The largest program that a regular expression may become, in bytes.
const REGEX_BYTES: usize = 1 << 20;
/// The longest text of one parameter, in bytes.
const MAX_TEXT: usize = 4096;

/// An answer that says what was wrong with the question.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    message: String,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, message: String) -> Self {
        Self { status, message }
    }

    fn bad(name: &str, value: &str, accepted: &str) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            format!("parameter {name:?}: {value:?} is not accepted; accepted: {accepted}"),
        )
    }

    pub(super) fn not_found(message: String) -> Self {
        Self::new(StatusCode::NOT_FOUND, message)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.status, Json(serde_json::json!({ "error": self.message }))).into_response()
    }
}

pub(super) async fn no_such_path(OriginalUri(uri): OriginalUri) -> Refusal {
    Refusal::not_found(format!("the window has nothing at {:?}; its page is at /, its API under /api/v1/", uri.path()))
}

/// The parameters of a request, in the order sent; a name may be there several times.
#[derive(Debug, Default)]
pub(super) struct Query(Vec<(String, String)>);

impl<S: Sync> FromRequestParts<S> for Query {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        Ok(Self::parse(parts.uri.query().unwrap_or_default()))
    }
}

impl Query {
    pub(super) fn parse(query: &str) -> Self {
        let pairs = form_urlencoded::parse(query.as_bytes()).into_owned();
        Self(pairs.filter(|(_, value)| !value.is_empty()).collect())
    }

    /// The same with one value of this parameter, whatever it had.
    pub(super) fn with(&self, name: &str, value: String) -> Self {
        let mut query = self.without(name);
        query.0.push((name.to_owned(), value));
        query
    }

    /// The same without this parameter.
    pub(super) fn without(&self, name: &str) -> Self {
        Self(self.0.iter().filter(|(key, _)| key != name).cloned().collect())
    }

    /// Refuses parameters that are not among `accepted`: one that is misspelt would filter nothing.
    pub(super) fn only(&self, accepted: &[&[&str]]) -> Result<(), Refusal> {
        let known = |name: &str| accepted.iter().any(|names| names.contains(&name));
        match self.0.iter().find(|(name, value)| !known(name) || value.len() > MAX_TEXT) {
            None => Ok(()),
            Some((name, value)) if known(name) => {
                let beginning: String = value.chars().take(32).collect();
                Err(Refusal::bad(name, &format!("{beginning}…"), &format!("a text of up to {MAX_TEXT} bytes")))
            }
            Some((name, value)) => {
                let names: Vec<&str> = accepted.iter().flat_map(|names| names.iter().copied()).collect();
                let message =
                    format!("parameter {name:?} (value {value:?}) is not known; accepted: {}", names.join(", "));
                Err(Refusal::new(StatusCode::BAD_REQUEST, message))
            }
        }
    }

    pub(super) fn first(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub(super) fn texts(&self, name: &str) -> Vec<String> {
        self.all(name).map(str::to_owned).collect()
    }

    /// A whole number from `least` to `most`.
    pub(super) fn number(&self, name: &str, default: u64, least: u64, most: u64) -> Result<u64, Refusal> {
        let Some(text) = self.first(name) else { return Ok(default) };
        let number = text.parse().ok().filter(|number| (least..=most).contains(number));
        number.ok_or_else(|| Refusal::bad(name, text, &format!("a whole number from {least} to {most}")))
    }

    /// True or false; false if absent.
    pub(super) fn flag(&self, name: &str) -> Result<bool, Refusal> {
        match self.first(name) {
            None | Some("0" | "false") => Ok(false),
            Some("1" | "true") => Ok(true),
            Some(other) => Err(Refusal::bad(name, other, "1 or 0")),
        }
    }

    /// Some words, each one of `words`.
    pub(super) fn each_of<T: Copy>(&self, name: &str, words: &[(&str, T)]) -> Result<Vec<T>, Refusal> {
        let meaning = |text: &str| {
            let found = words.iter().find(|(word, _)| *word == text).map(|(_, meaning)| *meaning);
            found.ok_or_else(|| {
                let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
                Refusal::bad(name, text, &words.join(", "))
            })
        };
        self.all(name).map(meaning).collect()
    }

    /// One of some words.
    pub(super) fn one_of<T: Copy>(&self, name: &str, words: &[(&str, T)]) -> Result<Option<T>, Refusal> {
        self.each_of(name, words).map(|found| found.first().copied())
    }

    /// A length of time, as `250ms`, `1.5s`, `15m`.
    pub(super) fn duration(&self, name: &str) -> Result<Option<Duration>, Refusal> {
        let Some(text) = self.first(name) else { return Ok(None) };
        duration(text).map(Some).ok_or_else(|| {
            Refusal::bad(name, text, "a number with one of the units ns, us, ms, s, m, h, d, as in 250ms")
        })
    }

    /// The span of time that `from` and `to`, or `last`, give, in nanoseconds since 1970; all time without them.
    pub(super) fn range(&self, now_ns: i64) -> Result<Range, Refusal> {
        let time = |name: &str| {
            let Some(text) = self.first(name) else { return Ok(None) };
            loki_time(text)
                .map(Some)
                .ok_or_else(|| Refusal::bad(name, text, "nanoseconds or seconds since 1970, or an RFC 3339 time"))
        };
        let last = self.duration("last")?.map(|last| i64::try_from(last.as_nanos()).unwrap_or(i64::MAX));
        let from = time("from")?.or(last.map(|last| now_ns.saturating_sub(last)));
        let range = Range { from: from.unwrap_or(i64::MIN), to: time("to")?.unwrap_or(i64::MAX) };
        if range.from > range.to {
            return Err(Refusal::bad("to", self.first("to").unwrap_or_default(), "a time not before that of from"));
        }
        Ok(range)
    }

    /// A regular expression in the syntax of the `regex` crate.
    pub(super) fn regex(&self, name: &str) -> Result<Option<Regex>, Refusal> {
        self.first(name).map(|text| compile(name, text)).transpose()
    }

    /// A text that is looked for whatever its case.
    pub(super) fn text(&self, name: &str) -> Result<Option<Regex>, Refusal> {
        let Some(text) = self.first(name) else { return Ok(None) };
        let pattern = RegexBuilder::new(&regex::escape(text)).case_insensitive(true).size_limit(REGEX_BYTES).build();
        pattern.map(Some).map_err(|_| Refusal::bad(name, text, "a shorter text"))
    }

    /// Conditions on attributes: `name=value`, `name!=value`, `name=~regex`, `name!~regex`. All must hold.
    pub(super) fn attributes(&self, name: &str) -> Result<Vec<AttributeFilter>, Refusal> {
        self.all(name).map(|text| AttributeFilter::parse(name, text)).collect()
    }
}

/// A span of time, both ends within, in nanoseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) from: i64,
    pub(super) to: i64,
}

impl Range {
    pub(super) fn contains(self, time_ns: i64) -> bool {
        self.from <= time_ns && time_ns <= self.to
    }

    /// [`contains`](Self::contains) for a span's time.
    pub(super) fn contains_unsigned(self, time_ns: u64) -> bool {
        self.contains(i64::try_from(time_ns).unwrap_or(i64::MAX))
    }
}

/// A condition on one attribute, which is the empty text where it is absent.
#[derive(Debug)]
pub(super) struct AttributeFilter {
    pub(super) name: String,
    wanted: bool,
    value: Wanted,
}

#[derive(Debug)]
enum Wanted {
    Exactly(String),
    Matching(Regex),
}

impl AttributeFilter {
    fn parse(parameter: &str, text: &str) -> Result<Self, Refusal> {
        let accepted = "name=value, name!=value, name=~regex or name!~regex";
        let bad = || Refusal::bad(parameter, text, accepted);
        let at = text.find(['=', '!']).filter(|at| *at > 0).ok_or_else(bad)?;
        let (name, rest) = text.split_at_checked(at).ok_or_else(bad)?;
        let whole = |pattern: &str| compile(parameter, &format!("^(?:{pattern})$"));
        let (wanted, value) = if let Some(pattern) = rest.strip_prefix("=~") {
            (true, Wanted::Matching(whole(pattern)?))
        } else if let Some(pattern) = rest.strip_prefix("!~") {
            (false, Wanted::Matching(whole(pattern)?))
        } else if let Some(value) = rest.strip_prefix("!=") {
            (false, Wanted::Exactly(value.to_owned()))
        } else {
            (true, Wanted::Exactly(rest.strip_prefix('=').ok_or_else(bad)?.to_owned()))
        };
        Ok(Self { name: name.trim().to_owned(), wanted, value })
    }

    /// Whether a value satisfies the condition.
    pub(super) fn accepts(&self, value: Option<&str>) -> bool {
        let value = value.unwrap_or_default();
        let is = match &self.value {
            Wanted::Exactly(wanted) => wanted == value,
            Wanted::Matching(pattern) => pattern.is_match(value),
        };
        is == self.wanted
    }
}

fn compile(name: &str, pattern: &str) -> Result<Regex, Refusal> {
    RegexBuilder::new(pattern).size_limit(REGEX_BYTES).build().map_err(|error| {
        let why = error.to_string();
        let why = why.lines().last().unwrap_or_default().trim_start_matches("error: ");
        Refusal::bad(name, pattern, &format!("a regular expression as Rust's regex crate reads it ({why})"))
    })
}

fn duration(text: &str) -> Option<Duration> {
    let unit_at = text.find(|character: char| character.is_ascii_alphabetic() || character == 'µ')?;
    let (number, unit) = text.split_at_checked(unit_at)?;
    let unit = match unit {
        "ns" => 1e-9,
        "us" | "µs" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        "d" => 86_400.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(number.trim().parse::<f64>().ok()? * unit).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(outcome: Result<impl std::fmt::Debug, Refusal>) -> String {
        outcome.unwrap_err().message
    }

    #[test]
    fn a_refusal_names_the_parameter_the_value_and_what_is_accepted() {
        let query = Query::parse("limit=5000&min=fast&regex=(&from=yesterday&attr=%3Dx&level=loud&follow=2");
        for (said, parts) in [
            (message(query.number("limit", 1, 1, 1000)), ["\"limit\"", "\"5000\"", "from 1 to 1000"]),
            (message(query.duration("min")), ["\"min\"", "\"fast\"", "250ms"]),
            (message(query.regex("regex")), ["\"regex\"", "\"(\"", "unclosed group"]),
            (message(query.range(0)), ["\"from\"", "\"yesterday\"", "RFC 3339"]),
            (message(query.attributes("attr")), ["\"attr\"", "\"=x\"", "name=~regex"]),
            (message(query.one_of("level", &[("info", 1), ("warn", 2)])), ["\"level\"", "\"loud\"", "info, warn"]),
            (message(query.flag("follow")), ["\"follow\"", "\"2\"", "1 or 0"]),
            (message(query.only(&[&["limit"], &["min"]])), ["\"regex\"", "\"(\"", "limit, min"]),
        ] {
            for part in parts {
                assert!(said.contains(part), "{part}: {said}");
            }
        }
    }

    #[test]
    fn times_and_lengths_are_read_with_their_units() {
        let query = Query::parse("min=1.5s&max=250us&last=15m");
        assert_eq!(query.duration("min").unwrap(), Some(Duration::from_millis(1500)));
        assert_eq!(query.duration("max").unwrap(), Some(Duration::from_micros(250)));
        assert_eq!(query.range(1_000_000_000_000).unwrap(), Range { from: 100_000_000_000, to: i64::MAX });
        assert!(message(Query::parse("from=1700000001&to=1700000000").range(0)).contains("not before"));
    }

    #[test]
    fn conditions_on_attributes_take_what_is_absent_as_empty() {
        let one = |text: &str| AttributeFilter::parse("attr", text).unwrap();
        assert!(one("sku=221").accepts(Some("221")));
        assert!(!one("sku=221").accepts(None));
        assert!(one("sku!=221").accepts(None));
        assert!(one("route=~/orders.*").accepts(Some("/orders/7")));
        assert!(!one("route=~orders").accepts(Some("/orders/7")), "the whole value is matched");
        assert!(one("route!~/orders.*").accepts(Some("/products")));
        assert!(one("a=b=c").accepts(Some("b=c")));
    }
}
