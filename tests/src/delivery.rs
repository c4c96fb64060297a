//! Runs a workload against a development stack and proves that exactly what it made has arrived, once: lines, spans and span
//! metrics. Caller threads.

use std::collections::HashMap;
use std::sync::{Mutex, OnceLock, PoisonError};

use lgtm_devstack::{Devstack, Limits};
use lgtm_tempo::Protocol;
use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};
use tracing::Dispatch;
use tracing::instrument::WithSubscriber as _;

use crate::signals::{Order, PATIENCE, Settings, set_for_process};
use crate::workload::Workload;

/// What the program's tasks run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Runtime {
    /// Tokio's, with four threads.
    MultiThread,
    /// Tokio's, on the calling thread.
    CurrentThread,
    /// None: a thread for each task.
    None,
}

/// Where the layers are set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// For the whole process, as a program does: possible once in a process.
    Process,
    /// For the tasks alone, in this order.
    Tasks(Order),
}

/// One proof.
#[derive(Clone, Copy, Debug)]
pub struct Delivery {
    /// What is made.
    pub workload: Workload,
    /// How spans travel.
    pub protocol: Protocol,
    /// What the tasks run on.
    pub runtime: Runtime,
    /// Where the layers are set up.
    pub scope: Scope,
}

impl Delivery {
    /// Runs the workload as this service, whose name must be new in this process.
    ///
    /// # Panics
    /// If anything is missing, doubled or in a wrong place.
    pub fn prove(&self, service: &str) {
        const MIB: usize = 1024 * 1024;
        install_recorder();
        let limits = Limits { log_bytes: 512 * MIB, trace_bytes: 512 * MIB, request_bytes: MIB, ..Limits::default() };
        let stack = Devstack::builder().limits(limits).start_blocking().expect("a development stack");
        let mut settings = Settings::of(service);
        settings.protocol = self.protocol;
        // Small enough that callers wait for space, and that a request has many batches behind it.
        settings.options.queue.bytes = 2 * MIB;
        settings.options.queue.items = 4096;
        settings.options.batch.bytes = MIB / 4;
        settings.options.batch.items = 1024;
        let (layers, pipelines) = settings.start(&stack);
        match self.scope {
            Scope::Process => {
                set_for_process(layers);
                self.run(None);
            }
            Scope::Tasks(order) => self.run(Some(&layers.dispatch(order))),
        }

        let Self { workload, .. } = self;
        let [logs, spans] = pipelines.shutdown(PATIENCE);
        assert_eq!((logs.admitted, logs.delivered, logs.pending), (workload.logs(), workload.logs(), 0), "{logs}");
        assert_eq!(
            (spans.admitted, spans.delivered, spans.pending),
            (workload.spans(), workload.spans(), 0),
            "{spans}"
        );
        workload.assert_arrived(stack.store());
        assert_eq!(created_and_timed(service), (workload.spans(), workload.spans()), "{service}: span metrics");
    }

    fn run(&self, dispatch: Option<&Dispatch>) {
        let workload = self.workload;
        let runtime = match self.runtime {
            Runtime::MultiThread => tokio::runtime::Builder::new_multi_thread().worker_threads(4).build(),
            Runtime::CurrentThread => tokio::runtime::Builder::new_current_thread().build(),
            Runtime::None => {
                workload.run_threads(|work| match dispatch {
                    Some(dispatch) => tracing::dispatcher::with_default(dispatch, work),
                    None => work(),
                });
                return;
            }
        };
        let runtime = runtime.expect("a runtime");
        match dispatch {
            Some(dispatch) => runtime.block_on(workload.run_tasks().with_subscriber(dispatch.clone())),
            None => runtime.block_on(workload.run_tasks()),
        }
    }
}

static RECORDED: OnceLock<Snapshotter> = OnceLock::new();

fn install_recorder() {
    RECORDED.get_or_init(|| {
        let recorder = DebuggingRecorder::new();
        let snapshotter = recorder.snapshotter();
        recorder.install().expect("the only recorder");
        snapshotter
    });
}

/// Spans of a service that were counted at their opening, and that were timed at their close.
fn created_and_timed(service: &str) -> (u64, u64) {
    // A snapshot takes the values out: they are added up here.
    static TOTALS: Mutex<Option<HashMap<String, (u64, u64)>>> = Mutex::new(None);
    let mut totals = TOTALS.lock().unwrap_or_else(PoisonError::into_inner);
    let totals = totals.get_or_insert_default();
    let snapshot = RECORDED.get().expect("a recorder").snapshot();
    for (key, _, _, value) in snapshot.into_vec() {
        let labels: HashMap<&str, &str> = key.key().labels().map(|label| (label.key(), label.value())).collect();
        let Some(service) = labels.get("service_name") else { continue };
        let total = totals.entry((*service).to_owned()).or_default();
        match (key.key().name(), value) {
            ("otlp_spans_created_total", DebugValue::Counter(count)) => total.0 += count,
            ("otlp_spans_duration_seconds", DebugValue::Histogram(values)) => {
                assert!(values.iter().all(|seconds| (0.0..600.0).contains(&seconds.into_inner())), "{values:?}");
                total.1 += values.len() as u64;
            }
            _ => {}
        }
    }
    totals.get(service).copied().unwrap_or_default()
}
