//! A tracing layer that pushes logs to Loki
