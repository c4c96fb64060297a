//! The store as a whole: what it holds, and how it is emptied.

use axum::Json;
use axum::extract::State;
use serde_json::Value;

use super::overview::store_counts;
use super::query::{Query, Refusal};
use crate::devstack::Shared;

/// `GET /api/v1/store`
pub(super) async fn counts(State(shared): State<Shared>, query: Query) -> Result<Json<Value>, Refusal> {
    query.only(&[])?;
    Ok(Json(store_counts(&shared)))
}

/// `DELETE /api/v1/store`: forgets everything that is held, and begins to count anew; gives what was held. No page of another site may ask so: a
/// browser asks for leave first, and none is given.
pub(super) async fn clear(State(shared): State<Shared>, query: Query) -> Result<Json<Value>, Refusal> {
    query.only(&[])?;
    let held = store_counts(&shared);
    shared.store.clear();
    Ok(Json(held))
}
