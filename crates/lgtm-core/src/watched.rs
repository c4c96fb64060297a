//! Files that change while the program runs: those of secrets and certificates. Worker thread.
//!
//! A look at a file asks the file system for its state and reads nothing while that is the same. The path is followed each time:
//! Kubernetes changes files by pointing a link at another folder.

use std::fs::Metadata;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;

use crate::diagnostics;
use crate::secret::Secret;

/// Files are looked at no more often, unless what was read of them was refused.
pub(crate) const CHECK_EVERY: Duration = if cfg!(test) { Duration::from_millis(50) } else { Duration::from_secs(5) };
/// A file that was written so shortly ago may have been written again since, without a trace: it is read.
const UNSETTLED: Duration = Duration::from_secs(2);

/// A file as it was seen last.
#[derive(Debug)]
pub(crate) struct WatchedFile {
    path: PathBuf,
    seen: Option<Seen>,
    /// Of its content; 0: it could not be read.
    hash: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    modified: Option<SystemTime>,
    length: u64,
    /// Device and inode, where there are such.
    file: (u64, u64),
}

impl Seen {
    fn of(metadata: &Metadata) -> Self {
        #[cfg(unix)]
        let file = {
            use std::os::unix::fs::MetadataExt as _;
            (metadata.dev(), metadata.ino())
        };
        #[cfg(not(unix))]
        let file = (0, 0);
        Self { modified: metadata.modified().ok(), length: metadata.len(), file }
    }

    /// Whether the file was written long enough ago that another change would show.
    fn is_settled(&self) -> bool {
        let age = self.modified.and_then(|modified| SystemTime::now().duration_since(modified).ok());
        age.is_some_and(|age| age > UNSETTLED)
    }
}

impl WatchedFile {
    /// Looks at it for the first time.
    pub(crate) fn new(path: &Path) -> Self {
        let mut file = Self { path: path.to_owned(), seen: None, hash: 0 };
        file.changes(true);
        file
    }

    /// Looks at the file; whether its content is another one than the last time.
    pub(crate) fn changes(&mut self, reads_anyway: bool) -> bool {
        // Before it is read: a change in between shows the next time.
        let seen = std::fs::metadata(&self.path).ok().map(|metadata| Seen::of(&metadata));
        let is_same = seen == self.seen && seen.is_some_and(|seen| seen.is_settled());
        if is_same && self.hash != 0 && !reads_anyway {
            return false;
        }
        self.seen = seen;
        let hash = std::fs::read(&self.path).map_or(0, |content| {
            let mut hasher = DefaultHasher::new();
            content.hash(&mut hasher);
            hasher.finish()
        });
        std::mem::replace(&mut self.hash, hash) != hash
    }
}

/// A secret that whoever has it shows to this program. If it comes from a file, it is read again when that changes.
#[derive(Debug)]
pub struct ExpectedSecret {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    secret: Secret,
    file: Option<WatchedFile>,
    checked: Instant,
    told: bool,
}

/// A secret that was refused makes the file be read no more often: anybody may send wrong ones.
const READ_ANYWAY_EVERY: Duration = Duration::from_secs(1);

impl ExpectedSecret {
    /// Expects this one.
    #[must_use]
    pub fn new(secret: Secret) -> Self {
        let file = secret.file().map(WatchedFile::new);
        Self { state: Mutex::new(State { secret, file, checked: Instant::now(), told: false }) }
    }

    /// Whether `is_it` takes the secret as it is now; it is asked again where the file has another one by then.
    pub fn matches(&self, is_it: impl Fn(&Secret) -> bool) -> bool {
        let mut state = self.state.lock();
        if state.checked.elapsed() >= CHECK_EVERY {
            state.look(false);
        }
        if is_it(&state.secret) {
            return true;
        }
        state.checked.elapsed() >= READ_ANYWAY_EVERY && state.look(true) && is_it(&state.secret)
    }
}

impl State {
    /// True if there is something new.
    fn look(&mut self, reads_anyway: bool) -> bool {
        let Some(file) = &mut self.file else { return false };
        self.checked = Instant::now();
        if !file.changes(reads_anyway) {
            return false;
        }
        match self.secret.read_again() {
            Ok(()) => {
                self.told = false;
                true
            }
            Err(error) => {
                if !std::mem::replace(&mut self.told, true) {
                    let path = file.path.display();
                    diagnostics::warn(&format!("`{path}` cannot be used ({error}); what was read before stays in use"));
                }
                false
            }
        }
    }
}
