//! Warnings about the host's certificate: clients refuse what these name, though the host can serve it.

use std::path::Path;
use std::time::Duration;

use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use webpki::{EndEntityCert, KeyUsage};

use super::{Config, ListenerTls, Problem, TlsFiles};
use crate::pem_file::PemFile;
use host_mail::Timestamp;

/// Time at which every certificate with an end has ended: the year 9999.
const END_OF_TIME: Duration = Duration::from_secs(253_402_300_799);
/// Number of days before its end at which a certificate has a warning.
const SOON: u64 = 30;
const DAY: u64 = 24 * 3600 * 1000;

/// Returns the warnings about the configured certificates. A certificate that cannot be used at all is a problem of
/// [`super::server_config`] and has no warning.
pub(super) fn certificate_warnings(config: &Config) -> Vec<Problem> {
    let mut warnings = Vec::new();
    if config.tls.is_some() && config.listeners.iter().all(|listener| listener.tls == ListenerTls::Off) {
        warnings.push(Problem::new("tls", "is not used: tls of every listener is \"off\""));
    }
    for (index, (table, files)) in config.certificates().iter().enumerate() {
        warnings.extend(joined_blocks(table, files));
        // A further certificate is for another name, or another algorithm.
        let hostname = (index == 0).then_some(config.hostname.as_str());
        warnings.extend(chain_warnings(table, files, hostname));
    }
    warnings
}

fn joined_blocks(table: &str, files: &TlsFiles) -> Vec<Problem> {
    let mut warnings = Vec::new();
    for (key, file) in [("certificate", &files.certificate), ("key", &files.key)] {
        if PemFile::read(file).is_ok_and(|pem| pem.joined() > 0) {
            let text = format!(
                "{}: a BEGIN line is joined to the line before, and other programs skip that block: put a line break \
                 before -----BEGIN",
                file.display()
            );
            warnings.push(Problem::new(format!("{table}.{key}"), text));
        }
    }
    warnings
}

fn chain_warnings(table: &str, files: &TlsFiles, hostname: Option<&str>) -> Vec<Problem> {
    let Some(chain) = PemFile::read(&files.certificate)
        .ok()
        .and_then(|pem| pem.certificates().ok())
    else {
        return Vec::new();
    };
    let mut texts: Vec<String> = chain
        .iter()
        .enumerate()
        .filter_map(|(index, certificate)| {
            let text = validity_problem(certificate, UnixTime::now())?;
            Some(match index {
                0 => text,
                others => format!("certificate {} of the chain {text}", others + 1),
            })
        })
        .collect();
    texts.extend(order_problem(&chain));
    texts.extend(chain.first().and_then(|leaf| soon_expired(leaf, Timestamp::now())));
    texts.extend(
        chain
            .first()
            .zip(hostname)
            .and_then(|(leaf, hostname)| name_problem(leaf, hostname)),
    );
    let shown = files.certificate.display();
    texts
        .into_iter()
        .map(|text| Problem::new(format!("{table}.certificate"), format!("{shown}: {text}")))
        .collect()
}

/// Verifies a certificate for use by a server, at `time` and by the given issuers.
fn verify(
    certificate: &CertificateDer<'_>,
    issuers: &[CertificateDer<'_>],
    anchor: Option<&CertificateDer<'_>>,
    time: UnixTime,
) -> Result<(), webpki::Error> {
    let algorithms = rustls::crypto::ring::default_provider()
        .signature_verification_algorithms
        .all;
    let anchors: Vec<_> = anchor
        .map(webpki::anchor_from_trusted_cert)
        .transpose()?
        .into_iter()
        .collect();
    EndEntityCert::try_from(certificate)?
        .verify_for_usage(algorithms, &anchors, issuers, time, KeyUsage::server_auth(), None, None)
        .map(|_| ())
}

/// Returns a problem of a certificate that is not valid at `time`. No issuer is asked: a certificate's own time is
/// verified first.
fn validity_problem(certificate: &CertificateDer<'_>, time: UnixTime) -> Option<String> {
    let shown = |time: UnixTime| Timestamp(time.as_secs().saturating_mul(1000));
    match verify(certificate, &[], None, time) {
        Err(webpki::Error::CertExpired { not_after, .. }) => Some(format!(
            "expired on {}: renew it, then posthouse reload",
            shown(not_after)
        )),
        Err(webpki::Error::CertNotValidYet { not_before, .. }) => Some(format!(
            "is not valid before {}: correct the clock, or use another certificate",
            shown(not_before)
        )),
        _ => None,
    }
}

/// Returns the end of the first certificate in a PEM file; `None` for a file that cannot be read, and for a certificate
/// without an end.
pub fn certificate_expiry(file: &Path) -> Option<Timestamp> {
    let chain = PemFile::read(file).ok()?.certificates().ok()?;
    expiry(chain.first()?)
}

fn expiry(certificate: &CertificateDer<'_>) -> Option<Timestamp> {
    match verify(certificate, &[], None, UnixTime::since_unix_epoch(END_OF_TIME)) {
        Err(webpki::Error::CertExpired { not_after, .. }) => Some(Timestamp(not_after.as_secs().saturating_mul(1000))),
        _ => None,
    }
}

/// Returns a problem of a certificate that ends within [`SOON`], in days.
fn soon_expired(certificate: &CertificateDer<'_>, now: Timestamp) -> Option<String> {
    let until = expiry(certificate)?;
    let left = until.0.checked_sub(now.0).filter(|left| *left > 0)? / DAY;
    (left < SOON).then(|| format!("expires on {until}, in {left} days: renew it, then posthouse reload"))
}

/// Returns a problem unless each certificate of the chain was issued by the next one.
fn order_problem(chain: &[CertificateDer<'_>]) -> Option<String> {
    let (leaf, issuers) = chain.split_first()?;
    let (last, between) = issuers.split_last()?;
    let verified = verify(leaf, between, Some(last), UnixTime::now());
    let is_foreign = matches!(
        verified,
        Err(webpki::Error::UnknownIssuer | webpki::Error::InvalidSignatureForPublicKey)
    );
    is_foreign.then(|| {
        "the certificates did not issue one another: put the host's own first, then its issuer, then the issuer's issuer"
            .to_owned()
    })
}

/// Returns a problem unless the certificate is for the host's name (RFC 9525).
fn name_problem(leaf: &CertificateDer<'_>, hostname: &str) -> Option<String> {
    let certificate = EndEntityCert::try_from(leaf).ok()?;
    let name = ServerName::try_from(hostname.to_owned()).ok()?;
    if certificate.verify_is_valid_for_subject_name(&name).is_ok() {
        return None;
    }
    let names: Vec<&str> = certificate.valid_dns_names().collect();
    let names = match names.as_slice() {
        [] => "it has no DNS name".to_owned(),
        names => format!("it is for {}", names.join(", ")),
    };
    Some(format!(
        "is not for {hostname} ({names}): get a certificate for {hostname}, or set hostname to a name of this one"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_certificates_before_and_after_their_time() {
        let mut params = rcgen::CertificateParams::new(vec!["mx.example.org".to_owned()]).expect("a name");
        params.not_before = rcgen::date_time_ymd(2000, 1, 1);
        params.not_after = rcgen::date_time_ymd(2001, 1, 1);
        let key = rcgen::KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("made");
        let at = |seconds| {
            validity_problem(
                certificate.der(),
                UnixTime::since_unix_epoch(Duration::from_secs(seconds)),
            )
        };
        assert_eq!(at(960_000_000), None);
        assert!(at(1_000_000_000).expect("expired").starts_with("expired on 2001-01-01"));
        assert!(
            at(900_000_000)
                .expect("early")
                .starts_with("is not valid before 2000-01-01")
        );
    }

    #[test]
    fn reports_a_chain_out_of_order() {
        let certificate = |params: &rcgen::CertificateParams, issuer: Option<&rcgen::Issuer<'_, rcgen::KeyPair>>| {
            let key = rcgen::KeyPair::generate().expect("a key");
            let made = match issuer {
                Some(issuer) => params.signed_by(&key, issuer),
                None => params.self_signed(&key),
            };
            (made.expect("made").der().clone(), key)
        };
        let mut authority = rcgen::CertificateParams::new(Vec::new()).expect("no names");
        authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        authority
            .distinguished_name
            .push(rcgen::DnType::CommonName, "authority");
        let (root, root_key) = certificate(&authority, None);
        let issuer = rcgen::Issuer::new(authority, root_key);
        let leaf = rcgen::CertificateParams::new(vec!["mx.example.org".to_owned()]).expect("a name");
        let (leaf, _) = certificate(&leaf, Some(&issuer));
        let other = rcgen::generate_simple_self_signed(vec!["other.example".to_owned()]).expect("made");
        assert_eq!(order_problem(&[leaf.clone(), root]), None);
        assert_eq!(order_problem(std::slice::from_ref(&leaf)), None);
        assert!(order_problem(&[leaf, other.cert.der().clone()]).is_some());
    }

    #[test]
    fn reports_a_certificate_for_another_name() {
        let made = rcgen::generate_simple_self_signed(vec!["*.example.org".to_owned()]).expect("made");
        let leaf = made.cert.der();
        assert_eq!(name_problem(leaf, "mx.example.org"), None);
        let problem = name_problem(leaf, "mx.example.net").expect("another name");
        assert!(problem.contains("it is for *.example.org"), "{problem}");
        assert!(name_problem(leaf, "a.mx.example.org").is_some());
    }
}
