//! Files that are whole or absent, also after a crash or on a full disk: a draft in the same folder is written, synced
//! and renamed, then the folder is synced.

use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};

use tempfile::{Builder, NamedTempFile};

/// Prefix of the names of drafts. A draft that a crash left behind may be removed.
const PREFIX: &str = ".new-";
/// Mode of shared files before the umask applies.
const SHARED: u32 = 0o666;

/// A file that is being written and has no name yet. Dropping removes the draft.
#[derive(Debug)]
pub struct FileDraft {
    file: NamedTempFile,
    target: PathBuf,
}

impl FileDraft {
    /// Creates a draft of `target` with mode 0600. The folder must exist.
    pub fn private(target: &Path) -> io::Result<Self> {
        Self::with_mode(target, 0o600)
    }

    /// Creates a draft of `target` with owner and mode of the existing file, or for a new file with the mode that the
    /// umask leaves. Meant for files of the user who runs a command, such as sources of a policy.
    pub fn shared(target: &Path) -> io::Result<Self> {
        match fs::canonicalize(target) {
            // A symbolic link stays: its target is replaced.
            Ok(target) => {
                let existing = fs::metadata(&target)?;
                let draft = Self::private(&target)?;
                draft.file.as_file().set_permissions(existing.permissions())?;
                draft.keep_owner(&existing)?;
                Ok(draft)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::with_mode(target, SHARED),
            Err(error) => Err(error),
        }
    }

    fn with_mode(target: &Path, mode: u32) -> io::Result<Self> {
        let file = Builder::new()
            .prefix(PREFIX)
            .permissions(Permissions::from_mode(mode))
            .tempfile_in(folder_of(target))?;
        Ok(Self {
            file,
            target: target.to_owned(),
        })
    }

    /// Gives the draft the owner of the old file, so that the daemon can read a file that root has edited.
    fn keep_owner(&self, old: &fs::Metadata) -> io::Result<()> {
        let now = self.file.as_file().metadata()?;
        if (now.uid(), now.gid()) == (old.uid(), old.gid()) {
            return Ok(());
        }
        fchown(self.file.as_file(), Some(old.uid()), Some(old.gid()))
    }

    /// Makes the content durable under the target's name, in place of an existing file.
    pub fn publish(self) -> io::Result<()> {
        self.file.as_file().sync_all()?;
        self.file.persist(&self.target).map_err(|error| error.error)?;
        sync_folder(folder_of(&self.target))
    }

    /// Makes the content durable under the target's name.
    ///
    /// # Errors
    /// [`io::ErrorKind::AlreadyExists`] if the name is taken.
    pub fn publish_new(self) -> io::Result<()> {
        self.file.as_file().sync_all()?;
        self.file.persist_noclobber(&self.target).map_err(|error| error.error)?;
        sync_folder(folder_of(&self.target))
    }
}

impl Write for FileDraft {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Writes a file of mode 0600 in place of an existing one.
pub fn replace_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut draft = FileDraft::private(path)?;
    draft.write_all(bytes)?;
    draft.publish()
}

/// Writes a file in place of an existing one, with the mode and owner that [`FileDraft::shared`] gives.
pub fn replace_whole_shared(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut draft = FileDraft::shared(path)?;
    draft.write_all(bytes)?;
    draft.publish()
}

/// Writes a new file of mode 0600.
///
/// # Errors
/// [`io::ErrorKind::AlreadyExists`] if the file exists.
pub fn create_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut draft = FileDraft::private(path)?;
    draft.write_all(bytes)?;
    draft.publish_new()
}

/// Syncs a folder, which makes the names of the files inside durable.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

fn folder_of(path: &Path) -> &Path {
    let parent = path.parent().unwrap_or(Path::new("/"));
    if parent.as_os_str().is_empty() {
        Path::new(".")
    } else {
        parent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).expect("a folder");
        let names = entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned());
        names.collect()
    }

    #[test]
    fn replaces_a_file_and_makes_it_private() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("file");
        fs::write(&file, "old").expect("written");
        replace_whole(&file, b"new").expect("replaced");
        assert_eq!(fs::read(&file).expect("there"), b"new");
        assert_eq!(fs::metadata(&file).expect("there").mode() & 0o777, 0o600);
        assert_eq!(names(folder.path()), ["file"]);
    }

    #[test]
    fn keeps_the_mode_of_a_shared_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("file");
        fs::write(&file, "old").expect("written");
        fs::set_permissions(&file, Permissions::from_mode(0o640)).expect("changed");
        replace_whole_shared(&file, b"new").expect("replaced");
        assert_eq!(fs::metadata(&file).expect("there").mode() & 0o777, 0o640);
        replace_whole_shared(&folder.path().join("other"), b"new").expect("created");
    }

    #[test]
    fn a_dropped_draft_leaves_no_file_and_the_old_content() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("file");
        fs::write(&file, "old").expect("written");
        let mut draft = FileDraft::private(&file).expect("a draft");
        draft.write_all(b"half of").expect("written");
        drop(draft);
        assert_eq!(fs::read(&file).expect("there"), b"old");
        assert_eq!(names(folder.path()), ["file"]);
    }

    #[test]
    fn a_new_file_replaces_no_other() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("file");
        create_whole(&file, b"first").expect("created");
        let refused = create_whole(&file, b"second").expect_err("refused");
        assert_eq!(refused.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&file).expect("there"), b"first");
        assert_eq!(names(folder.path()), ["file"]);
    }
}
