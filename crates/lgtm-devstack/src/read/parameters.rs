//! Query parameters of the read APIs, from the URL and from a form in the body, and their kinds of values.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::extract::{FromRequest, Request};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{StatusCode, header};

/// Parameters in the order sent; a name may be there several times.
#[derive(Debug, Default)]
pub(crate) struct Parameters(Vec<(String, String)>);

impl Parameters {
    pub(crate) fn from_query(query: &str) -> Self {
        Self(form_urlencoded::parse(query.as_bytes()).into_owned().collect())
    }

    /// The first value of `name` that is not empty.
    pub(crate) fn first(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, value)| key == name && !value.is_empty()).map(|(_, value)| value.as_str())
    }

    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// A whole number, or an error that names the parameter and the value.
    pub(crate) fn number(&self, name: &str, default: usize) -> Result<usize, String> {
        self.first(name).map_or(Ok(default), |text| {
            text.parse().map_err(|_| format!("invalid parameter {name:?}: {text:?} is not a whole number"))
        })
    }

    /// A time as Loki takes it (nanoseconds, seconds with fraction, RFC 3339), in nanoseconds since 1970.
    pub(crate) fn time_ns(&self, name: &str, default: i64) -> Result<i64, String> {
        self.first(name).map_or(Ok(default), |text| {
            loki_time(text).ok_or_else(|| {
                format!("invalid parameter {name:?}: {text:?} is not nanoseconds, seconds or an RFC 3339 time")
            })
        })
    }

    /// A time as Prometheus takes it (seconds with fraction, RFC 3339), in milliseconds since 1970.
    pub(crate) fn time_ms(&self, name: &str, default: i64) -> Result<i64, String> {
        self.first(name).map_or(Ok(default), |text| {
            seconds(text, 1e3)
                .or_else(|| rfc3339(text).map(|time| time.timestamp_millis()))
                .ok_or_else(|| format!("invalid parameter {name:?}: cannot parse {text:?} to a valid timestamp"))
        })
    }

    /// A length of time: seconds with fraction, or units as in `1m30s`.
    pub(crate) fn duration(&self, name: &str) -> Result<Option<Duration>, String> {
        let Some(text) = self.first(name) else { return Ok(None) };
        let plain = text.parse::<f64>().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        plain
            .or_else(|| promql_parser::util::parse_duration(text).ok())
            .map(Some)
            .ok_or_else(|| format!("invalid parameter {name:?}: cannot parse {text:?} to a valid duration"))
    }
}

impl<S: Send + Sync> FromRequest<S> for Parameters {
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Self, Response> {
        let mut parameters = Self::from_query(request.uri().query().unwrap_or_default());
        let is_form = request
            .headers()
            .get(header::CONTENT_TYPE)
            .is_some_and(|value| value.as_bytes().starts_with(b"application/x-www-form-urlencoded"));
        if is_form {
            let body = Bytes::from_request(request, state)
                .await
                .map_err(|error| (StatusCode::BAD_REQUEST, error.body_text()).into_response())?;
            parameters.0.extend(form_urlencoded::parse(&body).into_owned());
        }
        Ok(parameters)
    }
}

/// Now, in nanoseconds since 1970.
pub(crate) fn now_ns() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

/// A time as Loki takes it, in nanoseconds since 1970.
pub(crate) fn loki_time(text: &str) -> Option<i64> {
    if text.contains('.')
        && let Some(time) = seconds(text, 1e9)
    {
        return Some(time);
    }
    match text.parse::<i64>() {
        // Up to ten digits are seconds, as in Loki.
        Ok(number) if text.len() <= 10 => number.checked_mul(1_000_000_000),
        Ok(number) => Some(number),
        Err(_) => rfc3339(text)?.timestamp_nanos_opt(),
    }
}

fn seconds(text: &str, scale: f64) -> Option<i64> {
    let scaled = text.parse::<f64>().ok()? * scale;
    (scaled.is_finite() && scaled.abs() < 9.2e18).then_some(scaled.round() as i64)
}

fn rfc3339(text: &str) -> Option<chrono::DateTime<chrono::FixedOffset>> {
    chrono::DateTime::parse_from_rfc3339(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loki_times_are_read_as_nanoseconds_seconds_and_rfc_3339() {
        assert_eq!(loki_time("1700000000123456789"), Some(1_700_000_000_123_456_789));
        assert_eq!(loki_time("1700000000"), Some(1_700_000_000_000_000_000));
        assert_eq!(loki_time("1700000000.5"), Some(1_700_000_000_500_000_000));
        assert_eq!(loki_time("2023-11-14T22:13:20Z"), Some(1_700_000_000_000_000_000));
        assert_eq!(loki_time("2023-11-14T23:13:20.123456789+01:00"), Some(1_700_000_000_123_456_789));
        assert_eq!(loki_time("yesterday"), None);
    }

    #[test]
    fn prometheus_times_and_durations_are_read_in_seconds() {
        let parameters = Parameters::from_query("time=1700000000.25&step=1m30s&other=7.5&bad=soon");
        assert_eq!(parameters.time_ms("time", 0), Ok(1_700_000_000_250));
        assert_eq!(parameters.duration("step"), Ok(Some(Duration::from_secs(90))));
        assert_eq!(parameters.duration("other"), Ok(Some(Duration::from_millis(7500))));
        assert!(parameters.duration("bad").unwrap_err().contains("\"soon\""));
        assert!(parameters.time_ms("bad", 0).unwrap_err().contains("\"bad\""));
    }
}
