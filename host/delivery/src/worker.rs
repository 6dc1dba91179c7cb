//! Processes a message without the spool: resolves recipients, groups recipients by destination, attempts delivery, and
//! records the outcomes.

use std::collections::HashMap;
use std::io;

use host_events::Event;
use host_mail::{HeaderBlock, Reply, ReversePath, hop_count};
use host_spool::{Failed, Message, Recipient, RecipientState, State};

use super::outcome::{class, failed_here, reply_for_class};
use super::resolve_recipients::{RecipientResolver, Resolution, Resolved};
use crate::destination_attempts::{GroupKey, Supervision, attempt_all};
use crate::outgoing_delivery::Delivery;
use crate::remote_health::WaitBound;
use crate::route_origin::RouteOrigin;
use crate::tls_report_mail::TLS_REPORT_DOMAIN;
use crate::transaction::ReportRequests;
use crate::work_result::{Deferred, Untried, WorkResult};

/// Processes a due message. Stops between two outcomes once `supervision.shutting_down` turns true. An error means that the message
/// cannot be read.
pub(super) async fn work(
    delivery: &Delivery<'_>,
    record: &mut Message,
    supervision: Supervision<'_>,
) -> io::Result<WorkResult> {
    match &record.state {
        State::Failing { class, .. } => Ok(WorkResult {
            failed: all_pending(record, &failed_here(class, reply_for_class(class))),
            ..WorkResult::default()
        }),
        State::Queued if pending(record).next().is_none() => Ok(WorkResult::default()),
        State::Queued => deliver(delivery, record, supervision).await,
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
    delivery: &Delivery<'_>,
    record: &mut Message,
    supervision: Supervision<'_>,
) -> io::Result<WorkResult> {
    let is_tls_report = match look_at_header(delivery, record)? {
        Ok(is_tls_report) => is_tls_report,
        Err(failed) => {
            return Ok(WorkResult {
                failed: all_pending(record, &failed),
                attempted: true,
                ..WorkResult::default()
            });
        }
    };
    let resolver = RecipientResolver {
        message: record.id,
        origin: RouteOrigin::of(record, delivery.is_forced),
        directory: delivery.services.directory.as_ref(),
        delivery: delivery.settings.delivery,
        emit: delivery.services.emit.as_ref(),
    };
    let resolved = resolver.resolve(&record.recipients).await;
    record.successes.extend(resolved.expanded);
    let mut progress = WorkResult {
        attempted: true,
        ..WorkResult::default()
    };
    let forwarding_sender = forwarding_sender(delivery, &resolved.recipients).await;
    let mut groups: HashMap<GroupKey, Vec<usize>> = HashMap::new();
    record.recipients.clear();
    for (index, each) in resolved.recipients.into_iter().enumerate() {
        let is_forwarded = forwarding_sender.is_some() && each.is_forwarded();
        record.recipients.push(each.recipient);
        match each.resolution {
            Resolution::Done => {}
            Resolution::Held(_, queue) if !delivery.is_forced => progress.deferred.push(Deferred {
                recipient: index,
                waits_for: vec![queue.clone()],
                destination: queue,
                reply: Reply::new(450, (4, 4, 1), "Waits until the next host asks with ETRN"),
                untried: Some(Untried::Held),
            }),
            Resolution::Send(destination)
            | Resolution::SendElsewhere(destination)
            | Resolution::Held(destination, _) => {
                let key = GroupKey {
                    destination,
                    is_forwarded,
                };
                groups.entry(key).or_default().push(index);
            }
            Resolution::Failed(failed) => progress.failed.push((index, failed)),
            Resolution::Deferred(reply) => progress.deferred.push(Deferred {
                recipient: index,
                destination: "directory".to_owned(),
                reply,
                untried: None,
                waits_for: Vec::new(),
            }),
        }
    }
    let reports = report_requests(record);
    let delivery = Delivery {
        reports: reports.as_ref(),
        forwarding_sender: forwarding_sender.as_ref(),
        is_tls_report,
        wait_bound: if groups.len() == 1 {
            WaitBound::Remote
        } else {
            WaitBound::Total
        },
        ..*delivery
    };
    attempt_all(&delivery, record, groups, supervision, &mut progress).await?;
    Ok(progress)
}

/// Returns true if the message is a report about TLS sessions. The inner error is the failure of a message in a loop.
fn look_at_header(delivery: &Delivery<'_>, record: &Message) -> io::Result<Result<bool, Failed>> {
    let header = HeaderBlock::read(delivery.content.as_ref())?;
    let is_tls_report = record.notification && header.named(TLS_REPORT_DOMAIN).next().is_some();
    Ok(match too_many_hops(delivery, record, &header) {
        Some(failed) => Err(failed),
        None => Ok(is_tls_report),
    })
}

/// Returns the reverse-path for recipients elsewhere that an alias led to; `None` if there are none, or if their mail
/// keeps its sender.
async fn forwarding_sender(delivery: &Delivery<'_>, resolved: &[Resolved]) -> Option<ReversePath> {
    let sender = delivery.envelope.sender.mailbox()?;
    if !resolved.iter().any(Resolved::is_forwarded) {
        return None;
    }
    let rewritten = delivery.services.directory.forwarding_sender(sender).await;
    rewritten.map(ReversePath::Mailbox)
}

/// The parameters about reports of the recipients that have any; `None` for most messages.
fn report_requests(record: &Message) -> Option<ReportRequests> {
    let given = record.recipients.iter().filter_map(|recipient| {
        let dsn = recipient.dsn.as_ref()?;
        Some((recipient.address.clone(), (**dsn).clone()))
    });
    let requests: ReportRequests = given.collect();
    (!requests.is_empty()).then_some(requests)
}

/// The failure of a message that has passed too many hosts: a mail loop (RFC 5321 section 6.3).
fn too_many_hops(delivery: &Delivery<'_>, record: &Message, header: &HeaderBlock) -> Option<Failed> {
    let hops = hop_count(header);
    if hops <= delivery.settings.hops {
        return None;
    }
    (delivery.services.emit)(Event::HopCountExceeded {
        message: record.id.to_string(),
        hops: hops as u64,
        limit: delivery.settings.hops as u64,
    });
    let reply = Reply::new(554, (5, 4, 6), format!("Mail loop: the message passed {hops} hosts"));
    Some(failed_here(class::LOOP, reply))
}

#[cfg(test)]
mod tests;
