//! The places of what leaves the spool's folders without having been delivered: `orphans/DATE/`, kept for a week, and
//! `damaged/TIME/`, kept until an operator removes it. Nothing here is ever read by the host again.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use host_files::{make_private_folder, sync_folder};
use host_mail::Timestamp;

use crate::integrity::journal_scan::JournalScan;

/// Time for which orphans are kept, beyond the day of their folder.
const KEPT: Duration = Duration::from_secs(8 * 24 * 3600);
/// Folder of the orphans.
const ORPHANS: &str = "orphans";
/// Digits of a date: `2026-01-31`.
const DATE: usize = 10;

/// Returns today's folder of orphans.
pub(super) fn orphans(root: &Path) -> PathBuf {
    root.join(ORPHANS).join(date(Timestamp::now()))
}

/// Returns a new folder for the parts of a damaged spool.
pub(super) fn damaged(root: &Path) -> PathBuf {
    let now = Timestamp::now().to_string().replace(':', "-");
    root.join("damaged").join(now)
}

/// Makes a folder that only the host may enter.
pub(super) fn make_folder(folder: &Path) -> io::Result<()> {
    make_private_folder(folder)
}

/// Moves a file into a folder; a name that is taken gets a number. False if the file does not exist.
pub(super) fn move_into(folder: &Path, path: &Path) -> io::Result<bool> {
    make_folder(folder)?;
    match fs::rename(path, free_name(folder, path)) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Writes bytes into a new file of a folder, durably.
pub(super) fn keep_bytes(folder: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    make_folder(folder)?;
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    let mut file = options.open(free_name(folder, Path::new(name)))?;
    file.write_all(bytes)?;
    file.sync_all()?;
    sync_folder(folder)
}

/// Keeps the bytes that opening the store cuts off a journal.
pub(super) fn keep_tail(folder: &Path, torn: &JournalScan) -> io::Result<()> {
    let name = format!("{}.jnl.from-{}", torn.number, torn.end);
    keep_bytes(folder, &name, torn.rest())
}

/// Removes the folders of orphans that are older than a week.
pub(super) fn expire(root: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(root.join(ORPHANS)) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let now = Timestamp::now();
    let oldest = date(Timestamp(
        now.0
            .saturating_sub(u64::try_from(KEPT.as_millis()).unwrap_or(u64::MAX)),
    ));
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let is_date = |name: &str| name.len() == DATE && name.bytes().all(|b| b.is_ascii_digit() || b == b'-');
        if name.to_str().is_some_and(|name| is_date(name) && *name < *oldest) {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

fn date(time: Timestamp) -> String {
    time.to_string().chars().take(DATE).collect()
}

/// Returns the path of `file`'s name in the folder, with a number if the name is taken.
fn free_name(folder: &Path, file: &Path) -> PathBuf {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let plain = folder.join(&*name);
    if !plain.exists() {
        return plain;
    }
    (1_u32..)
        .map(|number| folder.join(format!("{name}.{number}")))
        .find(|path| !path.exists())
        .unwrap_or(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orphans_of_last_week_stay_and_older_ones_go() {
        let root = tempfile::tempdir().expect("folder");
        let day = |days: u64| date(Timestamp(Timestamp::now().0 - days * 24 * 3600 * 1000));
        let path = |days: u64| root.path().join(ORPHANS).join(day(days));
        for days in [0, 7, 9] {
            keep_bytes(&path(days), "a", b"x").expect("written");
        }
        keep_bytes(&path(0), "a", b"y").expect("written");
        assert_eq!(fs::read(path(0).join("a.1")).expect("read"), b"y");
        expire(root.path()).expect("expired");
        assert!(path(0).exists() && path(7).exists() && !path(9).exists());
    }
}
