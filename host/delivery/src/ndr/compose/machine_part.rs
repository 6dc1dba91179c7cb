//! The part of a report for programs: RFC 3464 section 2, in the order of the RFC.

use std::net::IpAddr;

use super::report_fields::{Occasion, ReportFields};
use crate::ndr::disclosure::{Diagnosis, ReportReader, ReportedRecipient};
use crate::ndr::safe_text::{ascii, field, one_line};
use host_directory::dns;
use host_mail::{Client, Mailbox};

/// Composes the fields of the part.
pub(super) fn fields(report: &ReportFields<'_>) -> String {
    let mut out = String::new();
    if let Some(id) = report.original.envelope.envelope_id() {
        // Not folded: spaces belong to the value.
        out.push_str(&format!("Original-Envelope-Id: {}\r\n", id.text()));
    }
    field(&mut out, "Reporting-MTA", &format!("dns; {}", report.hostname));
    if let (ReportReader::Administrator, Some(client)) = (report.reader, &report.original.client) {
        field(&mut out, "Received-From-MTA", &format!("dns; {}", client_name(client)));
    }
    field(&mut out, "Arrival-Date", &report.original.received.rfc5322());
    for told in report.recipients {
        out.push_str("\r\n");
        recipient(&mut out, report, told);
    }
    out
}

fn recipient(out: &mut String, report: &ReportFields<'_>, told: &ReportedRecipient) {
    let text = |text: &str| {
        if report.is_global() {
            text.to_owned()
        } else {
            ascii(text)
        }
    };
    // Not folded: spaces in a quoted local-part belong to the address.
    if let Some(original) = &told.original {
        out.push_str(&format!("Original-Recipient: {}\r\n", original.field()));
    }
    out.push_str(&format!(
        "Final-Recipient: {}\r\n",
        typed_address(&told.address, report.is_global())
    ));
    field(
        out,
        "Action",
        match report.occasion {
            Occasion::Failed => "failed",
            Occasion::Delayed { .. } => "delayed",
            Occasion::Succeeded => &told.class,
        },
    );
    field(out, "Status", &told.status.to_string());
    if let Some(remote) = &told.remote {
        field(out, "Remote-MTA", &remote_name(remote));
    }
    let diagnostic = match &told.diagnosis {
        Diagnosis::Quoted(reply) => format!("smtp; {}", text(reply)),
        Diagnosis::Withheld { reply, .. } => format!("smtp; {reply} (text withheld)"),
        // RFC 3464 section 2.1.2: the type of a code that is not registered begins with X-.
        Diagnosis::Here(finding) => format!("X-Posthouse; {}", text(finding)),
    };
    field(out, "Diagnostic-Code", &diagnostic);
    if let Some(at) = told.last_attempt {
        field(out, "Last-Attempt-Date", &at.rfc5322());
    }
    field(out, "Final-Log-ID", &report.original.id.to_string());
    if let Occasion::Delayed { until } = report.occasion {
        field(out, "Will-Retry-Until", &until.rfc5322());
    }
}

/// The address with its type (RFC 6533 section 3). Beyond ASCII the type is `utf-8`: as it is in a report in UTF-8, else
/// with each character that ASCII text cannot carry as `\x{HEX}`. A domain alone beyond ASCII has its A-labels.
fn typed_address(address: &Mailbox, utf8: bool) -> String {
    if address.is_ascii() {
        return format!("rfc822; {address}");
    }
    if utf8 {
        return format!("utf-8; {address}");
    }
    if let (true, Some(domain)) = (address.local_part().is_ascii(), dns::ascii(address.domain())) {
        return format!("rfc822; {}@{domain}", address.local_part());
    }
    let mut text = String::from("utf-8; ");
    for c in address.as_str().chars() {
        match c {
            '!'..='~' if !matches!(c, '\\' | '+' | '=') => text.push(c),
            c => text.push_str(&format!("\\x{{{:02X}}}", u32::from(c))),
        }
    }
    text
}

/// The name of a remote with its type. An address is a literal; a socket has no name in the DNS.
fn remote_name(remote: &str) -> String {
    match remote.parse::<IpAddr>() {
        Ok(address) => format!("dns; {}", literal(address)),
        Err(_) if remote.starts_with('/') => format!("X-Unix; {}", ascii(remote)),
        Err(_) => format!("dns; {}", ascii(remote)),
    }
}

fn literal(address: IpAddr) -> String {
    match address {
        IpAddr::V4(v4) => format!("[{v4}]"),
        IpAddr::V6(v6) => format!("[IPv6:{v6}]"),
    }
}

/// The verified name of the client, else the HELO name, with the address; the address alone without a usable name.
fn client_name(client: &Client) -> String {
    let literal = literal(client.address);
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
    fn address_beyond_ascii_has_a_form_in_ascii() {
        let typed = |text: &str, utf8| typed_address(&text.parse().expect("an address"), utf8);
        assert_eq!(typed("a+b@example.org", false), "rfc822; a+b@example.org");
        assert_eq!(
            typed("andr\u{e9}+x@example.org", false),
            "utf-8; andr\\x{E9}\\x{2B}x@example.org"
        );
        assert_eq!(
            typed("anna@b\u{fc}cher.example", false),
            "rfc822; anna@xn--bcher-kva.example"
        );
        assert_eq!(typed("\u{1f600}@example.org", false), "utf-8; \\x{1F600}@example.org");
        assert_eq!(typed("andr\u{e9}@example.org", true), "utf-8; andr\u{e9}@example.org");
    }

    #[test]
    fn remote_is_named_by_its_kind() {
        assert_eq!(remote_name("mx.example"), "dns; mx.example");
        assert_eq!(remote_name("192.0.2.1"), "dns; [192.0.2.1]");
        assert_eq!(remote_name("2001:db8::1"), "dns; [IPv6:2001:db8::1]");
        assert_eq!(remote_name("/run/lmtp"), "X-Unix; /run/lmtp");
    }
}
