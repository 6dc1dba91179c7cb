//! Tests of the spool: a file for each promise of `docs/internals/spool.md`.

mod basics;
mod crash;
mod damage;
mod index_model;
mod log;
mod missing_parts;
mod record_roundtrip;
mod recovery;
mod speed;

use std::path::Path;

use super::*;
use host_mail::{Envelope, Mailbox, ReversePath};

/// Opens a spool with default options.
pub(super) fn open(path: &Path) -> Spool {
    Spool::open(path, SpoolOptions::default(), Events::discard()).expect("spool")
}

pub(super) fn mailbox(text: &str) -> Mailbox {
    text.parse().expect("mailbox")
}

/// Creates a queued message that is due at 1000.
pub(super) fn message(id: MessageId) -> Message {
    let mut envelope = Envelope::from_sender(ReversePath::Null);
    envelope.recipients.push(mailbox("anna@example.org"));
    Message {
        id,
        received: Timestamp(1000),
        envelope,
        client: None,
        size: 0,
        state: State::Queued,
        recipients: vec![Recipient::pending(mailbox("anna@example.org"))],
        attempts: 0,
        due: Timestamp(1000),
        expires: Timestamp(5000),
        notification: false,
        faults: 0,
        delay_reported: false,
        successes: Vec::new(),
    }
}

pub(super) async fn put(spool: &Spool, bytes: &[u8]) -> MessageId {
    put_as(spool, bytes, |_| {}).await
}

pub(super) async fn put_as(spool: &Spool, bytes: &[u8], change: impl FnOnce(&mut Message)) -> MessageId {
    let mut draft = spool.draft().expect("draft");
    draft.write(bytes).await.expect("write");
    let mut message = message(draft.id());
    change(&mut message);
    let id = draft.id();
    draft.commit(message).await.expect("commit");
    id
}

pub(super) fn claim_one(spool: &Spool) -> Claim {
    spool.claim_due(Timestamp(u64::MAX), 1).pop().expect("a due message")
}

pub(super) fn all(content: &dyn Content) -> Vec<u8> {
    content
        .read(0, usize::try_from(content.size()).expect("size"))
        .expect("read")
        .to_vec()
}

pub(super) fn bytes_of(spool: &Spool, id: MessageId) -> Vec<u8> {
    all(&*spool.get(id).expect("get").expect("message").1)
}

/// Returns bytes in which a misplaced piece shows.
pub(super) fn pattern(size: usize) -> Vec<u8> {
    (0..size).map(|at| (at ^ (at >> 8) ^ (at >> 16)) as u8).collect()
}

/// Closes the spool, so that the folder can be opened again.
pub(super) async fn close(spool: Spool) {
    spool.close().await;
    drop(spool);
}

/// Counts the files in `large/`, waiting up to 2 s for the janitor to reach `expected`.
pub(super) async fn large_files(root: &Path, expected: usize) -> usize {
    for _ in 0..200 {
        if std::fs::read_dir(root.join("large")).expect("folder").count() == expected {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    std::fs::read_dir(root.join("large")).expect("folder").count()
}
