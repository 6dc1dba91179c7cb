//! Properties of the parsers of the session over generated input.

use std::sync::OnceLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use host_directory::{ScramLogin, ScramVerifier};
use host_mail::{BodyType, ReversePath};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::auth::{self, Credentials, Evidence, ExchangeState, SaslExchange, Secret};
use super::command::{Command, MAX_LINE};
use super::data_reader::{DataReader, Defect, MAX_TEXT_LINE};
use super::login_fault::LoginFault;
use super::path::{self, ForwardPath};
use super::scram_exchange::{ScramStart, ScramTerms};

fn mailbox() -> impl Strategy<Value = String> {
    let local = prop_oneof![
        "[a-zA-Z0-9!#$%&'*+/=?^_`{|}~-]{1,20}(\\.[a-z0-9]{1,5}){0,2}",
        "[äöüßéЖ漢]{1,8}",
        "\"([ !#-\\[\\]-~]|\\\\[ -~]){0,20}\"",
    ];
    let domain = prop_oneof![
        "[a-z0-9]{1,10}(\\.[a-z]{2,5}){0,2}",
        "[äöüßéж漢]{1,8}\\.example",
        Just("[192.0.2.1]".to_owned()),
    ];
    (local, domain).prop_map(|(local, domain)| format!("{local}@{domain}"))
}

fn source_route() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => Just(String::new()),
        1 => "@[a-z]{1,8}(,@[a-z]{1,8}\\.example){0,2}:",
    ]
}

/// Generates a parameter of MAIL, with the size, body type and SMTPUTF8 that it announces.
fn parameter() -> impl Strategy<Value = (String, Option<u64>, Option<BodyType>, bool)> {
    let size = (any::<u64>(), 0..10_usize).prop_map(|(size, zeros)| {
        let digits = format!("{}{size}", "0".repeat(zeros));
        (digits.len() <= 20).then_some((format!("Size={digits}"), Some(size), None, false))
    });
    prop_oneof![
        size.prop_filter_map("at most 20 digits", |parameter| parameter),
        Just(("BODY=7bit".to_owned(), None, Some(BodyType::SevenBit), false)),
        Just(("body=8BITMIME".to_owned(), None, Some(BodyType::EightBitMime), false)),
        Just(("SmtpUtf8".to_owned(), None, None, true)),
        "AUTH=([!-*,-<>-~]|\\+[0-9A-F]{2}){1,20}".prop_map(|text| (text, None, None, false)),
    ]
}

fn keyword(parameter: &str) -> String {
    parameter.split('=').next().unwrap_or_default().to_ascii_uppercase()
}

/// Generates text that is close to an argument of MAIL or RCPT.
fn nearly_an_argument() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        select(vec![
            "FROM:",
            "TO:",
            "<",
            ">",
            "@",
            "\"",
            "\\",
            " ",
            ":",
            ",",
            "=",
            "+",
            "SIZE=",
            "BODY=",
            "AUTH=",
            "SMTPUTF8",
            "postmaster",
            "a",
            "b.example",
            "99999999999999999999",
            "é",
            "\u{0}",
            "\r\n",
        ])
        .prop_map(str::to_owned),
        any::<char>().prop_map(String::from),
    ];
    vec(piece, 0..20).prop_map(|pieces| pieces.concat())
}

fn nearly_a_line() -> impl Strategy<Value = Vec<u8>> {
    let verb = select(vec![
        "EHLO ", "HELO ", "MAIL ", "RCPT ", "DATA", "RSET", "NOOP ", "HELP ", "VRFY ", "AUTH ", "STARTTLS", "QUIT",
        "GET ", "BDAT ", "",
    ]);
    let rest = prop_oneof![
        nearly_an_argument().prop_map(String::into_bytes),
        vec(any::<u8>(), 0..40),
        (0..1200_usize).prop_map(|length| vec![b'x'; length]),
    ];
    (verb, rest).prop_map(|(verb, rest)| [verb.as_bytes(), &rest].concat())
}

/// Generates the input after DATA: line ends, dots, and lines near the limit.
fn data() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        8 => select(vec![&b"\r\n"[..], b"\r\n.", b".", b"\r", b"\n", b"a", b"text"]).prop_map(<[u8]>::to_vec),
        1 => select(vec![&b"\0"[..], b"\r\n.\r\n", b"\xff", b"\xc3\xa4"]).prop_map(<[u8]>::to_vec),
        1 => (MAX_TEXT_LINE - 3..MAX_TEXT_LINE + 3).prop_map(|length| vec![b'x'; length]),
    ];
    vec(piece, 0..30).prop_map(|pieces| pieces.concat())
}

/// Message, octets left for commands, and defect of 7-bit mail.
type Received = (Vec<u8>, Vec<u8>, Option<Defect>);

/// Reads the input in pieces that end at `cuts`. `None` if the end was not found.
fn receive(input: &[u8], cuts: &[usize]) -> Option<Received> {
    let mut reader = DataReader::default();
    let mut message = Vec::new();
    let mut at = 0;
    while at < input.len() {
        let until = cuts
            .iter()
            .copied()
            .filter(|cut| *cut > at)
            .min()
            .unwrap_or(input.len());
        let piece = reader.read(&input[at..until]);
        assert!(piece.consumed > 0, "no progress at {at} of {}", input.escape_ascii());
        message.extend_from_slice(piece.content);
        at += piece.consumed;
        if piece.ended {
            return Some((message, input[at..].to_vec(), reader.defect(false)));
        }
    }
    None
}

/// Splits the whole input without states: at the first CR LF `.` CR LF, then into lines.
fn split(input: &[u8]) -> Option<Received> {
    // The CR LF of the DATA command counts (RFC 5321 section 4.1.1.4).
    let whole = [b"\r\n", input].concat();
    let end = memchr::memmem::find(&whole, b"\r\n.\r\n")?;
    let (text, left) = (&whole[2.min(end)..end], &whole[end + 5..]);
    let mut message = Vec::new();
    let mut defect = None;
    let mut rest = (end > 0).then_some(text);
    let mut number = 0;
    while let Some(line) = rest {
        let (line, after) = match memchr::memmem::find(line, b"\r\n") {
            Some(at) => (&line[..at], Some(&line[at + 2..])),
            None => (line, None),
        };
        number += 1;
        let line = line.strip_prefix(b".").unwrap_or(line);
        defect = defect.or(defect_of(line, number));
        message.extend_from_slice(line);
        message.extend_from_slice(b"\r\n");
        rest = after;
    }
    let eight_bit = !message.is_ascii();
    Some((message, left.to_vec(), defect.or(eight_bit.then_some(Defect::EightBit))))
}

/// Returns the first defect of a line without CR LF and without the stuffed dot. A line that is too long has this defect
/// before a defect behind the limit.
fn defect_of(line: &[u8], number: u64) -> Option<Defect> {
    let found = memchr::memchr3(b'\r', b'\n', 0, line);
    match found.map(|at| (at, line[at])) {
        _ if found.unwrap_or(line.len()) > MAX_TEXT_LINE => Some(Defect::LongLine(number)),
        Some((_, b'\r')) => Some(Defect::BareCr(number)),
        Some((_, b'\n')) => Some(Defect::BareLf(number)),
        Some(_) => Some(Defect::Nul(number)),
        None => None,
    }
}

fn claimed(state: ExchangeState) -> Option<(String, String, bool)> {
    match state {
        ExchangeState::Complete(Credentials {
            user,
            evidence: Evidence::Password(password),
            ..
        }) => Some((user, password.reveal().to_owned(), false)),
        ExchangeState::Failed(failed) if failed.fault == LoginFault::OnBehalf => {
            Some((failed.user, String::new(), true))
        }
        _ => None,
    }
}

fn verifier() -> ScramVerifier {
    static VERIFIER: OnceLock<ScramVerifier> = OnceLock::new();
    VERIFIER.get_or_init(|| ScramVerifier::of_password("pencil")).clone()
}

fn encoded(text: &str) -> Secret {
    Secret::from(STANDARD.encode(text).as_str())
}

proptest! {
    #[test]
    fn mail_reads_any_mailbox_with_any_parameters(
        route in source_route(),
        mailbox in mailbox(),
        parameters in vec(parameter(), 0..5),
        gap in " {1,3}",
    ) {
        let words: Vec<&str> = parameters.iter().map(|parameter| parameter.0.as_str()).collect();
        let argument = format!("FROM:<{route}{mailbox}>{gap}{}", words.join(&gap));
        let mut keywords: Vec<String> = words.iter().map(|word| keyword(word)).collect();
        keywords.sort();
        let repeated = keywords.windows(2).any(|pair| pair[0] == pair[1]);
        match path::mail(&argument, false) {
            Err(reply) => {
                prop_assert!(repeated, "{argument}: {reply}");
                prop_assert_eq!(reply.code, 501);
            }
            Ok(mail) => {
                prop_assert!(!repeated, "{argument}");
                prop_assert_eq!(mail.sender, ReversePath::Mailbox(mailbox.parse().expect("a mailbox")));
                prop_assert_eq!(mail.size, parameters.iter().find_map(|parameter| parameter.1));
                prop_assert_eq!(mail.body, parameters.iter().find_map(|parameter| parameter.2).unwrap_or_default());
                prop_assert_eq!(mail.smtputf8, parameters.iter().any(|parameter| parameter.3));
            }
        }
    }

    #[test]
    fn rcpt_reads_any_mailbox_and_refuses_every_parameter(
        route in source_route(),
        mailbox in mailbox(),
        parameter in parameter(),
    ) {
        let argument = format!("to:<{route}{mailbox}>");
        let expected = ForwardPath::Mailbox {
            mailbox: mailbox.parse().expect("a mailbox"),
            is_ascii: mailbox.is_ascii(),
        };
        prop_assert_eq!(path::rcpt(&argument, false).map(|rcpt| rcpt.path), Ok(expected));
        let refused = path::rcpt(&format!("{argument} {}", parameter.0), false).map_err(|reply| reply.code);
        prop_assert_eq!(refused, Err(555));
    }

    #[test]
    fn any_argument_is_parsed_or_refused_with_a_permanent_reply(argument in nearly_an_argument()) {
        for result in [path::mail(&argument, false).map(|_| ()), path::rcpt(&argument, false).map(|_| ())] {
            if let Err(reply) = result {
                prop_assert!(reply.is_permanent(), "{argument:?}: {reply}");
            }
        }
    }

    #[test]
    fn parsed_argument_parses_again_from_its_display(argument in nearly_an_argument()) {
        if let Ok(mail) = path::mail(&argument, false) {
            prop_assert_eq!(path::mail(&format!("FROM:{}", mail.sender), false).map(|again| again.sender), Ok(mail.sender));
        }
    }

    #[test]
    fn any_line_is_parsed_or_refused_with_a_permanent_reply(line in nearly_a_line()) {
        match Command::parse(&line) {
            Err(reply) => prop_assert!(reply.is_permanent(), "{}: {reply}", line.escape_ascii()),
            // The exchange refuses a response that is no text.
            Ok(Command::Http | Command::Auth(_, Some(_)) | Command::Ehlo(_) | Command::Helo(_)) => {}
            Ok(_) => {
                let text = std::str::from_utf8(&line).expect("only text is parsed");
                prop_assert!(!text.contains(char::is_control), "{text:?}");
                prop_assert!(line.len() + 2 <= MAX_LINE);
            }
        }
    }

    #[test]
    fn verbs_and_trailing_spaces_do_not_change_a_command(line in nearly_a_line()) {
        let parsed = Command::parse(&line);
        if parsed.is_ok() && parsed != Ok(Command::Http) && line.len() < 400 {
            let end = line.iter().position(|octet| *octet == b' ').unwrap_or(line.len());
            let other_case = [&line[..end].to_ascii_lowercase(), &line[end..], b"  "].concat();
            prop_assert_eq!(Command::parse(&other_case), parsed, "{}", line.escape_ascii());
        }
    }

    #[test]
    fn lines_beyond_the_limit_of_the_verb_are_refused(octets in 1..14_000_usize) {
        for (verb, limit) in [("NOOP", 512), ("MAIL", 1266), ("RCPT", 1012), ("AUTH PLAIN", MAX_LINE)] {
            let line = format!("{verb} {}", "x".repeat(octets));
            let is_long = line.len() + 2 > limit;
            let code = Command::parse(line.as_bytes()).map_err(|reply| reply.code);
            prop_assert_eq!(code == Err(500), is_long, "{} of {} octets", verb, line.len() + 2);
        }
    }

    #[test]
    fn plain_reads_any_user_and_password(
        authzid in "[^\\x00]{0,8}",
        user in "[^\\x00]{0,20}",
        password in "[^\\x00]{0,40}",
        same in any::<bool>(),
    ) {
        let authzid = if same { user.clone() } else { authzid };
        let message = encoded(&format!("{authzid}\0{user}\0{password}"));
        let on_behalf = !authzid.is_empty() && authzid != user;
        let expected = Some((user, if on_behalf { String::new() } else { password }, on_behalf));
        prop_assert_eq!(&claimed(auth::start(SaslExchange::Plain, Some(&message))), &expected);
        prop_assert_eq!(claimed(SaslExchange::Plain.response(message.reveal().as_bytes())), expected);
    }

    #[test]
    fn login_reads_any_user_and_password(user in any::<String>(), password in any::<String>()) {
        let ExchangeState::Challenge(_, exchange) = SaslExchange::LoginUser.response(encoded(&user).reveal().as_bytes())
        else {
            return Err(TestCaseError::fail("no challenge"));
        };
        let state = exchange.response(encoded(&password).reveal().as_bytes());
        prop_assert_eq!(claimed(state), Some((user, password, false)));
    }

    #[test]
    fn any_sasl_payload_is_decoded_or_refused(payload in vec(any::<u8>(), 0..40), encode in any::<bool>()) {
        let line = if encode { STANDARD.encode(&payload).into_bytes() } else { payload };
        for exchange in [SaslExchange::Plain, SaslExchange::LoginUser, SaslExchange::LoginPassword("anna".into())] {
            if let ExchangeState::Failed(failed) = exchange.response(&line) {
                let not_utf8 = STANDARD.decode(&line).is_ok_and(|payload| String::from_utf8(payload).is_err());
                prop_assert_eq!(failed.fault.reply().code == 535, not_utf8 || failed.fault == LoginFault::OnBehalf);
            }
        }
    }

    #[test]
    fn any_message_of_scram_is_parsed_or_refused(
        first in "[nyp=a,rm:\\-]{0,6},{0,2}[nar=,2C3D\u{0}-\u{ff}]{0,20}",
        octets in vec(any::<u8>(), 0..20),
        last in "[c=,rpbiws\u{0}-\u{ff}]{0,30}",
    ) {
        let terms = ScramTerms::default();
        let _ = ScramStart::parse(terms, &octets);
        let _ = ScramStart::parse(terms, first.as_bytes());
        let start = ScramStart::parse(terms, b"n,,n=anna,r=abc").map_err(|_| TestCaseError::fail("refused"))?;
        let login = ScramLogin { account: None, verifier: verifier(), nonce: "x".to_owned() };
        let (_, challenge) = start.challenge(login);
        prop_assert!(challenge.prove(last.as_bytes()).is_err() && challenge.prove(&octets).is_err());
    }

    #[test]
    fn debug_output_hides_every_password(user in "[a-z]{0,8}", password in "[A-Z0-9]{8,20}") {
        let message = encoded(&format!("\0{user}\0{password}"));
        let state = auth::start(SaslExchange::Plain, Some(&message));
        let line = format!("AUTH PLAIN {}", message.reveal());
        let shown = format!("{state:?} {:?} {message:?}", Command::parse(line.as_bytes()));
        prop_assert!(!shown.contains(&password) && !shown.contains(message.reveal()), "{shown}");
    }

    #[test]
    fn data_reader_finds_the_same_in_any_pieces(input in data(), cuts in vec(any::<Index>(), 0..10)) {
        let cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(input.len() + 1)).collect();
        prop_assert_eq!(receive(&input, &cuts), receive(&input, &[]), "{} at {:?}", input.escape_ascii(), cuts);
    }

    #[test]
    fn data_reader_agrees_with_a_splitter_over_the_whole(input in data(), ended in any::<bool>()) {
        let input = if ended { [&input[..], b"\r\n.\r\nQUIT\r\n"].concat() } else { input };
        match (receive(&input, &[]), split(&input)) {
            // The octets of a refused message are not compared: only clean messages are stored.
            (Some((_, left, Some(defect))), Some((_, expected_left, expected))) if defect != Defect::EightBit => {
                prop_assert_eq!((left, Some(defect)), (expected_left, expected), "{}", input.escape_ascii());
            }
            (read, expected) => prop_assert_eq!(read, expected, "{}", input.escape_ascii()),
        }
    }
}
