//! Each backend is killed while the demo runs, and comes back: with the spool nothing is lost, as the servers themselves say.

use std::time::Duration;

use super::harness::{Stack, are_there};

const PROGRAMS: &[&[&str]] = &[&["loki"], &["tempo"], &["prometheus"]];
const OFFSET: u16 = 14_000;

#[test]
fn backends_that_are_killed_and_come_back_lose_nothing() {
    if !are_there(PROGRAMS) {
        return;
    }
    let stack = Stack::up(OFFSET, "full", &["alertmanager", "node-exporter", "storefront", "inventory", "alerts"]);
    let demo = stack.begin(&["demo", "--against", "stack", "--spool", "--for", "90s"]);
    for service in ["loki", "tempo", "prometheus"] {
        std::thread::sleep(Duration::from_secs(8));
        stack.end(service);
        // Long enough for requests to fail.
        std::thread::sleep(Duration::from_secs(5));
        stack.start_again(service);
    }
    let said = demo.join().expect("the demo ends");
    assert!(said.ok, "{}", said.errors);
    assert!(said.output.contains("Nothing was lost, and every link leads on."), "{}", said.output);
}
