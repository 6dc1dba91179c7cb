//! Totals of the queued mail: a running count and digest, by which a missing part of the store shows.

use host_mail::MessageId;

/// Key of the totals in the store.
pub(crate) const TOTALS_KEY: &[u8] = b"posthouse-totals";
/// Number of octets of [`Totals::encode`].
pub(crate) const ENCODED: usize = 40;

/// Numbers of the mail in the store. Every batch of edits stores the new totals beside the edits, atomically, so that
/// the totals and the records can be compared at any later open. All arithmetic wraps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    /// Number of batches written since the spool has totals.
    pub batch: u64,
    /// Number of records of messages.
    pub messages: u64,
    /// Sum of the hashes of their ids: independent of the order, and another value if any record is missing.
    pub digest: u64,
    /// Number of messages with a file in `large/`.
    pub files: u64,
    /// Bytes of those files.
    pub bytes: u64,
}

/// The effect of an edit on the totals.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum TotalsChange {
    /// The number of messages stays.
    #[default]
    None,
    /// A message comes, with a file of this size if it has one.
    Added(Option<u64>),
    /// A message goes, with a file of this size if it has one.
    Removed(Option<u64>),
}

impl Totals {
    /// Returns the totals after a batch with these changes.
    pub fn after(mut self, changes: impl Iterator<Item = (MessageId, TotalsChange)>) -> Self {
        self.batch = self.batch.wrapping_add(1);
        for (id, change) in changes {
            match change {
                TotalsChange::None => {}
                TotalsChange::Added(file) => self.add(id.to_string().as_bytes(), file),
                TotalsChange::Removed(file) => self.remove(id.to_string().as_bytes(), file),
            }
        }
        self
    }

    /// Counts a message under this key.
    pub fn add(&mut self, key: &[u8], file: Option<u64>) {
        self.messages = self.messages.wrapping_add(1);
        self.digest = self.digest.wrapping_add(hash(key));
        if let Some(size) = file {
            self.files = self.files.wrapping_add(1);
            self.bytes = self.bytes.wrapping_add(size);
        }
    }

    fn remove(&mut self, key: &[u8], file: Option<u64>) {
        self.messages = self.messages.wrapping_sub(1);
        self.digest = self.digest.wrapping_sub(hash(key));
        if let Some(size) = file {
            self.files = self.files.wrapping_sub(1);
            self.bytes = self.bytes.wrapping_sub(size);
        }
    }

    /// Returns the sum of both, with the batches of `self`.
    pub fn plus(mut self, other: &Self) -> Self {
        self.messages = self.messages.wrapping_add(other.messages);
        self.digest = self.digest.wrapping_add(other.digest);
        self.files = self.files.wrapping_add(other.files);
        self.bytes = self.bytes.wrapping_add(other.bytes);
        self
    }

    /// Returns the difference of both, with the batches of `self`.
    pub fn minus(mut self, other: &Self) -> Self {
        self.messages = self.messages.wrapping_sub(other.messages);
        self.digest = self.digest.wrapping_sub(other.digest);
        self.files = self.files.wrapping_sub(other.files);
        self.bytes = self.bytes.wrapping_sub(other.bytes);
        self
    }

    /// True if both count the same messages, after any number of batches.
    pub fn same_mail(&self, other: &Self) -> bool {
        (self.messages, self.digest) == (other.messages, other.digest)
    }

    /// Encodes the fields in order, little-endian.
    pub fn encode(&self) -> [u8; ENCODED] {
        let mut bytes = [0; ENCODED];
        let fields = [self.batch, self.messages, self.digest, self.files, self.bytes];
        for (place, field) in bytes.chunks_exact_mut(8).zip(fields) {
            place.copy_from_slice(&field.to_le_bytes());
        }
        bytes
    }

    /// Decodes [`Self::encode`]; `None` for another length.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        if bytes.len() != ENCODED {
            return None;
        }
        let mut fields = bytes
            .chunks_exact(8)
            .map(|field| field.try_into().map_or(0, u64::from_le_bytes));
        Some(Self {
            batch: fields.next()?,
            messages: fields.next()?,
            digest: fields.next()?,
            files: fields.next()?,
            bytes: fields.next()?,
        })
    }
}

fn hash(key: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_are_independent_of_the_order_and_survive_encoding() {
        let (mut one, mut other) = (Totals::default(), Totals::default());
        one.add(b"a", None);
        one.add(b"b", Some(7));
        other.add(b"b", Some(7));
        other.add(b"c", None);
        other.add(b"a", None);
        assert!(!one.same_mail(&other));
        other.remove(b"c", None);
        assert_eq!(one, other);
        assert_eq!(Totals::decode(&one.encode()), Some(one));
        assert_eq!(Totals::decode(b"short"), None);
    }
}
