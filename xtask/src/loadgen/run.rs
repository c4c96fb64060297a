//! The run: a thread for each processor drives its part of the programs by the clock, then all of them end together.

use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context as _;
use futures_util::future::{join_all, try_join_all};
use lgtm::Report;

use super::Destinations;
use super::plan::Plan;
use super::program::Program;
use super::traffic::Made;

/// Between two looks at the clock: the load comes in portions of this length.
const TICK: Duration = Duration::from_millis(10);
/// Between two lines of progress.
const PROGRESS: Duration = Duration::from_secs(5);

/// What has been made, and what lgtm says has become of it.
pub(crate) struct Outcome {
    pub(crate) started: SystemTime,
    /// How long the load ran, without the shutdown.
    pub(crate) elapsed: Duration,
    /// How long the shutdown then took.
    pub(crate) shutdown: Duration,
    /// Of each instance.
    pub(crate) made: Vec<Made>,
    pub(crate) reports: Vec<Report>,
}

/// What the threads share.
#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    lines: AtomicU64,
    spans: AtomicU64,
}

/// # Errors
/// If lgtm cannot work with the settings.
pub(crate) async fn run(plan: &Plan, destinations: &Destinations) -> anyhow::Result<Outcome> {
    let mut programs = Vec::new();
    for number in 0..plan.instances() {
        programs.push(Program::start(plan, destinations, number)?);
    }
    let shared = Arc::new(Shared::default());
    let started = SystemTime::now();
    let begin = Instant::now();
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get).min(programs.len()).max(1);
    let mut parts: Vec<Vec<Program>> = (0..threads).map(|_| Vec::new()).collect();
    for (index, program) in programs.into_iter().enumerate() {
        if let Some(part) = parts.get_mut(index % threads) {
            part.push(program);
        }
    }
    let drivers = parts.into_iter().map(|part| {
        let (plan, destinations, shared) = (plan.clone(), destinations.clone(), Arc::clone(&shared));
        tokio::task::spawn_blocking(move || drive(part, &plan, &destinations, begin, &shared))
    });
    let mut driven = std::pin::pin!(try_join_all(drivers));
    let mut progress = tokio::time::interval_at((begin + PROGRESS).into(), PROGRESS);
    let parts = loop {
        tokio::select! {
            parts = &mut driven => break parts.context("a thread of the load generator has ended early")?,
            pressed = tokio::signal::ctrl_c() => {
                pressed?;
                eprintln!("ending early; once more to end without waiting for what is on its way");
                shared.stop.store(true, Ordering::Relaxed);
            }
            _ = progress.tick() => {
                let (lines, spans) = (shared.lines.load(Ordering::Relaxed), shared.spans.load(Ordering::Relaxed));
                eprintln!("{:>4} s of {:.0}: {lines} lines, {spans} spans", begin.elapsed().as_secs(), plan.length.as_secs_f64());
            }
        }
    };
    let elapsed = begin.elapsed().min(plan.length);
    let programs: Vec<Program> = parts.into_iter().flatten().collect();
    let begin = Instant::now();
    let reports = tokio::select! {
        reports = join_all(programs.iter().map(|program| program.telemetry().shutdown_async())) => reports,
        _ = tokio::signal::ctrl_c() => programs.iter().map(|program| program.telemetry().report()).collect(),
    };
    let made = programs.iter().map(|program| program.made().clone()).collect();
    Ok(Outcome { started, elapsed, shutdown: begin.elapsed(), made, reports })
}

/// Drives `programs` until the end of the plan, or until it is stopped.
fn drive(
    mut programs: Vec<Program>,
    plan: &Plan,
    destinations: &Destinations,
    begin: Instant,
    shared: &Shared,
) -> Vec<Program> {
    let end = begin + plan.length;
    let (mut lines, mut spans) = (0, 0);
    loop {
        let now = Instant::now().min(end);
        for program in &mut programs {
            program.advance(plan, destinations, now - begin, now);
        }
        let made = |of: fn(&Made) -> u64| programs.iter().map(|program| of(program.made())).sum::<u64>();
        let (all_lines, all_spans) = (made(|made| made.lines), made(|made| made.spans));
        shared.lines.fetch_add(all_lines - lines, Ordering::Relaxed);
        shared.spans.fetch_add(all_spans - spans, Ordering::Relaxed);
        (lines, spans) = (all_lines, all_spans);
        if now >= end || shared.stop.load(Ordering::Relaxed) {
            break;
        }
        std::thread::sleep(TICK);
    }
    programs.iter_mut().for_each(Program::finish);
    programs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loadgen::account::Account;
    use crate::loadgen::plan::tests::load;
    use lgtm::Endpoint;
    use lgtm_devstack::{Devstack, Reply};
    use std::collections::BTreeSet;

    fn destinations(stack: &Devstack) -> Destinations {
        let endpoint = |url: String| Some(Endpoint::parse(&url).unwrap());
        Destinations {
            logs: endpoint(stack.loki_url()),
            traces: endpoint(stack.otlp_grpc_url()),
            metrics: endpoint(stack.mimir_url()),
        }
    }

    fn plan(arguments: &[&str], length: Duration) -> Plan {
        Plan::new(&load(arguments), length).unwrap()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn every_item_of_every_instance_arrives_once_under_its_own_identity() {
        let stack = Devstack::start().await.unwrap();
        let destinations = destinations(&stack);
        let arguments = ["--services", "2", "--instances", "3", "--streams", "4", "--series", "20", "--rate", "400"];
        let plan = plan(&arguments, Duration::from_secs(2));
        let outcome = run(&plan, &destinations).await.unwrap();
        let account = Account::new(&plan, &destinations, &outcome);
        assert!(account.all_is_well(), "{account}");

        let (logs, spans) = (stack.store().logs(), stack.store().spans());
        assert_eq!(logs.len(), 800);
        assert_eq!(spans.len(), 800);
        let [lines, traces, samples] = account.signals.as_slice() else { panic!("{account}") };
        assert_eq!((lines.delivered, traces.delivered, lines.produced), (800, 800, Some(800)));
        assert!(samples.delivered >= 120, "{account}");

        let instances: BTreeSet<_> = logs.iter().filter_map(|entry| entry.label("service_instance_id")).collect();
        assert_eq!(instances.len(), 6, "{instances:?}");
        assert!(instances.iter().all(|instance| instance.starts_with(&plan.run)), "{instances:?}");
        let streams: BTreeSet<_> = logs.iter().map(|entry| (entry.label("service"), entry.label("stream"))).collect();
        assert_eq!(streams.len(), 8, "{streams:?}");
        let of_spans: BTreeSet<_> = spans.iter().filter_map(|span| span.resource.text("service.instance.id")).collect();
        assert_eq!(of_spans, instances);
        let series = stack.store().series_named("loadgen_work_1_total");
        assert_eq!(series.len(), 120);
        let counted: f64 = series.iter().filter_map(lgtm_devstack::Series::last_value).sum();
        assert_eq!(counted as u64, outcome.made.iter().map(|made| made.increments).sum::<u64>());
        // Each trace is whole: its spans have one root.
        let trace_ids: BTreeSet<_> = spans.iter().map(|span| span.trace_id.clone()).collect();
        assert_eq!(trace_ids.len(), 160);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_a_server_refuses_is_in_the_account() {
        let stack = Devstack::start().await.unwrap();
        stack.script(lgtm_devstack::Endpoint::LokiPush, [Reply::status(400)]);
        let destinations = destinations(&stack);
        let plan = plan(&["--services", "1", "--instances", "1", "--rate", "50"], Duration::from_secs(1));
        let outcome = run(&plan, &destinations).await.unwrap();
        let account = Account::new(&plan, &destinations, &outcome);
        assert!(!account.all_is_well());
        let lines = &account.signals[0];
        assert!(lines.rejected > 0, "{account}");
        assert_eq!(lines.rejected + lines.delivered, 50);
        assert_eq!(stack.store().logs().len() as u64, lines.delivered);
        assert!(account.to_string().contains("Not everything has arrived"), "{account}");
    }
}
