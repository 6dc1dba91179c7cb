//! Parameters of MAIL and RCPT (RFC 5321 section 4.1.1.11).

use super::replies;
use host_mail::{
    BodyType, DeliverBy, DeliveryHold, EnvelopeId, EnvelopeOptions, OriginalRecipient, RecipientDsn, Reply,
    RequestedReports, ReturnedPart, ReversePath, decode_xtext,
};

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
    /// Parameters of other extensions; `None` if none was given.
    pub options: Option<Box<EnvelopeOptions>>,
}

/// Effect of a parameter.
pub(super) enum Parameter {
    /// Read.
    Known,
    /// The value does not fit, or is missing: 501.
    Bad,
    /// The keyword is unknown: 555.
    Unknown,
}

impl Parameter {
    /// `Known` for a value that was stored.
    fn stored(value: Option<()>) -> Self {
        value.map_or(Self::Bad, |()| Self::Known)
    }
}

/// Reads the parameters in `rest`, each `SP keyword [= value]`. The error is the reply: to an unknown parameter, to a bad
/// value, and to a repeated parameter.
pub(super) fn read(rest: &str, mut apply: impl FnMut(&str, Option<&str>) -> Parameter) -> Result<(), Reply> {
    let mut seen: Vec<String> = Vec::new();
    for word in rest.split(' ').filter(|word| !word.is_empty()) {
        let (keyword, value) = match word.split_once('=') {
            Some((keyword, value)) => (keyword, Some(value)),
            None => (word, None),
        };
        let keyword = keyword.to_ascii_uppercase();
        match apply(&keyword, value) {
            Parameter::Known if !seen.contains(&keyword) => seen.push(keyword),
            Parameter::Known | Parameter::Bad => return Err(replies::bad_parameter(&keyword)),
            Parameter::Unknown => return Err(replies::unknown_parameter()),
        }
    }
    Ok(())
}

/// Stores a parameter of MAIL; `keyword` is in upper case.
pub(super) fn of_mail(mail: &mut Mail, keyword: &str, value: Option<&str>) -> Parameter {
    match (keyword, value) {
        ("SIZE", Some(value)) => Parameter::stored(octets(value).map(|size| mail.size = Some(size))),
        ("BODY", Some(value)) => Parameter::stored(body(value).map(|body| mail.body = body)),
        ("SMTPUTF8", None) => {
            mail.smtputf8 = true;
            Parameter::Known
        }
        // RFC 4954 section 5: no client is trusted to vouch for another sender. A well-formed value is treated as
        // AUTH=<>.
        ("AUTH", Some(value)) => Parameter::stored(decode_xtext(value).map(drop)),
        ("RET", Some(value)) => {
            Parameter::stored(ReturnedPart::parse(value).map(|part| options(mail).return_content = Some(part)))
        }
        ("ENVID", Some(value)) => {
            Parameter::stored(EnvelopeId::parse(value).map(|id| options(mail).envelope_id = Some(id)))
        }
        ("REQUIRETLS", None) => {
            options(mail).require_tls = true;
            Parameter::Known
        }
        ("BY", Some(value)) => Parameter::stored(DeliverBy::parse(value).map(|by| options(mail).deliver_by = Some(by))),
        // RFC 4865 section 4: one of the two.
        ("HOLDFOR" | "HOLDUNTIL", Some(_)) if mail.options.as_ref().is_some_and(|options| options.hold.is_some()) => {
            Parameter::Bad
        }
        ("HOLDFOR", Some(value)) => {
            Parameter::stored(DeliveryHold::parse_for(value).map(|hold| options(mail).hold = Some(hold)))
        }
        ("HOLDUNTIL", Some(value)) => {
            Parameter::stored(DeliveryHold::parse_until(value).map(|hold| options(mail).hold = Some(hold)))
        }
        ("MT-PRIORITY", Some(value)) => {
            Parameter::stored(priority(value).map(|priority| options(mail).priority = Some(priority)))
        }
        (
            "SIZE" | "BODY" | "SMTPUTF8" | "AUTH" | "RET" | "ENVID" | "REQUIRETLS" | "BY" | "HOLDFOR" | "HOLDUNTIL"
            | "MT-PRIORITY",
            _,
        ) => Parameter::Bad,
        _ => Parameter::Unknown,
    }
}

fn options(mail: &mut Mail) -> &mut EnvelopeOptions {
    mail.options.get_or_insert_default()
}

/// Stores a parameter of RCPT; `keyword` is in upper case.
pub(super) fn of_rcpt(dsn: &mut Option<Box<RecipientDsn>>, keyword: &str, value: Option<&str>) -> Parameter {
    match (keyword, value) {
        ("NOTIFY", Some(value)) => Parameter::stored(
            RequestedReports::parse(value).map(|notify| dsn.get_or_insert_default().notify = Some(notify)),
        ),
        ("ORCPT", Some(value)) => Parameter::stored(
            OriginalRecipient::parse(value).map(|original| dsn.get_or_insert_default().original = Some(original)),
        ),
        ("NOTIFY" | "ORCPT", None) => Parameter::Bad,
        _ => Parameter::Unknown,
    }
}

fn body(value: &str) -> Option<BodyType> {
    match () {
        () if value.eq_ignore_ascii_case("7BIT") => Some(BodyType::SevenBit),
        () if value.eq_ignore_ascii_case("8BITMIME") => Some(BodyType::EightBitMime),
        () if value.eq_ignore_ascii_case("BINARYMIME") => Some(BodyType::Binary),
        () => None,
    }
}

/// Parses a priority from -9 to 9 (RFC 6710 section 4.1).
fn priority(value: &str) -> Option<i8> {
    let digits = value.strip_prefix('-').unwrap_or(value);
    let is_digit = digits.len() == 1 && digits.bytes().all(|b| b.is_ascii_digit());
    is_digit.then(|| value.parse().ok()).flatten()
}

/// Parses a size of up to 20 digits (RFC 1870 section 5). Saturates beyond the range of `u64`.
fn octets(value: &str) -> Option<u64> {
    let digits = !value.is_empty() && value.len() <= 20 && value.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| value.parse().unwrap_or(u64::MAX))
}
