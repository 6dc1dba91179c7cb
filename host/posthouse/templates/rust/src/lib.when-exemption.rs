//! {{name}}: a policy for Posthouse.

mod admission;

use std::net::IpAddr;

use posthouse_policy::{Description, Policy, Problem, Settings};

use admission::CLIENT;

/// Settings of the operator. An unknown key is a problem, so that typing errors are noticed.
#[derive(serde::Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct ThisPolicy {
    /// Addresses of clients that are sent away.
    #[serde(default)]
    refuse_clients: Vec<IpAddr>,
}

impl Policy for ThisPolicy {
    fn describe() -> Description {
        posthouse_policy::description!(CLIENT)
    }

    fn configure(settings: Settings<'_>) -> Result<Self, Vec<Problem>> {
        settings.read()
    }
}

posthouse_policy::export!(ThisPolicy: Exemption; settings = "settings.schema.json");

#[cfg(test)]
mod tests {
    use super::ThisPolicy;

    #[test]
    fn cases() {
        posthouse_policy::testing::cases::<ThisPolicy>("tests/cases.toml");
    }

    /// Compares `settings.schema.json` with the type. The schema is part of the component: `posthouse policy explain`
    /// shows the settings.
    #[test]
    fn settings() {
        posthouse_policy::testing::settings_schema("settings.schema.json", schemars::schema_for!(ThisPolicy));
    }
}
