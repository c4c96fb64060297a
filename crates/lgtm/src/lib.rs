//! Logs to Loki, traces to Tempo, metrics to Mimir: one line in main
