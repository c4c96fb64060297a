//! The way to a backend, over HTTP and gRPC: TLS with certificates on both sides, proxies with and without a tunnel.

use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use rustls::version::{TLS12, TLS13};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use url::Url;

use super::certificates::{Certificates, ClientCertificate};
use super::grpc::{GrpcServer, start_grpc};
use super::support::*;
use crate::accounting::ErrorType;
use crate::endpoint::{Endpoint, Proxy};
use crate::pipeline::{Pipeline, Worker};

#[test]
fn a_client_certificate_is_shown_over_http_and_grpc() {
    let certificates = Certificates::make(b"http/1.1");
    let server = Server::start([]);
    let front = certificates.in_front_of(server.address);
    let named = |certificates: &Certificates, address| {
        certificates
            .endpoint(address)
            .client_certificate(certificates.file("client.pem"), certificates.file("client.key"))
    };
    let pipeline = start(named(&certificates, front.address), fast());
    assert!(admit(pipeline.queue(), 1));
    assert_eq!(end(&pipeline).delivered, 1);
    assert_eq!(server.stored(), [1]);

    let certificates = Certificates::make(b"h2");
    let server = GrpcServer::start([]);
    let front = certificates.in_front_of(server.address);
    let pipeline = start_grpc(named(&certificates, front.address), fast());
    assert!(admit(pipeline.queue(), 2));
    assert_eq!(end(&pipeline).delivered, 1);
    assert_eq!(server.stored(), [2]);
}

#[test]
fn without_its_certificate_a_client_is_refused_over_http_and_grpc_and_that_is_a_tls_error() {
    for grpc in [false, true] {
        let certificates = Certificates::make(if grpc { b"h2" } else { b"http/1.1" });
        let (http, rpc) = (Server::start([]), GrpcServer::start([]));
        let front = certificates.in_front_of(if grpc { rpc.address } else { http.address });
        let endpoint = certificates.endpoint(front.address);
        let options = slow_with_fast_retries();
        let pipeline = if grpc { start_grpc(endpoint, options) } else { start(endpoint, options) };
        assert!(admit(pipeline.queue(), 1));
        pipeline.begin_shutdown(std::time::Instant::now() + std::time::Duration::from_millis(500));
        assert!(pipeline.wait_ended(soon()));
        let report = pipeline.report();
        assert!(errors_of(&report, ErrorType::Tls) + errors_of(&report, ErrorType::Connect) >= 1, "{report}");
        assert_eq!((report.delivered, http.stored().len(), rpc.stored().len()), (0, 0, 0));
    }
}

#[test]
fn servers_of_tls_1_2_alone_and_of_1_3_alone_are_reached_over_http_and_grpc() {
    for version in [&TLS12, &TLS13] {
        let certificates = Certificates::with(b"http/1.1", &[version], ClientCertificate::NotAsked);
        let server = Server::start([]);
        let front = certificates.in_front_of(server.address);
        let pipeline = start(certificates.endpoint(front.address), fast());
        assert!(admit(pipeline.queue(), 1));
        assert_eq!(end(&pipeline).delivered, 1, "{version:?}");

        let certificates = Certificates::with(b"h2", &[version], ClientCertificate::NotAsked);
        let server = GrpcServer::start([]);
        let front = certificates.in_front_of(server.address);
        let pipeline = start_grpc(certificates.endpoint(front.address), fast());
        assert!(admit(pipeline.queue(), 2));
        assert_eq!(end(&pipeline).delivered, 1, "{version:?}");
    }
}

#[test]
fn versions_below_tls_1_2_are_not_offered_and_a_server_that_insists_is_refused() {
    let hellos: Arc<Mutex<Vec<u8>>> = Arc::default();
    let seen = Arc::clone(&hellos);
    let (address, _stop) = on_a_thread(free_port(), move |mut stream| {
        let seen = Arc::clone(&seen);
        async move {
            let mut hello = vec![0; 16 * 1024];
            if let Ok(length) = stream.read(&mut hello).await {
                seen.lock().extend_from_slice(&hello[..length]);
            }
            // A ServerHello of TLS 1.0: record, handshake, version, random, no session, a cipher suite, no compression.
            let mut answer = vec![22, 3, 1, 0, 42, 2, 0, 0, 38, 3, 1];
            answer.extend_from_slice(&[7; 32]);
            answer.extend_from_slice(&[0, 0, 0x2f, 0]);
            let _ = stream.write_all(&answer).await;
            let _ = stream.read(&mut hello).await;
        }
    });
    let endpoint = Endpoint::parse(&format!("https://localhost:{}", address.port())).unwrap().timeout(PATIENCE);
    let pipeline = start(endpoint, slow_with_fast_retries());
    assert!(admit(pipeline.queue(), 1));
    let report = end(&pipeline);
    assert_eq!((report.delivered, errors_of(&report, ErrorType::Tls)), (0, 1), "{report}");
    // The extension supported_versions (43): TLS 1.3 and 1.2, in two bytes each.
    let hello = hellos.lock().clone();
    let versions = [0, 43, 0, 5, 4, 3, 4, 3, 3];
    assert!(hello.windows(versions.len()).any(|window| window == versions), "{hello:02x?}");
}

#[test]
fn files_that_are_no_certificates_are_errors_that_name_them() {
    let certificates = Certificates::make(b"http/1.1");
    let base = || Endpoint::parse("https://localhost:1").unwrap();
    let (client, key) = (certificates.file("client.pem"), certificates.file("client.key"));
    for (endpoint, parts) in [
        (base().ca_file(&key), ["client.key", "no certificate", "PEM file"]),
        (base().ca_file("/nowhere.pem"), ["/nowhere.pem", "No such file", "PEM file"]),
        (base().client_certificate("/nowhere.pem", &key), ["/nowhere.pem", "No such file", "private key"]),
        (base().client_certificate(&client, &client), ["client.pem", "no items found", "private key"]),
        (
            base().client_certificate(&client, certificates.file("other.key")),
            ["client.pem", "KeyMismatch", "private key"],
        ),
    ] {
        let started = Pipeline::start(Numbers::default(), target(endpoint), fast(), &Worker::spawn().unwrap());
        let error = started.map(|_| ()).unwrap_err().to_string();
        for part in parts {
            assert!(error.contains(part), "`{part}` is not in `{error}`");
        }
    }
}

/// A proxy that tunnels and passes on; the heads of what it was asked.
struct ProxyServer {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
    _stop: oneshot::Sender<()>,
}

impl ProxyServer {
    /// Whatever is asked for, it goes to this backend.
    fn start(backend: SocketAddr) -> Self {
        let heads = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&heads);
        let (address, stop) = on_a_thread(free_port(), move |mut client| {
            let seen = Arc::clone(&seen);
            async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    let Ok(byte) = client.read_u8().await else { return };
                    head.push(byte);
                }
                let text = String::from_utf8(head.clone()).unwrap();
                let tunnels = text.starts_with("CONNECT ");
                seen.lock().push(text);
                let mut server = TcpStream::connect(backend).await.unwrap();
                if tunnels {
                    client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
                } else {
                    server.write_all(&head).await.unwrap();
                }
                let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
            }
        });
        Self { address, heads, _stop: stop }
    }

    fn url(&self) -> Proxy {
        Proxy::At(Url::parse(&format!("http://me:hunter2@{}", self.address)).unwrap())
    }
}

#[test]
fn a_proxy_passes_plain_requests_on_by_their_whole_address() {
    let server = Server::start([]);
    let proxy = ProxyServer::start(server.address);
    let endpoint = Endpoint::parse("http://loki.example:3100").unwrap().timeout(PATIENCE).proxy(proxy.url());
    let pipeline = start(endpoint, fast());
    assert!(admit(pipeline.queue(), 1));
    assert_eq!(end(&pipeline).delivered, 1);
    let head = proxy.heads.lock()[0].to_lowercase();
    assert!(head.starts_with("post http://loki.example:3100/push http/1.1"), "{head}");
    assert!(head.contains("proxy-authorization: basic bwu6ahvudgvymg=="), "{head}");
    assert_eq!(server.stored(), [1]);
}

#[test]
fn secure_requests_and_grpc_go_through_a_tunnel() {
    let certificates = Certificates::make(b"http/1.1");
    let server = Server::start([]);
    let front = certificates.in_front_of(server.address);
    let secure = front.address;
    let proxy = ProxyServer::start(secure);
    let endpoint = certificates
        .endpoint(secure)
        .client_certificate(certificates.file("client.pem"), certificates.file("client.key"))
        .proxy(proxy.url());
    let pipeline = start(endpoint, fast());
    assert!(admit(pipeline.queue(), 1));
    assert_eq!(end(&pipeline).delivered, 1);
    let head = proxy.heads.lock()[0].to_lowercase();
    assert!(head.starts_with(&format!("connect localhost:{} http/1.1", secure.port())), "{head}");
    assert!(head.contains("proxy-authorization: basic bwu6ahvudgvymg=="), "{head}");

    let server = GrpcServer::start([]);
    let proxy = ProxyServer::start(server.address);
    let endpoint = Endpoint::parse("http://tempo.example:4317").unwrap().timeout(PATIENCE).proxy(proxy.url());
    let pipeline = start_grpc(endpoint, fast());
    assert!(admit(pipeline.queue(), 2));
    assert_eq!(end(&pipeline).delivered, 1);
    assert!(proxy.heads.lock()[0].starts_with("CONNECT tempo.example:4317 "), "{:?}", proxy.heads.lock());
    assert_eq!(server.stored(), [2]);
}

#[test]
fn a_proxy_that_does_not_answer_is_an_unreachable_backend() {
    let port = RefusingPort::new();
    let nobody = Proxy::At(Url::parse(&port.url()).unwrap());
    for tunnel in [false, true] {
        let url = if tunnel { "https://loki.example" } else { "http://loki.example" };
        let pipeline =
            start(Endpoint::parse(url).unwrap().timeout(PATIENCE).proxy(nobody.clone()), slow_with_fast_retries());
        assert!(admit(pipeline.queue(), 1));
        let report = end(&pipeline);
        assert_eq!(errors_of(&report, ErrorType::Connect), 1, "{url}: {report}");
    }
}
