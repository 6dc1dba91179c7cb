//! The part of a report for people.

use super::report_fields::{Occasion, ReportFields};
use super::returned_part::Truncation;
use crate::ndr::disclosure::{Diagnosis, ReportReader, ReportedRecipient};
use crate::ndr::safe_text::{one_line, paragraph};
use host_events::escape;
use host_mail::ReversePath;

/// Maximum bytes of a line of a remark; the contract allows 2,000 for the remark.
const MAX_REMARK: usize = 2000;
/// Maximum bytes that are quoted of a field of the original.
const MAX_FIELD: usize = 200;

/// Composes the text of the part.
pub(super) fn text(report: &ReportFields<'_>) -> String {
    let mut out = String::new();
    for remark in report.remarks {
        for line in remark.lines().filter(|line| !line.trim().is_empty()) {
            paragraph(&mut out, "", &one_line(line, MAX_REMARK));
        }
        out.push_str("\r\n");
    }
    let host = report.hostname;
    let opening = match report.occasion {
        Occasion::Failed => format!("This is the mail system of {host}. A message could not be delivered:"),
        Occasion::Delayed { until } => format!(
            "This is the mail system of {host}. A message is not delivered yet. You need not send it again: this host \
             tries until {}.",
            until.rfc5322()
        ),
        Occasion::Succeeded => {
            format!("This is the mail system of {host}. You wanted to learn of the delivery of a message:")
        }
    };
    paragraph(&mut out, "", &opening);
    out.push_str("\r\n");
    about_original(&mut out, report);
    for told in report.recipients {
        out.push_str("\r\n");
        about_recipient(&mut out, report, told);
    }
    if let Some(truncation) = report.truncation {
        let why = match truncation {
            Truncation::TooLarge => "it is too large to be returned whole",
            Truncation::NotMail => "it holds bytes or lines that mail cannot carry inside mail",
            Truncation::EightBit => "it has 8-bit parts, which not every host on the way back takes",
        };
        out.push_str("\r\n");
        paragraph(
            &mut out,
            "",
            &format!("Only the header of the message is attached: {why}."),
        );
    }
    out
}

fn about_original(out: &mut String, report: &ReportFields<'_>) {
    let from = match &report.original.envelope.sender {
        ReversePath::Null => "nobody (the null reverse-path)".to_owned(),
        ReversePath::Mailbox(mailbox) => mailbox.to_string(),
    };
    paragraph(out, "  ", &format!("From: {}", one_line(&from, MAX_FIELD)));
    if let Some(subject) = report.header.named("Subject").next() {
        let subject = one_line(&subject.unfolded(1000), MAX_FIELD);
        paragraph(out, "  ", &format!("Subject: {subject}"));
    }
    paragraph(out, "  ", &format!("Received: {}", report.original.received.rfc5322()));
    paragraph(out, "  ", &format!("Id here: {}", report.original.id));
}

fn about_recipient(out: &mut String, report: &ReportFields<'_>, told: &ReportedRecipient) {
    // Not wrapped: spaces in a quoted local-part belong to the address.
    out.push_str(&format!("To {}:\r\n", escape(told.address.as_str())));
    if let Some(member) = &told.member {
        out.push_str(&format!("  by way of {}\r\n", escape(member.as_str())));
    }
    match report.occasion {
        Occasion::Failed => paragraph(out, "  ", &class_explanation(report.reader, &told.class)),
        Occasion::Delayed { .. } => {}
        Occasion::Succeeded => return paragraph(out, "  ", success_explanation(&told.class)),
    }
    let remote = match &told.remote {
        Some(remote) => remote.as_str(),
        None => "The next host",
    };
    let (said_by, said) = match &told.diagnosis {
        Diagnosis::Quoted(reply) => (format!("{remote} said:"), reply.clone()),
        Diagnosis::Withheld { reply, phrase } => (format!("{remote} refused:"), format!("{reply}, {phrase}")),
        Diagnosis::Here(finding) => ("This host says:".to_owned(), finding.clone()),
    };
    paragraph(out, "  ", &said_by);
    paragraph(out, "    ", &said);
}

fn success_explanation(action: &str) -> &'static str {
    match action {
        "delivered" => "the message was delivered.",
        "relayed" => "the message was passed on to a host that sends no reports of deliveries.",
        _ => {
            "the message was sent on to the members of the address. No report about a member follows, unless it fails."
        }
    }
}

fn class_explanation(reader: ReportReader, class: &str) -> String {
    let known = match class {
        "address-not-found" => "there is no such address.",
        "ambiguous-address" => "the address has several meanings, and none was chosen.",
        "conversion-failed" => "the next host cannot take a message of this form.",
        "host-not-found" => "no host takes mail for this domain.",
        "protocol-error" => "the next host refused the message.",
        "expired" => "no attempt succeeded in the time there was.",
        "not-homed" => "the sender has no mailbox here, and the message was not accepted for delivery.",
        "loop" => "the message goes round in circles between hosts.",
        other => {
            let name = match reader {
                ReportReader::Administrator => format!(" ({})", one_line(other, 64)),
                ReportReader::Sender { .. } => String::new(),
            };
            return format!("this host's policy did not let it pass{name}.");
        }
    };
    known.to_owned()
}
