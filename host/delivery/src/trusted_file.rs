//! Trust in a file of certificates: that of the system, or an operator's.
//!
//! A certificate verifies if an authority in the trusted file has issued it, or if it stands in the trusted file itself
//! (pinned), as a self-signed certificate does.

use std::collections::HashMap;
use std::sync::Arc;

use rustls::client::danger::ServerCertVerifier as _;
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, RootCertStore};

use crate::presented_chain::PresentedChain;

/// Certificates of a file with trusted certificates.
#[derive(Debug)]
pub(super) struct TrustedFile {
    /// `None` if no certificate is an authority.
    authorities: Option<Arc<WebPkiServerVerifier>>,
    /// Certificates with the common name of each that has no alternative names.
    certificates: HashMap<CertificateDer<'static>, Option<String>>,
}

impl TrustedFile {
    /// Trusts `certificates`: as authorities, and each for the names in it.
    pub(super) fn new(certificates: Vec<CertificateDer<'static>>, provider: Arc<CryptoProvider>) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(certificates.iter().cloned());
        let authorities = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider);
        Self {
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

impl TrustedFile {
    /// Checks the certificates of the host `name`.
    pub(super) fn check(&self, chain: PresentedChain<'_>, name: &ServerName<'_>) -> Result<(), rustls::Error> {
        let PresentedChain { own, others } = chain;
        let by_authority = match &self.authorities {
            Some(authorities) => authorities
                .verify_server_cert(own, others, name, &[], UnixTime::now())
                .map(drop),
            None => Err(CertificateError::UnknownIssuer.into()),
        };
        // A certificate in the file is trusted whether or not it calls itself an authority, which WebPKI refuses after
        // the check of the dates.
        match (&by_authority, self.certificates.get(own)) {
            (Err(error), Some(common_name)) if !is_about_dates(error) => verify_name(own, name, common_name.as_deref()),
            _ => by_authority,
        }
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
) -> Result<(), rustls::Error> {
    match common_name {
        Some(common_name) if common_name.eq_ignore_ascii_case(&name.to_str()) => {}
        _ => verify_server_name(&ParsedCertificate::try_from(certificate)?, name)?,
    }
    Ok(())
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
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let file = TrustedFile::new(vec![trusted.clone()], provider);
        let name = ServerName::try_from(name.to_owned()).expect("a name");
        let chain = PresentedChain {
            own: presented,
            others: &[],
        };
        file.check(chain, &name).map_err(|error| error.to_string())
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
