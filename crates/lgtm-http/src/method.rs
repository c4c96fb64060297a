//! The methods that are told apart, and the names of spans. Callers choose the method of a request: without a list they could make series at will.
//! Source: OpenTelemetry's semantic conventions, `http.request.method`.

use std::fmt;
use std::sync::Arc;

use http::{Method, Version};
use metrics::SharedString;

/// What stands for all other methods.
pub(crate) const OTHER: &str = "_OTHER";

/// The known methods: those of RFC 9110, PATCH and QUERY, unless the program says otherwise.
#[derive(Clone, Debug, Default)]
pub(crate) struct Methods(Option<Arc<[Arc<str>]>>);

impl Methods {
    pub(crate) fn of<N: AsRef<str>>(names: impl IntoIterator<Item = N>) -> Self {
        Self(Some(names.into_iter().map(|name| Arc::from(name.as_ref())).collect()))
    }

    /// The method's name, or `_OTHER`. Methods are told apart by case (RFC 9110, section 9.1).
    pub(crate) fn name(&self, method: &Method) -> SharedString {
        match &self.0 {
            None => SharedString::const_str(known(method)),
            Some(names) => {
                let name = names.iter().find(|name| &***name == method.as_str());
                name.map_or(SharedString::const_str(OTHER), |name| SharedString::from_shared(Arc::clone(name)))
            }
        }
    }
}

/// The name of a span: `{method} {target}`, where the target is a route or a template. The word for unknown methods is `HTTP`.
pub(crate) struct SpanName<'a> {
    pub(crate) method: &'a str,
    pub(crate) target: Option<&'a str>,
}

impl fmt::Display for SpanName<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(if self.method == OTHER { "HTTP" } else { self.method })?;
        self.target.map_or(Ok(()), |target| write!(formatter, " {target}"))
    }
}

/// As the conventions write `network.protocol.version`: `1.1`, `2`.
pub(crate) fn protocol_version(version: Version) -> Option<&'static str> {
    match version {
        Version::HTTP_09 => Some("0.9"),
        Version::HTTP_10 => Some("1.0"),
        Version::HTTP_11 => Some("1.1"),
        Version::HTTP_2 => Some("2"),
        Version::HTTP_3 => Some("3"),
        _ => None,
    }
}

fn known(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        Method::PATCH => "PATCH",
        Method::TRACE => "TRACE",
        Method::CONNECT => "CONNECT",
        _ if method.as_str() == "QUERY" => "QUERY",
        _ => OTHER,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(methods: &Methods, method: &str) -> String {
        methods.name(&Method::from_bytes(method.as_bytes()).unwrap()).to_string()
    }

    #[test]
    fn only_known_methods_are_told_apart() {
        let methods = Methods::default();
        for known in ["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "TRACE", "CONNECT", "QUERY"] {
            assert_eq!(name(&methods, known), known);
        }
        for other in ["BREW", "get", "PROPFIND"] {
            assert_eq!(name(&methods, other), "_OTHER");
        }
    }

    #[test]
    fn a_list_of_the_programs_own_replaces_the_known_ones() {
        let methods = Methods::of(["GET", "PROPFIND"]);
        assert_eq!(["GET", "PROPFIND", "POST"].map(|method| name(&methods, method)), ["GET", "PROPFIND", "_OTHER"]);
    }
}
