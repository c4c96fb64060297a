//! Counters, histograms and the scrape.

use super::{EXPORTER, LAYERS, LOCAL, LONG, MIMIR, Section, lines};

pub(super) fn metrics() -> Vec<Section> {
    let clients = [MIMIR, EXPORTER, ("prometheus", "prometheus"), ("prometheus-client", "prometheus-client")];
    let with = |key, title, note, operation| Section {
        key,
        title,
        note,
        lines: lines(operation, LOCAL, &clients),
        has_instructions: true,
        is_main: false,
    };
    vec![
        with(
            "counter",
            "A counter by name",
            "`counter!()` with two static labels; prometheus and prometheus-client look their counter up by its label values.",
            "counter",
        ),
        with("counter-handle", "A counter by its handle", "The program holds the handle.", "counter-handle"),
        with(
            "histogram",
            "A histogram by name",
            "As the counter; eleven buckets. metrics-exporter-prometheus buffers each sample, 16 bytes, until a scrape or its upkeep.",
            "histogram",
        ),
        with(
            "histogram-handle",
            "A histogram by its handle",
            "The program holds the handle; no span is open.",
            "histogram-handle",
        ),
        Section {
            key: "exemplar",
            title: "A histogram by its handle, in a span",
            note: "With lgtm's layers the sample may become the exemplar of its bucket; metrics-exporter-prometheus has no exemplars, \
                   and its span is nobody's.",
            lines: lines("histogram-in-span", LOCAL, &[LAYERS, EXPORTER]),
            has_instructions: true,
            is_main: false,
        },
        Section {
            key: "scrape",
            title: "A scrape of 100,000 series",
            note: "Ten counters of 10,000 series, two labels each; the text is made in memory and thrown away. lgtm writes OpenMetrics.",
            lines: lines("scrape", LONG, &clients).into_iter().map(|line| line.size(100_000)).collect(),
            has_instructions: false,
            is_main: false,
        },
    ]
}
