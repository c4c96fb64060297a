//! What metrics cost: samples on the caller, and 100,000 series at a scrape and at a push on the worker, beside prometheus-client in
//! the same run. A plain program: the main thread records, lgtm's worker pushes to a server that takes everything.
//!
//! ```text
//! cargo bench --package lgtm-mimir --all-features --bench series                        # the table
//! cargo bench --package lgtm-mimir --all-features --bench series threads                 # one series from two threads
//! valgrind --tool=callgrind series samples <what> <samples>                              # for a profiler
//! valgrind --tool=callgrind --separate-threads=yes series push <rounds>
//! ```
//!
//! What one sample costs is the difference of two runs, divided by the difference of their samples.

#![allow(clippy::print_stdout, reason = "a program tells its outcome")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a bench")]

use std::hint::black_box;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use lgtm_core::current::{with_trace, with_trace_at};
use lgtm_core::{Endpoint, SpanId, TraceContext, TraceId};
use lgtm_mimir::{Format, Mimir};
use metrics::{Key, Label, Level, Metadata, Recorder as _};

const NAMES: usize = 10;
const SETS: usize = 10_000;
const ROUNDS: usize = 15;
static METADATA: Metadata<'static> = Metadata::new("bench", Level::INFO, None);

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["samples", what, samples] => record(what, samples.parse().unwrap()),
        ["scrape", rounds] => scrape(rounds.parse().unwrap()),
        ["push", rounds] => push(rounds.parse().unwrap()),
        ["threads"] => threads(),
        [] => table(),
        _ => panic!("usage: series [samples <what> <samples> | scrape <rounds> | push <rounds> | threads]"),
    }
}

/// Fills lgtm's registry: counters of ten names, each with 10,000 sets of two labels.
fn filled(mimir: &Mimir) -> Vec<metrics::Counter> {
    let recorder = mimir.recorder();
    let mut handles = Vec::new();
    for name in 0..NAMES {
        for set in 0..SETS {
            let labels =
                vec![Label::new("route", format!("/orders/{}", set % 100)), Label::new("shop", format!("{set:05}"))];
            let key = Key::from_parts(format!("requests_{name}_total"), labels);
            let counter = recorder.register_counter(&key, &METADATA);
            counter.increment((name * SETS + set) as u64);
            handles.push(counter);
        }
    }
    handles
}

fn peer() -> prometheus_client::registry::Registry {
    use prometheus_client::metrics::counter::Counter;
    use prometheus_client::metrics::family::Family;
    let mut registry = prometheus_client::registry::Registry::default();
    for name in 0..NAMES {
        let family = Family::<Vec<(String, String)>, Counter>::default();
        for set in 0..SETS {
            let labels =
                vec![("route".to_owned(), format!("/orders/{}", set % 100)), ("shop".to_owned(), format!("{set:05}"))];
            family.get_or_create(&labels).inc_by((name * SETS + set) as u64);
        }
        registry.register(format!("requests_{name}"), "Requests", family);
    }
    registry
}

fn table() {
    let before = resident();
    let server = discard();
    let endpoint = Endpoint::parse(&server).unwrap();
    let builder = lgtm_mimir::builder().series_limit(200_000).push_interval(Duration::from_secs(3600));
    let mimir = builder.push(endpoint).build().unwrap();
    let handles = filled(&mimir);
    println!("100,000 series: {} KiB resident", resident() - before);
    let histograms = lgtm_mimir::builder().series_limit(200_000).build().unwrap();
    let recorder = histograms.recorder();
    for set in 0..100_000 / 14 {
        let key = Key::from_parts("seconds", vec![Label::new("route", format!("/orders/{set}"))]);
        recorder.register_histogram(&key, &METADATA).record(set as f64 / 100.0);
    }
    let peer = peer();
    let pipeline = mimir.pipeline().unwrap();
    let mut rows: Vec<(&str, Vec<f64>, u64, usize)> = vec![
        ("scrape, text", Vec::new(), 0, 0),
        ("scrape, OpenMetrics", Vec::new(), 0, 0),
        ("scrape of histograms, text", Vec::new(), 0, 0),
        ("prometheus-client, OpenMetrics", Vec::new(), 0, 0),
        ("remote write, CPU of the worker", Vec::new(), 0, 0),
    ];
    for _ in 0..ROUNDS {
        measure(&mut rows[0], || mimir.render(Format::Text).len());
        measure(&mut rows[1], || mimir.render(Format::OpenMetrics).len());
        measure(&mut rows[2], || histograms.render(Format::Text).len());
        measure(&mut rows[3], || {
            let mut text = String::new();
            prometheus_client::encoding::text::encode(&mut text, &peer).unwrap();
            text.len()
        });
        for handle in &handles {
            handle.increment(1);
        }
        let begun = worker_cpu();
        let flush = pipeline.begin_flush();
        assert!(pipeline.wait_flushed(&flush, Instant::now() + Duration::from_secs(20)), "{}", pipeline.report());
        rows[4].1.push((worker_cpu() - begun) as f64 / 1e6);
    }
    println!("{}", pipeline.report());
    println!(
        "{:34} {:>8} {:>8} {:>8} {:>11} {:>9}",
        "100,000 series", "least ms", "median", "most", "allocations", "bytes"
    );
    for (name, times, allocations, bytes) in &mut rows {
        times.sort_by(f64::total_cmp);
        let (least, median, most) = (times[0], times[times.len() / 2], times[times.len() - 1]);
        println!("{name:34} {least:8.2} {median:8.2} {most:8.2} {allocations:11} {bytes:9}");
    }
}

fn measure(row: &mut (&str, Vec<f64>, u64, usize), work: impl Fn() -> usize) {
    let allocations = allocation_counter::measure(|| {
        // Not the time on the wall: the machine may do other things.
        let begun = thread_cpu();
        row.3 = black_box(work());
        row.1.push((thread_cpu() - begun).as_secs_f64() * 1e3);
    });
    row.2 = allocations.count_total;
}

/// The CPU time of the worker, in nanoseconds.
fn worker_cpu() -> u64 {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().map(|task| task.unwrap().path());
    let worker =
        tasks.filter(|task| std::fs::read_to_string(task.join("comm")).unwrap_or_default().trim() == "lgtm-worker");
    worker
        .map(|task| std::fs::read_to_string(task.join("schedstat")).unwrap())
        .map(|times| times.split(' ').next().unwrap().parse::<u64>().unwrap())
        .sum()
}

/// Resident memory in KiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// A server that takes every request and keeps nothing.
fn discard() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            std::thread::spawn(move || take(stream.unwrap()));
        }
    });
    url
}

fn take(mut stream: TcpStream) -> Option<()> {
    let mut data = Vec::new();
    let mut part = vec![0; 1 << 20];
    loop {
        let head = loop {
            if let Some(end) = data.windows(4).position(|window| window == b"\r\n\r\n") {
                break end + 4;
            }
            let read = stream.read(&mut part).ok().filter(|read| *read > 0)?;
            data.extend_from_slice(part.get(..read)?);
        };
        let text = String::from_utf8_lossy(data.get(..head)?).to_ascii_lowercase();
        let length: usize = text.lines().find_map(|line| line.strip_prefix("content-length: "))?.trim().parse().ok()?;
        let mut missing = (head + length).saturating_sub(data.len());
        while missing > 0 {
            missing = missing.saturating_sub(stream.read(&mut part).ok().filter(|read| *read > 0)?);
        }
        data.clear();
        stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").ok()?;
    }
}

fn trace() -> TraceContext {
    TraceContext::new(TraceId::random(), SpanId::random(), true)
}

/// Records so many samples, on this thread.
fn record(what: &str, samples: usize) {
    const VALUES: [f64; 4] = [0.003, 0.042, 0.7, 3.0];
    let mimir = lgtm_mimir::builder().build().unwrap();
    mimir.install().unwrap();
    let counter = metrics::counter!("orders_total", "kind" => "web", "region" => "eu");
    let histogram = metrics::histogram!("order_seconds", "kind" => "web");
    match what {
        "counter" => (0..samples).for_each(|_| black_box(&counter).increment(1)),
        "counter-macro" => (0..samples).for_each(|_| {
            metrics::counter!("orders_total", "kind" => "web", "region" => "eu").increment(1);
        }),
        "histogram" => (0..samples).for_each(|number| black_box(&histogram).record(VALUES[number % 4])),
        "histogram-macro" => (0..samples).for_each(|number| {
            metrics::histogram!("order_seconds", "kind" => "web").record(VALUES[number % 4]);
        }),
        "exemplar" => with_trace(Some(trace()), || {
            (0..samples).for_each(|number| black_box(&histogram).record(VALUES[number % 4]));
        }),
        // As the span metrics do it: the time is known.
        "exemplar-at" => with_trace_at(Some(trace()), lgtm_core::unix_nanos(), || {
            (0..samples).for_each(|number| black_box(&histogram).record(VALUES[number % 4]));
        }),
        _ => panic!("counter, counter-macro, histogram, histogram-macro, exemplar, exemplar-at; not {what}"),
    }
    println!("{}", mimir.render(Format::OpenMetrics).len());
}

/// So many scrapes of 100,000 series.
fn scrape(rounds: usize) {
    let mimir = lgtm_mimir::builder().series_limit(200_000).build().unwrap();
    let _handles = filled(&mimir);
    let bytes: usize = (0..rounds).map(|_| mimir.render(Format::Text).len()).sum();
    println!("{bytes}");
}

/// So many pushes of 100,000 series.
fn push(rounds: usize) {
    let builder = lgtm_mimir::builder().series_limit(200_000).push_interval(Duration::from_secs(3600));
    let mimir = builder.push(Endpoint::parse(&discard()).unwrap()).build().unwrap();
    let _handles = filled(&mimir);
    let pipeline = mimir.pipeline().unwrap();
    for _ in 0..rounds {
        let flush = pipeline.begin_flush();
        assert!(pipeline.wait_flushed(&flush, Instant::now() + Duration::from_secs(60)), "{}", pipeline.report());
    }
    println!("{}", pipeline.report());
}

/// What one sample costs in CPU time when several threads write the same series.
fn threads() {
    const SAMPLES: u32 = 5_000_000;
    let mimir = lgtm_mimir::builder().build().unwrap();
    mimir.install().unwrap();
    for what in ["counter", "histogram", "exemplar", "counter-macro"] {
        let counter = metrics::counter!("orders_total", "thing" => what);
        let histogram = metrics::histogram!("order_seconds", "thing" => what);
        for threads in [1, 2, 1, 2] {
            let barrier = std::sync::Barrier::new(threads);
            let spent: Duration = std::thread::scope(|scope| {
                let running: Vec<_> = (0..threads)
                    .map(|_| {
                        scope.spawn(|| {
                            barrier.wait();
                            let begun = thread_cpu();
                            with_trace((what == "exemplar").then(trace), || {
                                for number in 0..SAMPLES {
                                    match what {
                                        "counter" => counter.increment(1),
                                        "counter-macro" => {
                                            metrics::counter!("macro_total", "kind" => "web").increment(1)
                                        }
                                        _ => histogram.record(f64::from(number % 1000) / 100.0),
                                    }
                                }
                            });
                            thread_cpu() - begun
                        })
                    })
                    .collect();
                running.into_iter().map(|thread| thread.join().unwrap()).sum()
            });
            println!(
                "{what}, {threads} threads: {:.1} ns",
                spent.as_nanos() as f64 / f64::from(SAMPLES) / threads as f64
            );
        }
    }
}

/// The CPU time of the calling thread.
fn thread_cpu() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap())
}
