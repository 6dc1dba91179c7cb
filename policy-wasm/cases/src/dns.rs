//! What the DNS has, in a case.

use std::collections::BTreeMap;
use std::str::FromStr;

use serde::{Deserialize, Deserializer};

use crate::text::parsed;

/// Records by name, or by address for PTR. What is not there does not exist.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Dns(pub BTreeMap<String, Records>);

/// What there is at a name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Records {
    /// A and AAAA.
    pub addresses: Vec<String>,
    /// MX, each as `PREFERENCE NAME`.
    pub exchanges: Vec<Exchange>,
    /// TXT.
    pub texts: Vec<String>,
    /// PTR, at an address.
    pub names: Vec<String>,
    /// There is no answer, for this reason.
    pub fails: Option<String>,
}

/// A mail exchanger.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)] // wit/policy.wit says it
pub struct Exchange {
    pub preference: u16,
    pub name: String,
}

impl FromStr for Exchange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once(' ');
        let parts = parts.and_then(|(preference, name)| Some((preference.parse().ok()?, name.trim())));
        let (preference, name) =
            parts.ok_or_else(|| format!("{text:?} is no exchanger: expected one such as \"10 mx.example.net\""))?;
        Ok(Self {
            preference,
            name: name.to_owned(),
        })
    }
}

impl<'de> Deserialize<'de> for Exchange {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        parsed(input)
    }
}

impl Dns {
    /// What there is at a name, in any case and with or without the dot at its end.
    ///
    /// # Errors
    /// The reason, if the case says that the name fails.
    pub fn records(&self, name: &str) -> Result<Records, String> {
        let plain = |name: &str| name.trim_end_matches('.').to_lowercase();
        let wanted = plain(name);
        let found = self.0.iter().find(|(known, _)| plain(known) == wanted);
        let mut records = found.map(|(_, records)| records.clone()).unwrap_or_default();
        if let Some(reason) = records.fails.take() {
            return Err(reason);
        }
        records.exchanges.sort();
        Ok(records)
    }
}
