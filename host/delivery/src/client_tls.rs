//! TLS as a client: opportunistic (RFC 7435), or with verified certificates.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ProtocolVersion};
use tokio_rustls::TlsConnector;

use host_config::{HopTrust, TlsLevel};

use crate::certificate_check::{CertificateCheck, CertificateVerifier};
use crate::client_wire::ClientTlsSession;
use crate::presented_chain::PresentedChain;
use crate::tls_report_counts::SessionScope;
use crate::trusted_file::TrustedFile;

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
    system: CertificateCheck,
    provider: Arc<CryptoProvider>,
}

/// Requirements on the TLS session with a host.
#[derive(Debug, Clone)]
pub(super) struct HostTls {
    /// Level; the check counts where certificates must verify.
    pub(super) level: TlsLevel,
    /// Check that a certificate must pass to count as verified.
    pub(super) check: CertificateCheck,
    /// Published policy that the requirements come from.
    pub(super) policy: Option<PublishedPolicy>,
    /// Scope in which sessions are counted for a report; `None` counts nothing.
    pub(super) report: Option<Arc<SessionScope>>,
}

/// Policy of a domain about TLS with its exchanges.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum PublishedPolicy {
    /// TLSA records (RFC 7672).
    Dane,
    /// MTA-STS policy of the mode `enforce` (RFC 8461).
    MtaSts,
    /// MTA-STS policy of the mode `testing`: failures are told, and mail goes on.
    MtaStsTesting {
        /// True if the policy names the exchange.
        is_named: bool,
    },
}

impl std::fmt::Display for PublishedPolicy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Dane => "dane",
            Self::MtaSts => "mta-sts",
            Self::MtaStsTesting { .. } => "mta-sts-testing",
        })
    }
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
    /// Published policy that applied.
    pub(super) policy: Option<PublishedPolicy>,
}

impl Tls {
    /// Trusts the certificates of the system. If the system has none, no certificate verifies.
    pub(super) fn of_system() -> Result<Self, rustls::Error> {
        let file = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
        let bundle = file.or_else(|| BUNDLES.iter().map(PathBuf::from).find(|path| path.is_file()));
        let found = bundle.map(|path| {
            certificates_of(&path).unwrap_or_else(|error| {
                tracing::warn!(path = %path.display(), %error, "trusted certificates not read");
                Vec::new()
            })
        });
        Self::new(found.unwrap_or_default())
    }

    /// Trusts `certificates`: as authorities, and each for the names in it.
    pub(super) fn new(certificates: Vec<CertificateDer<'static>>) -> Result<Self, rustls::Error> {
        let provider = provider();
        let system = CertificateCheck::Trusted(Arc::new(TrustedFile::new(certificates, Arc::clone(&provider))));
        Ok(Self {
            provider,
            verifying: connector(system.clone())?,
            accepting: opportunistic()?,
            system,
        })
    }

    /// Returns the requirements of a level, with the certificates that `trust` names. Fails if a file cannot be read.
    pub(super) async fn host_tls(&self, level: TlsLevel, trust: &HopTrust) -> Result<HostTls, String> {
        let check = match trust {
            HopTrust::System => self.system.clone(),
            HopTrust::Keys(keys) => CertificateCheck::Keys(keys.as_slice().into()),
            HopTrust::File(path) => {
                let file = path.clone();
                let read = tokio::task::spawn_blocking(move || certificates_of(&file)).await;
                let read = read.map_err(|error| error.to_string()).and_then(|read| read);
                let certificates = read.map_err(|error| format!("{}: {error}", path.display()))?;
                CertificateCheck::Trusted(Arc::new(TrustedFile::new(certificates, provider())))
            }
        };
        Ok(HostTls {
            level,
            check,
            policy: None,
            report: None,
        })
    }

    /// Returns the facts of a session with the host `name`.
    pub(super) fn facts(&self, session: &ClientTlsSession, name: &ServerName<'_>, tls: &HostTls) -> TlsFacts {
        let is_verified = session.certificates.split_first().is_some_and(|(own, others)| {
            let chain = PresentedChain { own, others };
            tls.check.check(chain, name).is_ok()
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
            policy: tls.policy,
        }
    }

    /// Connector that verifies certificates as the system does.
    pub(super) fn verifying(&self) -> &TlsConnector {
        &self.verifying
    }

    /// Implementation of cryptography.
    pub(super) fn provider(&self) -> &Arc<CryptoProvider> {
        &self.provider
    }

    /// Returns the connector for the requirements: one that verifies certificates, or one that accepts every
    /// certificate.
    pub(super) fn connector(&self, tls: &HostTls) -> Result<TlsConnector, rustls::Error> {
        match (&tls.check, &self.system) {
            _ if tls.level < TlsLevel::Verify => Ok(self.accepting.clone()),
            (CertificateCheck::Trusted(file), CertificateCheck::Trusted(system)) if Arc::ptr_eq(file, system) => {
                Ok(self.verifying.clone())
            }
            (check, _) => connector(check.clone()),
        }
    }
}

/// Returns a connector that accepts every certificate (RFC 7435).
pub(super) fn opportunistic() -> Result<TlsConnector, rustls::Error> {
    connector(CertificateCheck::Any)
}

fn connector(check: CertificateCheck) -> Result<TlsConnector, rustls::Error> {
    let provider = provider();
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(CertificateVerifier { provider, check }))
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn certificates_of(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let certificates = CertificateDer::pem_file_iter(path).map_err(|error| error.to_string())?;
    Ok(certificates.filter_map(Result::ok).collect())
}
