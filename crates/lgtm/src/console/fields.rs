//! Visits the fields of a span or event. Caller threads; user code runs.

use std::error::Error;
use std::fmt;

use lgtm_core::redaction::{REDACTED, is_redacted};
use serde_json::{Number, Value};
use tracing_core::field::{Field, Visit};
use tracing_subscriber::field::RecordFields;

/// A field as it may be shown.
pub(super) struct Shown {
    pub(super) name: &'static str,
    pub(super) value: Value,
}

/// The fields in their order; of several of one name the last value stays, at the place of the first.
#[derive(Default)]
pub(super) struct Visited {
    pub(super) fields: Vec<Shown>,
    /// The field `message`.
    pub(super) message: Option<String>,
    /// The target of a record of the `log` crate.
    pub(super) target: Option<String>,
}

impl Visited {
    pub(super) fn of(fields: &impl RecordFields) -> Self {
        let mut visited = Self::default();
        fields.record(&mut visited);
        visited
    }

    fn put(&mut self, field: &Field, value: impl FnOnce() -> Value) {
        let name = field.name();
        let value = if is_redacted(name) { Value::from(REDACTED) } else { value() };
        match (name, value) {
            ("message", value) => self.message = Some(value.as_str().map_or_else(|| value.to_string(), str::to_owned)),
            // tracing-log says so where such a record comes from.
            ("log.target", Value::String(target)) => self.target = Some(target),
            ("log.module_path" | "log.file" | "log.line", _) => {}
            (name, value) => match self.fields.iter_mut().find(|known| known.name == name) {
                Some(known) => known.value = value,
                None => self.fields.push(Shown { name, value }),
            },
        }
    }
}

impl Visit for Visited {
    fn record_f64(&mut self, field: &Field, value: f64) {
        // JSON has no infinity.
        self.put(field, || Number::from_f64(value).map_or_else(|| Value::from(value.to_string()), Value::from));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, || Value::from(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, || Value::from(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, || Value::from(value));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, || Value::from(value));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.put(field, || {
            let mut text = value.to_string();
            let mut source = value.source();
            // A chain that leads back into itself would have no end.
            for _ in 0..32 {
                let Some(cause) = source else { break };
                text.push_str(": ");
                text.push_str(&cause.to_string());
                source = cause.source();
            }
            Value::from(text)
        });
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, || Value::from(format!("{value:?}")));
    }
}
