//! The folder of one signal and process: `<root>/<signal>.<number>`, the lowest number that no living process holds. Spool
//! thread, once.
//!
//! What processes have left in folders that nobody holds is moved to the one that was claimed.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use super::options::SpoolError;
use super::segment;

/// Processes with one folder at a time.
const MOST: u32 = 256;

/// A folder that is held.
#[derive(Debug)]
pub(super) struct Folder {
    pub(super) path: PathBuf,
    /// What lay there when it was claimed, by number.
    pub(super) segments: Vec<(u64, PathBuf)>,
    /// Held as long as it is open.
    _lock: File,
}

impl Folder {
    /// Claims a folder, and takes over what lies in those that nobody holds.
    pub(super) fn claim(root: &Path, signal: &str) -> Result<Self, SpoolError> {
        make(root).map_err(|reason| SpoolError::new(root, "cannot be made", reason))?;
        let mut own: Option<Self> = None;
        for number in 0..MOST {
            let path = root.join(format!("{signal}.{number}"));
            if own.is_some() && !path.is_dir() {
                // Numbers are given from the lowest on: behind a gap there may be more, but hardly ever.
                continue;
            }
            make(&path).map_err(|reason| SpoolError::new(&path, "cannot be made", reason))?;
            let Some(lock) = lock(&path)? else { continue };
            match &own {
                None => own = Some(Self { path, segments: Vec::new(), _lock: lock }),
                Some(own) => {
                    if let Err(reason) = take_over(&path, &own.path) {
                        return Err(SpoolError::new(&path, "cannot be taken over", reason));
                    }
                }
            }
        }
        let mut own = own.ok_or_else(|| {
            let reason = io::Error::other(format!("{MOST} processes hold folders in it"));
            SpoolError::new(root, "cannot be shared", reason)
        })?;
        own.segments = list(&own.path).map_err(|reason| SpoolError::new(&own.path, "cannot be read", reason))?;
        Ok(own)
    }
}

/// The lock of a folder, unless another process holds it.
fn lock(folder: &Path) -> Result<Option<File>, SpoolError> {
    let path = folder.join("lock");
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(&path).map_err(|reason| SpoolError::new(&path, "cannot be opened", reason))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(reason)) => Err(SpoolError::new(&path, "cannot be locked", reason)),
    }
}

fn make(path: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

/// Moves the segments of one folder behind those of another.
fn take_over(from: &Path, to: &Path) -> io::Result<()> {
    let segments = list(from)?;
    if segments.is_empty() {
        return Ok(());
    }
    let mut last = list(to)?.last().map_or(0, |(number, _)| *number);
    for (_, path) in segments {
        // No number is left: what lies there waits for another start.
        let Some(next) = last.checked_add(1) else { break };
        std::fs::rename(&path, segment::path_in(to, next))?;
        last = next;
    }
    Ok(())
}

/// The segments of a folder, by number.
fn list(folder: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut segments = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if let Some(number) = segment::number_of(&path) {
            segments.push((number, path));
        }
    }
    segments.sort_unstable();
    Ok(segments)
}
