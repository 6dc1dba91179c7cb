//! Attempts at all destinations of a message. Local and remote destinations are attempted side by side; the outcomes of
//! those that have ended are settled while others go on.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use host_events::Event;
use host_mail::{Mailbox, Timestamp};
use host_spool::{Failed, Message, RecipientState, Success, SuccessAction};

use super::destination::Destination;
use super::outcome::RecipientOutcome;
use crate::client_tls::TlsFacts;
use crate::outgoing_delivery::Delivery;
use crate::work_places::WorkPlace;
use crate::work_result::{Deferred, Untried, WorkResult, wait_until_true};

/// Maximum mailboxes of a message that are written at the same time.
const MAILBOXES_AT_ONCE: usize = 8;
/// Maximum remotes of a message that are attempted at the same time. Waiting for a remote costs little memory.
const REMOTES_AT_ONCE: usize = 1000;
/// Time for which an outcome waits for others before they are settled together.
const MOMENT: Duration = Duration::from_millis(200);

/// The host that accepted mail, its reply, and the TLS session.
type Acceptance<'a> = (Option<&'a str>, String, Option<&'a TlsFacts>);

/// Recipients that share an attempt.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct GroupKey {
    pub(super) destination: Destination,
    /// True for recipients elsewhere that an alias led to, whose mail has another reverse-path.
    pub(super) is_forwarded: bool,
}

/// A destination with the indexes of its recipients.
type Group = (GroupKey, Vec<usize>);

/// Settlement of the outcomes so far, while the work on a message goes on.
pub(super) trait Checkpoint: Send {
    /// Makes the outcomes durable and reports failures. Outcomes that cannot be settled remain for the end.
    fn settle<'a>(&'a mut self, record: &'a mut Message, progress: &'a mut WorkResult) -> BoxFuture<'a, ()>;
}

/// Surroundings of the work on a message.
pub(super) struct Supervision<'a> {
    /// Place of the message while this host works on it.
    pub(super) place: Option<WorkPlace>,
    pub(super) checkpoint: &'a mut dyn Checkpoint,
    /// Turns true when the time for a graceful stop is over.
    pub(super) shutting_down: &'a mut watch::Receiver<bool>,
}

/// Attempts every destination and records each outcome at once.
pub(super) async fn attempt_all(
    delivery: &Delivery<'_>,
    record: &mut Message,
    groups: HashMap<GroupKey, Vec<usize>>,
    supervision: Supervision<'_>,
    progress: &mut WorkResult,
) -> io::Result<()> {
    let Supervision {
        mut place,
        checkpoint,
        shutting_down,
    } = supervision;
    let (mut mailboxes, mut remotes): (VecDeque<Group>, VecDeque<Group>) = groups
        .into_iter()
        .partition(|(key, _)| matches!(key.destination, Destination::Maildir(_)));
    let mut mailboxes_running = 0;
    let mut running = FuturesUnordered::new();
    let mut unreadable = None;
    let mut settle_at: Option<Instant> = None;
    loop {
        while let Some((key, indexes)) = next_group(&mut mailboxes, &mut remotes, &mut mailboxes_running, running.len())
        {
            let addresses: Vec<Mailbox> = indexes.iter().map(|i| record.recipients[*i].address.clone()).collect();
            let GroupKey {
                mut destination,
                is_forwarded,
            } = key;
            let sender = delivery.sender(is_forwarded);
            running.push(async move {
                let result = delivery.attempt(&mut destination, sender, &addresses).await;
                (destination, indexes, result)
            });
        }
        if mailboxes_running == 0 {
            place = None;
        }
        let mut ended = Vec::new();
        tokio::select! {
            biased;
            done = running.next() => match done {
                Some(done) => ended.push(done),
                None => {
                    drop(place);
                    return unreadable.map_or(Ok(()), Err);
                }
            },
            () = wait_until_true(shutting_down) => {
                progress.interrupted = true;
                return Ok(());
            }
            () = sleep_until(settle_at.unwrap_or_else(Instant::now)), if settle_at.is_some() => {
                settle_at = None;
                let mut settling = checkpoint.settle(record, progress);
                // The attempts go on during the sync.
                loop {
                    tokio::select! {
                        biased;
                        () = &mut settling => break,
                        Some(done) = running.next() => ended.push(done),
                    }
                }
            }
        }
        for (destination, indexes, result) in ended {
            mailboxes_running -= usize::from(matches!(destination, Destination::Maildir(_)));
            match result {
                Ok(outcomes) => {
                    emit_final_outcomes(delivery, record, &destination, &indexes, &outcomes);
                    record_outcomes(record, progress, &destination, indexes.into_iter().zip(outcomes));
                    settle_at.get_or_insert_with(|| Instant::now() + MOMENT);
                }
                // Attempts in progress may still end with outcomes to record.
                Err(error) => unreadable = Some(error),
            }
        }
    }
}

/// Returns the next group to attempt within the limits.
fn next_group(
    mailboxes: &mut VecDeque<Group>,
    remotes: &mut VecDeque<Group>,
    mailboxes_running: &mut usize,
    running: usize,
) -> Option<Group> {
    if *mailboxes_running < MAILBOXES_AT_ONCE
        && let Some(group) = mailboxes.pop_front()
    {
        *mailboxes_running += 1;
        return Some(group);
    }
    (running < REMOTES_AT_ONCE).then(|| remotes.pop_front()).flatten()
}

fn record_outcomes(
    record: &mut Message,
    progress: &mut WorkResult,
    destination: &Destination,
    outcomes: impl Iterator<Item = (usize, RecipientOutcome)>,
) {
    let at = Timestamp::now();
    for (recipient, outcome) in outcomes {
        let untried = match outcome {
            RecipientOutcome::Untried(_) => Some(Untried::Down),
            RecipientOutcome::Crowded(_) => Some(Untried::Crowded),
            _ => None,
        };
        match outcome {
            RecipientOutcome::Delivered {
                reply,
                remote,
                reports,
                keeps_time,
                ..
            } => {
                let by = record.envelope.deliver_by();
                let each = &mut record.recipients[recipient];
                each.state = RecipientState::Delivered { at };
                let action = destination.success();
                // RFC 2852 section 4: also where the next host does not keep the time limit.
                let is_traced = by.is_some_and(|by| by.trace || !keeps_time) && action == SuccessAction::Relayed;
                if (each.wants_success() && !reports) || (is_traced && each.allows_reports()) {
                    record.successes.push(Success {
                        written: each.as_written().clone(),
                        address: each.address.clone(),
                        action,
                        reply,
                        remote,
                        at,
                    });
                }
            }
            RecipientOutcome::Failed(failed) => progress.failed.push((recipient, failed)),
            RecipientOutcome::Deferred(reply) | RecipientOutcome::Untried(reply) | RecipientOutcome::Crowded(reply) => {
                progress.deferred.push(Deferred {
                    recipient,
                    destination: destination.to_string(),
                    reply,
                    untried,
                    waits_for: untried.map_or_else(Vec::new, |_| destination.names()),
                })
            }
        }
    }
}

/// Emits the events about final outcomes, 5007 and 4031: an event for all recipients that share a reply.
fn emit_final_outcomes(
    delivery: &Delivery<'_>,
    record: &Message,
    destination: &Destination,
    indexes: &[usize],
    outcomes: &[RecipientOutcome],
) {
    let mut delivered: BTreeMap<Acceptance<'_>, Vec<String>> = BTreeMap::new();
    let mut refused: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
    for (index, outcome) in indexes.iter().zip(outcomes) {
        let address = record.recipients[*index].address.to_string();
        match outcome {
            RecipientOutcome::Delivered { reply, remote, tls, .. } => {
                let key = (remote.as_deref(), reply.to_string(), tls.as_deref());
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
            RecipientOutcome::Failed(_)
            | RecipientOutcome::Deferred(_)
            | RecipientOutcome::Untried(_)
            | RecipientOutcome::Crowded(_) => {}
        }
    }
    for ((remote, reply, tls), recipients) in delivered {
        (delivery.services.emit)(Event::Delivered {
            message: record.id.to_string(),
            recipients,
            destination: destination.accepted_by(remote),
            reply,
            tls_version: tls.map(|tls| tls.version.clone()),
            tls_cipher: tls.map(|tls| tls.cipher.clone()),
            tls_verified: tls.map(|tls| tls.is_verified),
            tls_policy: tls.and_then(|tls| tls.policy).map(|policy| policy.to_string()),
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
