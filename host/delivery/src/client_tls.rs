//! TLS as a client: opportunistic (RFC 7435), or with verified certificates.
//!
//! A certificate verifies if an authority in the trusted file has issued it, or if it stands in the trusted file itself
//! (pinned), as a self-signed certificate does.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, ConfigBuilder, DigitallySignedStruct, ProtocolVersion, RootCertStore,
    SignatureScheme, WantsVerifier,
};
use tokio_rustls::TlsConnector;

use crate::client_wire::ClientTlsSession;

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
    verifier: Arc<TrustedFile>,
}

/// Facts of a TLS session, for events.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct TlsFacts {
    /// Protocol version, such as `TLSv1.3`.
    pub(super) version: String,
    /// Cipher suite in the form of the TLS registry, such as `TLS13_AES_256_GCM_SHA384`.
    pub(super) cipher: String,
    /// True if the certificate is the host's and trusted.
    pub(super) is_verified: bool,
}

impl Tls {
    /// Trusts the certificates of the system. If the system has none, no certificate verifies.
    pub(super) fn of_system() -> Result<Self, rustls::Error> {
        let file = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
        let bundle = file.or_else(|| BUNDLES.iter().map(PathBuf::from).find(|path| path.is_file()));
        Self::new(bundle.map(|path| certificates_of(&path)).unwrap_or_default())
    }

    /// Trusts `certificates`: as authorities, and each for the names in it.
    pub(super) fn new(certificates: Vec<CertificateDer<'static>>) -> Result<Self, rustls::Error> {
        let provider = provider();
        let verifier = Arc::new(TrustedFile::new(certificates, Arc::clone(&provider)));
        let verifying = builder(&provider)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::<TrustedFile>::clone(&verifier))
            .with_no_client_auth();
        Ok(Self {
            verifying: TlsConnector::from(Arc::new(verifying)),
            accepting: opportunistic()?,
            verifier,
        })
    }

    /// Returns the facts of a session with the host `name`.
    pub(super) fn facts(&self, session: &ClientTlsSession, name: &ServerName<'_>) -> TlsFacts {
        let is_verified = session.certificates.split_first().is_some_and(|(own, others)| {
            let checked = self
                .verifier
                .verify_server_cert(own, others, name, &[], UnixTime::now());
            checked.is_ok()
        });
        TlsFacts {
            version: match session.version {
                Some(ProtocolVersion::TLSv1_2) => "TLSv1.2".to_owned(),
                Some(ProtocolVersion::TLSv1_3) => "TLSv1.3".to_owned(),
                other => format!("{other:?}"),
            },
            cipher: session
                .cipher
                .map_or_else(String::new, |cipher| format!("{:?}", cipher.suite())),
            is_verified,
        }
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

fn certificates_of(path: &Path) -> Vec<CertificateDer<'static>> {
    match CertificateDer::pem_file_iter(path) {
        Ok(certificates) => certificates.filter_map(Result::ok).collect(),
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "trusted certificates not read");
            Vec::new()
        }
    }
}

/// Verifier with the certificates of the trusted file.
#[derive(Debug)]
struct TrustedFile {
    provider: Arc<CryptoProvider>,
    /// `None` if no certificate is an authority.
    authorities: Option<Arc<WebPkiServerVerifier>>,
    /// Certificates with the common name of each that has no alternative names.
    certificates: HashMap<CertificateDer<'static>, Option<String>>,
}

impl TrustedFile {
    fn new(certificates: Vec<CertificateDer<'static>>, provider: Arc<CryptoProvider>) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(certificates.iter().cloned());
        let authorities = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
        Self {
            provider,
            authorities: authorities.build().ok(),
            certificates: certificates
                .into_iter()
                .map(|certificate| {
                    let common_name = common_name(&certificate);
                    (certificate, common_name)
                })
                .collect(),
        }
    }
}

impl ServerCertVerifier for TrustedFile {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let by_authority = match &self.authorities {
            Some(authorities) => {
                authorities.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
            }
            None => Err(CertificateError::UnknownIssuer.into()),
        };
        // A certificate in the file is trusted whether or not it calls itself an authority, which WebPKI refuses after
        // the check of the dates.
        match (&by_authority, self.certificates.get(end_entity)) {
            (Err(error), Some(common_name)) if !is_about_dates(error) => {
                verify_name(end_entity, server_name, common_name.as_deref())
            }
            _ => by_authority,
        }
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

fn is_about_dates(error: &rustls::Error) -> bool {
    use CertificateError::{Expired, ExpiredContext, NotValidYet, NotValidYetContext};
    matches!(
        error,
        rustls::Error::InvalidCertificate(Expired | ExpiredContext { .. } | NotValidYet | NotValidYetContext { .. })
    )
}

/// Checks the name in a certificate of the trusted file: an alternative name, or the common name of a certificate
/// without alternative names, as self-signed certificates are often made.
fn verify_name(
    certificate: &CertificateDer<'_>,
    name: &ServerName<'_>,
    common_name: Option<&str>,
) -> Result<ServerCertVerified, rustls::Error> {
    match common_name {
        Some(common_name) if common_name.eq_ignore_ascii_case(&name.to_str()) => {}
        _ => verify_server_name(&ParsedCertificate::try_from(certificate)?, name)?,
    }
    Ok(ServerCertVerified::assertion())
}

/// Returns the common name of a certificate without alternative names. The octets are searched for the object
/// identifiers of both (RFC 5280): the certificates of the trusted file are the operator's.
fn common_name(certificate: &CertificateDer<'_>) -> Option<String> {
    const ALTERNATIVE_NAMES: [u8; 5] = [0x06, 0x03, 0x55, 0x1d, 0x11];
    const COMMON_NAME: [u8; 5] = [0x06, 0x03, 0x55, 0x04, 0x03];
    if memchr::memmem::find(certificate, &ALTERNATIVE_NAMES).is_some() {
        return None;
    }
    let mut store = RootCertStore::empty();
    store.add(certificate.clone().into_owned()).ok()?;
    let subject = &store.roots.first()?.subject;
    let after = subject.get(memchr::memmem::rfind(subject, &COMMON_NAME)? + COMMON_NAME.len()..)?;
    // A text with a length of one octet: the tag, the length, the characters.
    let (&[_, length], characters) = after.split_first_chunk::<2>()?;
    let characters = characters.get(..usize::from(length)).filter(|_| length < 0x80)?;
    String::from_utf8(characters.to_vec()).ok()
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

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair, date_time_ymd};

    use super::*;

    fn certificate(adapt: impl FnOnce(&mut CertificateParams)) -> CertificateDer<'static> {
        let mut params = CertificateParams::new(vec!["mx.far.example".to_owned()]).expect("a name");
        adapt(&mut params);
        let key = KeyPair::generate().expect("a key");
        params.self_signed(&key).expect("a certificate").der().clone()
    }

    fn check(trusted: &CertificateDer<'static>, presented: &CertificateDer<'static>, name: &str) -> Result<(), String> {
        let verifier = TrustedFile::new(vec![trusted.clone()], provider());
        let name = ServerName::try_from(name.to_owned()).expect("a name");
        let checked = verifier.verify_server_cert(presented, &[], &name, &[], UnixTime::now());
        checked.map(drop).map_err(|error| error.to_string())
    }

    #[test]
    fn certificate_in_the_trusted_file_verifies() {
        let authority = |params: &mut CertificateParams| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let by_common_name = |params: &mut CertificateParams| {
            params.subject_alt_names.clear();
            params
                .distinguished_name
                .push(DnType::CommonName, "mx.far.example".to_owned());
        };
        for each in [
            certificate(|_| {}),
            certificate(authority),
            certificate(by_common_name),
            certificate(|params| {
                authority(params);
                by_common_name(params);
            }),
        ] {
            assert_eq!(check(&each, &each, "mx.far.example"), Ok(()));
            assert!(check(&each, &each, "mx.other.example").is_err(), "another host");
        }
    }

    #[test]
    fn other_and_expired_certificates_do_not_verify() {
        let trusted = certificate(|_| {});
        assert!(check(&trusted, &certificate(|_| {}), "mx.far.example").is_err());
        for is_ca in [IsCa::NoCa, IsCa::Ca(BasicConstraints::Unconstrained)] {
            let expired = certificate(|params| {
                params.is_ca = is_ca;
                params.not_after = date_time_ymd(2020, 1, 1);
            });
            assert!(check(&expired, &expired, "mx.far.example").is_err());
        }
        let early = certificate(|params| params.not_before = date_time_ymd(3000, 1, 1));
        assert!(check(&early, &early, "mx.far.example").is_err());
    }
}
