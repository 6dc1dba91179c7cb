//! {{name}}: a policy for Posthouse.

mod admission;
mod homing;
mod notices;

use std::net::IpAddr;

use posthouse_policy::{Description, Policy, Problem, Settings};

use admission::TRUSTED;
use homing::REFUSE;
use notices::{AUTOMATIC, SENDER};

/// What the operator decides. A key that is not known is a problem: typing errors do not go unnoticed.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct ThisPolicy {
    /// Clients that need not authenticate.
    #[serde(default)]
    trusted: Vec<IpAddr>,
    /// Recipients that get no mail, in any case.
    #[serde(default)]
    refuse: Vec<String>,
    /// The administrator hears about it, too.
    #[serde(default)]
    tell_administrator: bool,
}

impl Policy for ThisPolicy {
    fn describe() -> Description {
        posthouse_policy::description!(TRUSTED, REFUSE, AUTOMATIC, SENDER)
    }

    fn configure(settings: Settings<'_>) -> Result<Self, Vec<Problem>> {
        settings.read()
    }
}

posthouse_policy::export!(ThisPolicy: Exemption, Homing, Ndr);

#[cfg(test)]
mod tests {
    use super::ThisPolicy;

    #[test]
    fn cases() {
        posthouse_policy::testing::cases::<ThisPolicy>("tests/cases.toml");
    }
}
