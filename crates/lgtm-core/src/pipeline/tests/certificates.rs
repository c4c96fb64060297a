//! Certificates by an authority of the test's own, and a server that takes TLS off in front of a plain one.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use rcgen::{BasicConstraints, Certificate, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::server::{NoClientAuth, WebPkiClientVerifier};
use rustls::{ServerConfig, SupportedProtocolVersion};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;

use super::support::*;
use crate::endpoint::Endpoint;

/// Whether the server wants one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ClientCertificate {
    NotAsked,
    Required,
}

/// An authority, a server's and a client's certificate by it, as files.
pub(super) struct Certificates {
    folder: tempfile::TempDir,
    issuer: Issuer<'static, KeyPair>,
    server: Arc<ServerConfig>,
}

impl Certificates {
    /// For a server that demands the client's.
    pub(super) fn make(alpn: &[u8]) -> Self {
        Self::with(alpn, rustls::ALL_VERSIONS, ClientCertificate::Required)
    }

    pub(super) fn with(alpn: &[u8], versions: &[&'static SupportedProtocolVersion], client: ClientCertificate) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority_key = KeyPair::generate().unwrap();
        let mut authority = CertificateParams::new(Vec::new()).unwrap();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority_certificate = authority.self_signed(&authority_key).unwrap();
        let issuer = Issuer::new(authority, authority_key);
        let (certificate, key) = signed(&issuer, "localhost");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = rustls::RootCertStore::empty();
        roots.add(authority_certificate.der().clone()).unwrap();
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build().unwrap();
        let builder = ServerConfig::builder_with_provider(provider).with_protocol_versions(versions).unwrap();
        let builder = match client {
            ClientCertificate::NotAsked => builder.with_client_cert_verifier(Arc::new(NoClientAuth)),
            ClientCertificate::Required => builder.with_client_cert_verifier(verifier),
        };
        let mut server = builder
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der())),
            )
            .unwrap();
        server.alpn_protocols = vec![alpn.to_vec()];
        let certificates = Self { folder, issuer, server: Arc::new(server) };
        certificates.write("authority.pem", &authority_certificate.pem());
        certificates.write("other.key", &KeyPair::generate().unwrap().serialize_pem());
        certificates.renew_client();
        certificates
    }

    /// Writes a new certificate and key of the client; the certificate's bytes.
    pub(super) fn renew_client(&self) -> Vec<u8> {
        let (certificate, key) = signed(&self.issuer, "client");
        self.write("client.pem", &certificate.pem());
        self.write("client.key", &key.serialize_pem());
        certificate.der().to_vec()
    }

    pub(super) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.file(name), text).unwrap();
    }

    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(super) fn endpoint(&self, address: SocketAddr) -> Endpoint {
        let url = format!("https://localhost:{}", address.port());
        Endpoint::parse(&url).unwrap().timeout(PATIENCE).ca_file(self.file("authority.pem"))
    }

    /// Takes TLS off what comes for this backend.
    pub(super) fn in_front_of(&self, backend: SocketAddr) -> Front {
        let acceptor = Arc::new(Mutex::new(TlsAcceptor::from(Arc::clone(&self.server))));
        let peers: Arc<Mutex<Vec<Vec<u8>>>> = Arc::default();
        let (current, seen) = (Arc::clone(&acceptor), Arc::clone(&peers));
        let (address, stop) = on_a_thread(free_port(), move |stream| {
            let (acceptor, seen) = (current.lock().clone(), Arc::clone(&seen));
            async move {
                if let Ok(mut secure) = acceptor.accept(stream).await
                    && let Ok(mut plain) = TcpStream::connect(backend).await
                {
                    let peer = secure.get_ref().1.peer_certificates().and_then(|chain| chain.first());
                    seen.lock().push(peer.map(|certificate| certificate.to_vec()).unwrap_or_default());
                    let _ = tokio::io::copy_bidirectional(&mut secure, &mut plain).await;
                }
            }
        });
        Front { address, acceptor, peers, _stop: stop }
    }
}

fn signed(issuer: &Issuer<'_, KeyPair>, name: &str) -> (Certificate, KeyPair) {
    let key = KeyPair::generate().unwrap();
    (CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, issuer).unwrap(), key)
}

/// The server. It ends when dropped.
pub(super) struct Front {
    pub(super) address: SocketAddr,
    acceptor: Arc<Mutex<TlsAcceptor>>,
    peers: Arc<Mutex<Vec<Vec<u8>>>>,
    _stop: oneshot::Sender<()>,
}

impl Front {
    /// New connections get the certificate of these, and are asked for one of these.
    pub(super) fn use_certificates(&self, certificates: &Certificates) {
        *self.acceptor.lock() = TlsAcceptor::from(Arc::clone(&certificates.server));
    }

    /// The certificate by which each client has named itself, in the order of the connections.
    pub(super) fn peers(&self) -> Vec<Vec<u8>> {
        self.peers.lock().clone()
    }
}
