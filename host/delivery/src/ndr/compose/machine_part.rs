//! The part of a report for programs: RFC 3464 section 2, in the order of the RFC.

use super::report_fields::ReportFields;
use crate::ndr::safe_text::{ascii, field, one_line, reply};
use host_contract::FailedRecipient;
use host_mail::{Client, Reply, StatusCode};

/// Composes the fields of the part.
pub(super) fn fields(report: &ReportFields<'_>) -> String {
    let mut out = String::new();
    field(&mut out, "Reporting-MTA", &format!("dns; {}", report.hostname));
    if let Some(client) = &report.original.client {
        field(&mut out, "Received-From-MTA", &format!("dns; {}", client_name(client)));
    }
    field(&mut out, "Arrival-Date", &report.original.received.rfc5322());
    for failed in &report.failure.failed {
        out.push_str("\r\n");
        recipient(&mut out, report, failed);
    }
    out
}

fn recipient(out: &mut String, report: &ReportFields<'_>, failed: &FailedRecipient) {
    // RFC 6533 section 3: an address beyond ASCII has the type `utf-8`.
    let kind = if failed.address.is_ascii() { "rfc822" } else { "utf-8" };
    // Not folded: spaces in a quoted local-part belong to the address.
    out.push_str(&format!("Final-Recipient: {kind}; {}\r\n", failed.address));
    field(out, "Action", "failed");
    field(out, "Status", &status(&failed.reply).to_string());
    if let Some(remote) = &failed.remote {
        field(out, "Remote-MTA", &format!("dns; {}", ascii(&one_line(remote, 255))));
    }
    let diagnostic = reply(&failed.reply);
    let diagnostic = if report.is_global() {
        diagnostic
    } else {
        ascii(&diagnostic)
    };
    field(out, "Diagnostic-Code", &format!("smtp; {diagnostic}"));
    if report.original.attempts > 0 {
        field(out, "Last-Attempt-Date", &report.now.rfc5322());
    }
    field(out, "Final-Log-ID", &report.original.id.to_string());
}

/// The enhanced status of a reply, or the generic status of the reply code's class (RFC 3463 section 2). A transient
/// reply keeps class 4, even though the recipient has failed after the last attempt.
fn status(reply: &Reply) -> StatusCode {
    reply.status.unwrap_or(match reply.code {
        400..=499 => StatusCode(4, 0, 0),
        _ => StatusCode(5, 0, 0),
    })
}

/// The verified name of the client, else the HELO name, with the address; the address alone without a usable name.
fn client_name(client: &Client) -> String {
    let literal = match client.address {
        std::net::IpAddr::V4(v4) => format!("[{v4}]"),
        std::net::IpAddr::V6(v6) => format!("[IPv6:{v6}]"),
    };
    let name = client.name.as_ref().or(client.helo.as_ref());
    match name {
        Some(name) if !name.is_empty() && !name.starts_with('[') => {
            format!("{} ({literal})", ascii(&one_line(name, 255)))
        }
        _ => literal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reply_without_status_gets_the_status_of_its_class() {
        assert_eq!(status(&Reply::bare(550, "x")), StatusCode(5, 0, 0));
        assert_eq!(status(&Reply::bare(451, "x")), StatusCode(4, 0, 0));
        assert_eq!(status(&Reply::new(550, (5, 1, 1), "x")), StatusCode(5, 1, 1));
    }
}
