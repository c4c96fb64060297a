//! The forms of single values. Pure functions.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use lgtm_core::pipeline::Overflow;
use lgtm_core::{EndpointError, redaction};
use percent_encoding::percent_decode_str;

#[cfg(feature = "devstack")]
use crate::devstack::Wanted;
use crate::error::Error;

pub(super) const URL_FORM: &str = "a URL such as http://localhost:3100 or https://user:password@host";
pub(super) const DURATION_FORM: &str = "a time above zero with its unit, such as 500ms, 5s or 1m";
#[cfg(feature = "spool")]
pub(super) const AGE_FORM: &str = "a time above zero with its unit, such as 30m, 6h or 7d, up to 30 days";
#[cfg(feature = "spool")]
pub(super) const BYTES_FORM: &str = "a number of bytes, such as 512MiB, of at least 1MiB";
pub(super) const OVERFLOW_FORM: &str = "drop_newest, or block:<time> such as block:5s";
pub(super) const ADDRESS_FORM: &str = "off, a port such as 9090 of the loopback address, or host:port with an IP address or localhost, such as 0.0.0.0:9090 or [::]:9090";

pub(super) const NAMES_FORM: &str =
    "names of fields separated by commas, with a `-` in front of those whose values are shown: ssn,-page_token";

/// Names of fields, and whether their values are left out.
pub(super) fn names(text: &str) -> Option<Vec<(String, bool)>> {
    let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
    names
        .map(|name| {
            let (name, redacted) = name.strip_prefix('-').map_or((name, true), |shown| (shown.trim(), false));
            redaction::is_name(name).then(|| (name.to_owned(), redacted))
        })
        .collect()
}

const DAY: u64 = 24 * 60 * 60;

/// A whole number with the unit ms, s, m or h, up to a day.
pub(super) fn duration(text: &str) -> Option<Duration> {
    // A day bounds it: later sums with the clock must not overflow.
    time(text).filter(|time| *time <= Duration::from_secs(DAY))
}

/// The same with the unit d too, up to 30 days.
#[cfg(feature = "spool")]
pub(super) fn age(text: &str) -> Option<Duration> {
    time(text).filter(|time| *time <= Duration::from_secs(30 * DAY))
}

fn time(text: &str) -> Option<Duration> {
    let (number, unit) = number_and_unit(text)?;
    let seconds = match unit {
        "ms" => return Some(Duration::from_millis(number)).filter(|time| *time > Duration::ZERO),
        "s" => 1,
        "m" => 60,
        "h" => 60 * 60,
        "d" => DAY,
        _ => return None,
    };
    Some(Duration::from_secs(number.checked_mul(seconds)?)).filter(|time| *time > Duration::ZERO)
}

/// A whole number of bytes, with or without the unit KiB, MiB or GiB.
#[cfg(feature = "spool")]
pub(super) fn bytes(text: &str) -> Option<u64> {
    if let Ok(bytes) = text.parse() {
        return Some(bytes);
    }
    let (number, unit) = number_and_unit(text)?;
    let shift = match unit {
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        _ => return None,
    };
    number.checked_mul(1 << shift)
}

fn number_and_unit(text: &str) -> Option<(u64, &str)> {
    let digits = text.find(|character: char| !character.is_ascii_digit())?;
    let (number, unit) = text.split_at_checked(digits)?;
    Some((number.parse().ok()?, unit.trim_start()))
}

/// `true` or `false`, in any case.
pub(super) fn switch(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    }
}

#[cfg(feature = "devstack")]
pub(super) const DEVSTACK_FORM: &str = "true, false or force";

/// Whether the development stack runs in the program.
#[cfg(feature = "devstack")]
pub(super) fn devstack(text: &str) -> Option<Wanted> {
    match text.to_ascii_lowercase().as_str() {
        "true" => Some(Wanted::InDebugBuilds),
        "false" => Some(Wanted::Off),
        "force" => Some(Wanted::Always),
        _ => None,
    }
}

/// What happens when a queue is full.
pub(super) fn overflow(text: &str) -> Option<Overflow> {
    match text.split_once(':') {
        None if text == "drop_newest" => Some(Overflow::DropNewest),
        Some(("block", time)) => duration(time).map(Overflow::Block),
        _ => None,
    }
}

pub(super) const RATE_FORM: &str = "a number of lines within a time such as 100/1s, or off";

/// So many within a time.
pub(super) fn rate(text: &str) -> Option<Option<(u32, Duration)>> {
    if text == "off" {
        return Some(None);
    }
    let (lines, within) = text.split_once('/')?;
    let lines = lines.trim().parse().ok().filter(|lines| *lines > 0)?;
    duration(within.trim()).filter(|within| !within.is_zero()).map(|within| Some((lines, within)))
}

/// `host:port`, without asking a name server, or `off`. A port alone is one of the loopback address: who wants to be read by other
/// machines says so.
pub(super) fn address(text: &str) -> Option<Option<SocketAddr>> {
    if text == "off" {
        return Some(None);
    }
    let loopback = text.strip_prefix("localhost:").or_else(|| text.strip_prefix(':'));
    if let Some(port) = loopback.or_else(|| text.bytes().all(|byte| byte.is_ascii_digit()).then_some(text)) {
        return Some(Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port.parse().ok()?)));
    }
    text.parse().ok().map(Some)
}

/// `key=value` pairs separated by commas, percent-decoded, in the order given. The error names the key or, without one, the
/// number of the pair: values may be secrets, and so may what is no key.
pub(super) fn pairs(text: &str) -> Result<Vec<(String, String)>, String> {
    let mut pairs = Vec::new();
    for (index, pair) in text.split(',').enumerate().filter(|(_, pair)| !pair.trim().is_empty()) {
        let number = index + 1;
        let (key, value) = pair.split_once('=').ok_or_else(|| format!("pair {number} has no `=`"))?;
        let key = decoded(key).filter(|key| !key.is_empty()).ok_or_else(|| format!("pair {number} has no key"))?;
        let value =
            decoded(value).ok_or_else(|| format!("the value of pair {number} is not UTF-8 after percent-decoding"))?;
        pairs.push((key, value));
    }
    Ok(pairs)
}

fn decoded(text: &str) -> Option<String> {
    percent_decode_str(text.trim()).decode_utf8().ok().map(std::borrow::Cow::into_owned)
}

/// The error for a URL: it shows no credentials.
pub(super) fn url_error(variable: &str, error: &EndpointError) -> Error {
    match error {
        EndpointError::Url { value, reason } => {
            Error::environment(variable, format!("`{value}` is not a URL of a backend ({reason})"), URL_FORM)
        }
        other => Error::environment(variable, other.to_string(), URL_FORM),
    }
}
