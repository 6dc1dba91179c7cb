//! The spool is used while what the last run left is read.

use super::damage::{recovered, write};
use super::*;
use crate::draft::PIECE;

fn begin(path: &Path, events: Events) -> (Spool, Recovery) {
    Spool::begin(path, SpoolOptions::default(), events).expect("spool")
}

#[tokio::test]
async fn what_is_new_is_not_touched_by_putting_the_old_in_order() {
    let folder = tempfile::tempdir().expect("folder");
    let spool = open(folder.path());
    let old = [put(&spool, b"old").await, put(&spool, &pattern(2 * PIECE)).await];
    close(spool).await;
    write(
        folder.path(),
        StoreTable::Bodies,
        MessageId::generate(),
        Some(b"of nobody"),
    );
    let left = folder.path().join("large").join(MessageId::generate().to_string());
    std::fs::write(&left, b"a draft of the last run").expect("write");

    let (events, captured) = Events::capture();
    let (spool, recovery) = begin(folder.path(), events);
    let gone = put(&spool, b"here and gone").await;
    let claim = claim_one(&spool);
    assert_eq!(claim.message().id, gone, "nothing else is known yet");
    spool.settle(claim, None, Vec::new()).await.expect("settle");
    let new = [put(&spool, b"new").await, put(&spool, &pattern(2 * PIECE)).await];
    let mut draft = spool.draft().expect("draft");
    draft.write(&pattern(2 * PIECE)).await.expect("write");
    assert_eq!((spool.counts().queued, spool.is_recovered()), (2, false));
    for id in old {
        assert!(spool.get(id).expect("get").is_some(), "found all the same");
    }

    recovery.run().expect("readable");
    assert_eq!(recovered(&captured.events()), (2, 2, 0));
    assert!(spool.is_recovered() && !left.exists());
    let late = draft.id();
    draft.commit(message(late)).await.expect("commit");
    assert_eq!(spool.counts().queued, 5);
    for id in [old[0], new[0]] {
        assert_eq!(bytes_of(&spool, id).len(), 3);
    }
    for id in [old[1], new[1], late] {
        assert_eq!(bytes_of(&spool, id), pattern(2 * PIECE));
    }
    assert_eq!(spool.claim_due(Timestamp(u64::MAX), 10).len(), 5, "each once");
}

#[tokio::test]
async fn an_operator_waits_until_all_is_known() {
    let folder = tempfile::tempdir().expect("folder");
    let spool = open(folder.path());
    let [kept, unwanted] = [put(&spool, b"kept").await, put(&spool, b"unwanted").await];
    close(spool).await;
    let (spool, recovery) = begin(folder.path(), Events::discard());
    let asked = |id| {
        let spool = spool.clone();
        tokio::spawn(async move { (spool.release(id).await, spool.delete(id).await) })
    };
    let asked = asked(unwanted);
    put(&spool, b"the writer has had time").await;
    assert!(!asked.is_finished());
    recovery.run().expect("readable");
    let (released, deleted) = asked.await.expect("no panic");
    assert!(released.expect("release") && deleted.expect("delete"));
    assert!(spool.get(unwanted).expect("get").is_none());
    assert_eq!(bytes_of(&spool, kept), b"kept");
}

#[tokio::test]
async fn who_closes_it_meanwhile_leaves_the_rest_to_the_next_start() {
    let folder = tempfile::tempdir().expect("folder");
    let spool = open(folder.path());
    put(&spool, b"old").await;
    close(spool).await;
    let (events, captured) = Events::capture();
    let (spool, recovery) = begin(folder.path(), events);
    put(&spool, b"new").await;
    spool.close().await;
    recovery.run().expect("no error");
    assert!(captured.ids().is_empty() && !spool.is_recovered());
    drop(spool);
    assert_eq!(open(folder.path()).counts().queued, 2);
}
