//! Ids of messages, sessions and records: sortable by time, unique on this host.

use std::fmt;
use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::Timestamp;

/// Generates an id of 80 bits: 48 bits of milliseconds since 1970, then 32 random bits; 20 hexadecimal digits.
fn generate() -> u128 {
    let millis = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_millis());
    (millis & 0xffff_ffff_ffff) << 32 | u128::from(rand::random::<u32>())
}

macro_rules! id {
    ($name:ident, $doc:literal) => {
        #[doc = $doc]
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(u128);

        impl $name {
            /// The greatest id.
            pub const LAST: Self = Self((1 << 80) - 1);

            /// Generates an id from the current time and random bits.
            pub fn generate() -> Self {
                Self(generate())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let mut rest = self.0;
                let digits: [u8; 20] = std::array::from_fn(|_| {
                    // Shifts four bits at a time out of the top of 80.
                    rest = (rest << 4) & ((1 << 84) - 1);
                    b"0123456789abcdef"[(rest >> 80) as usize]
                });
                f.write_str(std::str::from_utf8(&digits).unwrap_or_default())
            }
        }

        impl FromStr for $name {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                if text.len() != 20 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
                    return Err(format!("{text:?} is not an id: 20 hexadecimal digits"));
                }
                u128::from_str_radix(text, 16)
                    .map(Self)
                    .map_err(|error| error.to_string())
            }
        }

        impl TryFrom<String> for $name {
            type Error = String;

            fn try_from(text: String) -> Result<Self, String> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.to_string()
            }
        }
    };
}

id!(
    MessageId,
    "Id of a message, from reception until removal from the spool."
);
id!(SessionId, "Id of a session, that is of a connection.");
id!(RecordId, "Id of a decision record: a unit of work as seen by a policy.");

impl RecordId {
    /// Generates the id of a record whose work began at `time`.
    pub fn at(time: Timestamp) -> Self {
        Self(Self::first(time).0 | u128::from(rand::random::<u32>()))
    }

    /// The smallest id of `time`.
    pub fn first(time: Timestamp) -> Self {
        Self((u128::from(time.0) & 0xffff_ffff_ffff) << 32)
    }

    /// The time at which the record's work began.
    pub fn time(self) -> Timestamp {
        Timestamp(u64::try_from(self.0 >> 32).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_round_trip_as_twenty_hexadecimal_digits() {
        for value in [0, 1, 0x10, 0x0123_4567_89ab_cdef_0123, (1 << 80) - 1] {
            let id = MessageId(value);
            assert_eq!(id.to_string(), format!("{value:020x}"));
            assert_eq!(id.to_string().parse(), Ok(id));
        }
    }
}
