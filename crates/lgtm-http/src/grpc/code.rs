//! Status codes of gRPC, by number and name. Sources: gRPC's `statuscodes.md` and `http-grpc-status-mapping.md`.

use http::{HeaderMap, StatusCode};

/// By their numbers.
const NAMES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// A status code by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Code(&'static str);

impl Code {
    pub(crate) const OK: Self = Self("OK");
    pub(crate) const CANCELLED: Self = Self("CANCELLED");
    pub(crate) const UNKNOWN: Self = Self("UNKNOWN");
    pub(crate) const UNAVAILABLE: Self = Self("UNAVAILABLE");
    pub(crate) const UNIMPLEMENTED: Self = Self("UNIMPLEMENTED");

    pub(crate) fn name(self) -> &'static str {
        self.0
    }

    /// Of headers or trailers with `grpc-status`; a number that is none of the codes is `UNKNOWN`.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        let text = headers.get("grpc-status")?.to_str().ok();
        let number = text.and_then(|text| text.trim().parse::<usize>().ok());
        Some(number.and_then(|number| NAMES.get(number)).map_or(Self::UNKNOWN, |name| Self(name)))
    }

    /// What clients make of an answer without `grpc-status`.
    pub(crate) fn of_http(status: StatusCode) -> Self {
        match status.as_u16() {
            400 => Self("INTERNAL"),
            401 => Self("UNAUTHENTICATED"),
            403 => Self("PERMISSION_DENIED"),
            404 => Self::UNIMPLEMENTED,
            429 | 502 | 503 | 504 => Self::UNAVAILABLE,
            _ => Self::UNKNOWN,
        }
    }

    /// Whether it is an error of the server: the conventions' list. The other codes are the caller's business.
    pub(crate) fn is_server_error(self) -> bool {
        ["UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"].contains(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Option<&'static str> {
        let headers = HeaderMap::from_iter([("grpc-status".parse().unwrap(), text.parse().unwrap())]);
        Code::of(&headers).map(Code::name)
    }

    #[test]
    fn codes_have_the_names_of_the_specification() {
        assert_eq!(
            ["0", "5", "16", "17", "-1", "x"].map(|text| of(text).unwrap()),
            ["OK", "NOT_FOUND", "UNAUTHENTICATED", "UNKNOWN", "UNKNOWN", "UNKNOWN"]
        );
        assert_eq!(Code::of(&HeaderMap::new()), None);
        // tonic's numbers are the specification's.
        for (number, name) in NAMES.iter().enumerate() {
            let code = tonic::Code::from_i32(number as i32);
            assert_eq!(format!("{code:?}").to_uppercase(), name.replace('_', ""), "{number}");
        }
    }

    #[test]
    fn what_callers_do_wrong_is_no_error_of_the_server() {
        let errors: Vec<_> = NAMES.into_iter().filter(|name| Code(name).is_server_error()).collect();
        let expected = ["UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"];
        assert_eq!(errors, expected);
    }
}
