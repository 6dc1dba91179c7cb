//! Outcome of TLS with a host: events, counts for reports, and deferrals.

use host_config::TlsLevel;
use host_events::Event;
use host_mail::Reply;
use rustls::CertificateError;

use super::outcome::RecipientOutcome;
use crate::client_connection::Unusable;
use crate::client_tls::PublishedPolicy;
use crate::client_wire::WireError;
use crate::connect_options::{ConnectOptions, RemotePeer};
use crate::tls_report_counts::{FailureKind, ResultType};

/// Reports mail that goes in the clear to a host that offers TLS.
pub(super) fn emit_fallback(options: ConnectOptions<'_>, host: &str, reason: String) {
    (options.emit)(Event::TlsFallback {
        host: host.to_owned(),
        reason,
    });
}

/// Reports a host that does not meet a published policy, and counts the session as a failure.
pub(super) fn emit_unmet(options: ConnectOptions<'_>, peer: RemotePeer<'_>, result: ResultType, reason: &str) {
    if let Some(scope) = &peer.tls.report {
        let kind = FailureKind {
            result,
            exchange: peer.host.to_owned(),
            address: peer.address,
            reason: reason.to_owned(),
        };
        options.policies.reports.count(scope, Some(kind));
    }
    let Some(policy) = peer.tls.policy else {
        return;
    };
    (options.emit)(Event::TlsPolicyUnmet {
        host: peer.host.to_owned(),
        policy: policy.to_string(),
        reason: reason.to_owned(),
        enforced: !matches!(policy, PublishedPolicy::MtaStsTesting { .. }),
    });
}

pub(super) fn count_success(options: ConnectOptions<'_>, peer: RemotePeer<'_>) {
    if let Some(scope) = &peer.tls.report {
        options.policies.reports.count(scope, None);
    }
}

/// Kind of failure of a handshake (RFC 8460 section 4.3).
pub(super) fn result_of(error: &WireError) -> ResultType {
    use CertificateError::{
        Expired, ExpiredContext, NotValidForName, NotValidForNameContext, NotValidYet, NotValidYetContext,
        UnknownIssuer,
    };
    let WireError::Io(error) = error else {
        return ResultType::ValidationFailure;
    };
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidCertificate(certificate)) => match certificate {
            Expired | ExpiredContext { .. } | NotValidYet | NotValidYetContext { .. } => ResultType::CertificateExpired,
            NotValidForName | NotValidForNameContext { .. } => ResultType::CertificateHostMismatch,
            UnknownIssuer => ResultType::CertificateNotTrusted,
            _ => ResultType::ValidationFailure,
        },
        _ => ResultType::ValidationFailure,
    }
}

/// Returns the deferral of a host that does not meet the requirements, and reports one that does not meet a published
/// policy.
pub(super) fn tls_required(
    options: ConnectOptions<'_>,
    peer: RemotePeer<'_>,
    result: ResultType,
    why: &str,
) -> Unusable {
    emit_unmet(options, peer, result, why);
    let text = match (peer.tls.policy, peer.tls.level) {
        (Some(PublishedPolicy::Dane), TlsLevel::Verify) => {
            format!("TLS with a certificate of the TLSA records (DANE) is required: {why}")
        }
        (Some(PublishedPolicy::Dane), _) => format!("TLS is required by TLSA records (DANE): {why}"),
        (Some(_), _) => format!("TLS with a valid certificate is required (MTA-STS): {why}"),
        (None, level) if level >= TlsLevel::Verify => format!("TLS with a valid certificate is required: {why}"),
        (None, _) => format!("TLS is required: {why}"),
    };
    Unusable::AddressFailed(RecipientOutcome::Deferred(Reply::new(454, (4, 7, 5), text)))
}
