//! Each backend ends while the demo runs, and comes back: with the spool nothing is lost, read back from the servers. What a server
//! had acknowledged and not written when it was killed is its own loss: the demo tells it, and what the program says of it.

use std::time::Duration;

use super::harness::{Said, Stack, are_there};

const PROGRAMS: &[&[&str]] = &[&["loki"], &["tempo"], &["prometheus"]];
const OFFSET: u16 = 14_000;

/// The demo's result; meanwhile each backend is ended, and started again.
fn demo_while_backends_come_and_go(end: impl Fn(&Stack, &str)) -> Said {
    let stack = Stack::up(OFFSET, "full", &["alertmanager", "node-exporter", "storefront", "inventory", "alerts"]);
    let demo = stack.begin(&["demo", "--against", "stack", "--spool", "--for", "90s"]);
    for service in ["loki", "tempo", "prometheus"] {
        std::thread::sleep(Duration::from_secs(8));
        end(&stack, service);
        // Long enough for requests to fail.
        std::thread::sleep(Duration::from_secs(5));
        stack.start_again(service);
    }
    let said = demo.join().expect("the demo ends");
    assert!(said.output.contains("signal     service        created  received      lost"), "{}", said.errors);
    said
}

#[test]
fn nothing_is_lost_while_backends_end_and_come_back() {
    if !are_there(PROGRAMS) {
        return;
    }
    let said = demo_while_backends_come_and_go(Stack::end);
    assert!(said.ok && said.output.contains("Nothing was lost, and every link leads on."), "{}", said.output);
}

#[test]
fn programs_deliver_everything_to_backends_that_are_killed_and_come_back() {
    if !are_there(PROGRAMS) {
        return;
    }
    let said = demo_while_backends_come_and_go(Stack::kill);
    // Of a service that the servers have everything of, nothing is told.
    for told in said.output.lines().filter_map(|line| line.split_once("it says `")) {
        let counts = told.1.split_once(": ").map_or("", |(_, counts)| counts);
        let count = |what| counts.split(", ").find_map(|part| part.strip_suffix(what)?.parse::<u64>().ok());
        assert_eq!(count(" created"), count(" delivered"), "{}", told.1);
        assert!(count(" created").is_some(), "{}", told.1);
    }
}
