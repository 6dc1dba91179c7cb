//! From the envelope's recipients to destinations: the directory says what an address stands for.

use std::collections::HashSet;
use std::sync::Arc;

use host_config::DeliveryConfig;
use host_directory::{Directory, Target};
use host_events::Event;
use host_mail::{Mailbox, MessageId, Reply};
use host_spool::{Failed, Recipient, RecipientState};

use super::destination::Destination;
use super::outcome::{class, failed_here};

/// Aliases in a row.
const MAX_DEPTH: usize = 10;
/// Addresses looked up for one recipient as the sender wrote it.
const MAX_ADDRESSES: usize = 10_000;

/// What is to be done about a recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Resolution {
    /// Nothing: it has its end already.
    Over,
    /// An attempt.
    Send(Destination),
    /// To be asked again later.
    Deferred(Reply),
    /// Nothing more.
    Failed(Failed),
}

/// A recipient, and what is to be done about it.
#[derive(Debug)]
pub(super) struct Resolved {
    pub(super) recipient: Recipient,
    pub(super) fate: Resolution,
}

/// Looks addresses up for one message.
pub(super) struct RecipientResolver<'a> {
    pub(super) message: MessageId,
    pub(super) directory: &'a dyn Directory,
    pub(super) delivery: &'a DeliveryConfig,
    pub(super) tell: &'a (dyn Fn(Event) + Send + Sync),
}

/// An address on the way from what the sender wrote to a destination.
struct AliasStep {
    address: Mailbox,
    /// Keys of the aliases and groups that led here.
    trail: Arc<[String]>,
}

impl RecipientResolver<'_> {
    /// The message's recipients with their fates. Aliases and groups are replaced by what they
    /// stand for, so that a record that keeps the result is never expanded twice. Who is named
    /// several times is there once: what has its end already first, then what the sender wrote.
    pub(super) async fn resolve(&self, recipients: &[Recipient]) -> Vec<Resolved> {
        let mut all = Vec::with_capacity(recipients.len());
        for recipient in recipients {
            if matches!(recipient.state, RecipientState::Pending { .. }) {
                self.expand(recipient, &mut all).await;
            } else {
                let recipient = recipient.clone();
                let fate = Resolution::Over;
                all.push(Resolved { recipient, fate });
            }
        }
        once_each(all)
    }

    async fn expand(&self, recipient: &Recipient, all: &mut Vec<Resolved>) {
        let mut waiting = vec![AliasStep {
            address: recipient.address.clone(),
            trail: Arc::new([]),
        }];
        let mut looked_up = 0;
        while let Some(step) = waiting.pop() {
            looked_up += 1;
            let fate = if looked_up > MAX_ADDRESSES {
                waiting.clear();
                self.looped(&step, "stands for too many addresses")
            } else {
                match self.look_up(&step).await {
                    Ok(fate) => fate,
                    Err(members) => {
                        waiting.extend(members.into_iter().rev());
                        continue;
                    }
                }
            };
            all.push(Resolved {
                recipient: derived(recipient, &step),
                fate,
            });
        }
    }

    /// The fate of an address, or what it stands for.
    async fn look_up(&self, step: &AliasStep) -> Result<Resolution, Vec<AliasStep>> {
        let key = step.address.key();
        if step.trail.contains(&key) {
            return Ok(self.looped(step, "leads back to itself"));
        }
        if step.trail.len() >= MAX_DEPTH {
            return Ok(self.looped(step, "has too many aliases in a row"));
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
                let member = |address| AliasStep {
                    address,
                    trail: trail.clone(),
                };
                Err(members.into_iter().map(member).collect())
            }
        }
    }

    /// The directory does not know the address.
    async fn unknown(&self, address: &Mailbox) -> Resolution {
        match self.directory.is_local_domain(address.domain()).await {
            Err(_) => unavailable(),
            Ok(true) => {
                let reply = Reply::new(550, (5, 1, 1), "No such address here");
                Resolution::Failed(failed_here(class::ADDRESS_NOT_FOUND, reply))
            }
            Ok(false) => match Destination::of_foreign(address, self.delivery) {
                Ok(destination) => Resolution::Send(destination),
                Err(failed) => Resolution::Failed(failed),
            },
        }
    }

    fn ambiguous(&self, address: &Mailbox, entries: &[host_directory::Entry]) -> Resolution {
        (self.tell)(Event::AmbiguousAddress {
            address: address.to_string(),
            entries: entries.iter().map(|entry| entry.address.to_string()).collect(),
        });
        let reply = Reply::new(550, (5, 1, 4), "Address has several meanings");
        Resolution::Failed(failed_here(class::AMBIGUOUS_ADDRESS, reply))
    }

    fn looped(&self, step: &AliasStep, what: &str) -> Resolution {
        let written = step.trail.first().cloned().unwrap_or_else(|| step.address.key());
        (self.tell)(Event::AddressLoop {
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

/// The record of an address that a pending recipient led to.
fn derived(recipient: &Recipient, step: &AliasStep) -> Recipient {
    if step.trail.is_empty() {
        return recipient.clone();
    }
    Recipient {
        address: step.address.clone(),
        original: Some(recipient.as_written().clone()),
        state: RecipientState::Pending { last: None },
    }
}

/// Leaves out whoever is there already. Only ends of the expansion are compared: an alias that is
/// itself a recipient must not swallow the alias that leads to it.
fn once_each(all: Vec<Resolved>) -> Vec<Resolved> {
    let rank = |r: &Resolved| match (&r.fate, &r.recipient.original) {
        (Resolution::Over, _) => 0,
        (_, None) => 1,
        (_, Some(_)) => 2,
    };
    let mut order: Vec<usize> = (0..all.len()).collect();
    order.sort_by_key(|index| rank(&all[*index]));
    let mut seen = HashSet::new();
    let mut first = vec![true; all.len()];
    for index in order {
        let new = seen.insert(all[index].recipient.address.key());
        first[index] = new || all[index].fate == Resolution::Over;
    }
    all.into_iter()
        .zip(first)
        .filter_map(|(resolved, keep)| keep.then_some(resolved))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::testing::{FakeDirectory, Told, delivery, mailbox};
    use super::*;
    use host_mail::Timestamp;

    async fn resolve(directory: &FakeDirectory, recipients: &[Recipient]) -> (Vec<Resolved>, Told) {
        let told = Told::default();
        let tell = told.tell();
        let delivery = delivery();
        let resolver = RecipientResolver {
            message: MessageId::generate(),
            directory,
            delivery: &delivery,
            tell: tell.as_ref(),
        };
        (resolver.resolve(recipients).await, told)
    }

    fn pending(addresses: &[&str]) -> Vec<Recipient> {
        addresses.iter().map(|a| Recipient::pending(mailbox(a))).collect()
    }

    fn shown(resolved: &[Resolved]) -> Vec<String> {
        let line = |r: &Resolved| {
            let fate = match &r.fate {
                Resolution::Over => "over".to_owned(),
                Resolution::Send(to) => to.to_string(),
                Resolution::Deferred(reply) => reply.code.to_string(),
                Resolution::Failed(failed) => failed.class.clone(),
            };
            format!("{} for {}: {fate}", r.recipient.address, r.recipient.as_written())
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
    async fn each_kind_of_address_has_its_fate() {
        let addresses = [
            "anna@here.example",
            "who@here.example",
            "two@here.example",
            "x@far.example",
            "nobody@here.example",
        ];
        let (resolved, told) = resolve(&directory(), &pending(&addresses)).await;
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
        assert_eq!(told.ids(), [10000]);
    }

    #[tokio::test]
    async fn members_keep_what_the_sender_wrote_and_come_once() {
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
    async fn who_has_it_already_gets_it_no_more() {
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
    async fn circles_fail_and_are_told_and_swallow_nobody() {
        let recipients = pending(&["loop@here.example", "loop2@here.example", "partly@here.example"]);
        let (resolved, told) = resolve(&directory(), &recipients).await;
        assert_eq!(
            shown(&resolved),
            [
                "loop@here.example for loop@here.example: loop",
                "loop2@here.example for loop2@here.example: loop",
                "partly@here.example for partly@here.example: loop",
                "ben@here.example for partly@here.example: maildir:/mail/ben",
            ]
        );
        assert_eq!(told.ids(), [5040, 5040, 5040]);
    }

    #[tokio::test]
    async fn depth_and_number_are_bounded() {
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
        assert!(!resolved.is_empty() && resolved.len() <= MAX_ADDRESSES);
    }

    #[tokio::test]
    async fn a_directory_that_is_away_defers() {
        let mut directory = directory();
        directory.away = Some("ben@here.example".to_owned());
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
