//! `tracestate`: checked, shortened, passed on. Caller threads; pure functions.
//! Source: W3C Trace Context Level 2, section 3.3.

/// Most list members (section 3.3.1.1).
const MEMBERS: usize = 32;
/// Longest key and longest value (sections 3.3.1.3.1 and 3.3.1.3.2).
const PART: usize = 256;
/// Longest `tracestate` that is passed on; at least 512 characters are asked for (section 3.3.1.5).
const LENGTH: usize = 8192;
/// What is longer goes first if the whole is too long (section 3.3.1.5).
const LONG_MEMBER: usize = 128;

/// The list members of all headers together, the first of several with the same key. `None` if one of them is malformed, if
/// they are too many, or if there is none.
pub(super) fn join(headers: &[String]) -> Option<String> {
    let space = [' ', '\t'];
    let members = headers.iter().flat_map(|header| header.split(',')).map(|member| member.trim_matches(space));
    let mut kept: Vec<(&str, &str)> = Vec::new();
    for member in members.filter(|member| !member.is_empty()) {
        let (key, value) = member.split_once('=').filter(|(key, value)| is_key(key) && is_value(value))?;
        if kept.iter().any(|(known, _)| *known == key) {
            continue;
        }
        if kept.len() == MEMBERS {
            return None;
        }
        kept.push((key, value));
    }
    let length =
        |members: &[(&str, &str)]| members.iter().map(|(key, value)| key.len() + value.len() + 2).sum::<usize>();
    while length(&kept) > LENGTH {
        match kept.iter().rposition(|(key, value)| key.len() + value.len() + 1 > LONG_MEMBER) {
            Some(long) => drop(kept.remove(long)),
            None => drop(kept.pop()),
        }
    }
    let members: Vec<_> = kept.iter().map(|(key, value)| format!("{key}={value}")).collect();
    (!members.is_empty()).then(|| members.join(","))
}

fn is_key(key: &str) -> bool {
    let begins = key.starts_with(|first: char| first.is_ascii_lowercase() || first.is_ascii_digit());
    begins
        && key.len() <= PART
        && key.bytes().all(|byte| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-' | b'*' | b'/' | b'@')
        })
}

/// A value that ends in a space has lost it as white space before.
fn is_value(value: &str) -> bool {
    (1..=PART).contains(&value.len()) && value.bytes().all(|byte| matches!(byte, 0x20..=0x7e) && byte != b'=')
}
