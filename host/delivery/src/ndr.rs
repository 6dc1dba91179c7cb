//! Non-delivery reports: the policy plans, the host composes (RFC 3464) and writes drafts.
//!
//! `docs/reference/ndr.md` has the rules that no policy can overrule and the form of a report.

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
use host_spool::{Failed, Message, PutError, Spool};

pub use self::notifier::Notification;
use self::notifier::Notifier;

/// Plans and composes non-delivery reports.
#[derive(Clone)]
pub struct NdrService {
    /// Plans the notices about a failure.
    pub policies: Arc<dyn Decide>,
    /// Spool for the drafts of reports.
    pub spool: Spool,
    /// Receives the events 4120, 4123, 5008 and 5009.
    pub events: Events,
    /// Name of this host, for `Reporting-MTA`.
    pub hostname: String,
    /// Receives the notices that a plan addresses to the administrator.
    pub administrator: Mailbox,
}

impl NdrService {
    /// Plans and composes the reports about the `failed` recipients of `original`, grouped by failure class.
    ///
    /// The drafts are not durable until the caller settles the drafts together with the original in a single batch. No
    /// report is made about a notification. Fails with [`PutError`] if the original cannot be read or a draft cannot be
    /// written.
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
        for failure in crate::ndr::failure_facts::group_by_class(original, &header, failed) {
            let answered = self.policies.plan(&failure).await;
            match notifier.carry_out(&failure, answered).await? {
                Notification::Notices(more) => notices.extend(more),
                freeze @ Notification::Freeze(_) => return Ok(freeze),
            }
        }
        Ok(Notification::Notices(notices))
    }
}

/// Emits the events for failed notifications, about which no report is sent.
fn drop_notification(events: &Events, original: &Message, failed: &[(Mailbox, Failed)]) {
    for (address, why) in failed {
        events.emit(Event::NotificationDropped {
            message: original.id.to_string(),
            to: address.to_string(),
            reason: format!("a notification failed: {}", why.reply),
        });
    }
}
