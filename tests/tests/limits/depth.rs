//! Nested depth: spans in spans, values in values.

use std::fmt;

use lgtm_tests::capture::capture;
use tracing::{Span, info, info_span};

use crate::settings;

/// Runs on a thread with a stack of its own size, in MiB.
fn with_stack<R: Send + 'static>(mebibytes: usize, work: impl FnOnce() -> R + Send + 'static) -> R {
    std::thread::Builder::new().stack_size(mebibytes * 1024 * 1024).spawn(work).unwrap().join().unwrap()
}

#[test]
fn spans_that_are_entered_ten_thousand_deep_all_arrive_each_below_its_parent() {
    const DEPTH: usize = 10_000;
    let captured = with_stack(2, || {
        capture(&settings(), || {
            // No recursion: the spans are entered one after the other and left the other way round.
            let mut entered = Vec::new();
            for depth in 0..DEPTH {
                entered.push(info_span!("nested", depth).entered());
                if depth % 1000 == 999 {
                    info!(depth, "at depth");
                }
            }
            while entered.pop().is_some() {}
            info!("outside again");
        })
    });
    assert_eq!(captured.spans.len(), DEPTH);
    let mut by_depth: Vec<_> = captured.spans.iter().collect();
    by_depth.sort_by_key(|span| span.attributes.int("depth"));
    assert_eq!(by_depth[0].parent_span_id, None);
    for pair in by_depth.windows(2) {
        assert_eq!(pair[1].parent_span_id.as_ref(), Some(&pair[0].span_id));
        assert_eq!(pair[1].trace_id, pair[0].trace_id);
    }
    assert_eq!(captured.logs.len(), 11);
    for entry in &captured.logs {
        assert!(entry.line.len() <= 256 * 1024);
        let line = entry.json().unwrap();
        let depth = line["depth"].as_u64().and_then(|depth| usize::try_from(depth).ok());
        let Some(depth) = depth else { continue };
        // A line names the innermost spans; so deep that nobody reads it, it leaves out the outermost.
        assert_eq!(line["spans"].as_array().map_or(0, Vec::len), (depth + 1).min(4096), "{depth}");
        assert_eq!(entry.structured_metadata["span_id"], by_depth[depth].span_id);
    }
    assert!(!captured.log("outside again").structured_metadata.contains_key("trace_id"));
}

#[test]
fn spans_that_are_closed_the_outermost_first_all_arrive() {
    const DEPTH: usize = 1_000;
    // The last handle closes all ancestors, one inside the other: tracing-subscriber does that by recursion.
    let captured = with_stack(16, || {
        capture(&settings(), || {
            let mut spans: Vec<Span> = Vec::new();
            for depth in 0..DEPTH {
                let parent = spans.last().and_then(Span::id);
                spans.push(info_span!(parent: parent, "nested", depth));
            }
            spans.drain(..).for_each(drop);
        })
    });
    assert_eq!(captured.spans.len(), DEPTH);
}

/// A value in a value in a value.
struct Nested(Option<Box<Nested>>);

impl fmt::Debug for Nested {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            None => formatter.write_str("leaf"),
            Some(inner) => write!(formatter, "Nested({}{inner:?})", "x".repeat(1000)),
        }
    }
}

/// A value whose text has no end.
struct Endless;

impl fmt::Debug for Endless {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        loop {
            formatter.write_str("and so on, ")?;
        }
    }
}

#[test]
fn a_value_that_is_deep_or_has_no_end_is_cut() {
    let captured = with_stack(16, || {
        let deep = (0..1000).fold(Nested(None), |inner, _| Nested(Some(Box::new(inner))));
        capture(&settings(), move || {
            info_span!("work", ?deep, endless = ?Endless).in_scope(|| {
                info!(?deep, "deep");
                info!(endless = ?Endless, kept = 1, "endless");
                info!("{Endless:?}");
            });
        })
    });
    let bound = 128 * 1024;
    let span = captured.span("work");
    assert!(span.attributes.text("deep").is_some_and(|text| text.len() == bound && text.starts_with("Nested(x")));
    assert_eq!(span.dropped_attributes + u32::from(span.attributes.text("endless").is_some()), 1);
    assert_eq!(captured.logs.len(), 3);
    for entry in &captured.logs {
        assert!(entry.line.len() <= 2 * bound);
        assert_eq!(entry.json().unwrap()["truncated"], true);
    }
}
