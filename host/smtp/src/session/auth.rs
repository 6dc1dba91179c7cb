//! SASL exchanges of AUTH (RFC 4954): PLAIN (RFC 4616) and LOGIN.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::replies;
use host_mail::Reply;

/// Mechanisms in the form that EHLO lists.
pub const MECHANISMS: &str = "PLAIN LOGIN";
/// Prompts `Username:` and `Password:` of LOGIN, in base64.
const USERNAME: &str = "VXNlcm5hbWU6";
const PASSWORD: &str = "UGFzc3dvcmQ6";

/// A text that is redacted in debug output, so that no log shows the text.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Returns the text. Only the directory may see the text.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// Credentials claimed by a finished exchange.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    /// Name of the mechanism.
    pub mechanism: &'static str,
    /// Claimed account or address.
    pub user: String,
    /// Password of the account.
    pub password: Secret,
}

/// An exchange that waits for a response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SaslExchange {
    /// Waits for the only message of PLAIN.
    Plain,
    /// Waits for the user name of LOGIN.
    LoginUser,
    /// Waits for the password of LOGIN; with the user name.
    LoginPassword(String),
}

/// Progress of an exchange.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExchangeState {
    /// Challenge to send.
    Challenge(Reply, SaslExchange),
    /// Credentials to verify.
    Complete(Credentials),
    /// A failed attempt; the directory is not asked.
    Failed(FailedLogin),
    /// Mechanism is unknown: no attempt was made.
    UnknownMechanism,
}

/// An attempt that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedLogin {
    /// Name of the mechanism.
    pub mechanism: &'static str,
    /// Claimed account or address as far as known; empty otherwise.
    pub user: String,
    /// Fault of the attempt.
    pub fault: LoginFault,
}

/// Reason why an attempt failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoginFault {
    /// Client sent `*`.
    Cancelled,
    /// Response is not base64.
    NotBase64,
    /// Message of PLAIN does not have its three parts.
    Malformed,
    /// Name or password is not UTF-8, and therefore belongs to no account.
    NotUtf8,
    /// Client wants to act for another account, which is never allowed.
    OnBehalf,
    /// Credentials match no account.
    Credentials,
    /// Too many logins have failed; the credentials were not verified.
    Refused,
    /// Directory cannot be asked now.
    Unavailable,
}

impl LoginFault {
    /// Reply to the attempt (RFC 4954 sections 4 and 6).
    pub fn reply(self) -> Reply {
        match self {
            Self::Cancelled => replies::authentication_cancelled(),
            Self::NotBase64 | Self::Malformed => replies::bad_base64(),
            Self::NotUtf8 | Self::OnBehalf | Self::Credentials => replies::credentials_invalid(),
            Self::Refused => replies::authentication_refused(),
            Self::Unavailable => replies::authentication_unavailable(),
        }
    }

    /// Reason in the operator's event.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Cancelled => "cancelled by the client",
            Self::NotBase64 => "the response is not base64",
            Self::Malformed => "the response is malformed",
            Self::NotUtf8 => "the credentials are not UTF-8",
            Self::OnBehalf => "on behalf of another",
            Self::Credentials => "credentials",
            Self::Refused => "refused after too many failed logins",
            Self::Unavailable => "unavailable",
        }
    }

    /// True if the attempt may have been a guess, which the limits on failed logins count.
    pub fn is_guess(self) -> bool {
        matches!(self, Self::NotUtf8 | Self::OnBehalf | Self::Credentials)
    }
}

/// Begins an exchange.
pub fn start(mechanism: &str, initial: Option<&Secret>) -> ExchangeState {
    let exchange = match mechanism {
        "PLAIN" => SaslExchange::Plain,
        "LOGIN" => SaslExchange::LoginUser,
        _ => return ExchangeState::UnknownMechanism,
    };
    match initial {
        None => exchange.challenge(),
        // RFC 4954 section 4: a single = is an empty initial response.
        Some(Secret(text)) if text == "=" => exchange.decoded(Vec::new()),
        Some(Secret(text)) => exchange.response(text.as_bytes()),
    }
}

impl SaslExchange {
    /// Name of the mechanism.
    pub fn mechanism(&self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::LoginUser | Self::LoginPassword(_) => "LOGIN",
        }
    }

    fn challenge(self) -> ExchangeState {
        let text = match self {
            Self::Plain => "",
            Self::LoginUser => USERNAME,
            Self::LoginPassword(_) => PASSWORD,
        };
        ExchangeState::Challenge(Reply::bare(334, text), self)
    }

    /// Continues with a line without CR LF.
    pub fn response(self, line: &[u8]) -> ExchangeState {
        if line == b"*" {
            return self.failed(LoginFault::Cancelled);
        }
        match STANDARD.decode(line) {
            Ok(message) => self.decoded(message),
            Err(_) => self.failed(LoginFault::NotBase64),
        }
    }

    fn failed(self, fault: LoginFault) -> ExchangeState {
        ExchangeState::Failed(FailedLogin {
            mechanism: self.mechanism(),
            user: match self {
                Self::LoginPassword(user) => user,
                Self::Plain | Self::LoginUser => String::new(),
            },
            fault,
        })
    }

    fn decoded(self, message: Vec<u8>) -> ExchangeState {
        match (self, String::from_utf8(message)) {
            (Self::Plain, Ok(text)) => plain(&text),
            (Self::Plain, Err(error)) => plain_not_utf8(error.as_bytes()),
            (Self::LoginUser, Ok(user)) => Self::LoginPassword(user).challenge(),
            (Self::LoginPassword(user), Ok(password)) => ExchangeState::Complete(Credentials {
                mechanism: "LOGIN",
                user,
                password: Secret(password),
            }),
            (other, Err(_)) => other.failed(LoginFault::NotUtf8),
        }
    }
}

/// Parses the message of PLAIN: `[authzid] NUL authcid NUL passwd` (RFC 4616 section 2).
fn plain(text: &str) -> ExchangeState {
    let mut parts = text.split('\0');
    let (Some(authzid), Some(user), Some(password), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return SaslExchange::Plain.failed(LoginFault::Malformed);
    };
    let user = user.to_owned();
    if authzid.is_empty() || authzid == user {
        ExchangeState::Complete(Credentials {
            mechanism: "PLAIN",
            user,
            password: Secret::from(password),
        })
    } else {
        ExchangeState::Failed(FailedLogin {
            mechanism: "PLAIN",
            user,
            fault: LoginFault::OnBehalf,
        })
    }
}

/// Returns the failure of a message of PLAIN that is not UTF-8, with the user for the event if that part can be read.
fn plain_not_utf8(message: &[u8]) -> ExchangeState {
    let user = message.split(|octet| *octet == 0).nth(1).unwrap_or_default();
    ExchangeState::Failed(FailedLogin {
        mechanism: "PLAIN",
        user: String::from_utf8_lossy(user).into_owned(),
        fault: LoginFault::NotUtf8,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(text: &str) -> Secret {
        Secret(STANDARD.encode(text))
    }

    fn credentials_of(state: &ExchangeState) -> Option<(&str, &str)> {
        match state {
            ExchangeState::Complete(credentials) => Some((&credentials.user, credentials.password.reveal())),
            _ => None,
        }
    }

    fn code(state: &ExchangeState) -> u16 {
        match state {
            ExchangeState::Challenge(reply, _) => reply.code,
            ExchangeState::Failed(failed) => failed.fault.reply().code,
            ExchangeState::Complete(_) => 0,
            ExchangeState::UnknownMechanism => 504,
        }
    }

    #[test]
    fn plain_accepts_one_line_or_two() {
        let message = encoded("\0anna\0secret");
        assert_eq!(
            credentials_of(&start("PLAIN", Some(&message))),
            Some(("anna", "secret"))
        );
        let ExchangeState::Challenge(reply, exchange) = start("PLAIN", None) else {
            panic!("no challenge")
        };
        assert_eq!((reply.code, reply.text.as_str()), (334, ""));
        assert_eq!(
            credentials_of(&exchange.response(message.0.as_bytes())),
            Some(("anna", "secret"))
        );
        assert_eq!(
            credentials_of(&start("PLAIN", Some(&encoded("anna\0anna\0secret")))),
            Some(("anna", "secret"))
        );
    }

    #[test]
    fn plain_refuses_malformed_messages() {
        assert_eq!(code(&start("PLAIN", Some(&encoded("root\0anna\0secret")))), 535);
        for bad in ["", "anna", "anna\0secret", "\0anna\0secret\0more"] {
            assert_eq!(code(&start("PLAIN", Some(&encoded(bad)))), 501, "{bad:?}");
        }
        assert_eq!(code(&start("PLAIN", Some(&Secret("=".into())))), 501);
        assert_eq!(code(&start("PLAIN", Some(&Secret("!!!".into())))), 501);
    }

    #[test]
    fn credentials_that_are_not_utf8_are_wrong_credentials() {
        for (user, octets) in [
            ("anna", &b"\0anna\0gr\xfc\xdfe"[..]),
            ("\u{fffd}", b"\0\xff\0a"),
            ("", b"\xff"),
        ] {
            let ExchangeState::Failed(failed) = SaslExchange::Plain.response(STANDARD.encode(octets).as_bytes()) else {
                panic!("no failure")
            };
            assert_eq!((failed.user.as_str(), failed.fault), (user, LoginFault::NotUtf8));
            assert!(failed.fault.is_guess() && failed.fault.reply().code == 535);
        }
        let password = SaslExchange::LoginPassword("anna".into()).response(b"/w==");
        assert!(
            matches!(password, ExchangeState::Failed(failed) if failed.user == "anna"),
            "LOGIN"
        );
        assert_eq!(code(&SaslExchange::LoginUser.response(b"/w==")), 535);
    }

    #[test]
    fn login_prompts_twice_or_once() {
        let ExchangeState::Challenge(reply, exchange) = start("LOGIN", None) else {
            panic!("no challenge")
        };
        assert_eq!(STANDARD.decode(&reply.text).expect("base64"), b"Username:");
        let ExchangeState::Challenge(reply, exchange) = exchange.response(encoded("anna").0.as_bytes()) else {
            panic!("no second challenge")
        };
        assert_eq!(STANDARD.decode(&reply.text).expect("base64"), b"Password:");
        let state = exchange.response(encoded("secret").0.as_bytes());
        assert_eq!(credentials_of(&state), Some(("anna", "secret")));
        assert!(matches!(
            start("LOGIN", Some(&encoded("anna"))),
            ExchangeState::Challenge(_, SaslExchange::LoginPassword(user)) if user == "anna"
        ));
    }

    #[test]
    fn asterisk_cancels_and_unknown_mechanisms_are_refused() {
        for exchange in [
            SaslExchange::Plain,
            SaslExchange::LoginUser,
            SaslExchange::LoginPassword("a".into()),
        ] {
            assert_eq!(code(&exchange.response(b"*")), 501);
        }
        assert_eq!(code(&start("GSSAPI", None)), 504);
    }
}
