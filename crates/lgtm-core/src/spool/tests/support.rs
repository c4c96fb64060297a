//! A store in a scratch folder.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use tempfile::TempDir;

use crate::spool::folder::Folder;
use crate::spool::options::SpoolOptions;
use crate::spool::record::Record;
use crate::spool::store::{Next, Position, Store};

/// The end of no store.
pub(super) const EVER: (u64, u64) = (u64::MAX, u64::MAX);

/// Segments of 1 KB: records of about 100 bytes lie in several.
pub(super) fn options(folder: &TempDir) -> SpoolOptions {
    let mut options = SpoolOptions::new(folder.path());
    options.segment_bytes = Some(1000);
    options
}

pub(super) fn open(options: &SpoolOptions) -> Store {
    Store::open(Folder::claim(&options.folder, "logs").unwrap(), options)
}

/// A record that can be told from others by its number, which is also the number of its items.
pub(super) fn record(number: u32) -> Record {
    let headers = vec![(HeaderName::from_static("x-number"), HeaderValue::from(number))];
    let body = format!("{number} ").repeat(10 + number as usize % 7);
    Record { items: number, headers, body: Bytes::from(body) }
}

pub(super) fn append(store: &mut Store, numbers: impl IntoIterator<Item = u32>) -> Vec<Position> {
    let records: Vec<_> = numbers.into_iter().map(record).collect();
    store.append(&records, 0).unwrap()
}

/// The next record's number, after a look at its bytes.
#[track_caller]
pub(super) fn next(store: &mut Store) -> Option<(Position, u32)> {
    match store.next(EVER) {
        Next::Record(position, read) => {
            assert_eq!(read, record(read.items));
            assert_eq!(position.items, read.items);
            Some((position, read.items))
        }
        Next::Empty => None,
        other => panic!("{other:?}"),
    }
}

/// Everything that is read, and the items that were damaged.
pub(super) fn drain(store: &mut Store) -> (Vec<u32>, u64) {
    let (mut read, mut damaged) = (Vec::new(), 0);
    loop {
        match store.next(EVER) {
            Next::Record(position, one) => {
                assert_eq!(one, record(one.items));
                store.acknowledge(position);
                read.push(one.items);
            }
            Next::Damaged(items) => damaged += items,
            Next::Expired(items) => panic!("{items} items expired"),
            Next::Empty => return (read, damaged),
        }
    }
}

/// The segments of the first folder.
pub(super) fn files(root: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = std::fs::read_dir(root.join("logs.0"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "segment"))
        .collect();
    files.sort();
    files
}

pub(super) fn bytes_on_disk(root: &Path) -> u64 {
    files(root).iter().map(|path| path.metadata().unwrap().len()).sum()
}
