//! Salvage: makes a damaged store usable with what is left of it, after every byte was kept.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use host_files::{replace_whole, sync_folder};

use crate::integrity::examine::{Examined, VERSION_3};
use crate::integrity::journal_scan::{journals, read_data, scan};
use crate::integrity::tree_files::{self, CURRENT};
use crate::removed_files::{damaged, make_folder};

/// Copies the store into a new folder below `damaged/`, then repairs what can be repaired:
///
/// - a keyspace without `current` gets one for its newest version;
/// - a damaged journal keeps its whole batches, also those behind the damage;
/// - tables that are missing are taken out of the list of tables;
/// - a missing marker of the store's format is written again.
///
/// Returns the folder of the copy.
///
/// # Errors
///
/// The copy could not be made, in which case nothing was changed, or a repair failed.
pub(crate) fn repair(root: &Path, found: &Examined) -> io::Result<PathBuf> {
    let kept = damaged(root);
    let store = root.join("store");
    make_folder(&kept)?;
    if store.is_dir() {
        keep(&store, &kept.join("store"))?;
    }
    let manifest = crate::integrity::manifest::path(root);
    if manifest.exists() {
        fs::copy(&manifest, kept.join(crate::integrity::manifest::MANIFEST))?;
    }
    if !store.is_dir() {
        return Ok(kept);
    }
    let version = store.join("version");
    if store.join("keyspaces").is_dir() && fs::metadata(&version).map_or(0, |found| found.len()) < 4 {
        replace_whole(&version, VERSION_3)?;
    }
    for keyspace in &found.headless {
        if keyspace.is_dir()
            && let Some(current) = tree_files::newest_version(keyspace)?
        {
            replace_whole(&keyspace.join(CURRENT), &current)?;
        }
    }
    if store.join("keyspaces").is_dir() {
        for keyspace in keyspaces(&store)? {
            let missing: Vec<_> = tree_files::missing(&keyspace)?
                .into_iter()
                .map(|damage| damage.path)
                .collect();
            if !missing.is_empty() && keyspace.join(CURRENT).exists() {
                tree_files::leave_out(&keyspace, &missing)?;
            }
        }
    }
    for (number, path) in journals(&store)? {
        let scanned = scan(number, path)?;
        if !scanned.rest().is_empty() {
            replace_whole(&scanned.path, &scanned.whole_batches())?;
        }
    }
    Ok(kept)
}

/// Copies a folder. Files that never change are linked instead, where the file system can.
fn keep(from: &Path, to: &Path) -> io::Result<()> {
    make_folder(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        let parent = from.file_name().unwrap_or_default();
        if entry.file_type()?.is_dir() {
            keep(&path, &target)?;
        } else if parent == "tables" || parent == "blobs" {
            if fs::hard_link(&path, &target).is_err() {
                fs::copy(&path, &target)?;
            }
        } else if path.extension().is_some_and(|extension| extension == "jnl") {
            // A journal is mostly a hole, which a copy leaves out.
            let mut file = File::create_new(&target)?;
            file.write_all(&read_data(&path)?)?;
            file.sync_all()?;
        } else {
            fs::copy(&path, &target)?;
            File::open(&target)?.sync_all()?;
        }
    }
    sync_folder(to)
}

/// Returns the folders of the keyspaces.
pub(crate) fn keyspaces(store: &Path) -> io::Result<Vec<PathBuf>> {
    let mut folders = Vec::new();
    for entry in fs::read_dir(store.join("keyspaces"))? {
        let path = entry?.path();
        if path.is_dir() {
            folders.push(path);
        }
    }
    folders.sort();
    Ok(folders)
}

/// Takes the tables and blob files out of the keyspaces that are not as they were written. True if there were any.
pub(crate) fn leave_out_damaged(store: &Path) -> io::Result<bool> {
    let mut any = false;
    for keyspace in keyspaces(store)? {
        let damaged: Vec<_> = tree_files::damaged(&keyspace)?
            .into_iter()
            .map(|damage| damage.path)
            .collect();
        if !damaged.is_empty() {
            tree_files::leave_out(&keyspace, &damaged)?;
            any = true;
        }
    }
    Ok(any)
}
