//! SCRAM-SHA-256 and SCRAM-SHA-256-PLUS on the server's side (RFC 5802, RFC 7677), bound to the TLS session by
//! `tls-exporter` (RFC 9266).
//!
//! ```text
//! client-first ─► ScramStart ──look-up of the verifier──► ScramChallenge ─► client-final ─► server-final
//! ```

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::session::login_fault::{FailedLogin, LoginFault};
use host_config::SaslMechanism;
use host_directory::{ScramLogin, ScramVerifier};

/// Data of `tls-exporter`, the same at both ends of a TLS session and of no other session.
pub type ChannelBinding = [u8; 32];

/// Name of the only channel binding.
const TLS_EXPORTER: &str = "tls-exporter";

/// Facts of the connection for an exchange.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ScramTerms {
    /// True for SCRAM-SHA-256-PLUS.
    pub plus: bool,
    /// Channel binding of the TLS session, if SCRAM-SHA-256-PLUS is offered.
    pub binding: Option<ChannelBinding>,
}

impl ScramTerms {
    /// Mechanism of the exchange.
    pub fn mechanism(self) -> SaslMechanism {
        match self.plus {
            true => SaslMechanism::ScramSha256Plus,
            false => SaslMechanism::ScramSha256,
        }
    }
}

/// The client's first message. The exchange continues with the verifier of the user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScramStart {
    terms: ScramTerms,
    /// Decoded user name.
    user: String,
    /// Octets that the client repeats in its final message: the GS2 header and the channel binding.
    binding_input: Vec<u8>,
    /// Message without the GS2 header.
    bare: String,
    /// Nonce of the client.
    nonce: String,
}

impl ScramStart {
    /// Parses the message: `GS2-FLAG,[a=AUTHZID],n=USER,r=NONCE[,extensions]`.
    pub fn parse(terms: ScramTerms, message: &[u8]) -> Result<Self, FailedLogin> {
        let failed = |user: &str, fault| FailedLogin {
            mechanism: terms.mechanism().name(),
            user: user.to_owned(),
            fault,
        };
        let malformed = || failed("", LoginFault::Malformed);
        let text = std::str::from_utf8(message).map_err(|_| failed("", LoginFault::NotUtf8))?;
        let (flag, rest) = text.split_once(',').ok_or_else(malformed)?;
        let (authzid, bare) = rest.split_once(',').ok_or_else(malformed)?;
        let mut fields = bare.split(',');
        let (user, nonce) = (fields.next(), fields.next());
        let user = user.and_then(|field| field.strip_prefix("n=")).and_then(decoded_name);
        let nonce = nonce.and_then(|field| field.strip_prefix("r="));
        let (Some(user), Some(nonce)) = (user, nonce) else {
            return Err(malformed());
        };
        if nonce.is_empty() || !nonce.bytes().all(|octet| octet.is_ascii_graphic()) {
            return Err(malformed());
        }
        let authzid = match authzid {
            "" => None,
            some => Some(some.strip_prefix("a=").and_then(decoded_name).ok_or_else(malformed)?),
        };
        if authzid.is_some_and(|authzid| authzid != user) {
            return Err(failed(&user, LoginFault::OnBehalf));
        }
        let header_length = text.len() - bare.len();
        let mut binding_input = message[..header_length].to_vec();
        // RFC 5802 section 6: `y` says that the client saw no -PLUS mechanism, though this host offered one.
        match (flag, terms.plus, terms.binding) {
            ("n", false, _) | ("y", false, None) => {}
            ("y", false, Some(_)) => return Err(failed(&user, LoginFault::Binding)),
            (bound, true, Some(binding)) if bound.strip_prefix("p=") == Some(TLS_EXPORTER) => {
                binding_input.extend_from_slice(&binding);
            }
            (bound, true, _) if bound.starts_with("p=") => return Err(failed(&user, LoginFault::Binding)),
            _ => return Err(malformed()),
        }
        Ok(Self {
            terms,
            user,
            binding_input,
            bare: bare.to_owned(),
            nonce: nonce.to_owned(),
        })
    }

    /// Name of the user, as the client gave it.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// Name of the mechanism.
    pub fn mechanism(&self) -> &'static str {
        self.terms.mechanism().name()
    }

    /// Continues with the verifier. Returns the server's first message and the state that takes the client's proof.
    pub fn challenge(self, login: ScramLogin) -> (String, ScramChallenge) {
        let nonce = format!("{}{}", self.nonce, login.nonce);
        let server_first = format!("r={nonce},{}", login.verifier.salt_and_iterations());
        let challenge = ScramChallenge {
            mechanism: self.mechanism(),
            user: self.user,
            account: login.account,
            verifier: login.verifier,
            binding_input: STANDARD.encode(self.binding_input),
            messages: format!("{},{server_first}", self.bare),
            nonce,
        };
        (server_first, challenge)
    }
}

/// An exchange that waits for the client's proof.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScramChallenge {
    /// Name of the mechanism.
    pub mechanism: &'static str,
    /// Name of the user, as the client gave it.
    pub user: String,
    account: Option<String>,
    verifier: ScramVerifier,
    /// GS2 header and channel binding in base64.
    binding_input: String,
    /// First messages of client and server, as both sign them.
    messages: String,
    /// Nonces of client and server.
    nonce: String,
}

impl ScramChallenge {
    /// Checks the client's final message: `c=BINDING,r=NONCE[,extensions],p=PROOF`. Returns the account and the server's
    /// final message.
    pub fn prove(&self, message: &[u8]) -> Result<(String, String), LoginFault> {
        let text = std::str::from_utf8(message).map_err(|_| LoginFault::NotUtf8)?;
        let (without_proof, proof) = text.rsplit_once(",p=").ok_or(LoginFault::Malformed)?;
        let mut fields = without_proof.split(',');
        let binding = fields.next().and_then(|field| field.strip_prefix("c="));
        let nonce = fields.next().and_then(|field| field.strip_prefix("r="));
        let (Some(binding), Some(nonce)) = (binding, nonce) else {
            return Err(LoginFault::Malformed);
        };
        let proof = STANDARD.decode(proof).map_err(|_| LoginFault::Malformed)?;
        if nonce != self.nonce {
            return Err(LoginFault::Malformed);
        }
        if binding != self.binding_input {
            return Err(LoginFault::Binding);
        }
        let signed = format!("{},{without_proof}", self.messages);
        let signature = self.verifier.check_proof(signed.as_bytes(), &proof);
        match (signature, &self.account) {
            (Some(signature), Some(account)) => Ok((account.clone(), format!("v={signature}"))),
            _ => Err(LoginFault::Credentials),
        }
    }
}

/// Decodes a name: `=2C` is a comma and `=3D` an equals sign (RFC 5802 section 5.1).
fn decoded_name(text: &str) -> Option<String> {
    let mut parts = text.split('=');
    let mut name = parts.next()?.to_owned();
    for part in parts {
        let (sign, rest) = match (part.strip_prefix("2C"), part.strip_prefix("3D")) {
            (Some(rest), _) => (',', rest),
            (_, Some(rest)) => ('=', rest),
            _ => return None,
        };
        name.push(sign);
        name.push_str(rest);
    }
    (!name.is_empty() && !name.contains('\0')).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A client of SCRAM that knows the salted password's verifier by computing it from the password.
    fn login(account: Option<&str>) -> ScramLogin {
        ScramLogin {
            account: account.map(str::to_owned),
            verifier: ScramVerifier::of_password("pencil"),
            nonce: "server".to_owned(),
        }
    }

    fn fault(terms: ScramTerms, message: &str) -> Option<LoginFault> {
        ScramStart::parse(terms, message.as_bytes())
            .err()
            .map(|failed| failed.fault)
    }

    const PLAIN_TERMS: ScramTerms = ScramTerms {
        plus: false,
        binding: None,
    };
    const BOUND: ScramTerms = ScramTerms {
        plus: true,
        binding: Some([7; 32]),
    };

    #[test]
    fn reads_names_with_commas_and_equals_signs() {
        let start = ScramStart::parse(PLAIN_TERMS, b"n,,n=an=2Cna=3D,r=abc,x=extension").expect("right");
        assert_eq!(start.user(), "an,na=");
        let (first, _) = start.challenge(login(Some("anna")));
        assert!(
            first.starts_with("r=abcserver,s=") && first.ends_with(",i=100000"),
            "{first}"
        );
        assert_eq!(fault(PLAIN_TERMS, "n,a=anna,n=anna,r=abc"), None);
        assert_eq!(fault(PLAIN_TERMS, "n,a=bert,n=anna,r=abc"), Some(LoginFault::OnBehalf));
    }

    #[test]
    fn malformed_first_messages_are_refused() {
        for message in [
            "",
            "n",
            "n,",
            "n,,",
            "n,,x",
            "n,,n",
            "n,,n=",
            "n,,n=anna",
            "n,,n=anna,",
            "n,,n=anna,r",
            "n,,n=anna,r=",
            "n,,n=anna,r=a b",
            "n,,n=an=na,r=abc",
            "n,,n=a=2,r=abc",
            "n,,m=x,n=anna,r=abc",
            "n,x,n=anna,r=abc",
            "n,a,n=anna,r=abc",
            "z,,n=anna,r=abc",
            "p,,n=anna,r=abc",
            "p=,,n=anna,r=abc",
            "p=tls-exporter,,n=anna,r=abc",
            "n,,r=abc,n=anna",
            ",,,,,",
            "=,=,=,=",
            "n,,n=a\0b,r=abc",
        ] {
            assert_eq!(fault(PLAIN_TERMS, message), Some(LoginFault::Malformed), "{message:?}");
        }
        let not_utf8 = ScramStart::parse(PLAIN_TERMS, b"n,,n=\xff,r=abc").expect_err("refused");
        assert_eq!(not_utf8.fault, LoginFault::NotUtf8);
    }

    #[test]
    fn binding_follows_the_mechanism() {
        assert_eq!(fault(BOUND, "p=tls-exporter,,n=anna,r=abc"), None);
        assert_eq!(fault(BOUND, "p=tls-unique,,n=anna,r=abc"), Some(LoginFault::Binding));
        assert_eq!(fault(BOUND, "n,,n=anna,r=abc"), Some(LoginFault::Malformed));
        let offered = ScramTerms { plus: false, ..BOUND };
        assert_eq!(fault(offered, "n,,n=anna,r=abc"), None);
        assert_eq!(fault(offered, "y,,n=anna,r=abc"), Some(LoginFault::Binding));
        assert_eq!(fault(PLAIN_TERMS, "y,,n=anna,r=abc"), None);
    }

    #[test]
    fn wrong_final_messages_are_refused() {
        let start = ScramStart::parse(PLAIN_TERMS, b"n,,n=anna,r=abc").expect("right");
        let (_, challenge) = start.challenge(login(Some("anna")));
        let zeros = STANDARD.encode([0; 32]);
        for (message, expected) in [
            (String::new(), LoginFault::Malformed),
            ("p=".to_owned(), LoginFault::Malformed),
            (",p=".to_owned(), LoginFault::Malformed),
            ("c=biws,r=abcserver".to_owned(), LoginFault::Malformed),
            ("c=biws,r=abcserver,p=***".to_owned(), LoginFault::Malformed),
            (format!("c=biws,r=other,p={zeros}"), LoginFault::Malformed),
            (format!("r=abcserver,c=biws,p={zeros}"), LoginFault::Malformed),
            (format!("c=eSws,r=abcserver,p={zeros}"), LoginFault::Binding),
            (format!("c=biws,r=abcserver,p={zeros}"), LoginFault::Credentials),
            ("c=biws,r=abcserver,p=".to_owned(), LoginFault::Credentials),
            ("c=biws,r=abcserver,p=AAAA".to_owned(), LoginFault::Credentials),
        ] {
            assert_eq!(challenge.prove(message.as_bytes()), Err(expected), "{message}");
        }
    }
}
