//! SASL exchanges of AUTH (RFC 4954): PLAIN (RFC 4616), LOGIN, and SCRAM.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::session::login_fault::{FailedLogin, LoginFault};
use crate::session::scram_exchange::{ScramChallenge, ScramStart, ScramTerms};
use host_directory::ScramLogin;
use host_mail::Reply;

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
    /// Evidence for the claim.
    pub evidence: Evidence,
}

/// Evidence that the client is the claimed user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Evidence {
    /// A password, to be checked.
    Password(Secret),
    /// A proof that was checked: the client is this account.
    Proven(String),
    /// A certificate that was verified, by its names.
    Certificate(Vec<String>),
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
    /// Waits for the first message of SCRAM.
    ScramFirst(ScramTerms),
    /// Waits for the proof of SCRAM.
    ScramProof(Box<ScramChallenge>),
    /// Waits for the empty response to the server's proof; with the credentials that the client has proven.
    ScramDone(Credentials),
    /// Waits for the authorization identity of EXTERNAL; with the names of the client's certificate.
    External(Vec<String>),
}

/// Progress of an exchange.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExchangeState {
    /// Challenge to send.
    Challenge(Reply, SaslExchange),
    /// Credentials to verify.
    Complete(Credentials),
    /// First message of SCRAM: the verifier of the user is needed.
    FindVerifier(ScramStart),
    /// A failed attempt; the directory is not asked.
    Failed(FailedLogin),
}

/// Begins an exchange.
pub fn start(exchange: SaslExchange, initial: Option<&Secret>) -> ExchangeState {
    match initial {
        None => exchange.challenge(),
        // RFC 4954 section 4: a single = is an empty initial response.
        Some(Secret(text)) if text == "=" => exchange.decoded(Vec::new()),
        Some(Secret(text)) => exchange.response(text.as_bytes()),
    }
}

/// Continues an exchange of SCRAM with the user's verifier.
pub fn scram_challenge(start: ScramStart, login: ScramLogin) -> ExchangeState {
    let (message, challenge) = start.challenge(login);
    challenge_with(&message, SaslExchange::ScramProof(Box::new(challenge)))
}

fn challenge_with(message: &str, next: SaslExchange) -> ExchangeState {
    ExchangeState::Challenge(Reply::bare(334, STANDARD.encode(message)), next)
}

impl SaslExchange {
    /// Name of the mechanism.
    pub fn mechanism(&self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::LoginUser | Self::LoginPassword(_) => "LOGIN",
            Self::ScramFirst(terms) => terms.mechanism().name(),
            Self::ScramProof(challenge) => challenge.mechanism,
            Self::ScramDone(credentials) => credentials.mechanism,
            Self::External(_) => "EXTERNAL",
        }
    }

    fn challenge(self) -> ExchangeState {
        let text = match self {
            Self::Plain | Self::ScramFirst(_) | Self::ScramProof(_) | Self::ScramDone(_) | Self::External(_) => "",
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
                Self::ScramProof(challenge) => challenge.user,
                Self::ScramDone(credentials) => credentials.user,
                Self::Plain | Self::LoginUser | Self::ScramFirst(_) | Self::External(_) => String::new(),
            },
            fault,
        })
    }

    fn decoded(self, message: Vec<u8>) -> ExchangeState {
        match self {
            Self::ScramFirst(terms) => match ScramStart::parse(terms, &message) {
                Ok(start) => ExchangeState::FindVerifier(start),
                Err(failed) => ExchangeState::Failed(failed),
            },
            Self::ScramProof(challenge) => match challenge.prove(&message) {
                Ok((account, server_final)) => {
                    let credentials = Credentials {
                        mechanism: challenge.mechanism,
                        user: challenge.user,
                        evidence: Evidence::Proven(account),
                    };
                    challenge_with(&server_final, Self::ScramDone(credentials))
                }
                Err(fault) => Self::ScramProof(challenge).failed(fault),
            },
            // RFC 4954 section 4: the server's last data is a challenge, which the client answers with an empty line.
            Self::ScramDone(credentials) if message.is_empty() => ExchangeState::Complete(credentials),
            Self::ScramDone(credentials) => Self::ScramDone(credentials).failed(LoginFault::Malformed),
            Self::External(names) => match String::from_utf8(message) {
                Ok(user) => ExchangeState::Complete(Credentials {
                    mechanism: "EXTERNAL",
                    user,
                    evidence: Evidence::Certificate(names),
                }),
                Err(_) => Self::External(names).failed(LoginFault::NotUtf8),
            },
            password => password.decoded_password(message),
        }
    }

    fn decoded_password(self, message: Vec<u8>) -> ExchangeState {
        match (self, String::from_utf8(message)) {
            (Self::Plain, Ok(text)) => plain(&text),
            (Self::Plain, Err(error)) => plain_not_utf8(error.as_bytes()),
            (Self::LoginUser, Ok(user)) => Self::LoginPassword(user).challenge(),
            (Self::LoginPassword(user), Ok(password)) => ExchangeState::Complete(Credentials {
                mechanism: "LOGIN",
                user,
                evidence: Evidence::Password(Secret(password)),
            }),
            (other, Err(_)) => other.failed(LoginFault::NotUtf8),
            (other, Ok(_)) => other.failed(LoginFault::Malformed),
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
            evidence: Evidence::Password(Secret::from(password)),
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
            ExchangeState::Complete(Credentials {
                user,
                evidence: Evidence::Password(password),
                ..
            }) => Some((user, password.reveal())),
            _ => None,
        }
    }

    fn code(state: &ExchangeState) -> u16 {
        match state {
            ExchangeState::Challenge(reply, _) => reply.code,
            ExchangeState::Failed(failed) => failed.fault.reply().code,
            ExchangeState::Complete(_) | ExchangeState::FindVerifier(_) => 0,
        }
    }

    #[test]
    fn plain_accepts_one_line_or_two() {
        let message = encoded("\0anna\0secret");
        assert_eq!(
            credentials_of(&start(SaslExchange::Plain, Some(&message))),
            Some(("anna", "secret"))
        );
        let ExchangeState::Challenge(reply, exchange) = start(SaslExchange::Plain, None) else {
            panic!("no challenge")
        };
        assert_eq!((reply.code, reply.text.as_str()), (334, ""));
        assert_eq!(
            credentials_of(&exchange.response(message.0.as_bytes())),
            Some(("anna", "secret"))
        );
        assert_eq!(
            credentials_of(&start(SaslExchange::Plain, Some(&encoded("anna\0anna\0secret")))),
            Some(("anna", "secret"))
        );
    }

    #[test]
    fn plain_refuses_malformed_messages() {
        assert_eq!(
            code(&start(SaslExchange::Plain, Some(&encoded("root\0anna\0secret")))),
            535
        );
        for bad in ["", "anna", "anna\0secret", "\0anna\0secret\0more"] {
            assert_eq!(code(&start(SaslExchange::Plain, Some(&encoded(bad)))), 501, "{bad:?}");
        }
        assert_eq!(code(&start(SaslExchange::Plain, Some(&Secret("=".into())))), 501);
        assert_eq!(code(&start(SaslExchange::Plain, Some(&Secret("!!!".into())))), 501);
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
        let ExchangeState::Challenge(reply, exchange) = start(SaslExchange::LoginUser, None) else {
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
            start(SaslExchange::LoginUser, Some(&encoded("anna"))),
            ExchangeState::Challenge(_, SaslExchange::LoginPassword(user)) if user == "anna"
        ));
    }

    #[test]
    fn asterisk_cancels() {
        for exchange in [
            SaslExchange::Plain,
            SaslExchange::LoginUser,
            SaslExchange::LoginPassword("a".into()),
        ] {
            assert_eq!(code(&exchange.response(b"*")), 501);
        }
    }
}
