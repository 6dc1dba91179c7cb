//! Check of a server's certificates against its TLSA records (RFC 6698, RFC 7671, RFC 7672).

use std::sync::Arc;

use rustls::client::danger::ServerCertVerifier as _;
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, RootCertStore};
use sha2::{Digest as _, Sha256, Sha512};

use host_directory::secure_dns::TlsaRecord;

use crate::presented_chain::PresentedChain;

/// Certificate usage DANE-TA: the record names an authority.
const DANE_TA: u8 = 2;
/// Certificate usage DANE-EE: the record names the server's certificate.
const DANE_EE: u8 = 3;

/// TLSA records of a server.
#[derive(Debug)]
pub(super) struct TlsaCheck {
    /// Usable records, at least one.
    records: Vec<TlsaRecord>,
    /// Names of which a certificate that an authority has issued must have one (RFC 7672 section 3.2.2).
    names: Vec<String>,
    provider: Arc<CryptoProvider>,
}

/// True if a client of SMTP can use the record (RFC 7672 section 3.1.3): usage 2 or 3 with a known selector and
/// matching type. The usages 0 and 1 would need authorities that all hosts agree on.
fn is_usable(record: &TlsaRecord) -> bool {
    let length = match record.matching {
        0 => !record.data.is_empty(),
        1 => record.data.len() == 32,
        2 => record.data.len() == 64,
        _ => false,
    };
    matches!(record.usage, DANE_TA | DANE_EE) && record.selector <= 1 && length
}

impl TlsaCheck {
    /// Takes the usable records; `None` if there is none.
    pub(super) fn new(mut records: Vec<TlsaRecord>, names: Vec<String>, provider: Arc<CryptoProvider>) -> Option<Self> {
        records.retain(is_usable);
        (!records.is_empty()).then_some(Self {
            records,
            names,
            provider,
        })
    }

    /// Checks the certificates of a server. With DANE-EE neither names nor dates count (RFC 7672 section 3.1.1); with
    /// DANE-TA both do, up to the authority that a record names.
    pub(super) fn check(&self, chain: PresentedChain<'_>) -> Result<(), rustls::Error> {
        if self.has_match(DANE_EE, chain.own) {
            return Ok(());
        }
        let mut last = CertificateError::ApplicationVerificationFailure.into();
        // An authority that is whole in the DNS need not be in the handshake.
        let whole = self
            .records
            .iter()
            .filter(|record| (record.usage, record.selector, record.matching) == (DANE_TA, 0, 0));
        let whole = whole.map(|record| CertificateDer::from(record.data.as_slice()));
        let presented = chain.others.iter().filter(|other| self.has_match(DANE_TA, other));
        for authority in whole.chain(presented.cloned()) {
            match self.leads_to(&authority, chain) {
                Ok(()) => return Ok(()),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn has_match(&self, usage: u8, certificate: &CertificateDer<'_>) -> bool {
        let mut key = None;
        let of_usage = self.records.iter().filter(|record| record.usage == usage);
        of_usage.into_iter().any(|record| {
            let octets: &[u8] = match record.selector {
                0 => certificate.as_ref(),
                _ => key.get_or_insert_with(|| key_of(certificate)).as_slice(),
            };
            !octets.is_empty()
                && match record.matching {
                    0 => record.data == octets,
                    1 => record.data == Sha256::digest(octets).as_slice(),
                    _ => record.data == Sha512::digest(octets).as_slice(),
                }
        })
    }

    /// Checks that the server's certificate leads to `authority`, is within its dates, and has one of the names.
    fn leads_to(&self, authority: &CertificateDer<'_>, chain: PresentedChain<'_>) -> Result<(), rustls::Error> {
        let mut roots = RootCertStore::empty();
        roots.add(authority.clone().into_owned())?;
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&self.provider));
        let verifier = verifier
            .build()
            .map_err(|error| rustls::Error::General(error.to_string()))?;
        let names: Vec<ServerName<'_>> = self
            .names
            .iter()
            .filter_map(|name| ServerName::try_from(name.as_str()).ok())
            .collect();
        let Some(first) = names.first() else {
            return Err(CertificateError::NotValidForName.into());
        };
        match verifier.verify_server_cert(chain.own, chain.others, first, &[], UnixTime::now()) {
            Ok(_) => Ok(()),
            // WebPKI checks the name last: everything else is in order.
            Err(rustls::Error::InvalidCertificate(
                error @ (CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }),
            )) => {
                let certificate = ParsedCertificate::try_from(chain.own)?;
                let is_named = names.iter().any(|name| verify_server_name(&certificate, name).is_ok());
                is_named.then_some(()).ok_or_else(|| error.into())
            }
            Err(error) => Err(error),
        }
    }
}

/// Returns the public key of a certificate (`SubjectPublicKeyInfo`); empty if the certificate cannot be parsed.
fn key_of(certificate: &CertificateDer<'_>) -> Vec<u8> {
    let parsed = ParsedCertificate::try_from(certificate);
    parsed.map_or_else(
        |_| Vec::new(),
        |parsed| parsed.subject_public_key_info().as_ref().to_vec(),
    )
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};

    use super::*;

    /// An authority, and a certificate that it has issued for `name`.
    struct Issued {
        authority: CertificateDer<'static>,
        own: CertificateDer<'static>,
    }

    fn issued(name: &str, adapt: impl FnOnce(&mut CertificateParams)) -> Issued {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority =
            CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("an authority");
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        adapt(&mut params);
        let own = params
            .signed_by(&KeyPair::generate().expect("a key"), &authority)
            .expect("a certificate");
        Issued {
            authority: authority.der().clone(),
            own: own.der().clone(),
        }
    }

    fn record(usage: u8, selector: u8, matching: u8, certificate: &CertificateDer<'_>) -> TlsaRecord {
        let octets = match selector {
            0 => certificate.to_vec(),
            _ => key_of(certificate),
        };
        let data = match matching {
            0 => octets,
            1 => Sha256::digest(octets).to_vec(),
            _ => Sha512::digest(octets).to_vec(),
        };
        TlsaRecord {
            usage,
            selector,
            matching,
            data,
        }
    }

    fn passes(records: Vec<TlsaRecord>, issued: &Issued, others: &[CertificateDer<'_>]) -> Option<bool> {
        let names = vec!["mx.far.example".to_owned(), "far.example".to_owned()];
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let check = TlsaCheck::new(records, names, provider)?;
        let chain = PresentedChain {
            own: &issued.own,
            others,
        };
        Some(check.check(chain).is_ok())
    }

    #[test]
    fn end_entity_record_ignores_names_and_dates() {
        let expired = issued("other.example", |params| params.not_after = date_time_ymd(2020, 1, 1));
        for selector in 0..=1 {
            for matching in 0..=2 {
                let right = record(DANE_EE, selector, matching, &expired.own);
                assert_eq!(passes(vec![right], &expired, &[]), Some(true), "{selector} {matching}");
                let wrong = record(DANE_EE, selector, matching, &expired.authority);
                assert_eq!(passes(vec![wrong.clone()], &expired, &[]), Some(false));
                let both = vec![wrong, record(DANE_EE, 0, 1, &expired.own)];
                assert_eq!(passes(both, &expired, &[]), Some(true), "either of two keys");
            }
        }
    }

    #[test]
    fn authority_record_checks_chain_names_and_dates() {
        for name in ["mx.far.example", "far.example"] {
            let right = issued(name, |_| {});
            for (selector, matching) in [(0, 1), (1, 1), (0, 2), (1, 0)] {
                let records = vec![record(DANE_TA, selector, matching, &right.authority)];
                let others = [right.authority.clone()];
                assert_eq!(
                    passes(records.clone(), &right, &others),
                    Some(true),
                    "{selector} {matching}"
                );
                assert_eq!(passes(records, &right, &[]), Some(false), "the authority is missing");
            }
            let whole = vec![record(DANE_TA, 0, 0, &right.authority)];
            assert_eq!(passes(whole, &right, &[]), Some(true));
        }
        let expired = issued("mx.far.example", |params| params.not_after = date_time_ymd(2020, 1, 1));
        let other_name = issued("mx.other.example", |_| {});
        for wrong in [&expired, &other_name] {
            let records = vec![record(DANE_TA, 0, 1, &wrong.authority)];
            assert_eq!(
                passes(records, wrong, std::slice::from_ref(&wrong.authority)),
                Some(false)
            );
        }
        let (one, two) = (issued("mx.far.example", |_| {}), issued("mx.far.example", |_| {}));
        let records = vec![record(DANE_TA, 0, 1, &two.authority)];
        assert_eq!(
            passes(records, &one, std::slice::from_ref(&two.authority)),
            Some(false),
            "another authority"
        );
    }

    #[test]
    fn unusable_records_are_no_check() {
        let any = issued("mx.far.example", |_| {});
        for (usage, selector, matching) in [(0, 0, 1), (1, 1, 1), (4, 0, 1), (255, 0, 1)] {
            assert_eq!(
                passes(vec![record(usage, selector, matching, &any.own)], &any, &[]),
                None
            );
        }
        let mut record = record(DANE_EE, 1, 1, &any.own);
        record.matching = 3;
        assert_eq!(passes(vec![record.clone()], &any, &[]), None);
        (record.matching, record.selector) = (1, 2);
        assert_eq!(passes(vec![record.clone()], &any, &[]), None);
        record.selector = 1;
        record.data.pop();
        assert_eq!(passes(vec![record], &any, &[]), None, "a digest that is too short");
    }
}
