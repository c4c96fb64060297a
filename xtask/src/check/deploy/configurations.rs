//! Each service's configuration is one to its own program, where that is on the path, and to its documentation.

use std::path::Path;

use serde_yaml_ng::Value;

use super::super::{Failure, Workspace, tools};
use super::documented;
use crate::stack::{effective, programs};

/// Which alerts reach which receiver: labels as amtool takes them.
const ROUTES: [(&str, &[&str]); 4] = [
    ("critical", &["alertname=ServiceDown", "severity=critical"]),
    ("warning", &["alertname=HighCPUUsage", "severity=warning"]),
    ("info", &["alertname=LowSpanCreationRate", "severity=info"]),
    ("default", &["alertname=Watchdog", "severity=none"]),
];

pub(in super::super) fn check(workspace: &Workspace) -> Result<(), Failure> {
    let remedy = "mend the file; `cargo xtask stack config <service>` prints what the service reads";
    let scratch = tempfile::tempdir().map_err(|error| Failure::new(error, remedy))?;
    let mut findings = Vec::new();
    let site = Site { workspace, deploy: &workspace.root.join("deploy"), scratch: scratch.path() };
    for part in [prometheus, alertmanager, stores, kubernetes] {
        if let Err(error) = part(&site, &mut findings) {
            findings.push(format!("{error:#}"));
        }
    }
    Failure::unless_empty(findings, remedy)
}

struct Site<'a> {
    workspace: &'a Workspace,
    deploy: &'a Path,
    scratch: &'a Path,
}

impl Site<'_> {
    /// Writes a document where a program can read it, and gives its path.
    fn write(&self, name: &str, document: &Value) -> anyhow::Result<String> {
        let path = self.scratch.join(format!("{}.yaml", name.replace(' ', "-")));
        std::fs::write(&path, serde_yaml_ng::to_string(document)?)?;
        Ok(path.display().to_string())
    }
}

fn prometheus(site: &Site<'_>, findings: &mut Vec<String>) -> anyhow::Result<()> {
    let mut document = effective::document(site.deploy, "prometheus", effective::Storage::Local)?;
    findings
        .extend(documented::faults("prometheus", &document).into_iter().map(|fault| format!("prometheus: {fault}")));
    let promtool = match site.workspace.program(&["promtool"], "Prometheus") {
        Ok(promtool) => promtool,
        Err(absent) => {
            findings.extend(absent.finding);
            return Ok(());
        }
    };
    if let Some(version) = programs::version(&promtool) {
        for key in programs::without_newer_keys("prometheus", version, &mut document) {
            println!("  promtool is too old for {key}: left out");
        }
    }
    // The rules are where they are here, not where the container has them.
    let rules = site.deploy.join("prometheus/rules/*.yaml").display().to_string();
    document["rule_files"] = Value::Sequence(vec![rules.into()]);
    let file = site.write("prometheus", &document)?;
    findings.extend(tools::run(&promtool, &["check", "config", &file], site.scratch, None).err());
    Ok(())
}

fn alertmanager(site: &Site<'_>, findings: &mut Vec<String>) -> anyhow::Result<()> {
    let amtool = match site.workspace.program(&["amtool"], "Alertmanager") {
        Ok(amtool) => amtool,
        Err(absent) => {
            findings.extend(absent.finding);
            return Ok(());
        }
    };
    for (name, document) in effective::all_alertmanager_documents(site.deploy)? {
        let file = site.write(&format!("alertmanager {name}"), &document)?;
        findings.extend(tools::run(&amtool, &["check-config", &file], site.scratch, None).err());
        for (receiver, labels) in ROUTES {
            let (file, receiver) = (format!("--config.file={file}"), format!("--verify.receivers={receiver}"));
            let mut arguments = vec!["config", "routes", "test", &file, &receiver];
            arguments.extend(labels);
            findings.extend(tools::run(&amtool, &arguments, site.scratch, None).err());
        }
    }
    Ok(())
}

/// Loki, Tempo and Mimir, on the machine's disk and on an object store.
fn stores(site: &Site<'_>, findings: &mut Vec<String>) -> anyhow::Result<()> {
    for service in ["loki", "tempo", "mimir"] {
        // Mimir has no option of that name; it reads and validates all before it lists its modules.
        let verify = match service {
            "loki" => "-verify-config",
            "tempo" => "-config.verify=true",
            _ => "-modules",
        };
        let program = match site.workspace.program(&[service], programs::install(service)) {
            Ok(program) => Some(program),
            Err(absent) => {
                findings.extend(absent.finding);
                None
            }
        };
        for (kind, storage) in [("local", effective::Storage::Local), ("s3", effective::Storage::S3)] {
            let document = effective::document(site.deploy, service, storage)?;
            let faults = documented::faults(service, &document).into_iter();
            findings.extend(faults.map(|fault| format!("{service} ({kind}): {fault}")));
            if let Some(program) = &program {
                let file = format!("-config.file={}", site.write(&format!("{service} {kind}"), &document)?);
                let said = tools::run(program, &[verify, "-config.expand-env=true", &file], site.scratch, None);
                findings.extend(said.err());
            }
        }
    }
    Ok(())
}

/// The gateway's configuration and the example program's manifests. The charts' values need the charts: their README says how they
/// were rendered.
fn kubernetes(site: &Site<'_>, findings: &mut Vec<String>) -> anyhow::Result<()> {
    let folder = site.deploy.join("kubernetes");
    for (program, from, arguments) in [
        ("alloy", "https://github.com/grafana/alloy/releases", ["validate", "alloy/gateway.alloy"]),
        ("kubectl", "https://kubernetes.io/docs/tasks/tools", ["kustomize", "shop"]),
    ] {
        match site.workspace.program(&[program], from) {
            Ok(program) => findings.extend(tools::run(&program, &arguments, &folder, None).err()),
            Err(absent) => findings.extend(absent.finding),
        }
    }
    Ok(())
}
