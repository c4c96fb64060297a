//! Environment values to settings: lines of `NAME=value`.

use std::collections::BTreeMap;

use super::input::pairs;

/// Stands in every secret; must be seen nowhere.
const SECRET: &str = "hunter2-hunter2";

/// Any environment is accepted, or refused with an error that names one of its variables and what would be accepted; secrets show
/// in neither. Files are left out: a fuzzer must not open what it likes.
///
/// # Panics
/// If not so.
pub fn configuration(data: &[u8]) {
    let mut variables = BTreeMap::new();
    for (name, value) in pairs(data, '=') {
        let opens = ["FILE", "CERTIFICATE", "KEY"].iter().any(|part| name.contains(part));
        if opens || name.contains('\0') {
            continue;
        }
        let is_secret = name.ends_with("TOKEN") || name.ends_with("PASSWORD");
        let value = if is_secret { format!("{value}{SECRET}") } else { value.replace("%secret%", SECRET) };
        variables.insert(name, value);
    }
    // Where else a secret may stand: the password of a backend's URL.
    let is_clean = |(name, value): (&String, &String)| {
        let is_secret = name.ends_with("TOKEN") || name.ends_with("PASSWORD");
        let is_url = name == "LOKI_URL" || name.ends_with("ENDPOINT");
        is_secret || !value.contains(SECRET) || is_url && only_as_password(value)
    };
    let urls_are_clean = variables.iter().all(is_clean);
    match lgtm::builder().variables(variables.clone()).config() {
        Ok(config) => {
            let shown = format!("{config}{config:?}");
            assert!(!config.get("service_name").expect("a name").value.trim().is_empty(), "{variables:?}");
            assert!(!urls_are_clean || !shown.contains(SECRET), "{shown}");
            for setting in config.iter() {
                if let lgtm::Source::Variable(name) = &setting.source {
                    assert!(variables.contains_key(name), "{name} is not in {variables:?}");
                }
            }
        }
        Err(error) => {
            let shown = error.to_string();
            assert!(variables.keys().any(|name| shown.contains(name.as_str())), "{shown}: {variables:?}");
            assert!(shown.contains("accepted"), "{shown}");
            assert!(!urls_are_clean || !shown.contains(SECRET), "{shown}");
        }
    }
}

/// Whether the secret is not in this text, or is exactly the password of the URL that the whole text is.
fn only_as_password(value: &str) -> bool {
    match value.split_once(SECRET) {
        None => true,
        Some((before, after)) => {
            let begins = before.strip_prefix("http://").or(before.strip_prefix("https://"));
            begins.is_some_and(|user| {
                user.strip_suffix(':').is_some_and(|user| user.bytes().all(|byte| byte.is_ascii_alphanumeric()))
            }) && after.starts_with('@')
                && !after.contains(SECRET)
        }
    }
}
