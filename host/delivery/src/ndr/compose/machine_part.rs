//! The part for programs: RFC 3464 section 2, in its order.

use super::ReportFields;
use crate::ndr::safe_text::{ascii, field, one_line, reply};
use host_contract::FailedRecipient;
use host_mail::{Client, Reply, StatusCode};

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
    // RFC 6533 section 3: an address beyond ASCII has a type of its own.
    let kind = if failed.address.is_ascii() { "rfc822" } else { "utf-8" };
    // Not folded: spaces in a quoted local-part are part of the address.
    out.push_str(&format!("Final-Recipient: {kind}; {}\r\n", failed.address));
    field(out, "Action", "failed");
    field(out, "Status", &status(&failed.reply).to_string());
    if let Some(remote) = &failed.remote {
        field(out, "Remote-MTA", &format!("dns; {}", ascii(&one_line(remote, 255))));
    }
    let said = reply(&failed.reply);
    let said = if report.is_global() { said } else { ascii(&said) };
    field(out, "Diagnostic-Code", &format!("smtp; {said}"));
    if report.original.attempts > 0 {
        field(out, "Last-Attempt-Date", &report.now.rfc5322());
    }
    field(out, "Final-Log-ID", &report.original.id.to_string());
}

/// The reply's own status, or what its code means by itself (RFC 3463 section 2). The recipient has
/// failed for good, so a transient reply was the last of many: RFC 3463 keeps its class.
fn status(reply: &Reply) -> StatusCode {
    reply.status.unwrap_or(match reply.code {
        400..=499 => StatusCode(4, 0, 0),
        _ => StatusCode(5, 0, 0),
    })
}

/// The name the client proved, or claimed, or at least its address.
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
    fn a_reply_without_a_status_has_that_of_its_class() {
        assert_eq!(status(&Reply::bare(550, "x")), StatusCode(5, 0, 0));
        assert_eq!(status(&Reply::bare(451, "x")), StatusCode(4, 0, 0));
        assert_eq!(status(&Reply::new(550, (5, 1, 1), "x")), StatusCode(5, 1, 1));
    }
}
