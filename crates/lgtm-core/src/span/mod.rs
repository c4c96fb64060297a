//! The one span record that all layers share: whichever layer sees a span first creates it, the others find it.
//! Caller threads.
//!
//! - `fields.rs` visits fields, once for all layers, into OTLP attributes; `redact.rs` leaves secrets out;
//! - `attributes.rs` reads those back, `fit.rs` makes them fit into limits;
//! - `record.rs` is the record;
//! - `store.rs` keeps the records beside a registry, `layers.rs` knows which layers look at them;
//! - `attachment.rs` ties a layer to the store of its registry;
//! - `event.rs` visits an event once for all layers;
//! - `extension.rs` is what a program says of a span at run time, `link.rs` writes its links;
//! - `undecided.rs` holds what a trace has to wait for the keep rules;
//! - `ids.rs` takes over ids that another library assigns.

mod attachment;
mod attributes;
mod event;
mod extension;
mod fields;
mod fit;
mod ids;
mod layers;
mod link;
mod parent;
mod record;
mod redact;
mod store;
pub mod undecided;

pub use attachment::{Attachment, EventFields, Role, VisitSpan};
pub use attributes::{Attribute, Attributes, Value};
pub use event::VisitedEvent;
pub use extension::SpanExt;
pub use fields::{Exception, Origin, OtelRecord, SpanKind, Status, cut, put_attribute};
pub use fit::fit;
pub use ids::{AssignedIds, IdSource};
pub use link::write as write_link;
pub use parent::SetParentError;
pub use record::{BusyAndIdle, Limits, LogContext, SpanRecord};
pub(crate) use store::find_store;
pub use undecided::{KeepReason, KeepRules, UndecidedTrace};

#[cfg(test)]
mod tests;
