//! The work on one message, without the spool: resolve, group, attempt, and note what became of
//! each recipient.

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

/// Destinations of one message that are worked on at once.
const DESTINATIONS_AT_ONCE: usize = 8;

/// What the work on a message came to. Deliveries are in the record already, so that they are not
/// forgotten if something goes wrong later.
#[derive(Debug, Default)]
pub(super) struct WorkResult {
    /// To be notified: index into the record's recipients, and why.
    pub(super) failed: Vec<(usize, Failed)>,
    /// To be tried again.
    pub(super) deferred: Vec<Deferred>,
    /// The work was stopped before it was done; who has no outcome is as before.
    pub(super) interrupted: bool,
    /// Something was tried.
    pub(super) attempted: bool,
}

/// A recipient that has to wait.
#[derive(Debug)]
pub(super) struct Deferred {
    pub(super) recipient: usize,
    pub(super) destination: String,
    pub(super) reply: Reply,
    /// Nothing was tried: the destination is known to be down.
    pub(super) untried: bool,
}

impl WorkResult {
    /// The destination that all waits for, if nothing was tried for anybody: nothing is new then.
    pub(super) fn waits_for(&self) -> Option<&str> {
        let nothing = self.failed.is_empty() && !self.interrupted && self.deferred.iter().all(|each| each.untried);
        let first = self.deferred.first().filter(|_| nothing)?;
        Some(&first.destination)
    }
}

/// Works on a message that is due. `shutting_down` turning true stops the work between two outcomes. An
/// error means that the message cannot be read.
pub(super) async fn work(
    job: Delivery<'_>,
    record: &mut Message,
    shutting_down: &mut watch::Receiver<bool>,
) -> io::Result<WorkResult> {
    match &record.state {
        State::Failing { class, .. } => Ok(WorkResult {
            failed: all_pending(record, &failed_here(class, reply_for_class(class))),
            ..WorkResult::default()
        }),
        State::Queued if pending(record).next().is_none() => Ok(WorkResult::default()),
        State::Queued => deliver(job, record, shutting_down).await,
        // Nobody claims these; if it happens they stay as they are.
        State::Quarantined { .. } | State::Frozen { .. } => Ok(WorkResult::default()),
    }
}

/// The recipients that are still to be delivered, with their indexes.
fn pending(record: &Message) -> impl Iterator<Item = (usize, &Recipient)> {
    let recipients = record.recipients.iter().enumerate();
    recipients.filter(|(_, r)| matches!(r.state, RecipientState::Pending { .. }))
}

fn all_pending(record: &Message, failed: &Failed) -> Vec<(usize, Failed)> {
    pending(record).map(|(index, _)| (index, failed.clone())).collect()
}

async fn deliver(
    job: Delivery<'_>,
    record: &mut Message,
    shutting_down: &mut watch::Receiver<bool>,
) -> io::Result<WorkResult> {
    if let Some(failed) = too_many_hops(job, record)? {
        return Ok(WorkResult {
            failed: all_pending(record, &failed),
            attempted: true,
            ..WorkResult::default()
        });
    }
    let resolver = RecipientResolver {
        message: record.id,
        directory: job.station.directory.as_ref(),
        delivery: job.settings.delivery,
        tell: job.station.tell.as_ref(),
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
        match each.fate {
            Resolution::Over => {}
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
    attempt_all(job, record, groups, shutting_down, &mut progress).await?;
    Ok(progress)
}

/// RFC 5321 section 6.3: a message that passed too many hosts goes round in circles.
fn too_many_hops(job: Delivery<'_>, record: &Message) -> io::Result<Option<Failed>> {
    let hops = hop_count(&HeaderBlock::read(job.content.as_ref())?);
    if hops <= job.settings.hops {
        return Ok(None);
    }
    (job.station.tell)(Event::HopCountExceeded {
        message: record.id.to_string(),
        hops: hops as u64,
        limit: job.settings.hops as u64,
    });
    let reply = Reply::new(554, (5, 4, 6), format!("Mail loop: the message passed {hops} hosts"));
    Ok(Some(failed_here(class::LOOP, reply)))
}

/// Attempts every destination, some at once, and notes each outcome as it comes.
async fn attempt_all(
    job: Delivery<'_>,
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
                let result = job.attempt(&destination, &addresses).await;
                (destination, indexes, result)
            });
        }
        let done = tokio::select! {
            biased;
            done = running.next() => done,
            () = turned_true(shutting_down) => {
                progress.interrupted = true;
                return Ok(());
            }
        };
        match done {
            None => return unreadable.map_or(Ok(()), Err),
            Some((destination, indexes, Ok(outcomes))) => {
                tell(job, record, &destination, &indexes, &outcomes);
                note(record, progress, &destination, indexes.into_iter().zip(outcomes));
            }
            // The others may still come to an end that is worth noting.
            Some((_, _, Err(error))) => unreadable = Some(error),
        }
    }
}

/// Returns when the value is true; never, if it can no longer become so.
pub(super) async fn turned_true(signal: &mut watch::Receiver<bool>) {
    if signal.wait_for(|on| *on).await.is_err() {
        std::future::pending().await
    }
}

fn note(
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

/// Events about what is final: 5007 and 4031, one for all recipients that share a reply.
fn tell(
    job: Delivery<'_>,
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
        (job.station.tell)(Event::Delivered {
            message: record.id.to_string(),
            recipients,
            destination: destination.taken_by(remote),
            reply,
        });
    }
    for ((remote, reply), recipients) in refused {
        (job.station.tell)(Event::RemoteRefused {
            message: record.id.to_string(),
            recipients,
            remote,
            reply,
        });
    }
}

#[cfg(test)]
mod tests;
