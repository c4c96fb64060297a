//! Exactly what a program creates arrives, once: on every runtime, with the layers in every order, over both protocols, decoded
//! by types that the encoders do not share. `delivery_global.rs` does the same for a whole process.

use lgtm_tempo::Protocol;
use lgtm_tests::delivery::{Delivery, Runtime, Scope};
use lgtm_tests::signals::Order;
use lgtm_tests::workload::Workload;

#[test]
fn a_hundred_tasks_of_a_thousand_spans_arrive_once_over_http() {
    let delivery = Delivery {
        workload: Workload { tasks: 100, traces: 200 },
        protocol: Protocol::Http,
        runtime: Runtime::MultiThread,
        scope: Scope::Tasks(Order::MetricsLokiTempo),
    };
    assert_eq!(delivery.workload.spans(), 100 * 1000);
    delivery.prove("full-http");
}

#[test]
fn on_a_multi_thread_runtime_everything_arrives_with_the_layers_in_every_order() {
    in_every_order(Runtime::MultiThread, Protocol::Grpc);
}

#[test]
fn on_a_current_thread_runtime_everything_arrives_with_the_layers_in_every_order() {
    in_every_order(Runtime::CurrentThread, Protocol::Http);
}

#[test]
fn without_a_runtime_everything_arrives_with_the_layers_in_every_order() {
    in_every_order(Runtime::None, Protocol::Grpc);
}

fn in_every_order(runtime: Runtime, protocol: Protocol) {
    for order in Order::ALL {
        let workload = Workload { tasks: 16, traces: 12 };
        Delivery { workload, protocol, runtime, scope: Scope::Tasks(order) }.prove(&format!("{runtime:?}-{order:?}"));
    }
}
