//! Numbers that a case's host keeps.

use std::collections::BTreeMap;

/// Counters. A case takes no time: none expires in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counters(BTreeMap<String, u64>);

/// The contract's bound of a key, in bytes.
const KEY: usize = 256;

impl Counters {
    /// Adds to a counter and returns what it is now.
    ///
    /// # Errors
    /// The key is too long.
    pub fn add(&mut self, key: &str, amount: u64) -> Result<u64, String> {
        check(key)?;
        let value = self.0.entry(key.to_owned()).or_default();
        *value = value.saturating_add(amount);
        Ok(*value)
    }

    /// What a counter is; zero if there is none.
    ///
    /// # Errors
    /// The key is too long.
    pub fn value(&self, key: &str) -> Result<u64, String> {
        check(key)?;
        Ok(self.0.get(key).copied().unwrap_or_default())
    }

    /// All of them.
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
        ..=KEY => Ok(()),
        length => Err(format!("a key of {length} bytes, more than {KEY}")),
    }
}
