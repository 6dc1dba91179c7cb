//! Disclosure: the facts about each recipient that the reader of a report may learn.
//!
//! A sender learns the result for each address as the sender wrote it, in the fields of RFC 3464: no alias members, no
//! routes, no details of this host. The administrator learns everything.

use std::collections::HashSet;

use host_mail::{Mailbox, OriginalRecipient, RecipientDsn, ReversePath, StatusCode, Timestamp};
use host_spool::Message;

use super::failed_delivery::{DeliveryPath, FailedDelivery};
use super::safe_text::{one_line, reply};
use super::status_phrase::{phrase, status_of};
use super::used_names::UsedNames;

/// Maximum bytes of the name of a remote.
const MAX_HOST: usize = 255;

/// Maximum bytes of a finding of this host.
const MAX_FINDING: usize = 500;

/// Reader of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ReportReader {
    /// The administrator of this host.
    Administrator,
    /// The sender of the original, or a mailbox that a policy named.
    Sender {
        /// True if the reader is the authenticated account that submitted the original. Such a reader may learn the name
        /// of the host that mail for other domains goes to.
        authenticated: bool,
    },
}

/// Reason of a failure, in the words of the host that found it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Diagnosis {
    /// Reply of a remote, with the text.
    Quoted(String),
    /// Reply of a remote whose text is not disclosed: code, status and a phrase for the status.
    Withheld { reply: String, phrase: &'static str },
    /// Finding of this host.
    Here(String),
}

/// A recipient in a report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ReportedRecipient {
    /// Address as the sender wrote it.
    pub(super) address: Mailbox,
    /// Recipient as first named (ORCPT, RFC 3461 section 4.2).
    pub(super) original: Option<OriginalRecipient>,
    /// Member of the alias or group `address` that the delivery was for; only for the administrator.
    pub(super) member: Option<Mailbox>,
    pub(super) class: String,
    pub(super) status: StatusCode,
    /// Host that gave the reply, if one did and the reader may know it.
    pub(super) remote: Option<String>,
    pub(super) diagnosis: Diagnosis,
    pub(super) last_attempt: Option<Timestamp>,
}

/// Returns the recipients of a report for its reader: for a sender each address once, with the first failure, so that a
/// report does not show how many members a group has. Empty if the sender wrote none of the addresses.
pub(super) fn recipients(
    reader: ReportReader,
    original: &Message,
    failed: &[&FailedDelivery],
    hostname: &str,
) -> Vec<ReportedRecipient> {
    let ReportReader::Sender { authenticated } = reader else {
        return failed.iter().map(|each| for_administrator(original, each)).collect();
    };
    let mut seen = HashSet::new();
    let mut told = Vec::new();
    for each in failed {
        for (address, path) in written_by_sender(original, each) {
            if seen.insert(address.key()) {
                let used = used_names(original, hostname);
                let named = first_named(original, &address);
                let reported = for_sender(each, address, path, authenticated, used);
                told.push(ReportedRecipient {
                    original: named,
                    ..reported
                });
            }
        }
    }
    told
}

/// Removes the recipients about which the sender wants no such report, by NOTIFY (RFC 3461 section 4.1).
pub(super) fn retain_wanted(
    told: &mut Vec<ReportedRecipient>,
    original: &Message,
    is_wanted: fn(&RecipientDsn) -> bool,
) {
    told.retain(|recipient| {
        original
            .envelope
            .recipient_dsn(&recipient.address)
            .is_none_or(is_wanted)
    });
}

fn first_named(original: &Message, address: &Mailbox) -> Option<OriginalRecipient> {
    original.envelope.recipient_dsn(address)?.original.clone()
}

/// The addresses of the envelope that a failure is about. A recipient that a policy has put in the place of others stands
/// for these; a recipient that a policy has added stands for none.
fn written_by_sender(original: &Message, failed: &FailedDelivery) -> Vec<(Mailbox, DeliveryPath)> {
    let wrote = |address: &Mailbox| {
        let mut envelope = original.envelope.recipients.iter();
        envelope.any(|other| other.key() == address.key())
    };
    if wrote(&failed.written) {
        return vec![(failed.written.clone(), failed.path)];
    }
    let is_recipient = |address: &&Mailbox| {
        let mut recipients = original.recipients.iter();
        recipients.any(|recipient| recipient.as_written().key() == address.key())
    };
    let replaced = original.envelope.recipients.iter();
    replaced
        .filter(|address| !is_recipient(address))
        .map(|address| (address.clone(), DeliveryPath::Inside))
        .collect()
}

/// Names that the sender has used: the addresses of the envelope and their domains, and the name of this host.
fn used_names(original: &Message, hostname: &str) -> UsedNames {
    let mut used = UsedNames::default();
    if let ReversePath::Mailbox(sender) = &original.envelope.sender {
        used.add_address(sender);
    }
    for recipient in &original.envelope.recipients {
        used.add_address(recipient);
    }
    used.add_host(hostname);
    used
}

fn for_administrator(original: &Message, failed: &FailedDelivery) -> ReportedRecipient {
    let text = reply(&failed.why.reply);
    ReportedRecipient {
        address: failed.written.clone(),
        original: first_named(original, &failed.written),
        member: (failed.address.key() != failed.written.key()).then(|| failed.address.clone()),
        class: failed.why.class.clone(),
        status: status_of(&failed.why.reply),
        remote: failed.why.remote.as_deref().map(|remote| one_line(remote, MAX_HOST)),
        diagnosis: match failed.why.remote {
            Some(_) => Diagnosis::Quoted(text),
            None => Diagnosis::Here(text),
        },
        last_attempt: failed.last_attempt,
    }
}

fn for_sender(
    failed: &FailedDelivery,
    address: Mailbox,
    path: DeliveryPath,
    authenticated: bool,
    mut used: UsedNames,
) -> ReportedRecipient {
    let status = status_of(&failed.why.reply);
    let names_remote = match path {
        DeliveryPath::Inside => false,
        DeliveryPath::ConfiguredHop => authenticated,
        DeliveryPath::Exchange => true,
    };
    let remote = failed.why.remote.as_deref().filter(|_| names_remote);
    if let Some(remote) = remote {
        used.add_host(remote);
    }
    let here = || Diagnosis::Here(format!("{status} {}", phrase(status)));
    // A reply about a member of an alias or group may name the member in any way.
    let is_member = failed.address.key() != address.key();
    let is_open = !is_member && used.cover(&failed.why.reply.text);
    let diagnosis = match (&failed.why.remote, path) {
        // A finding about the mail exchanges of the domain is public, as the DNS is.
        (None, DeliveryPath::Exchange) if is_open => {
            Diagnosis::Here(one_line(&format!("{status} {}", failed.why.reply.text), MAX_FINDING))
        }
        (None, _) => here(),
        (Some(_), _) if is_open => Diagnosis::Quoted(reply(&failed.why.reply)),
        (Some(_), DeliveryPath::Inside) => here(),
        (Some(_), _) => Diagnosis::Withheld {
            reply: format!("{} {status}", failed.why.reply.code),
            phrase: phrase(status),
        },
    };
    ReportedRecipient {
        address,
        original: None,
        member: None,
        class: failed.why.class.clone(),
        status,
        remote: remote.map(|remote| one_line(remote, MAX_HOST)),
        diagnosis,
        last_attempt: failed.last_attempt,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ndr::tests::{failed_delivery, mailbox, original};
    use host_mail::Reply;
    use host_spool::Recipient;

    const STRANGER: ReportReader = ReportReader::Sender { authenticated: false };
    const ACCOUNT: ReportReader = ReportReader::Sender { authenticated: true };

    fn told(reader: ReportReader, failed: &FailedDelivery) -> ReportedRecipient {
        recipients(reader, &original(), &[failed], "mail.example.com").remove(0)
    }

    fn refused(text: &str, path: DeliveryPath) -> FailedDelivery {
        FailedDelivery {
            path,
            ..failed_delivery(
                "anna@example.org",
                Reply::new(550, (5, 1, 1), text),
                Some("exch01.inner.example"),
            )
        }
    }

    #[test]
    fn name_of_the_remote_depends_on_path_and_reader() {
        let shown = |reader, path| told(reader, &refused("no", path)).remote.is_some();
        use DeliveryPath::{ConfiguredHop, Exchange, Inside};
        assert_eq!(
            [Inside, ConfiguredHop, Exchange].map(|path| shown(STRANGER, path)),
            [false, false, true]
        );
        assert_eq!(
            [Inside, ConfiguredHop, Exchange].map(|path| shown(ACCOUNT, path)),
            [false, true, true]
        );
        assert!(shown(ReportReader::Administrator, Inside));
    }

    #[test]
    fn text_that_names_another_host_is_withheld() {
        let quoted = told(STRANGER, &refused("<anna@example.org> is away", DeliveryPath::Exchange));
        assert_eq!(
            quoted.diagnosis,
            Diagnosis::Quoted("550 5.1.1 <anna@example.org> is away".to_owned())
        );
        let withheld = told(
            STRANGER,
            &refused("refused by mx2.inner.example", DeliveryPath::Exchange),
        );
        let (reply, phrase) = ("550 5.1.1".to_owned(), "no such mailbox");
        assert_eq!(withheld.diagnosis, Diagnosis::Withheld { reply, phrase });
        let inside = told(ACCOUNT, &refused("/var/mail/anna is gone", DeliveryPath::Inside));
        assert_eq!(inside.diagnosis, Diagnosis::Here("5.1.1 no such mailbox".to_owned()));
        let full = told(
            ReportReader::Administrator,
            &refused("/var/mail/anna is gone", DeliveryPath::Inside),
        );
        assert_eq!(
            full.diagnosis,
            Diagnosis::Quoted("550 5.1.1 /var/mail/anna is gone".to_owned())
        );
    }

    #[test]
    fn finding_of_this_host_is_a_phrase_for_the_sender() {
        let why = Reply::new(451, (4, 4, 1), "connecting to /run/lmtp: No such file (os error 2)");
        let here = failed_delivery("anna@example.org", why, None);
        assert_eq!(
            told(ACCOUNT, &here).diagnosis,
            Diagnosis::Here("4.4.1 the next host does not answer".to_owned())
        );
        let Diagnosis::Here(text) = told(ReportReader::Administrator, &here).diagnosis else {
            panic!("found here");
        };
        assert!(text.contains("/run/lmtp"), "{text}");
    }

    #[test]
    fn group_is_reported_once_and_its_members_only_to_the_administrator() {
        let member = |name: &str| FailedDelivery {
            address: mailbox(name),
            path: DeliveryPath::Inside,
            ..refused("carol is on holiday", DeliveryPath::Inside)
        };
        let (one, two) = (member("carol@inner.example"), member("dave@inner.example"));
        let to_sender = recipients(ACCOUNT, &original(), &[&one, &two], "mail.example.com");
        assert_eq!(to_sender.len(), 1);
        assert_eq!(
            to_sender[0].diagnosis,
            Diagnosis::Here("5.1.1 no such mailbox".to_owned())
        );
        let to_administrator = recipients(
            ReportReader::Administrator,
            &original(),
            &[&one, &two],
            "mail.example.com",
        );
        let members: Vec<_> = to_administrator.iter().filter_map(|told| told.member.clone()).collect();
        assert_eq!(members, [mailbox("carol@inner.example"), mailbox("dave@inner.example")]);
    }

    #[test]
    fn recipient_that_a_policy_added_is_not_disclosed() {
        let added = FailedDelivery {
            written: mailbox("archive@inner.example"),
            address: mailbox("archive@inner.example"),
            ..refused("no", DeliveryPath::ConfiguredHop)
        };
        assert!(recipients(ACCOUNT, &original(), &[&added], "mail.example.com").is_empty());
        // The policy has put the archive in the place of the recipient.
        let mut redirected = original();
        redirected.recipients = vec![Recipient::pending(mailbox("archive@inner.example"))];
        let told = recipients(ACCOUNT, &redirected, &[&added], "mail.example.com");
        assert_eq!((told.len(), &told[0].address), (1, &mailbox("anna@example.org")));
        assert_eq!(told[0].remote, None);
    }
}
