//! Numbers over time, as Prometheus, Mimir and Loki's metric queries answer them.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{self, Deserializer, SeqAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};

use crate::time::nanos_of_seconds;

/// Label names and values, sorted by name.
pub type Labels = BTreeMap<String, String>;

/// One number at one time.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Sample {
    /// Nanoseconds since the Unix epoch; the servers count in milliseconds.
    pub timestamp_unix_nanos: u64,
    /// The value; NaN and the infinities are values too. JSON has no such numbers: there they are the texts `NaN`, `+Inf`, `-Inf`.
    #[serde(serialize_with = "number_or_text")]
    pub value: f64,
}

impl<'de> Deserialize<'de> for Sample {
    /// From `[<seconds>, "<value>"]`.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (seconds, value): (f64, NumberText) = Deserialize::deserialize(deserializer)?;
        Ok(Self { timestamp_unix_nanos: nanos_of_seconds(seconds), value: value.0 })
    }
}

/// One native histogram at one time.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HistogramSample {
    /// Nanoseconds since the Unix epoch.
    pub timestamp_unix_nanos: u64,
    /// How many observations.
    #[serde(serialize_with = "number_or_text")]
    pub count: f64,
    /// The sum of the observations.
    #[serde(serialize_with = "number_or_text")]
    pub sum: f64,
    /// The buckets that hold something, in the order of their bounds.
    pub buckets: Vec<HistogramBucket>,
}

/// One bucket of a native histogram.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct HistogramBucket {
    /// Which bounds belong to the bucket: 0 the upper, 1 the lower, 2 none, 3 both.
    pub boundaries: u8,
    /// The lower bound.
    #[serde(serialize_with = "number_or_text")]
    pub lower: f64,
    /// The upper bound.
    #[serde(serialize_with = "number_or_text")]
    pub upper: f64,
    /// How many observations.
    #[serde(serialize_with = "number_or_text")]
    pub count: f64,
}

impl<'de> Deserialize<'de> for HistogramSample {
    /// From `[<seconds>, {"count":"…","sum":"…","buckets":[[<boundaries>,"<lower>","<upper>","<count>"],…]}]`.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Histogram {
            count: NumberText,
            sum: NumberText,
            #[serde(default)]
            buckets: Vec<(u8, NumberText, NumberText, NumberText)>,
        }
        let (seconds, histogram): (f64, Histogram) = Deserialize::deserialize(deserializer)?;
        let bucket = |(boundaries, lower, upper, count): (u8, NumberText, NumberText, NumberText)| HistogramBucket {
            boundaries,
            lower: lower.0,
            upper: upper.0,
            count: count.0,
        };
        Ok(Self {
            timestamp_unix_nanos: nanos_of_seconds(seconds),
            count: histogram.count.0,
            sum: histogram.sum.0,
            buckets: histogram.buckets.into_iter().map(bucket).collect(),
        })
    }
}

/// One series and its samples in the order of time.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
pub struct Series {
    /// The labels; the name of the metric is `__name__`.
    #[serde(rename(deserialize = "metric"))]
    pub labels: Labels,
    /// The numbers.
    #[serde(rename(deserialize = "values"), default)]
    pub samples: Vec<Sample>,
    /// The native histograms. A series has numbers, histograms, or both one after the other.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub histograms: Vec<HistogramSample>,
}

/// One series at one time.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
pub struct InstantSample {
    /// The labels; the name of the metric is `__name__`.
    #[serde(rename(deserialize = "metric"))]
    pub labels: Labels,
    /// The number; absent for a native histogram.
    #[serde(rename(deserialize = "value"), default)]
    pub sample: Option<Sample>,
    /// The native histogram; absent for a number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub histogram: Option<HistogramSample>,
}

/// A number as JSON's number, or as Prometheus' text where JSON has none.
fn number_or_text<S: Serializer>(number: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    match number {
        number if number.is_nan() => serializer.serialize_str("NaN"),
        number if number.is_infinite() => serializer.serialize_str(if *number > 0.0 { "+Inf" } else { "-Inf" }),
        number => serializer.serialize_f64(*number),
    }
}

/// A number in a JSON string: `"1.5"`, `"NaN"`, `"+Inf"`. A JSON number is accepted too.
pub(crate) struct NumberText(pub(crate) f64);

impl<'de> Deserialize<'de> for NumberText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NumberVisitor;
        impl Visitor<'_> for NumberVisitor {
            type Value = NumberText;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a number, as text or not")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<NumberText, E> {
                let number = text.parse().map_err(|_| E::invalid_value(de::Unexpected::Str(text), &self))?;
                Ok(NumberText(number))
            }
            fn visit_f64<E: de::Error>(self, number: f64) -> Result<NumberText, E> {
                Ok(NumberText(number))
            }
            fn visit_u64<E: de::Error>(self, number: u64) -> Result<NumberText, E> {
                Ok(NumberText(number as f64))
            }
            fn visit_i64<E: de::Error>(self, number: i64) -> Result<NumberText, E> {
                Ok(NumberText(number as f64))
            }
        }
        deserializer.deserialize_any(NumberVisitor)
    }
}

/// A whole number in a JSON string, as protobuf's JSON writes 64-bit numbers, or a JSON number.
pub(crate) struct IntegerText<T>(pub(crate) T);

impl<'de, T: TryFrom<u64> + TryFrom<i64> + std::str::FromStr> Deserialize<'de> for IntegerText<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct IntegerVisitor<T>(std::marker::PhantomData<T>);
        impl<T: TryFrom<u64> + TryFrom<i64> + std::str::FromStr> Visitor<'_> for IntegerVisitor<T> {
            type Value = IntegerText<T>;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a whole number, as text or not")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                text.parse().map(IntegerText).map_err(|_| E::invalid_value(de::Unexpected::Str(text), &self))
            }
            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Self::Value, E> {
                T::try_from(number)
                    .map(IntegerText)
                    .map_err(|_| E::invalid_value(de::Unexpected::Unsigned(number), &self))
            }
            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Self::Value, E> {
                T::try_from(number)
                    .map(IntegerText)
                    .map_err(|_| E::invalid_value(de::Unexpected::Signed(number), &self))
            }
        }
        deserializer.deserialize_any(IntegerVisitor(std::marker::PhantomData))
    }
}

/// Reads the elements of a sequence one after the other, naming a missing one.
pub(crate) fn next_element<'de, T: Deserialize<'de>, A: SeqAccess<'de>>(
    sequence: &mut A,
    index: usize,
    expected: &dyn de::Expected,
) -> Result<T, A::Error> {
    sequence.next_element()?.ok_or_else(|| de::Error::invalid_length(index, expected))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn special_values_are_values() {
        let samples: Vec<Sample> =
            serde_json::from_str(r#"[[1, "NaN"], [1.5, "+Inf"], [2, "-Inf"], [3, "1e-3"]]"#).unwrap();
        assert!(samples[0].value.is_nan());
        assert_eq!(samples[1], Sample { timestamp_unix_nanos: 1_500_000_000, value: f64::INFINITY });
        assert_eq!(samples[2].value, f64::NEG_INFINITY);
        assert_eq!(samples[3].value, 0.001);
        let values: Vec<serde_json::Value> =
            samples.iter().map(|sample| serde_json::to_value(sample).unwrap()["value"].clone()).collect();
        assert_eq!(serde_json::to_string(&values).unwrap(), r#"["NaN","+Inf","-Inf",0.001]"#);
    }

    #[test]
    fn a_native_histogram_is_read() {
        let text =
            r#"{"metric":{"__name__":"h"},"histogram":[1,{"count":"3","sum":"4.5","buckets":[[0,"1","2","3"]]}]}"#;
        let sample: InstantSample = serde_json::from_str(text).unwrap();
        let histogram = sample.histogram.unwrap();
        assert_eq!((histogram.count, histogram.sum), (3.0, 4.5));
        assert_eq!(histogram.buckets, [HistogramBucket { boundaries: 0, lower: 1.0, upper: 2.0, count: 3.0 }]);
        assert!(sample.sample.is_none());
    }

    #[test]
    fn a_word_in_place_of_a_number_is_refused() {
        let error = serde_json::from_str::<Sample>(r#"[1, "many"]"#).unwrap_err().to_string();
        assert!(error.contains("many") && error.contains("a number"), "{error}");
    }
}
