//! Native histograms by remote write 1 and 2: with integer and float counts, with exponential buckets and with bounds of the sender's own.

use lgtm_devstack::Devstack;
use lgtm_devstack::wire::prometheus::{BucketSpan, Histogram, TimeSeries, v2};
use serde_json::{Value, json};

use crate::client::{get_json, labels, now_ms, post, snappy, write_series};

const STALE: f64 = f64::from_bits(0x7ff0_0000_0000_0002);

fn span(offset: i32, length: u32) -> BucketSpan {
    BucketSpan { offset, length }
}

/// Two zeros, (-2, -1]: 1, (0.5, 1]: 1, (1, 2]: 3, (8, 16]: 2.
fn integers(timestamp: i64) -> Histogram {
    Histogram {
        count: 9,
        sum: 18.5,
        schema: 0,
        zero_threshold: 1e-128,
        zero_count: 2,
        negative_spans: vec![span(1, 1)],
        negative_deltas: vec![1],
        positive_spans: vec![span(0, 2), span(2, 1)],
        positive_deltas: vec![1, 2, -1],
        timestamp,
        ..Histogram::default()
    }
}

fn floats(timestamp: i64) -> Histogram {
    Histogram {
        count_float: Some(4.5),
        sum: 0.25,
        schema: 1,
        zero_threshold: 0.001,
        zero_count_float: Some(0.5),
        positive_spans: vec![span(-1, 2)],
        positive_counts: vec![1.5, 2.5],
        timestamp,
        ..Histogram::default()
    }
}

fn custom(timestamp: i64) -> Histogram {
    Histogram {
        count: 6,
        sum: 3.0,
        schema: -53,
        custom_values: vec![0.1, 0.5, 1.0],
        positive_spans: vec![span(0, 2), span(1, 1)],
        positive_deltas: vec![1, 1, 1],
        timestamp,
        ..Histogram::default()
    }
}

fn series(name: &str, histograms: Vec<Histogram>) -> TimeSeries {
    TimeSeries { labels: labels(&[("__name__", name)]), histograms, ..TimeSeries::default() }
}

/// The same by remote write 2; status and text.
async fn write_v2(stack: &Devstack, all: &[TimeSeries]) -> (u16, String) {
    let mut symbols = vec![String::new(), "__name__".to_owned()];
    let timeseries = all.iter().map(|series| {
        symbols.push(series.labels[0].value.clone());
        let labels_refs = vec![1, u32::try_from(symbols.len() - 1).unwrap()];
        v2::TimeSeries { labels_refs, histograms: series.histograms.clone(), ..v2::TimeSeries::default() }
    });
    let timeseries = timeseries.collect();
    let headers = [
        ("content-type", "application/x-protobuf;proto=io.prometheus.write.v2.Request"),
        ("content-encoding", "snappy"),
        ("x-prometheus-remote-write-version", "2.0.0"),
    ];
    post(&format!("{}/api/v1/write", stack.mimir_url()), &headers, snappy(&v2::Request { symbols, timeseries })).await
}

async fn ask(stack: &Devstack, query: &str, time_ms: i64) -> Value {
    let url = format!("{}/api/v1/query", stack.mimir_url());
    let time = (time_ms as f64 / 1e3).to_string();
    get_json(&url, &[("query", query), ("time", &time)]).await["data"]["result"].clone()
}

#[tokio::test]
async fn every_kind_is_kept_and_answered_in_prometheus_form_by_either_version() {
    let now = now_ms();
    let all = [
        series("integers", vec![integers(now)]),
        series("floats", vec![floats(now)]),
        series("custom", vec![custom(now)]),
    ];
    for version in [1, 2] {
        let stack = Devstack::start().await.unwrap();
        if version == 1 {
            assert_eq!(write_series(&stack.mimir_url(), all.to_vec()).await, (200, String::new()));
        } else {
            assert_eq!(write_v2(&stack, &all).await, (204, String::new()));
        }
        for sent in &all {
            assert_eq!(stack.store().series_named(&sent.labels[0].value)[0].histograms, sent.histograms);
        }
        let found = ask(&stack, "integers", now).await;
        let expected = json!({ "count": "9", "sum": "18.5", "buckets": [
            [1, "-2", "-1", "1"], [3, "-1e-128", "1e-128", "2"], [0, "0.5", "1", "1"], [0, "1", "2", "3"], [0, "8", "16", "2"],
        ] });
        assert_eq!(found, json!([{ "metric": { "__name__": "integers" }, "histogram": [now as f64 / 1e3, expected] }]));
        let found = ask(&stack, "floats", now).await;
        let root = 2_f64.sqrt();
        let expected = json!({ "count": "4.5", "sum": "0.25", "buckets": [
            [3, "-0.001", "0.001", "0.5"],
            [0, "0.5", (root / 2.0).to_string(), "1.5"], [0, (root / 2.0).to_string(), "1", "2.5"],
        ] });
        assert_eq!(found[0]["histogram"][1], expected);
        let found = ask(&stack, "custom", now).await;
        let expected = json!({ "count": "6", "sum": "3", "buckets": [
            [3, "-Inf", "0.1", "1"], [0, "0.1", "0.5", "2"], [0, "1", "+Inf", "3"],
        ] });
        assert_eq!(found[0]["histogram"][1], expected);
    }
}

#[tokio::test]
async fn a_range_has_values_and_histograms_beside_each_other_and_a_marker_ends_them() {
    let stack = Devstack::start().await.unwrap();
    let start = now_ms() / 1000 * 1000 - 60_000;
    let mut mixed = crate::client::series(&[("__name__", "mixed")], &[(start, 1.0)]);
    mixed.histograms =
        vec![integers(start + 10_000), Histogram { sum: STALE, timestamp: start + 30_000, ..Histogram::default() }];
    assert_eq!(write_series(&stack.mimir_url(), vec![mixed]).await, (200, String::new()));
    let url = format!("{}/api/v1/query_range", stack.mimir_url());
    let (from, to) = ((start / 1000).to_string(), (start / 1000 + 40).to_string());
    let answer = get_json(&url, &[("query", "mixed"), ("start", &from), ("end", &to), ("step", "10")]).await;
    let found = &answer["data"]["result"][0];
    assert_eq!(found["values"], json!([[(start / 1000) as f64, "1"]]));
    let times: Vec<&Value> = found["histograms"].as_array().unwrap().iter().map(|point| &point[0]).collect();
    assert_eq!(times, [&json!((start / 1000 + 10) as f64), &json!((start / 1000 + 20) as f64)]);
    let series = format!("{}/api/v1/series", stack.mimir_url());
    assert_eq!(get_json(&series, &[("match[]", "mixed")]).await["data"], json!([{ "__name__": "mixed" }]));
}

#[tokio::test]
async fn a_finer_schema_than_the_finest_becomes_that() {
    let stack = Devstack::start().await.unwrap();
    let now = now_ms();
    let fine = Histogram {
        count: 10,
        sum: 1.0,
        schema: 9,
        positive_spans: vec![span(-1, 3), span(4, 1)],
        positive_deltas: vec![1, 1, 1, 1],
        timestamp: now,
        ..Histogram::default()
    };
    assert_eq!(write_series(&stack.mimir_url(), vec![series("fine", vec![fine])]).await, (200, String::new()));
    let kept = &stack.store().series_named("fine")[0].histograms[0];
    // Buckets -1 and 0 are 0, 1 is 1, 6 is 3.
    assert_eq!((kept.schema, kept.count), (8, 10));
    assert_eq!((&kept.positive_spans, &kept.positive_deltas), (&vec![span(0, 4)], &vec![3, 0, -3, 4]));
}

#[tokio::test]
async fn what_is_not_valid_is_refused_in_the_words_of_prometheus_and_its_siblings_are_kept() {
    let now = now_ms();
    let integers = integers(now);
    let floats = floats(now);
    let custom = custom(now);
    for (histogram, words) in [
        (
            Histogram { count: 10, ..integers.clone() },
            "9 observations found in buckets, but the Count field is 10: histogram's observation count should equal the number of observations \
             found in the buckets (in absence of NaN)",
        ),
        (
            Histogram { count: 8, sum: f64::NAN, ..integers.clone() },
            "9 observations found in buckets, but the Count field is 8: histogram's observation count should be at least the number of \
             observations found in the buckets",
        ),
        (
            Histogram { positive_deltas: vec![1, -2, 1], ..integers.clone() },
            "positive side: bucket number 2 has observation count of -1: histogram has a bucket whose observation count is negative",
        ),
        (
            Histogram { positive_spans: vec![span(0, 2), span(-2, 1)], ..integers.clone() },
            "positive side: span number 2 with offset -2: histogram has a span whose offset is negative",
        ),
        (
            Histogram { negative_spans: vec![span(0, 4)], ..integers.clone() },
            "negative side: spans need 4 buckets, have 1 buckets: histogram spans specify different number of buckets than provided",
        ),
        (
            Histogram { positive_spans: vec![span(i32::MIN, u32::MAX), span(0, u32::MAX)], ..integers.clone() },
            "positive side: spans need 8589934590 buckets, have 3 buckets",
        ),
        (
            Histogram { schema: 53, ..integers.clone() },
            "histogram has an invalid schema, which must be between -4 and 8 for exponential buckets, or -53 for custom buckets, got schema 53",
        ),
        (Histogram { schema: -5, ..integers.clone() }, "got schema -5"),
        (
            Histogram { custom_values: vec![1.0], ..integers.clone() },
            "histogram with exponential schema must not have custom bounds",
        ),
        (
            Histogram { count_float: Some(-1.0), ..floats.clone() },
            "observation count is -1: histogram's observation count is negative",
        ),
        (
            Histogram { positive_counts: vec![1.0, -0.5], ..floats.clone() },
            "positive side: bucket number 2 has observation count of -0.5: histogram has a bucket whose observation count is negative",
        ),
        (
            Histogram { zero_count_float: Some(-2.0), ..floats.clone() },
            "zero bucket has observation count of -2: histogram has a bucket",
        ),
        (
            Histogram { custom_values: vec![0.1, 0.1, 1.0], ..custom.clone() },
            "custom buckets: previous bound is 0.100000 and current is 0.100000: histogram custom bounds must be in strictly increasing order",
        ),
        (
            Histogram { custom_values: vec![0.1, 0.5, f64::INFINITY], ..custom.clone() },
            "custom buckets: last +Inf bound must not be explicitly defined: histogram custom bounds must be finite",
        ),
        (
            Histogram { custom_values: vec![0.1, f64::NAN, 1.0], ..custom.clone() },
            "custom buckets: histogram custom bounds must not be NaN",
        ),
        (
            Histogram { custom_values: vec![0.1], ..custom.clone() },
            "custom buckets: only 1 custom bounds defined which is insufficient to cover total span length of 4: histogram custom bounds are too few",
        ),
        (Histogram { zero_count: 1, ..custom.clone() }, "custom buckets: must have zero count of 0"),
        (Histogram { zero_threshold: 0.5, ..custom.clone() }, "custom buckets: must have zero threshold of 0"),
        (
            Histogram { negative_spans: vec![span(0, 0)], ..custom.clone() },
            "custom buckets: must not have negative spans",
        ),
        (Histogram { negative_deltas: vec![1], ..custom.clone() }, "custom buckets: must not have negative buckets"),
        (
            Histogram { timestamp: now + 3_600_000, ..custom.clone() },
            "received a histogram whose timestamp is too far in the future",
        ),
    ] {
        let stack = Devstack::start().await.unwrap();
        let both = [series("bad", vec![histogram]), series("good", vec![custom.clone()])];
        let (status, text) = write_series(&stack.mimir_url(), both.to_vec()).await;
        assert_eq!(status, 400, "{text}");
        assert!(text.contains(words), "{text}\n{words}");
        assert!(text.contains("{__name__=\"bad\"}"), "{text}");
        let (status, again) = write_v2(&stack, &both).await;
        assert_eq!((status, again), (400, text), "version 2 says the same");
        let counts = stack.counts().histograms;
        assert_eq!((counts.held, counts.rejected, counts.duplicates), (1, 2, 1));
    }
}

#[tokio::test]
async fn what_goes_back_in_time_is_refused_and_what_comes_again_is_not() {
    let stack = Devstack::start().await.unwrap();
    let now = now_ms();
    let write = async |histogram| write_series(&stack.mimir_url(), vec![series("a", vec![histogram])]).await;
    assert_eq!(write(floats(now)).await.0, 200);
    assert_eq!(write(floats(now)).await.0, 200);
    assert!(write(floats(now - 1)).await.1.contains("out of order histogram"));
    assert!(write(Histogram { sum: 7.0, ..floats(now) }).await.1.contains("duplicate histogram for timestamp"));
    let counts = stack.counts().histograms;
    assert_eq!((counts.held, counts.duplicates, counts.rejected), (1, 1, 2));
}

#[cfg(feature = "window")]
#[tokio::test]
async fn the_window_shows_each_kind_as_heat_with_quantiles_and_counts() {
    let stack = Devstack::start().await.unwrap();
    let now = now_ms();
    let empty = |full: Histogram, timestamp: i64| Histogram {
        count: 0,
        count_float: full.count_float.map(|_| 0.0),
        sum: 0.0,
        zero_count: 0,
        zero_count_float: full.zero_count_float.map(|_| 0.0),
        negative_spans: Vec::new(),
        negative_deltas: Vec::new(),
        positive_spans: Vec::new(),
        positive_deltas: Vec::new(),
        positive_counts: Vec::new(),
        timestamp,
        ..full
    };
    for (name, full, buckets, lower, total) in [
        ("integers", integers(now), 5, json!(-2.0), 9.0),
        ("floats", floats(now), 3, json!(0.0), 4.5),
        ("custom", custom(now), 4, json!(0.0), 6.0),
    ] {
        let both = vec![empty(full.clone(), now - 10_000), full];
        assert_eq!(write_series(&stack.mimir_url(), vec![series(name, both)]).await, (200, String::new()));
        let url = format!("{}/api/v1/metrics/{name}", stack.window_url());
        let found = get_json(&url, &[("last", "1m")]).await;
        assert_eq!(found["shown"], "histogram");
        let heat = &found["heat"];
        assert_eq!((heat["buckets"].as_array().unwrap().len(), &heat["buckets"][0][0]), (buckets, &lower), "{name}");
        let counts = heat["counts"].as_array().unwrap().iter().filter_map(Value::as_array).flatten();
        let sum: f64 = counts.filter_map(Value::as_f64).sum();
        assert!((sum - total).abs() < 1e-9, "{name}: {sum}");
        assert!(heat["quantiles"]["p50"].as_array().unwrap().iter().any(Value::is_number), "{name}");
        let counted = found["lines"]["lines"][0]["values"].as_array().unwrap().iter().filter_map(Value::as_f64);
        let counted = counted.sum::<f64>() * found["step_ms"].as_f64().unwrap() / 1000.0;
        assert!((counted - total).abs() < 1e-9, "{name}: {counted} counted");
        let list = get_json(&format!("{}/api/v1/metrics", stack.window_url()), &[("q", name)]).await;
        assert_eq!((&list["rows"][0]["type"], &list["rows"][0]["last"]), (&json!("histogram"), &json!(total)));
    }
}
