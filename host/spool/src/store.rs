//! The spool's folder and the fjall store inside. All functions block.

use std::fs;
use std::io;
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use fjall::{Database, Guard, Keyspace, KeyspaceCreateOptions, KvSeparationOptions, PersistMode, Readable, Slice};
use host_files::{make_private_folder, replace_whole, sync_folder};
use host_mail::MessageId;
use tokio::sync::Notify;

use crate::spool_error::{OpenError, PutError};
use crate::stored_record::Stored;

/// Format of the folder, written in the file `format`.
const FORMAT: u32 = 1;
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

/// A keyspace of the store that is keyed by message id.
#[derive(Debug, Clone, Copy)]
pub(super) enum StoreTable {
    Messages,
    Bodies,
    SetAside,
}

/// A change of a key: `Some` inserts the value, `None` removes the key.
#[derive(Debug)]
pub(super) struct StoreEdit {
    pub table: StoreTable,
    pub id: MessageId,
    pub value: Option<Slice>,
}

impl StoreEdit {
    /// Creates the edit that writes a message's record.
    pub fn record(stored: &Stored) -> Result<Self, PutError> {
        Ok(Self {
            table: StoreTable::Messages,
            id: stored.message.id,
            value: Some(stored.encode().map_err(PutError::Store)?.into()),
        })
    }
}

/// A handle of the store and the folder. Cheap to clone.
#[derive(Clone)]
pub(super) struct SpoolStore {
    db: Database,
    messages: Keyspace,
    bodies: Keyspace,
    set_aside: Keyspace,
    log: Keyspace,
    large: PathBuf,
    lost: Arc<Notify>,
}

impl SpoolStore {
    /// Opens or creates the folder; the flag is true if the spool existed before.
    pub fn open(root: &Path) -> Result<(Self, bool), OpenError> {
        let store = |error: io::Error| OpenError::Store(format!("{}: {error}", root.display()));
        make_private_folder(root).map_err(store)?;
        let existed = check_format(root)?;
        let large = root.join("large");
        make_private_folder(&large).map_err(store)?;
        if !existed {
            write_format(root).map_err(store)?;
        }
        // The store's assertions panic on damaged files: an error here, not the end of the process.
        let opened = catch_unwind(AssertUnwindSafe(|| open_or_make_database(root)))
            .unwrap_or_else(|panic| Err(OpenError::Store(panic_text(&*panic))));
        let (db, [messages, bodies, set_aside, log]) = opened?;
        let store = Self {
            db,
            messages,
            bodies,
            set_aside,
            log,
            large,
            lost: Arc::default(),
        };
        Ok((store, existed))
    }

    /// Applies all edits or none, in a batch that is on disk when the call returns.
    pub fn write(&self, edits: Vec<StoreEdit>) -> Result<(), String> {
        let mut batch = self.db.batch().durability(Some(PersistMode::SyncData));
        for edit in edits {
            let table = self.table(edit.table);
            match edit.value {
                Some(value) => batch.insert(table, edit.id.to_string(), value),
                None => batch.remove(table, edit.id.to_string()),
            }
        }
        batch.commit().map_err(|error| {
            if matches!(error, fjall::Error::Poisoned) {
                self.lost.notify_one();
            }
            error.to_string()
        })
    }

    /// Returns when a write was refused because of an earlier disk error. The store refuses all writes from then on,
    /// until the next open.
    pub async fn lost(&self) {
        self.lost.notified().await;
    }

    fn table(&self, table: StoreTable) -> &Keyspace {
        match table {
            StoreTable::Messages => &self.messages,
            StoreTable::Bodies => &self.bodies,
            StoreTable::SetAside => &self.set_aside,
        }
    }

    /// Returns the current value under `id`.
    pub fn value(&self, table: StoreTable, id: MessageId) -> Result<Option<Bytes>, String> {
        match self.table(table).get(id.to_string()) {
            Ok(value) => Ok(value.map(Bytes::from_owner)),
            Err(error) => Err(error.to_string()),
        }
    }

    /// True if a record is stored under `id`.
    pub fn has_record(&self, id: MessageId) -> Result<bool, String> {
        self.messages
            .contains_key(id.to_string())
            .map_err(|error| error.to_string())
    }

    /// Iterates over the keys of a table after `after`, in order. Values are read only if `with_values`.
    pub fn scan(
        &self,
        table: StoreTable,
        after: Option<MessageId>,
        with_values: bool,
    ) -> impl Iterator<Item = ScanItem> + use<> {
        let from = match after {
            Some(id) => Bound::Excluded(id.to_string()),
            None => Bound::Unbounded,
        };
        self.table(table)
            .range::<String, _>((from, Bound::Unbounded))
            .map(move |guard| scanned(guard, with_values))
    }

    /// Takes a snapshot of the store. Values that are removed later stay on the disk until the snapshot is dropped.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            store: self.clone(),
            snapshot: self.db.snapshot(),
        }
    }

    /// Removes keys, which need not be ids, in a durable batch.
    pub fn remove_keys(&self, table: StoreTable, keys: Vec<Vec<u8>>) -> Result<(), String> {
        let mut batch = self.db.batch().durability(Some(PersistMode::SyncData));
        for key in keys {
            batch.remove(self.table(table), key);
        }
        batch.commit().map_err(|error| error.to_string())
    }

    /// Adds entries to the log, all or none. Not synced: entries reach the disk with the next batch of mail or later.
    pub fn append_log(&self, entries: Vec<(String, Vec<u8>)>) -> Result<(), String> {
        let mut batch = self.db.batch();
        for (key, value) in entries {
            batch.insert(&self.log, key, value);
        }
        batch.commit().map_err(|error| error.to_string())
    }

    /// Removes entries of the log, all or none. Not synced.
    pub fn remove_log(&self, keys: Vec<String>) -> Result<(), String> {
        let mut batch = self.db.batch();
        for key in keys {
            batch.remove(&self.log, key);
        }
        batch.commit().map_err(|error| error.to_string())
    }

    /// Returns the value of an entry of the log.
    pub fn log_entry(&self, key: &str) -> Result<Option<Bytes>, String> {
        match self.log.get(key) {
            Ok(value) => Ok(value.map(Bytes::from_owner)),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Iterates over the log from a key on; reversed, from the end of the log down to the key.
    pub fn scan_log(&self, from: Bound<String>) -> impl DoubleEndedIterator<Item = LogItem> + use<> {
        let items = self.log.range::<String, _>((from, Bound::Unbounded));
        items.map(|guard| match guard.into_inner() {
            Ok((key, value)) => Ok((String::from_utf8_lossy(&key).into_owned(), Bytes::from_owner(value))),
            Err(error) => Err(error.to_string()),
        })
    }

    /// Returns the reason why bytes of this message are missing, `None` if head and file have the recorded sizes.
    pub fn missing(&self, stored: &Stored) -> Result<Option<String>, String> {
        let id = stored.message.id;
        let head = match self.bodies.size_of(id.to_string()) {
            Ok(size) => u64::from(size.unwrap_or(0)),
            Err(error) => return Err(error.to_string()),
        };
        if head != stored.head {
            return Ok(Some(format!("body: {head} bytes of {}", stored.head)));
        }
        Ok(self.missing_file(stored))
    }

    /// Returns the reason why the spill file is missing or has another size, `None` if all is well.
    pub fn missing_file(&self, stored: &Stored) -> Option<String> {
        let part = stored.file?;
        match fs::metadata(self.large_file(stored.message.id)) {
            Ok(found) if found.len() == part.size => None,
            Ok(found) => Some(format!("file: {} bytes of {}", found.len(), part.size)),
            Err(error) => Some(format!("file: {error}")),
        }
    }

    /// Returns the path of a message's spill file.
    pub fn large_file(&self, id: MessageId) -> PathBuf {
        self.large.join(id.to_string())
    }

    /// Returns the folder of the spill files.
    pub fn large(&self) -> &Path {
        &self.large
    }

    /// Returns the bytes that the tables of bodies take on the disk.
    pub fn bodies_on_disk(&self) -> u64 {
        self.bodies.disk_space()
    }

    /// Flushes the memtable and drops deleted bodies. Takes as long as copying all live bodies.
    pub fn compact_bodies(&self) -> Result<(), String> {
        // The first compaction finds out which files hold only garbage, the second drops them.
        self.bodies
            .rotate_memtable_and_wait()
            .and_then(|()| self.bodies.major_compact())
            .and_then(|()| self.bodies.major_compact())
            .map_err(|error| error.to_string())
    }
}

/// The content of the store at a moment.
pub(super) struct Snapshot {
    store: SpoolStore,
    snapshot: fjall::Snapshot,
}

impl Snapshot {
    /// Iterates over all keys of a table in order. Values are read only if `with_values`.
    pub fn scan(&self, table: StoreTable, with_values: bool) -> impl Iterator<Item = ScanItem> + use<> {
        let items = self.snapshot.iter(self.store.table(table));
        items.map(move |guard| scanned(guard, with_values))
    }
}

fn scanned(guard: Guard, with_values: bool) -> ScanItem {
    match guard.into_inner_if(|_| with_values) {
        Ok((key, value)) => Ok((key.to_vec(), value.map(Bytes::from_owner))),
        Err(error) => Err(error.to_string()),
    }
}

/// A key and, if the scan reads values, the value.
pub(super) type ScanItem = Result<(Vec<u8>, Option<Bytes>), String>;

/// Key and value of an entry of the log.
pub(super) type LogItem = Result<(String, Bytes), String>;

/// Opens the store of a spool. A new store is made under another name and renamed when it is whole: a first start that
/// ends half-way, as on a full disk, leaves nothing that a later start takes for a damaged store.
fn open_or_make_database(root: &Path) -> Result<(Database, [Keyspace; 4]), OpenError> {
    let failed = |error: io::Error| OpenError::Store(format!("{}: {error}", root.display()));
    let path = root.join("store");
    if !path.try_exists().map_err(failed)? {
        let draft = root.join("store.new");
        match fs::remove_dir_all(&draft) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        let (database, tables) = open_database(&draft)?;
        database
            .persist(PersistMode::SyncAll)
            .map_err(|error| OpenError::Store(error.to_string()))?;
        drop((tables, database));
        fs::rename(&draft, &path)
            .and_then(|()| sync_folder(root))
            .map_err(failed)?;
    }
    open_database(&path)
}

fn open_database(path: &Path) -> Result<(Database, [Keyspace; 4]), OpenError> {
    let failed = |error: fjall::Error| match error {
        fjall::Error::Locked => OpenError::InUse,
        other => OpenError::Store(other.to_string()),
    };
    let db = Database::builder(path)
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
    let messages = db.keyspace("messages", records).map_err(failed)?;
    let bodies = db.keyspace("bodies", bodies).map_err(failed)?;
    let set_aside = db.keyspace("set-aside", records).map_err(failed)?;
    let log = db.keyspace("log", records).map_err(failed)?;
    Ok((db, [messages, bodies, set_aside, log]))
}

/// True if the folder is a spool of this format already; false if it is new. Changes nothing.
fn check_format(root: &Path) -> Result<bool, OpenError> {
    let path = root.join("format");
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return match root.join("store").exists() {
                false => Ok(false),
                true => Err(OpenError::Store(format!(
                    "{} has no format file: not a spool, or not all of one",
                    root.display()
                ))),
            };
        }
        Err(error) => return Err(OpenError::Store(format!("{}: {error}", path.display()))),
    };
    let found = text
        .strip_prefix("posthouse-spool ")
        .and_then(|number| number.trim_end().parse::<u32>().ok());
    match found {
        Some(FORMAT) => Ok(true),
        Some(found) if found > FORMAT => Err(OpenError::Newer { found, known: FORMAT }),
        _ => Err(OpenError::Store(format!(
            "{}: {text:?} is no spool format",
            path.display()
        ))),
    }
}

/// Writes the file `format` atomically.
fn write_format(root: &Path) -> io::Result<()> {
    replace_whole(&root.join("format"), format!("posthouse-spool {FORMAT}\n").as_bytes())
}

/// Returns the id that a key encodes; `None` for a foreign key.
pub(super) fn id_of(key: &[u8]) -> Option<MessageId> {
    std::str::from_utf8(key).ok()?.parse().ok()
}

/// Returns the message of a panic.
pub(super) fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "panic".to_owned())
}
