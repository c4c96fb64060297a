//! A configuration for the Prometheus that scrapes this program. Runs once, for a reader.

use std::fmt::Write as _;

/// A `prometheus.yml` that scrapes programs at these addresses (`host:port`) every 15 s under the name of one job, keeps
/// exemplars, and forwards everything to a backend's remote-write URL if one is given.
///
/// ```
/// let yaml = lgtm_mimir::prometheus_config("shop", &["shop:9090"], Some("http://mimir:9009/api/v1/push"));
/// assert!(yaml.contains(r#"job_name: "shop""#));
/// ```
///
/// Where programs want a bearer token ([`Builder::listen_token`](crate::Builder::listen_token)), the job needs
/// `authorization: {credentials_file: ...}` besides. Exemplars need Prometheus 2's `--enable-feature=exemplar-storage`.
#[must_use]
pub fn prometheus_config(job: &str, targets: &[&str], remote_write: Option<&str>) -> String {
    let mut yaml = String::from(
        "global:
  scrape_interval: 15s
  evaluation_interval: 15s

storage:
  exemplars:
    max_exemplars: 100000
",
    );
    if let Some(url) = remote_write {
        let url = quoted(url);
        let _ = write!(yaml, "\nremote_write:\n  - url: {url}\n    send_exemplars: true\n");
    }
    let targets: Vec<_> = targets.iter().map(|target| quoted(target)).collect();
    let _ = write!(
        yaml,
        "\nscrape_configs:\n  - job_name: {}\n    static_configs:\n      - targets: [{}]\n",
        quoted(job),
        targets.join(", ")
    );
    yaml
}

/// A double-quoted scalar of YAML 1.2, section 7.3.1.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            control if control.is_control() => {
                let _ = write!(quoted, "\\U{:08x}", u32::from(control));
            }
            plain => quoted.push(plain),
        }
    }
    quoted.push('"');
    quoted
}
