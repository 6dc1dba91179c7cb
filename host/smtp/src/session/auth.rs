//! SASL exchanges as AUTH speaks them (RFC 4954): PLAIN (RFC 4616) and LOGIN.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::replies;
use host_mail::Reply;

/// Mechanisms as EHLO lists them.
pub const MECHANISMS: &str = "PLAIN LOGIN";
/// `Username:` and `Password:`, the prompts every LOGIN client knows.
const USERNAME: &str = "VXNlcm5hbWU6";
const PASSWORD: &str = "UGFzc3dvcmQ6";

/// Text that no log may show.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// For the directory, and for nobody else.
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

/// What a finished exchange claims.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The mechanism's name.
    pub mechanism: &'static str,
    /// Account or address.
    pub user: String,
    /// Its password.
    pub password: Secret,
}

/// An exchange that waits for a response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SaslExchange {
    /// PLAIN's only message.
    Plain,
    /// LOGIN's first.
    LoginUser,
    /// LOGIN's second.
    LoginPassword(String),
}

/// Where an exchange has got to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExchangeState {
    /// Send this challenge.
    Challenge(Reply, SaslExchange),
    /// To be verified.
    Complete(Credentials),
    /// It is over, with this reply.
    Failed(Reply),
    /// As `Complete`, but the client wants to act for somebody else: nobody may.
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

    /// Takes a line without its CR LF.
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

/// RFC 4616 section 2: `[authzid] NUL authcid NUL passwd`.
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

    fn claims(turn: &ExchangeState) -> Option<(&str, &str)> {
        match turn {
            ExchangeState::Complete(credentials) => Some((&credentials.user, credentials.password.reveal())),
            _ => None,
        }
    }

    fn code(turn: &ExchangeState) -> u16 {
        match turn {
            ExchangeState::Failed(reply) | ExchangeState::Challenge(reply, _) => reply.code,
            ExchangeState::Complete(_) => 0,
            ExchangeState::OnBehalf(_) => 1,
        }
    }

    #[test]
    fn plain_in_one_line_or_two() {
        let message = encoded("\0anna\0secret");
        assert_eq!(claims(&start("PLAIN", Some(&message))), Some(("anna", "secret")));
        let ExchangeState::Challenge(reply, exchange) = start("PLAIN", None) else {
            panic!("no challenge")
        };
        assert_eq!((reply.code, reply.text.as_str()), (334, ""));
        assert_eq!(
            claims(&exchange.response(message.0.as_bytes())),
            Some(("anna", "secret"))
        );
        assert_eq!(
            claims(&start("PLAIN", Some(&encoded("anna\0anna\0secret")))),
            Some(("anna", "secret"))
        );
    }

    #[test]
    fn plain_that_is_not() {
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
    fn login_asks_twice_or_once() {
        let ExchangeState::Challenge(reply, exchange) = start("LOGIN", None) else {
            panic!("no challenge")
        };
        assert_eq!(STANDARD.decode(&reply.text).expect("base64"), b"Username:");
        let ExchangeState::Challenge(reply, exchange) = exchange.response(encoded("anna").0.as_bytes()) else {
            panic!("no second challenge")
        };
        assert_eq!(STANDARD.decode(&reply.text).expect("base64"), b"Password:");
        let turn = exchange.response(encoded("secret").0.as_bytes());
        assert_eq!(claims(&turn), Some(("anna", "secret")));
        assert!(matches!(
            start("LOGIN", Some(&encoded("anna"))),
            ExchangeState::Challenge(_, SaslExchange::LoginPassword(user)) if user == "anna"
        ));
    }

    #[test]
    fn an_asterisk_cancels_and_others_are_unknown() {
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
