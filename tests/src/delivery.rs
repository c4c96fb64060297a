//! Runs a workload against a development stack and proves that exactly what it made has arrived, once: lines, spans and span
//! metrics. Caller threads.

use lgtm_devstack::{Devstack, Limits};
use lgtm_tempo::Protocol;
use tracing::Dispatch;
use tracing::instrument::WithSubscriber as _;

use crate::counting::Counting;
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
        let recorded = Counting::install();
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
        for name in ["otlp_spans_created_total", "otlp_spans_duration_seconds"] {
            assert_eq!(recorded.sum(name, ("service_name", service)), workload.spans(), "{service}: {name}");
        }
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
