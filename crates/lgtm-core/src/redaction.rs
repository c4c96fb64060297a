//! Which names stand for secrets: the values of such fields never leave the process. One list for the whole process, changed at
//! the start; callsites are judged when they come into use (`callsite.rs`), all other names when they are written.
//!
//! # How names match
//!
//! A name has words: they end at every character that is neither letter nor digit, and where a capital begins
//! (`db.user-password`, `apiKey`). Digits at the end do not count. A name of the list matches if it is the name, or its last
//! words, in any case and however they are joined: `api_key` matches `API-Key`, `apikey`, `stripe.apiKey` and `api_key_2`;
//! `token` matches `csrf_token`, but neither `token_count` nor `tokens`. Where names of both lists match, the longer one decides.

use std::collections::HashMap;
use std::sync::LazyLock;

use parking_lot::RwLock;
use tracing_core::callsite::rebuild_interest_cache;

/// What stands in the place of a value that is not shown.
pub const REDACTED: &str = "[redacted]";

/// The names that stand for secrets unless the program says otherwise.
pub const DEFAULTS: &[&str] = &[
    "password",
    "passwords",
    "passwd",
    "pwd",
    "passphrase",
    "passcode",
    "password_hash",
    "secret",
    "secrets",
    "credential",
    "credentials",
    "token",
    "jwt",
    "bearer",
    "authorization",
    "authorization_header",
    "auth_header",
    "cookie",
    "cookies",
    "api_key",
    "api_keys",
    "access_key",
    "account_key",
    "auth_key",
    "client_key",
    "decryption_key",
    "encryption_key",
    "master_key",
    "private_key",
    "secret_key",
    "session_key",
    "shared_key",
    "signing_key",
    "ssh_key",
    "connection_string",
    "database_url",
    "dsn",
];

static RULES: LazyLock<RwLock<Rules>> = LazyLock::new(|| RwLock::new(Rules::with_defaults()));

/// Adds names: values of fields that match are replaced by `[redacted]` from here on, in logs, spans, events, links and metric
/// labels. For the whole process; names without a letter or digit are passed over.
pub fn redact<N: AsRef<str>>(names: impl IntoIterator<Item = N>) {
    change(names, true);
}

/// Values of fields that match these names are shown, also where a shorter name of the list matches: `page_token` in spite of
/// `token`; `token` itself switches that default off. For the whole process.
pub fn allow<N: AsRef<str>>(names: impl IntoIterator<Item = N>) {
    change(names, false);
}

/// Whether the value of a field of this name must not leave the process.
#[must_use]
pub fn is_redacted(name: &str) -> bool {
    RULES.read().decide(name)
}

/// Whether a name has a letter or digit: others can match nothing.
#[must_use]
pub fn is_name(name: &str) -> bool {
    name.bytes().any(is_letter)
}

fn change<N: AsRef<str>>(names: impl IntoIterator<Item = N>, secret: bool) {
    let changed = {
        let mut rules = RULES.write();
        // Every name counts: no short circuit.
        names.into_iter().fold(false, |changed, name| rules.set(name.as_ref(), secret) | changed)
    };
    if changed {
        crate::callsite::forget();
        // Every callsite is judged anew.
        rebuild_interest_cache();
    }
}

/// Names backwards, lower case, without what joins their words: the end of a name decides.
#[derive(Default)]
struct Rules {
    secret: HashMap<Vec<u8>, bool>,
    longest: usize,
}

impl Rules {
    fn with_defaults() -> Self {
        let mut rules = Self::default();
        for name in DEFAULTS {
            rules.set(name, true);
        }
        rules
    }

    /// True if that is new.
    fn set(&mut self, name: &str, secret: bool) -> bool {
        let key: Vec<u8> =
            name.bytes().rev().filter(|byte| is_letter(*byte)).map(|byte| byte.to_ascii_lowercase()).collect();
        if key.is_empty() {
            return false;
        }
        self.longest = self.longest.max(key.len());
        self.secret.insert(key, secret) != Some(secret)
    }

    fn decide(&self, name: &str) -> bool {
        let name = name.as_bytes();
        // Numbers at the end, and what stands around them, do not count.
        let counts = |byte: &u8| is_letter(*byte) && !byte.is_ascii_digit();
        let name = name.iter().rposition(counts).and_then(|last| name.get(..=last)).unwrap_or_default();
        let mut ending = [0_u8; MOST_LETTERS];
        let mut length = 0;
        let mut decision = false;
        for (place, byte) in name.iter().enumerate().rev() {
            if !is_letter(*byte) {
                continue;
            }
            let Some(letter) = ending.get_mut(length) else { break };
            *letter = byte.to_ascii_lowercase();
            length += 1;
            if length > self.longest {
                break;
            }
            if begins_a_word(name, place)
                && let Some(secret) = ending.get(..length).and_then(|ending| self.secret.get(ending))
            {
                decision = *secret;
            }
        }
        decision
    }
}

/// The longest name of a list that can match.
const MOST_LETTERS: usize = 128;

/// Bytes of characters beyond ASCII count as letters.
fn is_letter(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte >= 0x80
}

fn begins_a_word(name: &[u8], place: usize) -> bool {
    let Some(before) = place.checked_sub(1).and_then(|before| name.get(before)) else { return true };
    let capital = |place: usize| name.get(place).is_some_and(u8::is_ascii_uppercase);
    let small = |place: usize| name.get(place).is_some_and(u8::is_ascii_lowercase);
    // `apiKey`, and the end of the capitals in `APIKey`.
    !is_letter(*before) || (capital(place) && (!before.is_ascii_uppercase() || small(place + 1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redacted<'n>(rules: &Rules, names: &[&'n str]) -> Vec<&'n str> {
        names.iter().copied().filter(|name| rules.decide(name)).collect()
    }

    #[test]
    fn names_match_whole_or_by_their_last_words_however_they_are_written() {
        let rules = Rules::with_defaults();
        let secret = [
            "password",
            "PASSWORD",
            "Password",
            "db.password",
            "user_password",
            "userPassword",
            "user-password",
            "password1",
            "password_2",
            "passwords[0]",
            "token",
            "access_token",
            "accessToken",
            "X-Auth-Token",
            "CSRFToken",
            "authorization",
            "http.request.header.authorization",
            "Proxy-Authorization",
            "set-cookie",
            "api_key",
            "apikey",
            "apiKey",
            "APIKey",
            "API-KEY",
            "stripe.api.key",
            "http.request.header.x-api-key",
            "aws_secret_access_key",
            "privateKey",
            "client_secret",
            "db.connection_string",
            "größe.password",
        ];
        assert_eq!(redacted(&rules, &secret), secret);
        let shown = [
            "",
            ".",
            "_",
            "7",
            "token_count",
            "tokens",
            "completion_tokens",
            "token_type",
            "tokenizer",
            "password_length",
            "password_policy",
            "passwordless",
            "secretary",
            "secret_name",
            "cookie_name",
            "authorized",
            "key",
            "keys",
            "monkey",
            "api_key_name",
            "compass",
            "message",
            "trace_id",
            "order_id",
            "author",
            "bypassword",
            "http.route",
        ];
        assert_eq!(redacted(&rules, &shown), Vec::<&str>::new());
    }

    #[test]
    fn of_two_matching_names_the_longer_one_decides() {
        let mut rules = Rules::with_defaults();
        assert!(rules.set("page_token", false) && !rules.set("pageToken", false));
        assert_eq!(
            redacted(&rules, &["token", "page_token", "next.pageToken", "homepage_token"]),
            ["token", "homepage_token"]
        );
        assert!(rules.set("token", false) && rules.set("my.token", true));
        assert_eq!(redacted(&rules, &["token", "csrf_token", "my_token"]), ["my_token"]);
        assert!(rules.set("SSN", true));
        assert_eq!(redacted(&rules, &["ssn", "customer.ssn", "ssn_known"]), ["ssn", "customer.ssn"]);
        assert!(!rules.set("...", true), "no name");
    }

    #[test]
    fn names_of_any_length_are_judged() {
        let long = format!("{}.password", "x".repeat(10_000));
        let rules = Rules::with_defaults();
        assert!(rules.decide(&long));
        assert!(!rules.decide(&"password".repeat(10_000)));
    }
}
