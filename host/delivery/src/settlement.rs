//! Turns the result of the work on a message into the record to settle. Pure; the caller passes the time.

use std::collections::BTreeMap;

use host_directory::Directory;
use host_events::Event;
use host_mail::{Reply, Timestamp};
use host_spool::{Failed, Message, RecipientState, State};

use super::outcome::{class, expired};
use crate::delay_notice;
use crate::delivery_services::Settings;
use crate::ndr::FailedDelivery;
use crate::retry_schedule;
use crate::route_origin::RouteOrigin;
use crate::work_result::{Deferred, Untried, WorkResult};

/// Plan for a settlement, before failures are notified.
#[derive(Debug)]
pub(super) struct SettlementPlan {
    /// The new record. Failed recipients are still pending until notified.
    pub(super) record: Message,
    /// Failed recipients: index into the record's recipients, the failure, and the time of the last attempt if known.
    pub(super) failed: Vec<(usize, Failed, Option<Timestamp>)>,
    /// Recipients whose delay the sender is to be told, in the form of `failed`, with the reply of the last attempt.
    pub(super) delayed: Vec<(usize, Failed, Option<Timestamp>)>,
    /// Events to emit once settled: 2000 and 5022.
    pub(super) events: Vec<Event>,
}

impl SettlementPlan {
    /// Records deferrals, fails recipients whose delivery time is over, and schedules the next attempt.
    pub(super) fn of(mut record: Message, progress: WorkResult, settings: Settings<'_>, now: Timestamp) -> Self {
        let attempt = progress.attempted.then_some(now);
        let found = progress.failed.into_iter();
        let mut failed: Vec<_> = found.map(|(recipient, why)| (recipient, why, attempt)).collect();
        let mut events = Vec::new();
        record.attempts = record.attempts.saturating_add(u32::from(progress.attempted));
        let is_expired = now >= record.expires;
        if !is_expired {
            record.due = retry_schedule::next_attempt(&settings.delivery.retry, record.attempts, now, record.expires);
            // An attempt at the time of the notice, so that it tells the state of that time.
            if let Some(at) = delay_notice::due_at(&record, settings).filter(|at| *at > now) {
                record.due = record.due.min(at);
            }
        }
        let is_delayed = !is_expired && delay_notice::is_due(&record, settings, now);
        let mut delayed = Vec::new();
        for ((destination, reply), waiting) in group_by_reply(&progress.deferred) {
            let (message, recipients) = (record.id.to_string(), addresses(&record, &waiting));
            events.push(if is_expired {
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
        for Deferred {
            recipient,
            reply,
            untried,
            ..
        } in progress.deferred
        {
            let each = &mut record.recipients[recipient];
            let last = last_reply(&each.state, reply, untried.is_some());
            let tried = attempt.filter(|_| untried.is_none());
            if is_expired {
                failed.push((recipient, expired(last.clone()), tried));
            } else if is_delayed && each.wants_delay() {
                delayed.push((recipient, expired(last.clone()), tried));
            }
            each.state = RecipientState::Pending { last: Some(last) };
        }
        Self {
            record,
            failed,
            delayed,
            events,
        }
    }

    /// Plan for the outcomes at `now`, while other recipients are still attempted: deferrals keep the last reply, and
    /// neither the schedule nor the delivery time is considered.
    pub(super) fn so_far(
        mut record: Message,
        failed: Vec<(usize, Failed)>,
        deferred: &[Deferred],
        now: Timestamp,
    ) -> Self {
        for each in deferred {
            let state = &mut record.recipients[each.recipient].state;
            let last = last_reply(state, each.reply.clone(), each.untried.is_some());
            *state = RecipientState::Pending { last: Some(last) };
        }
        Self {
            record,
            failed: failed
                .into_iter()
                .map(|(recipient, why)| (recipient, why, Some(now)))
                .collect(),
            delayed: Vec::new(),
            events: Vec::new(),
        }
    }

    /// Events for the failures that this host found without a remote. An expired recipient has Event 5022.
    pub(super) fn findings(&self) -> Vec<Event> {
        let mut groups: BTreeMap<(&str, String), Vec<String>> = BTreeMap::new();
        for (index, why, _) in &self.failed {
            if why.remote.is_none() && why.class != class::EXPIRED {
                let address = self.record.recipients[*index].address.to_string();
                groups
                    .entry((&why.class, why.reply.to_string()))
                    .or_default()
                    .push(address);
            }
        }
        let event = |((class, reply), recipients): ((&str, String), Vec<String>)| Event::DeliveryFailed {
            message: self.record.id.to_string(),
            recipients,
            class: class.to_owned(),
            reply,
        };
        groups.into_iter().map(event).collect()
    }

    /// Returns `recipients`, which are `failed` or `delayed`, with everything that reports about them need.
    pub(super) async fn deliveries(
        &self,
        recipients: &[(usize, Failed, Option<Timestamp>)],
        directory: &dyn Directory,
        settings: Settings<'_>,
    ) -> Vec<FailedDelivery> {
        let origin = RouteOrigin::of(&self.record, false);
        let mut deliveries = Vec::with_capacity(recipients.len());
        for (index, why, last_attempt) in recipients {
            let recipient = &self.record.recipients[*index];
            let routing = (origin, settings.delivery);
            let delivery = FailedDelivery::of(recipient, why.clone(), *last_attempt, directory, routing);
            deliveries.push(delivery.await);
        }
        deliveries
    }

    /// The record after the failures were notified. `None` if no recipient is pending and the message can be removed.
    pub(super) fn notified(mut self) -> Option<Message> {
        for (index, failed, _) in self.failed {
            self.record.recipients[index].state = RecipientState::Failed(failed);
        }
        remains(&self.record).then_some(self.record)
    }

    /// The record, frozen before the failures were notified. After a release by an operator the failures recur and are
    /// notified.
    pub(super) fn frozen(self, reason: &str) -> Message {
        freeze(self.record, reason)
    }
}

/// True if the message stays in the spool: a recipient is pending, or an operator decides.
pub(super) fn remains(record: &Message) -> bool {
    let mut states = record.recipients.iter().map(|recipient| &recipient.state);
    states.any(|state| matches!(state, RecipientState::Pending { .. }))
        || matches!(record.state, State::Quarantined { .. } | State::Frozen { .. })
}

/// The reply of the last attempt for a recipient: without an attempt, the reply of the attempt before.
fn last_reply(state: &RecipientState, reply: Reply, untried: bool) -> Reply {
    match state {
        RecipientState::Pending { last: Some(before) } if untried => before.clone(),
        _ => reply,
    }
}

/// Events for a message that waits for a destination without an attempt.
pub(super) fn waiting_events(record: &Message, progress: &WorkResult) -> Vec<Event> {
    let event = |((destination, reply), waiting): ((&str, String), Vec<&Deferred>)| Event::DeliveryAttemptFailed {
        message: record.id.to_string(),
        recipients: addresses(record, &waiting),
        destination: destination.to_owned(),
        reply,
        next_attempt: None,
    };
    let down = progress
        .deferred
        .iter()
        .filter(|each| each.untried != Some(Untried::Crowded));
    group_by_reply(down).into_iter().map(event).collect()
}

fn addresses(record: &Message, waiting: &[&Deferred]) -> Vec<String> {
    let recipients = waiting
        .iter()
        .map(|each| record.recipients[each.recipient].address.to_string());
    recipients.collect()
}

/// Freezes a message: only an operator can release or remove a frozen message.
fn freeze(mut record: Message, reason: &str) -> Message {
    record.state = State::Frozen {
        reason: reason.to_owned(),
    };
    record
}

/// The record of a message whose processing faulted. The message is retried later, or frozen once the fault limit is
/// reached; the second value is the reason of the freeze.
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

fn group_by_reply<'a>(
    deferred: impl IntoIterator<Item = &'a Deferred>,
) -> BTreeMap<(&'a str, String), Vec<&'a Deferred>> {
    let mut groups: BTreeMap<(&str, String), Vec<&Deferred>> = BTreeMap::new();
    for each in deferred {
        let key = (each.destination.as_str(), each.reply.to_string());
        groups.entry(key).or_default().push(each);
    }
    groups
}
