//! Paths and parameters of MAIL and RCPT (RFC 5321 section 4.1.2).

use super::{parameters, replies};
use host_mail::{AddressError, BodyType, Mailbox, RecipientDsn, Reply, ReversePath, is_domain_name};

pub use super::parameters::Mail;

const MAIL_USAGE: &str = "MAIL FROM:<address> [SP parameters]";
const RCPT_USAGE: &str = "RCPT TO:<address> [SP parameters]";

/// A forward-path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ForwardPath {
    /// `<Postmaster>` without a domain: the host's postmaster (RFC 5321 section 4.5.1).
    Postmaster,
    /// `<local-part@domain>`.
    Mailbox {
        /// The mailbox.
        mailbox: Mailbox,
        /// True if the path is ASCII as the client wrote it.
        is_ascii: bool,
    },
}

/// The parsed argument of RCPT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rcpt {
    /// Forward-path.
    pub path: ForwardPath,
    /// NOTIFY and ORCPT (RFC 3461); `None` if neither was given.
    pub dsn: Option<Box<RecipientDsn>>,
}

/// Parses the argument of MAIL. With `bare_addresses` the address needs no angle brackets. The error is the reply.
pub fn mail(argument: &str, bare_addresses: bool) -> Result<Mail, Reply> {
    let (path, rest) = path_after(argument, "FROM:", bare_addresses, MAIL_USAGE)?;
    let mut mail = Mail {
        sender: match path {
            "" => ReversePath::Null,
            address => ReversePath::Mailbox(address.parse().map_err(replies::bad_sender)?),
        },
        is_ascii: path.is_ascii(),
        size: None,
        body: BodyType::SevenBit,
        smtputf8: false,
        options: None,
    };
    parameters::read(rest, |keyword, value| parameters::of_mail(&mut mail, keyword, value))?;
    Ok(mail)
}

/// Parses the argument of RCPT, as [`mail`] does.
pub fn rcpt(argument: &str, bare_addresses: bool) -> Result<Rcpt, Reply> {
    let (path, rest) = path_after(argument, "TO:", bare_addresses, RCPT_USAGE)?;
    let mut dsn = None;
    parameters::read(rest, |keyword, value| parameters::of_rcpt(&mut dsn, keyword, value))?;
    if path.eq_ignore_ascii_case("postmaster") {
        let path = ForwardPath::Postmaster;
        return Ok(Rcpt { path, dsn });
    }
    let mailbox = path.parse().map_err(replies::bad_recipient)?;
    let is_ascii = path.is_ascii();
    let path = ForwardPath::Mailbox { mailbox, is_ascii };
    Ok(Rcpt { path, dsn })
}

/// Returns the address after the keyword, and the text after the path. The error is the reply; it says so if only the
/// angle brackets are missing.
fn path_after<'a>(
    argument: &'a str,
    keyword: &str,
    bare_addresses: bool,
    usage: &str,
) -> Result<(&'a str, &'a str), Reply> {
    let text = after_keyword(argument, keyword).ok_or_else(|| replies::syntax(usage))?;
    if let Some(found) = path(text) {
        return Ok(found);
    }
    match bare_path(text) {
        Some(found) if bare_addresses => Ok(found),
        Some(_) => Err(replies::no_angle_brackets(usage)),
        None => Err(replies::syntax(usage)),
    }
}

/// Returns the address without angle brackets, up to the first blank, and the text after the address.
fn bare_path(text: &str) -> Option<(&str, &str)> {
    let end = text.find(' ').unwrap_or(text.len());
    let (address, rest) = text.split_at(end);
    (!address.is_empty() && !address.contains(['<', '>', '"'])).then_some((address, rest))
}

/// Returns the text after `FROM:` or `TO:`. Accepts spaces after the colon, which RFC 5321 section 3.3 forbids, since
/// many clients send a space and the meaning is unambiguous.
fn after_keyword<'a>(argument: &'a str, keyword: &str) -> Option<&'a str> {
    let (head, rest) = argument.split_at_checked(keyword.len())?;
    head.eq_ignore_ascii_case(keyword).then(|| rest.trim_start_matches(' '))
}

/// Returns the address within `<` and `>` without the source route, and the text after the path.
fn path(text: &str) -> Option<(&str, &str)> {
    let inner = text.strip_prefix('<')?;
    let end = closing_bracket(inner)?;
    let rest = &inner[end + 1..];
    if !(rest.is_empty() || rest.starts_with(' ')) {
        return None;
    }
    Some((without_route(&inner[..end])?, rest))
}

/// Returns the position of the `>` that ends a path. A `>` within a quoted string belongs to the address.
fn closing_bracket(text: &str) -> Option<usize> {
    let mut quoted = false;
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'>' if !quoted => return Some(at),
            _ => {}
        }
    }
    None
}

/// Drops the source route of `@a,@b:local-part@domain` (RFC 5321 appendix C). `None` if the route is malformed.
fn without_route(path: &str) -> Option<&str> {
    if !path.starts_with('@') {
        return Some(path);
    }
    let (route, address) = path.split_once(':')?;
    let hosts_only = route
        .split(',')
        .all(|hop| hop.strip_prefix('@').is_some_and(is_domain_name));
    (hosts_only && !address.is_empty()).then_some(address)
}

/// Address of the host's postmaster.
pub fn postmaster(hostname: &str) -> Result<Mailbox, AddressError> {
    format!("postmaster@{hostname}").parse()
}

#[cfg(test)]
mod tests {
    use super::*;
    use host_mail::{RequestedReports, ReturnedPart};

    #[test]
    fn reads_reverse_paths() {
        for (argument, sender) in [
            ("FROM:<anna@example.org>", "<anna@example.org>"),
            ("from:<anna@example.org>", "<anna@example.org>"),
            ("FROM: <anna@example.org>", "<anna@example.org>"),
            ("FROM:<>", "<>"),
            ("FROM:<\"a>b\"@example.org>", "<\"a>b\"@example.org>"),
            ("FROM:<\"a\\\">b\"@example.org>", "<\"a\\\">b\"@example.org>"),
            (
                "FROM:<@relay.example,@b.example:anna@example.org>",
                "<anna@example.org>",
            ),
            ("FROM:<x@[192.0.2.1]>", "<x@[192.0.2.1]>"),
        ] {
            let mail = mail(argument, false).unwrap_or_else(|reply| panic!("{argument}: {reply}"));
            assert_eq!(mail.sender.to_string(), sender, "{argument}");
        }
    }

    #[test]
    fn refuses_malformed_paths() {
        for (argument, code) in [
            ("", 501),
            ("FROM", 501),
            ("TO:<anna@example.org>", 501),
            ("FROM:", 501),
            ("FROM:anna@example.org", 501),
            ("FROM:<anna@example.org", 501),
            ("FROM:<anna@example.org>>", 501),
            ("FROM:<anna@example.org>SIZE=1", 501),
            ("FROM:<anna>", 501),
            ("FROM:<postmaster>", 501),
            ("FROM:<an na@example.org>", 501),
            ("FROM:<@relay.example:>", 501),
            ("FROM:<@:anna@example.org>", 501),
            ("FROM:<@a b:anna@example.org>", 501),
            ("FROM:<@relay.example>", 501),
            ("FRO\u{fc}:<a@b>", 501),
        ] {
            assert_eq!(
                mail(argument, false).map_err(|reply| reply.code),
                Err(code),
                "{argument}"
            );
        }
    }

    #[test]
    fn reads_parameters_of_mail() {
        let all = mail(
            "FROM:<a@b.example> SIZE=1000 body=8bitmime SMTPUTF8 AUTH=e+3Dmc2@example.com",
            false,
        )
        .expect("valid");
        assert_eq!(all.size, Some(1000));
        assert_eq!(all.body, BodyType::EightBitMime);
        assert!(all.smtputf8);
        let huge = mail("FROM:<> SIZE=99999999999999999999", false).expect("20 digits");
        assert_eq!(huge.size, Some(u64::MAX));
        assert!(mail("FROM:<> AUTH=<>", false).is_ok());
        assert_eq!(huge.options, None);
        let dsn = mail("FROM:<> RET=hdrs ENVID=QQ+2B1", false).expect("valid").options;
        let dsn = dsn.expect("two parameters");
        assert_eq!(dsn.return_content, Some(ReturnedPart::Headers));
        assert_eq!(dsn.envelope_id.map(|id| id.text()).as_deref(), Some("QQ+1"));
        let rcpt = rcpt("TO:<a@b.example> NOTIFY=NEVER ORCPT=rfc822;c@d.example", false).expect("valid");
        assert_eq!(rcpt.dsn.and_then(|dsn| dsn.notify), Some(RequestedReports::NEVER));
        assert!(mail("FROM:<>  BODY=7BIT ", false).is_ok());
    }

    #[test]
    fn refuses_bad_parameters() {
        for (parameters, code) in [
            ("SIZE", 501),
            ("SIZE=", 501),
            ("SIZE=x", 501),
            ("SIZE=-1", 501),
            ("SIZE=+1", 501),
            ("SIZE=999999999999999999999", 501),
            ("SIZE=1 SIZE=1", 501),
            ("BODY=TERNARYMIME", 501),
            ("BODY", 501),
            ("SMTPUTF8=1", 501),
            ("AUTH=", 501),
            ("AUTH=a+zz", 501),
            ("AUTH", 501),
            ("RET", 501),
            ("RET=ALL", 501),
            ("RET=FULL RET=FULL", 501),
            ("ENVID=", 501),
            ("ENVID=a=b", 501),
            ("NOTIFY=NEVER", 555),
            ("X", 555),
            ("=", 555),
        ] {
            let argument = format!("FROM:<> {parameters}");
            assert_eq!(
                mail(&argument, false).map_err(|reply| reply.code),
                Err(code),
                "{parameters}"
            );
        }
    }

    #[test]
    fn reads_forward_paths() {
        let rcpt = |argument, bare| super::rcpt(argument, bare).map(|rcpt| rcpt.path);
        assert_eq!(rcpt("TO:<Postmaster>", false), Ok(ForwardPath::Postmaster));
        let bob = ForwardPath::Mailbox {
            mailbox: "bob@example.org".parse().expect("valid"),
            is_ascii: true,
        };
        assert_eq!(rcpt("TO:<bob@EXAMPLE.org>", false), Ok(bob.clone()));
        assert_eq!(rcpt("to: <@a.example:bob@example.org> ", false), Ok(bob));
        let wide = rcpt("TO:<bob@ｅxample.org>", false);
        assert!(matches!(wide, Ok(ForwardPath::Mailbox { mailbox, is_ascii: false }) if mailbox.is_ascii()));
        for (argument, code) in [
            ("TO:<bob@xn--a.example>", 501),
            ("TO:<bob@a\u{202e}b.example>", 501),
            ("TO:<>", 501),
            ("TO:<bob>", 501),
            ("TO:bob@example.org", 501),
            ("FROM:<bob@example.org>", 501),
            ("TO:<bob@example.org> NOTIFY", 501),
            ("TO:<bob@example.org> NOTIFY=NEVER,DELAY", 501),
            ("TO:<bob@example.org> NOTIFY=NEVER NOTIFY=NEVER", 501),
            ("TO:<bob@example.org> ORCPT=bob@example.org", 501),
            ("TO:<bob@example.org> RET=FULL", 555),
            ("TO:<bob@example.org> SIZE=1", 555),
        ] {
            assert_eq!(
                rcpt(argument, false).map_err(|reply| reply.code),
                Err(code),
                "{argument}"
            );
        }
    }

    #[test]
    fn reads_addresses_without_angle_brackets_where_allowed() {
        for argument in ["FROM:anna@example.org", "FROM: anna@example.org SIZE=10"] {
            let read = mail(argument, true).expect("valid");
            assert_eq!(read.sender.to_string(), "<anna@example.org>");
            let refused = mail(argument, false).expect_err("no brackets");
            assert!(
                refused.code == 501 && refused.text.contains("angle brackets"),
                "{refused}"
            );
        }
        let rcpt = |argument, bare| super::rcpt(argument, bare).map(|rcpt| rcpt.path);
        assert_eq!(rcpt("TO:postmaster", true), Ok(ForwardPath::Postmaster));
        let bob = ForwardPath::Mailbox {
            mailbox: "bob@example.org".parse().expect("valid"),
            is_ascii: true,
        };
        assert_eq!(rcpt("TO:bob@example.org", true), Ok(bob));
        for argument in [
            "FROM:",
            "FROM:<anna@example.org",
            "FROM:anna@example.org>",
            "FROM:anna",
            "FROM:\"a b\"@c.example",
        ] {
            assert_eq!(mail(argument, true).map_err(|reply| reply.code), Err(501), "{argument}");
        }
    }
}
