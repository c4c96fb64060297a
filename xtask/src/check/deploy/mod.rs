//! What is in `deploy/`: it can be read, its programs take it, and it names nothing that is not there.

pub(super) mod alerts;
pub(super) mod compose;
pub(super) mod configurations;
pub(super) mod dockerfile;
mod documented;
pub(super) mod files;
pub(super) mod grafana;
pub(super) mod metrics;
pub(super) mod queries;
mod rules;
