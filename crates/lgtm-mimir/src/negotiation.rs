//! Which format a scraper prefers, by its `Accept` header. Worker thread, or a program's own server; pure.
//! Sources: RFC 9110, section 12.5.1; Prometheus, "Content negotiation".

use crate::exposition::Format;

/// What a scrape is answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Preferred {
    Text(Format),
    /// Delimited messages `io.prometheus.client.MetricFamily`.
    Protobuf,
}

/// How much each format is liked, from 0 to 1.
#[derive(Debug, Default)]
struct Qualities {
    protobuf: f32,
    open_metrics: f32,
    text: f32,
}

impl Qualities {
    fn of(accept: &str) -> Self {
        let mut qualities = Self::default();
        for range in accept.split(',') {
            let mut parts = range.split(';').map(str::trim);
            let media = parts.next().unwrap_or_default().to_ascii_lowercase();
            let (mut quality, mut version, mut message, mut encoding) = (1.0_f32, "", "", "");
            for (name, value) in parts.filter_map(|part| part.split_once('=')) {
                let value = value.trim().trim_matches('"');
                match name.trim().to_ascii_lowercase().as_str() {
                    "q" => quality = value.parse().ok().filter(|quality| *quality <= 1.0).unwrap_or(0.0),
                    "version" => version = value,
                    "proto" => message = value,
                    "encoding" => encoding = value,
                    _ => {}
                }
            }
            let liked = match (media.as_str(), version, message, encoding) {
                ("application/vnd.google.protobuf", _, "io.prometheus.client.MetricFamily", "delimited") => {
                    &mut qualities.protobuf
                }
                ("application/openmetrics-text", "" | "1.0.0" | "0.0.1", ..) => &mut qualities.open_metrics,
                ("text/plain", ..) => &mut qualities.text,
                _ => continue,
            };
            *liked = quality.max(*liked);
        }
        qualities
    }

    fn text(&self) -> Format {
        if self.open_metrics > 0.0 && self.open_metrics >= self.text { Format::OpenMetrics } else { Format::Text }
    }
}

/// The text format that is preferred: OpenMetrics if it is named and not liked less than plain text.
pub(crate) fn preferred_text(accept: &str) -> Format {
    Qualities::of(accept).text()
}

/// The format that is preferred; of those that are liked as much, the one that says more.
pub(crate) fn preferred(accept: &str) -> Preferred {
    let qualities = Qualities::of(accept);
    let Qualities { protobuf, open_metrics, text } = qualities;
    if protobuf > 0.0 && protobuf >= open_metrics && protobuf >= text {
        Preferred::Protobuf
    } else {
        Preferred::Text(qualities.text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROTOBUF: &str = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited";

    #[test]
    fn a_scraper_gets_the_text_that_it_prefers() {
        let negotiated = [
            "",
            "*/*",
            "text/plain",
            "application/openmetrics-text; version=1.0.0",
            "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
            "application/openmetrics-text; version=1.0.0; q=0.2, text/plain; q=0.9",
            "application/openmetrics-text; q=0",
            "application/openmetrics-text; version=2.0.0",
            "Application/OpenMetrics-Text; Version=\"1.0.0\", text/plain",
        ]
        .map(|accept| preferred_text(accept) == Format::OpenMetrics);
        assert_eq!(negotiated, [false, false, false, true, true, false, false, false, true]);
    }

    #[test]
    fn protobuf_is_sent_to_whom_prefers_it_by_its_whole_name() {
        let prometheus_2_42 = format!(
            "{PROTOBUF},application/openmetrics-text;version=1.0.0;q=0.8,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
        );
        let prometheus_3 = format!(
            "{PROTOBUF};q=0.6,application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.1"
        );
        let text_first = "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.5,";
        let text_first = format!("{text_first}{PROTOBUF};q=0.4,*/*;q=0.1");
        for (accept, expected) in [
            (PROTOBUF.to_owned(), Preferred::Protobuf),
            (prometheus_2_42, Preferred::Protobuf),
            (prometheus_3, Preferred::Protobuf),
            (text_first, Preferred::Text(Format::OpenMetrics)),
            (format!("{PROTOBUF};q=0.5,text/plain;q=0.5"), Preferred::Protobuf),
            (format!("{PROTOBUF};q=0"), Preferred::Text(Format::Text)),
            (format!("{PROTOBUF};q=7,text/plain"), Preferred::Text(Format::Text)),
            (PROTOBUF.replace("delimited", "text"), Preferred::Text(Format::Text)),
            (PROTOBUF.replace("MetricFamily", "Other"), Preferred::Text(Format::Text)),
            ("application/vnd.google.protobuf".to_owned(), Preferred::Text(Format::Text)),
            ("*/*".to_owned(), Preferred::Text(Format::Text)),
        ] {
            assert_eq!(preferred(&accept), expected, "{accept}");
        }
    }
}
