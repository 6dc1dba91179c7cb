//! Counters of a case's host.

use std::collections::BTreeMap;

/// Counters by key. A case takes no time, so that no counter expires.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counters(BTreeMap<String, u64>);

/// Maximum length of a key in the contract, in bytes.
const MAX_KEY: usize = 256;

impl Counters {
    /// Adds to a counter and returns the new value. The sum saturates.
    ///
    /// # Errors
    /// The key is longer than 256 bytes.
    pub fn add(&mut self, key: &str, amount: u64) -> Result<u64, String> {
        check(key)?;
        let value = self.0.entry(key.to_owned()).or_default();
        *value = value.saturating_add(amount);
        Ok(*value)
    }

    /// Returns the value of a counter; zero if there is no such counter.
    ///
    /// # Errors
    /// The key is longer than 256 bytes.
    pub fn value(&self, key: &str) -> Result<u64, String> {
        check(key)?;
        Ok(self.0.get(key).copied().unwrap_or_default())
    }

    /// Returns all counters.
    pub fn all(&self) -> &BTreeMap<String, u64> {
        &self.0
    }
}

impl From<BTreeMap<String, u64>> for Counters {
    fn from(values: BTreeMap<String, u64>) -> Self {
        Self(values)
    }
}

fn check(key: &str) -> Result<(), String> {
    match key.len() {
        ..=MAX_KEY => Ok(()),
        length => Err(format!("a key of {length} bytes, more than {MAX_KEY}")),
    }
}
