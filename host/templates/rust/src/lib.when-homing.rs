//! {{name}}: a policy for Posthouse.

mod homing;

use posthouse_policy::{Description, Policy, Problem, Settings};

use homing::REFUSE;

/// What the operator decides. A key that is not known is a problem: typing errors do not go unnoticed.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct ThisPolicy {
    /// Recipients that get no mail, in any case.
    #[serde(default)]
    refuse: Vec<String>,
}

impl Policy for ThisPolicy {
    fn describe() -> Description {
        posthouse_policy::description!(REFUSE)
    }

    fn configure(settings: Settings<'_>) -> Result<Self, Vec<Problem>> {
        settings.read()
    }
}

posthouse_policy::export!(ThisPolicy: Homing);

#[cfg(test)]
mod tests {
    use super::ThisPolicy;

    #[test]
    fn cases() {
        posthouse_policy::testing::cases::<ThisPolicy>("tests/cases.toml");
    }
}
