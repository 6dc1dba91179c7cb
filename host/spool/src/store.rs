//! The fjall store inside the spool's folder. All functions block.

use std::io;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use fjall::{AbstractTree as _, Guard, PersistMode};
use host_events::Events;
use host_files::sync_folder;
use host_mail::MessageId;
use parking_lot::Mutex;

use crate::database::Database;
use crate::database_slot::DatabaseSlot;
use crate::integrity::manifest::ManifestFacts;
use crate::integrity::running_totals::RunningTotals;
use crate::integrity::totals::{TOTALS_KEY, Totals};
use crate::spool_error::{BatchError, OpenError};
use crate::store_edit::{StoreEdit, StoreTable};
use crate::store_scan::{LogItem, ScanItem, Snapshot, or_error, scanned};
use crate::stored_record::Stored;

/// A handle of the store and the folder. Cheap to clone.
#[derive(Clone)]
pub(super) struct SpoolStore {
    inner: Arc<StoreInner>,
}

struct StoreInner {
    root: PathBuf,
    large: PathBuf,
    slot: DatabaseSlot,
    totals: Mutex<RunningTotals>,
}

impl SpoolStore {
    /// Opens the fjall store of a folder that [`crate::open_store`] has examined.
    pub fn open(root: &Path, events: Events) -> Result<Self, OpenError> {
        Ok(Self {
            inner: Arc::new(StoreInner {
                root: root.to_owned(),
                large: root.join("large"),
                slot: DatabaseSlot::open(root, events)?,
                totals: Mutex::default(),
            }),
        })
    }

    fn database(&self) -> Result<Arc<Database>, String> {
        self.inner.slot.get()
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
        // The manifest names them: their names must be on the disk before.
        for folder in ["store", "store/keyspaces"] {
            sync_folder(&self.inner.root.join(folder)).map_err(|error| format!("{folder}: {error}"))?;
        }
        let mut totals = RunningTotals::new(totals);
        let journal = (self.newest_journal()?, newest_batch);
        totals
            .make_manifest(&self.inner.root, journal, self.database()?.ids(), earlier)
            .map_err(|error| format!("manifest: {error}"))?;
        *self.inner.totals.lock() = totals;
        Ok(())
    }

    /// Sets the totals to a count of the records at open and the changes since, and writes them into the store.
    pub fn establish_totals(&self, at_open: &Totals) -> Result<(), String> {
        self.inner.totals.lock().establish(at_open);
        self.write_when_possible(&[])
    }

    /// Notes a loss in the manifest, so that the next open finds it.
    pub fn note_loss(&self, loss: &str) {
        self.inner.totals.lock().note_loss(loss);
    }

    /// Syncs the manifest if it has changed.
    pub fn sync_manifest(&self) {
        let synced = || -> Result<(), String> {
            let journal = self.newest_journal()?;
            let noted = self.inner.totals.lock().noted_journal();
            if noted != Some(journal) {
                // Its name must be on the disk before the manifest names it.
                sync_folder(&self.inner.root.join("store")).map_err(|error| error.to_string())?;
            }
            let file = self.inner.totals.lock().note_journal(journal);
            let file = file.map_err(|error| error.to_string())?;
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
        self.inner.slot.write_repeatedly(|| self.write_once(edits, &[]))
    }

    /// Removes keys, which need not be ids, in a durable batch. Waits for room while the disk is full.
    pub fn remove_keys(&self, table: StoreTable, keys: &[Vec<u8>]) -> Result<(), String> {
        let removed: Vec<_> = keys.iter().map(|key| (table, key.as_slice())).collect();
        self.inner.slot.write_repeatedly(|| self.write_once(&[], &removed))
    }

    fn write_once(&self, edits: &[StoreEdit], removed: &[(StoreTable, &[u8])]) -> Result<(), BatchError> {
        let slot = &self.inner.slot;
        let database = slot.get().map_err(BatchError::Full)?;
        let mut running = self.inner.totals.lock();
        let totals = running.after(edits);
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
        if let Some(encoded) = running.encoded(&totals) {
            batch.insert(&database.totals, TOTALS_KEY, encoded);
        }
        batch.commit().map_err(|error| slot.failed(&error))?;
        running.advance(totals);
        slot.written();
        Ok(())
    }

    /// True while the store takes no batch because its disk is full.
    pub fn is_full(&self) -> bool {
        self.inner.slot.is_full()
    }

    /// Gives up waiting for room, since the spool is being closed.
    pub fn stop_waiting(&self) {
        self.inner.slot.stop_waiting();
    }

    /// Returns when a write was refused because of an earlier disk error. The store refuses all writes from then on,
    /// until the next open.
    pub async fn lost(&self) -> String {
        self.inner.slot.lost().await
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
        self.database().map(Snapshot::of)
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
