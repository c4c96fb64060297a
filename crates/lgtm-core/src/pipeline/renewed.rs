//! What is made of an endpoint, made anew when a file of it has changed: a secret, an authority, a client certificate or its key.
//! Worker thread.
//!
//! A look at a file asks the file system for its state and reads nothing while that is the same. The path is followed each time:
//! Kubernetes changes files by pointing a link at another folder.

use std::fs::Metadata;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;

use crate::diagnostics;
use crate::endpoint::{Endpoint, EndpointError};

/// Files are looked at no more often, unless the backend has refused what was read of them.
const CHECK_EVERY: Duration = if cfg!(test) { Duration::from_millis(50) } else { Duration::from_secs(5) };
/// A file that was written so shortly ago may have been written again since, without a trace: it is read.
const UNSETTLED: Duration = Duration::from_secs(2);

type Make<T> = Box<dyn Fn(&Endpoint) -> Result<T, EndpointError> + Send + Sync>;

/// Something that is made of an endpoint.
pub(super) struct Renewed<T> {
    make: Make<T>,
    state: Mutex<State<T>>,
}

struct State<T> {
    /// With the secrets that were read last.
    endpoint: Endpoint,
    current: Arc<T>,
    files: Vec<File>,
    checked: Instant,
    /// Whether what was seen last could not be used, and standard error knows.
    told: bool,
}

/// A file as it was seen last.
struct File {
    path: PathBuf,
    seen: Option<Seen>,
    /// Of its content; 0: it could not be read.
    hash: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
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

impl File {
    fn new(path: PathBuf) -> Self {
        let mut file = Self { path, seen: None, hash: 0 };
        file.changes(true);
        file
    }

    /// Looks at the file; whether its content is another one than the last time.
    fn changes(&mut self, reads_anyway: bool) -> bool {
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

impl<T> Renewed<T> {
    pub(super) fn new(
        endpoint: &Endpoint,
        make: impl Fn(&Endpoint) -> Result<T, EndpointError> + Send + Sync + 'static,
    ) -> Result<Self, EndpointError> {
        let paths = endpoint.secret_files().chain(endpoint.certificate_files());
        // Before it is made: what changes in between is seen the next time.
        let files = paths.map(|path| File::new(path.to_owned())).collect();
        let mut endpoint = endpoint.clone();
        // The program may have read its secrets long ago. What cannot be read now stays as it was then.
        let told = endpoint.read_secrets_again().is_err();
        let current = Arc::new(make(&endpoint)?);
        let state = Mutex::new(State { endpoint, current, files, checked: Instant::now(), told });
        Ok(Self { make: Box::new(make), state })
    }

    /// Looks at the files if that is due.
    pub(super) fn current(&self) -> Arc<T> {
        let mut state = self.state.lock();
        if !state.files.is_empty() && state.checked.elapsed() >= CHECK_EVERY {
            self.check(&mut state, false);
        }
        Arc::clone(&state.current)
    }

    /// What was used was refused: if there is something else by now, that.
    pub(super) fn renewed_since(&self, used: &Arc<T>) -> Option<Arc<T>> {
        let mut state = self.state.lock();
        if Arc::ptr_eq(&state.current, used) && !state.files.is_empty() {
            self.check(&mut state, true);
        }
        (!Arc::ptr_eq(&state.current, used)).then(|| Arc::clone(&state.current))
    }

    fn check(&self, state: &mut State<T>, reads_anyway: bool) {
        state.checked = Instant::now();
        let mut changed = false;
        for file in &mut state.files {
            changed |= file.changes(reads_anyway);
        }
        if !changed {
            return;
        }
        let mut endpoint = state.endpoint.clone();
        let made =
            endpoint.read_secrets_again().and_then(|()| (self.make)(&endpoint).map_err(|error| error.to_string()));
        match made {
            Ok(made) => {
                state.current = Arc::new(made);
                state.endpoint = endpoint;
                state.told = false;
            }
            // Half of a change, or a mistake: the next change is seen.
            Err(problem) if !std::mem::replace(&mut state.told, true) => {
                let url = state.endpoint.shown_url();
                diagnostics::warn(&format!("{url}: {problem}; what was read before stays in use"));
            }
            Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endpoint::Auth;
    use crate::secret::Secret;

    fn tokens(endpoint: &Endpoint) -> Renewed<String> {
        let make = |endpoint: &Endpoint| match &endpoint.auth {
            Auth::Bearer(token) if token.reveal() == "refused" => Err(EndpointError::Tls("refused".to_owned())),
            Auth::Bearer(token) => Ok(token.reveal().to_owned()),
            other => panic!("{other:?}"),
        };
        Renewed::new(endpoint, make).unwrap()
    }

    fn endpoint(path: &std::path::Path) -> Endpoint {
        Endpoint::parse("http://localhost").unwrap().bearer_token(Secret::from_file(path).unwrap())
    }

    /// What is in use once the files were looked at.
    fn looked(renewed: &Renewed<String>) -> String {
        let used = renewed.current();
        renewed.renewed_since(&used).unwrap_or(used).to_string()
    }

    #[test]
    fn a_file_that_cannot_be_used_for_a_moment_leaves_what_was_read_before() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        std::fs::write(&path, "one\n").unwrap();
        let renewed = tokens(&endpoint(&path));
        assert_eq!(looked(&renewed), "one");
        std::fs::write(&path, "").unwrap();
        assert_eq!(looked(&renewed), "one");
        std::fs::remove_file(&path).unwrap();
        assert_eq!(looked(&renewed), "one");
        std::fs::write(&path, "refused").unwrap();
        assert_eq!(looked(&renewed), "one");
        assert!(renewed.state.lock().told);
        std::fs::write(&path, "two").unwrap();
        assert_eq!(looked(&renewed), "two");
        assert!(!renewed.state.lock().told);
    }

    #[test]
    fn a_change_of_the_same_length_in_the_same_moment_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        std::fs::write(&path, "one").unwrap();
        let renewed = tokens(&endpoint(&path));
        let written = std::fs::metadata(&path).unwrap().modified().unwrap();
        std::fs::write(&path, "two").unwrap();
        std::fs::File::options().write(true).open(&path).unwrap().set_modified(written).unwrap();
        std::thread::sleep(CHECK_EVERY);
        assert_eq!(*renewed.current(), "two", "without a refusal");
    }

    #[test]
    fn files_that_do_not_change_make_nothing_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        std::fs::write(&path, "one").unwrap();
        let renewed = tokens(&endpoint(&path));
        let first = renewed.current();
        std::thread::sleep(CHECK_EVERY);
        std::fs::write(&path, "one").unwrap();
        assert!(Arc::ptr_eq(&first, &renewed.current()));
        assert!(renewed.renewed_since(&first).is_none());
    }

    #[cfg(unix)]
    #[test]
    fn a_link_that_is_pointed_at_another_folder_is_followed() {
        use std::os::unix::fs::symlink;
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for (version, token) in [("..one", "first"), ("..two", "other")] {
            std::fs::create_dir(at(version)).unwrap();
            std::fs::write(at(version).join("token"), token).unwrap();
        }
        // As Kubernetes mounts a secret: token -> ..data/token, ..data -> ..one
        symlink("..one", at("..data")).unwrap();
        symlink("..data/token", at("token")).unwrap();
        let renewed = tokens(&endpoint(&at("token")));
        assert_eq!(*renewed.current(), "first");
        symlink("..two", at("..data_tmp")).unwrap();
        std::fs::rename(at("..data_tmp"), at("..data")).unwrap();
        std::thread::sleep(CHECK_EVERY);
        assert_eq!(*renewed.current(), "other", "without a refusal");
    }
}
