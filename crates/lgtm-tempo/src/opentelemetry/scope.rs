//! Instrumentation scopes: which of the encoder's a span belongs to. Caller threads; the lock is held for a look-up.

use std::sync::Arc;

use lgtm_core::protobuf::{length_tag, put_bytes};
use opentelemetry::InstrumentationScope;
use parking_lot::RwLock;

use super::span;
use crate::otlp::{SCOPE_NAME, SCOPE_VERSION, Scopes};

/// Scopes that are told apart, besides this crate's own.
const MOST: usize = 255;

/// The scopes seen so far, in the order of the encoder's.
#[derive(Debug)]
pub(crate) struct ScopeIndex {
    known: RwLock<Vec<InstrumentationScope>>,
    encoded: Arc<Scopes>,
}

impl ScopeIndex {
    pub(super) fn new(encoded: Arc<Scopes>) -> Self {
        Self { known: RwLock::default(), encoded }
    }

    /// The stream of spans of this scope; 0 is this crate's own. `None`: one too many.
    pub(super) fn stream_of(&self, scope: &InstrumentationScope) -> Option<u32> {
        if scope.name() == SCOPE_NAME && scope.version() == Some(SCOPE_VERSION) {
            return Some(0);
        }
        let place = |known: &[InstrumentationScope]| known.iter().position(|known| known == scope);
        if let Some(place) = place(&self.known.read()) {
            return u32::try_from(place + 1).ok();
        }
        let mut known = self.known.write();
        let place = match place(&known) {
            Some(place) => place,
            None if known.len() < MOST => {
                self.encoded.add(encode(scope));
                known.push(scope.clone());
                known.len() - 1
            }
            None => return None,
        };
        u32::try_from(place + 1).ok()
    }
}

/// `ScopeSpans.scope` and `ScopeSpans.schema_url`, tags and all.
fn encode(scope: &InstrumentationScope) -> Vec<u8> {
    const SCOPE: u8 = length_tag(1);
    const SCHEMA_URL: u8 = length_tag(3);
    const NAME: u8 = length_tag(1);
    const VERSION: u8 = length_tag(2);
    const ATTRIBUTE: u8 = length_tag(3);
    let mut content = Vec::new();
    put_bytes(&mut content, NAME, scope.name().as_bytes());
    if let Some(version) = scope.version() {
        put_bytes(&mut content, VERSION, version.as_bytes());
    }
    let attributes: Vec<_> = scope.attributes().cloned().collect();
    span::attributes(&mut content, ATTRIBUTE, &attributes, &lgtm_core::span::Limits::default());
    let mut encoded = Vec::new();
    put_bytes(&mut encoded, SCOPE, &content);
    if let Some(url) = scope.schema_url() {
        put_bytes(&mut encoded, SCHEMA_URL, url.as_bytes());
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_keeps_its_place_and_there_is_a_limit() {
        let scopes = ScopeIndex::new(Arc::default());
        let own = InstrumentationScope::builder(SCOPE_NAME).with_version(SCOPE_VERSION).build();
        assert_eq!(scopes.stream_of(&own), Some(0));
        for number in 1..=255_u32 {
            let scope = InstrumentationScope::builder(format!("library {number}")).build();
            assert_eq!(scopes.stream_of(&scope), Some(number));
            assert_eq!(scopes.stream_of(&scope), Some(number));
        }
        assert_eq!(scopes.stream_of(&InstrumentationScope::builder("one more").build()), None);
        assert_eq!(scopes.stream_of(&InstrumentationScope::builder("library 7").build()), Some(7));
    }
}
