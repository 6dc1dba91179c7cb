//! The disk cache of compiled code. The engine tidies its cache after compilations, but components are compiled in
//! children that end at once: so the cache is tidied here.

use std::collections::HashMap;
use std::fs::{self, DirEntry};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use wasmtime::{Cache, CacheConfig};

/// Bytes of compiled code that are kept; the least recently used files are removed first.
pub(super) const CACHE_LIMIT: u64 = 512 << 20;

/// Marks a file of a child that was killed while writing. The engine would wait for the writer for ever.
const UNFINISHED: &str = ".wip-atomic-write-mod";
/// Suffix of the file beside each compiled module that records time and number of uses.
const STATISTICS: &str = ".stats";

/// Opens the cache of compiled code in `folder`.
pub(crate) fn open_cache(folder: &Path) -> wasmtime::Result<Cache> {
    let mut settings = CacheConfig::new();
    settings
        .with_directory(folder)
        .with_files_total_size_soft_limit(CACHE_LIMIT);
    Cache::new(settings)
}

/// Files of compiled code, each with its inode, which a rewrite changes.
pub(super) type Inventory = HashMap<PathBuf, u64>;

/// Lists the files of compiled code. A folder that cannot be read has none.
pub(super) fn inventory(folder: &Path) -> Inventory {
    let releases = entries(&folder.join("modules")).unwrap_or_default();
    let files = releases
        .iter()
        .flat_map(|release| entries(&release.path()).unwrap_or_default());
    let listed = files.filter_map(|file| {
        let path = file.path();
        let name = path.to_string_lossy();
        let is_code = !name.ends_with(STATISTICS) && !name.ends_with(UNFINISHED);
        let inode = file.metadata().ok()?.ino();
        is_code.then_some((path, inode))
    });
    listed.collect()
}

/// Returns the files that were written again since `before`: the engine writes a file a second time only if it could not
/// use the first.
pub(super) fn repaired(folder: &Path, before: &Inventory) -> Vec<PathBuf> {
    let now = inventory(folder).into_iter();
    let changed = now.filter(|(path, inode)| before.get(path).is_some_and(|then| then != inode));
    changed.map(|(path, _)| path).collect()
}

/// Removes unfinished files, then the least recently used files until `limit` bytes are left. The caller makes sure
/// that no process compiles into the cache meanwhile.
pub(super) fn tidy(folder: &Path, limit: u64) -> io::Result<()> {
    let mut files = Vec::new();
    for release in entries(&folder.join("modules"))? {
        for file in entries(&release.path())? {
            let path = file.path();
            let name = path.to_string_lossy();
            if name.ends_with(UNFINISHED) {
                fs::remove_file(&path)?;
            } else if !name.ends_with(STATISTICS) {
                files.push(CachedFile::read(&file)?);
            }
        }
    }
    files.sort_by_key(|file| std::cmp::Reverse(file.used));
    let mut sum = 0_u64;
    for file in files {
        sum = sum.saturating_add(file.size);
        if sum > limit {
            fs::remove_file(&file.path)?;
            // Absent before the second use.
            let _ = fs::remove_file(statistics(&file.path));
        }
    }
    Ok(())
}

struct CachedFile {
    path: PathBuf,
    size: u64,
    used: SystemTime,
}

impl CachedFile {
    fn read(file: &DirEntry) -> io::Result<Self> {
        let path = file.path();
        let metadata = file.metadata()?;
        let written = metadata.modified()?;
        let used = fs::metadata(statistics(&path)).and_then(|metadata| metadata.modified());
        Ok(Self {
            size: metadata.len(),
            used: used.map_or(written, |used| used.max(written)),
            path,
        })
    }
}

fn statistics(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(STATISTICS);
    name.into()
}

/// Lists a folder; a missing folder is empty.
fn entries(folder: &Path) -> io::Result<Vec<DirEntry>> {
    match fs::read_dir(folder) {
        Ok(entries) => entries.collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn write(folder: &Path, name: &str, age: u64) {
        let path = folder.join("modules/engine-1").join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        fs::write(&path, [0; 10]).expect("written");
        let file = fs::File::options().append(true).open(path).expect("opens");
        let then = SystemTime::now() - Duration::from_secs(age);
        file.set_modified(then).expect("a time");
    }

    fn names(folder: &Path) -> Vec<String> {
        let names = entries(&folder.join("modules/engine-1")).expect("a folder");
        let mut names: Vec<String> = names
            .iter()
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn file_that_was_written_again_is_repaired() {
        let folder = tempfile::tempdir().expect("a folder");
        let folder = folder.path();
        for name in ["kept", "damaged", "damaged.stats"] {
            write(folder, name, 10);
        }
        let before = inventory(folder);
        assert_eq!(before.len(), 2);
        let path = folder.join("modules/engine-1/damaged");
        let draft = folder.join("draft");
        fs::write(&draft, "whole").expect("written");
        fs::rename(&draft, &path).expect("renamed");
        write(folder, "new", 0);
        assert_eq!(repaired(folder, &before), [path]);
    }

    #[test]
    fn tidy_keeps_the_most_recently_used_files_within_the_limit() {
        let folder = tempfile::tempdir().expect("a folder");
        let folder = folder.path();
        tidy(folder, 0).expect("an empty cache");
        write(folder, "old", 30);
        write(folder, "older-but-used", 40);
        write(folder, "older-but-used.stats", 5);
        write(folder, "oldest", 50);
        write(folder, "oldest.stats", 45);
        write(folder, "new.wip-atomic-write-mod", 1);
        tidy(folder, 20).expect("tidied");
        assert_eq!(names(folder), ["old", "older-but-used", "older-but-used.stats"]);
        tidy(folder, 19).expect("tidied");
        assert_eq!(names(folder), ["older-but-used", "older-but-used.stats"]);
    }
}
