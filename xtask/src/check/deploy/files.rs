//! Every YAML, JSON and variable file of `deploy/` can be read, and none of them has a secret.

use serde::Deserialize as _;
use serde_yaml_ng::Value;

use super::super::sources::Source;
use super::super::{Failure, Workspace};

const FOLDER: &str = "deploy/";
/// Keys whose value is a secret. What refers to a file or a variable is none.
const SECRETS: [&str; 8] =
    ["password", "secret", "token", "api_url", "routing_key", "service_key", "access_key", "secret_key"];

pub(in super::super) fn check(workspace: &Workspace) -> Result<(), Failure> {
    let remedy = "mend the file that is named";
    let sources = workspace.sources().map_err(|error| Failure::new(error, remedy))?;
    let deploy = sources.iter().filter(|source| source.path.starts_with(FOLDER));
    Failure::unless_empty(deploy.flat_map(faults).collect(), remedy)
}

fn faults(source: &Source) -> Vec<String> {
    let path = &source.path;
    let extension = path.rsplit_once('.').map_or("", |(_, extension)| extension);
    match extension {
        "yaml" | "yml" => match documents(&source.text) {
            Ok(documents) => {
                let mut found = Vec::new();
                documents.iter().for_each(|document| secrets(document, &mut found));
                found.into_iter().map(|key| format!("{path}: `{key}` has its value in the file")).collect()
            }
            Err(error) => vec![format!("{path}: {error}")],
        },
        "json" => match serde_json::from_str::<serde_json::Value>(&source.text) {
            Ok(_) => Vec::new(),
            Err(error) => vec![format!("{path}: {error}")],
        },
        "env" => {
            let lines = source.text.lines().enumerate().filter(|(_, line)| !line.starts_with('#') && !line.is_empty());
            let wrong = lines.filter(|(_, line)| !line.contains('='));
            wrong.map(|(index, line)| format!("{path}:{}: `{line}`; accepted: NAME=value", index + 1)).collect()
        }
        _ => Vec::new(),
    }
}

/// All documents of a YAML file.
pub(super) fn documents(text: &str) -> Result<Vec<Value>, serde_yaml_ng::Error> {
    serde_yaml_ng::Deserializer::from_str(text).map(Value::deserialize).collect()
}

/// The keys whose value is a secret that stands there.
fn secrets(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Mapping(mapping) => {
            for (key, value) in mapping {
                let name = key.as_str().unwrap_or_default();
                let is_secret = SECRETS.iter().any(|secret| name.to_lowercase().ends_with(secret));
                match value {
                    Value::String(text) if is_secret && !text.is_empty() && !text.contains("${") => {
                        found.push(name.to_owned());
                    }
                    value => secrets(value, found),
                }
            }
        }
        Value::Sequence(items) => items.iter().for_each(|item| secrets(item, found)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> Vec<String> {
        faults(&Source { path: path.to_owned(), text: text.to_owned() })
    }

    #[test]
    fn what_cannot_be_read_and_secrets_are_found() {
        for (path, text, word) in [
            ("deploy/a.yaml", "a: [", "deploy/a.yaml"),
            ("deploy/a.json", "{,}", "deploy/a.json"),
            ("deploy/a.env", "# fine\nA", "deploy/a.env:2"),
            ("deploy/a.yaml", "a: {GF_SECURITY_ADMIN_PASSWORD: admin}", "GF_SECURITY_ADMIN_PASSWORD"),
            ("deploy/a.yaml", "a: 1\n---\n- {routing_key: abc}", "routing_key"),
        ] {
            let findings = found(path, text);
            assert!(findings.len() == 1 && findings[0].contains(word), "{word}: {findings:?}");
        }
        for fine in ["a: {password: '${PASSWORD:?say it}'}", "a: {routing_key_file: /x}", "password: {secretKeyRef: x}"]
        {
            assert_eq!(found("deploy/a.yaml", fine), [""; 0], "{fine}");
        }
    }
}
