//! The code of the book, compiled: each chapter is the documentation of an item here, and its Rust blocks are doctests of this crate. It has
//! no code of its own: `cargo test --package lgtm-book` compiles the blocks, and runs those that are not marked `no_run`. `cargo xtask check
//! book` sees to it that no chapter is missing, and that a block that is not compiled here is a file that is compiled elsewhere.

macro_rules! chapters {
    ($($chapter:ident = $path:literal;)*) => {
        $(
            #[cfg(doctest)]
            #[doc = include_str!(concat!("../../docs/", $path))]
            mod $chapter {}
        )*
    };
}

chapters! {
    start = "README.md";
    cardinality = "book/cardinality.md";
    concepts = "book/concepts.md";
    configuration = "book/configuration.md";
    cookbook = "book/cookbook.md";
    correlation = "book/correlation.md";
    getting_started = "book/getting-started.md";
    getting_started_zh = "book/getting-started-zh.md";
    grafana_cloud = "book/grafana-cloud.md";
    logs = "book/logs.md";
    metrics = "book/metrics.md";
    opentelemetry = "book/opentelemetry.md";
    migration = "book/migration/index.md";
    migration_init_tracing_opentelemetry = "book/migration/init-tracing-opentelemetry.md";
    migration_metrics_exporter_prometheus = "book/migration/metrics-exporter-prometheus.md";
    migration_tracing_loki = "book/migration/tracing-loki.md";
    migration_tracing_opentelemetry = "book/migration/tracing-opentelemetry.md";
    production = "book/production.md";
    reliability = "book/reliability.md";
    runtime_control = "book/runtime-control.md";
    sampling = "book/sampling.md";
    scaling = "book/scaling.md";
    security = "book/security.md";
    span_metrics = "book/span-metrics.md";
    traces = "book/traces.md";
    troubleshooting = "book/troubleshooting.md";
    window = "book/window.md";
}
