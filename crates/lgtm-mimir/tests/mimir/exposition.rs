//! What a scrape says.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::{Command, Stdio};

use lgtm_core::{SpanId, TraceContext, TraceId};
use lgtm_mimir::{Format, Matcher};
use metrics::{Key, Label, Recorder as _, Unit, counter, gauge, histogram, with_local_recorder};
use proptest::prelude::*;

use crate::{one, parsed, samples};

#[test]
fn text_and_openmetrics_look_as_their_formats_say() {
    let mimir = lgtm_mimir::builder().buckets_for("job.seconds", &[0.5, 1.0]).build().unwrap();
    let context = TraceContext::new(
        TraceId::from_hex(b"0123456789abcdef0123456789abcdef").unwrap(),
        SpanId::from_hex(b"0123456789abcdef").unwrap(),
        true,
    );
    with_local_recorder(&mimir.recorder(), || {
        metrics::describe_histogram!("job.seconds", Unit::Seconds, "How long \"jobs\" took\nin all");
        metrics::describe_counter!("jobs_total", Unit::Count, "Jobs done");
        metrics::describe_gauge!("jobs_running", Unit::Bytes, "Jobs under way");
        counter!("jobs_total", "kind" => "a\"b\\c\nd").increment(3);
        gauge!("jobs_running").set(0.5);
        histogram!("job.seconds").record(0.25);
        lgtm_core::current::with_trace(Some(context), || histogram!("job.seconds").record(0.75));
    });
    let own = |text: &str| {
        let kept: Vec<_> = text.lines().filter(|line| !line.contains("otlp_metrics_series_refused")).collect();
        format!("{}\n", kept.join("\n"))
    };
    assert_eq!(
        own(&mimir.render(Format::Text)),
        r#"# TYPE job_seconds histogram
# HELP job_seconds How long "jobs" took\nin all
job_seconds_bucket{le="0.5"} 1
job_seconds_bucket{le="1"} 2
job_seconds_bucket{le="+Inf"} 2
job_seconds_sum 1
job_seconds_count 2
# TYPE jobs_running gauge
# HELP jobs_running Jobs under way
jobs_running 0.5
# TYPE jobs_total counter
# HELP jobs_total Jobs done
jobs_total{kind="a\"b\\c\nd"} 3
"#
    );
    let text = own(&mimir.render(Format::OpenMetrics));
    let (before, after) = text.split_once(" # {").unwrap();
    let (exemplar, rest) = after.split_once('\n').unwrap();
    let (exemplar, seconds) = exemplar.rsplit_once(' ').unwrap();
    assert_eq!(exemplar, r#"span_id="0123456789abcdef",trace_id="0123456789abcdef0123456789abcdef"} 0.75"#);
    assert!((seconds.parse::<f64>().unwrap() - lgtm_core::unix_nanos() as f64 / 1e9).abs() < 60.0);
    assert_eq!(
        format!("{before}\n{rest}"),
        r#"# TYPE job_seconds histogram
# UNIT job_seconds seconds
# HELP job_seconds How long \"jobs\" took\nin all
job_seconds_bucket{le="0.5"} 1
job_seconds_bucket{le="1"} 2
job_seconds_bucket{le="+Inf"} 2
job_seconds_sum 1
job_seconds_count 2
# TYPE jobs_running gauge
# HELP jobs_running Jobs under way
jobs_running 0.5
# TYPE jobs counter
# HELP jobs Jobs done
jobs_total{kind="a\"b\\c\nd"} 3
# EOF
"#
    );
    let exposition = parsed(&mimir, Format::OpenMetrics);
    let with_exemplar: Vec<_> = samples(&exposition).filter(|sample| sample.exemplar.is_some()).collect();
    assert_eq!(with_exemplar.len(), 1);
    assert_eq!(with_exemplar[0].labels["le"], "1");
}

#[test]
fn one_callsite_counts_in_the_recorder_of_the_moment() {
    let mimirs = [(); 3].map(|()| lgtm_mimir::builder().build().unwrap());
    let record = || {
        counter!("orders_total", "kind" => "web").increment(1);
        gauge!("depth").increment(2.0);
        histogram!("seconds", "kind" => "web").record(0.5);
    };
    for _ in 0..3 {
        for mimir in [&mimirs[0], &mimirs[1], &mimirs[0], &mimirs[2]] {
            with_local_recorder(&mimir.recorder(), record);
            // Another thread has its own handles.
            std::thread::scope(|scope| scope.spawn(|| with_local_recorder(&mimir.recorder(), record)).join().unwrap());
        }
    }
    for (mimir, times) in mimirs.iter().zip([12.0, 6.0, 6.0]) {
        let exposition = parsed(mimir, Format::Text);
        let found = ["orders_total", "depth", "seconds_count"].map(|name| one(&exposition, name));
        assert_eq!(found, [times, 2.0 * times, times]);
    }
}

#[test]
fn one_callsite_whose_labels_change_counts_in_each_series() {
    let mimir = lgtm_mimir::builder().build().unwrap();
    let record = |kind: String| counter!("orders_total", "kind" => kind).increment(1);
    with_local_recorder(&mimir.recorder(), || {
        for number in 0..100 {
            record(format!("kind {}", number % 10));
        }
    });
    let exposition = parsed(&mimir, Format::Text);
    let found: Vec<_> = samples(&exposition).map(|sample| sample.value).collect();
    assert_eq!(found, [10.0; 10]);
}

#[test]
fn series_that_come_between_scrapes_take_nothing_from_those_before() {
    let mimir = lgtm_mimir::builder().build().unwrap();
    for (route, times) in [("/m", 1), ("/c", 2), ("/\"a\"", 3)] {
        with_local_recorder(&mimir.recorder(), || counter!("requests_total", "route" => route).increment(times));
        let exposition = parsed(&mimir, Format::Text);
        let value = samples(&exposition).find(|sample| sample.labels["route"] == route).unwrap().value;
        assert_eq!(value, times as f64);
        assert_eq!(samples(&exposition).count() as u64, times);
    }
}

#[test]
fn only_a_sampled_trace_leaves_an_exemplar_and_the_newest_one_stays() {
    let mimir = lgtm_mimir::builder().buckets(&[1.0]).build().unwrap();
    let [unsampled, first, second] =
        [false, true, true].map(|sampled| TraceContext::new(TraceId::random(), SpanId::random(), sampled));
    with_local_recorder(&mimir.recorder(), || {
        let duration = histogram!("duration");
        let record = |trace, value| lgtm_core::current::with_trace(trace, || duration.record(value));
        record(None, 0.1);
        record(Some(unsampled), 0.2);
        record(Some(first), 0.3);
        record(Some(second), 0.4);
        record(Some(unsampled), 0.5);
        record(Some(unsampled), 5.0);
    });
    let exposition = parsed(&mimir, Format::OpenMetrics);
    let exemplars: Vec<_> = samples(&exposition).filter_map(|sample| sample.exemplar.as_ref()).collect();
    assert_eq!(exemplars.len(), 1);
    assert_eq!(exemplars[0].value, 0.4);
    assert_eq!(exemplars[0].labels["trace_id"], second.trace_id.to_string());
    assert_eq!(exemplars[0].labels["span_id"], second.span_id.to_string());
}

#[test]
fn names_that_openmetrics_would_take_for_one_family_stay_apart() {
    let mimir = lgtm_mimir::builder().build().unwrap();
    with_local_recorder(&mimir.recorder(), || {
        gauge!("jobs").set(1.0);
        counter!("jobs_total").increment(2);
        counter!("hits").increment(3);
        counter!("hits_total").increment(4);
        counter!("alone").increment(5);
        counter!("_total").increment(6);
    });
    let exposition = parsed(&mimir, Format::OpenMetrics);
    let found = ["jobs", "jobs_total", "hits", "hits_total", "alone_total"].map(|name| one(&exposition, name));
    assert_eq!(found, [1.0, 2.0, 3.0, 4.0, 5.0]);
    let text = parsed(&mimir, Format::Text);
    let found = ["jobs", "jobs_total", "hits", "hits_total", "alone", "_total"].map(|name| one(&text, name));
    assert_eq!(found, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
}

#[test]
fn a_name_used_with_two_types_is_exposed_with_the_first_and_the_other_counted() {
    let mimir = lgtm_mimir::builder().build().unwrap();
    with_local_recorder(&mimir.recorder(), || {
        counter!("requests").increment(2);
        gauge!("requests").set(7.0);
        histogram!("requests").record(7.0);
    });
    let exposition = parsed(&mimir, Format::Text);
    assert_eq!(one(&exposition, "requests"), 2.0);
    let refused = exposition.samples.iter().find(|sample| {
        sample.labels["__name__"] == "otlp_metrics_series_refused_total" && sample.labels["reason"] == "type_conflict"
    });
    assert_eq!(refused.unwrap().value, 2.0);
}

#[test]
fn series_beyond_the_limit_count_in_one_and_nothing_is_lost() {
    let mimir = lgtm_mimir::builder().series_limit(10).build().unwrap();
    with_local_recorder(&mimir.recorder(), || {
        for user in 0..100 {
            counter!("requests_total", "user" => user.to_string()).increment(1);
        }
    });
    let exposition = parsed(&mimir, Format::OpenMetrics);
    let all: Vec<_> = samples(&exposition).collect();
    assert_eq!(all.len(), 11);
    assert_eq!(all.iter().map(|sample| sample.value).sum::<f64>(), 100.0);
    let overflow =
        all.iter().find(|sample| sample.labels.get("otel_metric_overflow").is_some_and(|value| value == "true"));
    assert_eq!(overflow.unwrap().value, 90.0);
}

#[test]
fn lgtms_own_histograms_have_the_buckets_of_the_catalogue() {
    let mimir = lgtm_mimir::builder()
        .buckets(&[1.0])
        .buckets_for(Matcher::Suffix("_bytes".to_owned()), &[10.0, 20.0])
        .build()
        .unwrap();
    with_local_recorder(&mimir.recorder(), || {
        histogram!(lgtm_core::catalogue::SPANS_DURATION_SECONDS).record(0.1);
        histogram!("body_bytes").record(0.1);
        histogram!("other").record(0.1);
    });
    let exposition = parsed(&mimir, Format::OpenMetrics);
    let buckets = |name: &str| exposition.samples.iter().filter(|sample| sample.labels["__name__"] == name).count();
    let counts = ["otlp_spans_duration_seconds_bucket", "body_bytes_bucket", "other_bucket"].map(buckets);
    assert_eq!(counts, [10, 3, 2]);
    assert!(!exposition.families["otlp_spans_duration_seconds"].help.is_empty());
}

#[test]
fn no_sample_of_any_thread_is_lost() {
    const THREADS: u64 = 4;
    const ROUNDS: u64 = 2_000;
    let mimir = lgtm_mimir::builder().build().unwrap();
    let barrier = std::sync::Barrier::new(THREADS as usize + 1);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..THREADS)
            .map(|_| {
                let (recorder, barrier) = (mimir.recorder(), &barrier);
                scope.spawn(move || {
                    barrier.wait();
                    with_local_recorder(&recorder, || {
                        for round in 0..ROUNDS {
                            counter!("rounds_total", "remainder" => (round % 7).to_string()).increment(1);
                            histogram!("round_seconds").record((round % 5) as f64);
                            gauge!("level").increment(1.0);
                        }
                    });
                })
            })
            .collect();
        barrier.wait();
        // Every reading on the way is consistent with itself.
        while workers.iter().any(|worker| !worker.is_finished()) {
            let exposition = parsed(&mimir, Format::OpenMetrics);
            let of = |name: &str| {
                samples(&exposition).filter(|sample| sample.labels["__name__"] == name).collect::<Vec<_>>()
            };
            let buckets: Vec<_> = of("round_seconds_bucket").iter().map(|sample| sample.value).collect();
            assert!(buckets.is_sorted(), "{buckets:?}");
            assert_eq!(buckets.last().copied(), of("round_seconds_count").first().map(|sample| sample.value));
        }
    });
    let exposition = parsed(&mimir, Format::Text);
    let all = (THREADS * ROUNDS) as f64;
    let counted: f64 = samples(&exposition)
        .filter(|sample| sample.labels["__name__"] == "rounds_total")
        .map(|sample| sample.value)
        .sum();
    assert_eq!(counted, all);
    assert_eq!(one(&exposition, "round_seconds_count"), all);
    assert_eq!(one(&exposition, "round_seconds_sum"), all * 2.0);
    assert_eq!(one(&exposition, "level"), all);
}

#[test]
fn recording_through_a_handle_allocates_nothing() {
    let mimir = lgtm_mimir::builder().build().unwrap();
    let (requests, depth, seconds) =
        with_local_recorder(&mimir.recorder(), || (counter!("requests_total"), gauge!("depth"), histogram!("seconds")));
    let trace = TraceContext::new(TraceId::random(), SpanId::random(), true);
    // The first exemplar makes room for all.
    lgtm_core::current::with_trace(Some(trace), || seconds.record(0.1));
    let allocations = allocation_counter::measure(|| {
        for round in 0..100 {
            requests.increment(1);
            depth.set(f64::from(round));
            seconds.record(f64::from(round));
            lgtm_core::current::with_trace(Some(trace), || seconds.record(f64::from(round)));
        }
    });
    assert_eq!(allocations.count_total, 0);
}

#[test]
fn promtool_finds_nothing_to_complain_about() {
    let mimir = lgtm_mimir::builder().build().unwrap();
    with_local_recorder(&mimir.recorder(), || {
        metrics::describe_histogram!("http_request_duration_seconds", Unit::Seconds, "Duration of requests");
        metrics::describe_counter!("http_requests_total", "Requests");
        metrics::describe_gauge!("queue_depth", "Items that wait");
        histogram!("http_request_duration_seconds", "route" => "/a").record(0.3);
        counter!("http_requests_total", "route" => "/\"quoted\"\\\n").increment(1);
        gauge!("queue_depth").set(3.5);
    });
    let mut promtool = Command::new("promtool");
    promtool.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let started = match promtool.spawn() {
        Ok(started) => started,
        Err(error) => {
            eprintln!("skipped: promtool cannot be started ({error})");
            return;
        }
    };
    started.stdin.as_ref().unwrap().write_all(mimir.render(Format::Text).as_bytes()).unwrap();
    let done = started.wait_with_output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success() && said.trim().is_empty(), "{} {said}", done.status);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_names_and_labels_a_program_uses_the_exposition_parses(
        series in proptest::collection::vec((0..3_u8, "\\PC{0,12}", proptest::collection::vec((any::<String>(), any::<String>()), 0..4)), 1..12)
    ) {
        let mimir = lgtm_mimir::builder().buckets(&[1.0]).build().unwrap();
        let recorder = mimir.recorder();
        let metadata = metrics::Metadata::new("test", metrics::Level::INFO, None);
        for (kind, name, labels) in &series {
            let labels: Vec<_> = labels.iter().map(|(name, value)| Label::new(name.clone(), value.clone())).collect();
            let key = Key::from_parts(name.clone(), labels);
            match kind {
                0 => recorder.register_counter(&key, &metadata).increment(1),
                1 => recorder.register_gauge(&key, &metadata).set(1.0),
                _ => recorder.register_histogram(&key, &metadata).record(1.0),
            }
        }
        let families = parsed(&mimir, Format::OpenMetrics).families.len();
        let text = parsed(&mimir, Format::Text);
        prop_assert_eq!(text.families.len(), families);
        let mut seen = BTreeMap::new();
        for sample in &text.samples {
            let twice = seen.insert(sample.labels.clone(), sample.value);
            prop_assert!(twice.is_none(), "twice: {:?}", sample.labels);
        }
    }

    #[test]
    fn a_label_value_comes_back_as_it_was(value in any::<String>()) {
        prop_assume!(!value.is_empty() && value.len() <= 1024);
        let mimir = lgtm_mimir::builder().build().unwrap();
        with_local_recorder(&mimir.recorder(), || gauge!("level", "of" => value.clone()).set(1.0));
        for format in [Format::Text, Format::OpenMetrics] {
            let exposition = parsed(&mimir, format);
            let found: Vec<_> = samples(&exposition).map(|sample| sample.labels["of"].clone()).collect();
            prop_assert_eq!(found, [value.clone()]);
        }
    }
}

#[test]
fn promtool_takes_the_configuration_of_prometheus() {
    let folder = std::env::temp_dir().join(format!("lgtm-prometheus-config-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let cases = [
        lgtm_mimir::prometheus_config("shop", &["shop:9090", "127.0.0.1:9464"], None),
        lgtm_mimir::prometheus_config("a \"job\" \\ é", &["[::1]:9090"], Some("http://mimir:9009/api/v1/push")),
    ];
    for (number, yaml) in cases.iter().enumerate() {
        let file = folder.join(format!("{number}.yml"));
        std::fs::write(&file, yaml).unwrap();
        match Command::new("promtool").args(["check", "config"]).arg(&file).output() {
            Ok(checked) => {
                assert!(checked.status.success(), "{yaml}\n{}", String::from_utf8_lossy(&checked.stderr));
            }
            Err(error) => eprintln!("skipped: promtool cannot be started ({error})"),
        }
    }
    std::fs::remove_dir_all(&folder).unwrap();
}
