//! Who may write where: several processes with one configuration, and folders that cannot be had.

use super::support::*;
use crate::spool::folder::Folder;
use crate::spool::store::Store;
use crate::spool::{SpoolOptions, options::SpoolError};

#[test]
fn each_process_has_a_folder_of_its_own_and_takes_over_what_dead_ones_have_left() {
    let root = tempfile::tempdir().unwrap();
    let options = options(&root);
    let claim = || Folder::claim(root.path(), "logs").unwrap();
    let (first, second) = (claim(), claim());
    assert_eq!(first.path, root.path().join("logs.0"));
    assert_eq!(second.path, root.path().join("logs.1"));
    assert_eq!(Folder::claim(root.path(), "spans").unwrap().path, root.path().join("spans.0"));
    let mut second = Store::open(second, &options);
    append(&mut second, 1..=50);
    let mut first = Store::open(first, &options);
    append(&mut first, 51..=60);
    // A third process while the second lives has neither's records; when both are dead, the next one has those of both.
    let mut third = Store::open(claim(), &options);
    assert_eq!(drain(&mut third), (Vec::new(), 0));
    drop((first, second, third));
    let mut next = Store::open(claim(), &options);
    let expected = (51..=60).chain(1..=50).collect();
    assert_eq!(drain(&mut next), (expected, 0));
}

#[test]
fn a_folder_that_cannot_be_made_is_an_error_that_names_it() {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("file");
    std::fs::write(&file, "").unwrap();
    let claim = |folder: &std::path::Path| -> SpoolError { Folder::claim(folder, "logs").unwrap_err() };
    let error = claim(&file.join("spool")).to_string();
    assert!(error.contains("file/spool") && error.contains("accepted"), "{error}");
    // Not even the system's administrator may write there.
    #[cfg(target_os = "linux")]
    assert!(claim(std::path::Path::new("/proc/spool")).to_string().contains("/proc/spool"));
}

#[cfg(unix)]
#[test]
fn what_it_writes_is_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let root = tempfile::tempdir().unwrap();
    let options = SpoolOptions::new(root.path().join("deep").join("spool"));
    append(&mut open(&options), [1]);
    let mode = |path: &std::path::Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&options.folder), 0o700);
    assert_eq!(mode(&options.folder.join("logs.0")), 0o700);
    let files = files(&options.folder);
    assert_eq!((files.len(), mode(&files[0])), (1, 0o600));
}
