//! The stored record: a message as JSON on the disk.

use serde::{Deserialize, Serialize};

use host_mail::{MessageId, Timestamp};

use crate::message::{Message, State};

/// Format of the records that this version writes.
const FORMAT: u32 = 1;

/// A message and the places of its bytes: `head` bytes in the store, then the file from `skip` on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Stored {
    format: u32,
    /// Number of bytes under the id in the keyspace `bodies`.
    pub head: u64,
    /// Spill file with the rest of a large message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<FilePart>,
    /// State of a frozen message before the freeze, unless queued.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<State>,
    /// Part of the record that other crates see.
    pub message: Message,
}

/// The file `large/ID` of `size` bytes, the first `skip` of which are not part of the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct FilePart {
    pub size: u64,
    pub skip: u64,
}

impl Stored {
    /// Creates a record and sets the message's size. `skip` must not exceed the file's size.
    pub fn new(mut message: Message, head: u64, file: Option<FilePart>) -> Self {
        message.size = head + file.map_or(0, |part| part.size - part.skip);
        Self {
            format: FORMAT,
            head,
            file,
            before: None,
            message,
        }
    }

    /// Returns a new record for the same bytes. A freeze remembers the failing state.
    pub fn with_message(&self, next: Message) -> Self {
        let mut stored = Self::new(next, self.head, self.file);
        stored.before = match (&stored.message.state, &self.message.state) {
            (State::Frozen { .. }, State::Failing { .. }) => Some(self.message.state.clone()),
            (State::Frozen { .. }, State::Frozen { .. }) => self.before.clone(),
            _ => None,
        };
        stored
    }

    /// Returns the record after an operator's release at `now`: due at once, and for a quarantined or frozen message
    /// with no faults, a full time to live, and the state before the freeze.
    pub fn released(&self, now: Timestamp) -> Self {
        let mut next = self.message.clone();
        next.due = now;
        match &self.message.state {
            State::Queued | State::Failing { .. } => {}
            State::Quarantined { .. } | State::Frozen { .. } => {
                next.state = self.before.clone().unwrap_or(State::Queued);
                next.faults = 0;
                // The time to live starts anew: the time apart does not count.
                next.expires = now.after(next.received.until(next.expires));
            }
        }
        self.with_message(next)
    }

    pub fn encode(&self) -> Result<Vec<u8>, String> {
        serde_json::to_vec(self).map_err(|error| error.to_string())
    }

    /// Decodes the record stored under `id`. An error for other bytes, a newer format, another message's id, or sizes
    /// that do not add up.
    pub fn decode(id: MessageId, bytes: &[u8]) -> Result<Self, String> {
        let stored: Self = serde_json::from_slice(bytes).map_err(|error| format!("record: {error}"))?;
        if stored.format > FORMAT {
            return Err(format!("record: format {}, known up to {FORMAT}", stored.format));
        }
        if stored.message.id != id {
            return Err(format!("record: it is that of {}", stored.message.id));
        }
        let file = match stored.file {
            None => Some(0),
            Some(part) => part.size.checked_sub(part.skip),
        };
        match file.and_then(|file| stored.head.checked_add(file)) {
            Some(size) if size == stored.message.size => Ok(stored),
            _ => Err("record: its sizes do not add up".to_owned()),
        }
    }
}

/// A record that was set aside.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct SetAside {
    pub reason: String,
    pub at: Timestamp,
    /// Original bytes of the record, in base64.
    record: String,
}

impl SetAside {
    /// Decodes the record of the message, which has this id.
    pub fn stored(&self, id: MessageId) -> Result<Stored, String> {
        use base64::Engine as _;
        let record = base64::engine::general_purpose::STANDARD.decode(&self.record);
        Stored::decode(id, &record.map_err(|error| format!("record: {error}"))?)
    }

    pub fn new(reason: &str, record: &[u8]) -> Self {
        use base64::Engine as _;
        Self {
            reason: reason.to_owned(),
            at: Timestamp::now(),
            record: base64::engine::general_purpose::STANDARD.encode(record),
        }
    }
}
