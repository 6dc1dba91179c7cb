//! Tests of a spool in use during recovery.

use super::damage::{recovered, write};
use super::*;
use crate::draft::PIECE;
use host_events::{Event, Format};
use host_mail::Client;

fn begin(path: &Path, events: Events) -> (Spool, Recovery) {
    Spool::begin(path, SpoolOptions::default(), events).expect("spool")
}

#[tokio::test]
async fn recovery_does_not_touch_new_messages() {
    let folder = tempfile::tempdir().expect("folder");
    let spool = open(folder.path());
    let old = [put(&spool, b"old").await, put(&spool, &pattern(2 * PIECE)).await];
    close(spool).await;
    write(
        folder.path(),
        StoreTable::Bodies,
        MessageId::generate(),
        Some(b"an orphan"),
    );
    let orphan = folder.path().join("large").join(MessageId::generate().to_string());
    std::fs::write(&orphan, b"a draft of the last run").expect("write");

    let (events, captured) = Events::capture();
    let (spool, recovery) = begin(folder.path(), events);
    let gone = put(&spool, b"put and settled").await;
    let claim = claim_one(&spool);
    assert_eq!(claim.message().id, gone, "the old messages are not in the index yet");
    spool.settle(claim, None, Vec::new()).await.expect("settle");
    let new = [put(&spool, b"new").await, put(&spool, &pattern(2 * PIECE)).await];
    let mut draft = spool.draft().expect("draft");
    draft.write(&pattern(2 * PIECE)).await.expect("write");
    assert_eq!((spool.counts().queued, spool.is_recovered()), (2, false));
    for id in old {
        assert!(spool.get(id).expect("get").is_some(), "get reads the store");
    }

    recovery.run(&RecentlyAccepted::default()).expect("readable");
    assert_eq!(recovered(&captured.events()), (2, 2, 0));
    assert!(spool.is_recovered() && !orphan.exists());
    let late = draft.id();
    draft.commit(message(late)).await.expect("commit");
    assert_eq!(spool.counts().queued, 5);
    for id in [old[0], new[0]] {
        assert_eq!(bytes_of(&spool, id).len(), 3);
    }
    for id in [old[1], new[1], late] {
        assert_eq!(bytes_of(&spool, id), pattern(2 * PIECE));
    }
    assert_eq!(spool.claim_due(Timestamp(u64::MAX), 10).len(), 5, "each message once");
}

#[tokio::test]
async fn release_and_delete_wait_for_recovery() {
    let folder = tempfile::tempdir().expect("folder");
    let spool = open(folder.path());
    let [kept, unwanted] = [put(&spool, b"kept").await, put(&spool, b"unwanted").await];
    close(spool).await;
    let (spool, recovery) = begin(folder.path(), Events::discard());
    let release_and_delete = |id| {
        let spool = spool.clone();
        tokio::spawn(async move { (spool.release(id).await, spool.delete(id).await) })
    };
    let request = release_and_delete(unwanted);
    put(&spool, b"time for the request to start").await;
    assert!(!request.is_finished());
    recovery.run(&RecentlyAccepted::default()).expect("readable");
    let (released, deleted) = request.await.expect("no panic");
    assert!(released.expect("release") && deleted.expect("delete"));
    assert!(spool.get(unwanted).expect("get").is_none());
    assert_eq!(bytes_of(&spool, kept), b"kept");
}

#[tokio::test]
async fn close_during_recovery_leaves_the_rest_to_the_next_start() {
    let folder = tempfile::tempdir().expect("folder");
    let spool = open(folder.path());
    put(&spool, b"old").await;
    close(spool).await;
    let (events, captured) = Events::capture();
    let (spool, recovery) = begin(folder.path(), events);
    put(&spool, b"new").await;
    spool.close().await;
    recovery.run(&RecentlyAccepted::default()).expect("no error");
    assert!(captured.ids().is_empty() && !spool.is_recovered());
    drop(spool);
    assert_eq!(open(folder.path()).counts().queued, 2);
}

#[tokio::test]
async fn acceptance_that_a_crash_kept_from_the_log_is_told_at_recovery() {
    let folder = tempfile::tempdir().expect("folder");
    let spool = open(folder.path());
    let now = Timestamp::now();
    let accepted = |message: &mut Message| {
        message.received = now;
        message.client = Some(Client {
            listener: "smtp".to_owned(),
            address: "192.0.2.7".parse().expect("address"),
            port: 4711,
            name: None,
            helo: None,
            tls: None,
            identity: None,
            exemptions: [].into(),
        });
    };
    let told = put_as(&spool, b"told", accepted).await;
    let untold = put_as(&spool, b"untold", accepted).await;
    put_as(&spool, b"a notification", |message| message.received = now).await;
    close(spool).await;
    let log = tempfile::tempdir().expect("folder");
    let open_log = || Events::open(log.path(), Format::Json, 1 << 20).expect("a log");
    let (last_run, _) = open_log();
    last_run.emit(Event::MessageAccepted {
        message: told.to_string(),
        session: String::new(),
        client: String::new(),
        account: None,
        sender: String::new(),
        recipients: Vec::new(),
        size: 4,
        because: String::new(),
    });
    drop(last_run);
    let ended = Timestamp::now();
    while Timestamp::now() <= ended {}

    let (_this_run, log) = open_log();
    let (events, captured) = Events::capture();
    let (_spool, recovery) = begin(folder.path(), events);
    let known = log.recently_accepted().expect("readable");
    recovery.run(&known).expect("readable");
    let messages: Vec<String> = captured
        .events()
        .into_iter()
        .filter_map(|event| match event {
            Event::MessageAccepted { message, because, .. } => Some(format!("{message} {because}")),
            _ => None,
        })
        .collect();
    assert_eq!(messages, [format!("{untold} host/recovered")]);
}
