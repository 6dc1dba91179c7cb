//! The record of a message, apart from its bytes.

use serde::{Deserialize, Serialize};

use host_contract::Reason;
use host_mail::{Client, Envelope, Mailbox, MessageId, RecipientDsn, Reply, Timestamp};

/// A message's record: everything but the bytes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Message {
    /// Unique name of the message in this spool.
    pub id: MessageId,
    /// Time when the last byte was received.
    pub received: Timestamp,
    /// Envelope as the client gave it. Deliveries go to [`Self::recipients`].
    pub envelope: Envelope,
    /// Client that handed the message over; `None` for the host's own notifications.
    pub client: Option<Client>,
    /// Size in bytes, the trace header included.
    pub size: u64,
    /// State in the queue.
    pub state: State,
    /// Recipients after alias and group expansion, each with a state.
    pub recipients: Vec<Recipient>,
    /// Number of delivery attempts so far.
    pub attempts: u32,
    /// Earliest time of the next attempt.
    pub due: Timestamp,
    /// Time after which pending recipients are given up.
    pub expires: Timestamp,
    /// True for an NDR, of which failures are never notified.
    pub notification: bool,
    /// Number of faults and processing errors so far; survives restarts.
    pub faults: u32,
    /// True if the sender was told that the message is delayed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub delay_reported: bool,
    /// Deliveries of which the sender wants to learn (RFC 3461), and has not been told yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub successes: Vec<Success>,
}

/// A delivery of which the sender wants to learn (`NOTIFY=SUCCESS`, RFC 3461 section 4.1).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Success {
    /// Address as the sender wrote it.
    pub written: Mailbox,
    /// Address that the message was delivered to: `written`, or what an alias stands for.
    pub address: Mailbox,
    /// End of this host's part.
    pub action: SuccessAction,
    /// Reply to the message.
    pub reply: Reply,
    /// Host that gave the reply; `None` is this host.
    pub remote: Option<String>,
    /// Time of the reply.
    pub at: Timestamp,
}

/// The `Action` of a report about a success (RFC 3464 section 2.3.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SuccessAction {
    /// The message is in the mailbox.
    Delivered,
    /// A host without DSN has the message: the last report.
    Relayed,
    /// The message went to several members of the address.
    Expanded,
}

impl SuccessAction {
    /// Returns `delivered`, `relayed` or `expanded`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Relayed => "relayed",
            Self::Expanded => "expanded",
        }
    }
}

/// State of a message in the queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "is")]
pub enum State {
    /// The pending recipients are to be tried.
    Queued,
    /// The policy accepted the message and failed all recipients: to be notified, not delivered.
    Failing {
        /// Failure class, such as `not-homed`.
        class: String,
        /// Decision of the policy.
        because: Reason,
    },
    /// The policy keeps the message apart for the operator.
    Quarantined {
        /// Folder that the policy named.
        folder: String,
        /// Decision of the policy.
        because: Reason,
    },
    /// The message stays untouched until an operator's release (4117).
    Frozen {
        /// Cause, for the operator.
        reason: String,
    },
}

impl State {
    /// Returns `queued`, `failing`, `quarantined` or `frozen`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Failing { .. } => "failing",
            Self::Quarantined { .. } => "quarantined",
            Self::Frozen { .. } => "frozen",
        }
    }
}

/// A recipient and the state of the delivery.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Recipient {
    /// Mailbox that the message is delivered to.
    pub address: Mailbox,
    /// Address as the sender wrote it, if an alias or a group was expanded.
    pub original: Option<Mailbox>,
    /// State of the delivery.
    pub state: RecipientState,
    /// Parameters of RCPT about reports (RFC 3461); `None` if none were given. Boxed, since little mail has any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dsn: Option<Box<RecipientDsn>>,
}

impl Recipient {
    /// Creates a recipient that is still to be delivered.
    pub fn pending(address: Mailbox) -> Self {
        Self {
            address,
            original: None,
            state: RecipientState::Pending { last: None },
            dsn: None,
        }
    }

    /// True if the sender wants to learn of the delivery.
    pub fn wants_success(&self) -> bool {
        self.dsn.as_ref().is_some_and(|dsn| dsn.wants_success())
    }

    /// True unless the sender wants no report at all.
    pub fn allows_reports(&self) -> bool {
        self.dsn.as_ref().is_none_or(|dsn| dsn.allows_reports())
    }

    /// True if the sender may be told of a delay.
    pub fn wants_delay(&self) -> bool {
        self.dsn.as_ref().is_none_or(|dsn| dsn.wants_delay())
    }

    /// Returns the address as the sender wrote it.
    pub fn as_written(&self) -> &Mailbox {
        self.original.as_ref().unwrap_or(&self.address)
    }
}

/// State of the delivery to a recipient.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "is")]
pub enum RecipientState {
    /// The delivery is to be tried, or tried again.
    Pending {
        /// Reply to the last attempt.
        last: Option<Reply>,
    },
    /// The delivery is done.
    Delivered {
        /// Time of the positive reply.
        at: Timestamp,
    },
    /// The recipient was given up, and the address that the policy named was notified.
    Failed(Failed),
}

/// The reason why a recipient was given up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Failed {
    /// Failure class, see `failure.class` in `wit/policy.wit`.
    pub class: String,
    /// Reply that ended the delivery.
    pub reply: Reply,
    /// Host that gave the reply; `None` is this host.
    pub remote: Option<String>,
}
