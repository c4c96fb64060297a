//! A client for servers on the loopback interface.

use tokio_rustls::rustls::crypto::ring;

/// reqwest's, with the one TLS provider of this workspace: it makes no client without one, plain as the URLs are.
///
/// # Panics
/// If the client cannot be made.
#[must_use]
pub fn plain() -> reqwest::Client {
    // Another test may have been faster.
    let _ = ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().build().expect("a client")
}
