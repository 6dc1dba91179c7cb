//! A message that was set aside because its record or its bytes were not whole.

use serde::{Deserialize, Serialize};

use host_mail::{MessageId, Timestamp};

use crate::message::Message;
use crate::stored_record::SetAside;

/// A message that was set aside.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct SetAsideMessage {
    /// Id of the message.
    pub id: MessageId,
    /// Time at which it was set aside.
    pub at: Timestamp,
    /// The part that was not whole, in words.
    pub reason: String,
    /// The record; `None` if the record itself cannot be read.
    pub message: Option<Message>,
}

impl SetAsideMessage {
    pub(super) fn new(id: MessageId, record: SetAside) -> Self {
        let message = record.stored(id).ok().map(|stored| stored.message);
        let SetAside { reason, at, .. } = record;
        Self {
            id,
            at,
            reason,
            message,
        }
    }
}
