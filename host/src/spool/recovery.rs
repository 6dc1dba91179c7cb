//! What is done when the spool is opened: every left-over of the last run is put in order.

use std::collections::HashSet;
use std::fs;
use std::iter::Peekable;

use super::index::{Index, Place};
use super::record::{SetAside, Stored};
use super::store::{Edit, ScanItem, Store, Table};
use crate::event::{Event, Events};
use crate::mail::MessageId;

/// Edits written at once.
const BATCH: usize = 1000;

#[derive(Default)]
pub(super) struct Recovered {
    pub index: Index,
    pub messages: u64,
    pub orphans: u64,
    pub set_aside: u64,
}

/// Reads everything once; see `docs/spool.md` for the order.
pub(super) fn recover(store: &Store, events: &Events) -> Result<Recovered, String> {
    let kept: HashSet<Vec<u8>> = store
        .scan(Table::SetAside, None, false)
        .map(|item| item.map(|(key, _)| key))
        .collect::<Result<_, _>>()?;
    let mut scan = Scan {
        store,
        events,
        bodies: store.scan(Table::Bodies, None, false).peekable(),
        with_file: HashSet::new(),
        orphans: Vec::new(),
        bad: Vec::new(),
        done: Recovered::default(),
    };
    scan.done.index.count_set_aside(kept.len() as u64);
    for item in store.scan(Table::Messages, None, true) {
        let (key, value) = item?;
        scan.record(&kept, key, value.as_deref().unwrap_or_default())?;
    }
    scan.skip_bodies(&kept, None)?;
    let Scan {
        with_file,
        orphans,
        bad,
        mut done,
        ..
    } = scan;
    done.orphans += orphans.len() as u64;
    for keys in orphans.chunks(BATCH) {
        store.remove_keys(Table::Bodies, keys.to_vec())?;
    }
    done.set_aside = set_aside(store, bad)?;
    done.index.count_set_aside(done.set_aside);
    done.orphans += remove_files(store, &with_file, &kept)?;
    Ok(done)
}

/// Records and bodies, read side by side in the order of their keys.
struct Scan<'a, I: Iterator<Item = ScanItem>> {
    store: &'a Store,
    events: &'a Events,
    bodies: Peekable<I>,
    /// Ids whose file must stay.
    with_file: HashSet<MessageId>,
    /// Keys of bodies without a record.
    orphans: Vec<Vec<u8>>,
    /// Keys and values of records that cannot be used, and why.
    bad: Vec<(Vec<u8>, Vec<u8>, String)>,
    done: Recovered,
}

impl<I: Iterator<Item = ScanItem>> Scan<'_, I> {
    fn record(&mut self, kept: &HashSet<Vec<u8>>, key: Vec<u8>, value: &[u8]) -> Result<(), String> {
        let has_body = self.skip_bodies(kept, Some(&key))?;
        let id = std::str::from_utf8(&key)
            .ok()
            .and_then(|key| key.parse::<MessageId>().ok());
        let Some(id) = id else {
            // Under no id nobody can ask for it; it is filed under its own name all the same.
            return self.reject(key, value, "record: its key is no id".to_owned());
        };
        // Whatever becomes of the record, its file is not an orphan.
        self.with_file.insert(id);
        match Stored::decode(id, value) {
            Err(reason) => self.reject(key, value, reason),
            Ok(stored) if stored.head > 0 && !has_body => self.reject(key, value, "body: missing".to_owned()),
            Ok(stored) => match self.store.missing_file(&stored) {
                Some(reason) => self.reject(key, value, reason),
                None => {
                    if stored.file.is_none() {
                        self.with_file.remove(&id);
                    }
                    self.done.messages += 1;
                    self.done.index.arrive(id, Place::from(&stored), stored.head);
                    Ok(())
                }
            },
        }
    }

    fn reject(&mut self, key: Vec<u8>, value: &[u8], error: String) -> Result<(), String> {
        let message = String::from_utf8_lossy(&key).into_owned();
        let told = error.clone();
        self.events.emit(Event::SpoolEntrySetAside { message, error: told });
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
fn set_aside(store: &Store, bad: Vec<(Vec<u8>, Vec<u8>, String)>) -> Result<u64, String> {
    let mut moved = 0;
    for (key, value, reason) in bad {
        let id = std::str::from_utf8(&key)
            .ok()
            .and_then(|key| key.parse::<MessageId>().ok());
        let id = id.unwrap_or_else(MessageId::generate);
        let record = serde_json::to_vec(&SetAside::new(&reason, &value)).map_err(|error| error.to_string())?;
        store.write(vec![Edit {
            table: Table::SetAside,
            id,
            value: Some(record.into()),
        }])?;
        store.remove_keys(Table::Messages, vec![key])?;
        moved += 1;
    }
    Ok(moved)
}

/// Removes files no record names: drafts of the last run, and messages whose file outlived them.
fn remove_files(store: &Store, with_file: &HashSet<MessageId>, kept: &HashSet<Vec<u8>>) -> Result<u64, String> {
    let failed = |error: std::io::Error| format!("{}: {error}", store.large().display());
    let mut removed = 0;
    for entry in fs::read_dir(store.large()).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        let Some(id) = name.to_str().and_then(|name| name.parse::<MessageId>().ok()) else {
            continue;
        };
        if !with_file.contains(&id) && !kept.contains(id.to_string().as_bytes()) {
            fs::remove_file(entry.path()).map_err(failed)?;
            removed += 1;
        }
    }
    Ok(removed)
}
