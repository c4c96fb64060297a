//! The system monitor: CPU, memory and tokio tasks, every 15 s. Worker thread.
//!
//! With the feature `process` also what Prometheus' client libraries say of a process (`process_cpu_seconds_total`,
//! `process_resident_memory_bytes`, `process_open_fds`, `process_start_time_seconds`, ...; source: the crate metrics-process); with
//! `tokio-metrics` also what a stable tokio says of the program's runtime (`tokio_workers_count`, `tokio_total_busy_duration`,
//! `tokio_global_queue_depth`, ...; source: the crate tokio-metrics).

use std::time::Duration;

use lgtm_core::Worker;
use lgtm_core::catalogue::{
    SYSTEM_CPU_USAGE_PERCENT, SYSTEM_MEMORY_LIMIT_BYTES, SYSTEM_MEMORY_USAGE_BYTES, SYSTEM_TASKS_COUNT,
};
use sysinfo::{CpuRefreshKind, MemoryRefreshKind, RefreshKind, System};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

/// How often the gauges are set.
pub const INTERVAL: Duration = Duration::from_secs(15);

/// The running monitor; dropping it ends it.
#[derive(Debug)]
pub struct SystemMonitor(JoinHandle<()>);

impl Drop for SystemMonitor {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Starts the monitor. `program` is the runtime whose tasks are counted; without one the gauge of tasks is absent.
#[must_use]
pub fn start(worker: &Worker, program: Option<Handle>) -> SystemMonitor {
    // The first look is the caller's: its new series are not registered by the worker while the program forks.
    let mut program = Program::new(program);
    program.look();
    let memory = RefreshKind::nothing().with_memory(MemoryRefreshKind::nothing().with_ram());
    let system = match System::new_with_specifics(memory) {
        Ok(system) => {
            set_memory(&system);
            Some(system)
        }
        Err(error) => {
            lgtm_core::warn(&format!("the system monitor cannot read this host, otlp_system_* stay absent: {error}"));
            None
        }
    };
    SystemMonitor(worker.handle().spawn(watch(system, program)))
}

async fn watch(mut system: Option<System>, mut program: Program) {
    let wanted = RefreshKind::nothing()
        .with_cpu(CpuRefreshKind::nothing().with_usage())
        .with_memory(MemoryRefreshKind::nothing().with_ram());
    // CPU usage is the difference between two looks.
    if let Some(system) = &mut system {
        system.refresh_specifics(wanted);
    }
    tokio::time::sleep(sysinfo::MINIMUM_CPU_UPDATE_INTERVAL).await;
    let mut tick = tokio::time::interval(INTERVAL);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        if let Some(system) = &mut system {
            system.refresh_specifics(wanted);
            metrics::gauge!(SYSTEM_CPU_USAGE_PERCENT).set(f64::from(system.global_cpu_usage()));
            set_memory(system);
        }
        program.look();
    }
}

/// What is looked at of the program itself.
struct Program {
    runtime: Option<Handle>,
    #[cfg(feature = "process")]
    process: metrics_process::Collector,
    #[cfg(feature = "tokio-metrics")]
    runtime_metrics: Option<tokio_metrics::RuntimeMetricsReporter>,
}

impl Program {
    fn new(runtime: Option<Handle>) -> Self {
        #[cfg(feature = "tokio-metrics")]
        let runtime_metrics = runtime.as_ref().map(|runtime| {
            let monitor = tokio_metrics::RuntimeMonitor::new(runtime);
            tokio_metrics::RuntimeMetricsReporterBuilder::default().describe().build_with_monitor(monitor)
        });
        #[cfg(feature = "process")]
        let process = {
            let process = metrics_process::Collector::default();
            process.describe();
            process
        };
        Self {
            runtime,
            #[cfg(feature = "process")]
            process,
            #[cfg(feature = "tokio-metrics")]
            runtime_metrics,
        }
    }

    fn look(&mut self) {
        if let Some(runtime) = &self.runtime {
            metrics::gauge!(SYSTEM_TASKS_COUNT).set(runtime.metrics().num_alive_tasks() as f64);
        }
        #[cfg(feature = "process")]
        self.process.collect();
        #[cfg(feature = "tokio-metrics")]
        if let Some(runtime) = &mut self.runtime_metrics {
            runtime.run_once();
        }
    }
}

fn set_memory(system: &System) {
    let (used, limit) = memory(system);
    metrics::gauge!(SYSTEM_MEMORY_USAGE_BYTES).set(used as f64);
    metrics::gauge!(SYSTEM_MEMORY_LIMIT_BYTES).set(limit as f64);
}

/// Bytes used and available: of the control group where its limit is smaller than the host's memory.
fn memory(system: &System) -> (u64, u64) {
    match system.cgroup_limits() {
        Some(group) if group.total_memory < system.total_memory() => {
            (group.total_memory.saturating_sub(group.free_memory), group.total_memory)
        }
        _ => (system.used_memory(), system.total_memory()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(all(feature = "process", feature = "tokio-metrics"))]
    #[test]
    fn process_and_runtime_are_looked_at_under_their_usual_names() {
        use metrics_util::debugging::{DebugValue, DebuggingRecorder};
        let recorder = DebuggingRecorder::new();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        metrics::with_local_recorder(&recorder, || {
            let mut program = Program::new(Some(runtime.handle().clone()));
            program.look();
            program.look();
        });
        let seen = recorder.snapshotter().snapshot().into_vec();
        let value = |name: &str| {
            let found = seen.iter().find(|(key, ..)| key.key().name() == name);
            match found.map(|(.., value)| value) {
                Some(DebugValue::Gauge(value)) => value.into_inner(),
                Some(DebugValue::Counter(value)) => *value as f64,
                other => panic!("{name}: {other:?}"),
            }
        };
        assert!(value("process_resident_memory_bytes") > 100_000.0);
        assert!(value("process_start_time_seconds") > 1e9);
        assert!(value("process_open_fds") > 0.0);
        assert!(value("process_cpu_seconds_total") >= 0.0);
        assert!(value("tokio_workers_count") >= 1.0);
        assert!(value("tokio_global_queue_depth") >= 0.0);
    }

    #[test]
    fn memory_in_use_is_within_its_limit() {
        let mut system = System::new().unwrap();
        system.refresh_memory();
        let (used, limit) = memory(&system);
        assert!(0 < used && used <= limit, "{used} of {limit}");
    }
}
