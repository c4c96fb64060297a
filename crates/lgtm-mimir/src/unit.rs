//! Units as Prometheus writes them: words at the end of names. Pure functions.
//! Source: OpenTelemetry, "Prometheus and OpenMetrics Compatibility", "Metric Metadata".

/// A unit as a word. A count is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unit(&'static str);

/// Words, and the codes of UCUM that OpenTelemetry has for them.
const CODES: [(&str, &str); 26] = [
    ("days", "d"),
    ("hours", "h"),
    ("minutes", "min"),
    ("seconds", "s"),
    ("milliseconds", "ms"),
    ("microseconds", "us"),
    ("nanoseconds", "ns"),
    ("bytes", "By"),
    ("kibibytes", "KiBy"),
    ("mebibytes", "MiBy"),
    ("gibibytes", "GiBy"),
    ("tebibytes", "TiBy"),
    ("kilobytes", "kBy"),
    ("kilobytes", "KBy"),
    ("megabytes", "MBy"),
    ("gigabytes", "GBy"),
    ("terabytes", "TBy"),
    ("meters", "m"),
    ("volts", "V"),
    ("amperes", "A"),
    ("joules", "J"),
    ("watts", "W"),
    ("grams", "g"),
    ("celsius", "Cel"),
    ("hertz", "Hz"),
    ("percent", "%"),
];

impl Unit {
    /// What the `metrics` crate calls it; none for a count.
    pub(crate) fn new(unit: metrics::Unit) -> Option<Self> {
        (unit != metrics::Unit::Count).then(|| Self(unit.as_str()))
    }

    pub(crate) const fn as_str(self) -> &'static str {
        self.0
    }

    /// Its code, if there is one.
    pub(crate) fn code(self) -> Option<&'static str> {
        CODES.iter().find(|(word, _)| *word == self.0).map(|(_, code)| *code)
    }

    /// The unit with this code, if it is one of those in common use.
    #[cfg(feature = "opentelemetry")]
    pub(crate) fn of_code(code: &str) -> Option<Self> {
        CODES.iter().find(|(_, known)| *known == code).map(|(word, _)| Self(word))
    }

    /// Whether this name ends with the unit as a word of its own.
    pub(crate) fn ends(self, name: &str) -> bool {
        name.strip_suffix(self.0).is_some_and(|rest| rest.is_empty() || rest.ends_with('_'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_have_the_codes_of_opentelemetry_and_a_count_is_none() {
        let code = |unit| Unit::new(unit).and_then(Unit::code);
        assert_eq!(code(metrics::Unit::Seconds), Some("s"));
        assert_eq!(code(metrics::Unit::Tebibytes), Some("TiBy"));
        assert_eq!(code(metrics::Unit::CountPerSecond), None);
        assert_eq!(Unit::new(metrics::Unit::Count), None);
    }

    #[test]
    fn a_name_ends_with_a_unit_only_as_a_word() {
        let bytes = Unit::new(metrics::Unit::Bytes).unwrap();
        assert!(bytes.ends("size_bytes") && bytes.ends("bytes"));
        assert!(!bytes.ends("kilobytes") && !bytes.ends("size_bytes_total"));
    }
}
