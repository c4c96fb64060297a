//! What is made of an endpoint, made anew when a file of it has changed: a secret, an authority, a client certificate or its key.
//! Worker thread.

use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;

use crate::diagnostics;
use crate::endpoint::{Endpoint, EndpointError};
use crate::watched::{CHECK_EVERY, WatchedFile};

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
    files: Vec<WatchedFile>,
    checked: Instant,
    /// Whether what was seen last could not be used, and standard error knows.
    told: bool,
}

impl<T> Renewed<T> {
    pub(super) fn new(
        endpoint: &Endpoint,
        make: impl Fn(&Endpoint) -> Result<T, EndpointError> + Send + Sync + 'static,
    ) -> Result<Self, EndpointError> {
        let paths = endpoint.secret_files().chain(endpoint.certificate_files());
        // Before it is made: what changes in between is seen the next time.
        let files = paths.map(WatchedFile::new).collect();
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
