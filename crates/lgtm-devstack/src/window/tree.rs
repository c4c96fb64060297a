//! The spans of one trace as a tree, whatever is missing or wrong in them.

use std::collections::HashMap;
use std::sync::Arc;

use super::critical_path::Node;
use crate::span::Span;

/// One span in its place.
pub(super) struct Placed {
    pub(super) span: Arc<Span>,
    /// How many spans are above it.
    pub(super) depth: usize,
    /// Whether it names a parent that is not there.
    pub(super) is_orphan: bool,
    /// Its time without that of its children, in nanoseconds.
    pub(super) self_ns: u64,
}

/// The spans, each behind its parent, siblings in the order of their beginnings.
#[derive(Default)]
pub(super) struct Tree {
    pub(super) spans: Vec<Placed>,
    /// The same spans, with the places of their children.
    pub(super) nodes: Vec<Node>,
    /// The place of the span by which the trace is named: the first root, or else the longest of those without their parents.
    pub(super) root: Option<usize>,
    /// What is missing or wrong, as sentences.
    pub(super) problems: Vec<String>,
}

impl Tree {
    pub(super) fn grow(spans: &[Arc<Span>]) -> Self {
        let mut by_id: HashMap<&str, usize> = HashMap::with_capacity(spans.len());
        let mut unique: Vec<&Arc<Span>> = Vec::with_capacity(spans.len());
        for span in spans {
            // A span that was sent again is there once.
            by_id.entry(&span.span_id).or_insert_with(|| {
                unique.push(span);
                unique.len() - 1
            });
        }
        let mut children: Vec<Vec<usize>> = vec![Vec::new(); unique.len()];
        let mut tops = Vec::new();
        for (at, span) in unique.iter().enumerate() {
            let parent = span.parent_span_id.as_deref().and_then(|parent| by_id.get(parent).copied());
            match parent.and_then(|parent| children.get_mut(parent)) {
                Some(siblings) => siblings.push(at),
                None => tops.push(at),
            }
        }
        let start = |at: &usize| unique.get(*at).map(|span| (span.start_ns, span.end_ns));
        children.iter_mut().for_each(|siblings| siblings.sort_by_key(start));
        tops.sort_by_key(start);
        let mut growing =
            Growing { unique: &unique, children: &children, placed: vec![None; unique.len()], tree: Self::default() };
        growing.place_under(tops, true);
        growing.place_circles();
        let mut tree = growing.tree;
        tree.measure();
        tree.root = tree.find_root();
        tree.tell_problems(spans.len() - unique.len());
        tree
    }

    fn measure(&mut self) {
        for (at, node) in self.nodes.iter().enumerate() {
            let inner = covered(node, &self.nodes);
            if let Some(placed) = self.spans.get_mut(at) {
                placed.self_ns = node.end.saturating_sub(node.start).saturating_sub(inner);
            }
        }
    }

    fn find_root(&self) -> Option<usize> {
        let tops = || self.spans.iter().enumerate().filter(|(_, placed)| placed.depth == 0);
        let root = tops().find(|(_, placed)| placed.span.parent_span_id.is_none());
        // The first of those that are equally long.
        root.or_else(|| tops().rev().max_by_key(|(_, placed)| placed.span.duration())).map(|(at, _)| at)
    }

    fn tell_problems(&mut self, repeated: usize) {
        let spans = |number: usize| if number == 1 { "1 span".to_owned() } else { format!("{number} spans") };
        let orphans = self.spans.iter().filter(|placed| placed.is_orphan).count();
        if orphans > 0 {
            let problem =
                format!("{} without parent: it has not arrived, was not sampled, or was evicted", spans(orphans));
            self.problems.push(problem);
        }
        if repeated > 0 {
            self.problems.push(format!("{} came again and are shown once", spans(repeated)));
        }
        let backwards = self.spans.iter().filter(|placed| placed.span.end_ns < placed.span.start_ns).count();
        if backwards > 0 {
            self.problems.push(format!("{} ended before they began", spans(backwards)));
        }
        let early = |node: &Node| {
            let outside = |child: &usize| self.nodes.get(*child).is_some_and(|child| child.start < node.start);
            node.children.iter().filter(|child| outside(child)).count()
        };
        let early: usize = self.nodes.iter().map(early).sum();
        if early > 0 {
            self.problems.push(format!("{} began before their parents: clocks of two machines differ", spans(early)));
        }
    }
}

struct Growing<'a> {
    unique: &'a [&'a Arc<Span>],
    children: &'a [Vec<usize>],
    /// Where each span went.
    placed: Vec<Option<usize>>,
    tree: Tree,
}

impl Growing<'_> {
    /// Places spans with all below them; `are_tops` says whether a parent that they name is not there.
    fn place_under(&mut self, tops: Vec<usize>, are_tops: bool) {
        // The last one is taken first.
        let mut waiting: Vec<(usize, Option<usize>)> = tops.into_iter().rev().map(|top| (top, None)).collect();
        while let Some((at, parent)) = waiting.pop() {
            let place = self.tree.spans.len();
            let (Some(span), Some(placed)) = (self.unique.get(at), self.placed.get_mut(at)) else { continue };
            if placed.replace(place).is_some() {
                continue;
            }
            let depth = match parent.and_then(|parent: usize| self.tree.spans.get(parent)) {
                Some(parent) => parent.depth + 1,
                None => 0,
            };
            if let Some(parent) = parent.and_then(|parent| self.tree.nodes.get_mut(parent)) {
                parent.children.push(place);
            }
            let is_orphan = are_tops && parent.is_none() && span.parent_span_id.is_some();
            self.tree.spans.push(Placed { span: Arc::clone(span), depth, is_orphan, self_ns: 0 });
            self.tree.nodes.push(Node { start: span.start_ns, end: span.end_ns, children: Vec::new() });
            let children = self.children.get(at).map(Vec::as_slice).unwrap_or_default();
            waiting.extend(children.iter().rev().map(|child| (*child, Some(place))));
        }
    }

    /// Spans that are each other's ancestors hang under no top.
    fn place_circles(&mut self) {
        let mut circles = 0;
        for at in 0..self.unique.len() {
            if self.placed.get(at).is_some_and(Option::is_none) {
                circles += 1;
                self.place_under(vec![at], false);
            }
        }
        if circles > 0 {
            self.tree.problems.push(format!("{circles} spans are their own ancestors"));
        }
    }
}

/// How much of a span's time at least one of its children runs.
fn covered(node: &Node, nodes: &[Node]) -> u64 {
    let mut parts: Vec<(u64, u64)> = node
        .children
        .iter()
        .filter_map(|child| nodes.get(*child))
        .map(|child| (child.start.max(node.start), child.end.min(node.end)))
        .filter(|(start, end)| start < end)
        .collect();
    parts.sort_unstable();
    let (mut sum, mut until) = (0, 0);
    for (start, end) in parts {
        sum += end.saturating_sub(start.max(until));
        until = until.max(end);
    }
    sum
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::trace::v1 as otlp;

    use super::*;
    use crate::attribute::Attributes;
    use crate::span::Scope;

    fn span(id: u8, parent: Option<u8>, start: u64, end: u64) -> Arc<Span> {
        let span = otlp::Span {
            trace_id: vec![1; 16],
            span_id: vec![id; 8],
            parent_span_id: parent.map(|parent| vec![parent; 8]).unwrap_or_default(),
            start_time_unix_nano: start,
            end_time_unix_nano: end,
            ..otlp::Span::default()
        };
        Arc::new(Span::from_otlp(span, &Arc::new(Attributes::default()), &Arc::new(Scope::default())))
    }

    /// The first digit of each span's id, its depth and its own time.
    fn shape(tree: &Tree) -> Vec<(&str, usize, u64)> {
        tree.spans.iter().map(|placed| (&placed.span.span_id[1..2], placed.depth, placed.self_ns)).collect()
    }

    #[test]
    fn children_stand_behind_their_parents_in_the_order_of_time() {
        let tree = Tree::grow(&[
            span(3, Some(1), 50, 90),
            span(4, Some(2), 15, 20),
            span(1, None, 0, 100),
            span(2, Some(1), 10, 40),
        ]);
        assert_eq!(shape(&tree), [("1", 0, 30), ("2", 1, 25), ("4", 2, 5), ("3", 1, 40)]);
        assert_eq!(tree.root, Some(0));
        assert_eq!(tree.problems, [""; 0]);
    }

    #[test]
    fn what_is_missing_or_wrong_is_said_and_every_span_is_shown_once() {
        let tree = Tree::grow(&[
            span(1, Some(9), 0, 10),
            span(2, Some(8), 5, 50),
            span(2, Some(8), 5, 50),
            span(3, Some(2), 1, 20),
            span(4, Some(5), 0, 1),
            span(5, Some(4), 0, 1),
            span(6, Some(2), 9, 8),
        ]);
        assert_eq!(tree.spans.len(), 6);
        assert_eq!(
            tree.root.and_then(|root| tree.spans.get(root)).map(|root| root.span.span_id.as_str()),
            Some("0202020202020202")
        );
        let said = tree.problems.join("; ");
        for part in [
            "2 spans without parent",
            "1 span came again",
            "their own ancestors",
            "ended before",
            "1 span began before",
        ] {
            assert!(said.contains(part), "{part}: {said}");
        }
    }

    #[test]
    fn time_that_several_children_share_is_taken_off_once() {
        let tree = Tree::grow(&[span(1, None, 0, 100), span(2, Some(1), 10, 60), span(3, Some(1), 40, 200)]);
        assert_eq!(shape(&tree), [("1", 0, 10), ("2", 1, 50), ("3", 1, 160)]);
    }
}
