//! Torn writes, flipped bits, files that are gone or are no segments: none costs more than the record that has it.

use std::fs::OpenOptions;
use std::io::Write as _;

use proptest::prelude::*;

use super::support::*;
use crate::spool::segment::path_in;
use crate::spool::store::Store;

const RECORDS: u32 = 40;

/// A folder with records in several files; nothing is closed.
fn written() -> (tempfile::TempDir, Vec<std::path::PathBuf>) {
    let folder = tempfile::tempdir().unwrap();
    append(&mut open(&options(&folder)), 1..=RECORDS);
    let files = files(folder.path());
    assert!(files.len() >= 3);
    (folder, files)
}

/// Reads all; whatever is missing is counted.
fn survivors(store: &mut Store) -> (Vec<u32>, u64) {
    let admitted = store.waiting().items;
    let (read, damaged) = drain(store);
    let items: u64 = read.iter().map(|items| u64::from(*items)).sum();
    assert_eq!(admitted, items + damaged, "items that were counted at the start are read or told as lost");
    assert_eq!(store.waiting().records, 0, "nothing waits that cannot be read");
    assert!(read.is_sorted());
    (read, damaged)
}

#[test]
fn a_torn_write_costs_the_torn_record_wherever_it_was_torn() {
    let whole = {
        let (_folder, files) = written();
        std::fs::read(files.last().unwrap()).unwrap()
    };
    // Where each record of the last file ends.
    let mut ends: Vec<_> = memchr::memmem::find_iter(&whole, b"\xf5lgtm").skip(1).collect();
    ends.push(whole.len());
    for length in (0..whole.len()).step_by(7).chain(ends.iter().map(|end| end - 1)) {
        let (folder, files) = written();
        OpenOptions::new().write(true).open(files.last().unwrap()).unwrap().set_len(length as u64).unwrap();
        let mut store = open(&options(&folder));
        append(&mut store, [RECORDS + 1]);
        let torn = ends.iter().filter(|end| **end > length).count() as u32;
        let expected = (1..=RECORDS - torn).chain([RECORDS + 1]).collect();
        assert_eq!(survivors(&mut store), (expected, 0), "{length}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn a_flipped_bit_costs_one_record_at_most_and_never_gives_a_wrong_one(file in any::<prop::sample::Index>(), place in any::<prop::sample::Index>(), bit in 0_u8..8) {
        let (folder, files) = written();
        let path = &files[file.index(files.len())];
        let mut bytes = std::fs::read(path).unwrap();
        let place = place.index(bytes.len());
        bytes[place] ^= 1 << bit;
        std::fs::write(path, &bytes).unwrap();
        let mut store = open(&options(&folder));
        append(&mut store, [RECORDS + 1]);
        // `drain` compares each record with what was written.
        let (read, _) = survivors(&mut store);
        prop_assert!(read.len() as u32 >= RECORDS, "lost {:?}", (1..=RECORDS + 1).filter(|number| !read.contains(number)).collect::<Vec<_>>());
    }

    #[test]
    fn garbage_in_the_middle_costs_what_it_covers(file in any::<prop::sample::Index>(), place in any::<prop::sample::Index>(), garbage in prop::collection::vec(any::<u8>(), 1..120)) {
        let (folder, files) = written();
        let path = &files[file.index(files.len())];
        let mut bytes = std::fs::read(path).unwrap();
        let place = place.index(bytes.len());
        let end = (place + garbage.len()).min(bytes.len());
        bytes[place..end].copy_from_slice(&garbage[..end - place]);
        std::fs::write(path, &bytes).unwrap();
        let (read, _) = survivors(&mut open(&options(&folder)));
        // Records have 60 bytes at least: 120 bytes touch four of them at most.
        prop_assert!(read.len() as u32 >= RECORDS - 4, "{read:?}");
    }

    #[test]
    fn what_is_no_segment_at_all_is_stepped_over(content in prop::collection::vec(any::<u8>(), 0..300)) {
        let (folder, files) = written();
        std::fs::write(&files[1], &content).unwrap();
        std::fs::write(folder.path().join("logs.0").join("notes.txt"), &content).unwrap();
        std::fs::write(folder.path().join("logs.0").join("17.segment"), &content).unwrap();
        let (read, _) = survivors(&mut open(&options(&folder)));
        prop_assert!(read.contains(&1) && read.contains(&RECORDS));
    }
}

#[test]
fn damage_that_comes_while_the_program_runs_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(&options(&folder));
    append(&mut store, 1..=5);
    let path = files(folder.path()).pop().unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    // The mark of the second record, and the last byte of the fourth.
    let marks: Vec<_> = memchr::memmem::find_iter(&bytes, b"\xf5lgtm").collect();
    bytes[marks[1]] ^= 1;
    bytes[marks[4] - 1] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    assert_eq!(survivors(&mut store), (vec![1, 3, 5], 6));
}

/// The crash between removing a file and taking note of it: there is no note.
#[test]
fn a_file_that_is_gone_costs_its_records_and_no_restart() {
    let (folder, files) = written();
    std::fs::remove_file(&files[1]).unwrap();
    for _ in 0..3 {
        let mut store = open(&options(&folder));
        assert!(store.waiting().records > 20);
        assert!(next(&mut store).is_some());
    }
    let (read, damaged) = survivors(&mut open(&options(&folder)));
    assert_eq!(damaged, 0);
    assert!(read.contains(&1) && read.contains(&RECORDS));
    // While it runs, they are counted.
    let (folder, files) = written();
    let mut store = open(&options(&folder));
    std::fs::remove_file(&files[1]).unwrap();
    let (_, damaged) = survivors(&mut store);
    assert!(damaged > 0);
}

#[test]
fn file_numbers_that_have_come_to_their_end_begin_again() {
    let folder = tempfile::tempdir().unwrap();
    append(&mut open(&options(&folder)), 1..=3);
    let first = files(folder.path()).pop().unwrap();
    std::fs::rename(&first, path_in(&folder.path().join("logs.0"), u64::MAX)).unwrap();
    let mut store = open(&options(&folder));
    assert_eq!(store.waiting().records, 3);
    let refused = store.append(&[record(4)], 0).unwrap_err().to_string();
    assert!(refused.contains("number"), "{refused}");
    // Memory keeps what was refused. Once the last file is done with, there are numbers again.
    assert_eq!(drain(&mut store), (vec![1, 2, 3], 0));
    store.close();
    drop(store);
    let mut store = open(&options(&folder));
    append(&mut store, [4]);
    assert_eq!(drain(&mut store), (vec![4], 0));
}

#[test]
fn files_of_another_version_are_left_alone_and_told_once() {
    let folder = tempfile::tempdir().unwrap();
    append(&mut open(&options(&folder)), [1]);
    let older = path_in(&folder.path().join("logs.0"), 7);
    let newer = path_in(&folder.path().join("logs.0"), 8);
    std::fs::write(&older, b"lgtm-spool 0 0\n\nwhatever that was").unwrap();
    std::fs::write(&newer, b"lgtm-spool 12 12whatever that will be").unwrap();
    let mut store = open(&options(&folder));
    let remarks = store.take_remarks();
    assert_eq!(remarks.len(), 2, "{remarks:?}");
    assert!(remarks[0].contains("00000000000000000007.segment") && remarks[0].contains("lgtm-spool 0"), "{remarks:?}");
    append(&mut store, [2]);
    assert!(files(folder.path()).last().unwrap().ends_with("00000000000000000009.segment"));
    assert_eq!(drain(&mut store), (vec![1, 2], 0));
    store.close();
    assert_eq!(std::fs::read(&older).unwrap(), b"lgtm-spool 0 0\n\nwhatever that was");
    assert!(newer.exists());
}

#[test]
fn an_append_that_fails_half_way_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(&options(&folder));
    append(&mut store, 1..=3);
    let hidden = folder.path().join("hidden");
    let own = folder.path().join("logs.0");
    std::fs::rename(&own, &hidden).unwrap();
    // No folder can be made there.
    std::fs::write(&own, b"a file").unwrap();
    let before = (store.waiting(), store.bytes());
    // Some of these still fit into the file that is open; the others need a new one.
    let records: Vec<_> = (4..=40).map(record).collect();
    let error = store.append(&records, 0).unwrap_err().to_string();
    assert!(!error.is_empty());
    assert_eq!((store.waiting(), store.bytes()), before);
    std::fs::remove_file(&own).unwrap();
    std::fs::rename(&hidden, &own).unwrap();
    assert_eq!(store.bytes(), bytes_on_disk(folder.path()));
    append(&mut store, 4..=40);
    assert_eq!(drain(&mut store), ((1..=40).collect(), 0));
}

#[test]
fn records_that_a_killed_process_has_torn_off_do_not_hide_later_ones() {
    let (folder, files) = written();
    // Half of a header, then nothing: the process was killed while it wrote.
    let half = &record(99).write(0).unwrap()[..25];
    OpenOptions::new().append(true).open(files.last().unwrap()).unwrap().write_all(half).unwrap();
    let mut store = open(&options(&folder));
    append(&mut store, [RECORDS + 1]);
    assert_eq!(survivors(&mut store), ((1..=RECORDS + 1).collect(), 0));
}
