//! The stack as a program of its own: it says where it is, shows what others send, and ends when it is interrupted.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

/// The program; ended in any case.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lgtm-devstack"));
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

fn ask(url: &str, request: &str, body: &str) -> String {
    let host = url.trim_start_matches("http://");
    let mut stream = TcpStream::connect(host).unwrap();
    let length = body.len();
    let head = format!(
        "{request} HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[cfg(unix)]
#[test]
fn a_program_of_its_own_shows_what_others_send_until_it_is_interrupted() {
    let mut program = Program(command(&["--free-ports", "--memory", "8"]).spawn().unwrap());
    let mut lines = BufReader::new(program.0.stderr.take().unwrap()).lines().map(Result::unwrap);
    let mut at = |service: &str| {
        let line = lines.by_ref().find(|line| line.trim_start().starts_with(service)).unwrap();
        line.split_whitespace().find(|word| word.starts_with("http://")).unwrap().to_owned()
    };
    let (loki, window) = (at("Loki"), at("Window"));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
    let push = format!(r#"{{"streams":[{{"stream":{{"service_name":"shop"}},"values":[["{now}","hello"]]}}]}}"#);
    let answer = ask(&loki, "POST /loki/api/v1/push", &push);
    assert!(answer.starts_with("HTTP/1.1 204"), "{answer}");
    let overview = ask(&window, "GET /api/v1/overview", "");
    assert!(overview.contains("\"shop\"") && overview.contains(&format!("\"limit_bytes\":{}", 8 << 20)), "{overview}");
    let id = rustix::process::Pid::from_child(&program.0);
    rustix::process::kill_process(id, rustix::process::Signal::INT).unwrap();
    assert_eq!(program.0.wait().unwrap().code(), Some(0));
    let rest: Vec<String> = lines.collect();
    assert!(rest.iter().any(|line| line.starts_with("held at the end: 1 log entries")), "{rest:#?}");
}

#[test]
fn an_option_that_cannot_be_is_refused_with_its_value_and_what_is_accepted() {
    for (arguments, parts) in [
        (["--memory", "0"], ["--memory", "'0'", "1..=1048576"]),
        (["--address", "here"], ["--address", "'here'", "IP address"]),
        (["--scrape", "localhost:9464"], ["--scrape", "'localhost:9464'", "http://127.0.0.1:9464/metrics"]),
    ] {
        let output = command(&arguments).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success());
        for part in parts {
            assert!(said.contains(part), "{part}: {said}");
        }
    }
}
