//! Log lines, spans, and all signals at once: the tables of single operations.

use super::{
    FACADE, FMT, LAYERS, LOCAL, LOKI, OPENTELEMETRY, REGISTRY, SENDING, Section, TEMPO, TOGETHER, TRACING_LOKI, lines,
};

pub(super) fn signals() -> Vec<Section> {
    vec![
        Section {
            key: "event",
            title: "A log event in a span",
            note: "An event with a message and three fields, in a span of two fields that stays open. lgtm-loki writes JSON and adds the \
                   trace and span id as structured metadata; tracing-loki writes JSON with all fields of the span and no ids; emit \
                   sends OTLP log records with the ids and without the span's fields; the text layer writes text and sends nothing. \
                   Loki's bodies are compressed with snappy, emit's not at all. The registry alone keeps nothing of an event.",
            lines: lines("event", SENDING, &[LOKI, TRACING_LOKI, ("emit, emit_otlp over HTTP", "emit"), FMT, REGISTRY]),
            has_instructions: true,
            is_main: true,
        },
        Section {
            key: "span-event",
            title: "A span with an event in it",
            note: "A span with three fields, and in it an event with a message and one field. The event travels in its span; with emit \
                   it is a log record of its own, and the text layer writes no line for the span. fastrace's properties are text. \
                   Nothing is compressed. OpenTelemetry's attributes for location, thread and busy and idle time are on by default with \
                   tracing-opentelemetry and off by default with lgtm: see the bytes.",
            lines: lines(
                "span-event",
                SENDING,
                &[
                    TEMPO,
                    ("lgtm-tempo, gRPC", "lgtm-tempo-grpc"),
                    OPENTELEMETRY,
                    ("the same without location, thread, target and times", "opentelemetry-http-plain"),
                    ("tracing-opentelemetry, opentelemetry-otlp over gRPC", "opentelemetry-grpc"),
                    ("tracing-opentelemetry, batch processor, null exporter", "opentelemetry-null"),
                    ("OpenTelemetry's own interface, over HTTP", "opentelemetry-api"),
                    ("fastrace, fastrace-opentelemetry over HTTP", "fastrace"),
                    ("emit, emit_otlp over HTTP", "emit"),
                    FMT,
                    REGISTRY,
                ],
            ),
            has_instructions: true,
            is_main: true,
        },
        Section {
            key: "span",
            title: "A span alone",
            note: "A span with three fields, entered and left. For fastrace it is a root span.",
            lines: lines(
                "span",
                SENDING,
                &[
                    TEMPO,
                    OPENTELEMETRY,
                    ("OpenTelemetry's own interface, over HTTP", "opentelemetry-api"),
                    ("fastrace, fastrace-opentelemetry over HTTP", "fastrace"),
                    ("emit, emit_otlp over HTTP", "emit"),
                    REGISTRY,
                ],
            ),
            has_instructions: true,
            is_main: false,
        },
        Section {
            key: "all",
            title: "All signals at once",
            note: "A span with three fields, and in it an event with a message and three fields, as log line, span and metrics of the \
                   span: a counter and a histogram. With lgtm the histogram has exemplars, the log line has the ids of trace and span, and \
                   the event is in the span and in the log. The peers' program counts and times its span with the macros of `metrics`, \
                   and has neither exemplars nor ids in its lines. `lgtm::init` adds the filters, redaction and the panic hook.",
            lines: lines(
                "request",
                SENDING,
                &[LAYERS, FACADE, TOGETHER, ("lgtm-spanmetrics and lgtm-mimir alone", "lgtm-spanmetrics"), REGISTRY],
            ),
            has_instructions: true,
            is_main: true,
        },
    ]
}

pub(super) fn left_out() -> Vec<Section> {
    vec![
        Section {
            key: "unsampled",
            title: "A span that is not sampled",
            note: "The head sampler takes nothing, no keep rules: a span with three fields and an event in it.",
            lines: lines(
                "span-event",
                SENDING,
                &[
                    ("lgtm-tempo", "lgtm-tempo-unsampled"),
                    ("tracing-opentelemetry", "opentelemetry-unsampled"),
                    REGISTRY,
                ],
            ),
            has_instructions: true,
            is_main: false,
        },
        Section {
            key: "production",
            title: "The profile `production`",
            note: "All of lgtm; the span, with an event of one field, waits until its root closes and is discarded, because it neither \
                   failed nor was slow; one trace in a hundred is sampled. Log line and span metrics are made all the same.",
            lines: lines("span-event", SENDING, &[("lgtm, profile `production`", "lgtm-production"), FACADE]),
            has_instructions: true,
            is_main: false,
        },
        Section {
            key: "disabled",
            title: "An event below the filter's level",
            note: "`debug!` under a filter that says `info`.",
            lines: lines(
                "disabled",
                LOCAL,
                &[FACADE, ("EnvFilter under the text layer", "fmt"), ("no subscriber", "nothing")],
            ),
            has_instructions: true,
            is_main: false,
        },
    ]
}
