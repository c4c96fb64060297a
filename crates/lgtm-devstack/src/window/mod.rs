//! The window: a web page over the store, on a listener of its own. Its API answers in JSON from what is held at that moment,
//! bounded; handlers run on the connection's task.
//!
//! ```text
//! guard.rs (whose request is this?) ─┬─ assets.rs                    the page, built from crates/lgtm-devstack/window
//!                                    └─ query.rs (parameters) ─┬─ overview.rs, service_map.rs
//!                                                              ├─ logs.rs, live.rs      ../fields.rs: what a line says of itself
//!                                                              ├─ traces.rs, trace.rs   tree.rs, critical_path.rs
//!                                                              ├─ metrics.rs, metric.rs increase.rs, heat.rs
//!                                                              ├─ export.rs, import/    files: what is held, and what was saved
//!                                                              └─ store.rs              all that is held, and its end
//! ```

mod assets;
mod critical_path;
mod export;
mod guard;
mod heat;
mod import;
mod increase;
mod latency;
mod live;
mod logs;
mod metric;
mod metrics;
mod overview;
mod page;
mod query;
mod service_map;
mod store;
mod trace;
mod traces;
mod tree;

use axum::Router;
use axum::middleware;
use axum::routing::{get, post};

use crate::devstack::Shared;
use crate::fields;

/// The paths of the page's own views: the page reads the rest of the address itself.
const VIEWS: [&str; 10] = [
    "/",
    "/logs",
    "/logs/{entry}",
    "/traces",
    "/traces/{trace}",
    "/traces/{trace}/{span}",
    "/metrics",
    "/metrics/{metric}",
    "/map",
    "/import",
];

/// The routes of the window's listener.
pub(crate) fn routes(shared: &Shared) -> Router {
    let api = Router::new()
        .route("/overview", get(overview::overview))
        .route("/logs", get(logs::list))
        .route("/logs/jsonl", get(export::found_lines))
        .route("/logs/{entry}", get(logs::one))
        .route("/live", get(live::live))
        .route("/traces", get(traces::list))
        .route("/traces/jsonl", get(export::found_traces))
        .route("/traces/{trace}", get(trace::one))
        .route("/traces/{trace}/otlp", get(export::one_trace))
        .route("/services", get(overview::services))
        .route("/service-map", get(service_map::service_map))
        .route("/metrics", get(metrics::list))
        .route("/metrics/{metric}", get(metric::one))
        .route("/import", post(import::import))
        .route("/store", get(store::counts).delete(store::clear))
        .fallback(query::no_such_path)
        .with_state(shared.clone());
    let mut routes = Router::new().nest("/api/v1", api).route("/ready", get(async || "ready\n"));
    for view in VIEWS {
        routes = routes.route(view, get(assets::page));
    }
    routes
        .route("/assets/{name}", get(assets::asset))
        .fallback(query::no_such_path)
        .layer(middleware::from_fn(guard::guard))
}
