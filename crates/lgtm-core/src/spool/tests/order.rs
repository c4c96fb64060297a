//! First in, first out; what is acknowledged comes no second time; bounds in bytes and age.

use std::collections::VecDeque;
use std::time::Duration;

use proptest::prelude::*;

use super::support::*;
use crate::spool::store::{AppendError, Next, Position};

#[test]
fn records_come_back_in_their_order_over_many_files() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(&options(&folder));
    append(&mut store, 1..=100);
    assert!(files(folder.path()).len() > 5);
    let waiting = store.waiting();
    assert_eq!((waiting.records, waiting.items), (100, 5050));
    assert_eq!(drain(&mut store), ((1..=100).collect(), 0));
    assert_eq!(files(folder.path()).len(), 1, "files that are done with are removed");
    store.close();
    assert_eq!(files(folder.path()).len(), 0);
}

#[cfg(target_os = "linux")]
#[test]
fn files_that_only_wait_are_not_held_open() {
    let folder = tempfile::tempdir().unwrap();
    let open_files = || {
        let links =
            std::fs::read_dir("/proc/self/fd").unwrap().filter_map(|link| link.unwrap().path().read_link().ok());
        let is_segment = |path: &std::path::PathBuf| path.extension().is_some_and(|extension| extension == "segment");
        links.filter(|path| path.starts_with(folder.path()) && is_segment(path)).count()
    };
    let mut store = open(&options(&folder));
    append(&mut store, 1..=100);
    assert!(files(folder.path()).len() > 5);
    assert_eq!(open_files(), 1, "the one that is written");
    for _ in 0..50 {
        let (position, _) = next(&mut store).unwrap();
        store.acknowledge(position);
        assert!(open_files() <= 2, "the one that is written and the one that is read");
    }
    store.close();
    assert_eq!(open_files(), 0);
}

#[test]
fn a_restart_begins_with_the_first_record_that_was_not_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(&options(&folder));
    append(&mut store, 1..=60);
    for _ in 0..25 {
        let (position, _) = next(&mut store).unwrap();
        store.acknowledge(position);
    }
    // Handed out and not acknowledged.
    next(&mut store).unwrap();
    next(&mut store).unwrap();
    // As if the process had been killed: nothing is closed.
    drop(store);
    let mut store = open(&options(&folder));
    append(&mut store, 61..=62);
    assert_eq!(drain(&mut store), ((26..=62).collect(), 0));
}

#[test]
fn what_is_being_sent_is_not_handed_out_a_second_time_but_is_there_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(&options(&folder));
    let positions = store.append(&[record(1), record(2), record(3)], 2).unwrap();
    let (position, number) = next(&mut store).unwrap();
    assert_eq!(number, 3);
    store.acknowledge(positions[0]);
    store.acknowledge(position);
    assert!(next(&mut store).is_none());
    assert_eq!(store.waiting().records, 1);
    drop(store);
    assert_eq!(drain(&mut open(&options(&folder))), (vec![2], 0));
}

#[test]
fn only_an_empty_spool_lets_requests_pass() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(&options(&folder));
    append(&mut store, [1]);
    // It claims to be under way, but something stands before it: better twice than never.
    store.append(&[record(2)], 1).unwrap();
    assert_eq!(drain(&mut store), (vec![1, 2], 0));
}

#[test]
fn a_round_ends_where_the_row_ended() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(&options(&folder));
    append(&mut store, 1..=2);
    let end = store.end();
    append(&mut store, 3..=4);
    assert!(matches!(store.next(end), Next::Record(_, one) if one.items == 1));
    assert!(matches!(store.next(end), Next::Record(_, two) if two.items == 2));
    assert!(matches!(store.next(end), Next::Empty));
    assert!(matches!(store.next(EVER), Next::Record(_, three) if three.items == 3));
}

#[test]
fn beyond_its_bytes_it_takes_nothing_and_space_comes_back_file_by_file() {
    let folder = tempfile::tempdir().unwrap();
    let mut options = options(&folder);
    options.max_bytes = 8000;
    let mut store = open(&options);
    let mut taken = 0;
    while store.append(&[record(taken + 1)], 0).is_ok() {
        taken += 1;
    }
    let refused = || [record(taken + 1)];
    assert!(matches!(store.append(&refused(), 0), Err(AppendError::Full)));
    assert!(store.bytes() <= 8000 && store.bytes() > 7500, "{}", store.bytes());
    assert_eq!(store.bytes(), bytes_on_disk(folder.path()));
    assert_eq!(store.waiting().records, u64::from(taken));
    // The first file goes when all of it is acknowledged and the next one is read.
    let before = store.bytes();
    while store.bytes() == before {
        let (position, _) = next(&mut store).unwrap();
        store.acknowledge(position);
    }
    store.append(&refused(), 0).unwrap();
}

#[test]
fn a_record_that_is_too_old_is_given_up_and_a_clock_that_jumps_makes_none_old() {
    let folder = tempfile::tempdir().unwrap();
    let mut options = options(&folder);
    append(&mut open(&options), 1..=3);
    options.max_age = Duration::ZERO;
    std::thread::sleep(Duration::from_millis(5));
    let mut store = open(&options);
    for expected in 1..=3 {
        assert!(matches!(store.next(EVER), Next::Expired(items) if items == expected));
    }
    assert!(matches!(store.next(EVER), Next::Empty));
    assert_eq!(store.waiting().items, 0);
    // One of the future is not old: written while the clock was ahead, or read after it was set back to 1970.
    let ahead = record(7).write(u64::MAX).unwrap();
    append(&mut store, [8]);
    let path = files(folder.path()).pop().unwrap();
    drop(store);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes.truncate(16);
    bytes.extend_from_slice(&ahead);
    std::fs::write(&path, bytes).unwrap();
    assert_eq!(drain(&mut open(&options)), (vec![7], 0));
}

/// What may happen to a store.
#[derive(Clone, Debug)]
enum Step {
    Append(usize),
    /// Reads this many and keeps them.
    Read(usize),
    /// Acknowledges some of those that were read, from the oldest or the newest on.
    Acknowledge(usize, bool),
    /// The process is killed and started again.
    Kill,
    /// The process ends and is started again.
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1_usize..12).prop_map(Step::Append),
        4 => (1_usize..12).prop_map(Step::Read),
        3 => (1_usize..12, any::<bool>()).prop_map(|(count, newest)| Step::Acknowledge(count, newest)),
        1 => Just(Step::Kill),
        1 => Just(Step::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    /// Sizes never drift from what is on disk, nothing is lost, nothing comes again that was acknowledged.
    #[test]
    fn it_is_a_queue_whatever_is_done_with_it(steps in prop::collection::vec(step(), 1..60)) {
        let folder = tempfile::tempdir().unwrap();
        let options = options(&folder);
        let mut store = open(&options);
        let mut number = 0;
        // What is not acknowledged, in order; and the positions of those that were read.
        let mut waiting: VecDeque<u32> = VecDeque::new();
        let mut held: Vec<(Position, u32)> = Vec::new();
        for step in steps {
            match step {
                Step::Append(count) => {
                    let numbers = number + 1..=number + count as u32;
                    waiting.extend(numbers.clone());
                    append(&mut store, numbers);
                    number += count as u32;
                }
                Step::Read(count) => {
                    for _ in 0..count {
                        let expected = waiting.iter().find(|one| held.iter().all(|(_, held)| held != *one)).copied();
                        let read = next(&mut store);
                        prop_assert_eq!(read.map(|(_, number)| number), expected);
                        held.extend(read);
                    }
                }
                Step::Acknowledge(count, newest) => {
                    for _ in 0..count.min(held.len()) {
                        let (position, number) = held.remove(if newest { held.len() - 1 } else { 0 });
                        store.acknowledge(position);
                        waiting.retain(|waits| *waits != number);
                    }
                }
                Step::Kill | Step::Restart => {
                    if matches!(step, Step::Restart) {
                        store.close();
                    }
                    drop(store);
                    store = open(&options);
                    held.clear();
                }
            }
            let tally = store.waiting();
            prop_assert_eq!(tally.records, waiting.len() as u64);
            prop_assert_eq!(tally.items, waiting.iter().map(|items| u64::from(*items)).sum::<u64>());
            prop_assert_eq!(store.bytes(), bytes_on_disk(folder.path()));
        }
        drop(store);
        prop_assert_eq!(drain(&mut open(&options)), (waiting.into_iter().collect(), 0));
    }
}
