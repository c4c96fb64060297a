//! Names and values to Loki's label text, read back by the development stack's parser.

use std::collections::BTreeMap;

use lgtm_core::{Endpoint, Identity};
use tracing::Dispatch;
use tracing_subscriber::prelude::*;

use super::backend::{backend, end_delivered, options};
use super::input::{Input, may_be_secret};

/// What the line says.
const MESSAGE: &str = "told";

/// Any labels are refused by the builder, or Loki reads them as they were given: names sanitised, values cut at 2,048 bytes.
///
/// # Panics
/// If not so.
pub fn labels(data: &[u8]) {
    let mut input = Input::new(data);
    let mut identity = Identity::new(input.text());
    identity.service_instance_id = "one".to_owned();
    identity.environment = input.flag().then(|| input.text());
    let labels = input.some(15, |input| (input.text(), input.long_text()));
    let of_fields = input.some(4, |input| (input.text(), usize::from(input.byte())));
    let own = input.text();

    let backend = backend();
    let mut builder = lgtm_loki::builder()
        .endpoint(Endpoint::parse(&backend.stack.loki_url()).expect("an address"))
        .identity(identity.clone())
        .worker(backend.worker.clone())
        .options(options());
    for (name, value) in &labels {
        builder = builder.label(name, value);
    }
    for (name, most) in &of_fields {
        builder = builder.label_from_field(name, *most);
    }
    // A field whose name the macro below knows.
    builder = builder.label_from_field("own", 3);
    let Ok((layer, pipeline)) = builder.build() else { return };
    let dispatch = Dispatch::new(tracing_subscriber::registry().with(layer));
    tracing::dispatcher::with_default(&dispatch, || tracing::info!(own, "{MESSAGE}"));
    end_delivered(&pipeline);

    let stored = backend.stack.store().logs();
    let [entry] = stored.as_slice() else { panic!("{} entries", stored.len()) };
    let service = identity.service_name;
    let mut expected =
        BTreeMap::from([("service_name".to_owned(), cut(&service)), ("service".to_owned(), cut(&service))]);
    expected.insert("level".to_owned(), "info".to_owned());
    expected.extend(identity.environment.map(|environment| ("environment".to_owned(), cut(&environment))));
    expected.extend(labels.iter().map(|(name, value)| (sanitised(name), cut(value))));
    // A value of nothing is no label.
    expected.extend(Some(("own".to_owned(), cut(&own))).filter(|(_, value)| !value.is_empty()));
    assert_eq!(entry.labels.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    for (name, value) in expected {
        assert!(may_be_secret(&name) || entry.labels[&name] == value, "{name}: {value:?}, {:?}", entry.labels[&name]);
    }
    assert_eq!(entry.json().expect("an object")["message"], MESSAGE);
}

/// Prometheus' label names: letters, digits, underscores, no digit first.
fn sanitised(name: &str) -> String {
    let clean: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    if clean.as_bytes().first().is_some_and(u8::is_ascii_digit) { format!("_{clean}") } else { clean }
}

/// Loki's limit on a value.
fn cut(value: &str) -> String {
    let mut end = value.len().min(2048);
    while !value.is_char_boundary(end) {
        end -= 1;
    }
    value[..end].to_owned()
}
