//! The one span record that all layers share: whichever layer sees a span first creates it, the others find it.
//! Caller threads.
//!
//! - `fields.rs` visits fields, once for all layers, into OTLP attributes;
//! - `attributes.rs` reads those back;
//! - `record.rs` is the record;
//! - `store.rs` keeps the records beside a registry;
//! - `attachment.rs` ties a layer to the store of its registry;
//! - `event.rs` visits an event once for all layers;
//! - `ids.rs` takes over ids that another library assigns.

mod attachment;
mod attributes;
mod event;
mod fields;
mod ids;
mod record;
mod store;

pub use attachment::{Attachment, Role, VisitSpan};
pub use attributes::{Attribute, Attributes, Value};
pub use event::VisitedEvent;
pub use fields::{Exception, SpanKind, Status};
pub use ids::{AssignedIds, IdSource};
pub use record::{Limits, LogContext, SpanRecord};
pub use store::SetParentError;
pub(crate) use store::find_store;

#[cfg(test)]
mod tests;
