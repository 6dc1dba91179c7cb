//! The folder and the fjall store in it. Everything here blocks.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use fjall::{Database, Guard, Keyspace, KeyspaceCreateOptions, KvSeparationOptions, PersistMode, Readable, Slice};
use tokio::sync::Notify;

use super::OpenError;
use crate::stored_record::Stored;
use host_mail::MessageId;

/// The format of the folder, written in its `format` file.
const FORMAT: u32 = 1;
/// Memory for records that are not in a table yet.
const RECORD_MEMORY: u64 = 8 * 1024 * 1024;
/// Memory for bodies that are not in a table yet; what leaves before it is full is never written.
const BODY_MEMORY: u64 = 32 * 1024 * 1024;
/// Memory for blocks that were read.
const CACHE: u64 = 16 * 1024 * 1024;
/// Beyond this the store writes out what keeps old journals alive.
const JOURNAL: u64 = 128 * 1024 * 1024;
/// Tables that are kept open.
const OPEN_FILES: usize = 256;
/// Bodies from this size on stay where they are when their keys are compacted.
const SEPARATE: u32 = 1024;

/// One of the store's keyspaces.
#[derive(Debug, Clone, Copy)]
pub(super) enum StoreTable {
    Messages,
    Bodies,
    SetAside,
}

/// One change; no value removes.
#[derive(Debug)]
pub(super) struct StoreEdit {
    pub table: StoreTable,
    pub id: MessageId,
    pub value: Option<Slice>,
}

/// Cheap to clone.
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
    /// Opens or makes the folder; the flag says that it was there before.
    pub fn open(root: &Path) -> Result<(Self, bool), OpenError> {
        let store = |error: io::Error| OpenError::Store(format!("{}: {error}", root.display()));
        fs::create_dir_all(root).map_err(store)?;
        let existed = check_format(root)?;
        let large = root.join("large");
        fs::create_dir_all(&large).map_err(store)?;
        if !existed {
            write_format(root).map_err(store)?;
        }
        // The store asserts what it believes of its files; a damaged one is an error, not our end.
        let opened = catch_unwind(AssertUnwindSafe(|| open_database(&root.join("store"))))
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

    /// All edits or none, on disk when this returns.
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

    /// Returns when a write was refused because an earlier one went wrong: the store, open as it is,
    /// takes no more.
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

    /// The value under `id`, as it stands.
    pub fn value(&self, table: StoreTable, id: MessageId) -> Result<Option<Bytes>, String> {
        match self.table(table).get(id.to_string()) {
            Ok(value) => Ok(value.map(Bytes::from_owner)),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Whether there is a record under `id`.
    pub fn has_record(&self, id: MessageId) -> Result<bool, String> {
        self.messages
            .contains_key(id.to_string())
            .map_err(|error| error.to_string())
    }

    /// Every key of a table in order. Values are read only where `wanted`.
    pub fn scan(
        &self,
        table: StoreTable,
        after: Option<MessageId>,
        wanted: bool,
    ) -> impl Iterator<Item = ScanItem> + use<> {
        let from = match after {
            Some(id) => Bound::Excluded(id.to_string()),
            None => Bound::Unbounded,
        };
        self.table(table)
            .range::<String, _>((from, Bound::Unbounded))
            .map(move |guard| scanned(guard, wanted))
    }

    /// What is in the store now, for as long as it is looked at. It keeps what is removed meanwhile on the disk.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            store: self.clone(),
            now: self.db.snapshot(),
        }
    }

    /// Removes keys that are no ids, too.
    pub fn remove_keys(&self, table: StoreTable, keys: Vec<Vec<u8>>) -> Result<(), String> {
        let mut batch = self.db.batch().durability(Some(PersistMode::SyncData));
        for key in keys {
            batch.remove(self.table(table), key);
        }
        batch.commit().map_err(|error| error.to_string())
    }

    /// Adds entries to the log, all or none. They are on disk with the next batch of mail, or later.
    pub fn append_log(&self, entries: Vec<(String, Vec<u8>)>) -> Result<(), String> {
        let mut batch = self.db.batch();
        for (key, value) in entries {
            batch.insert(&self.log, key, value);
        }
        batch.commit().map_err(|error| error.to_string())
    }

    /// As [`Self::append_log`].
    pub fn remove_log(&self, keys: Vec<String>) -> Result<(), String> {
        let mut batch = self.db.batch();
        for key in keys {
            batch.remove(&self.log, key);
        }
        batch.commit().map_err(|error| error.to_string())
    }

    /// An entry of the log.
    pub fn log_entry(&self, key: &str) -> Result<Option<Bytes>, String> {
        match self.log.get(key) {
            Ok(value) => Ok(value.map(Bytes::from_owner)),
            Err(error) => Err(error.to_string()),
        }
    }

    /// The log from here on, or to here from its end.
    pub fn scan_log(&self, from: Bound<String>) -> impl DoubleEndedIterator<Item = LogItem> + use<> {
        let items = self.log.range::<String, _>((from, Bound::Unbounded));
        items.map(|guard| match guard.into_inner() {
            Ok((key, value)) => Ok((String::from_utf8_lossy(&key).into_owned(), Bytes::from_owner(value))),
            Err(error) => Err(error.to_string()),
        })
    }

    /// Why the bytes of this message cannot all be there; none if they can.
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

    /// As [`Self::missing`], of the file alone.
    pub fn missing_file(&self, stored: &Stored) -> Option<String> {
        let part = stored.file?;
        match fs::metadata(self.large_file(stored.message.id)) {
            Ok(found) if found.len() == part.size => None,
            Ok(found) => Some(format!("file: {} bytes of {}", found.len(), part.size)),
            Err(error) => Some(format!("file: {error}")),
        }
    }

    /// Where the rest of a large message is.
    pub fn large_file(&self, id: MessageId) -> PathBuf {
        self.large.join(id.to_string())
    }

    /// Where large messages are.
    pub fn large(&self) -> &Path {
        &self.large
    }

    /// Bytes the tables of bodies take on the disk.
    pub fn bodies_on_disk(&self) -> u64 {
        self.bodies.disk_space()
    }

    /// Writes out what is in memory and drops what is deleted. Takes as long as copying what is alive.
    pub fn compact_bodies(&self) -> Result<(), String> {
        // The first compaction finds out which files hold only garbage, the second drops them.
        self.bodies
            .rotate_memtable_and_wait()
            .and_then(|()| self.bodies.major_compact())
            .and_then(|()| self.bodies.major_compact())
            .map_err(|error| error.to_string())
    }
}

/// The store as it was at one moment.
pub(super) struct Snapshot {
    store: SpoolStore,
    now: fjall::Snapshot,
}

impl Snapshot {
    /// As [`SpoolStore::scan`], from the beginning.
    pub fn scan(&self, table: StoreTable, wanted: bool) -> impl Iterator<Item = ScanItem> + use<> {
        let items = self.now.iter(self.store.table(table));
        items.map(move |guard| scanned(guard, wanted))
    }
}

fn scanned(guard: Guard, wanted: bool) -> ScanItem {
    match guard.into_inner_if(|_| wanted) {
        Ok((key, value)) => Ok((key.to_vec(), value.map(Bytes::from_owner))),
        Err(error) => Err(error.to_string()),
    }
}

/// A key and, if wanted, its value.
pub(super) type ScanItem = Result<(Vec<u8>, Option<Bytes>), String>;

/// A key and its value.
pub(super) type LogItem = Result<(String, Bytes), String>;

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
    // Files of bodies are rewritten, whatever their age, once more than half of one is garbage.
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

/// Whether this is a spool already; nothing is touched.
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

/// Written whole or not at all.
fn write_format(root: &Path) -> io::Result<()> {
    let draft = root.join("format.new");
    let mut file = File::create(&draft)?;
    writeln!(file, "posthouse-spool {FORMAT}")?;
    file.sync_all()?;
    fs::rename(&draft, root.join("format"))?;
    sync_folder(root)
}

/// Makes a file's name as durable as its bytes.
pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// What a panic said.
pub(super) fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "panic".to_owned())
}
