//! The folder of a stack: a mark, so that what others keep is never removed, a lock, so that two commands do not cross, and the parts
//! that `wipe` removes.

use std::fs::{self, File, TryLockError};
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, bail};

use super::state::Runtime;

/// The mark. Its lines are the runtimes that have run here; it is the lock too.
const MARK: &str = ".lgtm-stack";
/// What a stack leaves in its folder.
const PARTS: [&str; 4] = ["data", "config", "logs", "work"];

/// While it lives, no other command changes the stack of the folder.
pub(super) struct Lock(#[expect(dead_code, reason = "its drop unlocks")] File);

/// Makes the folder one of a stack, and locks it.
///
/// # Errors
/// If it holds something of others, cannot be written, or another command is at work in it.
pub(super) fn claim(folder: &Path, runtime: Runtime) -> anyhow::Result<Lock> {
    fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    let is_empty = fs::read_dir(folder).with_context(|| folder.display().to_string())?.next().is_none();
    if !is_ours(folder) && !is_empty {
        bail!("{} is not empty and no folder of a stack; accepted: a new or empty folder", folder.display());
    }
    let mut options = File::options();
    let mark = options.append(true).create(true).open(folder.join(MARK));
    let mut mark = mark.with_context(|| folder.join(MARK).display().to_string())?;
    let lock = locked(mark.try_clone()?, folder)?;
    if !has_run(folder, runtime) {
        writeln!(mark, "{}", runtime.name()).with_context(|| folder.join(MARK).display().to_string())?;
    }
    // What lies here is made: checks and searches pass it by.
    fs::write(folder.join("CACHEDIR.TAG"), "Signature: 8a477f597d28d172789f06886806bc55\n")?;
    Ok(lock)
}

/// Locks a folder that a stack has claimed; `None` if none has.
///
/// # Errors
/// If another command is at work in it.
pub(super) fn lock(folder: &Path) -> anyhow::Result<Option<Lock>> {
    if !is_ours(folder) {
        return Ok(None);
    }
    let mark = File::open(folder.join(MARK)).with_context(|| folder.join(MARK).display().to_string())?;
    locked(mark, folder).map(Some)
}

fn locked(mark: File, folder: &Path) -> anyhow::Result<Lock> {
    match mark.try_lock() {
        Ok(()) => Ok(Lock(mark)),
        Err(TryLockError::WouldBlock) => {
            bail!("another `stack up`, `down` or `wipe` is at work in {}; wait for it", folder.display())
        }
        Err(TryLockError::Error(error)) => Err(error).with_context(|| folder.display().to_string()),
    }
}

fn is_ours(folder: &Path) -> bool {
    folder.join(MARK).is_file()
}

/// Whether a stack of this runtime has run here.
pub(super) fn has_run(folder: &Path, runtime: Runtime) -> bool {
    fs::read_to_string(folder.join(MARK)).is_ok_and(|mark| mark.lines().any(|line| line == runtime.name()))
}

/// Removes what the services have written.
///
/// # Errors
/// If something cannot be removed.
pub(super) fn remove_parts(folder: &Path) -> anyhow::Result<()> {
    for part in PARTS {
        let path = folder.join(part);
        if path.exists() {
            fs::remove_dir_all(&path).with_context(|| format!("{} cannot be removed", path.display()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_of_others_is_never_taken() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("data")).unwrap();
        let error = claim(folder.path(), Runtime::Process).err().unwrap().to_string();
        assert!(error.contains("not empty") && error.contains("accepted"), "{error}");
        assert!(lock(folder.path()).unwrap().is_none());
    }

    #[test]
    fn a_claimed_folder_is_locked_and_remembers_what_ran() {
        let folder = tempfile::tempdir().unwrap();
        let first = claim(folder.path(), Runtime::Process).unwrap();
        assert!(claim(folder.path(), Runtime::Docker).err().unwrap().to_string().contains("at work"));
        assert!(lock(folder.path()).is_err());
        drop(first);
        drop(claim(folder.path(), Runtime::Docker).unwrap());
        assert!(has_run(folder.path(), Runtime::Process) && has_run(folder.path(), Runtime::Docker));
        fs::create_dir_all(folder.path().join("data/loki")).unwrap();
        remove_parts(folder.path()).unwrap();
        assert!(!folder.path().join("data").exists());
        assert!(lock(folder.path()).unwrap().is_some());
    }
}
