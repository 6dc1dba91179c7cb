//! Composes a report as bytes: RFC 3464 in RFC 6522. Pure.
//!
//! A report to an ASCII address is 7bit in every part, since it must survive every host on its way. A report to an
//! address beyond ASCII only meets hosts with SMTPUTF8 and has the types of RFC 6533 where its content needs them.

mod human_part;
mod machine_part;
mod recoded_text;
mod report_fields;
mod returned_part;

use base64::Engine as _;

use crate::ndr::safe_text;
use host_mail::HeaderBlock;

pub(super) use crate::ndr::compose::report_fields::{Occasion, ReportFields};
pub(super) use crate::ndr::compose::returned_part::{Returned, returned};

/// A report in two parts, before and after the returned original.
pub(super) struct Composed {
    pub before: String,
    pub after: String,
    /// True if a part of the report is not 7bit.
    pub eight_bit: bool,
}

/// Composes a report.
pub(super) fn compose(report: &ReportFields<'_>) -> Composed {
    let boundary = &report.boundary;
    let mut out = String::new();
    fields(&mut out, report);
    out.push_str("\r\n");
    text_part(&mut out, boundary, &crate::ndr::compose::human_part::text(report));

    let status = crate::ndr::compose::machine_part::fields(report);
    let (kind, encoding) = match report.is_global() {
        true => ("message/global-delivery-status", "8bit"),
        false => ("message/delivery-status", "7bit"),
    };
    part(&mut out, boundary, kind, encoding);
    out.push_str(&status);

    if let Some((kind, encoding)) = report.returned.kind() {
        out.push_str("\r\n");
        part(&mut out, boundary, kind, encoding);
    }
    Composed {
        eight_bit: !out.is_ascii() || report.is_global() || report.returned.is_eight_bit(),
        before: out,
        after: format!("\r\n--{boundary}--\r\n"),
    }
}

fn fields(out: &mut String, report: &ReportFields<'_>) {
    let host = report.hostname;
    safe_text::field(out, "From", &format!("Mail Delivery System <postmaster@{host}>"));
    // Not folded: a quoted local-part may hold several spaces in a row, which folding would not keep.
    out.push_str(&format!("To: <{}>\r\n", report.to));
    safe_text::field(out, "Subject", &subject(report));
    safe_text::field(out, "Date", &report.now.rfc5322());
    safe_text::field(out, "Message-ID", &format!("<{}@{host}>", report.id));
    if let Some(id) = message_id(report.header) {
        safe_text::field(out, "In-Reply-To", &id);
        safe_text::field(out, "References", &id);
    }
    safe_text::field(out, "Auto-Submitted", "auto-replied");
    safe_text::field(out, "MIME-Version", "1.0");
    let boundary = &report.boundary;
    out.push_str(&format!(
        "Content-Type: multipart/report; report-type=delivery-status;\r\n boundary=\"{boundary}\"\r\n"
    ));
}

/// The Subject of the report: quotes the original's Subject if printable ASCII, shortened to about 120 bytes.
fn subject(report: &ReportFields<'_>) -> String {
    let (prefix, alone) = match report.occasion {
        Occasion::Failed => ("Not delivered:", "Mail could not be delivered"),
        Occasion::Delayed { .. } => ("Delayed:", "Mail is not delivered yet"),
        Occasion::Succeeded => ("Delivery report:", "Report of a delivery"),
    };
    let original = report.header.named("Subject").next().map(|field| field.unfolded(500));
    match original {
        Some(subject) if !subject.is_empty() && subject.bytes().all(|b| matches!(b, b' '..=b'~')) => {
            let words = subject.split(' ').filter(|word| !word.is_empty());
            let mut short = String::new();
            for word in words.take_while(|word| word.len() <= 120) {
                if short.len() + word.len() > 120 {
                    break;
                }
                short.push(' ');
                short.push_str(word);
            }
            format!("{prefix}{short}")
        }
        _ => alone.to_owned(),
    }
}

/// The original's Message-ID, if well-formed (RFC 5322 section 3.6.4).
fn message_id(header: &HeaderBlock) -> Option<String> {
    let id = header.named("Message-ID").next()?.unfolded(250);
    let inner = id.strip_prefix('<')?.strip_suffix('>')?;
    let sane = inner.contains('@')
        && inner
            .bytes()
            .all(|b| matches!(b, b'!'..=b'~') && b != b'<' && b != b'>');
    sane.then_some(id)
}

/// Appends the delimiter and the header fields of a part.
fn part(out: &mut String, boundary: &str, kind: &str, encoding: &str) {
    out.push_str(&format!(
        "--{boundary}\r\nContent-Type: {kind}\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n"
    ));
}

/// Appends a text part in a form that every host accepts: 7bit, or base64 for text beyond ASCII.
fn text_part(out: &mut String, boundary: &str, text: &str) {
    let kind = "text/plain; charset=utf-8";
    if text.is_ascii() {
        part(out, boundary, kind, "7bit");
        out.push_str(text);
    } else {
        part(out, boundary, kind, "base64");
        // 57 bytes are one line of 76 characters (RFC 2045 section 6.8).
        for line in text.as_bytes().chunks(57) {
            out.push_str(&base64::engine::general_purpose::STANDARD.encode(line));
            out.push_str("\r\n");
        }
    }
    out.push_str("\r\n");
}
