//! The cache of compiled code on disk. The engine tidies it up when it has compiled something, which
//! here happens in processes that end at once: so it is done here.

use std::fs::{self, DirEntry};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Left by a child that was ended while it wrote: the engine would wait for its writer for ever.
const UNFINISHED: &str = ".wip-atomic-write-mod";
/// Beside each file of code: when and how often it was used.
const STATISTICS: &str = ".stats";

/// Removes what nobody will finish, and then what was used longest ago until `limit` bytes are left.
/// Only while nobody compiles into it.
pub(super) fn tidy(folder: &Path, limit: u64) -> io::Result<()> {
    let mut kept = Vec::new();
    for release in entries(&folder.join("modules"))? {
        for file in entries(&release.path())? {
            let path = file.path();
            let name = path.to_string_lossy();
            if name.ends_with(UNFINISHED) {
                fs::remove_file(&path)?;
            } else if !name.ends_with(STATISTICS) {
                kept.push(CacheLimit::read(&file)?);
            }
        }
    }
    kept.sort_by_key(|file| std::cmp::Reverse(file.used));
    let mut sum = 0_u64;
    for file in kept {
        sum = sum.saturating_add(file.size);
        if sum > limit {
            fs::remove_file(&file.path)?;
            // There is none before the second use.
            let _ = fs::remove_file(statistics(&file.path));
        }
    }
    Ok(())
}

struct CacheLimit {
    path: PathBuf,
    size: u64,
    used: SystemTime,
}

impl CacheLimit {
    fn read(file: &DirEntry) -> io::Result<Self> {
        let path = file.path();
        let about = file.metadata()?;
        let written = about.modified()?;
        let used = fs::metadata(statistics(&path)).and_then(|about| about.modified());
        Ok(Self {
            size: about.len(),
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

/// None where there is no such folder yet.
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
    fn what_was_used_last_stays_within_the_limit() {
        let folder = tempfile::tempdir().expect("a folder");
        let folder = folder.path();
        tidy(folder, 0).expect("there is nothing yet");
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
