//! The manifest: the facts about the store that are kept outside the store.
//!
//! A file of two slots, written in turn. Each slot has a checksum, and a slot lies in a sector of its own, so that a
//! crash damages at most the slot that was being written. The file is written after every batch and synced every few
//! seconds: after a power cut it may lag behind the store, and never runs ahead of it.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use host_files::sync_folder;
use serde::{Deserialize, Serialize};

use crate::integrity::totals::Totals;

/// Name of the file in the spool's folder.
pub(crate) const MANIFEST: &str = "manifest";
/// Format of the file.
const FORMAT: u32 = 1;
/// Distance of the slots in bytes: a page of most file systems.
const SLOT: u64 = 4096;
/// Number of slots.
const SLOTS: u64 = 2;
/// Room for the facts of most spools, in bytes.
const ROOM: usize = 512;
/// Hexadecimal digits of the checksum before the text.
const CHECKSUM: usize = 16;

/// The facts. Each is a lower bound: the store holds at least so much.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct ManifestFacts {
    format: u32,
    /// Number of times that the manifest was written.
    serial: u64,
    pub batch: u64,
    pub messages: u64,
    pub digest: u64,
    pub files: u64,
    pub bytes: u64,
    /// Number of the newest journal, as in `store/NUMBER.jnl`.
    pub journal: u64,
    /// Number of a batch after which all batches are in that journal or in newer ones.
    #[serde(default)]
    pub journal_after: u64,
    /// Folders of the keyspaces, as in `store/keyspaces/ID`.
    pub keyspaces: Vec<u64>,
    /// A loss that was found while the spool was in use; the next open finds it here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss: Option<String>,
}

/// The open manifest.
pub(crate) struct Manifest {
    file: File,
    facts: ManifestFacts,
    changed: bool,
}

impl Manifest {
    /// Reads the newest valid slot. `Ok(None)` if the file does not exist.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::InvalidData`] if no slot is valid; other errors are those of the file.
    pub fn read(root: &Path) -> io::Result<Option<ManifestFacts>> {
        let file = match File::open(path(root)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut newest: Option<ManifestFacts> = None;
        for slot in 0..SLOTS {
            let facts = read_slot(&file, slot)?;
            if let Some(facts) = facts
                && newest.as_ref().is_none_or(|newest| newest.serial < facts.serial)
            {
                newest = Some(facts);
            }
        }
        newest.map(Some).ok_or_else(|| {
            let text = "neither of its two slots is whole";
            io::Error::new(io::ErrorKind::InvalidData, text)
        })
    }

    /// Opens the manifest, or makes one that is on the disk when the call returns.
    pub fn open(root: &Path, facts: ManifestFacts) -> io::Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path(root))?;
        let mut manifest = Self {
            file,
            facts: ManifestFacts {
                format: FORMAT,
                ..facts
            },
            changed: true,
        };
        // Both slots, so that no slot of an earlier life is newer, and no later write needs room on the disk.
        for _ in 0..SLOTS {
            manifest.write()?;
        }
        manifest.file.sync_all()?;
        sync_folder(root)?;
        manifest.changed = false;
        Ok(manifest)
    }

    /// Notes the totals after a batch that is on the disk. Not synced.
    pub fn note(&mut self, totals: &Totals) -> io::Result<()> {
        self.facts.batch = totals.batch;
        self.facts.messages = totals.messages;
        self.facts.digest = totals.digest;
        self.facts.files = totals.files;
        self.facts.bytes = totals.bytes;
        self.write()
    }

    /// Notes a loss, durably.
    pub fn note_loss(&mut self, loss: &str) -> io::Result<()> {
        self.facts.loss = Some(loss.chars().take(200).collect());
        self.write()?;
        self.file.sync_data()
    }

    /// Number of the newest journal that was noted.
    pub fn journal(&self) -> u64 {
        self.facts.journal
    }

    /// Notes the newest journal, and returns a handle for [`File::sync_data`] if anything changed since the last call.
    pub fn note_journal(&mut self, journal: u64) -> io::Result<Option<File>> {
        if self.facts.journal != journal {
            self.facts.journal = journal;
            self.facts.journal_after = self.facts.batch;
            self.write()?;
        }
        match std::mem::take(&mut self.changed) {
            true => self.file.try_clone().map(Some),
            false => Ok(None),
        }
    }

    fn write(&mut self) -> io::Result<()> {
        self.facts.serial = self.facts.serial.wrapping_add(1);
        let mut slot = Vec::with_capacity(ROOM);
        // The checksum's place.
        slot.resize(CHECKSUM + 1, b' ');
        serde_json::to_writer(&mut slot, &self.facts)?;
        let sum = checksum(&slot[CHECKSUM + 1..]);
        slot[..CHECKSUM].copy_from_slice(format!("{sum:016x}").as_bytes());
        slot.push(b'\n');
        // Blanks over what a longer text has left.
        slot.resize(slot.len().next_multiple_of(512), b' ');
        self.changed = true;
        self.file.write_all_at(&slot, self.facts.serial % SLOTS * SLOT)
    }
}

impl ManifestFacts {
    /// Returns facts that begin with these totals; the serial goes on after `earlier`. `journal` is the number of the
    /// newest journal and that of a batch after which all batches are in it.
    pub fn new(totals: &Totals, journal: (u64, u64), keyspaces: Vec<u64>, earlier: Option<&Self>) -> Self {
        Self {
            format: FORMAT,
            serial: earlier.map_or(0, |earlier| earlier.serial),
            batch: totals.batch,
            messages: totals.messages,
            digest: totals.digest,
            files: totals.files,
            bytes: totals.bytes,
            journal: journal.0,
            journal_after: journal.1,
            keyspaces,
            loss: None,
        }
    }
}

/// Returns the path of the manifest.
pub(crate) fn path(root: &Path) -> PathBuf {
    root.join(MANIFEST)
}

fn read_slot(file: &File, slot: u64) -> io::Result<Option<ManifestFacts>> {
    let mut bytes = Vec::new();
    let mut buffer = [0; SLOT as usize];
    while bytes.len() < buffer.len() {
        let at = slot * SLOT + bytes.len() as u64;
        match file.read_at(&mut buffer, at) {
            Ok(0) => break,
            Ok(read) => bytes.extend_from_slice(&buffer[..read]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(buffer.len());
    Ok(decode(&bytes))
}

fn decode(slot: &[u8]) -> Option<ManifestFacts> {
    let line = slot.split(|byte| *byte == b'\n').next()?;
    let (sum, text) = (line.get(..CHECKSUM)?, line.get(CHECKSUM + 1..)?);
    let sum = u64::from_str_radix(std::str::from_utf8(sum).ok()?, 16).ok()?;
    if sum != checksum(text) {
        return None;
    }
    serde_json::from_slice(text).ok()
}

fn checksum(text: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn totals(batch: u64) -> Totals {
        Totals {
            batch,
            messages: batch,
            ..Totals::default()
        }
    }

    #[test]
    fn newest_whole_slot_counts() {
        let folder = tempfile::tempdir().expect("folder");
        assert_eq!(Manifest::read(folder.path()).expect("read"), None);
        let facts = ManifestFacts::new(&totals(0), (3, 0), vec![0, 1], None);
        let mut manifest = Manifest::open(folder.path(), facts).expect("open");
        for batch in 1..=5 {
            manifest.note(&totals(batch)).expect("write");
            let read = Manifest::read(folder.path()).expect("read").expect("there");
            assert_eq!((read.batch, read.journal), (batch, 3));
        }
        // The slot that was being written when the power went.
        let torn = manifest.facts.serial % SLOTS * SLOT;
        manifest.file.write_all_at(&[0; 64], torn).expect("write");
        assert_eq!(Manifest::read(folder.path()).expect("read").expect("there").batch, 4);
        std::fs::write(path(folder.path()), b"").expect("write");
        let error = Manifest::read(folder.path()).expect_err("no slot");
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn loss_stays_until_a_new_manifest() {
        let folder = tempfile::tempdir().expect("folder");
        let facts = ManifestFacts::new(&totals(1), (0, 0), Vec::new(), None);
        let mut manifest = Manifest::open(folder.path(), facts).expect("open");
        manifest.note_loss("two records").expect("write");
        manifest.note(&totals(2)).expect("write");
        let earlier = Manifest::read(folder.path()).expect("read").expect("there");
        assert_eq!(earlier.loss.as_deref(), Some("two records"));
        let facts = ManifestFacts::new(&totals(2), (0, 0), Vec::new(), Some(&earlier));
        drop(Manifest::open(folder.path(), facts).expect("open"));
        let read = Manifest::read(folder.path()).expect("read").expect("there");
        assert!(read.loss.is_none() && read.serial > earlier.serial);
    }
}
