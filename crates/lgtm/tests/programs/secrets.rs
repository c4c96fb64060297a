//! No secret shows: whatever a program with secrets in every place says on standard output and standard error, and sends in bodies,
//! against backends that take, refuse, are absent, or repeat what they were sent.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::time::Duration;

use lgtm_devstack::{Devstack, Endpoint, Reply};

use crate::harness::{Finished, backends, run};

/// Stands in every secret.
const MARK: &str = "s3cr3t";

/// Secrets in files, and a pair of certificate and key.
struct Files {
    folder: tempfile::TempDir,
    key: String,
}

impl Files {
    fn make() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::new(vec!["client".to_owned()]).unwrap().self_signed(&key).unwrap();
        let files = Self { folder, key: key.serialize_pem() };
        for (name, text) in [
            ("password", "s3cr3t-of-a-file\n".to_owned()),
            ("token", "s3cr3t-token-of-a-file".to_owned()),
            ("client.pem", certificate.pem()),
            ("client.key", files.key.clone()),
            ("broken.key", "-----BEGIN s3cr3t-----\ns3cr3t\n-----END PRIVATE KEY-----\n".to_owned()),
        ] {
            std::fs::write(files.path(name), text).unwrap();
        }
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    /// All that must not be seen: whatever has the mark, the pairs of basic authentication, the lines of the key.
    fn forbidden(&self) -> Vec<String> {
        let mut forbidden = vec![MARK.to_owned()];
        // me:s3cr3t-of-a-url, me:s3cr3t-of-a-file, without their padding.
        forbidden.extend(["bWU6czNjcjN0LW9mLWEtdXJs", "bWU6czNjcjN0LW9mLWEtZmls"].map(str::to_owned));
        let lines = self.key.lines().filter(|line| !line.starts_with("-----"));
        forbidden.extend(lines.filter(|line| line.len() > 16).map(str::to_owned));
        assert!(forbidden.len() >= 4);
        forbidden
    }
}

/// A program that reaches its backends at these addresses with a secret in every place there is.
fn run_with_secrets(files: &Files, loki: &str, tempo: &str, mimir: &str) -> Finished {
    let loki =
        format!("{}/loki/api/v1/push?key=s3cr3t-of-a-query", loki.replace("http://", "http://me:s3cr3t-of-a-url@"));
    let (password, token) = (files.text("password"), files.text("token"));
    let (certificate, key) = (files.text("client.pem"), files.text("client.key"));
    run(
        "secrets",
        &[
            ("LOKI_URL", &loki),
            ("TEMPO_ENDPOINT", tempo),
            ("MIMIR_ENDPOINT", mimir),
            ("OTEL_EXPORTER_OTLP_HEADERS", "x-key=s3cr3t-of-a-header,authorization=Bearer%20s3cr3t-header-token"),
            ("LGTM_MIMIR_USERNAME", "me"),
            ("LGTM_MIMIR_PASSWORD_FILE", &password),
            ("LGTM_METRICS_ADDR", "0"),
            ("LGTM_METRICS_TOKEN_FILE", &token),
            ("LGTM_CLIENT_CERTIFICATE_FILE", &certificate),
            ("LGTM_CLIENT_KEY_FILE", &key),
            ("LGTM_CONSOLE", "json"),
            ("LGTM_SHUTDOWN_TIMEOUT", "2s"),
            ("RUST_LOG", "trace"),
            ("RUST_BACKTRACE", "1"),
        ],
    )
}

#[track_caller]
fn assert_silent(files: &Files, what: &str, text: &str) {
    for secret in files.forbidden() {
        assert!(!text.contains(&secret), "{secret} shows ({what}): {text}");
    }
}

/// The program has come to its end, and nothing that it has said is a secret.
#[track_caller]
fn assert_output_is_silent(files: &Files, what: &str, finished: &Finished) {
    assert!(finished.said.iter().any(|line| line.starts_with("the end")), "{what}: {}", finished.stderr);
    assert_silent(files, what, &finished.stderr);
    assert_silent(files, what, &finished.stdout);
}

#[test]
fn a_backend_that_takes_everything_sees_secrets_in_headers_alone() {
    let files = Files::make();
    let stack = backends();
    let finished = run_with_secrets(&files, &stack.loki_url(), &stack.otlp_grpc_url(), &stack.mimir_url());
    assert_output_is_silent(&files, "stored", &finished);
    // They were used.
    let requests = stack.store().requests();
    let header = |endpoint: Endpoint, name: &str| {
        let request = requests.iter().find(|request| request.endpoint == endpoint);
        request.unwrap_or_else(|| panic!("{endpoint:?} got nothing")).header(name).map(str::to_owned)
    };
    assert_eq!(header(Endpoint::LokiPush, "authorization").as_deref(), Some("Basic bWU6czNjcjN0LW9mLWEtdXJs"));
    assert_eq!(header(Endpoint::RemoteWrite, "authorization").as_deref(), Some("Basic bWU6czNjcjN0LW9mLWEtZmlsZQ=="));
    assert_eq!(header(Endpoint::OtlpGrpc, "x-key").as_deref(), Some("s3cr3t-of-a-header"));
    assert_eq!(header(Endpoint::OtlpGrpc, "authorization").as_deref(), Some("Bearer s3cr3t-header-token"));
    assert!(requests.iter().any(|request| request.path.ends_with("?key=s3cr3t-of-a-query")));
    for request in &requests {
        let body = request.decoded_body().unwrap_or_else(|| panic!("{:?} does not decode", request.endpoint));
        assert_silent(&files, "a body", &String::from_utf8_lossy(&body));
    }
    // What the program logged arrived, without what its names stand for.
    let lines: Vec<_> = stack.store().logs().iter().map(|entry| entry.line.clone()).collect();
    assert!(lines.iter().any(|line| line.contains("\"db.password\":\"[redacted]\"")), "{lines:?}");
}

#[test]
fn backends_that_refuse_are_told_of_without_what_they_refuse() {
    let files = Files::make();
    for status in [400, 401, 403, 500] {
        let stack = Devstack::builder()
            .script(Endpoint::LokiPush, [Reply::status(status).always()])
            .script(Endpoint::RemoteWrite, [Reply::status(status).always()])
            .script(Endpoint::OtlpHttp, [Reply::status(status).always()])
            .start_blocking()
            .unwrap();
        let finished = run_with_secrets(&files, &stack.loki_url(), &stack.otlp_http_url(), &stack.mimir_url());
        assert_output_is_silent(&files, &status.to_string(), &finished);
        assert!(finished.warnings().len() >= 3, "{:?}", finished.warnings());
    }
}

#[test]
fn backends_that_are_absent_are_told_of_without_secrets() {
    let files = Files::make();
    let free = || {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    let finished = run_with_secrets(&files, &free(), &free(), &free());
    assert_output_is_silent(&files, "absent", &finished);
    assert!(finished.warnings().len() >= 3, "{:?}", finished.warnings());
}

/// Answers every connection with what it makes of the request.
fn server(answer: impl Fn(&[u8]) -> Vec<u8> + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    // It ends with the test's process.
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            let mut request = vec![0; 16 * 1024];
            let length = stream.read(&mut request).unwrap_or(0);
            let _ = stream.write_all(&answer(&request[..length]));
        }
    });
    address
}

#[test]
fn backends_that_answer_garbage_or_repeat_the_request_are_told_of_without_secrets() {
    let files = Files::make();
    let garbage = |_: &[u8]| b"\x1b]0;\x00garbage\xff\r\n\r\n".to_vec();
    let repeat = |request: &[u8]| {
        let head = request.split(|byte| *byte == 0).next().unwrap_or_default();
        // All of it in the first 200 characters: what a warning shows.
        let head = String::from_utf8_lossy(head);
        let interesting = |line: &&str| line.contains("key") || line.to_lowercase().starts_with("authorization");
        let body = head.lines().filter(interesting).collect::<Vec<_>>().join("\n");
        format!("HTTP/1.1 400 No\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len()).into_bytes()
    };
    for (what, address) in [("garbage", server(garbage)), ("repeated", server(repeat))] {
        let url = format!("http://{address}");
        // Over HTTP: a path.
        let finished = run_with_secrets(&files, &url, &format!("{url}/v1/traces"), &url);
        assert_output_is_silent(&files, what, &finished);
        assert!(finished.warnings().len() >= 3, "{:?}", finished.warnings());
        assert!(!finished.stderr.contains('\u{1b}'), "{:?}", finished.stderr);
        if what == "repeated" {
            assert!(finished.stderr.contains("***"), "the backend has repeated it: {}", finished.stderr);
        }
    }
}

#[test]
fn a_start_that_fails_says_why_without_the_secret_that_is_wrong_or_in_the_wrong_place() {
    let files = Files::make();
    let (password, broken, certificate) = (files.text("password"), files.text("broken.key"), files.text("client.pem"));
    let wrong: &[&[(&str, &str)]] = &[
        &[("LOKI_URL", "htt p://me:s3cr3t@host/?key=s3cr3t")],
        &[("LOKI_URL", "me:s3cr3t@host")],
        &[("LOKI_URL", "ftp://host/?key=s3cr3t#s3cr3t")],
        &[("TEMPO_ENDPOINT", "://me:s3cr?3t@s3cr3t?s3cr3t@x")],
        &[("MIMIR_ENDPOINT", "http://?s3cr3t")],
        &[("TEMPO_ENDPOINT", "http://host:4318/?key=s3cr3t"), ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")],
        &[("LGTM_TOKEN", "s3cr3t\nx")],
        &[("LGTM_TOKEN", "s3cr3t"), ("LGTM_USERNAME", "me")],
        &[("LGTM_TOKEN", "s3cr3t"), ("LGTM_PASSWORD", "s3cr3t")],
        &[("LGTM_PASSWORD", "s3cr3t")],
        &[("LGTM_PASSWORD", "s3cr3t"), ("LGTM_PASSWORD_FILE", &password)],
        &[("LGTM_PASSWORD_FILE", "s3cr3t")],
        &[("LGTM_LOKI_TOKEN_FILE", "s3cr3t/s3cr3t==")],
        &[("LGTM_METRICS_TOKEN_FILE", "s3cr3t")],
        &[("OTEL_EXPORTER_OTLP_HEADERS", "authorization: Basic s3cr3t=")],
        &[("OTEL_EXPORTER_OTLP_HEADERS", "s3cr3t")],
        &[("OTEL_EXPORTER_OTLP_HEADERS", "s3cr3t %ff=x")],
        &[("OTEL_EXPORTER_OTLP_HEADERS", "x-key=s3cr3t%0a")],
        &[("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "x-key=s3cr3t%ff")],
        &[("LOKI_URL", "https://loki.example"), ("HTTPS_PROXY", "socks5://me:s3cr3t@proxy")],
        &[("LOKI_URL", "https://loki.example"), ("HTTPS_PROXY", "http://me:s3cr3t@pro xy/?s3cr3t")],
        &[("LGTM_CLIENT_CERTIFICATE_FILE", &certificate), ("LGTM_CLIENT_KEY_FILE", &broken)],
        &[("LGTM_CLIENT_CERTIFICATE_FILE", &broken), ("LGTM_CLIENT_KEY_FILE", &broken)],
        &[("LGTM_CA_FILE", &broken)],
    ];
    for variables in wrong {
        let finished = run("failing start", variables);
        let said = finished.said.join("\n");
        assert!(said.contains("accepted") || said.contains("PEM"), "{variables:?}: {said} {}", finished.stderr);
        assert!(!said.contains("started"), "{variables:?}");
        assert_silent(&files, &format!("{variables:?}"), &format!("{}{}", finished.stdout, finished.stderr));
    }
}
