//! Tests of non-delivery reports: golden files, the host's rules, and the notifier.
//!
//! `POSTHOUSE_GOLDEN=write cargo test ndr` rewrites the golden files.

mod golden;
mod rules;
mod stage;

use crate::ndr::{DeliveryPath, FailedDelivery};
use host_contract::Failure;
use host_mail::{
    Client, Content, Envelope, HeaderBlock, Identity, InMemory, Mailbox, MessageId, Reply, ReversePath, Timestamp,
};
use host_spool::{Failed, Message, Recipient, State};

pub(super) fn mailbox(text: &str) -> Mailbox {
    text.parse().expect("mailbox")
}

pub(super) fn content(text: &str) -> InMemory {
    InMemory(text.as_bytes().to_vec().into())
}

pub(super) fn header(content: &dyn Content) -> HeaderBlock {
    HeaderBlock::read(content).expect("in memory")
}

/// A message from bert@example.net, submitted from 192.0.2.7 without authentication.
pub(super) fn original() -> Message {
    let mut envelope = Envelope::from_sender(ReversePath::Mailbox(mailbox("bert@example.net")));
    envelope.recipients.push(mailbox("anna@example.org"));
    Message {
        id: "0123456789abcdef0123".parse::<MessageId>().expect("id"),
        received: Timestamp(1_800_000_000_000),
        envelope,
        client: Some(Client {
            listener: "smtp".to_owned(),
            address: "192.0.2.7".parse().expect("address"),
            port: 4711,
            name: None,
            helo: Some("relay.example.net".to_owned()),
            tls: None,
            identity: None,
            exemptions: ["authentication".to_owned()].into(),
        }),
        size: 0,
        state: State::Queued,
        recipients: vec![Recipient::pending(mailbox("anna@example.org"))],
        attempts: 3,
        due: Timestamp(1_800_000_000_000),
        expires: Timestamp(1_800_172_800_000),
        notification: false,
        faults: 0,
        delay_reported: false,
        successes: Vec::new(),
    }
}

pub(super) fn identity() -> Identity {
    Identity {
        account: "bert".to_owned(),
        mechanism: "PLAIN".to_owned(),
    }
}

pub(super) fn failed(class: &str, reply: Reply, remote: Option<&str>) -> Failed {
    Failed {
        class: class.to_owned(),
        reply,
        remote: remote.map(str::to_owned),
    }
}

/// A failure with the recipient anna@example.org.
pub(super) fn failure(original: &Message, class: &str) -> Failure {
    let header = header(&content("Subject: x\r\n\r\n"));
    let why = failed(class, Reply::new(550, (5, 1, 1), "no such user"), None);
    let failed = [FailedDelivery {
        why,
        ..failed_delivery("anna@example.org", Reply::bare(550, ""), None)
    }];
    crate::ndr::failure_facts::group_by_class(original, &header, &failed).remove(0)
}

/// A delivery that a mail exchange has refused, or this host if `remote` is `None`.
pub(super) fn failed_delivery(address: &str, reply: Reply, remote: Option<&str>) -> FailedDelivery {
    FailedDelivery {
        written: mailbox(address),
        address: mailbox(address),
        why: failed("protocol-error", reply, remote),
        path: DeliveryPath::Exchange,
        last_attempt: Some(Timestamp(1_800_000_600_000)),
    }
}
