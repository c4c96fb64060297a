//! The route of a request: the pattern that it matched, never its path, which would make a series of every typing error. And
//! its URI, as the caller has sent it.

use std::sync::Arc;

use http::Uri;
use http::request::Parts;
use metrics::SharedString;

use super::RouteOf;

pub(super) fn of(own: Option<&RouteOf>, request: &Parts) -> Option<SharedString> {
    if let Some(own) = own {
        return own(request).map(SharedString::from);
    }
    matched_path(request)
}

#[cfg(feature = "axum")]
fn matched_path(request: &Parts) -> Option<SharedString> {
    let matched = request.extensions.get::<axum::extract::MatchedPath>()?;
    // Shared by the labels of several metrics.
    Some(SharedString::from_shared(Arc::from(matched.as_str())))
}

#[cfg(not(feature = "axum"))]
fn matched_path(_: &Parts) -> Option<SharedString> {
    None::<Arc<str>>.map(SharedString::from_shared)
}

/// Inside a nested router axum shows handlers, and the layers around them, a URI without the router's prefix.
#[cfg(feature = "axum")]
pub(super) fn uri(request: &Parts) -> &Uri {
    request.extensions.get::<axum::extract::OriginalUri>().map_or(&request.uri, |original| &original.0)
}

#[cfg(not(feature = "axum"))]
pub(super) fn uri(request: &Parts) -> &Uri {
    &request.uri
}
