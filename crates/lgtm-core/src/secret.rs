//! A string that shows itself nowhere: passwords, tokens, header values.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// A secret string. `Debug` prints `***`; there is no `Display`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    value: String,
    file: Option<PathBuf>,
}

impl Secret {
    /// Wraps a secret.
    #[must_use]
    pub fn new(value: impl Into<String>) -> Self {
        Self { value: value.into(), file: None }
    }

    /// The secret that stands in this file, without line ends behind it. A pipeline reads the file again when it changes, as
    /// Kubernetes, Vault and systemd change it: at the latest 5 s later, and at once when the backend refuses the old secret.
    ///
    /// # Errors
    /// What the operating system says, or that the file is empty or no UTF-8.
    pub fn from_file(path: impl Into<PathBuf>) -> io::Result<Self> {
        let path = path.into();
        Ok(Self { value: read(&path)?, file: Some(path) })
    }

    /// The secret itself, as it was read last, for the one place that sends it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.value
    }

    /// The file that it comes from, if it does.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// Reads the file again, if there is one; what cannot be read leaves the secret as it was.
    pub(crate) fn read_again(&mut self) -> io::Result<()> {
        if let Some(path) = &self.file {
            self.value = read(path)?;
        }
        Ok(())
    }
}

fn read(path: &Path) -> io::Result<String> {
    let content = std::fs::read_to_string(path)?;
    let secret = content.trim_end_matches(['\r', '\n']);
    if secret.is_empty() {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file is empty"));
    }
    Ok(secret.to_owned())
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("***")
    }
}

impl From<String> for Secret {
    fn from(value: String) -> Self {
        Self::new(value)
    }
}

impl From<&str> for Secret {
    fn from(value: &str) -> Self {
        Self::new(value)
    }
}
