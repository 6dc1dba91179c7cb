//! Tests of damage: each bad entry is set aside alone, and foreign files are not touched.

use super::*;
use crate::draft::PIECE;
use crate::open_store::open_store;
use crate::store_edit::StoreEdit;
use host_events::Event;

pub(super) fn write(path: &Path, table: StoreTable, id: MessageId, value: Option<&[u8]>) {
    let store = open_store(path, OnDamage::Refuse, &Events::discard())
        .expect("store")
        .store;
    let value = value.map(Into::into);
    store.write(&[StoreEdit::new(table, id, value)]).expect("write");
}

pub(super) fn reopen(path: &Path) -> (Spool, Vec<Event>) {
    let (events, captured) = Events::capture();
    let options = SpoolOptions {
        on_damage: OnDamage::Salvage,
        ..SpoolOptions::default()
    };
    let spool = Spool::open(path, options, events).expect("spool");
    (spool, captured.events())
}

pub(super) fn recovered(events: &[Event]) -> (u64, u64, u64) {
    events
        .iter()
        .find_map(|event| match event {
            Event::SpoolRecovered {
                messages,
                orphans_removed,
                set_aside,
                ..
            } => Some((*messages, *orphans_removed, *set_aside)),
            _ => None,
        })
        .expect("5015")
}

#[tokio::test]
async fn bad_records_are_set_aside_at_open_and_others_delivered() {
    let folder = tempfile::tempdir().expect("folder");
    let spool = open(folder.path());
    let good = put(&spool, b"good").await;
    let garbled = put(&spool, b"garbled").await;
    let bodyless = put(&spool, b"bodyless").await;
    let fileless = put(&spool, &pattern(2 * PIECE)).await;
    let short = put(&spool, &pattern(2 * PIECE)).await;
    let large = put(&spool, &pattern(2 * PIECE)).await;
    close(spool).await;
    write(folder.path(), StoreTable::Messages, garbled, Some(b"{\"format\":1,"));
    write(folder.path(), StoreTable::Bodies, bodyless, None);
    let file = |id: MessageId| folder.path().join("large").join(id.to_string());
    std::fs::remove_file(file(fileless)).expect("remove");
    std::fs::write(file(short), b"short").expect("write");

    let (spool, events) = reopen(folder.path());
    assert_eq!(recovered(&events), (2, 0, 4));
    let reported: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            Event::SpoolEntrySetAside { message, .. } => Some(message.clone()),
            _ => None,
        })
        .collect();
    for id in [garbled, bodyless, fileless, short] {
        assert!(reported.contains(&id.to_string()), "{reported:?}");
    }
    assert_eq!((spool.counts().queued, spool.counts().set_aside), (2, 4));
    assert_eq!(bytes_of(&spool, good), b"good");
    assert_eq!(bytes_of(&spool, large), pattern(2 * PIECE));
    let error = spool.get(garbled).err().expect("error").to_string();
    assert!(error.contains("set aside: record: "), "{error}");
    close(spool).await;

    let (spool, events) = reopen(folder.path());
    assert_eq!(
        recovered(&events),
        (2, 0, 0),
        "set aside once, and their bodies and files are no orphans"
    );
    assert_eq!(spool.counts().set_aside, 4);
    assert!(file(short).exists());
    for id in [garbled, bodyless, fileless, short] {
        assert!(spool.delete(id).await.expect("delete"));
    }
    assert_eq!(spool.counts().set_aside, 0);
    assert_eq!(large_files(folder.path(), 1).await, 1);
}

#[tokio::test]
async fn claim_sets_bad_entries_aside() {
    let folder = tempfile::tempdir().expect("folder");
    let (spool, _) = reopen(folder.path());
    drop(spool);
    let (events, captured) = Events::capture();
    let spool = Spool::open(folder.path(), SpoolOptions::default(), events).expect("spool");
    let good = put(&spool, b"good").await;
    let bad = put(&spool, b"bad").await;
    let short = put(&spool, b"short").await;
    let store = &spool.inner.shared.store;
    let edit = |table, id, value: &[u8]| StoreEdit::new(table, id, Some(value.into()));
    store
        .write(&[
            edit(StoreTable::Messages, bad, b"junk"),
            edit(StoreTable::Bodies, short, b"s"),
        ])
        .expect("write");
    for id in [bad, short] {
        assert!(spool.inner.shared.recent_writes().take(id).is_some());
    }

    let claims = spool.claim_due(Timestamp(u64::MAX), 10);
    assert_eq!(
        claims.iter().map(|claim| claim.message().id).collect::<Vec<_>>(),
        [good]
    );
    put(&spool, b"behind the two in the writer").await;
    assert_eq!((spool.counts().queued, spool.counts().set_aside), (2, 2));
    assert_eq!(captured.ids(), [5015, 5016, 5016]);
    assert!(spool.claim_due(Timestamp(1000), 10).len() == 1);
}

#[tokio::test]
async fn orphans_are_moved_aside_at_open_and_foreign_files_stay() {
    let folder = tempfile::tempdir().expect("folder");
    let spool = open(folder.path());
    let kept = put(&spool, &pattern(2 * PIECE)).await;
    close(spool).await;
    let body = MessageId::generate();
    write(folder.path(), StoreTable::Bodies, body, Some(b"an orphan"));
    let orphan = folder.path().join("large").join(MessageId::generate().to_string());
    std::fs::write(&orphan, b"a draft of the last run").expect("write");
    let foreign = folder.path().join("large/lost+found");
    std::fs::write(&foreign, b"not ours").expect("write");

    let (spool, events) = reopen(folder.path());
    assert_eq!(recovered(&events), (1, 2, 0));
    assert!(!orphan.exists() && foreign.exists());
    assert_eq!(bytes_of(&spool, kept), pattern(2 * PIECE));
    let aside = crate::removed_files::orphans(folder.path());
    let name = orphan.file_name().expect("name").to_str().expect("text");
    assert_eq!(
        std::fs::read(aside.join(name)).expect("kept"),
        b"a draft of the last run"
    );
    assert_eq!(
        std::fs::read(aside.join(format!("{body}.body"))).expect("kept"),
        b"an orphan"
    );
}

#[tokio::test]
async fn second_open_of_the_same_folder_is_refused() {
    let folder = tempfile::tempdir().expect("folder");
    let _spool = open(folder.path());
    let second = Spool::open(folder.path(), SpoolOptions::default(), Events::discard());
    assert!(matches!(second, Err(OpenError::InUse)));
}

#[tokio::test]
async fn newer_or_unknown_format_is_refused_untouched() {
    let folder = tempfile::tempdir().expect("folder");
    close(open(folder.path())).await;
    let open = || Spool::open(folder.path(), SpoolOptions::default(), Events::discard());
    let format = folder.path().join("format");
    std::fs::write(&format, "posthouse-spool 2\n").expect("write");
    assert!(matches!(open(), Err(OpenError::Newer { found: 2, known: 1 })));
    std::fs::write(&format, "something else").expect("write");
    assert!(matches!(open(), Err(OpenError::Store(_))));
    std::fs::remove_file(&format).expect("remove");
    assert!(
        matches!(open(), Err(OpenError::Store(_))),
        "a store without a format is not ours"
    );
    assert!(!format.exists());
}

#[tokio::test]
async fn compaction_reclaims_deleted_bodies_and_keeps_live_ones() {
    let folder = tempfile::tempdir().expect("folder");
    let spool = open(folder.path());
    let store = &spool.inner.shared.store;
    let mut ids = Vec::new();
    for size in 0..60 {
        ids.push(put(&spool, &pattern(100_000 + size)).await);
    }
    store.compact_bodies().expect("compact");
    assert!(store.bodies_on_disk() > 6_000_000);
    let kept = ids.split_off(55);
    for id in ids {
        assert!(spool.delete(id).await.expect("delete"));
    }
    store.compact_bodies().expect("compact");
    assert!(store.bodies_on_disk() < 1_000_000, "{}", store.bodies_on_disk());
    for (at, id) in kept.into_iter().enumerate() {
        assert_eq!(bytes_of(&spool, id), pattern(100_055 + at));
    }
}

#[tokio::test]
async fn errors_that_may_pass_set_nothing_aside() {
    let folder = tempfile::tempdir().expect("folder");
    let spool = open(folder.path());
    let large = put(&spool, &pattern(2 * PIECE)).await;
    close(spool).await;
    // A file that cannot be examined: a path through a file is an error of its own kind, not a missing file.
    let (bytes, moved) = (folder.path().join("large"), folder.path().join("elsewhere"));
    let (events, captured) = Events::capture();
    let (spool, recovery) = Spool::begin(folder.path(), SpoolOptions::default(), events).expect("spool");
    std::fs::rename(&bytes, &moved).expect("moved");
    std::fs::write(&bytes, b"no folder").expect("written");
    recovery.run(&RecentlyAccepted::default()).expect("readable");
    assert!(spool.claim_due(Timestamp(u64::MAX), 10).is_empty());
    assert_eq!(captured.ids(), [5015, 4081], "not processed for now");
    assert_eq!((spool.counts().queued, spool.counts().set_aside), (1, 0));

    std::fs::remove_file(&bytes).expect("removed");
    std::fs::rename(&moved, &bytes).expect("moved");
    let claim = claim_one(&spool);
    assert_eq!(claim.message().id, large);
    assert_eq!(all(&*claim.content()), pattern(2 * PIECE));
}

#[tokio::test]
async fn a_message_that_was_set_aside_is_listed_and_released_once_it_is_whole() {
    let folder = tempfile::tempdir().expect("folder");
    let spool = open(folder.path());
    let large = put(&spool, &pattern(2 * PIECE)).await;
    let small = put(&spool, b"small").await;
    let (file, moved) = (spool.inner.shared.store.large_file(large), folder.path().join("moved"));
    std::fs::rename(&file, &moved).expect("moved");
    assert!(spool.inner.shared.recent_writes().take(large).is_some());
    let claimed = spool.claim_due(Timestamp(u64::MAX), 10);
    assert_eq!(
        claimed.iter().map(|claim| claim.message().id).collect::<Vec<_>>(),
        [small]
    );
    drop(claimed);
    put(&spool, b"behind it in the writer").await;
    let listed = spool.list_set_aside(None, 10).expect("listed");
    assert_eq!(listed.iter().map(|found| found.id).collect::<Vec<_>>(), [large]);
    assert_eq!(
        listed[0].reason,
        format!("large/{large}: missing, with {} bytes", 2 * PIECE)
    );
    assert_eq!(listed[0].message.as_ref().expect("readable").id, large);
    let error = spool.release(large).await.expect_err("still missing").to_string();
    assert!(error.contains("cannot be released: large/"), "{error}");

    std::fs::rename(&moved, &file).expect("moved");
    let both = tokio::join!(spool.release(large), spool.release(large));
    let released = [both.0, both.1].map(|released| released.expect("no error"));
    assert!(released.contains(&true), "{released:?}");
    assert_eq!((spool.counts().queued, spool.counts().set_aside), (3, 0));
    assert_eq!(bytes_of(&spool, large), pattern(2 * PIECE));
    close(spool).await;
    assert_eq!(open(folder.path()).counts().queued, 3, "the totals agree");
}
