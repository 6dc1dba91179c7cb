//! Resolves the recipients of an envelope to destinations, expanding aliases and groups with the directory.

use std::collections::HashSet;
use std::sync::Arc;

use host_config::DeliveryConfig;
use host_directory::{Directory, MAX_ALIAS_ADDRESSES, MAX_ALIAS_DEPTH, Target};
use host_events::Event;
use host_mail::{Mailbox, MessageId, Reply, Timestamp};
use host_spool::{Failed, Recipient, RecipientState, Success, SuccessAction};

use super::destination::Destination;
use super::outcome::{class, failed_here};
use crate::route_origin::RouteOrigin;

/// Action for a recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Resolution {
    /// The recipient was delivered or has failed before.
    Done,
    /// Delivery is attempted to the destination.
    Send(Destination),
    /// Delivery is attempted to the destination of an address that is not local.
    SendElsewhere(Destination),
    /// Delivery is attempted when the next hop asks; until then the recipient waits in the queue of this name.
    Held(Destination, String),
    /// The directory is not available; the recipient is looked up again later.
    Deferred(Reply),
    /// The recipient has failed permanently.
    Failed(Failed),
}

/// A recipient and the action for the recipient.
#[derive(Debug)]
pub(super) struct Resolved {
    pub(super) recipient: Recipient,
    pub(super) resolution: Resolution,
}

impl Resolved {
    /// True for a recipient elsewhere, by SMTP, that an alias led to.
    pub(super) fn is_forwarded(&self) -> bool {
        let by_alias = self.recipient.original.is_some();
        by_alias && matches!(&self.resolution, Resolution::SendElsewhere(to) | Resolution::Held(to, _) if to.is_smtp())
    }
}

/// Recipients of a message after expansion.
#[derive(Debug, Default)]
pub(super) struct Resolutions {
    pub(super) recipients: Vec<Resolved>,
    /// Expansions to several addresses of which the sender wants to learn.
    pub(super) expanded: Vec<Success>,
}

/// Looks up addresses for a message.
pub(super) struct RecipientResolver<'a> {
    pub(super) message: MessageId,
    pub(super) origin: RouteOrigin<'a>,
    pub(super) directory: &'a dyn Directory,
    pub(super) delivery: &'a DeliveryConfig,
    pub(super) emit: &'a (dyn Fn(Event) + Send + Sync),
}

/// An address between a recipient of the envelope and a destination.
struct AliasStep {
    address: Mailbox,
    /// Keys of the aliases and groups that led to the address.
    trail: Arc<[String]>,
    /// True if an alias or group of the trail has several members.
    is_of_several: bool,
}

impl RecipientResolver<'_> {
    /// Resolves the recipients of a message. Aliases and groups are replaced by the members, so that a record that
    /// keeps the result is never expanded twice.
    ///
    /// A recipient that occurs several times is kept once: an occurrence that is already done takes precedence, then an
    /// occurrence in the envelope, then a member of an alias.
    pub(super) async fn resolve(&self, recipients: &[Recipient]) -> Resolutions {
        let mut all = Vec::with_capacity(recipients.len());
        let mut expanded = Vec::new();
        for recipient in recipients {
            if matches!(recipient.state, RecipientState::Pending { .. }) {
                if self.expand(recipient, &mut all).await && recipient.wants_success() {
                    expanded.push(expansion(recipient));
                }
            } else {
                let recipient = recipient.clone();
                let resolution = Resolution::Done;
                all.push(Resolved { recipient, resolution });
            }
        }
        Resolutions {
            recipients: deduplicate(all),
            expanded,
        }
    }

    /// Adds what a recipient stands for to `all`; true if the recipient stands for several addresses.
    async fn expand(&self, recipient: &Recipient, all: &mut Vec<Resolved>) -> bool {
        let mut waiting = vec![AliasStep {
            address: recipient.address.clone(),
            trail: Arc::new([]),
            is_of_several: false,
        }];
        let mut is_several = false;
        let mut looked_up = 0;
        while let Some(step) = waiting.pop() {
            looked_up += 1;
            let resolution = if looked_up > MAX_ALIAS_ADDRESSES {
                waiting.clear();
                self.alias_loop(&step, "stands for too many addresses")
            } else {
                match self.look_up(&step).await {
                    Ok(resolution) => resolution,
                    Err(members) => {
                        waiting.extend(members.into_iter().rev());
                        continue;
                    }
                }
            };
            is_several |= step.is_of_several;
            all.push(Resolved {
                recipient: expanded_recipient(recipient, &step),
                resolution,
            });
        }
        is_several
    }

    /// Returns the resolution of an address, or as an error the members of an alias or group.
    async fn look_up(&self, step: &AliasStep) -> Result<Resolution, Vec<AliasStep>> {
        let key = step.address.key();
        if step.trail.contains(&key) {
            return Ok(self.alias_loop(step, "leads back to itself"));
        }
        if step.trail.len() >= MAX_ALIAS_DEPTH {
            return Ok(self.alias_loop(step, "has too many aliases in a row"));
        }
        let Ok(mut entries) = self.directory.lookup(&step.address).await else {
            return Ok(unavailable());
        };
        if entries.len() > 1 {
            return Ok(self.ambiguous(&step.address, &entries));
        }
        match entries.pop().map(|entry| entry.target) {
            None => Ok(self.unknown(&step.address).await),
            Some(Target::Account { home, .. }) => Ok(Resolution::Send(home.into())),
            Some(Target::Alias(members) | Target::Group(members)) if members.is_empty() => {
                let reply = Reply::new(550, (5, 1, 1), "Address has no members");
                Ok(Resolution::Failed(failed_here(class::ADDRESS_NOT_FOUND, reply)))
            }
            Some(Target::Alias(members) | Target::Group(members)) => {
                let trail: Arc<[String]> = step.trail.iter().cloned().chain([key]).collect();
                let is_of_several = step.is_of_several || members.len() > 1;
                let member = |address| AliasStep {
                    address,
                    trail: trail.clone(),
                    is_of_several,
                };
                Err(members.into_iter().map(member).collect())
            }
        }
    }

    /// Resolves an address that is not in the directory.
    async fn unknown(&self, address: &Mailbox) -> Resolution {
        match self.directory.is_local_domain(address.domain()).await {
            Err(_) => unavailable(),
            Ok(true) => {
                let reply = Reply::new(550, (5, 1, 1), "No such address here");
                Resolution::Failed(failed_here(class::ADDRESS_NOT_FOUND, reply))
            }
            Ok(false) => match Destination::for_remote_address(address, self.origin, self.delivery) {
                Ok(destination) => match self.origin.route(address.domain(), self.delivery) {
                    Some(route) if route.etrn => Resolution::Held(destination, route.held_queue()),
                    _ => Resolution::SendElsewhere(destination),
                },
                Err(failed) => Resolution::Failed(failed),
            },
        }
    }

    fn ambiguous(&self, address: &Mailbox, entries: &[host_directory::Entry]) -> Resolution {
        (self.emit)(Event::AmbiguousAddress {
            address: address.to_string(),
            entries: entries.iter().map(|entry| entry.address.to_string()).collect(),
        });
        let reply = Reply::new(550, (5, 1, 4), "Address has several meanings");
        Resolution::Failed(failed_here(class::AMBIGUOUS_ADDRESS, reply))
    }

    fn alias_loop(&self, step: &AliasStep, what: &str) -> Resolution {
        let written = step.trail.first().cloned().unwrap_or_else(|| step.address.key());
        (self.emit)(Event::AddressLoop {
            message: self.message.to_string(),
            address: written,
            detail: format!("{what}, at {}", step.address),
        });
        let reply = Reply::new(554, (5, 4, 6), format!("Address {what}"));
        Resolution::Failed(failed_here(class::LOOP, reply))
    }
}

fn unavailable() -> Resolution {
    Resolution::Deferred(Reply::new(451, (4, 3, 0), "Directory is not available"))
}

/// The record of an address that a pending recipient was expanded to.
fn expanded_recipient(recipient: &Recipient, step: &AliasStep) -> Recipient {
    if step.trail.is_empty() {
        return recipient.clone();
    }
    let dsn = match step.is_of_several {
        true => recipient.dsn.as_ref().map(|dsn| Box::new(dsn.for_member())),
        false => recipient.dsn.clone(),
    };
    Recipient {
        address: step.address.clone(),
        original: Some(recipient.as_written().clone()),
        state: RecipientState::Pending { last: None },
        dsn,
    }
}

/// The success of an address that stands for several (RFC 3461 section 5.2.7.3).
fn expansion(recipient: &Recipient) -> Success {
    Success {
        written: recipient.as_written().clone(),
        address: recipient.address.clone(),
        action: SuccessAction::Expanded,
        reply: Reply::new(250, (2, 0, 0), "Sent on to the members of the address"),
        remote: None,
        at: Timestamp::now(),
    }
}

/// Removes duplicate recipients. Only fully expanded addresses are compared: an alias that is a recipient must not
/// remove an alias that leads to the first alias.
fn deduplicate(all: Vec<Resolved>) -> Vec<Resolved> {
    let rank = |r: &Resolved| match (&r.resolution, &r.recipient.original) {
        (Resolution::Done, _) => 0,
        (_, None) => 1,
        (_, Some(_)) => 2,
    };
    let mut order: Vec<usize> = (0..all.len()).collect();
    order.sort_by_key(|index| rank(&all[*index]));
    let mut seen = HashSet::new();
    let mut first = vec![true; all.len()];
    for index in order {
        let new = seen.insert(all[index].recipient.address.key());
        first[index] = new || all[index].resolution == Resolution::Done;
    }
    all.into_iter()
        .zip(first)
        .filter_map(|(resolved, keep)| keep.then_some(resolved))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::testing::{FakeDirectory, RecordedEvents, delivery, mailbox};
    use super::*;
    use host_mail::Timestamp;

    async fn resolve(directory: &FakeDirectory, recipients: &[Recipient]) -> (Vec<Resolved>, RecordedEvents) {
        let recorded = RecordedEvents::default();
        let emit = recorded.emitter();
        let delivery = delivery();
        let resolver = RecipientResolver {
            message: MessageId::generate(),
            origin: RouteOrigin::default(),
            directory,
            delivery: &delivery,
            emit: emit.as_ref(),
        };
        (resolver.resolve(recipients).await.recipients, recorded)
    }

    fn pending(addresses: &[&str]) -> Vec<Recipient> {
        addresses.iter().map(|a| Recipient::pending(mailbox(a))).collect()
    }

    fn shown(resolved: &[Resolved]) -> Vec<String> {
        let line = |r: &Resolved| {
            let resolution = match &r.resolution {
                Resolution::Done => "over".to_owned(),
                Resolution::Send(to) | Resolution::SendElsewhere(to) => to.to_string(),
                Resolution::Held(to, queue) => format!("{to} in {queue}"),
                Resolution::Deferred(reply) => reply.code.to_string(),
                Resolution::Failed(failed) => failed.class.clone(),
            };
            format!("{} for {}: {resolution}", r.recipient.address, r.recipient.as_written())
        };
        resolved.iter().map(line).collect()
    }

    fn directory() -> FakeDirectory {
        FakeDirectory::default()
            .account("anna@here.example", "/mail/anna")
            .account("ben@here.example", "/mail/ben")
            .alias("a@here.example", &["anna@here.example"])
            .alias(
                "staff@here.example",
                &["a@here.example", "ben@here.example", "x@far.example"],
            )
            .alias("loop@here.example", &["loop2@here.example"])
            .alias("loop2@here.example", &["loop@here.example"])
            .alias("partly@here.example", &["partly@here.example", "ben@here.example"])
            .alias("nobody@here.example", &[])
            .account("two@here.example", "/mail/1")
            .account("two@here.example", "/mail/2")
    }

    #[tokio::test]
    async fn resolves_each_kind_of_address() {
        let addresses = [
            "anna@here.example",
            "who@here.example",
            "two@here.example",
            "x@far.example",
            "nobody@here.example",
        ];
        let (resolved, recorded) = resolve(&directory(), &pending(&addresses)).await;
        assert_eq!(
            shown(&resolved),
            [
                "anna@here.example for anna@here.example: maildir:/mail/anna",
                "who@here.example for who@here.example: address-not-found",
                "two@here.example for two@here.example: ambiguous-address",
                "x@far.example for x@far.example: host-not-found",
                "nobody@here.example for nobody@here.example: address-not-found",
            ]
        );
        assert_eq!(recorded.ids(), [10000]);
    }

    #[tokio::test]
    async fn members_keep_the_original_recipient_and_occur_once() {
        let recipients = pending(&["staff@here.example", "ben@here.example", "ben@here.example"]);
        let (resolved, _) = resolve(&directory(), &recipients).await;
        assert_eq!(
            shown(&resolved),
            [
                "anna@here.example for staff@here.example: maildir:/mail/anna",
                "x@far.example for staff@here.example: host-not-found",
                "ben@here.example for ben@here.example: maildir:/mail/ben",
            ]
        );
    }

    #[tokio::test]
    async fn delivered_recipient_gets_no_second_copy() {
        let mut recipients = pending(&["ben@here.example", "staff@here.example"]);
        recipients[0].state = RecipientState::Delivered { at: Timestamp(1) };
        let (resolved, _) = resolve(&directory(), &recipients).await;
        assert_eq!(
            shown(&resolved),
            [
                "ben@here.example for ben@here.example: over",
                "anna@here.example for staff@here.example: maildir:/mail/anna",
                "x@far.example for staff@here.example: host-not-found",
            ]
        );
    }

    #[tokio::test]
    async fn alias_loops_fail_without_affecting_other_members() {
        let recipients = pending(&["loop@here.example", "loop2@here.example", "partly@here.example"]);
        let (resolved, recorded) = resolve(&directory(), &recipients).await;
        assert_eq!(
            shown(&resolved),
            [
                "loop@here.example for loop@here.example: loop",
                "loop2@here.example for loop2@here.example: loop",
                "partly@here.example for partly@here.example: loop",
                "ben@here.example for partly@here.example: maildir:/mail/ben",
            ]
        );
        assert_eq!(recorded.ids(), [5040, 5040, 5040]);
    }

    #[tokio::test]
    async fn bounds_depth_and_number_of_addresses() {
        let mut directory = FakeDirectory::default();
        for n in 0..20 {
            directory = directory.alias(&format!("n{n}@here.example"), &[&format!("n{}@here.example", n + 1)]);
        }
        let many: Vec<String> = (0..200).map(|n| format!("m{n}@here.example")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        directory = directory.alias("all@here.example", &many);
        for name in &many {
            directory = directory.alias(name, &many);
        }
        let (resolved, _) = resolve(&directory, &pending(&["n0@here.example"])).await;
        assert_eq!(shown(&resolved), ["n10@here.example for n0@here.example: loop"]);
        let (resolved, _) = resolve(&directory, &pending(&["all@here.example"])).await;
        assert!(!resolved.is_empty() && resolved.len() <= MAX_ALIAS_ADDRESSES);
    }

    #[tokio::test]
    async fn unavailable_directory_defers() {
        let mut directory = directory();
        directory.unavailable = Some("ben@here.example".to_owned());
        let (resolved, _) = resolve(&directory, &pending(&["staff@here.example"])).await;
        assert_eq!(
            shown(&resolved),
            [
                "anna@here.example for staff@here.example: maildir:/mail/anna",
                "ben@here.example for staff@here.example: 451",
                "x@far.example for staff@here.example: host-not-found",
            ]
        );
    }
}
