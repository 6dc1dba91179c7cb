//! Certificates that a server presents in the handshake.

use rustls::pki_types::CertificateDer;

/// Certificates of a server: its own, and those that lead to an authority.
#[derive(Clone, Copy)]
pub(super) struct PresentedChain<'a> {
    pub(super) own: &'a CertificateDer<'a>,
    pub(super) others: &'a [CertificateDer<'a>],
}
