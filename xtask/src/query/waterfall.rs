//! A trace as an indented tree with a bar of time for each span, as wide as the screen.

use std::io;

use lgtm_query::tree::{Attachment, Row};
use lgtm_query::{Event, Span, SpanKind, Trace};

use super::screen::{BOLD, CYAN, DIM, RED, Screen, clean, columns, cut, duration, fit, styled};

/// Longer service names are cut.
const MOST_SERVICE: usize = 24;
/// The columns of a duration.
const DURATION: usize = 8;
/// Events of one span that are shown.
const MOST_EVENTS: usize = 10;
/// Attributes of an event that say what it was, in the order in which they are shown.
const TELLING: [&str; 3] = ["exception.type", "exception.message", "message"];

/// The trace's time, laid over some columns.
struct Ruler {
    start: u64,
    length: u64,
    width: usize,
}

impl Ruler {
    /// The half column in which a time lies.
    fn half(&self, unix_nanos: u64) -> usize {
        let halves = 2 * self.width;
        let offset = unix_nanos.saturating_sub(self.start).min(self.length);
        let position = u128::from(offset) * halves as u128 / u128::from(self.length.max(1));
        usize::try_from(position).unwrap_or(halves).min(halves)
    }

    /// A bar in half columns; the shortest span is a thin line.
    fn bar(&self, span: &Span) -> String {
        let from = self.half(span.start_unix_nanos);
        let to = self.half(span.end_unix_nanos);
        if to <= from {
            let from = from.min(2 * self.width - 1);
            let thin = if from.is_multiple_of(2) { '▏' } else { '▕' };
            return " ".repeat(from / 2) + &thin.to_string();
        }
        let filled = |half: usize| (from..to).contains(&half);
        let column = |column: usize| match (filled(2 * column), filled(2 * column + 1)) {
            (true, true) => '█',
            (true, false) => '▌',
            (false, true) => '▐',
            (false, false) => ' ',
        };
        (0..to.div_ceil(2)).map(column).collect()
    }

    fn mark(&self, unix_nanos: u64) -> String {
        " ".repeat((self.half(unix_nanos) / 2).min(self.width - 1)) + "◆"
    }
}

/// Shows the trace: a headline, then a line for each span and each of its events.
///
/// # Errors
/// If the output is gone.
pub(super) fn show(screen: &mut Screen<'_>, trace: &Trace) -> io::Result<()> {
    let spans = &trace.spans;
    let start = spans.iter().map(|span| span.start_unix_nanos).min().unwrap_or_default();
    let end = spans.iter().map(|span| span.end_unix_nanos).max().unwrap_or_default();
    headline(screen, trace, start, end.saturating_sub(start))?;

    let service_width = trace.services().iter().map(|name| columns(name)).max().unwrap_or(0).min(MOST_SERVICE);
    let tree = trace.tree();
    let rest = screen.width.saturating_sub(service_width + DURATION + 6);
    let widest =
        |of: fn(&Row<'_>) -> usize| tree.branches().map(|(branch, row)| columns(&branch) + of(row)).max().unwrap_or(0);
    // Names take what they need, up to two thirds, and events up to a half; the bars take the rest.
    let names = widest(|row| columns(&title(row).1)).min(rest * 2 / 3);
    let events_width =
        |row: &Row<'_>| row.span.events.iter().map(|event| columns(&words(event)) + 5).max().unwrap_or(0);
    let name_width = names.max(widest(events_width).min(rest / 2)).max(10);
    let ruler = Ruler { start, length: end.saturating_sub(start), width: rest.saturating_sub(name_width).max(10) };
    let mut below = tree.branches().skip(1).map(|(_, row)| row.depth);
    for (branch, row) in tree.branches() {
        let span = row.span;
        let (mark, title) = title(row);
        let title = fit(&title, name_width.saturating_sub(columns(&branch)));
        let (title, bar) = (cut(&title, name_width), ruler.bar(span));
        let (title, bar) = match mark {
            Mark::Error => (styled(RED, &title), styled(RED, &fit(&bar, ruler.width))),
            Mark::Odd => (styled(DIM, &title), styled(CYAN, &fit(&bar, ruler.width))),
            Mark::None => (title, styled(CYAN, &fit(&bar, ruler.width))),
        };
        screen.line(&format!(
            "{}  {}{title}  {bar}  {:>DURATION$}",
            styled(BOLD, &fit(&clean(&span.service_name), service_width)),
            styled(DIM, &branch),
            duration(span.duration_nanos()),
        ))?;
        let has_child = below.next().is_some_and(|depth| depth > row.depth);
        let line = if has_child { "│  " } else { "   " };
        let continued = branch.replace("├─ ", "│  ").replace("└─ ", "   ") + line;
        events(screen, span, &ruler, service_width, name_width, &continued)?;
    }
    Ok(())
}

fn headline(screen: &mut Screen<'_>, trace: &Trace, start: u64, length: u64) -> io::Result<()> {
    let counted = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    let errors = trace.errors().count();
    let errors = if errors == 0 { String::new() } else { format!(", {}", styled(RED, &counted(errors, "error"))) };
    screen.line(&format!(
        "{} {}  {}, {}, {}{errors}  {}",
        styled(DIM, "trace"),
        styled(BOLD, &trace.trace_id.to_string()),
        duration(length),
        counted(trace.spans.len(), "span"),
        counted(trace.services().len(), "service"),
        styled(DIM, &format!("started {}", screen.time(start))),
    ))?;
    match &trace.partial {
        Some(reason) => screen.line(&styled(RED, &format!("incomplete: {}", clean(reason)))),
        None => Ok(()),
    }
}

/// How a span's line looks.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Mark {
    None,
    Error,
    /// It hangs where it does not belong.
    Odd,
}

/// What stands behind the branch: the name, the kind, the error, what is wrong with the parent.
fn title(row: &Row<'_>) -> (Mark, String) {
    let span = row.span;
    let name = if span.name.is_empty() { "(no name)".to_owned() } else { clean(&span.name) };
    let kind = match span.kind {
        SpanKind::Unspecified | SpanKind::Internal => String::new(),
        kind => format!(" [{kind}]"),
    };
    let (mark, error) = match (span.is_error(), span.status.message.as_str()) {
        (false, _) => (Mark::None, String::new()),
        (true, "") => (Mark::Error, " ✗".to_owned()),
        (true, message) => (Mark::Error, format!(" ✗ {}", clean(message))),
    };
    let (odd, remark) = match row.attachment {
        Attachment::Root | Attachment::Child => (false, String::new()),
        Attachment::Orphan(parent) => (true, format!(" (its parent {parent} is missing)")),
        Attachment::Circular(parent) => (true, format!(" (its parent {parent} is also its descendant)")),
    };
    (if odd && mark == Mark::None { Mark::Odd } else { mark }, format!("{name}{kind}{error}{remark}"))
}

fn events(
    screen: &mut Screen<'_>,
    span: &Span,
    ruler: &Ruler,
    service_width: usize,
    name_width: usize,
    branch: &str,
) -> io::Result<()> {
    let mut events: Vec<&Event> = span.events.iter().collect();
    events.sort_by_key(|event| event.time_unix_nanos);
    let line = |screen: &mut Screen<'_>, text: &str, mark: &str, at: &str| {
        let text = fit(text, name_width.saturating_sub(columns(branch)));
        let line = format!("{branch}{text}  {}  {at:>DURATION$}", fit(mark, ruler.width));
        screen.line(&styled(DIM, &format!("{}  {line}", " ".repeat(service_width))))
    };
    for event in events.iter().take(MOST_EVENTS) {
        let at = format!("+{}", duration(event.time_unix_nanos.saturating_sub(ruler.start)));
        line(screen, &format!("• {}", words(event)), &ruler.mark(event.time_unix_nanos), &at)?;
    }
    if events.len() > MOST_EVENTS {
        line(screen, &format!("• … {} more events", events.len() - MOST_EVENTS), "", "")?;
    }
    Ok(())
}

/// The event's name and level, and what its attributes say of it.
fn words(event: &Event) -> String {
    let mut said: Vec<String> = Vec::new();
    for name in TELLING {
        let text = event.attributes.get(name).map(ToString::to_string).unwrap_or_default();
        if !text.is_empty() && text != event.name && !said.contains(&text) {
            said.push(text);
        }
    }
    let level = match event.attributes.get("level") {
        // An exception is an error anyway.
        Some(level) if said.is_empty() => format!(" [{}]", level.to_string().to_lowercase()),
        _ => String::new(),
    };
    let said = said.iter().map(|text| format!(": {text}")).collect::<String>();
    clean(&format!("{}{level}{said}", event.name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use lgtm_query::{AttributeValue, SpanId, Status, StatusCode};

    const START: u64 = 1_700_000_000_000_000_000;

    fn span(id: u64, parent: Option<u64>, at_ms: (u64, u64), service: &str, name: &str) -> Span {
        let id_of = |id: u64| SpanId::from_bytes(id.to_be_bytes());
        Span {
            trace_id: "7b".parse().unwrap(),
            span_id: id_of(id),
            parent_span_id: parent.map(id_of),
            service_name: service.to_owned(),
            name: name.to_owned(),
            start_unix_nanos: START + at_ms.0 * 1_000_000,
            end_unix_nanos: START + at_ms.1 * 1_000_000,
            ..Span::default()
        }
    }

    fn trace() -> Trace {
        let mut spans = vec![
            span(1, None, (0, 100), "storefront", "POST /orders"),
            span(2, Some(1), (5, 60), "storefront", "POST"),
            span(3, Some(2), (10, 55), "inventory", "POST /reserve/{sku}"),
            span(4, Some(3), (20, 20), "inventory", "lock"),
            span(
                5,
                Some(1),
                (70, 100),
                "storefront",
                "render a page with a name that is longer than there is room for",
            ),
            span(6, Some(99), (90, 95), "mail", "send\u{1b}[2J"),
        ];
        spans[0].kind = SpanKind::Server;
        spans[1].kind = SpanKind::Client;
        spans[2].status = Status { code: StatusCode::Error, message: "out of stock".to_owned() };
        let attribute = |name: &str, value: &str| (name.to_owned(), AttributeValue::String(value.to_owned()));
        spans[2].events = vec![Event {
            name: "exception".to_owned(),
            time_unix_nanos: START + 50_000_000,
            attributes: [attribute("exception.message", "out of stock"), attribute("code.line", "7")].into(),
            ..Event::default()
        }];
        Trace { trace_id: "7b".parse().unwrap(), resources: Vec::new(), spans, partial: None }
    }

    fn shown(trace: &Trace, width: usize) -> String {
        let mut bytes = Vec::new();
        show(&mut Screen::plain(&mut bytes, width), trace).unwrap();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_trace_is_a_tree_with_bars_errors_and_events() {
        insta::assert_snapshot!(shown(&trace(), 100));
    }

    #[test]
    fn no_line_is_wider_than_the_screen() {
        for width in [60, 80, 100, 200] {
            for line in shown(&trace(), width).lines().skip(1) {
                assert!(columns(line) <= width, "{} > {width}: {line}", columns(line));
            }
        }
    }

    #[test]
    fn bars_begin_and_end_at_half_columns() {
        let ruler = Ruler { start: START, length: 100_000_000, width: 10 };
        let bar = |from: u64, to: u64| ruler.bar(&span(1, None, (from, to), "", ""));
        assert_eq!(bar(0, 100), "██████████");
        assert_eq!(bar(5, 20), "▐█");
        assert_eq!(bar(50, 75), "     ██▌");
        assert_eq!(bar(50, 50), "     ▏");
        assert_eq!(bar(100, 100), "         ▕");
        assert_eq!(Ruler { length: 0, ..ruler }.bar(&span(1, None, (0, 0), "", "")), "▏");
    }
}
