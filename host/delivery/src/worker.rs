//! Processes a message without the spool: resolves recipients, groups recipients by destination, attempts delivery, and
//! records the outcomes.

use std::collections::{BTreeMap, HashMap};
use std::io;

use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::watch;

use host_events::Event;
use host_mail::{HeaderBlock, Mailbox, Reply, Timestamp, hop_count};
use host_spool::{Failed, Message, Recipient, RecipientState, State};

use super::attempt::Delivery;
use super::destination::Destination;
use super::outcome::{RecipientOutcome, class, failed_here, reply_for_class};
use super::resolve::{RecipientResolver, Resolution};

/// Maximum destinations of a message that are attempted at the same time.
const DESTINATIONS_AT_ONCE: usize = 8;

/// Result of the work on a message. Deliveries are recorded at once, so that a later fault does not lose a delivery.
#[derive(Debug, Default)]
pub(super) struct WorkResult {
    /// Recipients to notify about: index into the record's recipients, and the failure.
    pub(super) failed: Vec<(usize, Failed)>,
    /// Recipients to retry.
    pub(super) deferred: Vec<Deferred>,
    /// True if the work was stopped early. Recipients without an outcome are unchanged.
    pub(super) interrupted: bool,
    /// True if the work counts as an attempt.
    pub(super) attempted: bool,
}

/// A recipient whose delivery is deferred.
#[derive(Debug)]
pub(super) struct Deferred {
    /// Index into the record's recipients.
    pub(super) recipient: usize,
    pub(super) destination: String,
    pub(super) reply: Reply,
    /// True if no attempt was made because the destination is known to be down.
    pub(super) untried: bool,
}

impl WorkResult {
    /// The destination to wait for, if no attempt was made for any recipient.
    pub(super) fn waits_for(&self) -> Option<&str> {
        let none_attempted =
            self.failed.is_empty() && !self.interrupted && self.deferred.iter().all(|each| each.untried);
        let first = self.deferred.first().filter(|_| none_attempted)?;
        Some(&first.destination)
    }
}

/// Processes a due message. Stops between two outcomes once `shutting_down` turns true. An error means that the message
/// cannot be read.
pub(super) async fn work(
    delivery: Delivery<'_>,
    record: &mut Message,
    shutting_down: &mut watch::Receiver<bool>,
) -> io::Result<WorkResult> {
    match &record.state {
        State::Failing { class, .. } => Ok(WorkResult {
            failed: all_pending(record, &failed_here(class, reply_for_class(class))),
            ..WorkResult::default()
        }),
        State::Queued if pending(record).next().is_none() => Ok(WorkResult::default()),
        State::Queued => deliver(delivery, record, shutting_down).await,
        // Such messages are not claimed. A claimed message stays unchanged.
        State::Quarantined { .. } | State::Frozen { .. } => Ok(WorkResult::default()),
    }
}

/// Iterates over the pending recipients with indexes.
fn pending(record: &Message) -> impl Iterator<Item = (usize, &Recipient)> {
    let recipients = record.recipients.iter().enumerate();
    recipients.filter(|(_, r)| matches!(r.state, RecipientState::Pending { .. }))
}

fn all_pending(record: &Message, failed: &Failed) -> Vec<(usize, Failed)> {
    pending(record).map(|(index, _)| (index, failed.clone())).collect()
}

async fn deliver(
    delivery: Delivery<'_>,
    record: &mut Message,
    shutting_down: &mut watch::Receiver<bool>,
) -> io::Result<WorkResult> {
    if let Some(failed) = too_many_hops(delivery, record)? {
        return Ok(WorkResult {
            failed: all_pending(record, &failed),
            attempted: true,
            ..WorkResult::default()
        });
    }
    let resolver = RecipientResolver {
        message: record.id,
        directory: delivery.services.directory.as_ref(),
        delivery: delivery.settings.delivery,
        emit: delivery.services.emit.as_ref(),
    };
    let resolved = resolver.resolve(&record.recipients).await;
    let mut progress = WorkResult {
        attempted: true,
        ..WorkResult::default()
    };
    let mut groups: HashMap<Destination, Vec<usize>> = HashMap::new();
    record.recipients.clear();
    for (index, each) in resolved.into_iter().enumerate() {
        record.recipients.push(each.recipient);
        match each.resolution {
            Resolution::Done => {}
            Resolution::Send(destination) => groups.entry(destination).or_default().push(index),
            Resolution::Failed(failed) => progress.failed.push((index, failed)),
            Resolution::Deferred(reply) => progress.deferred.push(Deferred {
                recipient: index,
                destination: "directory".to_owned(),
                reply,
                untried: false,
            }),
        }
    }
    attempt_all(delivery, record, groups, shutting_down, &mut progress).await?;
    Ok(progress)
}

/// The failure of a message that has passed too many hosts: a mail loop (RFC 5321 section 6.3).
fn too_many_hops(delivery: Delivery<'_>, record: &Message) -> io::Result<Option<Failed>> {
    let hops = hop_count(&HeaderBlock::read(delivery.content.as_ref())?);
    if hops <= delivery.settings.hops {
        return Ok(None);
    }
    (delivery.services.emit)(Event::HopCountExceeded {
        message: record.id.to_string(),
        hops: hops as u64,
        limit: delivery.settings.hops as u64,
    });
    let reply = Reply::new(554, (5, 4, 6), format!("Mail loop: the message passed {hops} hosts"));
    Ok(Some(failed_here(class::LOOP, reply)))
}

/// Attempts every destination, up to 8 at the same time, and records each outcome at once.
async fn attempt_all(
    delivery: Delivery<'_>,
    record: &mut Message,
    groups: HashMap<Destination, Vec<usize>>,
    shutting_down: &mut watch::Receiver<bool>,
    progress: &mut WorkResult,
) -> io::Result<()> {
    let mut waiting = groups.into_iter();
    let mut running = FuturesUnordered::new();
    let mut unreadable = None;
    loop {
        while running.len() < DESTINATIONS_AT_ONCE
            && let Some((destination, indexes)) = waiting.next()
        {
            let addresses: Vec<Mailbox> = indexes.iter().map(|i| record.recipients[*i].address.clone()).collect();
            running.push(async move {
                let result = delivery.attempt(&destination, &addresses).await;
                (destination, indexes, result)
            });
        }
        let done = tokio::select! {
            biased;
            done = running.next() => done,
            () = wait_until_true(shutting_down) => {
                progress.interrupted = true;
                return Ok(());
            }
        };
        match done {
            None => return unreadable.map_or(Ok(()), Err),
            Some((destination, indexes, Ok(outcomes))) => {
                emit_final_outcomes(delivery, record, &destination, &indexes, &outcomes);
                record_outcomes(record, progress, &destination, indexes.into_iter().zip(outcomes));
            }
            // Attempts in progress may still end with outcomes to record.
            Some((_, _, Err(error))) => unreadable = Some(error),
        }
    }
}

/// Returns once the value is true. Never returns if the sender is dropped before. Cancel safe.
pub(super) async fn wait_until_true(signal: &mut watch::Receiver<bool>) {
    if signal.wait_for(|on| *on).await.is_err() {
        std::future::pending().await
    }
}

fn record_outcomes(
    record: &mut Message,
    progress: &mut WorkResult,
    destination: &Destination,
    outcomes: impl Iterator<Item = (usize, RecipientOutcome)>,
) {
    let at = Timestamp::now();
    for (recipient, outcome) in outcomes {
        let untried = matches!(outcome, RecipientOutcome::Untried(_));
        match outcome {
            RecipientOutcome::Delivered { .. } => record.recipients[recipient].state = RecipientState::Delivered { at },
            RecipientOutcome::Failed(failed) => progress.failed.push((recipient, failed)),
            RecipientOutcome::Deferred(reply) | RecipientOutcome::Untried(reply) => progress.deferred.push(Deferred {
                recipient,
                destination: destination.to_string(),
                reply,
                untried,
            }),
        }
    }
}

/// Emits the events about final outcomes, 5007 and 4031: an event for all recipients that share a reply.
fn emit_final_outcomes(
    delivery: Delivery<'_>,
    record: &Message,
    destination: &Destination,
    indexes: &[usize],
    outcomes: &[RecipientOutcome],
) {
    let mut delivered: BTreeMap<(Option<&str>, String), Vec<String>> = BTreeMap::new();
    let mut refused: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
    for (index, outcome) in indexes.iter().zip(outcomes) {
        let address = record.recipients[*index].address.to_string();
        match outcome {
            RecipientOutcome::Delivered { reply, remote } => {
                let key = (remote.as_deref(), reply.to_string());
                delivered.entry(key).or_default().push(address);
            }
            RecipientOutcome::Failed(Failed {
                reply,
                remote: Some(remote),
                ..
            }) => {
                let key = (remote.clone(), reply.to_string());
                refused.entry(key).or_default().push(address);
            }
            RecipientOutcome::Failed(_) | RecipientOutcome::Deferred(_) | RecipientOutcome::Untried(_) => {}
        }
    }
    for ((remote, reply), recipients) in delivered {
        (delivery.services.emit)(Event::Delivered {
            message: record.id.to_string(),
            recipients,
            destination: destination.accepted_by(remote),
            reply,
        });
    }
    for ((remote, reply), recipients) in refused {
        (delivery.services.emit)(Event::RemoteRefused {
            message: record.id.to_string(),
            recipients,
            remote,
            reply,
        });
    }
}

#[cfg(test)]
mod tests;
