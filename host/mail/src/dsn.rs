//! Delivery status notifications, as a client requests them with MAIL and RCPT (RFC 3461 section 4).

use std::fmt;

use serde::{Deserialize, Serialize};

use super::xtext::decode_xtext;

/// Longest value of ENVID, in octets (RFC 3461 section 4.4).
const MAX_ENVELOPE_ID: usize = 100;
/// Longest value of ORCPT, in octets (RFC 3461 section 4.2).
const MAX_ORIGINAL: usize = 500;

/// The RET parameter of MAIL (RFC 3461 section 4.3): the part of the message that a failure report returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReturnedPart {
    /// The whole message.
    #[serde(rename = "FULL")]
    Full,
    /// The header alone.
    #[serde(rename = "HDRS")]
    Headers,
}

impl ReturnedPart {
    /// Parses the value of RET.
    pub fn parse(value: &str) -> Option<Self> {
        match () {
            () if value.eq_ignore_ascii_case("FULL") => Some(Self::Full),
            () if value.eq_ignore_ascii_case("HDRS") => Some(Self::Headers),
            () => None,
        }
    }
}

impl fmt::Display for ReturnedPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "FULL",
            Self::Headers => "HDRS",
        })
    }
}

/// The ENVID parameter of MAIL (RFC 3461 section 4.4): the sender's name of the transaction, in xtext as given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct EnvelopeId(String);

impl TryFrom<String> for EnvelopeId {
    type Error = &'static str;

    fn try_from(value: String) -> Result<Self, Self::Error> {
        Self::parse(&value).ok_or("not a value of the parameter")
    }
}

impl From<EnvelopeId> for String {
    fn from(value: EnvelopeId) -> Self {
        value.0
    }
}

impl EnvelopeId {
    /// Parses the value of ENVID: xtext of printable ASCII, at most 100 octets.
    pub fn parse(value: &str) -> Option<Self> {
        let is_short = value.len() <= MAX_ENVELOPE_ID;
        (is_short && printable(value).is_some()).then(|| Self(value.to_owned()))
    }

    /// The value as given, for the next hop.
    pub fn as_xtext(&self) -> &str {
        &self.0
    }

    /// The decoded value, printable ASCII, for reports.
    pub fn text(&self) -> String {
        printable(&self.0).unwrap_or_default()
    }
}

/// The NOTIFY parameter of RCPT (RFC 3461 section 4.1). Without any of the three no report is wanted (`NEVER`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestedReports {
    /// A report is wanted when the message was delivered.
    pub success: bool,
    /// A report is wanted when the delivery has failed.
    pub failure: bool,
    /// A report is wanted when the delivery is delayed.
    pub delay: bool,
}

impl RequestedReports {
    /// Requests no report.
    pub const NEVER: Self = Self {
        success: false,
        failure: false,
        delay: false,
    };

    /// Parses the value of NOTIFY: `NEVER`, or a list of other keywords, each at most once.
    pub fn parse(value: &str) -> Option<Self> {
        if value.eq_ignore_ascii_case("NEVER") {
            return Some(Self::NEVER);
        }
        let mut notify = Self::NEVER;
        for keyword in value.split(',') {
            let wanted = match keyword.to_ascii_uppercase().as_str() {
                "SUCCESS" => &mut notify.success,
                "FAILURE" => &mut notify.failure,
                "DELAY" => &mut notify.delay,
                _ => return None,
            };
            if std::mem::replace(wanted, true) {
                return None;
            }
        }
        Some(notify)
    }
}

impl fmt::Display for RequestedReports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::NEVER {
            return f.write_str("NEVER");
        }
        let keywords = [
            (self.success, "SUCCESS"),
            (self.failure, "FAILURE"),
            (self.delay, "DELAY"),
        ];
        let wanted: Vec<&str> = keywords.iter().filter(|(on, _)| *on).map(|(_, word)| *word).collect();
        f.write_str(&wanted.join(","))
    }
}

/// The ORCPT parameter of RCPT (RFC 3461 section 4.2): the recipient as the sender of the message named the recipient.
/// Kept as `type;xtext` in ASCII.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct OriginalRecipient(String);

impl TryFrom<String> for OriginalRecipient {
    type Error = &'static str;

    fn try_from(value: String) -> Result<Self, Self::Error> {
        Self::parse(&value).ok_or("not a value of the parameter")
    }
}

impl From<OriginalRecipient> for String {
    fn from(value: OriginalRecipient) -> Self {
        value.0
    }
}

impl OriginalRecipient {
    /// Parses the value of ORCPT: an address type and the address in xtext, which decodes to printable ASCII. An address
    /// of type `utf-8` may also be UTF-8 (RFC 6533 section 3), which is then brought into its form in ASCII.
    pub fn parse(value: &str) -> Option<Self> {
        let (kind, address) = value.split_once(';')?;
        let is_atom = !kind.is_empty() && kind.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        let address = match kind.eq_ignore_ascii_case("utf-8") {
            true => escape_unicode(address),
            false => address.to_owned(),
        };
        let value = format!("{kind};{address}");
        let is_sound = is_atom && value.len() <= MAX_ORIGINAL && printable(&address).is_some();
        is_sound.then_some(Self(value))
    }

    /// The value for the next hop.
    pub fn as_parameter(&self) -> &str {
        &self.0
    }

    /// The value for the field `Original-Recipient` (RFC 3464 section 2.3.1), printable ASCII.
    pub fn field(&self) -> String {
        let (kind, address) = self.0.split_once(';').unwrap_or_default();
        format!("{kind}; {}", printable(address).unwrap_or_default())
    }
}

/// Writes characters beyond ASCII as `\x{HEX}` (RFC 6533 section 3).
fn escape_unicode(address: &str) -> String {
    let mut out = String::with_capacity(address.len());
    for c in address.chars() {
        match c.is_ascii() {
            true => out.push(c),
            false => out.push_str(&format!("\\x{{{:X}}}", u32::from(c))),
        }
    }
    out
}

/// Decodes xtext that stands for printable ASCII.
fn printable(xtext: &str) -> Option<String> {
    let octets = decode_xtext(xtext)?;
    let is_printable = octets.iter().all(|octet| matches!(octet, b' '..=b'~'));
    is_printable.then(|| octets.iter().copied().map(char::from).collect())
}

/// The parameters of RCPT about reports; absent ones leave the decision to the host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct RecipientDsn {
    /// NOTIFY: the reports that the sender wants.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notify: Option<RequestedReports>,
    /// ORCPT: the recipient as first named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub original: Option<OriginalRecipient>,
}

impl RecipientDsn {
    /// True if the sender wants to learn of a delivery.
    pub fn wants_success(&self) -> bool {
        self.notify.is_some_and(|notify| notify.success)
    }

    /// True if the sender wants to learn of a failure, which is the default.
    pub fn wants_failure(&self) -> bool {
        self.notify.is_none_or(|notify| notify.failure)
    }

    /// True unless the sender wants no report at all (`NOTIFY=NEVER`).
    pub fn allows_reports(&self) -> bool {
        self.notify != Some(RequestedReports::NEVER)
    }

    /// True if the sender may be told of a delay. Without NOTIFY the host decides (RFC 3461 section 4.1).
    pub fn wants_delay(&self) -> bool {
        self.notify.is_none_or(|notify| notify.delay)
    }

    /// Parameters of a member of an address that stands for several: the report of the success is that of the expansion
    /// (RFC 3461 section 5.2.7.3).
    pub fn for_member(&self) -> Self {
        let notify = self.notify.map(|notify| RequestedReports {
            success: false,
            ..notify
        });
        Self {
            notify,
            original: self.original.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes_notify() {
        for (value, written) in [
            ("never", "NEVER"),
            ("SUCCESS", "SUCCESS"),
            ("delay,Failure", "FAILURE,DELAY"),
            ("SUCCESS,FAILURE,DELAY", "SUCCESS,FAILURE,DELAY"),
        ] {
            let notify = RequestedReports::parse(value).expect("valid");
            assert_eq!(notify.to_string(), written);
        }
        for bad in [
            "",
            ",",
            "NEVER,SUCCESS",
            "SUCCESS,NEVER",
            "DELAY,DELAY",
            "OFTEN",
            "SUCCESS,",
            "SUCCESS FAILURE",
        ] {
            assert_eq!(RequestedReports::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn reads_original_recipients() {
        let field = |value: &str| OriginalRecipient::parse(value).map(|original| original.field());
        assert_eq!(
            field("rfc822;anna+2Bx@example.org").as_deref(),
            Some("rfc822; anna+x@example.org")
        );
        assert_eq!(
            field("UTF-8;andr\u{e9}@example.org").as_deref(),
            Some("UTF-8; andr\\x{E9}@example.org")
        );
        assert_eq!(field("X400;/c=de/").as_deref(), None, "= must be encoded");
        assert_eq!(field("x400;/c+3Dde/").as_deref(), Some("x400; /c=de/"));
        let long = format!("rfc822;{}", "a".repeat(493));
        assert!(OriginalRecipient::parse(&long).is_some());
        for bad in [
            "",
            "rfc822",
            "rfc822;",
            ";a",
            "rfc822;a+0D+0Ab",
            "rfc822;andr\u{e9}",
            "r 2;a",
            &format!("{long}a"),
        ] {
            assert_eq!(OriginalRecipient::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn bounds_the_envelope_id() {
        assert_eq!(EnvelopeId::parse("a+20b").map(|id| id.text()).as_deref(), Some("a b"));
        assert!(EnvelopeId::parse(&"a".repeat(100)).is_some());
        for bad in ["", "a=b", "+0A", "+E9", &"a".repeat(101)] {
            assert_eq!(EnvelopeId::parse(bad), None, "{bad:?}");
        }
    }
}
