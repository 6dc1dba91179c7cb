//! Non-delivery reports: decide (the policy plans), compose (RFC 3464), put.

use std::sync::Arc;

use crate::config::NdrFault;
use crate::event::Events;
use crate::mail::{Content, Mailbox};
use crate::policy::Policies;
use crate::spool::{Draft, Failed, Message, PutError, Spool};

/// What the stage needs.
#[derive(Clone)]
pub struct Ndr {
    /// Plans.
    pub policies: Policies,
    /// Where reports are put.
    pub spool: Spool,
    /// 4120, 4123, 5008, 5009.
    pub events: Events,
    /// `Reporting-MTA`.
    pub hostname: String,
    /// Told when nobody else can be.
    pub administrator: Mailbox,
    /// What a fault does.
    pub on_fault: NdrFault,
}

/// What is to happen about recipients that failed.
pub enum Notification {
    /// These drafts are to be settled together with the original. May be none.
    Notices(Vec<(Draft, Message)>),
    /// The policy faulted and the fault table says to set the message aside.
    Freeze(String),
}

impl Ndr {
    /// Plans and composes the reports about `failed` recipients of `original`, grouped by class.
    /// Nothing is durable yet: the caller settles the drafts with the original in one batch.
    pub async fn prepare(
        &self,
        _original: &Message,
        _content: Arc<dyn Content>,
        _failed: &[(Mailbox, Failed)],
    ) -> Result<Notification, PutError> {
        todo!()
    }
}
