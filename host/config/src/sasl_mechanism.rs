//! SASL mechanisms of AUTH.

use std::fmt;

/// A SASL mechanism (RFC 4422) that the host has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SaslMechanism {
    /// PLAIN (RFC 4616).
    Plain,
    /// LOGIN, of older clients.
    Login,
    /// SCRAM-SHA-256 (RFC 7677).
    ScramSha256,
    /// SCRAM-SHA-256-PLUS: bound to the TLS session (RFC 9266).
    ScramSha256Plus,
    /// EXTERNAL (RFC 4422 appendix A): the client's certificate.
    External,
}

impl SaslMechanism {
    /// Every mechanism, in the order in which EHLO lists them.
    pub const ALL: [Self; 5] = [
        Self::Plain,
        Self::Login,
        Self::ScramSha256,
        Self::ScramSha256Plus,
        Self::External,
    ];

    /// Name registered with IANA.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::Login => "LOGIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha256Plus => "SCRAM-SHA-256-PLUS",
            Self::External => "EXTERNAL",
        }
    }

    /// True for the mechanisms that need a verifier of SCRAM.
    pub const fn is_scram(self) -> bool {
        matches!(self, Self::ScramSha256 | Self::ScramSha256Plus)
    }
}

/// A set of mechanisms.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct SaslMechanisms(u8);

impl SaslMechanisms {
    /// True if the mechanism is in the set.
    pub fn contains(self, mechanism: SaslMechanism) -> bool {
        self.0 & (1 << mechanism as u8) != 0
    }

    /// True if no mechanism is in the set.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Returns the mechanisms in the order of EHLO.
    pub fn iter(self) -> impl Iterator<Item = SaslMechanism> {
        SaslMechanism::ALL.into_iter().filter(move |one| self.contains(*one))
    }

    /// Returns the mechanisms for which `keep` is true.
    #[must_use]
    pub fn filter(self, keep: impl Fn(SaslMechanism) -> bool) -> Self {
        self.iter().filter(|one| keep(*one)).collect()
    }
}

impl FromIterator<SaslMechanism> for SaslMechanisms {
    fn from_iter<I: IntoIterator<Item = SaslMechanism>>(mechanisms: I) -> Self {
        Self(mechanisms.into_iter().fold(0, |set, one| set | 1 << one as u8))
    }
}

/// Formats as EHLO lists the mechanisms: names with spaces between.
impl fmt::Display for SaslMechanisms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, mechanism) in self.iter().enumerate() {
            let space = if index == 0 { "" } else { " " };
            write!(f, "{space}{}", mechanism.name())?;
        }
        Ok(())
    }
}

impl fmt::Debug for SaslMechanisms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{self}]")
    }
}
