//! The span record under tracing-subscriber's registry. `support` is a layer that notes what it sees; the rest by theme.

mod contexts;
mod events;
mod lifetimes;
mod records;
mod support;
mod trees;
