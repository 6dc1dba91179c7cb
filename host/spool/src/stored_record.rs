//! The record of a message as it lies on the disk.

use serde::{Deserialize, Serialize};

use super::{Message, State};
use host_mail::{MessageId, Timestamp};

/// The record format written here.
const FORMAT: u32 = 1;

/// A message and where its bytes are: `head` bytes in the store, then the file from `skip` on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Stored {
    format: u32,
    /// Bytes under the id in `bodies`.
    pub head: u64,
    /// The rest of a large message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<FilePart>,
    /// What a frozen message was before, if that was not queued.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<State>,
    /// What everybody else sees.
    pub message: Message,
}

/// `large/ID`, of `size` bytes, the first `skip` of which are not part of the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct FilePart {
    pub size: u64,
    pub skip: u64,
}

impl Stored {
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

    /// The same bytes under a new record.
    pub fn with(&self, next: Message) -> Self {
        let mut stored = Self::new(next, self.head, self.file);
        stored.before = match (&stored.message.state, &self.message.state) {
            (State::Frozen { .. }, State::Failing { .. }) => Some(self.message.state.clone()),
            (State::Frozen { .. }, State::Frozen { .. }) => self.before.clone(),
            _ => None,
        };
        stored
    }

    /// The record after an operator released it at `now`.
    pub fn released(&self, now: Timestamp) -> Self {
        let mut next = self.message.clone();
        next.due = now;
        match &self.message.state {
            State::Queued | State::Failing { .. } => {}
            State::Quarantined { .. } | State::Frozen { .. } => {
                next.state = self.before.clone().unwrap_or(State::Queued);
                next.faults = 0;
                // The time it stood apart is not its own.
                next.expires = now.after(next.received.until(next.expires));
            }
        }
        self.with(next)
    }

    pub fn encode(&self) -> Result<Vec<u8>, String> {
        serde_json::to_vec(self).map_err(|error| error.to_string())
    }

    /// Reads the record filed under `id`; anything else in its place is an error.
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
    /// The record as it was found, base64.
    record: String,
}

impl SetAside {
    pub fn new(reason: &str, record: &[u8]) -> Self {
        use base64::Engine as _;
        Self {
            reason: reason.to_owned(),
            at: Timestamp::now(),
            record: base64::engine::general_purpose::STANDARD.encode(record),
        }
    }
}
