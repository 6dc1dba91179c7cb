//! The fjall database with the spool's keyspaces and limits.

use std::fs;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use fjall::{Keyspace, KeyspaceCreateOptions, KvSeparationOptions, PersistMode};
use host_files::sync_folder;

use crate::spool_error::OpenError;
use crate::store_edit::StoreTable;

/// Bytes of memory for records that are not in a table yet.
const RECORD_MEMORY: u64 = 8 * 1024 * 1024;
/// Bytes of memory for bodies that are not in a table yet. A body that is removed before the memory fills never reaches
/// a table.
const BODY_MEMORY: u64 = 32 * 1024 * 1024;
/// Bytes of memory for the cache of blocks that were read.
const CACHE: u64 = 16 * 1024 * 1024;
/// Bytes of journals beyond which the store flushes the memtables that keep old journals alive.
const JOURNAL: u64 = 128 * 1024 * 1024;
/// Number of table files kept open.
const OPEN_FILES: usize = 256;
/// Size in bytes from which bodies are stored apart from the keys, so that compaction of keys does not rewrite them.
const SEPARATE: u32 = 1024;

/// An open database. Dropping the last reference closes it.
pub(super) struct Database {
    pub db: fjall::Database,
    pub messages: Keyspace,
    pub bodies: Keyspace,
    pub set_aside: Keyspace,
    pub log: Keyspace,
    /// [`crate::integrity::totals::Totals`] under a single key.
    pub totals: Keyspace,
}

impl Database {
    /// Returns the keyspace of a table.
    pub fn table(&self, table: StoreTable) -> &Keyspace {
        match table {
            StoreTable::Messages => &self.messages,
            StoreTable::Bodies => &self.bodies,
            StoreTable::SetAside => &self.set_aside,
        }
    }

    /// Returns the ids of all keyspaces, that of the database's own included. Each is a folder in `keyspaces/`.
    pub fn ids(&self) -> Vec<u64> {
        let keyspaces = [&self.messages, &self.bodies, &self.set_aside, &self.log, &self.totals];
        let mut ids: Vec<u64> = keyspaces.map(Keyspace::id).into();
        ids.push(0);
        ids.sort_unstable();
        ids
    }
}

/// Opens the database `store` of a spool. A new one is made under another name and renamed when it is whole: a first
/// start that ends half-way, as on a full disk, leaves nothing that a later start takes for a damaged store.
pub(super) fn open_or_make_database(root: &Path) -> Result<Database, OpenError> {
    let failed = |error: io::Error| OpenError::Store(format!("{}: {error}", root.display()));
    let path = root.join("store");
    if !path.try_exists().map_err(failed)? {
        let draft = root.join("store.new");
        match fs::remove_dir_all(&draft) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        let database = open_database(&draft)?;
        let synced = database.db.persist(PersistMode::SyncAll);
        synced.map_err(|error| OpenError::Store(error.to_string()))?;
        drop(database);
        fs::rename(&draft, &path)
            .and_then(|()| sync_folder(root))
            .map_err(failed)?;
    }
    open_database(&path)
}

/// Opens or makes the database in a folder.
///
/// # Errors
///
/// [`OpenError::InUse`] if it is open elsewhere, [`OpenError::Damaged`] if its files are not whole, and
/// [`OpenError::Store`] if they cannot be read or written.
pub(super) fn open_database(path: &Path) -> Result<Database, OpenError> {
    // The store's assertions panic on damaged files: an error here, not the end of the process.
    catch_unwind(AssertUnwindSafe(|| open(path)))
        .unwrap_or_else(|panic| Err(OpenError::damaged("store", panic_text(&*panic))))
}

fn open(path: &Path) -> Result<Database, OpenError> {
    let failed = |error: fjall::Error| match error {
        fjall::Error::Locked => OpenError::InUse,
        fjall::Error::Io(error) | fjall::Error::Storage(fjall::LsmError::Io(error))
            if error.kind() != std::io::ErrorKind::UnexpectedEof =>
        {
            OpenError::Store(error.to_string())
        }
        fjall::Error::InvalidVersion(_) | fjall::Error::Poisoned => OpenError::Store(error.to_string()),
        other => OpenError::damaged("store", format!("cannot be read: {other}")),
    };
    let db = fjall::Database::builder(path)
        .cache_size(CACHE)
        .max_journaling_size(JOURNAL)
        .max_cached_files(Some(OPEN_FILES))
        .worker_threads(2)
        .open()
        .map_err(failed)?;
    let records = || KeyspaceCreateOptions::default().max_memtable_size(RECORD_MEMORY);
    // A file of bodies is rewritten at any age once more than half of the file is garbage.
    let separation = KvSeparationOptions::default()
        .separation_threshold(SEPARATE)
        .staleness_threshold(0.5)
        .age_cutoff(1.0);
    let bodies = || {
        KeyspaceCreateOptions::default()
            .max_memtable_size(BODY_MEMORY)
            .with_kv_separation(Some(separation))
    };
    Ok(Database {
        messages: db.keyspace("messages", records).map_err(failed)?,
        bodies: db.keyspace("bodies", bodies).map_err(failed)?,
        set_aside: db.keyspace("set-aside", records).map_err(failed)?,
        log: db.keyspace("log", records).map_err(failed)?,
        totals: db.keyspace("totals", records).map_err(failed)?,
        db,
    })
}

/// Returns the message of a panic.
pub(super) fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "panic".to_owned())
}
