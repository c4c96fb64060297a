//! The TLS configuration of a client: the ring provider, named here and nowhere else, so that the program needs no
//! process-wide default; the platform's trusted roots, plus those that the caller adds.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt as _;

/// A configuration for HTTPS. With `roots_pem`, those certificates alone are trusted.
pub(crate) fn client_config(roots_pem: Option<&[u8]>) -> Result<ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let mut config = match roots_pem {
        None => builder.with_platform_verifier().map_err(|error| error.to_string())?.with_no_client_auth(),
        Some(pem) => {
            let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots(pem)?), provider)
                .build()
                .map_err(|error| error.to_string())?;
            builder.with_webpki_verifier(verifier).with_no_client_auth()
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// A configuration that trusts nobody, for clients of plain HTTP: reading the platform's roots would cost time, and fails on
/// a machine without any.
pub(crate) fn no_tls() -> Result<ClientConfig, String> {
    ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map(|builder| builder.with_root_certificates(RootCertStore::empty()).with_no_client_auth())
        .map_err(|error| error.to_string())
}

fn roots(pem: &[u8]) -> Result<RootCertStore, String> {
    let mut store = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| format!("the root certificates are not PEM: {error}"))?;
        store.add(certificate).map_err(|error| format!("a root certificate is not valid: {error}"))?;
    }
    if store.is_empty() {
        return Err("the root certificates hold no `BEGIN CERTIFICATE` section".to_owned());
    }
    Ok(store)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_without_a_certificate_is_refused() {
        assert!(client_config(Some(b"not a certificate")).unwrap_err().contains("BEGIN CERTIFICATE"));
    }
}
