//! Non-delivery reports: the policy plans, the host composes (RFC 3464) and writes drafts.
//!
//! `docs/reference/ndr.md` has the rules that no policy can overrule and the form of a report.

mod as_sent;
mod compose;
mod disclosure;
mod failed_delivery;
pub mod failure_facts;
mod notice_rules;
mod notifier;
mod safe_text;
mod set_aside_notice;
mod status_phrase;
mod used_names;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use host_config::NdrFault;
use host_contract::{Answered, Decide, Failure, Plan, Reason};
use host_events::{Event, Events};
use host_mail::{Content, HeaderBlock, Mailbox, Timestamp};
use host_spool::{Draft, Message, PutError, Spool};

pub use self::failed_delivery::{DeliveryPath, FailedDelivery};
use self::notice_rules::PlannedClass;
pub use self::notifier::Notification;
use self::notifier::Notifier;
pub(crate) use self::set_aside_notice::notify_of_set_aside;

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
    /// Plans and composes the reports about the `failed` recipients of `original`: a question to the policy for each
    /// failure class, and a single report for each address that the plans name.
    ///
    /// The drafts are not durable until the caller settles the drafts together with the original in a single batch. No
    /// report is made about a notification. Fails with [`PutError`] if the original cannot be read or a draft cannot be
    /// written.
    pub async fn prepare(
        &self,
        original: &Message,
        content: Arc<dyn Content>,
        failed: &[FailedDelivery],
    ) -> Result<Notification, PutError> {
        if original.notification {
            drop_notification(&self.events, original, failed);
            return Ok(Notification::Notices(Vec::new()));
        }
        let header = HeaderBlock::read(&*content).map_err(|error| PutError::Store(error.to_string()))?;
        let mut planned = Vec::new();
        for failure in failure_facts::group_by_class(original, &header, failed) {
            let answered = self.policies.plan(&failure).await;
            let because = answered.because.clone();
            match self.plan(&failure, answered) {
                Ok(plan) => planned.push(PlannedClass { failure, plan, because }),
                Err(reason) => return Ok(Notification::Freeze(reason)),
            }
        }
        let notices = self
            .notifier(original, &*content, &header)
            .carry_out(&planned, failed)
            .await?;
        Ok(Notification::Notices(notices))
    }

    /// Composes the notice that the `delayed` recipients of `original` do not have the message yet (RFC 3464 section
    /// 2.3.3, `delayed`), and that this host tries until `until`. Asks no policy. `None` if no notice is due to the
    /// sender: the reverse-path is null, or the original is itself a report.
    ///
    /// # Errors
    /// As [`Self::prepare`].
    pub async fn delayed(
        &self,
        original: &Message,
        content: Arc<dyn Content>,
        delayed: &[FailedDelivery],
        until: Timestamp,
    ) -> Result<Option<(Draft, Message)>, PutError> {
        let header = HeaderBlock::read(&*content).map_err(|error| PutError::Store(error.to_string()))?;
        if original.notification || failure_facts::is_report(&header) {
            return Ok(None);
        }
        self.notifier(original, &*content, &header)
            .delayed(delayed, until)
            .await
    }

    /// Composes the report about the `delivered` recipients, of which the sender wants to learn (RFC 3461 section 5.2).
    /// Asks no policy. `None` as for [`Self::delayed`].
    ///
    /// # Errors
    /// As [`Self::prepare`].
    pub async fn succeeded(
        &self,
        original: &Message,
        content: Arc<dyn Content>,
        delivered: &[FailedDelivery],
    ) -> Result<Option<(Draft, Message)>, PutError> {
        let header = HeaderBlock::read(&*content).map_err(|error| PutError::Store(error.to_string()))?;
        if original.notification || failure_facts::is_report(&header) {
            return Ok(None);
        }
        self.notifier(original, &*content, &header).succeeded(delivered).await
    }

    fn notifier<'a>(
        &'a self,
        original: &'a Message,
        content: &'a dyn Content,
        header: &'a HeaderBlock,
    ) -> Notifier<'a> {
        Notifier {
            spool: &self.spool,
            events: &self.events,
            hostname: &self.hostname,
            administrator: &self.administrator,
            original,
            content,
            header,
        }
    }

    /// Returns the plan to carry out for the policy's answer. Without an answer, the standard plan applies, or after a
    /// fault the configured reaction; the error is the reason to freeze the message.
    fn plan(&self, failure: &Failure, answered: Answered<Option<Plan>>) -> Result<Plan, String> {
        let because = &answered.because;
        match (answered.answer, self.policies.on_ndr_fault()) {
            (Some(plan), _) if plan.is_empty() => {
                self.emit_no_notice(failure, because);
                Ok(plan)
            }
            (Some(plan), _) => Ok(plan),
            (None, _) if !answered.fault => Ok(notice_rules::standard_plan(failure)), // no module had an opinion
            (None, NdrFault::StandardReport) => {
                self.emit_plan_fault(failure, because, "the host's standard report");
                Ok(notice_rules::standard_plan(failure))
            }
            (None, NdrFault::Freeze) => {
                self.emit_plan_fault(failure, because, "the message is frozen");
                Err(format!("no notification could be planned: {because}"))
            }
        }
    }

    fn emit_no_notice(&self, failure: &Failure, because: &Reason) {
        self.events.emit(Event::NobodyTold {
            message: failure.message.to_string(),
            about: failure_facts::failed_addresses(failure),
            class: failure.class.clone(),
            because: because.to_string(),
        });
    }

    fn emit_plan_fault(&self, failure: &Failure, because: &Reason, instead: &str) {
        self.events.emit(Event::NdrNotMade {
            message: failure.message.to_string(),
            error: because.to_string(),
            instead: instead.to_owned(),
        });
    }
}

/// Emits the events for failed notifications, about which no report is sent (RFC 5321 section 4.5.5).
fn drop_notification(events: &Events, original: &Message, failed: &[FailedDelivery]) {
    for FailedDelivery { written, why, .. } in failed {
        events.emit(Event::NotificationDropped {
            message: original.id.to_string(),
            to: written.to_string(),
            reason: format!("a notification failed: {}", why.reply),
        });
    }
}
