//! What the spool knows of a message beside its bytes.

use serde::{Deserialize, Serialize};

use host_contract::Reason;
use host_mail::{Client, Envelope, Mailbox, MessageId, Reply, Timestamp};

/// Everything about a message but its bytes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Message {
    /// Its name.
    pub id: MessageId,
    /// When it was complete.
    pub received: Timestamp,
    /// As the client gave it; [`Self::recipients`] is what becomes of it.
    pub envelope: Envelope,
    /// Who handed it over; none for the host's own notifications.
    pub client: Option<Client>,
    /// Bytes, the trace header included.
    pub size: u64,
    /// Where it stands.
    pub state: State,
    /// Each recipient and what became of it.
    pub recipients: Vec<Recipient>,
    /// Delivery attempts so far.
    pub attempts: u32,
    /// Not before this.
    pub due: Timestamp,
    /// Given up after this.
    pub expires: Timestamp,
    /// It is an NDR: failures of it are never notified.
    pub notification: bool,
    /// Faults and processing errors met while working on it; survives restarts.
    pub faults: u32,
}

/// Where a message stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "is")]
pub enum State {
    /// To be delivered to its pending recipients.
    Queued,
    /// Accepted, but failed by the policy as a whole: to be notified, not delivered.
    Failing {
        /// Failure class, such as `not-homed`.
        class: String,
        /// The decision.
        because: Reason,
    },
    /// Kept apart by the policy for the operator.
    Quarantined {
        /// Folder the policy named.
        folder: String,
        /// The decision.
        because: Reason,
    },
    /// Not touched until an operator releases it (4117).
    Frozen {
        /// Why.
        reason: String,
    },
}

impl State {
    /// `queued`, `failing`, `quarantined` or `frozen`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Failing { .. } => "failing",
            Self::Quarantined { .. } => "quarantined",
            Self::Frozen { .. } => "frozen",
        }
    }
}

/// One recipient and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Recipient {
    /// Where it is delivered.
    pub address: Mailbox,
    /// As the sender wrote it, when an alias or group led here.
    pub original: Option<Mailbox>,
    /// What became of it.
    pub state: RecipientState,
}

impl Recipient {
    /// A recipient that is still to be delivered.
    pub fn pending(address: Mailbox) -> Self {
        Self {
            address,
            original: None,
            state: RecipientState::Pending { last: None },
        }
    }

    /// What the sender wrote.
    pub fn as_written(&self) -> &Mailbox {
        self.original.as_ref().unwrap_or(&self.address)
    }
}

/// What became of a recipient.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "is")]
pub enum RecipientState {
    /// To be tried (again).
    Pending {
        /// Reply to the last attempt.
        last: Option<Reply>,
    },
    /// Done.
    Delivered {
        /// When.
        at: Timestamp,
    },
    /// Given up, and whom the policy named was told.
    Failed(Failed),
}

/// Why a recipient was given up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Failed {
    /// Failure class, see `failure.class` in `wit/policy.wit`.
    pub class: String,
    /// The reply that ended it.
    pub reply: Reply,
    /// Who gave it; none is this host.
    pub remote: Option<String>,
}
