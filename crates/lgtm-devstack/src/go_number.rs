//! Floats as Go's servers write them. Pure.

/// Shortest digits; with an exponent of at least two digits below 1e-6 and from 1e21 on, as JSON libraries of Go and Prometheus' API have it.
pub(crate) fn float(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let amount = value.abs();
    if amount == 0.0 || (1e-6..1e21).contains(&amount) {
        return value.to_string();
    }
    let text = format!("{value:e}");
    let Some((digits, exponent)) = text.split_once('e') else { return text };
    let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |exponent| ('-', exponent));
    format!("{digits}e{sign}{exponent:0>2}")
}

/// The same with the exponent as JavaScript writes it: `1e-7`, as `encoding/json` and OpenTelemetry's Collector have it.
pub(crate) fn json_float(value: f64) -> String {
    float(value).replace("e-0", "e-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponents_begin_where_go_begins_them() {
        for (value, expected) in [
            (0.0, "0"),
            (5.0, "5"),
            (-0.1, "-0.1"),
            (1e20, "100000000000000000000"),
            (1e21, "1e+21"),
            (1.5e300, "1.5e+300"),
            (0.000_001, "0.000001"),
            (1e-7, "1e-07"),
            (1e-128, "1e-128"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
            (f64::NAN, "NaN"),
        ] {
            assert_eq!(float(value), expected);
        }
        assert_eq!(
            (json_float(1.5e-7), json_float(1e-17), json_float(1e21)),
            ("1.5e-7".to_owned(), "1e-17".to_owned(), "1e+21".to_owned())
        );
    }
}
