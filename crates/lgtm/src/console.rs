//! The console layer: tracing-subscriber's own formats on standard error, with the ids of the current trace. Caller threads;
//! standard error is written to as the event happens.

use std::any::Any;
use std::cell::Cell;
use std::fmt;
use std::io::IsTerminal as _;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use lgtm_core::{TraceContext, current};
use tracing_core::span::{Attributes, Id, Record};
use tracing_core::{Event, Subscriber};
use tracing_subscriber::fmt::format::{DefaultFields, Format, Full, Json, JsonFields, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields, MakeWriter};
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::LookupSpan;

use crate::settings::Console;

/// The layer for standard error; none if it is off.
pub(crate) fn layer<S>(console: Console) -> Option<Box<dyn Layer<S> + Send + Sync>>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let terminal = std::io::stderr().is_terminal();
    let colour = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    match console {
        Console::Off => None,
        Console::Auto if !terminal => Some(json(std::io::stderr)),
        Console::Json => Some(json(std::io::stderr)),
        Console::Auto | Console::Pretty => Some(pretty(std::io::stderr, colour)),
    }
}

fn pretty<S, W>(writer: W, colour: bool) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let format = Whole(PrettyWithTrace(Format::default().with_ansi(colour)));
    // A closed standard error must not become a panic of the program.
    let layer = tracing_subscriber::fmt::layer().with_ansi(colour).log_internal_errors(false);
    let join: Join = |known, more| {
        if !known.is_empty() && !more.is_empty() {
            known.push(' ');
        }
        known.push_str(more);
    };
    Box::new(Careful { layer: layer.event_format(format).with_writer(writer), fields: DefaultFields::new(), join })
}

fn json<S, W>(writer: W) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let format = Whole(JsonWithTrace(Format::default().json().flatten_event(false)));
    let layer = tracing_subscriber::fmt::layer().with_ansi(false).log_internal_errors(false);
    // Two objects become one; of members of one name its reader takes the last.
    let join: Join = |known, more| match (known.strip_suffix('}'), more.strip_prefix('{')) {
        (Some("{") | None, _) => more.clone_into(known),
        (_, Some("}") | None) => {}
        (Some(members), Some(more)) => *known = format!("{members},{more}"),
    };
    let layer = layer.fmt_fields(JsonFields::new()).event_format(format).with_writer(writer);
    Box::new(Careful { layer, fields: JsonFields::new(), join })
}

/// Appends formatted fields to those that are known.
type Join = fn(&mut String, &str);

/// The layer of tracing-subscriber, kept from what harms the program: it formats late fields under a lock of the span, and a
/// `Debug` implementation that logs then waits for itself; it panics on a thread whose thread-locals are gone; and what a panic
/// left of a line stands before the next one.
struct Careful<L, N> {
    layer: L,
    fields: N,
    join: Join,
}

/// Goes before the thread-locals that were in use when it came into use itself: those that came last go first.
struct Alive;

impl Drop for Alive {
    fn drop(&mut self) {}
}

thread_local! {
    /// Beside the registry's, which come into use with the first span, and beside the layer's, with the first event.
    static ALIVE: Alive = const { Alive };
    static ALIVE_WITH_EVENTS: Alive = const { Alive };
    /// Whether the thread has used its own of the two.
    static USED: Cell<[bool; 2]> = const { Cell::new([false; 2]) };
}

/// The registry, or the layer too, has come into use on this thread.
fn mark_used(by_event: bool) {
    let [span, event] = USED.get();
    if by_event && !event {
        let _ = ALIVE_WITH_EVENTS.try_with(|_| ());
        USED.set([span, true]);
    } else if !by_event && !span {
        let _ = ALIVE.try_with(|_| ());
        USED.set([true, event]);
    }
}

/// Whether the calling thread is past the end of its thread-locals.
fn is_over() -> bool {
    let [span, event] = USED.get();
    (span && ALIVE.try_with(|_| ()).is_err()) || (event && ALIVE_WITH_EVENTS.try_with(|_| ()).is_err())
}

impl<S, L, N> Layer<S> for Careful<L, N>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    L: Layer<S>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn on_layer(&mut self, subscriber: &mut S) {
        self.layer.on_layer(subscriber);
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        self.layer.on_new_span(attributes, id, context);
        mark_used(false);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let mut text = String::new();
        // What a value fails to write is missing, as in a line.
        let _ = self.fields.format_fields(Writer::new(&mut text), values);
        let Some(span) = context.span(id) else { return };
        let mut extensions = span.extensions_mut();
        match extensions.get_mut::<FormattedFields<N>>() {
            Some(known) => (self.join)(&mut known.fields, &text),
            None => extensions.insert(FormattedFields::<N>::new(text)),
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        if !is_over() {
            self.layer.on_event(event, context);
            mark_used(true);
            if let Some(panic) = PANIC.try_with(Cell::take).ok().flatten() {
                resume_unwind(panic);
            }
        }
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        self.layer.on_close(id, context);
    }
}

thread_local! {
    /// The panic of a value that was being shown, until the layer has cleared away what there was of its line.
    static PANIC: Cell<Option<Box<dyn Any + Send>>> = const { Cell::new(None) };
}

/// A line that is there as a whole or not at all.
struct Whole<F>(F);

impl<S, N, F> FormatEvent<S, N> for Whole<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        catch_unwind(AssertUnwindSafe(|| self.0.format_event(context, writer, event))).unwrap_or_else(|panic| {
            let mut panic = Some(panic);
            let _ = PANIC.try_with(|kept| kept.set(panic.take()));
            panic.map_or(Err(fmt::Error), |panic| resume_unwind(panic))
        })
    }
}

/// The line of an event, with the ids at its end.
struct PrettyWithTrace(Format<Full>);

impl<S, N> FormatEvent<S, N> for PrettyWithTrace
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let Some(trace) = current::trace() else { return self.0.format_event(context, writer, event) };
        let mut line = WithoutLineEnd { writer: &mut writer, held_back: false };
        self.0.format_event(context, Writer::new(&mut line), event)?;
        writeln!(writer, " trace_id={} span_id={}", trace.trace_id, trace.span_id)
    }
}

/// Passes a line through without its end.
struct WithoutLineEnd<'a, 'w> {
    writer: &'a mut Writer<'w>,
    held_back: bool,
}

impl fmt::Write for WithoutLineEnd<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if text.is_empty() {
            return Ok(());
        }
        if std::mem::take(&mut self.held_back) {
            self.writer.write_char('\n')?;
        }
        let body = text.strip_suffix('\n').unwrap_or(text);
        self.held_back = body.len() < text.len();
        self.writer.write_str(body)
    }
}

/// The object of an event, with the ids as its first members.
struct JsonWithTrace(Format<Json>);

impl<S, N> FormatEvent<S, N> for JsonWithTrace
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result
    where
        Format<Json>: FormatEvent<S, N>,
    {
        let mut object = WithMembers { writer: &mut writer, trace: current::trace() };
        self.0.format_event(context, Writer::new(&mut object), event)
    }
}

/// Passes an object through and adds the ids after its opening brace.
struct WithMembers<'a, 'w> {
    writer: &'a mut Writer<'w>,
    /// Taken when written.
    trace: Option<TraceContext>,
}

impl fmt::Write for WithMembers<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let Some(trace) = self.trace else { return self.writer.write_str(text) };
        // The object is never empty: it has a timestamp.
        let Some(rest) = text.strip_prefix('{') else { return self.writer.write_str(text) };
        self.trace = None;
        write!(self.writer, "{{\"trace_id\":\"{}\",\"span_id\":\"{}\",", trace.trace_id, trace.span_id)?;
        self.writer.write_str(rest)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use lgtm_core::{SpanId, TraceId};
    use tracing::{info, info_span};
    use tracing_subscriber::Registry;
    use tracing_subscriber::prelude::*;

    use super::*;

    #[derive(Clone, Default)]
    struct Output(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Output {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn written(layer: impl FnOnce(Output) -> Box<dyn Layer<Registry> + Send + Sync>, work: impl FnOnce()) -> String {
        let output = Output::default();
        let subscriber = tracing_subscriber::registry().with(layer(output.clone()));
        tracing::subscriber::with_default(subscriber, work);
        let bytes = output.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    fn trace() -> TraceContext {
        TraceContext::new(TraceId::random(), SpanId::random(), true)
    }

    fn log_twice(trace: TraceContext) {
        let _span = info_span!("checkout", cart = 7).entered();
        current::with_trace(Some(trace), || info!(total = 12.5, "two\nlines"));
        info!("outside of all traces");
    }

    #[test]
    fn json_lines_carry_the_ids_and_stay_valid() {
        let trace = trace();
        let text = written(|output| json(move || output.clone()), || log_twice(trace));
        let lines: Vec<serde_json::Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
            .collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0]["trace_id"], trace.trace_id.to_string());
        assert_eq!(lines[0]["span_id"], trace.span_id.to_string());
        assert_eq!(lines[0]["fields"]["message"], "two\nlines");
        assert_eq!(lines[0]["span"]["cart"], 7);
        assert_eq!(lines[1].get("trace_id"), None);
    }

    #[test]
    fn pretty_lines_end_with_the_ids() {
        let trace = trace();
        let text = written(|output| pretty(move || output.clone(), false), || log_twice(trace));
        let ids = format!(" trace_id={} span_id={}", trace.trace_id, trace.span_id);
        let lines: Vec<_> = text.lines().collect();
        assert!(lines[0].contains("INFO checkout{cart=7}"), "{text}");
        assert!(lines.iter().any(|line| line.contains("total=12.5") && line.ends_with(&ids)), "{text}");
        assert!(lines.last().unwrap().ends_with("outside of all traces"), "{text}");
        assert!(!text.contains('\u{1b}'), "no colour was asked for: {text}");
    }

    #[test]
    fn colour_survives_the_ids() {
        let text = written(|output| pretty(move || output.clone(), true), || log_twice(trace()));
        assert!(text.lines().next().unwrap().contains('\u{1b}'), "{text}");
    }

    fn log_with_late_fields() {
        let span = info_span!("checkout", cart = 7, total = tracing::field::Empty, paid = tracing::field::Empty);
        span.record("total", 12.5);
        span.record("paid", true);
        span.record("total", 13.5);
        let bare = info_span!(parent: &span, "bare", late = tracing::field::Empty);
        bare.record("late", tracing::field::debug("text"));
        bare.in_scope(|| info!("said"));
    }

    #[test]
    fn fields_recorded_late_join_the_others() {
        let text = written(|output| json(move || output.clone()), log_with_late_fields);
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&line["spans"][0]["cart"], &line["spans"][0]["paid"]), (&7.into(), &true.into()), "{text}");
        assert_eq!((&line["spans"][0]["total"], &line["span"]["late"]), (&13.5.into(), &"\"text\"".into()), "{text}");
        let text = written(|output| pretty(move || output.clone(), false), log_with_late_fields);
        assert!(text.contains("checkout{cart=7 total=12.5 paid=true total=13.5}:bare{late=\"text\"}"), "{text}");
    }

    #[test]
    fn off_is_no_layer() {
        assert!(layer::<Registry>(Console::Off).is_none());
        assert!(layer::<Registry>(Console::Json).is_some());
    }
}
