//! What does not work is said with its cause and what to do.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use tempfile::TempDir;

use super::harness::{Said, free_offset, xtask};

/// A place for a stack, and programs that are all there is on the path. What was started in it ends with it.
struct Site {
    folder: TempDir,
    programs: TempDir,
}

impl Drop for Site {
    fn drop(&mut self) {
        self.xtask(&["stack", "down"]);
    }
}

impl Site {
    fn with(programs: &[(&str, &str)]) -> Self {
        let site = Self { folder: tempfile::tempdir().unwrap(), programs: tempfile::tempdir().unwrap() };
        for (name, script) in programs {
            let file = site.programs.path().join(name);
            fs::write(&file, format!("#!/bin/sh\n{script}\n")).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
        }
        site
    }

    fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn xtask(&self, arguments: &[&str]) -> Said {
        // cargo asks rustc, which is beside it.
        let cargo = Path::new(env!("CARGO")).parent().unwrap();
        let path = format!("{}:{}", self.programs.path().display(), cargo.display());
        xtask(self.folder(), arguments, &[("PATH", &path)])
    }
}

const WITHOUT_SHOP: &str =
    "--without=storefront,inventory,alerts,prometheus,alertmanager,node-exporter,grafana,mimir,tempo";

#[test]
fn a_service_that_ends_is_named_with_its_last_lines_and_all_is_ended() {
    let site = Site::with(&[("loki", "echo 'line 27: field nonsense not found'; exit 1")]);
    let arguments =
        ["stack", "up", "--runtime", "process", "--port-offset", &free_offset(12_000).to_string(), WITHOUT_SHOP];
    let said = site.xtask(&arguments);
    assert!(!said.ok);
    for part in ["loki", "ended", "field nonsense not found", "loki.log"] {
        assert!(said.errors.contains(part), "{part}");
    }
    assert!(!site.folder().join("state.json").exists(), "nothing is left running");
}

#[test]
fn a_taken_port_is_named_with_the_service_that_needs_it() {
    let site = Site::with(&[("loki", "echo any")]);
    let offset = free_offset(14_000);
    let taken = TcpListener::bind(("127.0.0.1", 3100 + offset)).unwrap();
    let arguments = ["stack", "up", "--runtime", "process", "--port-offset", &offset.to_string(), WITHOUT_SHOP];
    let said = site.xtask(&arguments);
    drop(taken);
    assert!(
        !said.ok && said.errors.contains(&(3100 + offset).to_string()) && said.errors.contains("loki"),
        "{}",
        said.errors
    );
    assert!(said.errors.contains("--port-offset"), "{}", said.errors);
}

#[test]
fn a_program_that_is_not_there_is_named_with_how_to_get_it() {
    let site = Site::with(&[]);
    let said = site.xtask(&["stack", "up", "--runtime", "process", WITHOUT_SHOP]);
    assert!(!said.ok);
    for part in ["loki does not start", "get it: https://", "none of the programs is on the path"] {
        assert!(said.errors.contains(part), "{part}");
    }
    let said = site.xtask(&["stack", "up", "--runtime", "process", "--without", "lokki"]);
    assert!(!said.ok && said.errors.contains("lokki") && said.errors.contains("accepted: loki"), "{}", said.errors);
}

#[test]
fn without_a_stack_the_commands_say_how_to_start_one() {
    let folder = tempfile::tempdir().unwrap();
    for command in ["status", "logs", "metrics"] {
        let said = xtask(folder.path(), &["stack", command], &[]);
        assert!(!said.ok && said.errors.contains("cargo xtask stack up"), "{command}: {}", said.errors);
    }
    let said = xtask(folder.path(), &["stack", "down"], &[]);
    assert!(said.ok && said.errors.contains("no stack runs"), "{}", said.errors);
}

#[test]
fn nothing_of_others_is_removed_or_taken() {
    let site = Site::with(&[("loki", "echo any")]);
    fs::create_dir(site.folder().join("data")).unwrap();
    let said = site.xtask(&["stack", "wipe"]);
    assert!(!said.ok && said.errors.contains("nothing is removed"), "{}", said.errors);
    let said = site.xtask(&["stack", "up", "--runtime", "process", WITHOUT_SHOP]);
    assert!(!said.ok && said.errors.contains("no folder of a stack"), "{}", said.errors);
    assert!(site.folder().join("data").is_dir());
}

/// A `docker` that notes how it is called, starts nothing, and says of the services what `containers` says.
fn docker(calls: &Path, up: &str, containers: &str) -> String {
    format!(
        r#"echo "$@" >>{calls}
case "$*" in
  *" up "*) {up};;
  *" ps "*) printf '%s\n' {containers};;
  *" logs "*) echo 'tempo-1 | failed to parse the configuration: line 3';;
esac"#,
        calls = calls.display()
    )
}

#[test]
fn docker_compose_gets_the_profile_and_a_service_that_fails_is_named_with_its_log() {
    let calls = tempfile::NamedTempFile::new().unwrap();
    let up = "echo 'dependency failed to start: container lgtm-tempo-1 is unhealthy' >&2; exit 1";
    let containers = r#"'{"Service":"loki","State":"running","Health":"healthy"}' '{"Service":"tempo","State":"running","Health":"unhealthy"}'"#;
    let site = Site::with(&[("docker", &docker(calls.path(), up, containers))]);
    let said = site.xtask(&["stack", "up", "--runtime", "docker", "--profile", "core"]);
    assert!(!said.ok);
    let noted = fs::read_to_string(calls.path()).unwrap();
    assert!(noted.contains("core.env") && noted.contains("compose.yaml up --build --detach --wait"), "{noted}");
    for part in ["tempo: running unhealthy", "failed to parse the configuration: line 3"] {
        assert!(said.errors.contains(part), "{part}");
    }
    let said = site.xtask(&["stack", "up", "--runtime", "docker", "--without", "loki"]);
    assert!(!said.ok && said.errors.contains("--runtime process"), "{}", said.errors);

    // The containers are gone; their volumes go with `wipe`, of all services, whatever profile ran.
    let said = site.xtask(&["stack", "wipe"]);
    assert!(said.ok, "{}", said.errors);
    let noted = fs::read_to_string(calls.path()).unwrap();
    let wiped = noted.lines().find(|line| line.ends_with("down --volumes")).expect("the volumes are removed");
    assert!(wiped.contains("full.env"), "{wiped}");
}
