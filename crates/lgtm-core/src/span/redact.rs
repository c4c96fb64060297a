//! Visits the fields of callsites that are set apart: a field whose name stands for a secret keeps its name alone, and of several
//! fields of one name the last stays. Caller threads; most callsites never get here.

use std::error::Error;
use std::fmt;

use tracing_core::field::{Field, Visit};

use super::attributes::Value;
use super::fields::FieldVisitor;
use crate::callsite::Special;
use crate::redaction::{REDACTED, is_redacted};

/// Visits what `record` shows.
#[cold]
pub(super) fn visit_special(mut visitor: FieldVisitor<'_>, special: Special, record: &dyn Fn(&mut dyn Visit)) {
    if special.redacts {
        let mut redacting = Redacting(visitor);
        record(&mut redacting);
        visitor = redacting.0;
    } else {
        record(&mut visitor);
    }
    if special.repeats {
        visitor.visited.keep_last();
    }
}

/// The value of an attribute of this name as it may be shown.
pub(super) fn shown<'a>(key: &str, value: Value<'a>) -> Value<'a> {
    if is_redacted(key) { Value::from(REDACTED) } else { value }
}

/// Looks at no value whose name stands for a secret: it is not even formatted.
struct Redacting<'a>(FieldVisitor<'a>);

impl Redacting<'_> {
    /// True if that was all.
    fn hides(&mut self, field: &Field) -> bool {
        let hidden = is_redacted(field.name());
        if hidden {
            self.0.record_str(field, REDACTED);
        }
        hidden
    }
}

macro_rules! unless_hidden {
    ($($method:ident: $type:ty),+) => {
        $(fn $method(&mut self, field: &Field, value: $type) {
            if !self.hides(field) {
                self.0.$method(field, value);
            }
        })+
    };
}

impl Visit for Redacting<'_> {
    unless_hidden! {
        record_f64: f64, record_i64: i64, record_u64: u64, record_i128: i128, record_u128: u128, record_bool: bool,
        record_str: &str, record_bytes: &[u8], record_error: &(dyn Error + 'static), record_debug: &dyn fmt::Debug
    }
}
