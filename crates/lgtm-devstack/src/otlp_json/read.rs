//! What was read as OTLP's JSON, as spans of the store.

use std::sync::Arc;

use opentelemetry_proto::tonic::common::v1::EntityRef;

use super::{EntityForm, EventForm, LinkForm, ResourceForm, ResourceSpans, ScopeSpans, SpanForm};
use crate::attribute::Attributes;
use crate::span::{ResourceRest, Scope, Span, SpanEvent, SpanKind, SpanLink, Status, StatusCode};

/// A span that was read, with the memory of the parts that it is the first to hold, in bytes.
pub(crate) type Read = (Span, usize);

impl ResourceSpans {
    /// Its spans, in their order.
    pub(crate) fn into_spans(self, spans: &mut Vec<Read>) {
        let ResourceForm { attributes, dropped_attributes_count, entity_refs } = self.resource;
        let resource = Arc::new(attributes);
        let entity = |entity: EntityForm| EntityRef {
            schema_url: entity.schema_url,
            r#type: entity.r#type,
            id_keys: entity.id_keys,
            description_keys: entity.description_keys,
        };
        let rest = ResourceRest {
            schema_url: self.schema_url,
            dropped_attributes: dropped_attributes_count,
            entity_refs: entity_refs.into_iter().map(entity).collect(),
        };
        let rest = (rest != ResourceRest::default()).then(|| Arc::new(rest));
        let mut shared_bytes = resource.size() + rest.as_ref().map_or(0, |rest| rest.size());
        for ScopeSpans { scope, spans: forms, schema_url } in self.scope_spans {
            let scope = Arc::new(Scope {
                name: scope.name,
                version: scope.version,
                attributes: scope.attributes,
                dropped_attributes: scope.dropped_attributes_count,
                schema_url,
            });
            shared_bytes += scope.size();
            for form in forms {
                let span = form.into_span(&resource, &scope).with_resource_rest(&rest);
                spans.push((span, std::mem::take(&mut shared_bytes)));
            }
        }
    }
}

impl SpanForm {
    fn into_span(self, resource: &Arc<Attributes>, scope: &Arc<Scope>) -> Span {
        let event = |event: EventForm| SpanEvent {
            name: event.name,
            time_ns: event.time_unix_nano,
            attributes: event.attributes,
            dropped_attributes: event.dropped_attributes_count,
        };
        let link = |link: LinkForm| SpanLink {
            trace_id: link.trace_id,
            span_id: link.span_id,
            trace_state: link.trace_state,
            attributes: link.attributes,
            flags: link.flags,
            dropped_attributes: link.dropped_attributes_count,
        };
        Span {
            resource: Arc::clone(resource),
            scope: Arc::clone(scope),
            trace_id: self.trace_id,
            span_id: self.span_id,
            parent_span_id: Some(self.parent_span_id).filter(|id| !id.is_empty()),
            name: self.name,
            kind: SpanKind::from_number(self.kind),
            start_ns: self.start_time_unix_nano,
            end_ns: self.end_time_unix_nano,
            attributes: self.attributes,
            events: self.events.into_iter().map(event).collect(),
            links: self.links.into_iter().map(link).collect(),
            status: Status { code: StatusCode::from_number(self.status.code), message: self.status.message },
            flags: self.flags,
            trace_state: self.trace_state,
            dropped_attributes: self.dropped_attributes_count,
            dropped_events: self.dropped_events_count,
            dropped_links: self.dropped_links_count,
            resource_rest: None,
        }
    }
}
