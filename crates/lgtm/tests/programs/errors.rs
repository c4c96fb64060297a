//! A start that cannot work says why.

use crate::harness::{Addresses, run};

#[test]
fn a_wrong_variable_is_an_error_that_names_variable_value_and_form() {
    let finished = run("init only", &Addresses::unreachable().with(&[("LGTM_OVERFLOW", "sometimes")]));
    let [said] = finished.said.as_slice() else { panic!("{:?}", finished.said) };
    for part in ["LGTM_OVERFLOW", "`sometimes`", "block:5s"] {
        assert!(said.contains(part), "{said}");
    }
}

#[test]
fn a_file_without_certificates_and_a_port_in_use_are_errors() {
    let empty = tempfile::NamedTempFile::new().unwrap();
    let path = empty.path().to_str().unwrap();
    let addresses = Addresses::unreachable();
    let finished = run("init only", &addresses.with(&[("LGTM_CA_FILE", path)]));
    assert!(finished.said[0].contains(path) && finished.said[0].contains("PEM"), "{:?}", finished.said);

    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let finished = run("init only", &addresses.with(&[("LGTM_METRICS_ADDR", &address)]));
    assert!(finished.said[0].contains(&address), "{:?}", finished.said);
}

#[test]
fn unreachable_backends_are_no_error() {
    let finished = run("init only", &Addresses::unreachable().variables());
    assert_eq!(finished.said, ["started"]);
}

#[test]
fn what_is_installed_already_is_named() {
    let addresses = Addresses::unreachable();
    for (program, part) in [
        ("init twice", "running already"),
        ("subscriber set", "global tracing subscriber"),
        ("recorder set", "global metrics recorder"),
    ] {
        let finished = run(program, &addresses.variables());
        assert!(finished.said[0].contains(part), "{program}: {:?} {}", finished.said, finished.stderr);
    }
    let finished = run("recorder set", &addresses.variables());
    assert_eq!(finished.said[1], "true", "the program may keep its recorder");
}
