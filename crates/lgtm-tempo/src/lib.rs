//! A tracing layer that exports spans to Tempo over OTLP
