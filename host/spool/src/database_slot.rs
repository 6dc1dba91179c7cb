//! The slot of the database: empty while the disk is full, since a database that met an error takes no more writes
//! until it is opened again.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use host_events::{Event, Events};
use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;

use crate::database::{Database, open_database, open_or_make_database};
use crate::spool_error::{BatchError, OpenError, is_storage_full};

/// Free bytes from which a database is opened again whose disk was full.
const REOPEN_ROOM: u64 = 1024 * 1024;
/// Free bytes below which an error of a background thread is taken for a lack of room: what a flush writes at once.
const FLUSH_ROOM: u64 = 64 * 1024 * 1024;
/// Delay between two attempts to write while the disk is full.
const REOPEN_DELAY: Duration = Duration::from_millis(250);

/// The slot of the database.
pub(super) struct DatabaseSlot {
    root: PathBuf,
    /// `None` while the database is closed because its disk is full.
    database: RwLock<Option<Arc<Database>>>,
    lost: Notify,
    /// First error for which a write failed, other than a lack of room.
    first_error: Mutex<Option<String>>,
    events: Events,
    /// True from a batch that the disk had no room for until a batch that was written.
    is_full: AtomicBool,
    /// The database that was closed because its disk was full; it is not opened again before it is gone.
    closed: Mutex<Weak<Database>>,
    closing: AtomicBool,
}

impl DatabaseSlot {
    /// Opens the database of a spool's folder, or makes one.
    pub fn open(root: &Path, events: Events) -> Result<Self, OpenError> {
        let database = open_or_make_database(root)?;
        Ok(Self {
            root: root.to_owned(),
            database: RwLock::new(Some(Arc::new(database))),
            lost: Notify::new(),
            first_error: Mutex::new(None),
            events,
            is_full: AtomicBool::new(false),
            closed: Mutex::default(),
            closing: AtomicBool::new(false),
        })
    }

    /// Returns the database.
    pub fn get(&self) -> Result<Arc<Database>, String> {
        let database = self.database.read().clone();
        database.ok_or_else(|| "the store is closed until its disk has room".to_owned())
    }

    /// Calls `write` until it succeeds, and waits for room while the disk is full.
    pub fn write_repeatedly(&self, mut write: impl FnMut() -> Result<(), BatchError>) -> Result<(), String> {
        loop {
            match write() {
                Ok(()) => return Ok(()),
                Err(BatchError::Store(error)) => return Err(error),
                Err(BatchError::Full(error)) if self.closing.load(Ordering::Relaxed) => return Err(error),
                Err(BatchError::Full(_)) => {
                    std::thread::sleep(REOPEN_DELAY);
                    if let Err(error) = self.reopen() {
                        self.first_error.lock().get_or_insert_with(|| error.to_string());
                        self.lost.notify_one();
                        return Err(error.to_string());
                    }
                }
            }
        }
    }

    /// Notes that a batch was written: the disk has room.
    pub fn written(&self) {
        if self.is_full.load(Ordering::Relaxed) && self.is_full.swap(false, Ordering::Relaxed) {
            self.events.emit(Event::SpoolWritable {});
        }
    }

    /// Converts the error of a batch, and closes the database if its disk is full.
    pub fn failed(&self, error: &fjall::Error) -> BatchError {
        let is_full = match error {
            fjall::Error::Io(error) | fjall::Error::Storage(fjall::LsmError::Io(error)) => is_storage_full(error),
            // A background thread met the error, and took back the room that it had used.
            fjall::Error::Poisoned => self.free().is_ok_and(|free| free < FLUSH_ROOM),
            _ => false,
        };
        if !is_full {
            self.first_error.lock().get_or_insert_with(|| error.to_string());
            if matches!(error, fjall::Error::Poisoned) {
                self.lost.notify_one();
            }
            return BatchError::Store(error.to_string());
        }
        if let Some(database) = self.database.write().take() {
            *self.closed.lock() = Arc::downgrade(&database);
        }
        if !self.is_full.swap(true, Ordering::Relaxed) {
            let error = error.to_string();
            self.events.emit(Event::SpoolFull { error });
        }
        BatchError::Full(error.to_string())
    }

    /// Opens the database again after the disk was full. True if it is open. Blocks briefly.
    ///
    /// # Errors
    ///
    /// The database cannot be opened for another reason than a lack of room.
    fn reopen(&self) -> Result<bool, OpenError> {
        let closed = self.closed.lock();
        if self.database.read().is_some() {
            return Ok(true);
        }
        let has_room = self.free().is_ok_and(|free| free >= REOPEN_ROOM);
        if !has_room || closed.strong_count() > 0 {
            return Ok(false);
        }
        match open_database(&self.root.join("store")) {
            Ok(database) => *self.database.write() = Some(Arc::new(database)),
            // Threads of the closed database end, or the disk has filled again.
            Err(OpenError::InUse | OpenError::Store(_)) => return Ok(false),
            Err(error) => return Err(error),
        }
        Ok(true)
    }

    /// True while no batch is written because the disk is full.
    pub fn is_full(&self) -> bool {
        self.is_full.load(Ordering::Relaxed)
    }

    /// Gives up waiting for room, since the spool is being closed.
    pub fn stop_waiting(&self) {
        self.closing.store(true, Ordering::Relaxed);
    }

    fn free(&self) -> io::Result<u64> {
        let found = rustix::fs::statvfs(&self.root)?;
        Ok(found.f_bavail.saturating_mul(found.f_frsize))
    }

    /// Returns when a write was refused because of an earlier disk error. The database refuses all writes from then on,
    /// until the next open.
    pub async fn lost(&self) -> String {
        self.lost.notified().await;
        let first = self.first_error.lock().clone();
        first.unwrap_or_else(|| "an earlier write failed".to_owned())
    }
}
