//! The way to a backend, over HTTP and gRPC: TLS with certificates on both sides, proxies with and without a tunnel.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;
use url::Url;

use super::grpc::{GrpcServer, start_grpc};
use super::support::*;
use crate::accounting::ErrorType;
use crate::endpoint::{Endpoint, Proxy};
use crate::pipeline::{Pipeline, Worker};

/// An authority, a server's and a client's certificate by it, as files.
struct Certificates {
    folder: tempfile::TempDir,
    server: Arc<ServerConfig>,
}

impl Certificates {
    fn make(alpn: &[u8]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority_key = KeyPair::generate().unwrap();
        let mut authority = CertificateParams::new(Vec::new()).unwrap();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority_certificate = authority.self_signed(&authority_key).unwrap();
        let issuer = Issuer::new(authority, authority_key);
        let signed = |names: &[&str]| {
            let key = KeyPair::generate().unwrap();
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            (CertificateParams::new(names).unwrap().signed_by(&key, &issuer).unwrap(), key)
        };
        let write = |name: &str, text: String| std::fs::write(folder.path().join(name), text).unwrap();
        write("authority.pem", authority_certificate.pem());
        let (certificate, key) = signed(&["client"]);
        write("client.pem", certificate.pem());
        write("client.key", key.serialize_pem());
        write("other.key", KeyPair::generate().unwrap().serialize_pem());

        let (certificate, key) = signed(&["localhost"]);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = rustls::RootCertStore::empty();
        roots.add(authority_certificate.der().clone()).unwrap();
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build().unwrap();
        let mut server = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier)
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der())),
            )
            .unwrap();
        server.alpn_protocols = vec![alpn.to_vec()];
        Self { folder, server: Arc::new(server) }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Takes TLS off what comes for this backend.
    fn in_front_of(&self, backend: SocketAddr) -> (SocketAddr, oneshot::Sender<()>) {
        let acceptor = TlsAcceptor::from(Arc::clone(&self.server));
        on_a_thread(free_port(), move |stream| {
            let acceptor = acceptor.clone();
            async move {
                if let Ok(mut secure) = acceptor.accept(stream).await
                    && let Ok(mut plain) = TcpStream::connect(backend).await
                {
                    let _ = tokio::io::copy_bidirectional(&mut secure, &mut plain).await;
                }
            }
        })
    }

    fn endpoint(&self, address: SocketAddr) -> Endpoint {
        let url = format!("https://localhost:{}", address.port());
        Endpoint::parse(&url).unwrap().timeout(PATIENCE).ca_file(self.file("authority.pem"))
    }
}

#[test]
fn a_client_certificate_is_shown_over_http_and_grpc() {
    let certificates = Certificates::make(b"http/1.1");
    let server = Server::start([]);
    let (address, _stop) = certificates.in_front_of(server.address);
    let named = |certificates: &Certificates, address| {
        certificates
            .endpoint(address)
            .client_certificate(certificates.file("client.pem"), certificates.file("client.key"))
    };
    let pipeline = start(named(&certificates, address), fast());
    assert!(admit(pipeline.queue(), 1));
    assert_eq!(end(&pipeline).delivered, 1);
    assert_eq!(server.stored(), [1]);

    let certificates = Certificates::make(b"h2");
    let server = GrpcServer::start([]);
    let (address, _stop) = certificates.in_front_of(server.address);
    let pipeline = start_grpc(named(&certificates, address), fast());
    assert!(admit(pipeline.queue(), 2));
    assert_eq!(end(&pipeline).delivered, 1);
    assert_eq!(server.stored(), [2]);
}

#[test]
fn without_its_certificate_a_client_is_refused_and_that_is_a_tls_error() {
    let certificates = Certificates::make(b"http/1.1");
    let server = Server::start([]);
    let (address, _stop) = certificates.in_front_of(server.address);
    let pipeline = start(certificates.endpoint(address), slow_with_fast_retries());
    assert!(admit(pipeline.queue(), 1));
    pipeline.begin_shutdown(std::time::Instant::now() + std::time::Duration::from_millis(500));
    assert!(pipeline.wait_ended(soon()));
    let report = pipeline.report();
    assert!(errors_of(&report, ErrorType::Tls) + errors_of(&report, ErrorType::Connect) >= 1, "{report}");
    assert_eq!((report.delivered, server.stored().len()), (0, 0));
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
    let (secure, _stop) = certificates.in_front_of(server.address);
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
    let nobody = Proxy::At(Url::parse(&format!("http://{}", refusing_address())).unwrap());
    for tunnel in [false, true] {
        let url = if tunnel { "https://loki.example" } else { "http://loki.example" };
        let pipeline =
            start(Endpoint::parse(url).unwrap().timeout(PATIENCE).proxy(nobody.clone()), slow_with_fast_retries());
        assert!(admit(pipeline.queue(), 1));
        let report = end(&pipeline);
        assert_eq!(errors_of(&report, ErrorType::Connect), 1, "{url}: {report}");
    }
}
