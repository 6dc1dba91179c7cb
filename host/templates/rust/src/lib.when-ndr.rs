//! {{name}}: a policy for Posthouse.

mod notices;

use posthouse_policy::{Description, Policy, Problem, Settings};

use notices::{AUTOMATIC, SENDER};

/// What the operator decides. A key that is not known is a problem: typing errors do not go unnoticed.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct ThisPolicy {
    /// The administrator hears about it, too.
    #[serde(default)]
    tell_administrator: bool,
}

impl Policy for ThisPolicy {
    fn describe() -> Description {
        posthouse_policy::description!(AUTOMATIC, SENDER)
    }

    fn configure(settings: Settings<'_>) -> Result<Self, Vec<Problem>> {
        settings.read()
    }
}

posthouse_policy::export!(ThisPolicy: Ndr);

#[cfg(test)]
mod tests {
    use super::ThisPolicy;

    #[test]
    fn cases() {
        posthouse_policy::testing::cases::<ThisPolicy>("tests/cases.toml");
    }
}
