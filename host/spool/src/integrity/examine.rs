//! Compares the store's files with the manifest before the store is opened, and changes nothing.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use crate::integrity::journal_scan::{JournalScan, journals, scan};
use crate::integrity::manifest::{MANIFEST, Manifest, ManifestFacts};
use crate::integrity::tree_files;
use crate::spool_error::Damage;

/// Marker of a store's format.
const VERSION: &str = "version";
/// Content of the marker.
pub(crate) const VERSION_3: &[u8] = b"FJL\x03";

/// The findings about a spool.
#[derive(Default)]
pub(crate) struct Examined {
    /// Parts that are missing, each with its file.
    pub damage: Vec<Damage>,
    /// Facts of the manifest; `None` if the spool has no manifest.
    pub facts: Option<ManifestFacts>,
    /// Journals with bytes after their last whole batch, which opening the store cuts off.
    pub torn: Vec<JournalScan>,
    /// Last batch in the newest journal, if it has any.
    pub newest_batch: Option<u64>,
    /// Folders of keyspaces without a valid `current`.
    pub headless: Vec<PathBuf>,
}

/// Examines the folder of a spool that exists.
///
/// # Errors
///
/// A file or folder is there and cannot be read.
pub(crate) fn examine(root: &Path) -> io::Result<Examined> {
    let mut found = Examined::default();
    match Manifest::read(root) {
        Ok(facts) => found.facts = facts,
        Err(error) if error.kind() == ErrorKind::InvalidData => {
            found.damage.push(Damage::new(MANIFEST, format!("is damaged: {error}")));
        }
        Err(error) => return Err(error),
    }
    if let Some(loss) = found.facts.as_ref().and_then(|facts| facts.loss.clone()) {
        found.damage.push(Damage::new("store", loss));
    }
    let store = root.join("store");
    if !store.is_dir() {
        if found.facts.is_some() {
            found.damage.push(Damage::new("store", "is missing"));
        }
        return Ok(found);
    }
    let version = store.join(VERSION);
    match fs::read(&version) {
        Ok(marker) if marker == VERSION_3 => {}
        Ok(marker) if marker.len() >= VERSION_3.len() => {} // Another version, which the store refuses.
        Ok(_) => found.damage.push(Damage::at(root, &version, "is too short")),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            // Without a manifest the first start may have ended before the store was whole.
            if found.facts.is_some() || store.join("keyspaces/1").is_dir() {
                found.damage.push(Damage::at(root, &version, "is missing"));
            }
        }
        Err(error) => return Err(error),
    }
    examine_keyspaces(root, &store, &mut found)?;
    examine_journals(root, &store, &mut found)?;
    Ok(found)
}

fn examine_keyspaces(root: &Path, store: &Path, found: &mut Examined) -> io::Result<()> {
    let folder = store.join("keyspaces");
    let mut ids: Vec<u64> = found.facts.iter().flat_map(|facts| facts.keyspaces.clone()).collect();
    if found.facts.is_none() && folder.is_dir() {
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            let id = entry.file_name().to_str().and_then(|name| name.parse::<u64>().ok());
            // A keyspace without tables may be one that was never finished.
            let tables = entry.path().join("tables");
            if let Some(id) = id
                && tables.is_dir()
                && fs::read_dir(tables)?.next().is_some()
            {
                ids.push(id);
            }
        }
    }
    for id in ids {
        let keyspace = folder.join(id.to_string());
        for damage in tree_files::missing(&keyspace)? {
            if damage.path.parent() == Some(&keyspace) {
                found.headless.push(keyspace.clone());
            }
            found.damage.push(Damage::at(root, &damage.path, damage.text));
        }
    }
    Ok(())
}

fn examine_journals(root: &Path, store: &Path, found: &mut Examined) -> io::Result<()> {
    let journals = journals(store)?;
    let Some(facts) = found.facts.clone() else {
        let mut has_totals = false;
        for (number, path) in journals {
            let scanned = scan(number, path)?;
            has_totals |= scanned.last.is_some();
            keep_if_torn(scanned, found);
        }
        // A spool of a release without manifests has no totals either.
        if has_totals && found.damage.is_empty() {
            found.damage.push(Damage::new(MANIFEST, "is missing"));
        }
        return Ok(());
    };
    let name = |number: u64| format!("store/{number}.jnl");
    let newest = journals.last().map(|(number, _)| *number);
    for pair in journals.windows(2) {
        if let [(one, _), (next, _)] = pair {
            for number in one + 1..*next {
                found.damage.push(Damage::new(name(number), "is missing"));
            }
        }
    }
    let mut last = None;
    for (number, path) in journals {
        let scanned = scan(number, path.clone())?;
        // A sealed journal was whole when the next one began.
        if Some(number) != newest && !scanned.rest().is_empty() {
            let text = format!(
                "has {} bytes after byte {} that are damaged",
                scanned.rest().len(),
                scanned.end
            );
            found.damage.push(Damage::at(root, &path, text));
        }
        last = scanned.last.or(last);
        found.newest_batch = scanned.last.map(|totals| totals.batch);
        keep_if_torn(scanned, found);
    }
    match newest {
        Some(newest) if newest >= facts.journal => {}
        _ => found.damage.push(Damage::new(name(facts.journal), "is missing")),
    }
    // If the newest journal has no batch, an older one may have been dropped after all was in tables: the open store
    // tells then.
    let must_have = newest == Some(facts.journal) && facts.batch > facts.journal_after;
    if let Some(newest) = newest
        && (last.is_some() || must_have)
        && last.is_none_or(|last| last.batch < facts.batch)
    {
        let last = last.unwrap_or_default();
        let rest = found
            .torn
            .iter()
            .find(|torn| torn.number == newest)
            .map_or(0, |torn| torn.rest().len());
        let rest = if rest > 0 {
            format!(", then {rest} bytes that are damaged")
        } else {
            String::new()
        };
        let text = format!(
            "ends at batch {} of {} ({} messages, {} when it was last written){rest}",
            last.batch, facts.batch, last.messages, facts.messages
        );
        found.damage.push(Damage::new(name(newest), text));
    }
    Ok(())
}

fn keep_if_torn(scanned: JournalScan, found: &mut Examined) {
    if !scanned.rest().is_empty() {
        found.torn.push(scanned);
    }
}
