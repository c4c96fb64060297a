//! The spans of a trace as an indented tree with times and error marks. Any list of spans has a tree: spans whose parent is
//! missing are roots with a remark, and so is one span of each circle of parents. No recursion, so depth is no danger.

use std::collections::{BTreeSet, HashMap};
use std::fmt::{self, Write as _};

use crate::error::one_line;
use crate::ids::SpanId;
use crate::trace::{Span, SpanKind};

/// Deeper levels are drawn at this one, with their depth as a number: a line stays a line.
const MAX_DRAWN_DEPTH: usize = 40;
/// Longer service names are cut in the picture.
const MAX_SERVICE_CHARACTERS: usize = 24;
/// Longer span names and status descriptions are cut in the picture, in bytes.
const MAX_TEXT_BYTES: usize = 160;

/// Spans in the order of their tree: each before its children, siblings by start.
#[derive(Debug, Clone)]
pub struct Tree<'a> {
    rows: Vec<Row<'a>>,
}

/// One line of the tree.
#[derive(Debug, Clone)]
pub struct Row<'a> {
    /// The span.
    pub span: &'a Span,
    /// The number of its ancestors in the tree; 0 for roots.
    pub depth: usize,
    /// How it hangs.
    pub attachment: Attachment,
    /// Whether more siblings follow.
    is_last_sibling: bool,
}

/// How a span hangs in the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attachment {
    /// A root: it has no parent.
    Root,
    /// Under its parent.
    Child,
    /// A root here, because the trace does not hold its parent: not delivered, not kept, or not yet there.
    Orphan(SpanId),
    /// A root here, because it is its own ancestor.
    Circular(SpanId),
}

impl<'a> Tree<'a> {
    /// The tree of `spans`, in whatever order they come. Spans of one id are siblings; children go to the first of them.
    pub fn new(spans: &'a [Span]) -> Self {
        let mut by_start: Vec<usize> = (0..spans.len()).collect();
        by_start.sort_by_key(|&index| (spans[index].start_unix_nanos, spans[index].span_id, index));
        let mut first_of_id = HashMap::new();
        for (index, span) in spans.iter().enumerate() {
            first_of_id.entry(span.span_id).or_insert(index);
        }
        let mut children: Vec<Vec<usize>> = vec![Vec::new(); spans.len()];
        let mut roots = Vec::new();
        for &index in &by_start {
            match spans[index].parent_span_id {
                None => roots.push((index, Attachment::Root)),
                Some(parent) => match first_of_id.get(&parent) {
                    Some(&parent_index) => children[parent_index].push(index),
                    None => roots.push((index, Attachment::Orphan(parent))),
                },
            }
        }
        let mut tree = Self { rows: Vec::with_capacity(spans.len()) };
        let mut seen = vec![false; spans.len()];
        for (index, attachment) in roots {
            tree.grow(spans, &children, &mut seen, index, attachment);
        }
        // What no root leads to hangs in a circle; its earliest span opens it.
        for index in by_start {
            if let (false, Some(parent)) = (seen[index], spans[index].parent_span_id) {
                tree.grow(spans, &children, &mut seen, index, Attachment::Circular(parent));
            }
        }
        tree
    }

    fn grow(
        &mut self,
        spans: &'a [Span],
        children: &[Vec<usize>],
        seen: &mut [bool],
        root: usize,
        attachment: Attachment,
    ) {
        let mut open = vec![(root, 0, attachment, true)];
        while let Some((index, depth, attachment, is_last_sibling)) = open.pop() {
            if std::mem::replace(&mut seen[index], true) {
                continue;
            }
            self.rows.push(Row { span: &spans[index], depth, attachment, is_last_sibling });
            let unseen = children[index].iter().rev().filter(|&&child| !seen[child]);
            open.extend(unseen.enumerate().map(|(nth, &child)| (child, depth + 1, Attachment::Child, nth == 0)));
        }
    }

    /// The spans, each before its children, siblings by start. Every span is there once.
    pub fn rows(&self) -> &[Row<'a>] {
        &self.rows
    }

    /// The spans as [`Tree::rows`] has them, each with the branch that leads to it in a picture: empty for roots, else lines down
    /// and a corner, three characters for each level. Levels below the fortieth are drawn at that one.
    pub fn branches(&self) -> impl Iterator<Item = (String, &Row<'a>)> {
        // For each drawn level, whether a line runs down through it.
        let mut runs_on: Vec<bool> = Vec::new();
        self.rows.iter().map(move |row| {
            let drawn = row.depth.min(MAX_DRAWN_DEPTH);
            runs_on.truncate(drawn.saturating_sub(1));
            let mut branch: String = runs_on.iter().map(|&line| if line { "│  " } else { "   " }).collect();
            if drawn > 0 {
                branch.push_str(if row.is_last_sibling { "└─ " } else { "├─ " });
                runs_on.push(!row.is_last_sibling);
            }
            (branch, row)
        })
    }
}

impl fmt::Display for Tree<'_> {
    /// A headline, then one line a span: start (since the first span's), duration, service, and the branch with name, kind and
    /// `✗` for an error. Control characters of names and messages are left out.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let spans = || self.rows.iter().map(|row| row.span);
        let start = spans().map(|span| span.start_unix_nanos).min().unwrap_or_default();
        let end = spans().map(|span| span.end_unix_nanos).max().unwrap_or_default();
        let services: BTreeSet<_> = spans().map(|span| span.service_name.as_str()).collect();
        let errors = spans().filter(|span| span.is_error()).count();
        let traces: BTreeSet<_> = spans().map(|span| span.trace_id).collect();
        for trace in &traces {
            write!(formatter, "trace {trace}, ")?;
        }
        writeln!(
            formatter,
            "{}, {}, {}, {}",
            counted(self.rows.len(), "span"),
            counted(services.len(), "service"),
            milliseconds(end.saturating_sub(start)),
            counted(errors, "error"),
        )?;
        let width =
            services.iter().map(|name| name.chars().count()).max().unwrap_or_default().clamp(7, MAX_SERVICE_CHARACTERS);
        writeln!(formatter, "{:>12} {:>12}  {:width$}  span", "start", "duration", "service")?;
        for (branch, row) in self.branches() {
            let span = row.span;
            write!(
                formatter,
                "{:>12} {:>12}  {:width$}  {branch}",
                milliseconds(span.start_unix_nanos - start),
                milliseconds(span.duration_nanos()),
                cut(&span.service_name, MAX_SERVICE_CHARACTERS),
            )?;
            if row.depth > MAX_DRAWN_DEPTH {
                write!(formatter, "(depth {}) ", row.depth)?;
            }
            writeln!(formatter, "{}", description(row))?;
        }
        Ok(())
    }
}

/// The part of a line that belongs to the span alone.
fn description(row: &Row<'_>) -> String {
    let span = row.span;
    let mut text = one_line(&span.name, MAX_TEXT_BYTES);
    if text.is_empty() {
        text.push_str("(no name)");
    }
    if !matches!(span.kind, SpanKind::Unspecified | SpanKind::Internal) {
        // Writing to a String cannot fail.
        let _ = write!(text, " [{}]", span.kind);
    }
    if span.is_error() {
        text.push_str(" ✗");
        if !span.status.message.is_empty() {
            let _ = write!(text, " {}", one_line(&span.status.message, MAX_TEXT_BYTES));
        }
    }
    match row.attachment {
        Attachment::Root | Attachment::Child => {}
        Attachment::Orphan(parent) => {
            let _ = write!(text, " (its parent {parent} is missing)");
        }
        Attachment::Circular(parent) => {
            let _ = write!(text, " (its parent {parent} is also its descendant)");
        }
    }
    text
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

fn milliseconds(nanos: u64) -> String {
    format!("{}.{:03} ms", nanos / 1_000_000, nanos / 1_000 % 1_000)
}

fn cut(text: &str, characters: usize) -> String {
    let text = one_line(text, 4 * characters);
    if text.chars().count() <= characters {
        return text;
    }
    text.chars().take(characters - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::{Status, StatusCode};

    fn span(id: u64, parent: Option<u64>, start_ms: u64, name: &str) -> Span {
        Span {
            trace_id: "7b".parse().unwrap(),
            span_id: SpanId::from_bytes(id.to_be_bytes()),
            parent_span_id: parent.map(|parent| SpanId::from_bytes(parent.to_be_bytes())),
            service_name: "shop".into(),
            name: name.into(),
            start_unix_nanos: 1_000_000_000 + start_ms * 1_000_000,
            end_unix_nanos: 1_000_000_000 + (start_ms + 10) * 1_000_000,
            ..Span::default()
        }
    }

    fn names<'a>(tree: &Tree<'a>) -> Vec<(&'a str, usize)> {
        tree.rows().iter().map(|row| (row.span.name.as_str(), row.depth)).collect()
    }

    #[test]
    fn the_picture_shows_services_times_kinds_and_errors() {
        let mut spans = vec![
            span(1, None, 0, "POST /orders"),
            span(2, Some(1), 1, "POST"),
            span(3, Some(2), 2, "POST /reserve/{sku}"),
            span(4, Some(1), 8, "render\nresult"),
            span(5, Some(3), 3, "SELECT stock"),
        ];
        spans[1].kind = SpanKind::Client;
        for (index, service) in [(2, "inventory"), (4, "inventory")] {
            spans[index].service_name = service.into();
        }
        spans[2].kind = SpanKind::Server;
        spans[2].status = Status { code: StatusCode::Error, message: "out of\tstock".into() };
        let picture = Tree::new(&spans).to_string();
        let expected = "\
trace 0000000000000000000000000000007b, 5 spans, 2 services, 18.000 ms, 1 error
       start     duration  service    span
    0.000 ms    10.000 ms  shop       POST /orders
    1.000 ms    10.000 ms  shop       ├─ POST [client]
    2.000 ms    10.000 ms  inventory  │  └─ POST /reserve/{sku} [server] ✗ out of stock
    3.000 ms    10.000 ms  inventory  │     └─ SELECT stock
    8.000 ms    10.000 ms  shop       └─ render result
";
        assert_eq!(picture, expected);
    }

    #[test]
    fn the_order_of_the_spans_does_not_matter() {
        let spans =
            vec![span(1, None, 0, "a"), span(2, Some(1), 1, "b"), span(3, Some(2), 2, "c"), span(4, Some(1), 3, "d")];
        let reversed: Vec<_> = spans.iter().rev().cloned().collect();
        assert_eq!(names(&Tree::new(&spans)), [("a", 0), ("b", 1), ("c", 2), ("d", 1)]);
        assert_eq!(names(&Tree::new(&spans)), names(&Tree::new(&reversed)));
    }

    #[test]
    fn an_orphan_is_shown_with_its_children_and_the_missing_parent() {
        let spans = vec![span(1, None, 0, "a"), span(3, Some(9), 2, "c"), span(4, Some(3), 3, "d")];
        let tree = Tree::new(&spans);
        assert_eq!(names(&tree), [("a", 0), ("c", 0), ("d", 1)]);
        assert!(tree.to_string().contains("c (its parent 0000000000000009 is missing)"));
    }

    #[test]
    fn circles_of_parents_end_and_show_every_span_once() {
        let spans = vec![
            span(1, Some(1), 5, "self"),
            span(2, Some(3), 1, "a"),
            span(3, Some(2), 2, "b"),
            span(4, Some(3), 3, "tail"),
        ];
        let tree = Tree::new(&spans);
        assert_eq!(names(&tree), [("a", 0), ("b", 1), ("tail", 2), ("self", 0)]);
        assert!(tree.to_string().contains("a (its parent 0000000000000003 is also its descendant)"));
    }

    #[test]
    fn spans_of_one_id_are_siblings() {
        let spans =
            vec![span(1, None, 0, "a"), span(2, Some(1), 1, "b"), span(2, Some(1), 1, "b"), span(3, Some(2), 2, "c")];
        assert_eq!(names(&Tree::new(&spans)), [("a", 0), ("b", 1), ("c", 2), ("b", 1)]);
    }

    #[test]
    fn a_very_deep_trace_is_drawn_within_bounds() {
        let depth = 100_000;
        let spans: Vec<_> = (1..=depth).map(|id| span(id, (id > 1).then(|| id - 1), 0, "s")).collect();
        let picture = Tree::new(&spans).to_string();
        assert_eq!(picture.lines().count(), 100_002);
        assert!(picture.lines().all(|line| line.chars().count() < 200));
        assert!(picture.contains("(depth 99999) s"));
    }

    #[test]
    fn branches_lead_from_level_to_level() {
        let spans = vec![
            span(1, None, 0, "a"),
            span(2, Some(1), 1, "b"),
            span(3, Some(2), 2, "c"),
            span(4, Some(1), 3, "d"),
            span(5, Some(4), 4, "e"),
        ];
        let tree = Tree::new(&spans);
        let branches: Vec<_> = tree.branches().map(|(branch, row)| branch + &row.span.name).collect();
        assert_eq!(branches, ["a", "├─ b", "│  └─ c", "└─ d", "   └─ e"]);
    }

    #[test]
    fn no_spans_are_an_empty_tree() {
        assert!(Tree::new(&[]).to_string().starts_with("0 spans, 0 services, 0.000 ms, 0 errors"));
    }
}
