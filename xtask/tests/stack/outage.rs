//! Each backend is killed while the demo runs, and comes back: with the spool the programs deliver everything. What a server that is
//! killed had acknowledged and not written yet is its own loss: the demo tells it, and what the program says of it.

use std::time::Duration;

use super::harness::{Stack, are_there};

const PROGRAMS: &[&[&str]] = &[&["loki"], &["tempo"], &["prometheus"]];
const OFFSET: u16 = 14_000;

#[test]
fn programs_deliver_everything_to_backends_that_are_killed_and_come_back() {
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
    assert!(said.output.contains("signal     service        created  received      lost"), "{}", said.errors);
    // Of a service that the servers have everything of, nothing is told.
    for told in said.output.lines().filter_map(|line| line.split_once("it says `")) {
        let counts = told.1.split_once(": ").map_or("", |(_, counts)| counts);
        let count = |what| counts.split(", ").find_map(|part| part.strip_suffix(what)?.parse::<u64>().ok());
        assert_eq!(count(" created"), count(" delivered"), "{}", told.1);
        assert!(count(" created").is_some(), "{}", told.1);
    }
}
