//! Composes a report about TLS sessions (RFC 8460 sections 4.4 and 5.3): JSON in gzip in a `multipart/report`. Pure.

use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use host_mail::{Mailbox, MessageId, Timestamp};

use crate::tls_report_counts::{CountedPolicy, DAY, FailureKind, SessionCounts};

/// Header field that marks a report (RFC 8460 section 5.3).
pub(super) const TLS_REPORT_DOMAIN: &str = "TLS-Report-Domain";

/// A report to a domain.
pub(super) struct TlsReport<'a> {
    pub(super) hostname: &'a str,
    pub(super) organization: &'a str,
    pub(super) contact: &'a Mailbox,
    pub(super) domain: &'a str,
    /// Number of the day since 1970-01-01.
    pub(super) day: u64,
    pub(super) policies: &'a [(CountedPolicy, SessionCounts)],
}

impl TlsReport<'_> {
    fn begin(&self) -> u64 {
        self.day.saturating_mul(DAY)
    }

    fn end(&self) -> u64 {
        self.begin() + DAY - 1
    }

    /// Id of the report, the same for each copy.
    pub(super) fn id(&self) -> String {
        format!("{}.{}@{}", self.begin(), self.domain, self.hostname)
    }

    /// Name of the attachment (RFC 8460 section 5.1).
    fn file_name(&self) -> String {
        format!(
            "{}!{}!{}!{}.json.gz",
            self.hostname,
            self.domain,
            self.begin(),
            self.end()
        )
    }

    /// Returns the document.
    pub(super) fn document(&self) -> Value {
        json!({
            "organization-name": self.organization,
            "date-range": {
                "start-datetime": date_time(self.begin()),
                "end-datetime": date_time(self.end()),
            },
            "contact-info": self.contact.to_string(),
            "report-id": self.id(),
            "policies": self.policies.iter().map(|(policy, counts)| self.policy(policy, counts)).collect::<Vec<_>>(),
        })
    }

    fn policy(&self, policy: &CountedPolicy, counts: &SessionCounts) -> Value {
        let mut described = json!({ "policy-type": policy.kind, "policy-domain": self.domain });
        if !policy.lines.is_empty() {
            described["policy-string"] = json!(policy.lines);
        }
        if !policy.mx.is_empty() {
            described["mx-host"] = json!(policy.mx);
        }
        let mut shown = json!({
            "policy": described,
            "summary": {
                "total-successful-session-count": counts.successes,
                "total-failure-session-count": counts.failures,
            },
        });
        if !counts.kinds.is_empty() {
            shown["failure-details"] = counts.kinds.iter().map(|(kind, count)| details(kind, *count)).collect();
        }
        shown
    }

    /// Returns the message to an address. The boundary does not occur in base64.
    pub(super) fn message(&self, to: &Mailbox, id: MessageId, now: Timestamp) -> std::io::Result<String> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(&serde_json::to_vec_pretty(&self.document())?)?;
        let packed = STANDARD.encode(encoder.finish()?);
        let lines: Vec<&str> = packed
            .as_bytes()
            .chunks(76)
            .filter_map(|line| std::str::from_utf8(line).ok())
            .collect();
        let (domain, host, file) = (self.domain, self.hostname, self.file_name());
        let boundary = format!("={id}=");
        let fields = [
            format!("From: <{}>", self.contact),
            format!("To: <{to}>"),
            format!(
                "Subject: Report Domain: {domain}\r\n Submitter: {host}\r\n Report-ID: <{}>",
                self.id()
            ),
            format!("Date: {}", now.rfc5322()),
            format!("Message-ID: <{id}@{host}>"),
            format!("{TLS_REPORT_DOMAIN}: {domain}"),
            format!("TLS-Report-Submitter: {host}"),
            "Auto-Submitted: auto-generated".to_owned(),
            "MIME-Version: 1.0".to_owned(),
            format!("Content-Type: multipart/report; report-type=\"tlsrpt\";\r\n boundary=\"{boundary}\""),
        ];
        let text = format!(
            "This is a report about TLS sessions of {host}\r\nwith mail exchanges of {domain}\r\nfrom {} to {}.\r\n",
            date_time(self.begin()),
            date_time(self.end())
        );
        Ok(format!(
            "{}\r\n\r\n--{boundary}\r\nContent-Type: text/plain; charset=us-ascii\r\n\
             Content-Transfer-Encoding: 7bit\r\n\r\n{text}\r\n--{boundary}\r\nContent-Type: application/tlsrpt+gzip\r\n\
             Content-Transfer-Encoding: base64\r\nContent-Disposition: attachment;\r\n filename=\"{file}\"\r\n\r\n\
             {}\r\n--{boundary}--\r\n",
            fields.join("\r\n"),
            lines.join("\r\n")
        ))
    }
}

fn details(kind: &FailureKind, count: u64) -> Value {
    let mut shown = json!({
        "result-type": kind.result,
        "receiving-mx-hostname": kind.exchange,
        "failed-session-count": count,
        "failure-reason-code": kind.reason,
    });
    if let Some(address) = kind.address {
        shown["receiving-ip"] = json!(address.to_string());
    }
    shown
}

/// Formats a time in seconds by RFC 3339, without fractions.
fn date_time(seconds: u64) -> String {
    let shown = Timestamp(seconds.saturating_mul(1000)).to_string();
    shown.replace(".000Z", "Z")
}

/// Returns the addresses that the TXT records of `_smtp._tls` name for reports by mail (RFC 8460 section 3): at most
/// five, of the only record. Addresses for other transports are left out.
pub(super) fn report_addresses(records: &[String]) -> Vec<Mailbox> {
    let mut policies = records
        .iter()
        .filter(|text| text.split(';').next().map(str::trim_end) == Some("v=TLSRPTv1"));
    let (Some(only), None) = (policies.next(), policies.next()) else {
        return Vec::new();
    };
    let rua = only.split(';').skip(1).find_map(|field| {
        let (key, value) = field.split_once('=')?;
        (key.trim() == "rua").then_some(value)
    });
    let uris = rua.unwrap_or_default().split(',').map(str::trim);
    let mailboxes = uris.filter_map(|uri| uri.strip_prefix("mailto:")?.split('?').next()?.parse::<Mailbox>().ok());
    mailboxes.filter(Mailbox::is_ascii).take(5).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls_report_counts::{PolicyKind, ResultType};

    #[test]
    fn document_has_the_members_of_the_standard() {
        let policy = CountedPolicy {
            kind: PolicyKind::Sts,
            lines: vec!["version: STSv1".to_owned()],
            mx: vec!["*.far.example".to_owned()],
        };
        let kind = FailureKind {
            result: ResultType::CertificateExpired,
            exchange: "mx.far.example".to_owned(),
            address: Some([192, 0, 2, 1].into()),
            reason: "expired".to_owned(),
        };
        let counts = SessionCounts {
            successes: 5,
            failures: 2,
            kinds: vec![(kind, 2)],
        };
        let contact: Mailbox = "tls@here.example".parse().expect("an address");
        let report = TlsReport {
            hostname: "mx.here.example",
            organization: "Here",
            contact: &contact,
            domain: "far.example",
            day: 20_000,
            policies: &[(policy, counts)],
        };
        let expected = json!({
            "organization-name": "Here",
            "date-range": { "start-datetime": "2024-10-04T00:00:00Z", "end-datetime": "2024-10-04T23:59:59Z" },
            "contact-info": "tls@here.example",
            "report-id": "1728000000.far.example@mx.here.example",
            "policies": [{
                "policy": {
                    "policy-type": "sts",
                    "policy-string": ["version: STSv1"],
                    "policy-domain": "far.example",
                    "mx-host": ["*.far.example"],
                },
                "summary": { "total-successful-session-count": 5, "total-failure-session-count": 2 },
                "failure-details": [{
                    "result-type": "certificate-expired",
                    "receiving-mx-hostname": "mx.far.example",
                    "receiving-ip": "192.0.2.1",
                    "failed-session-count": 2,
                    "failure-reason-code": "expired",
                }],
            }],
        });
        assert_eq!(report.document(), expected);
        let text = report
            .message(&contact, MessageId::generate(), Timestamp(0))
            .expect("composed");
        assert!(
            text.contains("filename=\"mx.here.example!far.example!1728000000!1728086399.json.gz\""),
            "{text}"
        );
        assert!(
            text.split("\r\n").all(|line| line.len() <= 150 && line.is_ascii()),
            "{text}"
        );
    }

    #[test]
    fn reads_addresses_of_the_only_record() {
        let found = |records: &[&str]| {
            let records: Vec<String> = records.iter().map(|text| (*text).to_owned()).collect();
            report_addresses(&records)
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
        };
        let record = "v=TLSRPTv1; rua=https://a.example/x, mailto:a@far.example,mailto:b@far.example?subject=x;";
        assert_eq!(found(&[record, "other"]), ["a@far.example", "b@far.example"]);
        assert!(
            found(&[
                "v=TLSRPTv1; rua=mailto:a@x.example",
                "v=TLSRPTv1; rua=mailto:b@x.example"
            ])
            .is_empty()
        );
        assert!(found(&["v=TLSRPTv2; rua=mailto:a@x.example"]).is_empty());
        assert!(found(&["v=TLSRPTv1; rua=mailto:, mailto:nobody"]).is_empty());
    }
}
