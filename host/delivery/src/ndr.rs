//! Non-delivery reports: decide (the policy plans), compose (RFC 3464), put.
//!
//! `docs/ndr.md` has the rules no policy can overrule and what a report looks like.

mod compose;
pub mod failure_facts;
mod notice_rules;
mod notifier;
mod safe_text;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use host_contract::Decide;
use host_events::{Event, Events};
use host_mail::{Content, HeaderBlock, Mailbox};
use host_spool::{Draft, Failed, Message, PutError, Spool};

use self::notifier::Notifier;

/// What the stage needs.
#[derive(Clone)]
pub struct NdrService {
    /// Plans who is told.
    pub policies: Arc<dyn Decide>,
    /// Where reports are put.
    pub spool: Spool,
    /// 4120, 4123, 5008, 5009.
    pub events: Events,
    /// `Reporting-MTA`.
    pub hostname: String,
    /// Told when nobody else can be.
    pub administrator: Mailbox,
}

/// What is to happen about recipients that failed.
pub enum Notification {
    /// These drafts are to be settled together with the original. May be none.
    Notices(Vec<(Draft, Message)>),
    /// The policy faulted and the fault table says to set the message aside.
    Freeze(String),
}

impl NdrService {
    /// Plans and composes the reports about `failed` recipients of `original`, grouped by class.
    /// Nothing is durable yet: the caller settles the drafts with the original in one batch.
    pub async fn prepare(
        &self,
        original: &Message,
        content: Arc<dyn Content>,
        failed: &[(Mailbox, Failed)],
    ) -> Result<Notification, PutError> {
        if original.notification {
            drop_notification(&self.events, original, failed);
            return Ok(Notification::Notices(Vec::new()));
        }
        let header = HeaderBlock::read(&*content).map_err(|error| PutError::Store(error.to_string()))?;
        let notifier = Notifier {
            spool: &self.spool,
            events: &self.events,
            hostname: &self.hostname,
            administrator: &self.administrator,
            on_fault: self.policies.on_ndr_fault(),
            original,
            content: &*content,
            header: &header,
        };
        let mut notices = Vec::new();
        for failure in crate::ndr::failure_facts::by_class(original, &header, failed) {
            let asked = self.policies.plan(&failure).await;
            match notifier.carry_out(&failure, asked).await? {
                Notification::Notices(more) => notices.extend(more),
                freeze @ Notification::Freeze(_) => return Ok(freeze),
            }
        }
        Ok(Notification::Notices(notices))
    }
}

/// No NDR about an NDR.
fn drop_notification(events: &Events, original: &Message, failed: &[(Mailbox, Failed)]) {
    for (address, why) in failed {
        events.emit(Event::NotificationDropped {
            message: original.id.to_string(),
            to: address.to_string(),
            reason: format!("a notification failed: {}", why.reply),
        });
    }
}
