//! The window: a web page over the store, on a listener of its own. Its API answers in JSON from what is held at that moment,
//! bounded; handlers run on the connection's task.
//!
//! ```text
//! guard.rs (whose request is this?) ─┬─ assets.rs                    the page, built from crates/lgtm-devstack/window
//!                                    └─ query.rs (parameters) ─┬─ overview.rs, service_map.rs
//!                                                              ├─ logs.rs, live.rs      ../fields.rs: what a line says of itself
//!                                                              ├─ traces.rs, trace.rs   tree.rs, critical_path.rs
//!                                                              └─ metrics.rs, metric.rs increase.rs, heat.rs
//! ```

mod assets;
mod critical_path;
mod guard;
mod heat;
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
mod trace;
mod traces;
mod tree;

use axum::Router;
use axum::middleware;
use axum::routing::get;

use crate::devstack::Shared;
use crate::fields;

/// The paths of the page's own views: the page reads the rest of the address itself.
const VIEWS: [&str; 9] = [
    "/",
    "/logs",
    "/logs/{entry}",
    "/traces",
    "/traces/{trace}",
    "/traces/{trace}/{span}",
    "/metrics",
    "/metrics/{metric}",
    "/map",
];

/// The routes of the window's listener.
pub(crate) fn routes(shared: &Shared) -> Router {
    let api = Router::new()
        .route("/overview", get(overview::overview))
        .route("/logs", get(logs::list))
        .route("/logs/{entry}", get(logs::one))
        .route("/live", get(live::live))
        .route("/traces", get(traces::list))
        .route("/traces/{trace}", get(trace::one))
        .route("/services", get(overview::services))
        .route("/service-map", get(service_map::service_map))
        .route("/metrics", get(metrics::list))
        .route("/metrics/{metric}", get(metric::one))
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
