//! The system monitor: CPU, memory and tokio tasks, every 15 s. Worker thread.

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
    SystemMonitor(worker.handle().spawn(watch(program)))
}

async fn watch(program: Option<Handle>) {
    let wanted = RefreshKind::nothing()
        .with_cpu(CpuRefreshKind::nothing().with_usage())
        .with_memory(MemoryRefreshKind::nothing().with_ram());
    let mut system = match System::new_with_specifics(wanted) {
        Ok(system) => system,
        Err(error) => {
            lgtm_core::warn(&format!("the system monitor cannot read this host, otlp_system_* stay absent: {error}"));
            return;
        }
    };
    set_memory(&system);
    set_tasks(program.as_ref());
    // CPU usage is the difference between two looks.
    tokio::time::sleep(sysinfo::MINIMUM_CPU_UPDATE_INTERVAL).await;
    let mut tick = tokio::time::interval(INTERVAL);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        system.refresh_specifics(wanted);
        metrics::gauge!(SYSTEM_CPU_USAGE_PERCENT).set(f64::from(system.global_cpu_usage()));
        set_memory(&system);
        set_tasks(program.as_ref());
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

fn set_tasks(program: Option<&Handle>) {
    if let Some(program) = program {
        metrics::gauge!(SYSTEM_TASKS_COUNT).set(program.metrics().num_alive_tasks() as f64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_in_use_is_within_its_limit() {
        let mut system = System::new().unwrap();
        system.refresh_memory();
        let (used, limit) = memory(&system);
        assert!(0 < used && used <= limit, "{used} of {limit}");
    }
}
