//! The TLS client of an endpoint: who is trusted, and by which certificate this client names itself. TLS 1.2 at least. Made at the
//! start, and on the worker when a file of it has changed.

use std::path::Path;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use rustls::ClientConfig;
use rustls::crypto::CryptoProvider;
use rustls_pki_types::pem::{self, PemObject as _};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use rustls_platform_verifier::Verifier;

use crate::endpoint::{Endpoint, EndpointError};

/// One explicit provider: two in the tree would make rustls panic when asked for its default.
pub(super) fn config(endpoint: &Endpoint) -> Result<ClientConfig, EndpointError> {
    let failed = |error: rustls::Error| EndpointError::Tls(error.to_string());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let extra = authorities(endpoint)?;
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(failed)?;
    let builder = if endpoint.url.scheme() == "http" {
        // No handshake will happen: the platform's roots need not be there.
        builder.with_root_certificates(rustls::RootCertStore::empty())
    } else {
        builder.dangerous().with_custom_certificate_verifier(verifier(extra, provider).map_err(failed)?)
    };
    let Some((certificate, key)) = &endpoint.client_certificate else { return Ok(builder.with_no_client_auth()) };
    let refuse = |path: &Path, reason: String| EndpointError::ClientCertificate { path: path.to_owned(), reason };
    let chain = certificates(certificate).map_err(|reason| refuse(certificate, reason))?;
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| refuse(key, reason(&error)))?;
    builder.with_client_auth_cert(chain, private).map_err(|error| refuse(certificate, error.to_string()))
}

/// Who trusts the platform's roots and these. Reading the platform's takes 20 ms: endpoints without others share them while one lives.
fn verifier(
    extra: Vec<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<Verifier>, rustls::Error> {
    static SHARED: Mutex<Weak<Verifier>> = Mutex::new(Weak::new());
    if !extra.is_empty() {
        return Verifier::new_with_extra_roots(extra, provider).map(Arc::new);
    }
    // Nobody waits: the lock may have been another thread's when this process was forked.
    let Some(mut shared) = SHARED.try_lock() else { return Verifier::new(provider).map(Arc::new) };
    if let Some(known) = shared.upgrade() {
        return Ok(known);
    }
    let made = Arc::new(Verifier::new(provider)?);
    *shared = Arc::downgrade(&made);
    Ok(made)
}

fn authorities(endpoint: &Endpoint) -> Result<Vec<CertificateDer<'static>>, EndpointError> {
    let Some(path) = &endpoint.ca_file else { return Ok(Vec::new()) };
    certificates(path).map_err(|reason| EndpointError::CaFile { path: path.clone(), reason })
}

/// The certificates of a PEM file, one at least.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let pem = std::fs::read(path).map_err(|error| error.to_string())?;
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let all = all.map_err(|error| reason(&error))?;
    if all.is_empty() { Err("it has no certificate".to_owned()) } else { Ok(all) }
}

/// Why a file is no PEM file; nothing that stands in it.
fn reason(error: &pem::Error) -> String {
    match error {
        pem::Error::Io(error) => error.to_string(),
        pem::Error::NoItemsFound => "no items found".to_owned(),
        _ => "not well formed".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_without_authorities_of_their_own_share_the_platforms() {
        let verifier = || verifier(Vec::new(), Arc::new(rustls::crypto::ring::default_provider())).unwrap();
        // Another test may be making one at the moment.
        assert!((0..100).any(|_| Arc::ptr_eq(&verifier(), &verifier())));
    }
}
