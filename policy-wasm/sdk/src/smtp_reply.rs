//! SMTP replies within the bounds of the contract.

use std::fmt;
use std::str::FromStr;

/// Maximum length of a reply text in the contract, in bytes.
const MAX_TEXT: usize = 400;

/// An SMTP reply: a code from 400 to 599, a status code of the same class (RFC 3463), and a text without a line break.
///
/// Settings contain a reply in its SMTP form: `"550 5.7.1 Not today"`.
///
/// ```
/// use posthouse_policy::Reply;
/// let reply = Reply::new(550, (5, 7, 1), "Mail from a\r\nb is not welcome");
/// assert_eq!(reply.to_string(), "550 5.7.1 Mail from a??b is not welcome");
/// assert!(Reply::try_new(550, (4, 7, 1), "").is_err());
/// assert_eq!("451 4.3.0 Later".parse::<Reply>().unwrap().code(), 451);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    code: u16,
    status: (u8, u16, u16),
    text: String,
}

/// The reason for which a reply is invalid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplyError(String);

impl fmt::Display for ReplyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ReplyError {}

impl Reply {
    /// Makes a reply. Characters of the text that are not printable are replaced with `?`, and the text is cut to 400
    /// bytes, so that the text may contain parts that a peer chose.
    ///
    /// # Panics
    /// The code is not from 400 to 599, or the status code is of another class: a mistake in the policy. Use
    /// [`Self::try_new`] for codes that are not constants of the policy.
    #[track_caller]
    pub fn new(code: u16, status: (u8, u16, u16), text: impl AsRef<str>) -> Self {
        match Self::try_new(code, status, text) {
            Ok(reply) => reply,
            Err(error) => panic!("{error}"),
        }
    }

    /// Makes a reply. The text is sanitised as by [`Self::new`].
    ///
    /// # Errors
    /// The code is not from 400 to 599, the status code is of another class, or a part of the status code exceeds 999.
    pub fn try_new(code: u16, status: (u8, u16, u16), text: impl AsRef<str>) -> Result<Self, ReplyError> {
        if !(400..600).contains(&code) || u16::from(status.0) != code / 100 || status.1 > 999 || status.2 > 999 {
            let (class, subject, detail) = status;
            return Err(ReplyError(format!(
                "{code} {class}.{subject}.{detail} begins no reply: expected 4xx 4.x.x or 5xx 5.x.x"
            )));
        }
        let text = text.as_ref();
        // The usual text, such as those of a thousand failed recipients.
        if text.len() <= MAX_TEXT && text.is_ascii() && !text.bytes().any(|byte| byte.is_ascii_control()) {
            return Ok(Self {
                code,
                status,
                text: text.to_owned(),
            });
        }
        let printable = |c: char| match c {
            ' '..='~' => c,
            c if c.is_alphanumeric() => c,
            _ => '?',
        };
        let mut text: String = text.chars().map(printable).collect();
        text.truncate(text.floor_char_boundary(MAX_TEXT));
        Ok(Self { code, status, text })
    }

    /// Returns the code, 400 to 599.
    pub fn code(&self) -> u16 {
        self.code
    }

    /// Returns the status code (RFC 3463): class, subject, detail.
    pub fn status(&self) -> (u8, u16, u16) {
        self.status
    }

    /// Returns the text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// True for a 4xx reply, after which the client may try again.
    pub fn is_temporary(&self) -> bool {
        self.code < 500
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (class, subject, detail) = self.status;
        write!(f, "{} {class}.{subject}.{detail} {}", self.code, self.text)
    }
}

impl FromStr for Reply {
    type Err = ReplyError;

    fn from_str(written: &str) -> Result<Self, ReplyError> {
        let parts = || {
            let mut words = written.splitn(3, ' ');
            let code = words.next()?.parse().ok()?;
            let mut status = words.next()?.splitn(3, '.');
            let mut number = || status.next()?.parse::<u16>().ok();
            let status = (u8::try_from(number()?).ok()?, number()?, number()?);
            Some((code, status, words.next().unwrap_or_default()))
        };
        let (code, status, text) = parts().ok_or_else(|| {
            ReplyError(format!(
                "{written:?} is no reply: expected one such as \"550 5.7.1 Not today\""
            ))
        })?;
        Self::try_new(code, status, text)
    }
}

impl<'de> serde::Deserialize<'de> for Reply {
    fn deserialize<D: serde::Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let written = String::deserialize(input)?;
        written.parse().map_err(serde::de::Error::custom)
    }
}
