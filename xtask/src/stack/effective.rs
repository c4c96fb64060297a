//! What is laid over the files of `deploy/`: an object store, receivers whose secret is there, and the password of Grafana.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use rand::distr::{Alphanumeric, SampleString as _};
use serde_yaml_ng::Value;

use super::compose;
use super::rewrite::{lay_over, read};

/// A receiver's overlay, and the file that turns it on.
const RECEIVERS: [(&str, &str); 2] = [("slack", "slack_url"), ("pagerduty", "pagerduty_key")];
/// Letters and digits of a new password.
const PASSWORD_LENGTH: usize = 24;
const PASSWORD: &str = "GRAFANA_ADMIN_PASSWORD";

/// Where the data of Loki, Tempo and Mimir lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Storage {
    /// On the machine's own disk.
    Local,
    /// In an object store with S3's interface.
    S3,
}

/// The configuration of a service as it is in `deploy/`, with its overlays.
///
/// # Errors
/// If there is no such service, or a file cannot be read.
pub(crate) fn document(deploy: &Path, service: &str, storage: Storage) -> anyhow::Result<Value> {
    let path = deploy.join(service).join(format!("{service}.yaml"));
    if !path.is_file() {
        bail!("`{service}` has no configuration file; accepted: {}", with_configuration(deploy).join(", "));
    }
    let mut document = read(&path)?;
    if storage == Storage::S3 {
        let overlay = deploy.join(service).join("s3.yaml");
        if !overlay.is_file() {
            bail!("{service} has no object storage; accepted: loki, tempo, mimir");
        }
        lay_over(&mut document, read(&overlay)?);
    }
    lay_receivers_over(deploy, &path, &mut document)?;
    Ok(document)
}

/// The services with a configuration file of their own.
pub(crate) fn with_configuration(deploy: &Path) -> Vec<String> {
    let folders = fs::read_dir(deploy).into_iter().flatten().flatten();
    let names = folders.map(|folder| folder.file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> =
        names.filter(|name| deploy.join(name).join(format!("{name}.yaml")).is_file()).collect();
    names.sort();
    names
}

/// Lays the receivers over Alertmanager's file whose secret is there. Other files stay as they are.
///
/// # Errors
/// If a receiver's file cannot be read.
pub(crate) fn lay_receivers_over(deploy: &Path, path: &Path, document: &mut Value) -> anyhow::Result<()> {
    let folder = deploy.join("alertmanager");
    if path != folder.join("alertmanager.yaml") {
        return Ok(());
    }
    for (receiver, secret) in RECEIVERS {
        if folder.join("secrets").join(secret).is_file() {
            lay_over(document, read(&folder.join("receivers").join(format!("{receiver}.yaml")))?);
        }
    }
    Ok(())
}

/// Alertmanager's file with each choice of receivers, for the check.
pub(crate) fn all_alertmanager_documents(deploy: &Path) -> anyhow::Result<Vec<(String, Value)>> {
    let folder = deploy.join("alertmanager");
    let base = read(&folder.join("alertmanager.yaml"))?;
    let mut documents = vec![("webhook".to_owned(), base.clone())];
    let mut all = base.clone();
    for (receiver, _) in RECEIVERS {
        let overlay = read(&folder.join("receivers").join(format!("{receiver}.yaml")))?;
        let mut one = base.clone();
        lay_over(&mut one, overlay.clone());
        lay_over(&mut all, overlay);
        documents.push((receiver.to_owned(), one));
    }
    documents.push(("all receivers".to_owned(), all));
    Ok(documents)
}

/// The file with the password of Grafana's admin.
pub(crate) fn password_file(deploy: &Path) -> PathBuf {
    deploy.join(".env")
}

/// Makes the password of Grafana's admin, unless there is one.
///
/// # Errors
/// If the file cannot be written.
pub(crate) fn make_password(deploy: &Path) -> anyhow::Result<()> {
    let path = password_file(deploy);
    let has_one = || compose::variables(&path).is_ok_and(|known| known.get(PASSWORD).is_some_and(|it| !it.is_empty()));
    if has_one() {
        return Ok(());
    }
    let password = Alphanumeric.sample_string(&mut rand::rng(), PASSWORD_LENGTH);
    let mut options = fs::OpenOptions::new();
    options.append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let write = |mut file: fs::File| writeln!(file, "{PASSWORD}={password}");
    options.open(&path).and_then(write).with_context(|| format!("{} cannot be written", path.display()))
}

/// The variables of the password's file; one that says nothing where there is none yet.
pub(crate) fn password_variables(deploy: &Path) -> BTreeMap<String, String> {
    let known = compose::variables(&password_file(deploy)).unwrap_or_default();
    let unknown = BTreeMap::from([(PASSWORD.to_owned(), "not-made-yet".to_owned())]);
    unknown.into_iter().chain(known).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_made_once_and_is_long() {
        let folder = tempfile::tempdir().unwrap();
        make_password(folder.path()).unwrap();
        let first = password_variables(folder.path());
        assert_eq!(first[PASSWORD].len(), PASSWORD_LENGTH);
        make_password(folder.path()).unwrap();
        assert_eq!(password_variables(folder.path()), first);
        fs::write(password_file(folder.path()), "OTHER=1\n").unwrap();
        make_password(folder.path()).unwrap();
        let again = password_variables(folder.path());
        assert_eq!((again["OTHER"].as_str(), again[PASSWORD].len()), ("1", PASSWORD_LENGTH));
    }
}
