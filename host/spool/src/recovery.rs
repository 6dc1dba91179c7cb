//! Recovery: reads the left-overs of the last run into the index while the spool is in use.

use std::collections::HashSet;
use std::fs;
use std::io::ErrorKind;
use std::iter::Peekable;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use host_contract::Reason;
use host_events::{Event, RecentlyAccepted};
use host_mail::MessageId;

use crate::index_entry::IndexEntry;
use crate::message::Message;
use crate::shared::Shared;
use crate::spool_error::OpenError;
use crate::store::{ScanItem, Snapshot, SpoolStore, StoreEdit, StoreTable, id_of};
use crate::stored_record::{SetAside, Stored};

/// Maximum number of edits in a batch.
const BATCH: usize = 1000;
/// Number of messages added to the index under a single lock.
const INDEX_BATCH: usize = 1000;

/// The left-overs of the last run, as the spool had them when opened. Later messages are not touched.
#[must_use = "the index lacks the messages of the last run until `run` has read them"]
pub struct Recovery {
    shared: Arc<Shared>,
    snapshot: Snapshot,
    /// Ids of the files in `large/`.
    files: Vec<MessageId>,
    /// True unless this run created the spool.
    existed: bool,
}

impl Recovery {
    pub(super) fn new(shared: Arc<Shared>, existed: bool) -> Result<Self, String> {
        let (snapshot, files) = (shared.store.snapshot(), files(&shared.store)?);
        Ok(Self {
            shared,
            snapshot,
            files,
            existed,
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
    pub fn run(self, accepted: &RecentlyAccepted) -> Result<(), OpenError> {
        self.read(accepted).map_err(OpenError::Store)
    }

    fn read(&self, accepted: &RecentlyAccepted) -> Result<(), String> {
        let Self { shared, snapshot, .. } = self;
        let store = &shared.store;
        let set_aside_keys: HashSet<Vec<u8>> = snapshot
            .scan(StoreTable::SetAside, false)
            .map(|item| item.map(|(key, _)| key))
            .collect::<Result<_, _>>()?;
        shared.index().count_set_aside(set_aside_keys.len() as u64);
        let mut scan = Scan {
            shared,
            accepted,
            bodies: snapshot.scan(StoreTable::Bodies, false).peekable(),
            pending: Vec::with_capacity(INDEX_BATCH),
            messages: 0,
            with_file: HashSet::new(),
            orphans: Vec::new(),
            rejected: Vec::new(),
        };
        for item in snapshot.scan(StoreTable::Messages, true) {
            if shared.closing.load(Ordering::Relaxed) {
                return Ok(());
            }
            let (key, value) = item?;
            scan.record(&set_aside_keys, key, value.as_deref().unwrap_or_default())?;
        }
        scan.skip_bodies(&set_aside_keys, None)?;
        scan.publish();
        let Scan {
            messages,
            with_file,
            orphans,
            rejected,
            ..
        } = scan;
        for keys in orphans.chunks(BATCH) {
            store.remove_keys(StoreTable::Bodies, keys.to_vec())?;
        }
        let set_aside = set_aside(store, rejected)?;
        shared.index().count_set_aside(set_aside);
        let is_orphan =
            |id: &&MessageId| !with_file.contains(id) && !set_aside_keys.contains(id.to_string().as_bytes());
        let removed = remove_files(store, self.files.iter().filter(is_orphan))?;
        if self.existed {
            shared.events.emit(Event::SpoolRecovered {
                messages,
                orphans_removed: orphans.len() as u64 + removed,
                set_aside,
            });
        }
        let _ = shared.recovered.set(());
        Ok(())
    }
}

/// A merge scan of records and bodies in the order of the keys.
struct Scan<'a, I: Iterator<Item = ScanItem>> {
    shared: &'a Shared,
    /// Messages of which the acceptance is recorded.
    accepted: &'a RecentlyAccepted,
    bodies: Peekable<I>,
    /// Messages that are not in the index yet, with the bytes of each body.
    pending: Vec<(MessageId, IndexEntry, u64)>,
    messages: u64,
    /// Ids of the files that are no orphans.
    with_file: HashSet<MessageId>,
    /// Keys of bodies without a record.
    orphans: Vec<Vec<u8>>,
    /// Keys and values of unusable records, and the reasons.
    rejected: Vec<(Vec<u8>, Vec<u8>, String)>,
}

impl<I: Iterator<Item = ScanItem>> Scan<'_, I> {
    fn record(&mut self, set_aside_keys: &HashSet<Vec<u8>>, key: Vec<u8>, value: &[u8]) -> Result<(), String> {
        let has_body = self.skip_bodies(set_aside_keys, Some(&key))?;
        let Some(id) = id_of(&key) else {
            // A record without an id cannot be looked up, but the operator can find it set aside under a new id.
            return self.reject(key, value, "record: its key is no id".to_owned());
        };
        // Even an unusable record keeps its file.
        self.with_file.insert(id);
        match Stored::decode(id, value) {
            Err(reason) => self.reject(key, value, reason),
            Ok(stored) if stored.head > 0 && !has_body => self.reject(key, value, "body: missing".to_owned()),
            Ok(stored) => match self.shared.store.missing_file(&stored) {
                Some(reason) => self.reject(key, value, reason),
                None => {
                    if stored.file.is_none() {
                        self.with_file.remove(&id);
                    }
                    self.messages += 1;
                    self.emit_unrecorded(&stored.message);
                    self.pending.push((id, IndexEntry::from(&stored), stored.head));
                    if self.pending.len() == INDEX_BATCH {
                        self.publish();
                    }
                    Ok(())
                }
            },
        }
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
        for (id, entry, head) in self.pending.drain(..) {
            index.add(id, entry, head);
        }
        drop(index);
        self.shared.changed.notify_one();
    }

    fn reject(&mut self, key: Vec<u8>, value: &[u8], error: String) -> Result<(), String> {
        let message = String::from_utf8_lossy(&key).into_owned();
        self.shared.events.emit(Event::SpoolEntrySetAside {
            message,
            error: error.clone(),
        });
        self.rejected.push((key, value.to_vec(), error));
        Ok(())
    }

    /// Skips the bodies before `key` (all bodies for `None`) and notes the orphans among them. True if a body is stored
    /// under `key`.
    fn skip_bodies(&mut self, set_aside_keys: &HashSet<Vec<u8>>, key: Option<&[u8]>) -> Result<bool, String> {
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
            if !set_aside_keys.contains(&body) {
                self.orphans.push(body);
            }
        }
        Ok(false)
    }
}

/// Moves unusable records to the set-aside keyspace; returns the number.
fn set_aside(store: &SpoolStore, rejected: Vec<(Vec<u8>, Vec<u8>, String)>) -> Result<u64, String> {
    let mut moved = 0;
    for (key, value, reason) in rejected {
        let id = id_of(&key).unwrap_or_else(MessageId::generate);
        let record = serde_json::to_vec(&SetAside::new(&reason, &value)).map_err(|error| error.to_string())?;
        store.write(vec![StoreEdit {
            table: StoreTable::SetAside,
            id,
            value: Some(record.into()),
        }])?;
        store.remove_keys(StoreTable::Messages, vec![key])?;
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

/// Removes orphan files: drafts of the last run, and files of messages that were removed. Returns the number.
fn remove_files<'a>(store: &SpoolStore, orphans: impl Iterator<Item = &'a MessageId>) -> Result<u64, String> {
    let mut removed = 0;
    for id in orphans {
        let path = store.large_file(*id);
        match fs::remove_file(&path) {
            Ok(()) => removed += 1,
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(format!("{}: {error}", path.display())),
        }
    }
    Ok(removed)
}
