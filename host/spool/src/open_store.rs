//! Opens the spool's store: examines the files, opens the database, and compares its totals with the manifest.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use host_events::Events;
use host_files::make_private_folder;

use crate::integrity::examine::{Examined, examine};
use crate::integrity::journal_scan::journals;
use crate::integrity::manifest::{MANIFEST, ManifestFacts};
use crate::integrity::salvage;
use crate::integrity::totals::Totals;
use crate::integrity::tree_files;
use crate::removed_files;
use crate::spool_error::{Damage, OpenError, is_storage_full};
use crate::spool_options::OnDamage;
use crate::store::SpoolStore;
use crate::store_edit::StoreTable;
use crate::store_folder::{check_format, write_format};
use crate::store_scan::id_of;
use crate::stored_record::Stored;

/// Number of attempts to take the lock, and the delay after each.
const LOCK_ATTEMPTS: u32 = 4;
const LOCK_RETRY_DELAY: Duration = Duration::from_millis(100);
/// Maximum number of files named among the damage.
const MAX_NAMED: usize = 50;

/// An open store.
pub(super) struct OpenedStore {
    pub store: SpoolStore,
    /// True if the spool existed before.
    pub existed: bool,
    /// Totals at open, unless the spool is new or has none; recovery compares the records with them.
    pub totals: Option<Totals>,
    /// Damage that was found, and the folder that holds what was there before.
    pub salvaged: Option<(Vec<Damage>, PathBuf)>,
}

/// Opens or creates the folder. Nothing is changed before an error of [`OpenError::Damaged`], except that the store has
/// replayed its journal if the damage shows only then.
pub(super) fn open_store(root: &Path, on_damage: OnDamage, events: &Events) -> Result<OpenedStore, OpenError> {
    let failed = |error: io::Error| OpenError::Store(format!("{}: {error}", root.display()));
    make_private_folder(root).map_err(failed)?;
    let existed = check_format(root)?;
    let mut examined = Examined::default();
    let mut kept = None;
    if existed {
        let _lock = lock(root).map_err(failed)?.ok_or(OpenError::InUse)?;
        examined = examine(root).map_err(failed)?;
        if examined.damage.is_empty() && on_damage == OnDamage::Salvage {
            // Tables are read only here: a damaged one shows when the store opens, or not before its use.
            examined.damage = damaged_tables(root).map_err(failed)?;
        }
        if examined.damage.is_empty() {
            for torn in &examined.torn {
                match removed_files::keep_tail(&removed_files::orphans(root), torn) {
                    // The manifest tells that no acknowledged batch is among the bytes.
                    Err(error) if is_storage_full(&error) && examined.facts.is_some() => {
                        tracing::warn!(%error, "an unfinished batch of the last run is not kept");
                    }
                    kept => kept.map_err(failed)?,
                }
            }
        } else if on_damage == OnDamage::Salvage {
            kept = Some(salvage::repair(root, &examined).map_err(failed)?);
        } else {
            return Err(OpenError::Damaged(examined.damage));
        }
    }
    make_private_folder(&root.join("large")).map_err(failed)?;
    if !existed {
        write_format(root).map_err(failed)?;
    }
    let store = match SpoolStore::open(root, events.clone()) {
        Err(OpenError::Damaged(_))
            if kept.is_some() && salvage::leave_out_damaged(&root.join("store")).map_err(failed)? =>
        {
            SpoolStore::open(root, events.clone())?
        }
        Err(OpenError::Damaged(found)) if existed => return Err(OpenError::Damaged(named(root, found))),
        opened => opened?,
    };
    let stored = store.stored_totals().map_err(OpenError::Store)?;
    let facts = examined.facts.as_ref();
    let mut damage = examined.damage;
    if existed && damage.is_empty() {
        damage = compare(&store, facts, stored.map(|(totals, _)| totals))?;
        if on_damage == OnDamage::Refuse && !damage.is_empty() {
            return Err(OpenError::Damaged(damage));
        }
    }
    let batch = stored
        .map_or(0, |(totals, _)| totals.batch)
        .max(facts.map_or(0, |facts| facts.batch));
    let totals = match stored {
        None if !existed => Ok(Totals::default()),
        Some((totals, true)) if damage.is_empty() => Ok(totals),
        _ => Err(batch), // Recovery counts what is there.
    };
    store
        .begin_totals(totals, examined.newest_batch, facts)
        .map_err(OpenError::Store)?;
    let salvaged = (!damage.is_empty()).then(|| (damage, kept.unwrap_or_else(|| removed_files::damaged(root))));
    Ok(OpenedStore {
        store,
        existed,
        totals: totals.ok(),
        salvaged,
    })
}

/// Names the files of a store that cannot be opened, if their checksums tell; otherwise returns `found`.
fn named(root: &Path, found: Vec<Damage>) -> Vec<Damage> {
    match damaged_tables(root) {
        Ok(damaged) if !damaged.is_empty() => damaged,
        _ => found,
    }
}

/// Returns the tables and blob files that are not as they were written. Reads all of them.
pub(super) fn damaged_tables(root: &Path) -> io::Result<Vec<Damage>> {
    let mut damage = Vec::new();
    let store = root.join("store");
    if store.join("keyspaces").is_dir() {
        for keyspace in salvage::keyspaces(&store)? {
            let found = tree_files::damaged(&keyspace)?.into_iter();
            damage.extend(found.map(|found| Damage::at(root, &found.path, found.text)));
        }
    }
    Ok(damage)
}

/// Compares the open store with the manifest, and the files of large messages with the totals.
fn compare(
    store: &SpoolStore,
    facts: Option<&ManifestFacts>,
    totals: Option<Totals>,
) -> Result<Vec<Damage>, OpenError> {
    let Some(facts) = facts else {
        // A spool of a release without manifests has no totals either.
        let lost = totals.map(|_| Damage::new(MANIFEST, "is missing"));
        return Ok(lost.into_iter().collect());
    };
    let found = totals.unwrap_or_default();
    if found.batch < facts.batch {
        let text = format!(
            "ends at batch {} of {} ({} messages, {} when it was last written)",
            found.batch, facts.batch, found.messages, facts.messages
        );
        return Ok(vec![Damage::new(newest_journal(store), text)]);
    }
    match found.files {
        0 => Ok(Vec::new()),
        _ => missing_bodies(store, &found),
    }
}

fn newest_journal(store: &SpoolStore) -> String {
    let journals = journals(&store.root().join("store")).unwrap_or_default();
    let newest = journals.last().map(|(number, _)| format!("store/{number}.jnl"));
    newest.unwrap_or_else(|| "store".to_owned())
}

/// Returns the missing and short files of large messages. The records are read only if the folder holds fewer files or
/// bytes than the totals say.
fn missing_bodies(store: &SpoolStore, totals: &Totals) -> Result<Vec<Damage>, OpenError> {
    let failed = |error: io::Error| OpenError::Store(format!("{}: {error}", store.large().display()));
    let (mut files, mut bytes) = (0_u64, 0_u64);
    for entry in fs::read_dir(store.large()).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if id_of(entry.file_name().as_encoded_bytes()).is_some() {
            files += 1;
            bytes += entry.metadata().map_or(0, |found| found.len());
        }
    }
    if files >= totals.files && bytes >= totals.bytes {
        return Ok(Vec::new());
    }
    let mut damage = Vec::new();
    for item in store.scan(StoreTable::Messages, None, true) {
        let (key, value) = item.map_err(OpenError::Store)?;
        let Some(stored) = id_of(&key).and_then(|id| Stored::decode(id, &value.unwrap_or_default()).ok()) else {
            continue;
        };
        if let Ok(Some(text)) = store.missing_file(&stored) {
            let (file, text) = text.split_once(": ").unwrap_or(("large", &text));
            damage.push(Damage::new(file, text));
        }
        if damage.len() == MAX_NAMED {
            damage.push(Damage::new("large", "has no more of the files either, or lacks others"));
            break;
        }
    }
    Ok(damage)
}

/// Takes the store's lock, which fjall takes again later. `None` if another process holds it.
fn lock(root: &Path) -> io::Result<Option<File>> {
    let file = match File::open(root.join("store/lock")) {
        Ok(file) => file,
        // A damaged or unfinished store, which no process has open.
        Err(error) if error.kind() == io::ErrorKind::NotFound => File::open(root)?,
        Err(error) => return Err(error),
    };
    for _ in 0..LOCK_ATTEMPTS {
        match file.try_lock() {
            Ok(()) => return Ok(Some(file)),
            // The process may be about to end.
            Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_RETRY_DELAY),
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
    Ok(None)
}
