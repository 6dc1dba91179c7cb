//! Recovery: reads the left-overs of the last run into the index while the spool is in use.

use std::collections::HashSet;
use std::fs;
use std::iter::Peekable;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use host_contract::Reason;
use host_events::{Event, RecentlyAccepted};
use host_mail::MessageId;

use crate::index_entry::IndexEntry;
use crate::integrity::totals::Totals;
use crate::message::Message;
use crate::open_store::OpenedStore;
use crate::removed_files;
use crate::shared::Shared;
use crate::spool_error::{OpenError, is_storage_full};
use crate::spool_options::OnDamage;
use crate::store::SpoolStore;
use crate::store_edit::{StoreEdit, StoreTable};
use crate::store_scan::{ScanItem, Snapshot, id_of};
use crate::stored_record::{SetAside, Stored};

/// Maximum number of edits in a batch.
const BATCH: usize = 1000;
/// Number of messages added to the index under a single lock.
const INDEX_BATCH: usize = 1000;
/// Maximum number of reads that fail in a row before recovery gives up.
const MAX_FAILED: u32 = 10;
/// Delay after a read that failed.
const READ_RETRY_DELAY: Duration = Duration::from_millis(300);

/// The left-overs of the last run, as the spool had them when opened. Later messages are not touched.
#[must_use = "the index lacks the messages of the last run until `run` has read them"]
pub struct Recovery {
    shared: Arc<Shared>,
    /// Dropped before recovery writes: a store whose disk is full cannot be opened again while a snapshot is in use.
    snapshot: Option<Snapshot>,
    /// Ids of the files in `large/`.
    files: Vec<MessageId>,
    /// True unless this run created the spool.
    existed: bool,
    /// Totals that the records must have; `None` if they are to be counted.
    totals: Option<Totals>,
    on_damage: OnDamage,
    /// Folder that takes the orphans.
    aside: PathBuf,
}

impl Recovery {
    pub(super) fn new(shared: Arc<Shared>, opened: &OpenedStore, on_damage: OnDamage) -> Result<Self, String> {
        let (snapshot, files) = (Some(shared.store.snapshot()?), files(&shared.store)?);
        let aside = match &opened.salvaged {
            Some((_, kept)) => kept.join("large"),
            None => removed_files::orphans(shared.store.root()),
        };
        Ok(Self {
            shared,
            snapshot,
            files,
            existed: opened.existed,
            totals: opened.totals,
            on_damage,
            aside,
        })
    }

    /// Reads all records, in the order that `docs/internals/spool.md` gives. A message can be claimed as soon as the
    /// record is read. If the spool is closed meanwhile, the rest is left to the next start. Blocks.
    ///
    /// A message that `accepted` lacks was accepted right before a crash: its event (5006) is emitted before it can be
    /// claimed, with the reason `host/recovered` and without the session, which the record does not have.
    ///
    /// # Errors
    ///
    /// [`OpenError::Store`] if the store cannot be read: the messages of the last run are not known then.
    /// [`OpenError::Damaged`] if records are missing and [`SpoolOptions::on_damage`](crate::SpoolOptions) does not
    /// accept that; the next open finds the same.
    pub fn run(mut self, accepted: &RecentlyAccepted) -> Result<(), OpenError> {
        let Some(snapshot) = self.snapshot.take() else {
            return Ok(());
        };
        let keys = snapshot.scan(StoreTable::SetAside, &[], false);
        let set_aside_keys: HashSet<Vec<u8>> = keys
            .map(|item| item.map(|(key, _)| key))
            .collect::<Result<_, _>>()
            .map_err(OpenError::Store)?;
        let (shared, store) = (&self.shared, &self.shared.store);
        shared.index().count_set_aside(set_aside_keys.len() as u64);
        let Some(found) = self
            .scan(&snapshot, &set_aside_keys, accepted)
            .map_err(OpenError::Store)?
        else {
            return Ok(());
        };
        drop(snapshot);
        self.compare(&found.totals)?;
        let set_aside = set_aside(store, found.rejected).map_err(OpenError::Store)?;
        shared.index().count_set_aside(set_aside);
        if set_aside > 0 || !set_aside_keys.is_empty() {
            shared.set_aside.notify_one();
        }
        let is_orphan =
            |id: &&MessageId| !found.with_file.contains(id) && !set_aside_keys.contains(id.to_string().as_bytes());
        let orphan_files = self.files.iter().filter(is_orphan);
        let removed = self.move_orphans(found.orphans, orphan_files)?;
        if self.existed {
            shared.events.emit(Event::SpoolRecovered {
                messages: found.messages,
                orphans_removed: removed,
                orphans_kept_in: (removed > 0).then(|| self.aside.display().to_string()),
                set_aside,
            });
        }
        let _ = shared.recovered.set(());
        Ok(())
    }

    /// Reads all records. `None` if the spool was closed meanwhile. A read that fails is tried again.
    fn scan(
        &self,
        snapshot: &Snapshot,
        set_aside_keys: &HashSet<Vec<u8>>,
        accepted: &RecentlyAccepted,
    ) -> Result<Option<Found>, String> {
        let mut found = Found::default();
        let (mut after, mut failed) = (Vec::new(), 0);
        loop {
            let mut scan = Scan {
                shared: &self.shared,
                set_aside_keys,
                accepted,
                bodies: snapshot.scan(StoreTable::Bodies, &after, false).peekable(),
                found: &mut found,
            };
            let records = snapshot.scan(StoreTable::Messages, &after, true);
            match scan.all(records, &mut after, &mut failed) {
                Ok(complete) => {
                    scan.publish();
                    return Ok(complete.then_some(found));
                }
                Err(error) if failed == MAX_FAILED => return Err(error),
                Err(error) => {
                    failed += 1;
                    tracing::warn!(%error, "the spool cannot be read for now; it is tried again");
                    std::thread::sleep(READ_RETRY_DELAY);
                }
            }
        }
    }

    /// Compares the records with the totals of the store, or sets the totals.
    fn compare(&self, counted: &Totals) -> Result<(), OpenError> {
        let store = &self.shared.store;
        match &self.totals {
            Some(totals) if totals.same_mail(counted) => Ok(()),
            Some(totals) if self.on_damage == OnDamage::Refuse => {
                let text = format!(
                    "holds {} messages, and not the {} that it should: a table or a journal is missing, or is an older one",
                    counted.messages, totals.messages
                );
                store.note_loss(&text);
                Err(OpenError::damaged("store", text))
            }
            Some(totals) => {
                let missing = counted.minus(totals);
                self.shared.events.emit(Event::SpoolSalvaged {
                    damage: vec![format!(
                        "store holds {} messages of {}",
                        counted.messages, totals.messages
                    )],
                    kept: self.aside.display().to_string(),
                });
                store.establish_totals(&missing).map_err(OpenError::Store)
            }
            None => store.establish_totals(counted).map_err(OpenError::Store),
        }
    }

    /// Moves bodies and files without a record into the folder of orphans; returns the number. On a full disk they stay
    /// where they are until the next open.
    fn move_orphans<'a>(
        &self,
        mut bodies: Vec<Vec<u8>>,
        files: impl Iterator<Item = &'a MessageId>,
    ) -> Result<u64, OpenError> {
        let store = &self.shared.store;
        let mut moved = 0;
        let all = || -> std::io::Result<()> {
            // A read that was tried again has met some of them twice.
            bodies.sort_unstable();
            bodies.dedup();
            for keys in bodies.chunks(BATCH) {
                for key in keys {
                    self.keep_body(key)?;
                }
                store
                    .remove_keys(StoreTable::Bodies, keys)
                    .map_err(std::io::Error::other)?;
                moved += keys.len() as u64;
            }
            for id in files {
                moved += u64::from(removed_files::move_into(&self.aside, &store.large_file(*id))?);
            }
            Ok(())
        };
        match all() {
            Err(error) if !is_storage_full(&error) => {
                Err(OpenError::Store(format!("{}: {error}", self.aside.display())))
            }
            Err(error) => {
                tracing::warn!(%error, "orphans of the last run stay where they are");
                Ok(moved)
            }
            Ok(()) => Ok(moved),
        }
    }

    /// Writes a body without a record into the folder of orphans.
    fn keep_body(&self, key: &[u8]) -> std::io::Result<()> {
        let Some(id) = id_of(key) else { return Ok(()) };
        let body = self.shared.store.value(StoreTable::Bodies, id);
        match body.map_err(std::io::Error::other)? {
            Some(body) => removed_files::keep_bytes(&self.aside, &format!("{id}.body"), &body),
            None => Ok(()),
        }
    }
}

/// The left-overs that were read.
#[derive(Default)]
struct Found {
    /// Messages that are not in the index yet, with the bytes of each body.
    pending: Vec<(MessageId, IndexEntry, u64)>,
    messages: u64,
    /// Totals of the records under ids, those to be set aside included.
    totals: Totals,
    /// Ids of the files that are no orphans.
    with_file: HashSet<MessageId>,
    /// Keys of bodies without a record.
    orphans: Vec<Vec<u8>>,
    rejected: Vec<Rejected>,
}

/// An unusable record.
struct Rejected {
    key: Vec<u8>,
    value: Vec<u8>,
    reason: String,
    /// Size of the file that the totals count for the record.
    file: Option<u64>,
}

/// A merge scan of records and bodies in the order of the keys.
struct Scan<'a, I: Iterator<Item = ScanItem>> {
    shared: &'a Shared,
    set_aside_keys: &'a HashSet<Vec<u8>>,
    /// Messages of which the acceptance is recorded.
    accepted: &'a RecentlyAccepted,
    bodies: Peekable<I>,
    found: &'a mut Found,
}

impl<I: Iterator<Item = ScanItem>> Scan<'_, I> {
    /// Reads records and bodies to the end; false if the spool was closed meanwhile. `after` is the last key that was
    /// read, `failed` is 0 after a read that succeeded.
    fn all(
        &mut self,
        records: impl Iterator<Item = ScanItem>,
        after: &mut Vec<u8>,
        failed: &mut u32,
    ) -> Result<bool, String> {
        for item in records {
            if self.shared.closing.load(Ordering::Relaxed) {
                return Ok(false);
            }
            let (key, value) = item?;
            self.record(&key, value.as_deref().unwrap_or_default())?;
            (*after, *failed) = (key, 0);
        }
        self.skip_bodies(None)?;
        Ok(true)
    }

    fn record(&mut self, key: &[u8], value: &[u8]) -> Result<(), String> {
        let has_body = self.skip_bodies(Some(key))?;
        let Some(id) = id_of(key) else {
            // A record without an id cannot be looked up, but the operator can find it set aside under a new id.
            self.reject(key, value, None, "record: its key is no id".to_owned());
            return Ok(());
        };
        // Even an unusable record keeps its file.
        self.found.with_file.insert(id);
        let decoded = Stored::decode(id, value);
        let file = match &decoded {
            Ok(stored) => stored.file.map(|part| part.size),
            Err(_) => fs::metadata(self.shared.store.large_file(id))
                .ok()
                .map(|file| file.len()),
        };
        self.found.totals.add(key, file);
        let stored = match decoded {
            Ok(stored) => stored,
            Err(reason) => {
                self.reject(key, value, file, reason);
                return Ok(());
            }
        };
        if stored.head > 0 && !has_body {
            self.reject(key, value, file, "body: missing".to_owned());
            return Ok(());
        }
        match self.shared.store.missing_file(&stored) {
            Ok(Some(reason)) => {
                self.reject(key, value, file, reason);
                return Ok(());
            }
            Ok(None) => {}
            // The claim looks again: an error of the disk may pass.
            Err(error) => tracing::warn!(%error, "the file of a message cannot be examined for now"),
        }
        if stored.file.is_none() {
            self.found.with_file.remove(&id);
        }
        self.found.messages += 1;
        self.emit_unrecorded(&stored.message);
        self.found.pending.push((id, IndexEntry::from(&stored), stored.head));
        if self.found.pending.len() == INDEX_BATCH {
            self.publish();
        }
        Ok(())
    }

    /// Emits the event of a message that was accepted without one.
    fn emit_unrecorded(&self, message: &Message) {
        if let Some(client) = &message.client
            && self.accepted.lacks(message.id, message.received)
        {
            let written = message
                .recipients
                .iter()
                .map(|recipient| recipient.as_written().to_string());
            self.shared.events.emit(Event::MessageAccepted {
                message: message.id.to_string(),
                session: String::new(),
                client: client.address.to_string(),
                account: client.identity.as_ref().map(|identity| identity.account.clone()),
                sender: message.envelope.sender.to_string(),
                recipients: written.collect(),
                size: message.size,
                because: Reason::host("recovered").to_string(),
            });
        }
    }

    /// Adds the pending messages to the index, where they can be claimed.
    fn publish(&mut self) {
        let mut index = self.shared.index();
        for (id, entry, head) in self.found.pending.drain(..) {
            index.add(id, entry, head);
        }
        drop(index);
        self.shared.changed.notify_one();
    }

    fn reject(&mut self, key: &[u8], value: &[u8], file: Option<u64>, reason: String) {
        let message = String::from_utf8_lossy(key).into_owned();
        self.shared.events.emit(Event::SpoolEntrySetAside {
            message,
            error: reason.clone(),
        });
        self.found.rejected.push(Rejected {
            key: key.to_vec(),
            value: value.to_vec(),
            reason,
            file,
        });
    }

    /// Skips the bodies before `key` (all bodies for `None`) and notes the orphans among them. True if a body is stored
    /// under `key`.
    fn skip_bodies(&mut self, key: Option<&[u8]>) -> Result<bool, String> {
        while let Some(next) = self.bodies.peek() {
            match (next, key) {
                (Ok((body, _)), Some(key)) if body.as_slice() > key => return Ok(false),
                _ => {}
            }
            let Some(next) = self.bodies.next() else { break };
            let (body, _) = next?;
            if key == Some(body.as_slice()) {
                return Ok(true);
            }
            if !self.set_aside_keys.contains(&body) {
                self.found.orphans.push(body);
            }
        }
        Ok(false)
    }
}

/// Moves unusable records to the set-aside keyspace; returns the number.
fn set_aside(store: &SpoolStore, rejected: Vec<Rejected>) -> Result<u64, String> {
    let mut moved = 0;
    for Rejected {
        key,
        value,
        reason,
        file,
    } in rejected
    {
        let known = id_of(&key);
        let record = serde_json::to_vec(&SetAside::new(&reason, &value)).map_err(|error| error.to_string())?;
        let id = known.unwrap_or_else(MessageId::generate);
        let mut edits = vec![StoreEdit::new(StoreTable::SetAside, id, Some(record.into()))];
        edits.extend(known.map(|id| StoreEdit::no_record(id, file)));
        store.write_when_possible(&edits)?;
        if known.is_none() {
            store.remove_keys(StoreTable::Messages, &[key])?;
        }
        moved += 1;
    }
    Ok(moved)
}

/// Lists the ids of the files in `large/`, those of drafts included. Names that are no ids are foreign and ignored.
fn files(store: &SpoolStore) -> Result<Vec<MessageId>, String> {
    let failed = |error: std::io::Error| format!("{}: {error}", store.large().display());
    let mut files = Vec::new();
    for entry in fs::read_dir(store.large()).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        files.extend(name.to_str().and_then(|name| name.parse::<MessageId>().ok()));
    }
    Ok(files)
}
