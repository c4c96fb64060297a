//! The read APIs: the paths, parameters and JSON shapes of the real servers, for the part of their query languages
//! that following a log line, a trace or an exemplar needs. They run on the connection's task.

pub(crate) mod logql;
pub(crate) mod loki;
pub(crate) mod parameters;
pub(crate) mod prometheus;
mod promql_bounds;
pub(crate) mod tempo;
pub(crate) mod trace_json;
pub(crate) mod traceql;
