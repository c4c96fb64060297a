//! Connections that are not trusted: nothing is sent over them, the items wait for their time, the error says that it is TLS.

use std::sync::Arc;
use std::time::Duration;

use lgtm_core::{DropReason, Endpoint, ErrorType};
use lgtm_devstack::Devstack;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::rustls::{ServerConfig, crypto::ring};

use super::sender::{Backend, Sender, dropped, endpoint, errors, options};
use super::server::{Front, Trick, on_a_thread};

/// An authority in a file.
struct Authority {
    folder: tempfile::TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let key = KeyPair::generate().unwrap();
        let mut authority = CertificateParams::new(Vec::new()).unwrap();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        std::fs::write(folder.path().join("authority.pem"), authority.self_signed(&key).unwrap().pem()).unwrap();
        Self { folder, issuer: Issuer::new(authority, key) }
    }

    /// Takes TLS off what comes for the backend at this URL, by a certificate for this host.
    fn in_front_of(&self, backend: Backend, url: &str, host: &str, expired: bool) -> (u16, oneshot::Sender<()>) {
        let key = KeyPair::generate().unwrap();
        let mut certificate = CertificateParams::new(vec![host.to_owned()]).unwrap();
        if expired {
            certificate.not_before = date_time_ymd(2020, 1, 1);
            certificate.not_after = date_time_ymd(2021, 1, 1);
        }
        let certificate = certificate.signed_by(&key, &self.issuer).unwrap();
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der())),
            )
            .unwrap();
        let protocol: &[u8] = if backend == Backend::TempoGrpc { b"h2" } else { b"http/1.1" };
        config.alpn_protocols = vec![protocol.to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let address = url.strip_prefix("http://").unwrap().to_owned();
        let (front, stop) = on_a_thread(move |stream| {
            let (acceptor, address) = (acceptor.clone(), address.clone());
            async move {
                if let Ok(mut secure) = acceptor.accept(stream).await
                    && let Ok(mut plain) = TcpStream::connect(address).await
                {
                    let _ = tokio::io::copy_bidirectional(&mut secure, &mut plain).await;
                }
            }
        });
        (front.port(), stop)
    }

    fn trusted_at(&self, port: u16) -> Endpoint {
        endpoint(&format!("https://localhost:{port}")).ca_file(self.folder.path().join("authority.pem"))
    }
}

#[track_caller]
fn assert_not_trusted(backend: Backend, stack: &Devstack, endpoint: Endpoint, case: &str) {
    let mut options = options();
    options.retry.give_up_after = Duration::from_millis(100);
    let sender = Sender::start(backend, endpoint, options);
    sender.emit(3);
    let report = sender.flush();
    assert_eq!(dropped(&report, DropReason::RetriesExhausted), report.admitted, "{backend:?}, {case}: {report}");
    assert!(errors(&report, ErrorType::Tls) >= 2, "{backend:?}, {case}: it is tried again: {report}");
    assert_eq!(report.errors.len(), 1, "{backend:?}, {case}: {report}");
    assert_eq!(backend.requests(stack).len(), 0, "{backend:?}, {case}: nothing was sent");
}

#[test]
fn over_a_connection_that_is_not_trusted_nothing_is_sent() {
    for backend in Backend::ALL {
        let stack = Devstack::start_blocking().unwrap();
        let url = backend.url(&stack);
        let (authority, other) = (Authority::new(), Authority::new());

        let (port, _stop) = authority.in_front_of(backend, &url, "localhost", false);
        assert_not_trusted(backend, &stack, other.trusted_at(port), "an unknown authority");
        let trusted = authority.trusted_at(port);
        let (port, _stop_2) = authority.in_front_of(backend, &url, "elsewhere.example", false);
        assert_not_trusted(backend, &stack, authority.trusted_at(port), "another host's certificate");
        let (port, _stop_3) = authority.in_front_of(backend, &url, "localhost", true);
        assert_not_trusted(backend, &stack, authority.trusted_at(port), "an expired certificate");

        // The same with nothing wrong.
        let sender = Sender::start(backend, trusted, options());
        sender.emit(3);
        let report = sender.flush();
        assert_eq!((report.delivered, report.errors.len()), (report.admitted, 0), "{backend:?}: {report}");
    }
}

#[test]
fn a_server_without_tls_or_with_one_too_old_gets_nothing() {
    // A server's hello that chooses TLS 1.1.
    let hello = [&[22, 3, 2, 0, 42, 2, 0, 0, 38, 3, 2][..], &[7; 32], &[0, 0, 0x2f, 0]].concat();
    let plain = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n".to_vec();
    for backend in Backend::ALL {
        let stack = Devstack::start_blocking().unwrap();
        for (case, answer) in [("no TLS", &plain), ("TLS 1.1", &hello)] {
            // Whatever is tried meanwhile gets the same.
            let front = Front::of(&backend.url(&stack), vec![Trick::Close(answer.clone()); 10_000]);
            assert_not_trusted(backend, &stack, Authority::new().trusted_at(front.port()), case);
        }
    }
}
