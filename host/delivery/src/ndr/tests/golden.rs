//! Tests of whole reports, compared with golden files and parsed back.

use mail_parser::{MessageParser, MimeHeaders as _, PartType};

use super::*;
use crate::ndr::compose::{Occasion, ReportFields, Returned, compose, returned};
use crate::ndr::disclosure::{self, ReportReader};
use host_contract::ReturnContent;

struct Case {
    name: &'static str,
    original: Message,
    text: String,
    class: &'static str,
    failed: Vec<FailedDelivery>,
    to: &'static str,
    reader: ReportReader,
    occasion: Occasion,
    remark: Option<&'static str>,
    requested: ReturnContent,
}

impl Case {
    fn new(name: &'static str, text: impl Into<String>) -> Self {
        Self {
            name,
            original: original(),
            text: text.into(),
            class: "protocol-error",
            failed: vec![failed_delivery(
                "anna@example.org",
                Reply::new(550, (5, 1, 1), "no such user"),
                Some("mx.example.org"),
            )],
            to: "bert@example.net",
            reader: ReportReader::Sender { authenticated: false },
            occasion: Occasion::Failed,
            remark: None,
            requested: ReturnContent::Headers,
        }
    }

    /// Returns the report as stored in the spool.
    fn bytes(&self) -> Vec<u8> {
        let content = content(&self.text);
        let header = header(&content);
        let mut failed = self.failed.clone();
        let mut original = self.original.clone();
        for each in &mut failed {
            each.why.class = self.class.to_owned();
            original.envelope.recipients.push(each.written.clone());
        }
        let about: Vec<&FailedDelivery> = failed.iter().collect();
        let recipients = disclosure::recipients(self.reader, &original, &about, "mail.example.com");
        let remarks: Vec<String> = self.remark.iter().map(|remark| (*remark).to_owned()).collect();
        let utf8 = !self.to.is_ascii();
        let (returned, truncation) = returned(self.requested, &content, &header, utf8).expect("in memory");
        let composed = compose(&ReportFields {
            hostname: "mail.example.com",
            id: "fedcba9876543210fedc".parse().expect("id"),
            boundary: "=0123456789abcdef=fedcba9876543210fedc".to_owned(),
            now: Timestamp(1_800_000_600_000),
            to: &mailbox(self.to),
            reader: self.reader,
            occasion: self.occasion,
            original: &original,
            header: &header,
            recipients: &recipients,
            remarks: &remarks,
            returned: &returned,
            truncation,
        });
        let middle = match &returned {
            Returned::Nothing => Vec::new(),
            Returned::Headers { bytes, .. } | Returned::Recoded { bytes } => bytes.clone(),
            Returned::Full { .. } => self.text.clone().into_bytes(),
        };
        let bytes = [composed.before.as_bytes(), &middle, composed.after.as_bytes()].concat();
        assert_eq!(
            composed.eight_bit,
            !bytes.is_ascii() || self.failed.iter().any(|f| utf8 && !f.written.is_ascii())
        );
        assert!(utf8 || bytes.is_ascii(), "a report to an ASCII address is 7bit");
        bytes
    }

    /// Compares with the golden file and checks the invariants of every report.
    fn check(&self) -> Vec<u8> {
        let bytes = self.bytes();
        let path = format!("{}/src/ndr/golden/{}.eml", env!("CARGO_MANIFEST_DIR"), self.name);
        if std::env::var_os("POSTHOUSE_GOLDEN").is_some() {
            std::fs::write(&path, &bytes).expect("write");
        }
        let golden = std::fs::read(&path).expect("golden file");
        assert_eq!(
            String::from_utf8_lossy(&bytes),
            String::from_utf8_lossy(&golden),
            "{}",
            self.name
        );

        for line in bytes
            .strip_suffix(b"\r\n")
            .expect("CRLF at the end")
            .split(|b| *b == b'\n')
        {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            assert!(line.len() <= 998 && !line.contains(&b'\r') && !line.contains(&0));
        }
        let message = MessageParser::default().parse(&bytes).expect("a message");
        let kind = message.content_type().expect("type");
        assert_eq!((kind.ctype(), kind.subtype()), ("multipart", Some("report")));
        assert_eq!(kind.attribute("report-type"), Some("delivery-status"));
        assert_eq!(
            message.header_raw("Auto-Submitted").map(str::trim),
            Some("auto-replied")
        );
        assert_eq!(
            message.to().and_then(|to| to.first()).and_then(|to| to.address()),
            Some(self.to)
        );
        assert!(message.header("Bcc").is_none() && message.header("X-Injected").is_none());
        bytes
    }
}

/// Returns the media type and the decoded text of part `at`.
fn part(bytes: &[u8], at: usize) -> (String, String) {
    let message = MessageParser::default().parse(bytes).expect("a message");
    let part = message.parts.get(at).expect("part");
    let kind = part.content_type().expect("type");
    let name = format!("{}/{}", kind.ctype(), kind.subtype().unwrap_or_default());
    let text = match &part.body {
        PartType::Text(text) => text.to_string(),
        PartType::Binary(bytes) | PartType::InlineBinary(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        PartType::Message(inner) => String::from_utf8_lossy(inner.raw_message()).into_owned(),
        other => panic!("{other:?}"),
    };
    (name, text)
}

const SIMPLE: &str = "Message-ID: <m1@example.net>\r\nFrom: Bert <bert@example.net>\r\n\
    Subject: Lunch on\r\n Friday\r\nContent-Type: text/plain\r\n\r\nAt one?\r\n";

#[test]
fn returns_headers_of_a_plain_message() {
    let bytes = Case::new("headers", SIMPLE).check();
    let message = MessageParser::default().parse(&bytes).expect("a message");
    assert_eq!(message.subject(), Some("Not delivered: Lunch on Friday"));
    assert_eq!(message.in_reply_to().as_text(), Some("m1@example.net"));
    assert_eq!(message.parts.len(), 4);
    let (kind, text) = part(&bytes, 1);
    assert_eq!(kind, "text/plain");
    assert!(text.contains("anna@example.org") && text.contains("550 5.1.1 no such user"));
    let (kind, status) = part(&bytes, 2);
    assert_eq!(kind, "message/delivery-status");
    let names: Vec<_> = status
        .lines()
        .filter_map(|line| line.split_once(": "))
        .map(|(name, _)| name)
        .collect();
    assert_eq!(
        names,
        [
            "Reporting-MTA",
            "Arrival-Date",
            "Final-Recipient",
            "Action",
            "Status",
            "Remote-MTA",
            "Diagnostic-Code",
            "Last-Attempt-Date",
            "Final-Log-ID"
        ]
    );
    let (kind, returned) = part(&bytes, 3);
    assert_eq!(kind, "text/rfc822-headers");
    assert!(returned.contains("Lunch on") && !returned.contains("At one?"));
}

#[test]
fn returns_the_whole_message_with_remark_and_several_recipients() {
    let mut case = Case::new("full", SIMPLE);
    case.requested = ReturnContent::Full;
    case.remark = Some("Please call the help desk.\r\nExtension 100.");
    case.failed.push(failed_delivery(
        "\"j  d\"@example.org",
        Reply::bare(554, "first line\nsecond line"),
        Some("192.0.2.25"),
    ));
    let bytes = case.check();
    let (kind, returned) = part(&bytes, 3);
    assert_eq!((kind.as_str(), returned.as_str()), ("message/rfc822", SIMPLE));
    let (_, text) = part(&bytes, 1);
    assert!(text.starts_with("Please call the help desk.\r\nExtension 100.\r\n"));
    let (_, status) = part(&bytes, 2);
    assert_eq!(status.matches("Final-Recipient:").count(), 2);
    assert!(status.contains("Status: 5.0.0") && status.contains("smtp; 554 first line second line"));
}

#[test]
fn report_without_the_original() {
    let mut case = Case::new("nothing", SIMPLE);
    case.requested = ReturnContent::Nothing;
    case.class = "not-homed";
    case.original.client = None;
    case.failed[0].last_attempt = None;
    case.failed[0].why.remote = None;
    let bytes = case.check();
    let message = MessageParser::default().parse(&bytes).expect("a message");
    assert_eq!(message.parts.len(), 3);
    let (_, status) = part(&bytes, 2);
    assert!(!status.contains("Received-From-MTA") && !status.contains("Last-Attempt-Date"));
}

#[test]
fn report_with_addresses_beyond_ascii() {
    let mut case = Case::new("global", "Subject: Gr\u{fc}\u{df}e\r\n\r\nHallo\r\n");
    case.requested = ReturnContent::Full;
    case.original.envelope.smtputf8 = true;
    case.original.envelope.sender = ReversePath::Mailbox(mailbox("j\u{f6}rg@example.net"));
    case.to = "j\u{f6}rg@example.net";
    case.failed = vec![failed_delivery(
        "andr\u{e9}@example.org",
        Reply::new(550, (5, 1, 1), "inconnu: andr\u{e9}"),
        Some("mx.example.org"),
    )];
    let bytes = case.check();
    let (kind, status) = part(&bytes, 2);
    assert_eq!(kind, "message/global-delivery-status");
    assert!(status.contains("Final-Recipient: utf-8; andr\u{e9}@example.org"));
    assert!(status.contains("inconnu: andr\u{e9}"));
    assert_eq!(part(&bytes, 3).0, "message/global");
    assert!(part(&bytes, 1).1.contains("Gr\u{fc}\u{df}e"), "base64 text comes back");
}

#[test]
fn report_beyond_ascii_to_an_ascii_address_is_seven_bit() {
    let mut case = Case::new(
        "seven-bit",
        "Subject: Gr\u{fc}\u{df}e\r\nFrom: j\u{f6}rg\r\n\r\nHallo \u{fc}\r\n",
    );
    case.requested = ReturnContent::Full;
    case.original.envelope.smtputf8 = true;
    case.failed = vec![failed_delivery(
        "andr\u{e9}@example.org",
        Reply::new(550, (5, 1, 1), "inconnu: andr\u{e9}"),
        Some("mx.example.org"),
    )];
    let bytes = case.check();
    let (kind, status) = part(&bytes, 2);
    assert_eq!(kind, "message/delivery-status");
    assert!(
        status.contains("Final-Recipient: utf-8; andr\\x{E9}@example.org"),
        "{status}"
    );
    assert!(status.contains("inconnu: andr\\x{E9}"), "{status}");
    let (kind, returned) = part(&bytes, 3);
    assert_eq!(kind, "text/rfc822-headers");
    assert!(
        returned.contains("Gr\u{fc}\u{df}e") && !returned.contains("Hallo"),
        "{returned}"
    );
    assert!(part(&bytes, 1).1.contains("andr\u{e9}@example.org"));
}

#[test]
fn notice_of_a_delay_says_until_when() {
    let mut case = Case::new("delayed", SIMPLE);
    case.occasion = Occasion::Delayed {
        until: Timestamp(1_800_172_800_000),
    };
    case.failed[0].why.reply = Reply::new(451, (4, 3, 0), "busy");
    let bytes = case.check();
    let message = MessageParser::default().parse(&bytes).expect("a message");
    assert_eq!(message.subject(), Some("Delayed: Lunch on Friday"));
    let (_, status) = part(&bytes, 2);
    for field in [
        "Action: delayed",
        "Status: 4.3.0",
        "Will-Retry-Until: ",
        "Diagnostic-Code: smtp; 451 4.3.0 busy",
    ] {
        assert!(status.contains(field), "{field}: {status}");
    }
}

#[test]
fn report_to_the_administrator_has_the_full_text() {
    let mut case = Case::new("administrator", SIMPLE);
    case.reader = ReportReader::Administrator;
    case.class = "dlp";
    case.failed[0].address = mailbox("secret.person@inner.example");
    case.failed[0].why = failed("", Reply::bare(550, "secret.person is gone"), Some("/run/lmtp"));
    let bytes = case.check();
    let (_, status) = part(&bytes, 2);
    for field in [
        "Received-From-MTA: ",
        "Remote-MTA: X-Unix; /run/lmtp",
        "smtp; 550 secret.person is gone",
    ] {
        assert!(status.contains(field), "{field}: {status}");
    }
    let (_, text) = part(&bytes, 1);
    assert!(
        text.contains("by way of secret.person@inner.example") && text.contains("(dlp)"),
        "{text}"
    );
}

#[test]
fn hostile_original_injects_no_fields() {
    let text = format!(
        "Message-ID: <a@b>\r\n\tX-Injected: 1\r\nSubject: %s%n \u{202e}\x1b[2J\r\nFrom: x\r\n\
         --=0123\r\nLong: {}\r\n\r\n\0",
        "y".repeat(5000)
    );
    let mut case = Case::new("hostile", text);
    case.requested = ReturnContent::Full;
    case.original.client.as_mut().expect("client").helo = Some("x)\r\nBcc: all@example.org".to_owned());
    case.failed = vec![failed_delivery(
        "anna@example.org",
        Reply::bare(550, format!("no\r\nBcc: b@c\r\n\r\n\x07 {}", "z".repeat(9000))),
        Some("evil\r\nX-Injected: 2"),
    )];
    case.remark = Some("look\r\n.\r\nX-Injected: 3");
    let bytes = case.check();
    let (kind, returned) = part(&bytes, 3);
    assert_eq!(kind, "text/rfc822-headers");
    assert!(!returned.contains('\0'));
    let (_, text) = part(&bytes, 1);
    assert!(text.contains("mail cannot carry inside mail") && !text.contains('\x1b') && !text.contains('\u{202e}'));
    let (_, status) = part(&bytes, 2);
    for name in ["Bcc", "X-Injected"] {
        assert!(!status.lines().any(|line| line.starts_with(name)), "{status}");
    }
}

#[test]
fn leaves_out_malformed_message_id_and_subject() {
    for (text, replies) in [
        ("Message-ID: <a@b>\r\n\r\n", true),
        ("Message-ID: <a b@c>\r\n\r\n", false),
        ("Message-ID: a@b\r\n\r\n", false),
        ("Message-ID: <a@b> <c@d>\r\n\r\n", false),
        ("Message-ID: <ab>\r\n\r\n", false),
        ("Subject:\r\n\r\n", false),
    ] {
        let bytes = Case::new("-", text).bytes();
        let message = MessageParser::default().parse(&bytes).expect("a message");
        assert_eq!(message.in_reply_to().as_text().is_some(), replies, "{text}");
        assert_eq!(message.subject(), Some("Mail could not be delivered"));
    }
}
