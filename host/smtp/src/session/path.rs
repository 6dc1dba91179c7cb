//! Paths and parameters of MAIL and RCPT (RFC 5321 section 4.1.2).

use super::replies;
use host_mail::{AddressError, BodyType, Mailbox, Reply, ReversePath, is_domain_name};

const MAIL_USAGE: &str = "MAIL FROM:<address> [SP parameters]";
const RCPT_USAGE: &str = "RCPT TO:<address> [SP parameters]";

/// The parsed argument of MAIL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mail {
    /// Reverse-path.
    pub sender: ReversePath,
    /// True if the reverse-path is ASCII as the client wrote it.
    pub is_ascii: bool,
    /// Announced size in octets (RFC 1870).
    pub size: Option<u64>,
    /// Announced body type (RFC 6152).
    pub body: BodyType,
    /// True if SMTPUTF8 was given (RFC 6531).
    pub smtputf8: bool,
}

/// The parsed argument of RCPT.
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
    };
    let mut seen: Vec<String> = Vec::new();
    for (keyword, value) in parameters(rest) {
        let keyword = keyword.to_ascii_uppercase();
        let bad = || replies::bad_parameter(&keyword);
        match (keyword.as_str(), value) {
            ("SIZE", Some(value)) => mail.size = Some(octets(value).ok_or_else(bad)?),
            ("BODY", Some(value)) if value.eq_ignore_ascii_case("7BIT") => mail.body = BodyType::SevenBit,
            ("BODY", Some(value)) if value.eq_ignore_ascii_case("8BITMIME") => mail.body = BodyType::EightBitMime,
            ("SMTPUTF8", None) => mail.smtputf8 = true,
            // RFC 4954 section 5: no client is trusted to vouch for another sender. A well-formed value is treated as
            // AUTH=<>.
            ("AUTH", Some(value)) if is_xtext(value) => {}
            ("SIZE" | "BODY" | "SMTPUTF8" | "AUTH", _) => return Err(bad()),
            _ => return Err(replies::unknown_parameter()),
        }
        if seen.contains(&keyword) {
            return Err(bad());
        }
        seen.push(keyword);
    }
    Ok(mail)
}

/// Parses the argument of RCPT, as [`mail`] does. Every parameter is refused, since no extension with a parameter
/// of RCPT is offered.
pub fn rcpt(argument: &str, bare_addresses: bool) -> Result<ForwardPath, Reply> {
    let (path, rest) = path_after(argument, "TO:", bare_addresses, RCPT_USAGE)?;
    if parameters(rest).next().is_some() {
        return Err(replies::unknown_parameter());
    }
    if path.eq_ignore_ascii_case("postmaster") {
        return Ok(ForwardPath::Postmaster);
    }
    let mailbox = path.parse().map_err(replies::bad_recipient)?;
    let is_ascii = path.is_ascii();
    Ok(ForwardPath::Mailbox { mailbox, is_ascii })
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

/// Iterates over the parameters, each `SP keyword [= value]`.
fn parameters(rest: &str) -> impl Iterator<Item = (&str, Option<&str>)> {
    rest.split(' ').filter(|word| !word.is_empty()).map(|word| {
        word.split_once('=')
            .map_or((word, None), |(keyword, value)| (keyword, Some(value)))
    })
}

/// Parses a size of up to 20 digits (RFC 1870 section 5). Saturates beyond the range of `u64`.
fn octets(value: &str) -> Option<u64> {
    let digits = !value.is_empty() && value.len() <= 20 && value.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| value.parse().unwrap_or(u64::MAX))
}

/// True for xtext: printable ASCII with `+XX` for other octets (RFC 3461 section 4). `<>` is valid xtext.
fn is_xtext(value: &str) -> bool {
    let mut bytes = value.bytes();
    let is_hex = |byte: Option<u8>| byte.is_some_and(|b| matches!(b, b'0'..=b'9' | b'A'..=b'F'));
    while let Some(byte) = bytes.next() {
        let ok = match byte {
            b'+' => is_hex(bytes.next()) && is_hex(bytes.next()),
            b'=' => false,
            other => other.is_ascii_graphic(),
        };
        if !ok {
            return false;
        }
    }
    !value.is_empty()
}

/// Address of the host's postmaster.
pub fn postmaster(hostname: &str) -> Result<Mailbox, AddressError> {
    format!("postmaster@{hostname}").parse()
}

#[cfg(test)]
mod tests {
    use super::*;

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
            ("BODY=BINARYMIME", 501),
            ("BODY", 501),
            ("SMTPUTF8=1", 501),
            ("AUTH=", 501),
            ("AUTH=a+zz", 501),
            ("AUTH", 501),
            ("RET=FULL", 555),
            ("ENVID=x", 555),
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
            ("TO:<bob@example.org> NOTIFY=NEVER", 555),
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
