//! Tests of a spool that lacks a part: the part is named, nothing is changed, and the rest can be salvaged. A crash is no
//! damage.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::damage::{recovered, reopen};
use super::*;
use crate::draft::PIECE;
use crate::integrity::journal_scan::{journals, read_data};
use crate::integrity::manifest;

/// Makes a spool with 20 small messages and two large ones, and closes it.
async fn filled(path: &Path) -> Vec<MessageId> {
    let spool = open(path);
    let mut ids = Vec::new();
    for number in 0..20 {
        ids.push(put(&spool, &pattern(500 + number)).await);
    }
    for number in 0..2 {
        ids.push(put(&spool, &pattern(2 * PIECE + number)).await);
    }
    close(spool).await;
    ids
}

fn journal(path: &Path) -> PathBuf {
    journals(&path.join("store"))
        .expect("store")
        .pop()
        .expect("a journal")
        .1
}

/// Returns names and contents of all files, the holes of journals left out.
fn files(path: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![path.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("folder") {
            let path = entry.expect("entry").path();
            match path.is_dir() {
                true => folders.push(path),
                false => drop(found.insert(path.clone(), read_data(&path).expect("readable"))),
            }
        }
    }
    found
}

/// Opens a spool that must be refused; returns the damage.
fn refused(path: &Path) -> Vec<Damage> {
    match Spool::open(path, SpoolOptions::default(), Events::discard()) {
        Err(OpenError::Damaged(damage)) => damage,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("the damage was not seen"),
    }
}

/// Damages a spool, expects the refusal to name `file`, and returns the number of messages after a salvage.
async fn after(damage: impl FnOnce(&Path), file: &str) -> usize {
    let folder = tempfile::tempdir().expect("folder");
    let ids = filled(folder.path()).await;
    damage(folder.path());
    let before = files(folder.path());
    for _ in 0..2 {
        let named = refused(folder.path());
        assert!(named.iter().any(|damage| damage.file == file), "{file}: {named:?}");
        assert_eq!(
            files(folder.path()).len(),
            before.len(),
            "{file}: no file comes or goes"
        );
    }
    for (path, bytes) in &before {
        // Opening the store cuts a journal's hole off, and writes nothing else.
        assert_eq!(&read_data(path).expect("readable"), bytes, "{}", path.display());
    }
    let (spool, events) = reopen(folder.path());
    let salvaged = events
        .iter()
        .any(|event| matches!(event, host_events::Event::SpoolSalvaged { .. }));
    assert!(salvaged, "{file}");
    let left: Vec<_> = ids.iter().filter(|id| matches!(spool.get(**id), Ok(Some(_)))).collect();
    for id in &left {
        assert!(!bytes_of(&spool, **id).is_empty());
    }
    assert_eq!(spool.counts().queued, left.len() as u64, "{file}");
    let left = left.len();
    put(&spool, b"goes on").await;
    close(spool).await;
    // Every byte is still somewhere.
    let after: Vec<Vec<u8>> = files(folder.path()).into_values().collect();
    for (path, bytes) in before {
        let is_kept = path.ends_with(manifest::MANIFEST) || after.contains(&bytes);
        assert!(is_kept, "{} is gone", path.display());
    }
    let (spool, events) = (open(folder.path()), ());
    assert_eq!(
        (spool.counts().queued, events),
        (left as u64 + 1, ()),
        "the next open finds no damage"
    );
    left
}

fn cut(path: &Path, to: impl FnOnce(usize) -> usize) {
    let bytes = read_data(path).expect("readable");
    std::fs::write(path, &bytes[..to(bytes.len())]).expect("written");
}

#[tokio::test]
async fn missing_or_empty_journal_is_seen() {
    let remove = |path: &Path| std::fs::remove_file(journal(path)).expect("removed");
    assert_eq!(after(remove, "store/0.jnl").await, 0);
    let empty = |path: &Path| std::fs::write(journal(path), b"").expect("written");
    assert_eq!(after(empty, "store/0.jnl").await, 0);
    let zeros = |path: &Path| std::fs::write(journal(path), vec![0; 1 << 20]).expect("written");
    assert_eq!(after(zeros, "store/0.jnl").await, 0);
}

#[tokio::test]
async fn half_a_journal_is_seen_and_salvaged() {
    let half = |path: &Path| cut(&journal(path), |length| length / 2);
    let left = after(half, "store/0.jnl").await;
    assert!((5..20).contains(&left), "{left}");
    let last_byte = |path: &Path| cut(&journal(path), |length| length - 1);
    assert_eq!(after(last_byte, "store/0.jnl").await, 21);
}

#[tokio::test]
async fn batches_behind_a_damaged_one_are_salvaged() {
    let flip = |path: &Path| {
        let mut bytes = read_data(&journal(path)).expect("readable");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0xff;
        std::fs::write(journal(path), bytes).expect("written");
    };
    assert_eq!(after(flip, "store/0.jnl").await, 21);
}

#[tokio::test]
async fn missing_parts_of_the_store_are_seen() {
    let in_store = |name: &'static str| {
        move |path: &Path| {
            let path = path.join("store").join(name);
            match path.is_dir() {
                true => std::fs::remove_dir_all(path).expect("removed"),
                false => std::fs::remove_file(path).expect("removed"),
            }
        }
    };
    assert_eq!(
        after(in_store("keyspaces/1/current"), "store/keyspaces/1/current").await,
        22
    );
    assert_eq!(
        after(in_store("keyspaces/0/current"), "store/keyspaces/0/current").await,
        22
    );
    assert_eq!(after(in_store("version"), "store/version").await, 22);
    let short = |path: &Path| std::fs::write(path.join("store/keyspaces/2/current"), b"x").expect("written");
    assert_eq!(after(short, "store/keyspaces/2/current").await, 22);
    let store = |path: &Path| std::fs::remove_dir_all(path.join("store")).expect("removed");
    assert_eq!(after(store, "store").await, 0);
}

#[tokio::test]
async fn missing_or_empty_manifest_is_seen() {
    let remove = |path: &Path| std::fs::remove_file(manifest::path(path)).expect("removed");
    assert_eq!(after(remove, "manifest").await, 22);
    let empty = |path: &Path| std::fs::write(manifest::path(path), b"").expect("written");
    assert_eq!(after(empty, "manifest").await, 22);
}

#[tokio::test]
async fn missing_or_short_body_is_named_and_set_aside_by_salvage() {
    for short in [false, true] {
        let folder = tempfile::tempdir().expect("folder");
        let ids = filled(folder.path()).await;
        let file = format!("large/{}", ids[20]);
        match short {
            true => cut(&folder.path().join(&file), |length| length - 1),
            false => std::fs::remove_file(folder.path().join(&file)).expect("removed"),
        }
        let named = refused(folder.path());
        assert_eq!(named.iter().map(|damage| &damage.file).collect::<Vec<_>>(), [&file]);
        let (spool, events) = reopen(folder.path());
        assert_eq!(recovered(&events), (21, 0, 1));
        close(spool).await;
        assert_eq!(open(folder.path()).counts().set_aside, 1);
    }
}

#[tokio::test]
async fn a_missing_or_short_table_is_named_and_left_out() {
    let folder = tempfile::tempdir().expect("folder");
    let spool = open(folder.path());
    put(&spool, &pattern(2000)).await;
    spool.inner.shared.store.compact_bodies().expect("flushed");
    let kept = put(&spool, &pattern(3000)).await;
    close(spool).await;
    let tables = folder.path().join("store/keyspaces/2/tables");
    let table = std::fs::read_dir(tables)
        .expect("folder")
        .next()
        .expect("a table")
        .expect("entry")
        .path();
    let bytes = std::fs::read(&table).expect("readable");
    std::fs::remove_file(&table).expect("removed");
    let named = refused(folder.path());
    assert_eq!(folder.path().join(&named[0].file), table, "{named:?}");
    std::fs::write(&table, &bytes[..bytes.len() - 7]).expect("written");
    let named = refused(folder.path());
    assert_eq!(folder.path().join(&named[0].file), table, "{named:?}");

    let (spool, events) = reopen(folder.path());
    assert_eq!(recovered(&events), (2, 0, 0), "both bodies are still in the journal");
    assert_eq!(bytes_of(&spool, kept), pattern(3000));
    close(spool).await;
    assert_eq!(open(folder.path()).counts().queued, 2);
}

#[tokio::test]
async fn records_that_are_gone_without_a_trace_stop_recovery() {
    let folder = tempfile::tempdir().expect("folder");
    let ids = filled(folder.path()).await;
    // As from a table of an older copy: record and body are missing, and every file is whole.
    let opened = crate::open_store::open_store(folder.path(), OnDamage::Refuse, &Events::discard()).expect("store");
    for table in [StoreTable::Messages, StoreTable::Bodies] {
        opened
            .store
            .write(&[StoreEdit::new(table, ids[3], None)])
            .expect("written");
    }
    drop(opened);
    for _ in 0..2 {
        let named = refused(folder.path());
        assert!(named[0].text.contains("holds 21 messages, and not the 22"), "{named:?}");
    }
    let (spool, _) = reopen(folder.path());
    assert_eq!(spool.counts().queued, 21);
    close(spool).await;
    assert_eq!(open(folder.path()).counts().queued, 21);
}

#[tokio::test]
async fn a_manifest_that_lags_behind_a_power_cut_is_no_damage() {
    let folder = tempfile::tempdir().expect("folder");
    filled(folder.path()).await;
    let stale = std::fs::read(manifest::path(folder.path())).expect("read");
    let spool = open(folder.path());
    for _ in 0..3 {
        spool
            .settle(claim_one(&spool), None, Vec::new())
            .await
            .expect("settled");
    }
    put(&spool, b"new").await;
    close(spool).await;
    std::fs::write(manifest::path(folder.path()), stale).expect("written");
    assert_eq!(open(folder.path()).counts().queued, 20);
}

#[tokio::test]
async fn a_torn_batch_is_no_damage_and_its_bytes_are_kept() {
    let folder = tempfile::tempdir().expect("folder");
    filled(folder.path()).await;
    let path = journal(folder.path());
    let mut bytes = read_data(&path).expect("readable");
    let torn = bytes[..200].to_vec();
    bytes.extend_from_slice(&torn);
    std::fs::write(&path, &bytes).expect("written");
    assert_eq!(open(folder.path()).counts().queued, 22);
    let kept = files(&crate::removed_files::orphans(folder.path()));
    assert_eq!(kept.into_values().collect::<Vec<_>>(), [torn]);
}

#[tokio::test]
async fn a_spool_without_totals_opens_and_gets_them() {
    let folder = tempfile::tempdir().expect("folder");
    let ids = filled(folder.path()).await;
    // As a release without manifests leaves a spool that has one, and one that has none.
    for with_manifest in [true, false] {
        let store = crate::store::SpoolStore::open(folder.path(), Events::discard()).expect("store");
        let id = MessageId::generate();
        let stored = crate::stored_record::Stored::new(message(id), 0, None);
        let gone = if with_manifest { ids[0] } else { ids[1] };
        let edits = vec![
            StoreEdit::record(&stored).expect("encoded"),
            StoreEdit::new(StoreTable::Messages, gone, None),
            StoreEdit::new(StoreTable::Bodies, gone, None),
        ];
        store.write(&edits).expect("written");
        if !with_manifest {
            store.forget_totals();
            std::fs::remove_file(manifest::path(folder.path())).expect("removed");
        }
        drop(store);
        let (spool, events) = reopen(folder.path());
        assert_eq!(recovered(&events), (22, 0, 0));
        close(spool).await;
        assert!(manifest::path(folder.path()).exists());
        assert_eq!(open(folder.path()).counts().queued, 22);
    }
}
