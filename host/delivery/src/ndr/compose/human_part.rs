//! The part of a report for people.

use super::report_fields::ReportFields;
use super::returned_part::Truncation;
use crate::ndr::safe_text::{one_line, paragraph, reply};
use host_contract::FailedRecipient;
use host_events::escape;
use host_mail::ReversePath;

/// Maximum bytes of a line of a remark; the contract allows 2,000 for the remark.
const MAX_REMARK: usize = 2000;
/// Maximum bytes that are quoted of a field of the original.
const MAX_FIELD: usize = 200;

/// Composes the text of the part.
pub(super) fn text(report: &ReportFields<'_>) -> String {
    let mut out = String::new();
    if let Some(remark) = report.remark {
        for line in remark.lines().filter(|line| !line.trim().is_empty()) {
            paragraph(&mut out, "", &one_line(line, MAX_REMARK));
        }
        out.push_str("\r\n");
    }
    paragraph(
        &mut out,
        "",
        &format!(
            "This is the mail system of {}. A message could not be delivered:",
            report.hostname
        ),
    );
    out.push_str("\r\n");
    about_original(&mut out, report);
    for failed in &report.failure.failed {
        out.push_str("\r\n");
        about_recipient(&mut out, report, failed);
    }
    if let Some(truncation) = report.truncation {
        let why = match truncation {
            Truncation::TooLarge => "it is too large to be returned whole",
            Truncation::NotMail => "it holds bytes or lines that mail cannot carry inside mail",
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

fn about_recipient(out: &mut String, report: &ReportFields<'_>, failed: &FailedRecipient) {
    // Not wrapped: spaces in a quoted local-part belong to the address.
    let address = escape(failed.address.as_str());
    out.push_str(&format!("To {address}:\r\n"));
    paragraph(out, "  ", &class_explanation(&report.failure.class));
    let said_by = match &failed.remote {
        Some(remote) => format!("{} said:", one_line(remote, 255)),
        None => "This host says:".to_owned(),
    };
    paragraph(out, "  ", &said_by);
    paragraph(out, "    ", &reply(&failed.reply));
}

fn class_explanation(class: &str) -> String {
    let known = match class {
        "address-not-found" => "there is no such address.",
        "ambiguous-address" => "the address has several meanings, and none was chosen.",
        "conversion-failed" => "the next host cannot take a message of this form.",
        "host-not-found" => "no host takes mail for this domain.",
        "protocol-error" => "the next host refused the message.",
        "expired" => "no attempt succeeded in the time there was.",
        "not-homed" => "the sender has no mailbox here, and the message was not accepted for delivery.",
        "loop" => "the message goes round in circles between hosts.",
        other => return format!("this host's policy did not let it pass ({}).", one_line(other, 64)),
    };
    known.to_owned()
}
