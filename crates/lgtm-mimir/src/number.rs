//! Numbers as Prometheus writes them. Worker and scrape threads; pure functions.

/// Appends a sample value: the shortest text that reads back as the same number, `+Inf`, `-Inf` or `NaN`.
pub(crate) fn put_float(text: &mut String, value: f64) {
    // Up to here every integer has a float of its own.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if value.is_nan() {
        text.push_str("NaN");
    } else if value.is_infinite() {
        text.push_str(if value > 0.0 { "+Inf" } else { "-Inf" });
    } else if value.fract() == 0.0 && value.abs() < EXACT {
        // The cast is exact: an integer below 2^53.
        text.push_str(itoa::Buffer::new().format(value as i64));
    } else {
        text.push_str(zmij::Buffer::new().format_finite(value));
    }
}

/// Appends an integer.
pub(crate) fn put_integer(text: &mut String, value: u64) {
    text.push_str(itoa::Buffer::new().format(value));
}

/// Appends a timestamp in seconds, from milliseconds since the Unix epoch.
pub(crate) fn put_seconds(text: &mut String, milliseconds: i64) {
    put_integer(text, milliseconds.max(0).unsigned_abs() / 1000);
    let fraction = milliseconds.max(0) % 1000;
    text.push('.');
    for divisor in [100, 10, 1] {
        text.push(char::from(b'0' + u8::try_from(fraction / divisor % 10).unwrap_or_default()));
    }
}

/// A bucket's bound as the value of its `le` label: the text of Go's `FormatFloat(bound, 'g', -1, 64)`, which is what
/// Prometheus' own clients write, so that series of different programs meet.
pub(crate) fn le_text(bound: f64) -> String {
    if bound.is_infinite() {
        return "+Inf".to_owned();
    }
    let scientific = format!("{bound:e}");
    match scientific.split_once('e').map(|(digits, exponent)| (digits, exponent.parse::<i32>())) {
        Some((digits, Ok(exponent))) if !(-4..21).contains(&exponent) => {
            let sign = if exponent < 0 { '-' } else { '+' };
            format!("{digits}e{sign}{:02}", exponent.unsigned_abs())
        }
        _ => bound.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn float(value: f64) -> String {
        let mut text = String::new();
        put_float(&mut text, value);
        text
    }

    #[test]
    fn values_are_short_and_special_values_have_their_names() {
        assert_eq!([3.0, 0.25, -17.0, 1e300].map(float), ["3", "0.25", "-17", "1e+300"]);
        assert_eq!([f64::NAN, f64::INFINITY, f64::NEG_INFINITY].map(float), ["NaN", "+Inf", "-Inf"]);
    }

    #[test]
    fn bounds_are_written_as_go_writes_them() {
        assert_eq!(
            [0.005, 1.0, 2.5, 10.0, 1e-9, 1.5e-5, 0.0001, 1e20, 1e21, -3.0, f64::INFINITY].map(le_text),
            ["0.005", "1", "2.5", "10", "1e-09", "1.5e-05", "0.0001", "100000000000000000000", "1e+21", "-3", "+Inf"]
        );
    }

    #[test]
    fn timestamps_keep_their_milliseconds() {
        let mut text = String::new();
        put_seconds(&mut text, 1_520_879_607_089);
        assert_eq!(text, "1520879607.089");
    }

    proptest! {
        #[test]
        fn every_float_reads_back(bits: u64) {
            let value = f64::from_bits(bits);
            prop_assume!(!value.is_nan());
            prop_assert_eq!(float(value).parse::<f64>().unwrap(), value);
            prop_assert_eq!(le_text(value.abs()).parse::<f64>().unwrap(), value.abs());
        }
    }
}
