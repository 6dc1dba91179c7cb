//! The fjall store inside the spool's folder. All functions block.

use std::io;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use fjall::{AbstractTree as _, Guard, PersistMode, Readable as _};
use host_events::{Event, Events};
use host_files::sync_folder;
use host_mail::MessageId;
use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;

use crate::database::{Database, open_database, open_or_make_database};
use crate::integrity::manifest::{Manifest, ManifestFacts};
use crate::integrity::totals::{TOTALS_KEY, Totals};
use crate::spool_error::{BatchError, OpenError};
use crate::store_edit::{StoreEdit, StoreTable};
use crate::stored_record::Stored;

/// Free bytes from which a store is opened again whose disk was full.
const REOPEN_ROOM: u64 = 1024 * 1024;
/// Free bytes below which an error of a background thread is taken for a lack of room: what a flush writes at once.
const FLUSH_ROOM: u64 = 64 * 1024 * 1024;
/// Delay between two attempts to write while the disk is full.
const REOPEN_DELAY: Duration = Duration::from_millis(250);

/// A handle of the store and the folder. Cheap to clone.
#[derive(Clone)]
pub(super) struct SpoolStore {
    inner: Arc<StoreInner>,
}

struct StoreInner {
    root: PathBuf,
    large: PathBuf,
    /// `None` while the store is closed because its disk is full.
    database: RwLock<Option<Arc<Database>>>,
    ledger: Mutex<RunningTotals>,
    lost: Notify,
    events: Events,
    /// True from a batch that the disk had no room for until a batch that was written.
    is_full: AtomicBool,
    /// The database that was closed because its disk was full; the store is not opened again before it is gone.
    closed: Mutex<Weak<Database>>,
    closing: AtomicBool,
}

/// The totals, in memory and in the manifest. Locked for the time of a batch, so that both follow the journal's order.
struct RunningTotals {
    totals: Totals,
    /// False until recovery has counted the records of a spool without valid totals. `totals` holds the changes since
    /// the open until then, and the store no totals.
    known: bool,
    manifest: Option<Manifest>,
}

impl SpoolStore {
    /// Opens the fjall store of a folder that [`crate::open_store`] has examined.
    pub fn open(root: &Path, events: Events) -> Result<Self, OpenError> {
        let database = open_or_make_database(root)?;
        let ledger = RunningTotals {
            totals: Totals::default(),
            known: false,
            manifest: None,
        };
        Ok(Self {
            inner: Arc::new(StoreInner {
                root: root.to_owned(),
                large: root.join("large"),
                database: RwLock::new(Some(Arc::new(database))),
                ledger: Mutex::new(ledger),
                lost: Notify::new(),
                events,
                is_full: AtomicBool::new(false),
                closed: Mutex::default(),
                closing: AtomicBool::new(false),
            }),
        })
    }

    fn database(&self) -> Result<Arc<Database>, String> {
        let database = self.inner.database.read().clone();
        database.ok_or_else(|| "the store is closed until its disk has room".to_owned())
    }

    /// Returns the totals that the store holds, and true if they count every record: every batch of mail writes them,
    /// so that older totals mean that a release without totals has written since.
    pub fn stored_totals(&self) -> Result<Option<(Totals, bool)>, String> {
        let database = self.database()?;
        let stored = database.totals.get(TOTALS_KEY).map_err(|error| error.to_string())?;
        let newest = |keyspace: &fjall::Keyspace| keyspace.tree.get_highest_seqno();
        let count_all = newest(&database.messages) <= newest(&database.totals);
        let totals = stored.and_then(|bytes| Totals::decode(&bytes));
        Ok(totals.map(|totals| (totals, count_all)))
    }

    /// Begins to count from `totals`; if they are unknown but for the number of batches, only the changes are counted
    /// until [`Self::establish_totals`]. Makes the manifest.
    ///
    /// `newest_batch` is a batch that the newest journal holds, if one is known.
    pub fn begin_totals(
        &self,
        totals: Result<Totals, u64>,
        newest_batch: Option<u64>,
        earlier: Option<&ManifestFacts>,
    ) -> Result<(), String> {
        let known = totals.is_ok();
        let totals = totals.unwrap_or_else(|batch| Totals {
            batch,
            ..Totals::default()
        });
        // The manifest names them: their names must be on the disk before.
        for folder in ["store", "store/keyspaces"] {
            sync_folder(&self.inner.root.join(folder)).map_err(|error| format!("{folder}: {error}"))?;
        }
        let after = newest_batch.map_or(totals.batch, |batch| batch.saturating_sub(1));
        let journal = (self.newest_journal()?, after);
        let facts = ManifestFacts::new(&totals, journal, self.database()?.ids(), earlier);
        let manifest = Manifest::open(&self.inner.root, facts).map_err(|error| format!("manifest: {error}"))?;
        *self.inner.ledger.lock() = RunningTotals {
            totals,
            known,
            manifest: Some(manifest),
        };
        Ok(())
    }

    /// Sets the totals to a count of the records at open and the changes since, and writes them into the store.
    pub fn establish_totals(&self, at_open: &Totals) -> Result<(), String> {
        let mut ledger = self.inner.ledger.lock();
        ledger.totals = ledger.totals.plus(at_open);
        ledger.known = true;
        drop(ledger);
        self.write_when_possible(&[])
    }

    /// Notes a loss in the manifest, so that the next open finds it.
    pub fn note_loss(&self, loss: &str) {
        if let Some(manifest) = &mut self.inner.ledger.lock().manifest
            && let Err(error) = manifest.note_loss(loss)
        {
            tracing::warn!(%error, "the manifest of the spool was not written");
        }
    }

    /// Syncs the manifest if it has changed.
    pub fn sync_manifest(&self) {
        let synced = || -> Result<(), String> {
            let journal = self.newest_journal()?;
            let noted = self.inner.ledger.lock().manifest.as_ref().map(Manifest::journal);
            if noted != Some(journal) {
                // Its name must be on the disk before the manifest names it.
                sync_folder(&self.inner.root.join("store")).map_err(|error| error.to_string())?;
            }
            let mut ledger = self.inner.ledger.lock();
            let Some(manifest) = &mut ledger.manifest else {
                return Ok(());
            };
            let file = manifest.note_journal(journal).map_err(|error| error.to_string())?;
            drop(ledger);
            file.map_or(Ok(()), |file| file.sync_data().map_err(|error| error.to_string()))
        };
        if let Err(error) = synced() {
            tracing::warn!(%error, "the manifest of the spool was not synced");
        }
    }

    /// Removes the totals, as in a spool that never had any.
    #[cfg(test)]
    pub fn forget_totals(&self) {
        self.database()
            .expect("open")
            .totals
            .remove(TOTALS_KEY)
            .expect("removed");
    }

    fn newest_journal(&self) -> Result<u64, String> {
        let journals = crate::integrity::journal_scan::journals(&self.inner.root.join("store"));
        let newest = journals.map_err(|error| error.to_string())?.pop();
        Ok(newest.map_or(0, |(number, _)| number))
    }

    /// Applies all edits or none, in a batch that is on disk when the call returns.
    pub fn write(&self, edits: &[StoreEdit]) -> Result<(), BatchError> {
        self.write_once(edits, &[])
    }

    /// Writes edits like [`Self::write`], and waits for room while the disk is full.
    pub fn write_when_possible(&self, edits: &[StoreEdit]) -> Result<(), String> {
        self.write_repeatedly(edits, &[])
    }

    /// Removes keys, which need not be ids, in a durable batch. Waits for room while the disk is full.
    pub fn remove_keys(&self, table: StoreTable, keys: &[Vec<u8>]) -> Result<(), String> {
        let removed: Vec<_> = keys.iter().map(|key| (table, key.as_slice())).collect();
        self.write_repeatedly(&[], &removed)
    }

    fn write_repeatedly(&self, edits: &[StoreEdit], removed: &[(StoreTable, &[u8])]) -> Result<(), String> {
        loop {
            match self.write_once(edits, removed) {
                Ok(()) => return Ok(()),
                Err(BatchError::Store(error)) => return Err(error),
                Err(BatchError::Full(error)) if self.inner.closing.load(Ordering::Relaxed) => return Err(error),
                Err(BatchError::Full(_)) => {
                    std::thread::sleep(REOPEN_DELAY);
                    if let Err(error) = self.reopen() {
                        self.inner.lost.notify_one();
                        return Err(error.to_string());
                    }
                }
            }
        }
    }

    fn write_once(&self, edits: &[StoreEdit], removed: &[(StoreTable, &[u8])]) -> Result<(), BatchError> {
        let database = self.database().map_err(BatchError::Full)?;
        let mut ledger = self.inner.ledger.lock();
        let totals = ledger.totals.after(edits.iter().map(|edit| (edit.id, edit.totals)));
        let mut batch = database.db.batch().durability(Some(PersistMode::SyncData));
        for edit in edits {
            let table = database.table(edit.table);
            match &edit.value {
                Some(value) => batch.insert(table, edit.id.to_string(), value.clone()),
                None => batch.remove(table, edit.id.to_string()),
            }
        }
        for (table, key) in removed {
            batch.remove(database.table(*table), *key);
        }
        if ledger.known {
            batch.insert(&database.totals, TOTALS_KEY, totals.encode());
        }
        let written = batch.commit();
        written.map_err(|error| self.batch_error(&error))?;
        ledger.totals = totals;
        if self.inner.is_full.load(Ordering::Relaxed) && self.inner.is_full.swap(false, Ordering::Relaxed) {
            self.inner.events.emit(Event::SpoolWritable {});
        }
        if ledger.known
            && let Some(manifest) = &mut ledger.manifest
            && let Err(error) = manifest.note(&totals)
        {
            tracing::warn!(%error, "the manifest of the spool was not written");
        }
        Ok(())
    }

    /// Closes the database if its disk is full: after an error it takes no more writes until it is opened again.
    fn batch_error(&self, error: &fjall::Error) -> BatchError {
        let is_full = match error {
            fjall::Error::Io(error) | fjall::Error::Storage(fjall::LsmError::Io(error)) => is_storage_full(error),
            // A background thread met the error, and took back the room that it had used.
            fjall::Error::Poisoned => self.free().is_ok_and(|free| free < FLUSH_ROOM),
            _ => false,
        };
        if !is_full {
            if matches!(error, fjall::Error::Poisoned) {
                self.inner.lost.notify_one();
            }
            return BatchError::Store(error.to_string());
        }
        if let Some(database) = self.inner.database.write().take() {
            *self.inner.closed.lock() = Arc::downgrade(&database);
        }
        if !self.inner.is_full.swap(true, Ordering::Relaxed) {
            let error = error.to_string();
            self.inner.events.emit(Event::SpoolFull { error });
        }
        BatchError::Full(error.to_string())
    }

    /// Opens the database again after the disk was full. True if it is open. Blocks briefly.
    ///
    /// # Errors
    ///
    /// The database cannot be opened for another reason than a lack of room.
    pub fn reopen(&self) -> Result<bool, OpenError> {
        let closed = self.inner.closed.lock();
        if self.inner.database.read().is_some() {
            return Ok(true);
        }
        let has_room = self.free().is_ok_and(|free| free >= REOPEN_ROOM);
        if !has_room || closed.strong_count() > 0 {
            return Ok(false);
        }
        match open_database(&self.inner.root.join("store")) {
            Ok(database) => *self.inner.database.write() = Some(Arc::new(database)),
            // Threads of the closed database end, or the disk has filled again.
            Err(OpenError::InUse | OpenError::Store(_)) => return Ok(false),
            Err(error) => return Err(error),
        }
        Ok(true)
    }

    /// True while the store takes no batch because its disk is full.
    pub fn is_full(&self) -> bool {
        self.inner.is_full.load(Ordering::Relaxed)
    }

    /// Gives up waiting for room, since the spool is being closed.
    pub fn stop_waiting(&self) {
        self.inner.closing.store(true, Ordering::Relaxed);
    }

    fn free(&self) -> io::Result<u64> {
        let found = rustix::fs::statvfs(&self.inner.root)?;
        Ok(found.f_bavail.saturating_mul(found.f_frsize))
    }

    /// Returns when a write was refused because of an earlier disk error. The store refuses all writes from then on,
    /// until the next open.
    pub async fn lost(&self) {
        self.inner.lost.notified().await;
    }

    /// Returns the current value under `id`.
    pub fn value(&self, table: StoreTable, id: MessageId) -> Result<Option<Bytes>, String> {
        self.read_value(table, id).map_err(|error| error.to_string())
    }

    /// Returns the current value under `id`, as [`Self::value`] does, with the system's error if there is one.
    pub fn read_value(&self, table: StoreTable, id: MessageId) -> io::Result<Option<Bytes>> {
        let database = self
            .database()
            .map_err(|text| io::Error::new(io::ErrorKind::ResourceBusy, text))?;
        match database.table(table).get(id.to_string()) {
            Ok(value) => Ok(value.map(Bytes::from_owner)),
            Err(fjall::Error::Io(error) | fjall::Error::Storage(fjall::LsmError::Io(error))) => Err(error),
            Err(error) => Err(io::Error::other(error)),
        }
    }

    /// True if a record is stored under `id`.
    pub fn has_record(&self, id: MessageId) -> Result<bool, String> {
        let database = self.database()?;
        let found = database.messages.contains_key(id.to_string());
        found.map_err(|error| error.to_string())
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
        let database = self.database();
        let items = database.map(|database| database.table(table).range::<String, _>((from, Bound::Unbounded)));
        or_error(items.map(|items| items.map(move |guard| scanned(guard, with_values))))
    }

    /// Takes a snapshot of the store. Values that are removed later stay on the disk until the snapshot is dropped.
    pub fn snapshot(&self) -> Result<Snapshot, String> {
        let database = self.database()?;
        let snapshot = database.db.snapshot();
        Ok(Snapshot { database, snapshot })
    }

    /// Adds entries to the log, all or none. Not synced: entries reach the disk with the next batch of mail or later.
    pub fn append_log(&self, entries: Vec<(String, Vec<u8>)>) -> Result<(), String> {
        let database = self.database()?;
        let mut batch = database.db.batch();
        for (key, value) in entries {
            batch.insert(&database.log, key, value);
        }
        batch.commit().map_err(|error| error.to_string())
    }

    /// Removes entries of the log, all or none. Not synced.
    pub fn remove_log(&self, keys: Vec<String>) -> Result<(), String> {
        let database = self.database()?;
        let mut batch = database.db.batch();
        for key in keys {
            batch.remove(&database.log, key);
        }
        batch.commit().map_err(|error| error.to_string())
    }

    /// Returns the value of an entry of the log.
    pub fn log_entry(&self, key: &str) -> Result<Option<Bytes>, String> {
        match self.database()?.log.get(key) {
            Ok(value) => Ok(value.map(Bytes::from_owner)),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Iterates over the log from a key on; reversed, from the end of the log down to the key.
    pub fn scan_log(&self, from: Bound<String>) -> impl DoubleEndedIterator<Item = LogItem> + use<> {
        let database = self.database();
        let items = database.map(|database| database.log.range::<String, _>((from, Bound::Unbounded)));
        let item = |guard: Guard| match guard.into_inner() {
            Ok((key, value)) => Ok((String::from_utf8_lossy(&key).into_owned(), Bytes::from_owner(value))),
            Err(error) => Err(error.to_string()),
        };
        or_error(items.map(|items| items.map(item)))
    }

    /// Returns the reason why bytes of this message are missing, `None` if head and file have the recorded sizes.
    ///
    /// # Errors
    ///
    /// The store or the file could not be read, which may pass.
    pub fn missing(&self, stored: &Stored) -> Result<Option<String>, String> {
        let id = stored.message.id;
        let head = match self.database()?.bodies.size_of(id.to_string()) {
            Ok(size) => u64::from(size.unwrap_or(0)),
            Err(error) => return Err(error.to_string()),
        };
        if head != stored.head {
            return Ok(Some(format!("body: {head} bytes of {}", stored.head)));
        }
        self.missing_file(stored)
    }

    /// Returns the reason why the spill file is missing or has another size, `None` if all is well.
    ///
    /// # Errors
    ///
    /// The file could not be examined, which may pass.
    pub fn missing_file(&self, stored: &Stored) -> Result<Option<String>, String> {
        let Some(part) = stored.file else { return Ok(None) };
        let id = stored.message.id;
        match std::fs::metadata(self.large_file(id)) {
            Ok(found) if found.len() == part.size => Ok(None),
            Ok(found) => Ok(Some(format!("large/{id}: {} bytes of {}", found.len(), part.size))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Ok(Some(format!("large/{id}: missing, with {} bytes", part.size)))
            }
            Err(error) => Err(format!("large/{id}: {error}")),
        }
    }

    /// Returns the path of a message's spill file.
    pub fn large_file(&self, id: MessageId) -> PathBuf {
        self.inner.large.join(id.to_string())
    }

    /// Returns the folder of the spill files.
    pub fn large(&self) -> &Path {
        &self.inner.large
    }

    /// Returns the spool's folder.
    pub fn root(&self) -> &Path {
        &self.inner.root
    }

    /// Returns the bytes that the tables of bodies take on the disk; 0 while the store is closed.
    pub fn bodies_on_disk(&self) -> u64 {
        self.database().map_or(0, |database| database.bodies.disk_space())
    }

    /// Flushes the memtable and drops deleted bodies. Takes as long as copying all live bodies.
    pub fn compact_bodies(&self) -> Result<(), String> {
        let database = self.database()?;
        // The first compaction finds out which files hold only garbage, the second drops them.
        database
            .bodies
            .rotate_memtable_and_wait()
            .and_then(|()| database.bodies.major_compact())
            .and_then(|()| database.bodies.major_compact())
            .map_err(|error| error.to_string())
    }
}

/// The content of the store at a moment.
pub(super) struct Snapshot {
    database: Arc<Database>,
    snapshot: fjall::Snapshot,
}

impl Snapshot {
    /// Iterates over the keys of a table after `after` in order; over all for an empty key. Values are read only if
    /// `with_values`.
    pub fn scan(&self, table: StoreTable, after: &[u8], with_values: bool) -> impl Iterator<Item = ScanItem> + use<> {
        let from = match after {
            [] => Bound::Unbounded,
            key => Bound::Excluded(key),
        };
        let range = (from, Bound::<&[u8]>::Unbounded);
        let items = self.snapshot.range::<&[u8], _>(self.database.table(table), range);
        items.map(move |guard| scanned(guard, with_values))
    }
}

/// Returns the items, or the error as the only item.
fn or_error<T, I: DoubleEndedIterator<Item = Result<T, String>>>(
    items: Result<I, String>,
) -> impl DoubleEndedIterator<Item = Result<T, String>> {
    let (items, error) = match items {
        Ok(items) => (Some(items), None),
        Err(error) => (None, Some(Err(error))),
    };
    error.into_iter().chain(items.into_iter().flatten())
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

/// True for an error of a disk, or of a quota, that has no room.
pub(super) fn is_storage_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Returns the id that a key encodes; `None` for a foreign key.
pub(super) fn id_of(key: &[u8]) -> Option<MessageId> {
    std::str::from_utf8(key).ok()?.parse().ok()
}
