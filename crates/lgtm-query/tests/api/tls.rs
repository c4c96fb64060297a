//! HTTPS without a process-wide TLS provider.

use std::sync::Arc;

use lgtm_query::{Client, Error, Loki};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// A server that says "ready" to every request over TLS. Gives its URL and its certificate as PEM.
async fn tls_server() -> (String, String) {
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
    tokio::spawn(async move {
        loop {
            let (connection, _) = listener.accept().await.unwrap();
            // A client that does not trust the certificate hangs up during the handshake.
            let Ok(mut connection) = acceptor.accept(connection).await else { continue };
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                request.push(connection.read_u8().await.unwrap());
            }
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nready";
            connection.write_all(answer).await.unwrap();
            connection.shutdown().await.unwrap();
        }
    });
    (url, certified.cert.pem())
}

#[tokio::test]
async fn a_server_is_trusted_by_the_given_root_and_not_without_it() {
    let (url, certificate) = tls_server().await;
    let trusting = Client::builder(&url).root_certificates_pem(certificate).build().unwrap();
    assert!(Loki::new(trusting).is_ready().await.unwrap());

    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap().cert.pem();
    let mistrusting = Client::builder(&url).root_certificates_pem(other).build().unwrap();
    let error = Loki::new(mistrusting).is_ready().await.unwrap_err();
    assert!(matches!(error, Error::Transport { .. }) && error.to_string().contains("certificate"), "{error}");
    assert!(rustls::crypto::CryptoProvider::get_default().is_none());
}
