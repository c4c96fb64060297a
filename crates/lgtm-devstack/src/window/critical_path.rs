//! The critical path of a trace: at each moment of its root, the span for which everything else waits.
//!
//! Walked from the end: a span waits for the child that ended last before the moment looked at; before that child began, for the
//! one that ended last before that, and so on. Where no child was waited for, the span itself works. A child that outlives its
//! parent counts up to its parent's end, one that began before from its parent's beginning. Nothing recurses, and each child is looked at
//! once: traces of 10,000 spans, nested or flat, cost no more than sorting them.

/// One span of a tree: when it began and ended, and its children's places.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) children: Vec<usize>,
}

/// A part of the path: which span, from when to when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) span: usize,
    pub(super) from: u64,
    pub(super) to: u64,
}

struct Visit {
    span: usize,
    start: u64,
    end: u64,
    /// All after this is on the path already.
    cursor: u64,
    /// The children, the last to end first, that were not looked at yet.
    children: std::vec::IntoIter<usize>,
}

/// The path under `root`, in the order of time. The nodes must be a tree.
pub(super) fn critical_path(nodes: &[Node], root: usize) -> Vec<Segment> {
    let visit = |span: usize, start: u64, end: u64| {
        let mut children = nodes.get(span).map(|node| node.children.clone()).unwrap_or_default();
        // Of two that end together, the one that began first: it was waited for longer.
        let key = |child: &usize| nodes.get(*child).map(|node| (std::cmp::Reverse(node.end), node.start));
        children.sort_by_key(key);
        Visit { span, start, end, cursor: end, children: children.into_iter() }
    };
    let Some(node) = nodes.get(root) else { return Vec::new() };
    let mut path = Vec::new();
    let mut visits = vec![visit(root, node.start, node.end.max(node.start))];
    while let Some(current) = visits.last_mut() {
        let entered = current.children.by_ref().find_map(|child| {
            let node = nodes.get(child)?;
            let (start, end) = (node.start.max(current.start), node.end.min(current.end));
            (start < end && end <= current.cursor).then_some((child, start, end))
        });
        let (from, span, cursor) = (entered.map_or(current.start, |(_, _, end)| end), current.span, current.cursor);
        if from < cursor {
            path.push(Segment { span, from, to: cursor });
        }
        match entered {
            Some((child, start, end)) => {
                current.cursor = start;
                visits.push(visit(child, start, end));
            }
            None => drop(visits.pop()),
        }
    }
    path.reverse();
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nodes from `(start, end, children)`, and the path of the first as `(span, from, to)`.
    fn path(spans: &[(u64, u64, &[usize])]) -> Vec<(usize, u64, u64)> {
        let nodes: Vec<Node> = spans
            .iter()
            .map(|(start, end, children)| Node { start: *start, end: *end, children: children.to_vec() })
            .collect();
        critical_path(&nodes, 0).into_iter().map(|segment| (segment.span, segment.from, segment.to)).collect()
    }

    #[test]
    fn a_span_alone_is_its_own_path() {
        assert_eq!(path(&[(10, 30, &[])]), [(0, 10, 30)]);
    }

    #[test]
    fn children_one_after_the_other_are_all_on_the_path_with_the_gaps_of_their_parent() {
        let spans: &[(u64, u64, &[usize])] = &[(0, 100, &[1, 2]), (10, 40, &[]), (50, 90, &[])];
        assert_eq!(path(spans), [(0, 0, 10), (1, 10, 40), (0, 40, 50), (2, 50, 90), (0, 90, 100)]);
    }

    #[test]
    fn of_parallel_children_the_last_to_end_is_waited_for() {
        let spans: &[(u64, u64, &[usize])] = &[(0, 100, &[1, 2]), (10, 40, &[]), (30, 90, &[])];
        assert_eq!(path(spans), [(0, 0, 30), (2, 30, 90), (0, 90, 100)]);
        let one_within_the_other: &[(u64, u64, &[usize])] = &[(0, 100, &[1, 2]), (20, 60, &[]), (10, 90, &[])];
        assert_eq!(path(one_within_the_other), [(0, 0, 10), (2, 10, 90), (0, 90, 100)]);
    }

    #[test]
    fn the_path_goes_down_into_what_a_child_waited_for() {
        let spans: &[(u64, u64, &[usize])] = &[(0, 100, &[1]), (10, 90, &[2, 3]), (20, 50, &[]), (60, 80, &[])];
        assert_eq!(
            path(spans),
            [(0, 0, 10), (1, 10, 20), (2, 20, 50), (1, 50, 60), (3, 60, 80), (1, 80, 90), (0, 90, 100)]
        );
    }

    #[test]
    fn a_child_that_outlives_its_parent_or_began_before_it_counts_within_its_parent() {
        assert_eq!(path(&[(10, 100, &[1]), (50, 400, &[])]), [(0, 10, 50), (1, 50, 100)]);
        assert_eq!(path(&[(10, 100, &[1]), (5, 60, &[])]), [(1, 10, 60), (0, 60, 100)]);
        // Work that was started and not waited for begins after the end.
        assert_eq!(path(&[(10, 100, &[1]), (100, 400, &[])]), [(0, 10, 100)]);
    }

    #[test]
    fn spans_without_length_are_not_waited_for() {
        assert_eq!(path(&[(0, 10, &[1]), (5, 5, &[])]), [(0, 0, 10)]);
        assert_eq!(path(&[(10, 10, &[1]), (10, 10, &[])]), []);
        // An end before the start.
        assert_eq!(path(&[(10, 4, &[])]), []);
    }

    #[test]
    fn a_path_covers_its_root_without_gap_or_overlap_however_deep_or_wide_it_is() {
        let depth = 100_000;
        let mut deep: Vec<Node> = (0..depth)
            .map(|at| Node { start: at as u64, end: 2 * depth as u64 - at as u64, children: vec![at + 1] })
            .collect();
        deep.push(Node { start: depth as u64, end: depth as u64 + 1, children: Vec::new() });
        let mut wide = vec![Node { start: 0, end: 200_000, children: (1..=100_000).collect() }];
        wide.extend((0..100_000).map(|at| Node { start: 2 * at, end: 2 * at + 1, children: Vec::new() }));
        for nodes in [deep, wide] {
            let path = critical_path(&nodes, 0);
            let root = nodes.first().unwrap();
            assert_eq!(path.first().map(|segment| segment.from), Some(root.start));
            assert_eq!(path.last().map(|segment| segment.to), Some(root.end));
            assert!(path.windows(2).all(|pair| matches!(pair, [a, b] if a.to == b.from && a.from < a.to)));
        }
    }
}
