//! Every left-over of the last run is put in order, while the spool is used already.

use std::collections::HashSet;
use std::fs;
use std::io::ErrorKind;
use std::iter::Peekable;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::index::IndexEntry;
use super::shared::Shared;
use super::store::{ScanItem, Snapshot, SpoolStore, StoreEdit, StoreTable};
use super::{OpenError, id_of};
use crate::stored_record::{SetAside, Stored};
use host_events::Event;
use host_mail::MessageId;

/// Edits written at once.
const BATCH: usize = 1000;
/// Messages that come into the index at once.
const PORTION: usize = 1000;

/// What the last run left, as it lay there when the spool was opened: nothing that came since is touched by putting it in
/// order.
#[must_use = "what is in the spool is not known before it was read"]
pub struct Recovery {
    shared: Arc<Shared>,
    found: Snapshot,
    /// The messages in `large/`.
    files: Vec<MessageId>,
    existed: bool,
}

impl Recovery {
    pub(super) fn new(shared: Arc<Shared>, existed: bool) -> Result<Self, String> {
        let (found, files) = (shared.store.snapshot(), files(&shared.store)?);
        Ok(Self {
            shared,
            found,
            files,
            existed,
        })
    }

    /// Reads everything once; see `docs/spool.md` for the order. What was read can be claimed while the rest is not. A
    /// spool that is closed meanwhile leaves the rest to the next start.
    ///
    /// # Errors
    ///
    /// The store cannot be read, and so it is not known what should be done.
    pub fn run(self) -> Result<(), OpenError> {
        self.read().map_err(OpenError::Store)
    }

    fn read(&self) -> Result<(), String> {
        let Self { shared, found, .. } = self;
        let store = &shared.store;
        let kept: HashSet<Vec<u8>> = found
            .scan(StoreTable::SetAside, false)
            .map(|item| item.map(|(key, _)| key))
            .collect::<Result<_, _>>()?;
        shared.index().count_set_aside(kept.len() as u64);
        let mut scan = Scan {
            shared,
            bodies: found.scan(StoreTable::Bodies, false).peekable(),
            portion: Vec::with_capacity(PORTION),
            messages: 0,
            with_file: HashSet::new(),
            orphans: Vec::new(),
            bad: Vec::new(),
        };
        for item in found.scan(StoreTable::Messages, true) {
            if shared.closing.load(Ordering::Relaxed) {
                return Ok(());
            }
            let (key, value) = item?;
            scan.record(&kept, key, value.as_deref().unwrap_or_default())?;
        }
        scan.skip_bodies(&kept, None)?;
        scan.arrive();
        let Scan {
            messages,
            with_file,
            orphans,
            bad,
            ..
        } = scan;
        for keys in orphans.chunks(BATCH) {
            store.remove_keys(StoreTable::Bodies, keys.to_vec())?;
        }
        let set_aside = set_aside(store, bad)?;
        shared.index().count_set_aside(set_aside);
        let is_orphan = |id: &&MessageId| !with_file.contains(id) && !kept.contains(id.to_string().as_bytes());
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

/// Records and bodies, read side by side in the order of their keys.
struct Scan<'a, I: Iterator<Item = ScanItem>> {
    shared: &'a Shared,
    bodies: Peekable<I>,
    /// Messages that are not in the index yet, and the bytes of their bodies.
    portion: Vec<(MessageId, IndexEntry, u64)>,
    messages: u64,
    /// Ids whose file must stay.
    with_file: HashSet<MessageId>,
    /// Keys of bodies without a record.
    orphans: Vec<Vec<u8>>,
    /// Keys and values of records that cannot be used, and why.
    bad: Vec<(Vec<u8>, Vec<u8>, String)>,
}

impl<I: Iterator<Item = ScanItem>> Scan<'_, I> {
    fn record(&mut self, kept: &HashSet<Vec<u8>>, key: Vec<u8>, value: &[u8]) -> Result<(), String> {
        let has_body = self.skip_bodies(kept, Some(&key))?;
        let Some(id) = id_of(&key) else {
            // Under no id nobody can ask for it; it is filed under its own name all the same.
            return self.reject(key, value, "record: its key is no id".to_owned());
        };
        // Whatever becomes of the record, its file is not an orphan.
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
                    self.portion.push((id, IndexEntry::from(&stored), stored.head));
                    if self.portion.len() == PORTION {
                        self.arrive();
                    }
                    Ok(())
                }
            },
        }
    }

    /// What was read can be claimed from now on.
    fn arrive(&mut self) {
        let mut index = self.shared.index();
        for (id, place, head) in self.portion.drain(..) {
            index.arrive(id, place, head);
        }
        drop(index);
        self.shared.changed.notify_one();
    }

    fn reject(&mut self, key: Vec<u8>, value: &[u8], error: String) -> Result<(), String> {
        let message = String::from_utf8_lossy(&key).into_owned();
        let told = error.clone();
        self.shared
            .events
            .emit(Event::SpoolEntrySetAside { message, error: told });
        self.bad.push((key, value.to_vec(), error));
        Ok(())
    }

    /// Passes over bodies before `key` (all, if none), noting those that belong to nobody. Returns
    /// whether there is one under `key` itself.
    fn skip_bodies(&mut self, kept: &HashSet<Vec<u8>>, key: Option<&[u8]>) -> Result<bool, String> {
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
            if !kept.contains(&body) {
                self.orphans.push(body);
            }
        }
        Ok(false)
    }
}

/// Moves records where they harm nobody.
fn set_aside(store: &SpoolStore, bad: Vec<(Vec<u8>, Vec<u8>, String)>) -> Result<u64, String> {
    let mut moved = 0;
    for (key, value, reason) in bad {
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

/// The messages that have a file, or a draft of one. Names that are no ids are not ours.
fn files(store: &SpoolStore) -> Result<Vec<MessageId>, String> {
    let failed = |error: std::io::Error| format!("{}: {error}", store.large().display());
    let mut files = Vec::new();
    for entry in fs::read_dir(store.large()).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        files.extend(name.to_str().and_then(|name| name.parse::<MessageId>().ok()));
    }
    Ok(files)
}

/// Removes files no record names: drafts of the last run, and messages whose file outlived them.
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
