//! From what an attempt came to, to the record that is settled. Pure but for the clock given.

use std::collections::{BTreeMap, HashSet};

use host_events::Event;
use host_mail::{Mailbox, Timestamp};
use host_spool::{Failed, Message, RecipientState, State};

use super::Settings;
use super::outcome::expired;
use crate::retry_schedule;
use crate::worker::{Deferred, WorkResult};

/// What is to be settled, before anybody is notified.
#[derive(Debug)]
pub(super) struct SettlementPlan {
    /// The record; its failed recipients are still pending, until somebody was told.
    pub(super) record: Message,
    /// Index into the recipients, and why.
    pub(super) failed: Vec<(usize, Failed)>,
    /// 2000, 5022.
    pub(super) events: Vec<Event>,
}

impl SettlementPlan {
    /// Notes what has to wait, gives up what has waited too long, and sets when to try again.
    pub(super) fn of(mut record: Message, progress: WorkResult, settings: Settings<'_>, now: Timestamp) -> Self {
        let mut failed = progress.failed;
        let mut events = Vec::new();
        record.attempts = record.attempts.saturating_add(u32::from(progress.attempted));
        let over = now >= record.expires;
        if !over {
            record.due = retry_schedule::next_attempt(&settings.delivery.retry, record.attempts, now, record.expires);
        }
        for ((destination, reply), waiting) in by_reply(&progress.deferred) {
            let (message, recipients) = (record.id.to_string(), addresses(&record, &waiting));
            events.push(if over {
                Event::MessageExpired {
                    message,
                    recipients,
                    last_reply: reply,
                }
            } else {
                Event::DeliveryAttemptFailed {
                    message,
                    recipients,
                    destination: destination.to_owned(),
                    reply,
                    next_attempt: Some(record.due.to_string()),
                }
            });
        }
        for Deferred { recipient, reply, .. } in progress.deferred {
            if over {
                failed.push((recipient, expired(&reply)));
            }
            record.recipients[recipient].state = RecipientState::Pending { last: Some(reply) };
        }
        Self { record, failed, events }
    }

    /// Who failed, as the sender wrote them: members of a group are not disclosed, and a group
    /// fails once with each class.
    pub(super) fn to_notify(&self) -> Vec<(Mailbox, Failed)> {
        let mut seen = HashSet::new();
        let written = |(index, failed): &(usize, Failed)| {
            let address = self.record.recipients[*index].as_written().clone();
            seen.insert((address.key(), failed.class.clone()))
                .then(|| (address, failed.clone()))
        };
        self.failed.iter().filter_map(written).collect()
    }

    /// The record after its failures were notified; none when nothing is left to be done.
    pub(super) fn notified(mut self) -> Option<Message> {
        for (index, failed) in self.failed {
            self.record.recipients[index].state = RecipientState::Failed(failed);
        }
        let mut states = self.record.recipients.iter().map(|r| &r.state);
        let open = states.any(|state| matches!(state, RecipientState::Pending { .. }));
        // What stands apart leaves by an operator's decision only.
        let apart = matches!(self.record.state, State::Quarantined { .. } | State::Frozen { .. });
        (open || apart).then_some(self.record)
    }

    /// The record, set aside before anybody was notified: its failures are met and told again when
    /// an operator releases it.
    pub(super) fn frozen(self, reason: &str) -> Message {
        freeze(self.record, reason)
    }
}

/// What is told of a message that nothing was tried for.
pub(super) fn waits(record: &Message, progress: &WorkResult) -> Vec<Event> {
    let event = |((destination, reply), waiting): ((&str, String), Vec<&Deferred>)| Event::DeliveryAttemptFailed {
        message: record.id.to_string(),
        recipients: addresses(record, &waiting),
        destination: destination.to_owned(),
        reply,
        next_attempt: None,
    };
    by_reply(&progress.deferred).into_iter().map(event).collect()
}

fn addresses(record: &Message, waiting: &[&Deferred]) -> Vec<String> {
    let recipients = waiting
        .iter()
        .map(|each| record.recipients[each.recipient].address.to_string());
    recipients.collect()
}

/// Nobody touches it until an operator does.
fn freeze(mut record: Message, reason: &str) -> Message {
    record.state = State::Frozen {
        reason: reason.to_owned(),
    };
    record
}

/// The record of a message whose processing went wrong: tried again later, or, once that has
/// happened too often, set aside with the reason.
pub(super) fn faulted(
    mut record: Message,
    error: &str,
    settings: Settings<'_>,
    now: Timestamp,
) -> (Message, Option<String>) {
    record.faults = record.faults.saturating_add(1);
    if record.faults < settings.fault_limit.max(1) {
        record.due = retry_schedule::after_fault(&settings.delivery.retry, record.faults, now);
        return (record, None);
    }
    let reason = format!("{} faults, the last: {error}", record.faults);
    (freeze(record, &reason), Some(reason))
}

fn by_reply(deferred: &[Deferred]) -> BTreeMap<(&str, String), Vec<&Deferred>> {
    let mut groups: BTreeMap<(&str, String), Vec<&Deferred>> = BTreeMap::new();
    for each in deferred {
        let key = (each.destination.as_str(), each.reply.to_string());
        groups.entry(key).or_default().push(each);
    }
    groups
}
