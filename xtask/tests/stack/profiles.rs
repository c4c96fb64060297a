//! The two profiles differ in how metrics travel: pushed in `core`, scraped in `full`.

use std::time::Duration;

use super::harness::{self, Stack, are_there, wait_for};

const OFFSET: u16 = 10_000;
/// Neither logs nor traces are needed to see metrics travel.
const WITHOUT: [&str; 6] = ["loki", "tempo", "mimir", "grafana", "alertmanager", "node-exporter"];

#[test]
fn in_core_the_program_pushes_and_in_full_it_is_scraped() {
    if !are_there(&[&["prometheus"]]) {
        return;
    }
    let runtime = harness::runtime();
    for (profile, scraped) in [("core", false), ("full", true)] {
        let stack = Stack::up(OFFSET, profile, &WITHOUT);
        let prometheus = stack.prometheus();
        let count = |query: &str| {
            let answer = runtime.block_on(prometheus.query(query, None)).ok()?;
            answer.data.single_value()
        };
        runtime.block_on(harness::buy(&harness::http(), &stack.url(3000), 2));
        // A push or a scrape comes every 15 s.
        wait_for("the program's metrics", Duration::from_secs(60), || {
            count(r#"sum(otlp_spans_created_total{job="shop/storefront"})"#)
        });
        let up = count(r#"count(up{job="shop/storefront"})"#).unwrap_or_default();
        let pushed = count(r#"count(target_info{job="shop/storefront"})"#).unwrap_or_default();
        assert_eq!((up, pushed), if scraped { (1.0, 0.0) } else { (0.0, 1.0) }, "{profile}");
    }
}
