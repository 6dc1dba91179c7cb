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
    /// Failure, with the reply.
    Failed(Reply),
    /// Credentials with a different authorization identity: the client wants to act for another account, which is never
    /// allowed.
    OnBehalf(Credentials),
}

/// Begins an exchange.
pub fn start(mechanism: &str, initial: Option<&Secret>) -> ExchangeState {
    let exchange = match mechanism {
        "PLAIN" => SaslExchange::Plain,
        "LOGIN" => SaslExchange::LoginUser,
        _ => return ExchangeState::Failed(replies::unknown_mechanism()),
    };
    match initial {
        None => exchange.challenge(),
        // RFC 4954 section 4: a single = is an empty initial response.
        Some(Secret(text)) if text == "=" => exchange.decoded(String::new()),
        Some(Secret(text)) => exchange.response(text.as_bytes()),
    }
}

impl SaslExchange {
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
            return ExchangeState::Failed(replies::authentication_cancelled());
        }
        match STANDARD.decode(line).map(String::from_utf8) {
            Ok(Ok(text)) => self.decoded(text),
            _ => ExchangeState::Failed(replies::bad_base64()),
        }
    }

    fn decoded(self, text: String) -> ExchangeState {
        match self {
            Self::Plain => plain(&text),
            Self::LoginUser => Self::LoginPassword(text).challenge(),
            Self::LoginPassword(user) => ExchangeState::Complete(Credentials {
                mechanism: "LOGIN",
                user,
                password: Secret(text),
            }),
        }
    }
}

/// Parses the message of PLAIN: `[authzid] NUL authcid NUL passwd` (RFC 4616 section 2).
fn plain(text: &str) -> ExchangeState {
    let mut parts = text.split('\0');
    let (Some(authzid), Some(user), Some(password), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return ExchangeState::Failed(replies::bad_base64());
    };
    let credentials = Credentials {
        mechanism: "PLAIN",
        user: user.to_owned(),
        password: Secret::from(password),
    };
    if authzid.is_empty() || authzid == user {
        ExchangeState::Complete(credentials)
    } else {
        ExchangeState::OnBehalf(credentials)
    }
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
            ExchangeState::Failed(reply) | ExchangeState::Challenge(reply, _) => reply.code,
            ExchangeState::Complete(_) => 0,
            ExchangeState::OnBehalf(_) => 1,
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
        assert_eq!(code(&start("PLAIN", Some(&encoded("root\0anna\0secret")))), 1);
        for bad in ["", "anna", "anna\0secret", "\0anna\0secret\0more"] {
            assert_eq!(code(&start("PLAIN", Some(&encoded(bad)))), 501, "{bad:?}");
        }
        assert_eq!(code(&start("PLAIN", Some(&Secret("=".into())))), 501);
        assert_eq!(code(&start("PLAIN", Some(&Secret("!!!".into())))), 501);
        assert_eq!(
            code(&start("PLAIN", Some(&Secret("AP8AYQ==".into())))),
            501,
            "not UTF-8"
        );
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
