//! How much of what is sent, checked, and which part of it falls to which instance. Pure functions of the time that has passed.

use std::time::Duration;

use anyhow::ensure;

/// Instances of all services together. Each has a thread of its own for sending.
const MOST_INSTANCES: u32 = 256;
/// What waiting telemetry may take, of all instances together; each has at least what lgtm needs and at most its default.
const MEMORY: usize = 512 << 20;
const LEAST_MEMORY: usize = 4 << 20;
const USUAL_MEMORY: usize = 64 << 20;

/// How much.
#[derive(Debug, Clone, PartialEq, clap::Args)]
#[command(next_help_heading = "Load")]
pub(crate) struct Load {
    /// Services: loadgen-1, loadgen-2, ...
    #[arg(long, default_value_t = 2, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=256))]
    pub(crate) services: u32,
    /// Instances of each service, each with pipelines of its own; 256 of all services together.
    #[arg(
        long,
        visible_alias = "instances",
        default_value_t = 2,
        value_name = "NUMBER",
        value_parser = clap::value_parser!(u32).range(1..=256)
    )]
    pub(crate) instances_per_service: u32,
    /// Log streams of each service; its instances share them.
    #[arg(
        long,
        visible_alias = "streams",
        default_value_t = 4,
        value_name = "NUMBER",
        value_parser = clap::value_parser!(u32).range(1..=1000)
    )]
    pub(crate) streams_per_service: u32,
    /// Time series of each instance, beside those that lgtm records itself.
    #[arg(
        long,
        visible_alias = "series",
        default_value_t = 100,
        value_name = "NUMBER",
        value_parser = clap::value_parser!(u32).range(1..=90_000)
    )]
    pub(crate) series_per_instance: u32,
    /// Log lines and spans per second, so many of each, of all instances together.
    #[arg(
        long,
        default_value_t = 100,
        value_name = "PER_SECOND",
        value_parser = clap::value_parser!(u64).range(1..=10_000_000)
    )]
    pub(crate) rate: u64,
    /// Log lines per second of all instances together. Defaults to --rate.
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    pub(crate) lines_per_second: Option<u64>,
    /// Spans per second of all instances together. Defaults to --rate.
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    pub(crate) spans_per_second: Option<u64>,
    /// Spans of each trace: one for a request, and those below it.
    #[arg(long, default_value_t = 5, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) spans_per_trace: u32,
    /// Bytes of each line's message; the line has its fields beside it.
    #[arg(
        long,
        default_value_t = 80,
        value_name = "BYTES",
        value_parser = clap::value_parser!(u32).range(1..=65_536)
    )]
    pub(crate) message_bytes: u32,
    /// How often each instance pushes all its series, each as one sample.
    #[arg(long, default_value = "5s", value_name = "DURATION", value_parser = push_interval)]
    pub(crate) push_interval: Duration,
}

fn push_interval(text: &str) -> Result<Duration, String> {
    let interval = humantime::parse_duration(text).map_err(|error| format!("{error}; accepted: 5s, 500ms"))?;
    let accepted = Duration::from_millis(100)..=Duration::from_secs(300);
    if accepted.contains(&interval) { Ok(interval) } else { Err("accepted: from 100ms to 5m".to_owned()) }
}

/// The checked load, with a name for this run.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Plan {
    pub(crate) load: Load,
    pub(crate) length: Duration,
    /// The beginning of every `service.instance.id` of this run.
    pub(crate) run: String,
    pub(crate) memory_per_instance: usize,
}

impl Plan {
    /// # Errors
    /// If there are too many instances.
    pub(crate) fn new(load: &Load, length: Duration) -> anyhow::Result<Self> {
        let instances = load.services * load.instances_per_service;
        ensure!(
            instances <= MOST_INSTANCES,
            "--services {} with --instances-per-service {} are {instances} instances; accepted: {MOST_INSTANCES} at most",
            load.services,
            load.instances_per_service
        );
        let memory = MEMORY / usize::try_from(instances)?;
        let run: String = lgtm_core::TraceId::random().to_string().chars().take(8).collect();
        Ok(Self {
            load: load.clone(),
            length,
            run: format!("loadgen-{run}"),
            memory_per_instance: memory.clamp(LEAST_MEMORY, USUAL_MEMORY),
        })
    }

    pub(crate) fn instances(&self) -> u64 {
        u64::from(self.load.services) * u64::from(self.load.instances_per_service)
    }

    pub(crate) fn lines_per_second(&self) -> u64 {
        self.load.lines_per_second.unwrap_or(self.load.rate)
    }

    pub(crate) fn spans_per_second(&self) -> u64 {
        self.load.spans_per_second.unwrap_or(self.load.rate)
    }

    /// Samples per second, of the series that are asked for.
    pub(crate) fn samples_per_second(&self) -> f64 {
        self.series() as f64 / self.load.push_interval.as_secs_f64()
    }

    /// Series of all instances together.
    pub(crate) fn series(&self) -> u64 {
        self.instances() * u64::from(self.load.series_per_instance)
    }

    /// Lines of all instances after this time.
    pub(crate) fn lines(&self, after: Duration) -> u64 {
        due(self.lines_per_second(), after)
    }

    /// Whole traces of all instances after this time.
    pub(crate) fn traces(&self, after: Duration) -> u64 {
        due(self.spans_per_second(), after) / u64::from(self.load.spans_per_trace)
    }

    /// The part of `total` that falls to one instance. All parts together are `total`.
    pub(crate) fn share(&self, total: u64, instance: u64) -> u64 {
        (total + instance) / self.instances()
    }
}

fn due(per_second: u64, after: Duration) -> u64 {
    u64::try_from(u128::from(per_second) * after.as_nanos() / 1_000_000_000).unwrap_or(u64::MAX)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(crate) fn load(arguments: &[&str]) -> Load {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            load: Load,
        }
        <Line as clap::Parser>::parse_from([&["loadgen"], arguments].concat()).load
    }

    #[test]
    fn the_parts_of_all_instances_are_the_whole_at_any_time() {
        let plan = Plan::new(&load(&["--services", "3", "--instances", "5"]), Duration::from_secs(1)).unwrap();
        for total in [0, 1, 14, 15, 16, 1_000_003] {
            let parts: Vec<_> = (0..15).map(|instance| plan.share(total, instance)).collect();
            assert_eq!(parts.iter().sum::<u64>(), total);
            assert!(parts.iter().max().unwrap() - parts.iter().min().unwrap() <= 1, "{parts:?}");
        }
    }

    #[test]
    fn what_is_due_follows_the_rates() {
        let plan = Plan::new(
            &load(&["--rate", "70", "--lines-per-second", "3", "--spans-per-trace", "7"]),
            Duration::from_secs(60),
        )
        .unwrap();
        assert_eq!(plan.lines(Duration::from_millis(1_999)), 5);
        assert_eq!(plan.traces(Duration::from_millis(1_999)), 19);
        assert_eq!(plan.traces(Duration::from_secs(3600)), 36_000);
        assert_eq!(plan.samples_per_second(), 80.0);
    }

    #[test]
    fn memory_is_bounded_over_all_instances() {
        let error = Plan::new(&load(&["--services", "20", "--instances", "20"]), Duration::from_secs(1)).unwrap_err();
        assert!(error.to_string().contains("400 instances") && error.to_string().contains("accepted: 256"), "{error}");
        for (services, mib) in [("1", 64), ("64", 8), ("256", 4)] {
            let plan = Plan::new(&load(&["--services", services, "--instances", "1"]), Duration::from_secs(1)).unwrap();
            assert_eq!(plan.memory_per_instance, mib << 20, "{services}");
        }
    }
}
