//! The spool's files: order, acknowledgement, bounds, damage, and folders that several processes want.
#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used, clippy::indexing_slicing)]

mod damage;
mod folders;
mod order;
mod support;
