//! Parser of command lines (RFC 5321 section 4.1). The machine checks the order of commands.

use super::auth::Secret;
use super::front_end::{self, Attribute};
use super::path::{self, Mail, Rcpt};
use super::replies;
use host_mail::{Reply, is_address_literal, is_domain_name};

/// Maximum length of a command line in octets, including CR LF (RFC 5321 section 4.5.3.1.4).
const MAX_COMMAND: usize = 512;
/// Maximum length of MAIL in octets, with SIZE (RFC 1870: 26), BODY (RFC 6152: 17), AUTH (RFC 4954: 500), SMTPUTF8
/// (RFC 6531: 10), RET and ENVID (RFC 3461: 124), REQUIRETLS (RFC 8689: 11), BY (RFC 2852: 17), HOLDFOR or HOLDUNTIL
/// (RFC 4865: 34) and MT-PRIORITY (RFC 6710: 15).
const MAX_MAIL: usize = MAX_COMMAND + 26 + 17 + 500 + 10 + 124 + 11 + 17 + 34 + 15;
/// Maximum length of RCPT in octets, with NOTIFY and ORCPT (RFC 3461: 500).
const MAX_RCPT: usize = MAX_COMMAND + 500;
/// Maximum length in octets of AUTH and of a response during an exchange (RFC 4954 section 4); no line may be longer.
pub const MAX_LINE: usize = 12_288;
/// Maximum length of a domain in octets (RFC 5321 section 4.5.3.1.2).
const MAX_DOMAIN: usize = 255;

/// A command with a parsed argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// EHLO with any name, also an empty one.
    Ehlo(String),
    /// HELO: like [`Command::Ehlo`], without extensions.
    Helo(String),
    /// Begins a transaction.
    Mail(Mail),
    /// Adds a recipient.
    Rcpt(Rcpt),
    /// Announces the message.
    Data,
    /// Announces the next octets of the message (RFC 3030): their number, and true if they are the last.
    Bdat(u64, bool),
    /// Drops the transaction.
    Rset,
    /// Asks about an address; the reply discloses nothing.
    Vrfy,
    /// Lists the verbs.
    Help,
    /// Has no effect.
    Noop,
    /// Asks for the mail of a node (RFC 1985), a domain, or with `@` a domain and those below.
    Etrn(String),
    /// Names the client behind a front end.
    XClient(Vec<Attribute>),
    /// Names the client behind a front end for events, for one transaction.
    XForward(Vec<Attribute>),
    /// Ends the session.
    Quit,
    /// Starts TLS (RFC 3207).
    StartTls,
    /// Authenticates (RFC 4954), with mechanism and initial response.
    Auth(String, Option<Secret>),
    /// BDAT without a number of octets: nothing tells the octets that follow from commands.
    EndlessBdat,
    /// An HTTP request of a web client. A third party may have chosen the request and the lines that follow.
    Http,
}

impl Command {
    /// Parses a line without CR LF, with addresses in angle brackets. The error is the reply.
    pub fn parse(line: &[u8]) -> Result<Self, Reply> {
        Self::parse_with(line, false)
    }

    /// Parses a line like [`Self::parse`]. With `bare_addresses` addresses need no angle brackets.
    pub fn parse_with(line: &[u8], bare_addresses: bool) -> Result<Self, Reply> {
        if is_http(line) {
            return Ok(Self::Http);
        }
        let verb_end = line.iter().position(|b| *b == b' ').unwrap_or(line.len());
        if line.len() + 2 > max_length(&line[..verb_end]) {
            return Err(replies::command_too_long());
        }
        if line[..verb_end].eq_ignore_ascii_case(b"AUTH") {
            return auth(&line[verb_end..]);
        }
        if let verb @ (b"EHLO" | b"HELO") = &line[..verb_end].to_ascii_uppercase()[..] {
            return hello(&line[verb_end..]).map(if verb == b"EHLO" { Self::Ehlo } else { Self::Helo });
        }
        let text = std::str::from_utf8(line).map_err(|_| replies::not_text())?;
        if text.chars().any(char::is_control) {
            return Err(replies::not_text());
        }
        // RFC 5321 section 4.1.1: trailing white space is tolerated.
        let (verb, argument) = text.split_at(verb_end);
        Self::from_parts(&verb.to_ascii_uppercase(), argument.trim_matches(' '), bare_addresses)
    }

    fn from_parts(verb: &str, argument: &str, bare_addresses: bool) -> Result<Self, Reply> {
        let without_argument = |command, usage| match argument {
            "" => Ok(command),
            _ => Err(replies::syntax(usage)),
        };
        match verb {
            "MAIL" => path::mail(argument, bare_addresses).map(Self::Mail),
            "RCPT" => path::rcpt(argument, bare_addresses).map(Self::Rcpt),
            "DATA" => without_argument(Self::Data, "DATA"),
            "BDAT" => Ok(bdat(argument)),
            "RSET" => without_argument(Self::Rset, "RSET"),
            "QUIT" => without_argument(Self::Quit, "QUIT"),
            "STARTTLS" => without_argument(Self::StartTls, "STARTTLS"),
            "NOOP" => Ok(Self::Noop),
            "HELP" => Ok(Self::Help),
            "VRFY" if !argument.is_empty() => Ok(Self::Vrfy),
            "VRFY" => Err(replies::syntax("VRFY string")),
            "XCLIENT" => front_end::attributes(argument, &front_end::XCLIENT).map(Self::XClient),
            "XFORWARD" => front_end::attributes(argument, &front_end::XFORWARD).map(Self::XForward),
            "ETRN" if argument.is_empty() || argument.contains(' ') => Err(replies::syntax("ETRN domain")),
            "ETRN" => Ok(Self::Etrn(argument.to_owned())),
            // Known elsewhere (RFC 821, 2645, 4468, 5321) and not offered here.
            "EXPN" | "SEND" | "SOML" | "SAML" | "TURN" | "ATRN" | "BURL" => Err(replies::not_implemented()),
            _ => Err(replies::unknown_command()),
        }
    }
}

/// True for an HTTP request line: begins with a method of RFC 9110 section 9.3 or RFC 5789, or ends with a version (RFC
/// 9112 section 3).
fn is_http(line: &[u8]) -> bool {
    const METHODS: [&[u8]; 9] = [
        b"CONNECT", b"DELETE", b"GET", b"HEAD", b"OPTIONS", b"PATCH", b"POST", b"PUT", b"TRACE",
    ];
    let mut words = line.split(|b| *b == b' ');
    let method = words.next().unwrap_or_default();
    METHODS.iter().any(|known| method.eq_ignore_ascii_case(known))
        || words.next_back().is_some_and(|version| version.starts_with(b"HTTP/"))
}

fn max_length(verb: &[u8]) -> usize {
    if verb.eq_ignore_ascii_case(b"AUTH") {
        MAX_LINE
    } else if verb.eq_ignore_ascii_case(b"MAIL") {
        MAX_MAIL
    } else if verb.eq_ignore_ascii_case(b"RCPT") {
        MAX_RCPT
    } else {
        MAX_COMMAND
    }
}

/// Reads the argument of EHLO and HELO (RFC 5321 section 4.1.1.1) as given: names of old clients have blanks, trailing
/// hyphens, zones of IPv6 addresses and octets of other character sets, which are replaced.
fn hello(argument: &[u8]) -> Result<String, Reply> {
    let name = String::from_utf8_lossy(argument);
    let name = name.trim_matches(' ');
    if name.chars().any(char::is_control) {
        return Err(replies::not_text());
    }
    Ok(name.to_owned())
}

/// True for an argument that RFC 5321 section 4.1.1.1 allows, or that has underscores, which many office networks use.
pub fn is_strict_hello(name: &str) -> bool {
    name.is_ascii() && name.len() <= MAX_DOMAIN && (is_domain_name(name) || is_address_literal(name))
}

/// Parses the argument of BDAT, `chunk-size [SP LAST]` (RFC 3030 section 2).
fn bdat(argument: &str) -> Command {
    let (size, last) = argument.split_once(' ').unwrap_or((argument, ""));
    let digits = !size.is_empty() && size.bytes().all(|octet| octet.is_ascii_digit());
    let last = last.trim_start_matches(' ');
    match size.parse() {
        Ok(size) if digits && (last.is_empty() || last.eq_ignore_ascii_case("LAST")) => {
            Command::Bdat(size, !last.is_empty())
        }
        _ => Command::EndlessBdat,
    }
}

/// Parses the argument of AUTH. An initial response that is no text is kept: the exchange refuses it as a failed login.
fn auth(argument: &[u8]) -> Result<Command, Reply> {
    let argument = String::from_utf8_lossy(argument);
    let mut words = argument.split(' ').filter(|word| !word.is_empty());
    let usage = || replies::syntax("AUTH mechanism [initial-response]");
    let mechanism = words.next().ok_or_else(usage)?.to_ascii_uppercase();
    let initial = words.next().map(Secret::from);
    match words.next() {
        Some(_) => Err(usage()),
        None if !mechanism.bytes().all(|octet| octet.is_ascii_graphic()) => Err(replies::not_text()),
        None => Ok(Command::Auth(mechanism, initial)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(line: &[u8]) -> u16 {
        Command::parse(line).map_or_else(|reply| reply.code, |_| 0)
    }

    #[test]
    fn accepts_verbs_in_any_case_and_trailing_space() {
        for (line, command) in [
            ("EHLO mx.example.org", Command::Ehlo("mx.example.org".into())),
            ("ehlo [192.0.2.1]", Command::Ehlo("[192.0.2.1]".into())),
            ("EHLO  [IPv6:::1] ", Command::Ehlo("[IPv6:::1]".into())),
            ("HeLo MY_PC", Command::Helo("MY_PC".into())),
            ("DATA  ", Command::Data),
            ("rset", Command::Rset),
            ("etrn @example.org", Command::Etrn("@example.org".into())),
            ("BDAT 10", Command::Bdat(10, false)),
            ("bdat 0  last ", Command::Bdat(0, true)),
            ("BDAT", Command::EndlessBdat),
            ("BDAT +1", Command::EndlessBdat),
            ("BDAT 1 FIRST", Command::EndlessBdat),
            ("BDAT 18446744073709551616", Command::EndlessBdat),
            ("NOOP whatever you say", Command::Noop),
            ("noop", Command::Noop),
            ("HELP", Command::Help),
            ("HELP MAIL", Command::Help),
            ("QUIT", Command::Quit),
            ("VRFY anna", Command::Vrfy),
            ("STARTTLS", Command::StartTls),
            ("AUTH plain", Command::Auth("PLAIN".into(), None)),
            (
                "AUTH PLAIN AGEAYg==",
                Command::Auth("PLAIN".into(), Some("AGEAYg==".into())),
            ),
        ] {
            assert_eq!(Command::parse(line.as_bytes()), Ok(command), "{line}");
        }
    }

    #[test]
    fn reads_any_name_of_a_client_and_tells_strict_ones() {
        for (line, name, strict) in [
            (&b"EHLO client.example"[..], "client.example", true),
            (b"HELO my_pc", "my_pc", true),
            (b"EHLO [192.0.2.1]", "[192.0.2.1]", true),
            (b"EHLO", "", false),
            (b"EHLO PC von Anna ", "PC von Anna", false),
            (b"EHLO my-pc-", "my-pc-", false),
            (b"EHLO [IPv6:fe80::1%eth0]", "[IPv6:fe80::1%eth0]", false),
            (b"EHLO B\xfcro", "B\u{fffd}ro", false),
            ("EHLO bücher.example".as_bytes(), "bücher.example", false),
        ] {
            let Ok(Command::Ehlo(read) | Command::Helo(read)) = Command::parse(line) else {
                panic!("{}", line.escape_ascii())
            };
            assert_eq!((read.as_str(), is_strict_hello(&read)), (name, strict));
        }
    }

    #[test]
    fn replies_to_each_mistake_with_the_right_code() {
        for (line, expected) in [
            (&b""[..], 500),
            (b" NOOP", 500),
            (b"FOO", 500),
            (b"MAILFROM:<a@b>", 500),
            (b"NOOP \xff", 500),
            (b"NOOP \0", 500),
            (b"NOOP\tx", 500),
            (b"EHLO a\tb", 500),
            (b"DATA now", 501),
            (b"QUIT please", 501),
            (b"STARTTLS x", 501),
            (b"VRFY", 501),
            (b"AUTH", 501),
            (b"AUTH PLAIN a b", 501),
            (b"EXPN list", 502),
            (b"TURN", 502),
            (b"ETRN", 501),
            (b"ETRN a b", 501),
        ] {
            assert_eq!(code(line), expected, "{}", line.escape_ascii());
        }
    }

    #[test]
    fn detects_http_by_method_or_version() {
        let long = format!("GET /{} HTTP/1.1", "x".repeat(2 * MAX_COMMAND));
        for line in [
            &b"GET / HTTP/1.1"[..],
            b"post /\xff HTTP/1.0",
            b"CONNECT mx.example.org:25",
            b"OPTIONS",
            b"PRI * HTTP/2.0",
            b"NOOP / HTTP/1.1",
            long.as_bytes(),
        ] {
            assert_eq!(Command::parse(line), Ok(Command::Http), "{}", line.escape_ascii());
        }
        for line in [&b"GETS /"[..], b"HTTP/1.1", b"NOOP HTTP", b""] {
            assert_ne!(Command::parse(line), Ok(Command::Http), "{}", line.escape_ascii());
        }
    }

    #[test]
    fn limits_line_length_by_verb() {
        let line = |verb: &str, octets: usize| format!("{verb} {}", "x".repeat(octets - verb.len() - 3));
        assert_eq!(code(line("NOOP", 512).as_bytes()), 0);
        assert_eq!(code(line("NOOP", 513).as_bytes()), 500);
        assert_eq!(code(line("AUTH PLAIN", MAX_LINE).as_bytes()), 0);
        assert_eq!(code(line("MAIL", 1266).as_bytes()), 501);
        assert_eq!(code(line("MAIL", 1267).as_bytes()), 500);
        assert_eq!(code(line("RCPT", 1012).as_bytes()), 501);
        assert_eq!(code(line("RCPT", 1013).as_bytes()), 500);
    }

    #[test]
    fn debug_output_hides_the_initial_response() {
        let command = Command::parse(b"AUTH PLAIN AGFubmEAc2VjcmV0").expect("valid");
        assert!(!format!("{command:?}").contains("AGFubmEAc2VjcmV0"));
    }
}
