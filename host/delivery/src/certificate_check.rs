//! Checks of a server's certificate during the handshake, behind a single verifier.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, SignatureScheme};
use sha2::{Digest as _, Sha256};

use host_config::KeyDigest;

use crate::presented_chain::PresentedChain;
use crate::tlsa_check::TlsaCheck;
use crate::trusted_file::TrustedFile;

/// Check of a server's certificate.
#[derive(Debug, Clone)]
pub(super) enum CertificateCheck {
    /// Every certificate passes (RFC 7435), which still protects against passive listeners.
    Any,
    /// Certificates that authorities of a file have issued, and those of the file itself.
    Trusted(Arc<TrustedFile>),
    /// Certificates with one of these public keys; names and dates do not count.
    Keys(Arc<[KeyDigest]>),
    /// Certificates that TLSA records name.
    Tlsa(Arc<TlsaCheck>),
}

impl CertificateCheck {
    /// Checks the certificates of the host `name`.
    pub(super) fn check(&self, chain: PresentedChain<'_>, name: &ServerName<'_>) -> Result<(), rustls::Error> {
        match self {
            Self::Any => Ok(()),
            Self::Trusted(file) => file.check(chain, name),
            Self::Tlsa(records) => records.check(chain),
            Self::Keys(keys) => match keys.contains(&key_digest(chain.own)?) {
                true => Ok(()),
                false => Err(CertificateError::ApplicationVerificationFailure.into()),
            },
        }
    }
}

/// SHA-256 digest of a certificate's public key (`SubjectPublicKeyInfo`).
fn key_digest(certificate: &CertificateDer<'_>) -> Result<KeyDigest, rustls::Error> {
    let parsed = ParsedCertificate::try_from(certificate)?;
    Ok(Sha256::digest(parsed.subject_public_key_info().as_ref()).into())
}

/// Verifier of a handshake: a [`CertificateCheck`], and signatures that prove possession of the certificate's key.
#[derive(Debug)]
pub(super) struct CertificateVerifier {
    pub(super) provider: Arc<CryptoProvider>,
    pub(super) check: CertificateCheck,
}

impl ServerCertVerifier for CertificateVerifier {
    fn verify_server_cert(
        &self,
        own: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.check.check(PresentedChain { own, others }, name)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    #[test]
    fn pinned_key_passes_in_any_certificate() {
        let key = KeyPair::generate().expect("a key");
        let certificate = |key: &KeyPair, name: &str| {
            let mut params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
            params.not_after = date_time_ymd(2020, 1, 1);
            params.self_signed(key).expect("a certificate").der().clone()
        };
        let pinned = key_digest(&certificate(&key, "a.example")).expect("a digest");
        let check = CertificateCheck::Keys([pinned].into());
        let name = ServerName::try_from("b.example").expect("a name");
        let passes = |own: &CertificateDer<'_>| check.check(PresentedChain { own, others: &[] }, &name).is_ok();
        assert!(passes(&certificate(&key, "other.example")));
        let other = KeyPair::generate().expect("a key");
        assert!(!passes(&certificate(&other, "b.example")));
        assert!(!passes(&CertificateDer::from(vec![1, 2, 3])));
    }
}
