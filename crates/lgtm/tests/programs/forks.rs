//! A forked child begins telemetry anew by `init`: with ids, an instance and counts of its own, and its parent goes on undisturbed.

use std::collections::BTreeSet;

use lgtm_devstack::Devstack;

use crate::harness::{Addresses, backends, run, say};

pub(crate) fn program(name: &str) -> bool {
    match name {
        "fork, then init" => fork_then_init(false),
        "fork, then init, then signal" => fork_then_init(true),
        "fork, then init with a layer" => fork_then_init_with_a_layer(),
        _ => return false,
    }
    true
}

#[tracing::instrument]
fn order(id: u64) {
    metrics::counter!("orders_total").increment(1);
    metrics::histogram!("order_duration_seconds").record(0.25);
    tracing::info!("order placed");
    tracing::info_span!("store").in_scope(|| tracing::info!("stored"));
}

/// Ends the process as a child: libtest is the parent's.
fn end(well: bool) -> ! {
    std::process::exit(i32::from(!well))
}

fn is_delivered(report: &lgtm::Report) -> bool {
    report.lost() == 0 && report.pending() == 0 && report.signals().len() == 3
}

fn fork_then_init(by_signal: bool) {
    let telemetry = lgtm::init().unwrap();
    order(1);
    let handle = metrics::counter!("kept_handle_total");
    handle.increment(100);
    let open = tracing::info_span!("open at the fork").entered();
    match fork::fork().unwrap() {
        fork::Fork::Child => {
            let child = lgtm::init().unwrap();
            if lgtm::current_trace().is_some() {
                end(false);
            }
            order(2);
            handle.increment(1);
            if by_signal {
                signal_hook::low_level::raise(signal_hook::consts::SIGTERM).unwrap();
                std::thread::sleep(std::time::Duration::from_secs(60));
                end(false);
            }
            child.flush().unwrap();
            match fork::fork().unwrap() {
                fork::Fork::Child => {
                    let grandchild = lgtm::init().unwrap();
                    order(3);
                    end(is_delivered(&grandchild.shutdown()));
                }
                fork::Fork::Parent(grandchild) => {
                    let well = fork::waitpid(grandchild).is_ok_and(|status| status == 0);
                    order(4);
                    end(well && is_delivered(&child.shutdown()));
                }
            }
        }
        fork::Fork::Parent(child) => {
            say(&format!("{:?}", fork::waitpid(child)));
            drop(open);
            order(5);
            say(&telemetry.shutdown().json());
        }
    }
}

fn fork_then_init_with_a_layer() {
    let _telemetry = lgtm::init().unwrap();
    if let fork::Fork::Parent(child) = fork::fork().unwrap() {
        say(&format!("{:?}", fork::waitpid(child)));
        return;
    }
    let with_layer = lgtm::builder().layer(tracing_subscriber::layer::Identity::new()).init();
    let says_why = with_layer.is_err_and(|error| error.to_string().contains("forked"));
    // And without it works all the same.
    end(says_why && lgtm::init().is_ok());
}

/// The orders that each instance has placed, by its logs, its spans, and its counter.
fn orders(stack: &Devstack) -> Vec<(String, BTreeSet<i64>, f64)> {
    let instances: BTreeSet<_> =
        stack.store().logs().iter().map(|entry| entry.structured_metadata["service_instance_id"].clone()).collect();
    let of = |instance: &String| {
        let spans = stack.store().spans();
        let spans = spans.iter().filter(|span| span.resource.text("service.instance.id") == Some(instance));
        let orders: BTreeSet<_> =
            spans.filter(|span| span.name == "order").filter_map(|span| span.attributes.int("id")).collect();
        let logs = stack.store().logs();
        let logs = logs.iter().filter(|entry| entry.structured_metadata["service_instance_id"] == *instance).count();
        assert_eq!(logs, orders.len() * 2, "{instance}");
        let counters = stack.store().series_named("orders_total");
        let counter = counters.iter().find(|series| series.labels["instance"] == *instance).unwrap();
        let values = counter.samples.iter().map(|sample| sample.value).filter(|value| !value.is_nan());
        (instance.clone(), orders, values.fold(0.0, f64::max))
    };
    instances.iter().map(of).collect()
}

fn assert_no_id_twice(stack: &Devstack) {
    let spans = stack.store().spans();
    let ids: BTreeSet<_> = spans.iter().map(|span| (&span.trace_id, &span.span_id)).collect();
    assert_eq!(ids.len(), spans.len(), "an id is in two processes");
    let roots = spans.iter().filter(|span| span.parent_span_id.is_none()).map(|span| &span.trace_id);
    assert_eq!(roots.clone().collect::<BTreeSet<_>>().len(), roots.count(), "a trace is in two processes");
}

#[test]
fn a_forked_child_that_calls_init_has_telemetry_of_its_own_and_so_has_its_child() {
    let stack = backends();
    let finished = run("fork, then init", &Addresses::of(&stack).with(&[("LGTM_SHUTDOWN_TIMEOUT", "60s")]));
    assert!(finished.success, "{} {:?}", finished.stderr, finished.said);
    assert_eq!(finished.said[0], "Ok(0)", "{}", finished.stderr);
    let mut orders = orders(&stack);
    orders.sort_by(|one, other| one.1.cmp(&other.1));
    let of_all: Vec<_> =
        orders.iter().map(|(_, orders, counted)| (orders.iter().copied().collect(), *counted)).collect();
    assert_eq!(of_all, [(vec![1, 5], 2.0), (vec![2, 4], 2.0), (vec![3], 1.0)]);
    assert_no_id_twice(&stack);
    // Of a handle that the program keeps the child counts what the child did.
    let kept = stack.store().series_named("kept_handle_total");
    let of = |series: &lgtm_devstack::Series| {
        series.samples.iter().map(|sample| sample.value).filter(|value| !value.is_nan()).fold(0.0, f64::max)
    };
    let mut kept: Vec<_> = kept.iter().map(of).collect();
    kept.sort_by(f64::total_cmp);
    assert_eq!(kept, [0.0, 1.0, 100.0]);
    assert_eq!(stack.store().spans().iter().filter(|span| span.name == "open at the fork").count(), 1, "the parent's");
}

#[test]
fn a_signal_to_a_forked_child_ends_the_child_after_it_has_sent_everything_and_not_its_parent() {
    let stack = backends();
    let variables = [("LGTM_SHUTDOWN_TIMEOUT", "60s"), ("LGTM_SHUTDOWN_ON_SIGNALS", "true")];
    let finished = run("fork, then init, then signal", &Addresses::of(&stack).with(&variables));
    assert!(finished.success, "{} {:?}", finished.stderr, finished.said);
    assert_eq!(finished.said[0], "Ok(15)", "{}", finished.stderr);
    let mut orders: Vec<Vec<i64>> =
        orders(&stack).into_iter().map(|(_, orders, _)| orders.into_iter().collect()).collect();
    orders.sort();
    assert_eq!(orders, [vec![1, 5], vec![2]]);
}

#[test]
fn a_forked_child_cannot_add_layers_and_says_so() {
    let stack = backends();
    let finished = run("fork, then init with a layer", &Addresses::of(&stack).with(&[]));
    assert!(finished.success, "{}", finished.stderr);
    assert_eq!(finished.said[0], "Ok(0)", "{}", finished.stderr);
}
