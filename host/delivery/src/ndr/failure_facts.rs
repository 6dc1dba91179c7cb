//! Facts about a failure, for the policy.

use host_contract::{FailedRecipient, Failure};
use host_mail::{Client, Envelope, HeaderBlock, MessageId, ReversePath};
use host_spool::Message;

use super::failed_delivery::FailedDelivery;

/// Maximum header fields passed to the policy.
const MAX_FIELDS: usize = 128;
/// Maximum bytes of each field value.
const MAX_VALUE: usize = 1000;

/// Groups failed recipients into a failure per class, in the order in which the classes first occur. A group of which
/// several members failed occurs once in a class.
pub(super) fn group_by_class(original: &Message, header: &HeaderBlock, failed: &[FailedDelivery]) -> Vec<Failure> {
    let mut failures: Vec<Failure> = Vec::new();
    for FailedDelivery { written, why, .. } in failed {
        let recipient = FailedRecipient {
            address: written.clone(),
            reply: why.reply.clone(),
            remote: why.remote.clone(),
        };
        match failures.iter_mut().find(|failure| failure.class == why.class) {
            Some(failure) if failure.failed.iter().any(|other| other.address.key() == written.key()) => {}
            Some(failure) => failure.failed.push(recipient),
            None => failures.push(Failure {
                failed: vec![recipient],
                ..of_nobody(
                    original.id,
                    original.client.as_ref(),
                    &original.envelope,
                    header,
                    &why.class,
                )
            }),
        }
    }
    failures
}

/// Returns the addresses of the failed recipients, for events.
pub(super) fn failed_addresses(failure: &Failure) -> Vec<String> {
    failure.failed.iter().map(|failed| failed.address.to_string()).collect()
}

/// Returns a failure without failed recipients.
pub fn of_nobody(
    message: MessageId,
    client: Option<&Client>,
    envelope: &Envelope,
    header: &HeaderBlock,
    class: &str,
) -> Failure {
    Failure {
        message,
        class: class.to_owned(),
        envelope: envelope.clone(),
        failed: Vec::new(),
        identity: client.and_then(|client| client.identity.clone()),
        client_address: client.map(|client| client.address),
        exemptions: client.map_or_else(Vec::new, |client| client.exemptions.to_vec()),
        automatic: is_automatic(&envelope.sender, header),
        headers: header
            .fields()
            .take(MAX_FIELDS)
            .map(|field| {
                let name = String::from_utf8_lossy(field.name).into_owned();
                (name, field.unfolded(MAX_VALUE))
            })
            .collect(),
    }
}

/// True if a message is itself a report about another message, by its Content-Type: a delivery status (RFC 3464) or a
/// disposition notification (RFC 8098). Such a message may come with a reverse-path that is not null.
pub(super) fn is_report(header: &HeaderBlock) -> bool {
    header
        .named("Content-Type")
        .any(|field| is_report_type(&field.unfolded(MAX_VALUE)))
}

/// True for the media type of a report.
pub(super) fn is_report_type(content_type: &str) -> bool {
    let kind = content_type.to_ascii_lowercase();
    let is_report = kind.split([';', '(', ' ']).next() == Some("multipart/report");
    is_report
        && ["delivery-status", "disposition-notification"]
            .iter()
            .any(|name| kind.contains(name))
}

/// True if a message was sent automatically (RFC 3834 sections 2 and 5). Also evaluates Precedence, which is not
/// standard but used by older software.
fn is_automatic(sender: &ReversePath, header: &HeaderBlock) -> bool {
    *sender == ReversePath::Null
        || header.fields().any(|field| {
            let value = || field.unfolded(100).to_ascii_lowercase();
            if field.is("Auto-Submitted") {
                // A parameter or comment ends the keyword.
                value().split([';', '(', ' ']).next() != Some("no")
            } else if field.is("Precedence") {
                matches!(value().as_str(), "bulk" | "junk" | "list")
            } else {
                // RFC 2919 and RFC 2369: List-Id, List-Unsubscribe and similar fields.
                field
                    .name
                    .get(..5)
                    .is_some_and(|start| start.eq_ignore_ascii_case(b"list-"))
            }
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use host_mail::InMemory;

    fn automatic(sender: &ReversePath, header: &str) -> bool {
        let block = HeaderBlock::read(&InMemory(header.to_owned().into())).expect("in memory");
        is_automatic(sender, &block)
    }

    #[test]
    fn recognises_reports_with_any_reverse_path() {
        for (kind, expected) in [
            ("multipart/report; report-type=delivery-status; boundary=x", true),
            ("Multipart/Report;\r\n Report-Type=\"disposition-notification\"", true),
            ("multipart/report; report-type=feedback-report", false),
            ("text/plain; name=delivery-status", false),
        ] {
            let block = format!("Content-Type: {kind}\r\n");
            let block = HeaderBlock::read(&InMemory(block.into())).expect("in memory");
            assert_eq!(is_report(&block), expected, "{kind}");
        }
    }

    #[test]
    fn recognises_automatic_mail_by_path_or_header() {
        let person = ReversePath::Mailbox("anna@example.org".parse().expect("mailbox"));
        for header in [
            "Subject: x\r\n",
            "Auto-Submitted: no\r\n",
            "auto-submitted: No; x=y\r\n",
            "Precedence: first-class\r\n",
        ] {
            assert!(!automatic(&person, header), "{header}");
        }
        for header in [
            "Auto-Submitted: auto-generated\r\n",
            "AUTO-SUBMITTED:\r\n auto-replied (vacation)\r\n",
            "Precedence: Bulk\r\n",
            "List-Id: <x.example.org>\r\n",
            "List-Unsubscribe: <mailto:x@example.org>\r\n",
        ] {
            assert!(automatic(&person, header), "{header}");
        }
        assert!(automatic(&ReversePath::Null, "Subject: x\r\n"));
    }
}
