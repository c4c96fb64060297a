//! Against real servers: what is sent can be found, and what a server refuses is counted as it says. `LGTM_REAL` says what
//! happens where a server is missing, see [`lgtm_tests::real`].

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a failed step fails the test, also in its helpers; measurements are shown"
)]

use std::error::Error;
use std::time::{Duration, Instant};

use lgtm_core::pipeline::Pipeline;
use lgtm_core::protobuf::{length_tag, put_bytes};
use lgtm_core::{Compression, Endpoint, ErrorType, Identity, SignalReport, unix_nanos};
use lgtm_loki::Format;
use lgtm_mimir::RemoteWrite;
use lgtm_query::{
    AttributeValue, LogQuery, Loki, Prometheus, SpanKind, StatusCode, Tempo, TimeRange, Trace, TraceId, Wait,
};
use lgtm_tempo::Protocol;
use lgtm_tests::real::Server;
use lgtm_tests::signals::PATIENCE;
use tracing::{Dispatch, error, info, info_span, warn};
use tracing_subscriber::prelude::*;

type Outcome = Result<(), Box<dyn Error>>;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

fn flush(pipeline: &Pipeline) -> SignalReport {
    let flush = pipeline.begin_flush();
    assert!(pipeline.wait_flushed(&flush, Instant::now() + PATIENCE), "{}", pipeline.report());
    pipeline.report()
}

fn last_hour() -> TimeRange {
    TimeRange::last(Duration::from_secs(3600)).widened(Duration::from_secs(60))
}

mod loki {
    use super::*;

    const HOUR: u64 = 3_600_000_000_000;

    #[test]
    fn lines_are_found_and_refused_ones_are_counted() -> Outcome {
        let Some(server) = Server::loki() else { return Ok(()) };
        runtime().block_on(async {
            server.ready().await;
            let loki = Loki::at(server.url())?;
            lines_are_found_by_trace_id_and_by_field(&server, &loki).await?;
            every_format_is_read_by_logql(&server, &loki).await?;
            lines_of_the_same_time_and_text_are_all_stored(&server, &loki).await?;
            what_there_is_can_be_asked_and_followed(&server, &loki).await?;
            refused_lines_are_counted(&server, &loki).await?;
            records_of_otlp_are_found_and_refused_ones_are_counted(&server, &loki).await
        })
    }

    /// Without a tenant nothing is taken and nothing lost; with one, what is over the limits arrives in smaller parts.
    #[test]
    fn a_strict_server_gets_what_it_takes_and_no_more() -> Outcome {
        let Some(server) = Server::strict_loki() else { return Ok(()) };
        runtime().block_on(server.ready());
        let endpoint = || Endpoint::parse(server.url());
        let begin = |endpoint, service: &str| {
            let (_layer, pipeline) =
                lgtm_loki::builder().endpoint(endpoint).identity(Identity::new(service)).build()?;
            let now = unix_nanos();
            let line = |number: u64| format!("{number} {}", "x".repeat(1000));
            (0..60).for_each(|number| admit(&pipeline, now + number, &line(number)));
            let flush = pipeline.begin_flush();
            Ok::<_, Box<dyn Error>>((pipeline, flush))
        };
        let errors =
            |report: &SignalReport, error| report.errors.iter().find(|(known, _)| *known == error).map(|(_, n)| *n);

        let (pipeline, flush) = begin(endpoint()?, "real-no-tenant")?;
        assert!(!pipeline.wait_flushed(&flush, Instant::now() + Duration::from_secs(3)), "{}", pipeline.report());
        let report = pipeline.report();
        println!("no tenant: {report}");
        assert_eq!((report.pending, errors(&report, ErrorType::Unauthorized)), (60, Some(1)), "{report}");
        pipeline.begin_shutdown(Instant::now() + PATIENCE);
        assert!(pipeline.wait_ended(Instant::now() + PATIENCE / 2));
        assert_eq!(errors(&pipeline.report(), ErrorType::Unauthorized), Some(2), "{}", pipeline.report());

        let (pipeline, flush) = begin(endpoint()?.tenant("shop"), "real-strict")?;
        assert!(pipeline.wait_flushed(&flush, Instant::now() + PATIENCE), "{}", pipeline.report());
        let report = pipeline.report();
        println!("small limits: {report}");
        assert_eq!((report.delivered, report.lost()), (60, 0), "{report}");
        assert!(errors(&report, ErrorType::TooLarge) >= Some(2), "{report}");
        Ok(())
    }

    fn pipeline(server: &Server, service: &str) -> Result<(lgtm_loki::Layer, Pipeline), Box<dyn Error>> {
        let mut identity = Identity::new(service);
        identity.environment = Some("test".to_owned());
        let builder = lgtm_loki::builder().endpoint(Endpoint::parse(server.url())?).identity(identity);
        Ok(builder.build()?)
    }

    async fn ask(loki: &Loki, logql: &str, entries: usize) -> Result<lgtm_query::LogData, lgtm_query::Error> {
        let query = LogQuery::new(logql).range(last_hour()).limit(1000);
        Wait::up_to(PATIENCE).until(|| loki.query_range(&query), |data| data.entries().len() >= entries).await
    }

    async fn records_of_otlp_are_found_and_refused_ones_are_counted(server: &Server, loki: &Loki) -> Outcome {
        let endpoint = Endpoint::parse(&format!("{}/otlp/v1/logs", server.url()))?.compression(Compression::Gzip);
        let builder = lgtm_loki::builder().endpoint(endpoint).identity(Identity::new("real-otlp-logs"));
        let (layer, pipeline) = builder.protocol(lgtm_loki::Protocol::Otlp(Protocol::Http)).build()?;
        let dispatch = Dispatch::new(tracing_subscriber::registry().with(layer));
        let trace = tracing::dispatcher::with_default(&dispatch, || {
            let _request = info_span!("request", region = "eu").entered();
            info!(order_id = 17, ratio = 0.5, "order placed");
            // More structured metadata than Loki takes.
            info!(large = "x".repeat(70_000), "refused");
            warn!(order_id = 18, "stock is low");
            lgtm_core::current::trace().expect("a trace")
        });
        let report = flush(&pipeline);
        println!("OTLP logs: {report}");
        assert_eq!((report.admitted, report.delivered, report.rejected), (3, 2, 1), "{report}");
        let query = format!(r#"{{service_name="real-otlp-logs"}} | trace_id = "{}" | region = "eu""#, trace.trace_id);
        let found = ask(loki, &query, 2).await?;
        let lines: Vec<_> = found.entries().iter().map(|(_, entry)| entry.line.clone()).collect();
        assert!(lines.len() == 2 && lines.contains(&"order placed".to_owned()), "{lines:?}");
        let found =
            ask(loki, r#"{service_name="real-otlp-logs"} | order_id > 17 | detected_level = "warn""#, 1).await?;
        assert_eq!(found.entries().len(), 1);
        Ok(())
    }

    async fn lines_are_found_by_trace_id_and_by_field(server: &Server, loki: &Loki) -> Outcome {
        let (layer, pipeline) = pipeline(server, "real-loki")?;
        let dispatch = Dispatch::new(tracing_subscriber::registry().with(layer));
        let trace = tracing::dispatcher::with_default(&dispatch, || {
            let _request = info_span!("request", region = "eu").entered();
            info!(order_id = 17, ratio = 0.5, "order placed");
            warn!(order_id = 18, "stock is low");
            lgtm_core::current::trace().expect("a trace")
        });
        let report = flush(&pipeline);
        assert_eq!((report.admitted, report.delivered), (2, 2), "{report}");

        let by_trace = format!(r#"{{service_name="real-loki"}} | trace_id = "{}""#, trace.trace_id);
        let found = ask(loki, &by_trace, 2).await?;
        assert_eq!(found.entries().len(), 2);
        let by_field =
            r#"{service="real-loki", level="info", environment="test"} | json | order_id = 17 | region = "eu""#;
        let found = ask(loki, by_field, 1).await?;
        let entries = found.entries();
        let [(stream, entry)] = entries.as_slice() else { panic!("one entry, not {entries:?}") };
        let metadata = &entry.structured_metadata;
        assert_eq!(metadata.get("trace_id"), Some(&trace.trace_id.to_string()));
        assert_eq!(metadata.get("span_id"), Some(&trace.span_id.to_string()));
        assert_eq!(metadata.get("trace_sampled").map(String::as_str), Some("true"));
        assert_eq!(metadata.get("target").map(String::as_str), Some("real::loki"));
        assert_eq!(stream.labels.get("level").map(String::as_str), Some("info"));
        let line: serde_json::Value = serde_json::from_str(&entry.line)?;
        assert_eq!((&line["message"], &line["spans"][0]), (&"order placed".into(), &"request".into()));
        Ok(())
    }

    async fn every_format_is_read_by_logql(server: &Server, loki: &Loki) -> Outcome {
        for (format, name) in [(Format::Json, "json"), (Format::Logfmt, "logfmt")] {
            let service = format!("real-{name}");
            let builder = lgtm_loki::builder().endpoint(Endpoint::parse(server.url())?);
            let (layer, pipeline) = builder.identity(Identity::new(&service)).format(format).build()?;
            let dispatch = Dispatch::new(tracing_subscriber::registry().with(layer));
            tracing::dispatcher::with_default(&dispatch, || {
                let _request = info_span!("request", region = "a \"b\"=c").entered();
                info!(latency_ms = 12.5, note = "two\nlines", "first");
                info!(latency_ms = 30, "second");
            });
            flush(&pipeline);
            let selector = format!(r#"{{service_name="{service}"}} | {name}"#);
            let found = ask(loki, &format!(r#"{selector} | latency_ms > 20 | __error__="""#), 1).await?;
            assert_eq!(found.entries().len(), 1, "{name}: numbers compare");
            let found = ask(loki, &format!(r#"{selector} | region="a \"b\"=c" | trace_sampled="true""#), 2).await?;
            assert_eq!(found.entries().len(), 2, "{name}: quoted values and structured metadata");
            // Unwrapped to a number, each line is a sample.
            let unwrapped = format!("{selector} | unwrap latency_ms | __error__=\"\"");
            let sum = format!("sum(sum_over_time({unwrapped} [1h]))");
            let response = ask_number(server, &sum).await?;
            assert!((response - 42.5).abs() < 1e-9, "{name}: {response}");
        }
        let (layer, pipeline) = lgtm_loki::builder()
            .endpoint(Endpoint::parse(server.url())?)
            .identity(Identity::new("real-text"))
            .format(Format::Text)
            .build()?;
        let dispatch = Dispatch::new(tracing_subscriber::registry().with(layer));
        tracing::dispatcher::with_default(&dispatch, || info!(target: "shop", "plain"));
        flush(&pipeline);
        let found = ask(loki, r#"{service_name="real-text"} |= "INFO shop: plain""#, 1).await?;
        assert_eq!(found.entries().len(), 1);
        Ok(())
    }

    /// The value of an instant metric query: Loki answers it as Prometheus does.
    async fn ask_number(server: &Server, logql: &str) -> Result<f64, Box<dyn Error>> {
        let metrics = Prometheus::at(format!("{}/loki", server.url()))?;
        let answer = Wait::up_to(PATIENCE).until(|| metrics.query(logql, None), |a| !a.data.is_empty()).await?;
        Ok(answer.data.single_value().ok_or("not one value")?)
    }

    fn admit(pipeline: &Pipeline, timestamp: u64, line: &str) {
        const INFO: u32 = 2;
        assert!(pipeline.queue().admit(INFO, timestamp, |buffer| put_bytes(buffer, length_tag(2), line.as_bytes())));
    }

    async fn lines_of_the_same_time_and_text_are_all_stored(server: &Server, loki: &Loki) -> Outcome {
        let (_layer, pipeline) = pipeline(server, "real-duplicates")?;
        let now = unix_nanos();
        for _ in 0..3 {
            admit(&pipeline, now, "the same");
        }
        let first = flush(&pipeline);
        // Also in a later request.
        admit(&pipeline, now, "the same");
        let second = flush(&pipeline);
        assert_eq!((first.delivered, second.delivered), (3, 4), "{second}");
        let found = ask(loki, r#"{service_name="real-duplicates"}"#, 4).await?;
        let mut times: Vec<u64> = found.entries().iter().map(|(_, entry)| entry.timestamp_unix_nanos).collect();
        times.sort_unstable();
        assert_eq!(times, [now, now + 1, now + 2, now + 3]);
        Ok(())
    }

    async fn what_there_is_can_be_asked_and_followed(server: &Server, loki: &Loki) -> Outcome {
        let selector = r#"{service_name="real-asked"}"#;
        let mut tail = loki.tail(&LogQuery::new(selector).range(last_hour())).await?;
        let mut identity = Identity::new("real-asked");
        identity.environment = Some("test".to_owned());
        let builder = lgtm_loki::builder().endpoint(Endpoint::parse(server.url())?).identity(identity);
        let (layer, pipeline) = builder.label_from_field("queue", 2).build()?;
        let dispatch = Dispatch::new(tracing_subscriber::registry().with(layer));
        tracing::dispatcher::with_default(&dispatch, || {
            for (queue, number) in [("orders", 1), ("mail", 2), ("third", 3), ("fourth", 4)] {
                info!(queue, number, "taken");
            }
        });
        flush(&pipeline);
        let mut followed = Vec::new();
        while followed.len() < 4 {
            let batch = tokio::time::timeout(PATIENCE, tail.next()).await??.ok_or("the tail has ended")?;
            followed.extend(batch.streams.into_iter().flat_map(|stream| stream.entries));
        }
        tail.close().await;
        assert!(followed.iter().all(|entry| entry.line.contains("taken")), "{followed:?}");

        let found = ask(loki, &format!("{selector} | json"), 4).await?;
        // The field stays in the line; LogQL's parsers give it this name beside a label of its own name.
        assert_eq!((found.values("queue").len(), found.values("queue_extracted").len()), (3, 4));
        let wait = Wait::up_to(PATIENCE);
        let selectors = [selector];
        let series = wait.until(|| loki.series(&selectors, last_hour()), |series| series.len() >= 3).await?;
        let mut queues: Vec<_> = series.iter().filter_map(|labels| labels.get("queue")).collect();
        queues.sort();
        assert_eq!(queues, ["mail", "orders", "other"]);
        assert!(loki.labels(last_hour()).await?.contains(&"queue".to_owned()));
        assert_eq!(loki.label_values("queue", last_hour()).await?, ["mail", "orders", "other"]);
        // What is in memory alone may not be counted yet.
        let stats = loki.stats(selector, last_hour()).await?;
        println!("index stats: {stats:?}");
        assert!(stats.streams <= 3 && stats.entries <= 4, "{stats:?}");
        let volume = loki.volume(selector, &["queue"], last_hour(), 10).await?;
        println!("volume: {volume:?}");
        assert!(volume.len() <= 3 && volume.iter().all(|series| series.labels.contains_key("queue")), "{volume:?}");
        let fields = loki.detected_fields(selector, last_hour()).await?;
        let number = fields.iter().find(|field| field.label == "number").ok_or("no field `number`")?;
        assert_eq!((number.value_type.as_str(), number.parsers.as_slice()), ("int", &["json".to_owned()][..]));
        assert_eq!(loki.format_query(r#"{a ="b"}|="c""#).await?, r#"{a="b"} |= "c""#);
        let error = loki.tail(&LogQuery::new("{")).await.err().ok_or("a tail of nothing")?.to_string();
        assert!(error.contains("parse error"), "{error}");
        Ok(())
    }

    async fn refused_lines_are_counted(server: &Server, loki: &Loki) -> Outcome {
        let now = unix_nanos();
        let long = "x".repeat(257 * 1024);
        // What is refused, each among lines that are not.
        let cases: [(&str, u64, &str); 3] =
            [("too-old", now - 200 * HOUR, "old"), ("too-new", now + HOUR, "new"), ("too-long", now, &long)];
        for (case, time, line) in cases {
            let service = format!("real-{case}");
            let (_layer, pipeline) = pipeline(server, &service)?;
            for number in 0..3 {
                admit(&pipeline, now + number, "good");
            }
            for number in 0..2 {
                admit(&pipeline, time + number, line);
            }
            let report = flush(&pipeline);
            println!("{case}: {report}");
            assert_eq!((report.delivered, report.rejected, report.pending), (3, 2, 0), "{case}: {report}");
            let found = ask(loki, &format!(r#"{{service_name="{service}"}}"#), 3).await?;
            assert_eq!(found.entries().len(), 3, "{case}: its siblings are stored");
        }
        refused_by_the_ingester(server, now).await
    }

    /// Too far behind the newest entry of its stream: what the distributor lets pass.
    async fn refused_by_the_ingester(server: &Server, now: u64) -> Outcome {
        let (_layer, pipeline) = pipeline(server, "real-behind")?;
        admit(&pipeline, now, "good");
        let first = flush(&pipeline);
        for number in 0..2 {
            admit(&pipeline, now - 3 * HOUR + number, "behind");
        }
        admit(&pipeline, now + 1, "good");
        let second = flush(&pipeline);
        println!("too far behind: {second}");
        assert_eq!((first.delivered, second.delivered, second.rejected), (1, 2, 2), "{second}");
        Ok(())
    }
}

mod tempo {
    use super::*;

    #[test]
    fn a_trace_is_found_by_its_id_over_both_protocols() -> Outcome {
        let Some(server) = Server::tempo() else { return Ok(()) };
        runtime().block_on(async {
            server.ready().await;
            for protocol in [Protocol::Grpc, Protocol::Http] {
                found_by_id(&server, protocol).await?;
            }
            attributes_and_numbers_can_be_asked(&Tempo::at(server.url())?).await?;
            for protocol in [Protocol::Grpc, Protocol::Http] {
                what_is_compressed_is_found(&server, protocol).await?;
            }
            Ok(())
        })
    }

    async fn attributes_and_numbers_can_be_asked(tempo: &Tempo) -> Outcome {
        let wait = Wait::up_to(PATIENCE);
        let has_rows = |scopes: &Vec<lgtm_query::TagScope>| {
            scopes.iter().any(|scope| scope.name == "span" && scope.tags.contains(&"rows".to_owned()))
        };
        wait.until(|| tempo.tags(None, None), has_rows).await?;
        let services = wait
            .until(
                || tempo.tag_values("resource.service.name", Some("{ kind = client }"), None),
                |values| values.len() == 2,
            )
            .await?;
        assert!(services.iter().all(|value| value.value.starts_with("real-tempo-")), "{services:?}");
        // TraceQL metrics see spans when they have left the live traces.
        let range = || TimeRange::last(Duration::from_secs(900)).widened(Duration::from_secs(5));
        let count = "{ status = error } | count_over_time() by (resource.service.name)";
        let series = wait.until(|| tempo.metrics_instant(count, range()), |series| series.len() == 2).await?;
        println!("{series:?}");
        assert!(series.iter().all(|series| series.samples[0].value == 1.0), "{series:?}");
        let step = Duration::from_secs(60);
        let rate = "{ status = error } | count_over_time()";
        let counted = |series: &Vec<lgtm_query::TraceMetric>| {
            series.iter().flat_map(|series| &series.samples).map(|sample| sample.value).sum::<f64>() == 2.0
        };
        wait.until(|| tempo.metrics_range(rate, range(), step), counted).await?;
        let error = tempo.metrics_instant("{ status = }", range()).await.err().ok_or("a wrong query")?.to_string();
        assert!(error.contains("parse error"), "{error}");
        Ok(())
    }

    async fn what_is_compressed_is_found(server: &Server, protocol: Protocol) -> Outcome {
        let url = if protocol == Protocol::Grpc { server.otlp_grpc_url() } else { server.otlp_http_url() };
        let endpoint = Endpoint::parse(url)?.compression(Compression::Gzip);
        let builder = lgtm_tempo::builder().endpoint(endpoint).protocol(protocol);
        let (layer, pipeline) = builder.identity(Identity::new("real-gzip")).build()?;
        let dispatch = Dispatch::new(tracing_subscriber::registry().with(layer));
        let id = tracing::dispatcher::with_default(&dispatch, || {
            let _request = info_span!("compressed request").entered();
            lgtm_core::current::trace().expect("a trace").trace_id
        });
        let report = flush(&pipeline);
        assert_eq!((report.admitted, report.delivered, report.errors.len()), (1, 1, 0), "{report}");
        let tempo = Tempo::at(server.url())?;
        let id = TraceId::from_bytes(id.to_bytes());
        let trace = Wait::up_to(PATIENCE).until(|| tempo.trace(id), Option::is_some).await?.expect("a trace");
        assert_eq!(trace.spans[0].name, "compressed request");
        Ok(())
    }

    async fn found_by_id(server: &Server, protocol: Protocol) -> Outcome {
        let url = if protocol == Protocol::Grpc { server.otlp_grpc_url() } else { server.otlp_http_url() };
        let service = format!("real-tempo-{protocol:?}");
        let builder = lgtm_tempo::builder().endpoint(Endpoint::parse(url)?).protocol(protocol);
        let (layer, pipeline) = builder.identity(Identity::new(service.as_str())).build()?;
        let dispatch = Dispatch::new(tracing_subscriber::registry().with(layer));
        let id = tracing::dispatcher::with_default(&dispatch, || {
            let _request = info_span!("request", otel.kind = "server", route = "/orders/{id}").entered();
            let query = info_span!("query", otel.kind = "client", rows = 3);
            query.follows_from(&info_span!(parent: None, "cause"));
            let _query = query.entered();
            error!(attempt = 2, "connection lost");
            lgtm_core::current::trace().expect("a trace").trace_id
        });
        // Tempo needs a moment after it says that it is ready: what it does not take is tried again.
        let report = flush(&pipeline);
        assert_eq!((report.admitted, report.delivered), (3, 3), "{report}");

        let tempo = Tempo::at(server.url())?;
        let id = TraceId::from_bytes(id.to_bytes());
        let whole = |trace: &Option<Trace>| trace.as_ref().is_some_and(|trace| trace.spans.len() == 2);
        let trace = Wait::up_to(PATIENCE).until(|| tempo.trace(id), whole).await?.expect("a trace");
        println!("{}", trace.tree());
        let named = |name: &str| trace.spans.iter().find(|span| span.name == name).expect("a span");
        let (request, query) = (named("request"), named("query"));
        assert_eq!((request.parent_span_id, query.parent_span_id), (None, Some(request.span_id)));
        assert_eq!((request.kind, query.kind), (SpanKind::Server, SpanKind::Client));
        assert_eq!(request.service_name, service);
        assert_eq!(request.attributes.get("route"), Some(&AttributeValue::String("/orders/{id}".to_owned())));
        assert_eq!(query.attributes.get("rows"), Some(&AttributeValue::Int(3)));
        assert_eq!((query.status.code, query.status.message.as_str()), (StatusCode::Error, "connection lost"));
        let [link] = query.links.as_slice() else { panic!("one link: {:?}", query.links) };
        let cause = tempo.trace(link.trace_id).await?.ok_or("no trace of the cause")?;
        assert_eq!((cause.spans[0].name.as_str(), cause.spans[0].span_id), ("cause", link.span_id));
        let event = query.events.first().expect("an event");
        assert_eq!(event.name, "connection lost");
        assert_eq!(event.attributes.get("attempt"), Some(&AttributeValue::Int(2)));
        Ok(())
    }
}

mod prometheus {
    use super::*;

    #[test]
    fn samples_and_exemplars_are_found() -> Outcome {
        let Some(server) = Server::prometheus() else { return Ok(()) };
        runtime().block_on(async {
            server.ready().await;
            found(&server, &Prometheus::at(server.url())?).await
        })
    }

    async fn found(server: &Server, prometheus: &Prometheus) -> Outcome {
        let mut identity = Identity::new("real-prometheus");
        identity.service_namespace = Some("tests".to_owned());
        identity.environment = Some("test".to_owned());
        let endpoint = Endpoint::parse(&format!("{}/api/v1/write", server.url()))?;
        let mimir = lgtm_mimir::builder().push(endpoint).identity(identity.clone()).build()?;
        let pipeline = mimir.pipeline().expect("it pushes");
        // Ids come from the span records: any layer of lgtm's makes them.
        let dispatch = Dispatch::new(tracing_subscriber::registry().with(lgtm_spanmetrics::layer(&identity)));
        let trace = metrics::with_local_recorder(&mimir.recorder(), || {
            tracing::dispatcher::with_default(&dispatch, || {
                let _request = info_span!("request", otel.kind = "server").entered();
                metrics::counter!("orders_total", "kind" => "web").increment(3);
                metrics::gauge!("active_connections").set(2.0);
                metrics::histogram!("checkout_duration_seconds", "http.route" => "/checkout").record(0.042);
                lgtm_core::current::trace().expect("a trace")
            })
        });
        let report = flush(pipeline);
        assert_eq!((report.rejected, report.pending), (0, 0), "{report}");
        assert!(report.delivered > 0 && report.lost() == 0, "{report}");

        let labels = r#"job="tests/real-prometheus",environment="test""#;
        let value = async |promql: &str| {
            let answer = Wait::up_to(PATIENCE).until(|| prometheus.query(promql, None), |a| !a.data.is_empty()).await?;
            Ok::<_, lgtm_query::Error>(answer.data.single_value())
        };
        assert_eq!(value(&format!(r#"orders_total{{kind="web",{labels}}}"#)).await?, Some(3.0));
        assert_eq!(value(&format!("active_connections{{{labels}}}")).await?, Some(2.0));
        assert_eq!(value(&format!("checkout_duration_seconds_count{{{labels}}}")).await?, Some(1.0));
        let bucket =
            |le: &str| format!(r#"checkout_duration_seconds_bucket{{le="{le}",http_route="/checkout",{labels}}}"#);
        assert_eq!((value(&bucket("0.05")).await?, value(&bucket("0.025")).await?), (Some(1.0), Some(0.0)));
        let created = r#"otlp_spans_created_total{span_kind="server",service_name="real-prometheus"}"#;
        assert_eq!(value(created).await?, Some(1.0));
        assert_eq!(value(&format!(r#"count(target_info{{{labels}}})"#)).await?, Some(1.0));

        let names = prometheus.label_values("__name__", &[r#"{job="tests/real-prometheus"}"#], last_hour()).await?;
        assert!(names.contains(&"orders_total".to_owned()), "{names:?}");
        assert!(prometheus.labels(&["orders_total"], last_hour()).await?.contains(&"kind".to_owned()));
        assert_eq!(prometheus.series(&["orders_total"], last_hour()).await?.len(), 1);
        assert!(prometheus.rules().await?.is_empty() && prometheus.alerts().await?.is_empty());
        assert!(prometheus.targets().await?.is_empty() && prometheus.metadata(None).await?.is_empty());
        assert!(prometheus.version().await?.starts_with(|first: char| first.is_ascii_digit()));
        let range = TimeRange::last(Duration::from_secs(60)).widened(Duration::from_secs(5));
        let over_time = prometheus.query_range("orders_total", range, Duration::from_secs(5)).await?;
        assert!(over_time.data.matrix()[0].samples.iter().any(|sample| sample.value == 3.0));
        let error = prometheus.query("sum(", None).await.err().ok_or("a wrong query")?.to_string();
        assert!(error.contains("parse error"), "{error}");

        for name in ["checkout_duration_seconds_bucket", "otlp_spans_duration_seconds_bucket"] {
            let ask = || prometheus.query_exemplars(name, last_hour());
            let series = Wait::up_to(PATIENCE).until(ask, |series| !series.is_empty()).await?;
            let exemplars: Vec<_> = series.iter().flat_map(|series| &series.exemplars).collect();
            let [exemplar] = exemplars.as_slice() else { panic!("one exemplar of {name}, not {exemplars:?}") };
            assert_eq!(exemplar.trace_id(), Some(TraceId::from_bytes(trace.trace_id.to_bytes())), "{name}");
            assert_eq!(exemplar.labels.get("span_id"), Some(&trace.span_id.to_string()), "{name}");
        }
        Ok(())
    }

    /// The same metrics by OTLP, translated by Cortex as by Mimir: the names are those of remote write.
    #[test]
    fn cortex_takes_metrics_by_otlp_under_the_names_of_remote_write() -> Outcome {
        let Some(server) = Server::cortex() else { return Ok(()) };
        runtime().block_on(async {
            server.ready().await;
            let prometheus = Prometheus::at(format!("{}/prometheus", server.url()))?;
            let mimir = lgtm_mimir::builder()
                .push(
                    Endpoint::parse(&format!("{}/api/v1/otlp/v1/metrics", server.url()))?
                        .compression(Compression::Gzip),
                )
                .protocol(lgtm_mimir::Protocol::Otlp(Protocol::Http))
                .identity(Identity::new("real-otlp"))
                .native_histograms_for("work_seconds", 160)
                .build()?;
            let pipeline = mimir.pipeline().expect("it pushes");
            metrics::with_local_recorder(&mimir.recorder(), || {
                metrics::describe_histogram!("wait_seconds", metrics::Unit::Seconds, "How long it took");
                metrics::counter!("orders_total", "kind" => "web").increment(7);
                metrics::gauge!("depth").set(2.5);
                (1..=4).for_each(|number| metrics::histogram!("wait_seconds").record(f64::from(number) / 10.0));
                (1..=4).for_each(|number| metrics::histogram!("work_seconds").record(f64::from(number) / 10.0));
            });
            let report = flush(pipeline);
            println!("OTLP metrics: {report}");
            assert_eq!((report.rejected, report.lost(), report.pending), (0, 0, 0), "{report}");
            let value = async |promql: &str| {
                let ask = || prometheus.query(promql, None);
                let answer = Wait::up_to(PATIENCE).until(ask, |a| !a.data.is_empty()).await?;
                Ok::<_, lgtm_query::Error>(answer.data.single_value())
            };
            assert_eq!(value(r#"orders_total{job="real-otlp",kind="web"}"#).await?, Some(7.0));
            assert_eq!(value(r#"depth{job="real-otlp"}"#).await?, Some(2.5));
            assert_eq!(value(r#"wait_seconds_bucket{job="real-otlp",le="0.25"}"#).await?, Some(2.0));
            assert_eq!(value(r#"wait_seconds_count{job="real-otlp"}"#).await?, Some(4.0));
            let sum = value(r#"histogram_sum(work_seconds{job="real-otlp"})"#).await?;
            assert!(sum.is_some_and(|sum| (sum - 1.0).abs() < 1e-9), "{sum:?}");
            let second = value(r#"histogram_quantile(0.45, work_seconds{job="real-otlp"})"#).await?;
            assert!(second.is_some_and(|second| (second - 0.2).abs() < 0.002), "{second:?}");
            Ok(())
        })
    }

    #[test]
    fn cortex_takes_both_versions_of_remote_write_over_several_lanes() -> Outcome {
        let Some(server) = Server::cortex() else { return Ok(()) };
        runtime().block_on(async {
            server.ready().await;
            let prometheus = Prometheus::at(format!("{}/prometheus", server.url()))?;
            for (version, job) in [(RemoteWrite::One, "real-one"), (RemoteWrite::Two, "real-two")] {
                let identity = Identity::new(job);
                let mimir = lgtm_mimir::builder()
                    .push(Endpoint::parse(server.url())?)
                    .identity(identity.clone())
                    .remote_write(version)
                    .push_lanes(4)
                    .native_histograms_for("work_seconds", 160)
                    .build()?;
                let pipeline = mimir.pipeline().expect("it pushes");
                let dispatch = Dispatch::new(tracing_subscriber::registry().with(lgtm_spanmetrics::layer(&identity)));
                let orders = metrics::with_local_recorder(&mimir.recorder(), || {
                    metrics::describe_counter!("orders_total", "Orders, however they end");
                    tracing::dispatcher::with_default(&dispatch, || {
                        let _request = info_span!("request").entered();
                        metrics::histogram!("work_seconds").record(0.25);
                        (0..50)
                            .map(|kind| metrics::counter!("orders_total", "kind" => kind.to_string()))
                            .collect::<Vec<_>>()
                    })
                });
                for _ in 0..3 {
                    orders.iter().for_each(|counter| counter.increment(1));
                    let deadline = Instant::now() + PATIENCE / 2;
                    let flushed = pipeline.wait_flushed(&pipeline.begin_flush(), deadline);
                    let report = pipeline.report();
                    assert!(flushed, "{report}\n{}", server.last_words());
                    assert_eq!((report.rejected, report.lost(), report.pending), (0, 0, 0), "{report}");
                }
                let value = async |promql: String| {
                    let ask = || prometheus.query(&promql, None);
                    let answer = Wait::up_to(PATIENCE).until(ask, |a| !a.data.is_empty()).await?;
                    Ok::<_, lgtm_query::Error>(answer.data.single_value())
                };
                assert_eq!(value(format!(r#"sum(orders_total{{job="{job}"}})"#)).await?, Some(150.0));
                let median = value(format!(r#"histogram_quantile(0.5, work_seconds{{job="{job}"}})"#)).await?;
                assert!(median.is_some_and(|median| (median - 0.25).abs() < 0.02), "{median:?}");
                let exemplars = format!(r#"work_seconds_bucket{{job="{job}"}}"#);
                let ask = || prometheus.query_exemplars(&exemplars, last_hour());
                let series = Wait::up_to(PATIENCE).until(ask, |series| !series.is_empty()).await?;
                assert_eq!(series.iter().map(|series| series.exemplars.len()).sum::<usize>(), 1);
                let deadline = Instant::now() + PATIENCE;
                pipeline.begin_shutdown(deadline);
                assert!(pipeline.wait_ended(deadline));
                assert_eq!(pipeline.report().rejected, 0);
                let gone = format!(r#"count({{job="{job}"}})"#);
                Wait::up_to(PATIENCE).until(|| prometheus.query(&gone, None), |a| a.data.is_empty()).await?;
            }
            Ok(())
        })
    }

    #[test]
    fn a_receiver_of_version_1_gets_version_1_and_nothing_is_lost() -> Outcome {
        let Some(server) = Server::prometheus() else { return Ok(()) };
        runtime().block_on(async {
            server.ready().await;
            let prometheus = Prometheus::at(server.url())?;
            let endpoint = Endpoint::parse(&format!("{}/api/v1/write", server.url()))?;
            let builder = lgtm_mimir::builder().push(endpoint).identity(Identity::new("real-fallback"));
            let mimir = builder.remote_write(RemoteWrite::Two).build()?;
            metrics::with_local_recorder(&mimir.recorder(), || metrics::counter!("orders_total").increment(3));
            let report = flush(mimir.pipeline().expect("it pushes"));
            assert_eq!((report.rejected, report.lost(), report.pending), (0, 0, 0), "{report}");
            let promql = r#"orders_total{job="real-fallback"}"#;
            let answer = Wait::up_to(PATIENCE).until(|| prometheus.query(promql, None), |a| !a.data.is_empty()).await?;
            assert_eq!(answer.data.single_value(), Some(3.0));
            Ok(())
        })
    }

    #[test]
    fn a_program_that_ends_leaves_no_series_behind() -> Outcome {
        let Some(server) = Server::prometheus() else { return Ok(()) };
        runtime().block_on(async {
            server.ready().await;
            let prometheus = Prometheus::at(server.url())?;
            for instance in ["first-run", "second-run"] {
                let mut identity = Identity::new("real-restart");
                instance.clone_into(&mut identity.service_instance_id);
                let endpoint = Endpoint::parse(&format!("{}/api/v1/write", server.url()))?;
                let builder = lgtm_mimir::builder().push(endpoint).identity(identity);
                let mimir = builder.native_histograms_for("size_bytes", 160).build()?;
                metrics::with_local_recorder(&mimir.recorder(), || {
                    metrics::gauge!("active_connections").set(2.0);
                    metrics::histogram!("size_bytes").record(3.0);
                });
                let pipeline = mimir.pipeline().expect("it pushes");
                flush(pipeline);
                let selector = r#"{job="real-restart"}"#;
                let live = Wait::up_to(PATIENCE)
                    .until(
                        || prometheus.query(r#"active_connections{job="real-restart"}"#, None),
                        |a| !a.data.is_empty(),
                    )
                    .await?;
                let lgtm_query::MetricData::Vector(live) = live.data else { panic!("a vector") };
                let instances: Vec<_> = live.iter().filter_map(|series| series.labels.get("instance")).collect();
                assert_eq!(instances, [instance], "no ghost of the run before");
                let deadline = Instant::now() + PATIENCE;
                pipeline.begin_shutdown(deadline);
                assert!(pipeline.wait_ended(deadline));
                let report = pipeline.report();
                assert_eq!((report.lost(), report.pending), (0, 0), "{report}");
                // The markers carry a time that may be a few milliseconds ahead.
                let gone = format!("count({selector})");
                Wait::up_to(PATIENCE).until(|| prometheus.query(&gone, None), |a| a.data.is_empty()).await?;
            }
            Ok(())
        })
    }

    /// The numbers from 1 ms to 2 s, evenly, inside a span.
    fn work(mimir: &lgtm_mimir::Mimir) -> lgtm_core::TraceContext {
        let identity = Identity::new("real-scrape");
        let dispatch = Dispatch::new(tracing_subscriber::registry().with(lgtm_spanmetrics::layer(&identity)));
        metrics::with_local_recorder(&mimir.recorder(), || {
            metrics::describe_histogram!("work_seconds", metrics::Unit::Seconds, "How long it took");
            tracing::dispatcher::with_default(&dispatch, || {
                let _request = info_span!("request").entered();
                for millisecond in 1..=2000 {
                    metrics::histogram!("work_seconds").record(f64::from(millisecond) / 1000.0);
                    metrics::histogram!("wait_seconds").record(f64::from(millisecond) / 1000.0);
                    metrics::histogram!("classic_seconds").record(f64::from(millisecond) / 1000.0);
                }
                lgtm_core::current::trace().expect("a trace")
            })
        })
    }

    #[test]
    fn native_histograms_are_scraped_with_their_exemplars() -> Outcome {
        let builder =
            lgtm_mimir::builder().listen(([127, 0, 0, 1], 0).into()).native_histograms_for("work_seconds", 160);
        let mimir = builder.quantiles_for("wait_seconds", &[0.5, 0.9]).build()?;
        let Some(server) = Server::prometheus_scraping(mimir.local_addr().expect("it listens")) else { return Ok(()) };
        runtime().block_on(async {
            server.ready().await;
            let prometheus = Prometheus::at(server.url())?;
            let value = async |promql: &str, is_good: &dyn Fn(f64) -> bool| {
                let ask = || prometheus.query(promql, None);
                let good = |answer: &lgtm_query::MetricAnswer| answer.data.single_value().is_some_and(is_good);
                let answer = Wait::up_to(PATIENCE).until(ask, good).await?;
                let found = answer.data.single_value().unwrap_or(f64::NAN);
                println!("{promql} = {found}");
                Ok::<_, lgtm_query::Error>(found)
            };
            work(&mimir);
            value("histogram_count(work_seconds)", &|found| found == 2000.0).await?;
            // A rate needs two scrapes, and growth between them.
            let trace = work(&mimir);
            value("histogram_count(work_seconds)", &|found| found == 4000.0).await?;
            for quantile in [0.5, 0.9] {
                let truth = 2.0 * quantile;
                let promql = format!("histogram_quantile({quantile}, sum(rate(work_seconds[1m])))");
                value(&promql, &|found| (found - truth).abs() <= truth * 0.03).await?;
                let promql = format!("wait_seconds{{quantile=\"{quantile}\"}}");
                value(&promql, &|found| (found - truth).abs() <= truth * 0.01).await?;
            }
            value("wait_seconds_count", &|found| found == 4000.0).await?;
            value("classic_seconds_bucket{le=\"1.0\"}", &|found| found == 2000.0).await?;
            value("sum(up{job=\"scraped\"})", &|found| found == 1.0).await?;
            for name in ["work_seconds", "classic_seconds_bucket"] {
                let ask = || prometheus.query_exemplars(name, last_hour());
                let id = TraceId::from_bytes(trace.trace_id.to_bytes());
                let has_it = |series: &Vec<lgtm_query::ExemplarSeries>| {
                    series.iter().flat_map(|series| &series.exemplars).any(|exemplar| exemplar.trace_id() == Some(id))
                };
                Wait::up_to(PATIENCE).until(ask, has_it).await?;
                println!("query_exemplars({name}) has {}", trace.trace_id);
            }
            Ok(())
        })
    }

    #[test]
    fn quantiles_of_classic_and_native_histograms_are_within_a_bucket_of_the_truth() -> Outcome {
        let Some(server) = Server::prometheus() else { return Ok(()) };
        runtime().block_on(async {
            server.ready().await;
            let prometheus = Prometheus::at(server.url())?;
            let endpoint = Endpoint::parse(&format!("{}/api/v1/write", server.url()))?;
            let builder = lgtm_mimir::builder().push(endpoint).identity(Identity::new("real-quantiles"));
            let mimir = builder.native_histograms_for("work_seconds", 160).build()?;
            // Exactly known quantiles: the numbers from 1 ms to 2 s, evenly.
            metrics::with_local_recorder(&mimir.recorder(), || {
                let work = metrics::histogram!("work_seconds");
                (1..=2000).for_each(|millisecond| work.record(f64::from(millisecond) / 1000.0));
            });
            let report = flush(mimir.pipeline().expect("it pushes"));
            assert_eq!((report.lost(), report.pending), (0, 0), "{report}");
            for quantile in [0.1, 0.5, 0.9, 0.99] {
                let truth = 2.0 * quantile;
                for (series, error) in [("work_seconds", 0.03), ("sum by (le) (work_seconds_bucket)", 0.6)] {
                    let promql = format!("histogram_quantile({quantile}, {series})");
                    let answer =
                        Wait::up_to(PATIENCE).until(|| prometheus.query(&promql, None), |a| !a.data.is_empty()).await?;
                    let found = answer.data.single_value().expect("a number");
                    println!("{promql} = {found}, in truth {truth}");
                    assert!((found - truth).abs() <= truth * error, "{promql}: {found}, in truth {truth}");
                }
            }
            Ok(())
        })
    }
}
