//! TLS as a client: opportunistic (RFC 7435), or with verified certificates.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ConfigBuilder, DigitallySignedStruct, RootCertStore, SignatureScheme, WantsVerifier};
use tokio_rustls::TlsConnector;

/// Paths of the trusted certificates on common systems, in order. `SSL_CERT_FILE` takes precedence.
const BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// TLS connectors for remotes.
#[derive(Clone)]
pub(super) struct Tls {
    verifying: TlsConnector,
    accepting: TlsConnector,
}

impl Tls {
    /// Trusts the certificates of the system. If the system has none, no certificate verifies.
    pub(super) fn of_system() -> Result<Self, rustls::Error> {
        let file = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
        let bundle = file.or_else(|| BUNDLES.iter().map(PathBuf::from).find(|path| path.is_file()));
        Self::new(bundle.map(|path| roots_of(&path)).unwrap_or_else(RootCertStore::empty))
    }

    /// Trusts the certificates in `roots`.
    pub(super) fn new(roots: RootCertStore) -> Result<Self, rustls::Error> {
        let verifying = builder(&provider())?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self {
            verifying: TlsConnector::from(Arc::new(verifying)),
            accepting: opportunistic()?,
        })
    }

    /// Returns the connector that verifies certificates, or the connector that accepts every certificate.
    pub(super) fn connector(&self, verify: bool) -> &TlsConnector {
        if verify { &self.verifying } else { &self.accepting }
    }
}

/// Returns a connector that accepts every certificate (RFC 7435).
pub(super) fn opportunistic() -> Result<TlsConnector, rustls::Error> {
    let provider = provider();
    let accepting = builder(&provider)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(accepting)))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn builder(provider: &Arc<CryptoProvider>) -> Result<ConfigBuilder<ClientConfig, WantsVerifier>, rustls::Error> {
    ClientConfig::builder_with_provider(Arc::clone(provider)).with_safe_default_protocol_versions()
}

fn roots_of(path: &Path) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    match CertificateDer::pem_file_iter(path) {
        Ok(certificates) => {
            roots.add_parsable_certificates(certificates.filter_map(Result::ok));
        }
        Err(error) => tracing::warn!(path = %path.display(), %error, "trusted certificates not read"),
    }
    roots
}

/// Verifier for opportunistic TLS (RFC 7435): accepts every certificate, which still protects against passive
/// listeners. Signatures are checked, so that the peer proves possession of the certificate's key.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
