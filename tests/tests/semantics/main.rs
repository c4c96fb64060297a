//! What a program's spans and events look like when they have arrived: log lines in Loki's form, spans in OTLP's, and the
//! ids that link them.

#![allow(clippy::expect_used, clippy::panic, reason = "a failed step fails the test, also in its helpers")]

mod filters;
mod keep;
mod lines;
mod logs;
mod propagation;
mod sampling;
mod spans;

use lgtm_devstack::{Attributes, Value};
use lgtm_tests::signals::Settings;

/// An identity whose values a snapshot can hold.
fn settings() -> Settings {
    let mut settings = Settings::of("shop");
    settings.identity.service_version = Some("1.2.3".to_owned());
    settings.identity.service_instance_id = "instance-1".to_owned();
    settings.identity.environment = Some("test".to_owned());
    settings
}

/// Attributes as one line each.
fn lines(attributes: &Attributes) -> String {
    let line = |(key, value): (&str, &Value)| format!("{key} = {value:?}\n");
    attributes.iter().map(line).collect()
}
