//! A tracing layer that counts and times spans: the otlp_spans_* metrics
