//! DNS records of a case file.

use std::collections::BTreeMap;
use std::str::FromStr;

use serde::{Deserialize, Deserializer};

use crate::case_text::parsed;

/// Records by name, or by address for PTR. Names without records do not exist.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Dns(pub BTreeMap<String, Records>);

/// Records of a name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Records {
    /// A and AAAA records.
    pub addresses: Vec<String>,
    /// MX records, each as `PREFERENCE NAME`.
    pub exchanges: Vec<Exchange>,
    /// TXT records.
    pub texts: Vec<String>,
    /// PTR records of an address.
    pub names: Vec<String>,
    /// The reason for which look-ups of this name fail.
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
    /// Returns the records of a name, exchangers by preference. Case and a trailing dot of the name are ignored.
    ///
    /// # Errors
    /// The reason in `fails`, if the file gives one for this name.
    pub fn records(&self, name: &str) -> Result<Records, String> {
        let normalized = |name: &str| name.trim_end_matches('.').to_lowercase();
        let normalized_name = normalized(name);
        let found = self.0.iter().find(|(known, _)| normalized(known) == normalized_name);
        let mut records = found.map(|(_, records)| records.clone()).unwrap_or_default();
        if let Some(reason) = records.fails.take() {
            return Err(reason);
        }
        records.exchanges.sort();
        Ok(records)
    }
}
