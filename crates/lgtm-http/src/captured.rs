//! Headers that the program wants on its spans: those of a list, never all. Caller threads.

use std::sync::Arc;

use http::{HeaderMap, HeaderName};
use lgtm_core::span::SpanExt as _;
use tracing::Span;

/// The most bytes of one header's values.
const BYTES: usize = 4096;

/// Names of headers, and of the attributes that they become.
#[derive(Clone, Debug, Default)]
pub(crate) struct Captured(Arc<[(HeaderName, String)]>);

impl Captured {
    pub(crate) fn new(prefix: &str, names: impl IntoIterator<Item = HeaderName>) -> Self {
        Self(names.into_iter().map(|name| (name.clone(), format!("{prefix}.{name}"))).collect())
    }

    /// Sets the attributes. Values whose names stand for secrets do not show: `set_attribute` sees to that.
    pub(crate) fn show(&self, span: &Span, headers: &HeaderMap) {
        if span.is_disabled() {
            return;
        }
        for (name, attribute) in &*self.0 {
            let mut values = headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()));
            let Some(first) = values.next() else { continue };
            let mut text = first;
            for value in values {
                if text.len() + value.len() > BYTES {
                    break;
                }
                let all = text.to_mut();
                all.push_str(", ");
                all.push_str(&value);
            }
            span.set_attribute(attribute, &*text);
        }
    }
}
