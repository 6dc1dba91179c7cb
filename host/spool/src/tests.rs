//! Tests of the spool: one file per promise of `docs/spool.md`.

mod basics;
mod crash;
mod damage;
mod log;
mod recovery;
mod speed;

use std::path::Path;

use super::*;
use host_mail::{Envelope, Mailbox, ReversePath};

/// A spool in a folder of its own.
pub(super) fn open(path: &Path) -> Spool {
    Spool::open(path, SpoolOptions::default(), Events::discard()).expect("spool")
}

pub(super) fn mailbox(text: &str) -> Mailbox {
    text.parse().expect("mailbox")
}

/// A queued message, due at 1000.
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
    spool.claim_due(Timestamp(u64::MAX), 1).pop().expect("something is due")
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

/// Bytes that differ everywhere, so that a misplaced piece shows.
pub(super) fn pattern(size: usize) -> Vec<u8> {
    (0..size).map(|at| (at ^ (at >> 8) ^ (at >> 16)) as u8).collect()
}

/// Everything is written and the folder can be opened again.
pub(super) async fn close(spool: Spool) {
    spool.close().await;
    drop(spool);
}

/// Names in `large/`, once the janitor has had time to remove what it was told to.
pub(super) async fn large_files(root: &Path, wanted: usize) -> usize {
    for _ in 0..200 {
        if std::fs::read_dir(root.join("large")).expect("folder").count() == wanted {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    std::fs::read_dir(root.join("large")).expect("folder").count()
}
