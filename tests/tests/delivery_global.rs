//! Exactly what a program creates arrives, once, with the layers set up for the whole process, as programs do.

use lgtm_tempo::Protocol;
use lgtm_tests::delivery::{Delivery, Runtime, Scope};
use lgtm_tests::workload::Workload;

#[test]
fn a_hundred_tasks_of_a_thousand_spans_arrive_once_over_grpc() {
    let delivery = Delivery {
        workload: Workload { tasks: 100, traces: 200 },
        protocol: Protocol::Grpc,
        runtime: Runtime::MultiThread,
        scope: Scope::Process,
    };
    assert_eq!(delivery.workload.spans(), 100 * 1000);
    delivery.prove("full-grpc");
}
