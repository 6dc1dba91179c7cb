//! Requirements on TLS with the mail exchanges of a domain: those of its TLSA records, then those of its MTA-STS policy
//! (RFC 8461 section 2: DANE goes first).

use std::sync::Arc;

use futures_util::future::join_all;
use rustls::crypto::CryptoProvider;

use host_config::TlsLevel;
use host_directory::dns;
use host_directory::secure_dns::{SecureResolver, TlsaRecord};
use host_mail::Reply;

use super::outcome::RecipientOutcome;
use crate::certificate_check::CertificateCheck;
use crate::client_tls::{HostTls, PublishedPolicy};
use crate::dane;
use crate::mail_exchanges::MailExchange;
use crate::sts_policy::{StsMode, StsPolicy};
use crate::tls_report_counts::{CountedPolicy, FailureKind, PolicyKind, ResultType, SessionScope};
use crate::tls_reports::TlsReports;
use crate::tlsa_check::TlsaCheck;

/// Requirements for an exchange; an error is the outcome of an exchange that must not have the mail.
pub(super) type ExchangeTls = Result<HostTls, RecipientOutcome>;

/// Published requirements of a domain on TLS with its exchanges.
pub(super) struct DomainTls<'a> {
    pub(super) domain: &'a str,
    /// Requirements without any policy.
    pub(super) plain: &'a HostTls,
    /// Validating resolver; `None` if TLSA records are not asked for or cannot be.
    pub(super) secure: Option<&'a SecureResolver>,
    /// MTA-STS policy in force; `None` if there is none or it is not asked for.
    pub(super) sts: Option<Arc<StsPolicy>>,
    pub(super) provider: &'a Arc<CryptoProvider>,
    /// TCP port of the exchanges.
    pub(super) port: u16,
    /// Counts of sessions, for reports to the domain.
    pub(super) reports: &'a TlsReports,
}

impl DomainTls<'_> {
    /// Returns the requirements for each exchange, in order.
    pub(super) async fn of_exchanges(&self, exchanges: &[MailExchange]) -> Vec<ExchangeTls> {
        join_all(exchanges.iter().map(|exchange| self.of_exchange(exchange))).await
    }

    async fn of_exchange(&self, exchange: &MailExchange) -> ExchangeTls {
        if let Some(by_dane) = self.by_dane(exchange).await? {
            return Ok(by_dane);
        }
        if self.plain.level == TlsLevel::DaneOnly {
            self.count_refused(
                PolicyKind::None,
                exchange,
                ResultType::DaneRequired,
                "no secure TLSA records",
            );
            let text = format!("{} has no secure TLSA records, which are required", exchange.name);
            return Err(RecipientOutcome::Deferred(Reply::new(454, (4, 7, 5), text)));
        }
        let Some(sts) = &self.sts else {
            return Ok(self.opportunistic(None));
        };
        match (sts.mode, sts.has_exchange(&exchange.name)) {
            (StsMode::Enforce, true) => Ok(HostTls {
                level: TlsLevel::Verify,
                policy: Some(PublishedPolicy::MtaSts),
                report: self.scope(|| sts_counted(sts)),
                ..self.plain.clone()
            }),
            (StsMode::Enforce, false) => {
                let failure = ResultType::ValidationFailure;
                self.count_refused(
                    PolicyKind::Sts,
                    exchange,
                    failure,
                    "the policy does not name the exchange",
                );
                let text = format!("the MTA-STS policy of {} does not name {}", self.domain, exchange.name);
                Err(RecipientOutcome::Deferred(Reply::new(454, (4, 7, 5), text)))
            }
            (StsMode::Testing, is_named) => Ok(self.opportunistic(Some(PublishedPolicy::MtaStsTesting { is_named }))),
            (StsMode::None, _) => Ok(self.opportunistic(None)),
        }
    }

    fn opportunistic(&self, policy: Option<PublishedPolicy>) -> HostTls {
        let counted = || match (&self.sts, policy) {
            (Some(sts), Some(_)) => sts_counted(sts),
            _ => counted(PolicyKind::None, Vec::new()),
        };
        HostTls {
            level: TlsLevel::May,
            policy,
            report: self.scope(counted),
            ..self.plain.clone()
        }
    }

    /// Scope in which sessions with the domain's exchanges are counted; `None` if they are not.
    fn scope(&self, policy: impl FnOnce() -> CountedPolicy) -> Option<Arc<SessionScope>> {
        let domain = self.reports.is_on().then(|| dns::ascii(self.domain)).flatten()?;
        Some(Arc::new(SessionScope {
            domain,
            policy: policy(),
        }))
    }

    /// Counts an exchange that gets no connection.
    fn count_refused(&self, kind: PolicyKind, exchange: &MailExchange, result: ResultType, reason: &str) {
        let policy = || match (&self.sts, kind) {
            (Some(sts), PolicyKind::Sts) => sts_counted(sts),
            _ => counted(kind, Vec::new()),
        };
        if let Some(scope) = self.scope(policy) {
            let failure = FailureKind {
                result,
                exchange: exchange.name.clone(),
                address: None,
                reason: reason.to_owned(),
            };
            self.reports.count(&scope, Some(failure));
        }
    }

    /// Requirements of the exchange's TLSA records; `None` if it has none. Without secure addresses the records are not
    /// looked up (RFC 7672 section 2.2.2): some name servers fail for them.
    async fn by_dane(&self, exchange: &MailExchange) -> Result<Option<HostTls>, RecipientOutcome> {
        let (Some(resolver), Some(canonical)) = (self.secure, &exchange.secure_name) else {
            return Ok(None);
        };
        let found = dane::look_up(resolver, &exchange.name, canonical, self.port).await;
        let found = found.map_err(|why| {
            self.count_refused(PolicyKind::Tlsa, exchange, ResultType::DnssecInvalid, &why.to_string());
            let text = format!("looking up the TLSA records of {}: {why}", exchange.name);
            RecipientOutcome::Deferred(Reply::new(451, (4, 4, 3), text))
        })?;
        if found.records.is_empty() {
            return Ok(None);
        }
        let domain = dns::ascii(self.domain).unwrap_or_default();
        let names = vec![found.base, exchange.name.clone(), domain];
        let policy = Some(PublishedPolicy::Dane);
        let report = self.scope(|| counted(PolicyKind::Tlsa, found.records.iter().map(record_text).collect()));
        Ok(Some(
            match TlsaCheck::new(found.records, names, Arc::clone(self.provider)) {
                Some(check) => HostTls {
                    level: TlsLevel::Verify,
                    check: CertificateCheck::Tlsa(Arc::new(check)),
                    policy,
                    report,
                },
                // Records of which none is usable still require encryption (RFC 7672 section 2.2).
                None if self.plain.level == TlsLevel::DaneOnly => return Ok(None),
                None => HostTls {
                    level: TlsLevel::Encrypt,
                    policy,
                    report,
                    ..self.plain.clone()
                },
            },
        ))
    }
}

fn counted(kind: PolicyKind, lines: Vec<String>) -> CountedPolicy {
    CountedPolicy {
        kind,
        lines,
        mx: Vec::new(),
    }
}

fn sts_counted(policy: &StsPolicy) -> CountedPolicy {
    CountedPolicy {
        kind: PolicyKind::Sts,
        lines: policy.report_lines(),
        mx: policy.mx.clone(),
    }
}

/// Formats a TLSA record as in a zone file.
fn record_text(record: &TlsaRecord) -> String {
    let data: String = record.data.iter().map(|octet| format!("{octet:02x}")).collect();
    format!("{} {} {} {data}", record.usage, record.selector, record.matching)
}
