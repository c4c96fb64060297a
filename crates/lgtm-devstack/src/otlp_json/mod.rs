//! Stored spans as an `ExportTraceServiceRequest` in OTLP's JSON encoding, and back. Runs on the thread that asks.
//!
//! Written is what the OTLP specification says: ids in hexadecimal, enumerations as numbers, 64-bit numbers as text, what has its
//! default value left out. Read is also what others write: ids in base64 and names of enumerations (Tempo, and whatever has protobuf's
//! own mapping), numbers as text and as numbers, `null` for what is absent, members that are not known.

mod forms;
#[cfg(feature = "window")]
mod read;

use std::collections::hash_map::{DefaultHasher, Entry};
use std::collections::{HashMap, HashSet};
use std::hash::{Hash as _, Hasher as _};
use std::sync::Arc;

use opentelemetry_proto::tonic::common::v1::EntityRef;
use serde::{Deserialize, Serialize};

use crate::attribute::Attributes;
use crate::span::{ResourceRest, Scope, Span, SpanEvent, SpanLink};

/// `ExportTraceServiceRequest`, and `TracesData`.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Traces {
    #[serde(deserialize_with = "forms::or_default")]
    pub(crate) resource_spans: Vec<ResourceSpans>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ResourceSpans {
    #[serde(deserialize_with = "forms::or_default")]
    resource: ResourceForm,
    // The older name is what old files and old Tempos have.
    #[serde(alias = "instrumentationLibrarySpans", deserialize_with = "forms::or_default")]
    scope_spans: Vec<ScopeSpans>,
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "forms::or_default")]
    schema_url: String,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ResourceForm {
    #[serde(with = "forms::attributes", skip_serializing_if = "Attributes::is_empty")]
    attributes: Attributes,
    #[serde(skip_serializing_if = "forms::is_zero", deserialize_with = "forms::number")]
    dropped_attributes_count: u32,
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "forms::or_default")]
    entity_refs: Vec<EntityForm>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct EntityForm {
    // All four are written: OpenTelemetry's types for Rust want them.
    #[serde(deserialize_with = "forms::or_default")]
    schema_url: String,
    #[serde(deserialize_with = "forms::or_default")]
    r#type: String,
    #[serde(deserialize_with = "forms::or_default")]
    id_keys: Vec<String>,
    #[serde(deserialize_with = "forms::or_default")]
    description_keys: Vec<String>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ScopeSpans {
    #[serde(alias = "instrumentationLibrary", deserialize_with = "forms::or_default")]
    scope: ScopeForm,
    #[serde(deserialize_with = "forms::or_default")]
    spans: Vec<SpanForm>,
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "forms::or_default")]
    schema_url: String,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ScopeForm {
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "forms::or_default")]
    name: String,
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "forms::or_default")]
    version: String,
    #[serde(with = "forms::attributes", skip_serializing_if = "Attributes::is_empty")]
    attributes: Attributes,
    #[serde(skip_serializing_if = "forms::is_zero", deserialize_with = "forms::number")]
    dropped_attributes_count: u32,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct SpanForm {
    #[serde(deserialize_with = "forms::id")]
    trace_id: String,
    #[serde(deserialize_with = "forms::id")]
    span_id: String,
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "forms::or_default")]
    trace_state: String,
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "forms::id")]
    parent_span_id: String,
    #[serde(skip_serializing_if = "forms::is_zero", deserialize_with = "forms::number")]
    flags: u32,
    #[serde(deserialize_with = "forms::or_default")]
    name: String,
    #[serde(deserialize_with = "forms::span_kind")]
    kind: i32,
    #[serde(with = "forms::number_as_text")]
    start_time_unix_nano: u64,
    #[serde(with = "forms::number_as_text")]
    end_time_unix_nano: u64,
    #[serde(with = "forms::attributes", skip_serializing_if = "Attributes::is_empty")]
    attributes: Attributes,
    #[serde(skip_serializing_if = "forms::is_zero", deserialize_with = "forms::number")]
    dropped_attributes_count: u32,
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "forms::or_default")]
    events: Vec<EventForm>,
    #[serde(skip_serializing_if = "forms::is_zero", deserialize_with = "forms::number")]
    dropped_events_count: u32,
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "forms::or_default")]
    links: Vec<LinkForm>,
    #[serde(skip_serializing_if = "forms::is_zero", deserialize_with = "forms::number")]
    dropped_links_count: u32,
    #[serde(deserialize_with = "forms::or_default")]
    status: StatusForm,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct EventForm {
    #[serde(with = "forms::number_as_text")]
    time_unix_nano: u64,
    #[serde(deserialize_with = "forms::or_default")]
    name: String,
    #[serde(with = "forms::attributes", skip_serializing_if = "Attributes::is_empty")]
    attributes: Attributes,
    #[serde(skip_serializing_if = "forms::is_zero", deserialize_with = "forms::number")]
    dropped_attributes_count: u32,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct LinkForm {
    #[serde(deserialize_with = "forms::id")]
    trace_id: String,
    #[serde(deserialize_with = "forms::id")]
    span_id: String,
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "forms::or_default")]
    trace_state: String,
    #[serde(with = "forms::attributes", skip_serializing_if = "Attributes::is_empty")]
    attributes: Attributes,
    #[serde(skip_serializing_if = "forms::is_zero", deserialize_with = "forms::number")]
    dropped_attributes_count: u32,
    #[serde(skip_serializing_if = "forms::is_zero", deserialize_with = "forms::number")]
    flags: u32,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct StatusForm {
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "forms::or_default")]
    message: String,
    #[serde(skip_serializing_if = "forms::is_zero", deserialize_with = "forms::status_code")]
    code: i32,
}

/// One request with these spans, in their order, under their resources and scopes. A span that was sent again as it was is there once.
pub(crate) fn write(spans: &[Arc<Span>]) -> String {
    // What is written has no maps with keys other than text: it cannot fail.
    serde_json::to_string(&Traces::of(spans)).unwrap_or_default()
}

/// A hash of everything that a span says; equal also where an attribute is not a number, which does not equal itself.
fn fingerprint(span: &Span) -> u64 {
    let resource = (ResourceForm::of(span), span.resource_schema_url());
    let scope = ScopeSpans::of(&span.scope, vec![SpanForm::of(span)]);
    let mut hasher = DefaultHasher::new();
    serde_json::to_string(&(resource, scope)).unwrap_or_default().hash(&mut hasher);
    hasher.finish()
}

/// Spans that were seen, to find those that come again as they were.
#[derive(Default)]
pub(crate) struct Known<'a>(HashMap<(&'a str, &'a str), Seen<'a>>);

/// The spans of one id.
enum Seen<'a> {
    /// Nearly always there is one: its fingerprint is not needed.
    One(&'a Span),
    Several(HashSet<u64>),
}

impl<'a> Known<'a> {
    /// False if a span that says the same was seen.
    pub(crate) fn insert(&mut self, span: &'a Span) -> bool {
        match self.0.entry((&span.trace_id, &span.span_id)) {
            Entry::Vacant(place) => {
                place.insert(Seen::One(span));
                true
            }
            Entry::Occupied(mut seen) => {
                if let Seen::One(first) = seen.get() {
                    let first = fingerprint(first);
                    seen.insert(Seen::Several(HashSet::from([first])));
                }
                match seen.get_mut() {
                    Seen::One(_) => true,
                    Seen::Several(seen) => seen.insert(fingerprint(span)),
                }
            }
        }
    }
}

/// The resource and the scope of a span by where they are: spans that came together share them.
type Place = (*const Attributes, Option<*const ResourceRest>, *const Scope);

/// Spans on their way under their resources and scopes.
#[derive(Default)]
struct Gathering {
    groups: Vec<ResourceSpans>,
    by_place: HashMap<Place, (usize, usize)>,
    /// By the text of a resource.
    by_resource: HashMap<String, usize>,
    /// By the number of the resource and the text of a scope.
    by_scope: HashMap<(usize, String), usize>,
}

impl Gathering {
    fn add(&mut self, span: &Span) {
        let rest = span.resource_rest.as_ref().map(Arc::as_ptr);
        let place = (Arc::as_ptr(&span.resource), rest, Arc::as_ptr(&span.scope));
        let (resource, scope) = match self.by_place.get(&place) {
            Some(found) => *found,
            None => {
                let found = self.find(span);
                self.by_place.insert(place, found);
                found
            }
        };
        if let Some(scope) = self.groups.get_mut(resource).and_then(|group| group.scope_spans.get_mut(scope)) {
            scope.spans.push(SpanForm::of(span));
        }
    }

    /// Where the spans of this resource and scope are, also of others that say the same.
    fn find(&mut self, span: &Span) -> (usize, usize) {
        let resource = ResourceSpans {
            resource: ResourceForm::of(span),
            scope_spans: Vec::new(),
            schema_url: span.resource_schema_url().to_owned(),
        };
        let scope = ScopeSpans::of(&span.scope, Vec::new());
        let at = *self.by_resource.entry(serde_json::to_string(&resource).unwrap_or_default()).or_insert_with(|| {
            self.groups.push(resource);
            self.groups.len() - 1
        });
        let Some(group) = self.groups.get_mut(at) else { return (at, 0) };
        let scope_at =
            *self.by_scope.entry((at, serde_json::to_string(&scope).unwrap_or_default())).or_insert_with(|| {
                group.scope_spans.push(scope);
                group.scope_spans.len() - 1
            });
        (at, scope_at)
    }
}

impl Traces {
    fn of(spans: &[Arc<Span>]) -> Self {
        let mut known = Known::default();
        let mut gathering = Gathering::default();
        spans.iter().filter(|span| known.insert(span)).for_each(|span| gathering.add(span));
        Self { resource_spans: gathering.groups }
    }
}

impl ResourceForm {
    fn of(span: &Span) -> Self {
        let entity = |entity: &EntityRef| EntityForm {
            schema_url: entity.schema_url.clone(),
            r#type: entity.r#type.clone(),
            id_keys: entity.id_keys.clone(),
            description_keys: entity.description_keys.clone(),
        };
        let entities = span.resource_rest.as_ref().map(|rest| rest.entity_refs.as_slice()).unwrap_or_default();
        Self {
            attributes: Attributes::clone(&span.resource),
            dropped_attributes_count: span.resource_dropped_attributes(),
            entity_refs: entities.iter().map(entity).collect(),
        }
    }
}

impl ScopeSpans {
    fn of(scope: &Scope, spans: Vec<SpanForm>) -> Self {
        let form = ScopeForm {
            name: scope.name.clone(),
            version: scope.version.clone(),
            attributes: scope.attributes.clone(),
            dropped_attributes_count: scope.dropped_attributes,
        };
        Self { scope: form, spans, schema_url: scope.schema_url.clone() }
    }
}

impl SpanForm {
    fn of(span: &Span) -> Self {
        let event = |event: &SpanEvent| EventForm {
            time_unix_nano: event.time_ns,
            name: event.name.clone(),
            attributes: event.attributes.clone(),
            dropped_attributes_count: event.dropped_attributes,
        };
        let link = |link: &SpanLink| LinkForm {
            trace_id: link.trace_id.clone(),
            span_id: link.span_id.clone(),
            trace_state: link.trace_state.clone(),
            attributes: link.attributes.clone(),
            dropped_attributes_count: link.dropped_attributes,
            flags: link.flags,
        };
        Self {
            trace_id: span.trace_id.clone(),
            span_id: span.span_id.clone(),
            trace_state: span.trace_state.clone(),
            parent_span_id: span.parent_span_id.clone().unwrap_or_default(),
            flags: span.flags,
            name: span.name.clone(),
            kind: span.kind.number(),
            start_time_unix_nano: span.start_ns,
            end_time_unix_nano: span.end_ns,
            attributes: span.attributes.clone(),
            dropped_attributes_count: span.dropped_attributes,
            events: span.events.iter().map(event).collect(),
            dropped_events_count: span.dropped_events,
            links: span.links.iter().map(link).collect(),
            dropped_links_count: span.dropped_links,
            status: StatusForm { message: span.status.message.clone(), code: span.status.code.number() },
        }
    }
}
