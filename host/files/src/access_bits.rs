//! Permission bits: files of mode 0600 and folders of mode 0700, for any umask and any mode of a folder above.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::Path;

use rustix::fs::{Mode, OFlags, fchmod, fstat, open};

/// Permission bits of the group and of all other users.
pub(crate) const OPEN_BITS: u32 = 0o077;

/// Makes all files and folders private that this process and its children create from now on. Applies to the whole
/// process: call it before other threads start.
pub fn set_private_umask() {
    rustix::process::umask(Mode::from_raw_mode(OPEN_BITS));
}

/// Makes a folder, and its missing parents, with mode 0700. An existing folder keeps its mode.
///
/// # Errors
/// I/O errors; also if the path exists and is no folder.
pub fn make_private_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Removes permission bits from a file or folder. Works on an open file, so that a link that replaces the file meanwhile
/// does not lead elsewhere.
pub(crate) fn remove_bits(path: &Path, bits: u32) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = open(path, flags, Mode::empty())?;
    let mode = fstat(&file)?.st_mode & 0o7777 & !bits;
    fchmod(&file, Mode::from_raw_mode(mode))?;
    Ok(())
}

/// Users beside the owner that a file is open to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exposure {
    /// Every user may read the file.
    ReadableByAll(u32),
    /// Every member of the file's group may read the file.
    ReadableByGroup(u32),
    /// Every user may write the file.
    WritableByAll(u32),
}

impl std::fmt::Display for Exposure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (what, mode) = match self {
            Self::ReadableByAll(mode) => ("can be read by every user", mode),
            Self::ReadableByGroup(mode) => ("can be read by its group", mode),
            Self::WritableByAll(mode) => ("can be written by every user", mode),
        };
        write!(f, "{what} (mode {mode:04o})")
    }
}

/// Returns the users beside the owner that a file is open to; `None` if there are none, or if the file cannot be
/// inspected. `reader` is user and group of the daemon: a file of another owner may be readable for that group, since
/// the daemon could not read it otherwise.
pub fn exposure(path: &Path, reader: (u32, u32)) -> Option<Exposure> {
    let metadata = fs::metadata(path).ok()?;
    let mode = metadata.mode() & 0o777;
    let (user, group) = reader;
    let read_by_group = metadata.uid() != user && metadata.gid() == group;
    match mode {
        mode if mode & 0o002 != 0 => Some(Exposure::WritableByAll(mode)),
        mode if mode & 0o004 != 0 => Some(Exposure::ReadableByAll(mode)),
        mode if mode & 0o060 != 0 && !read_by_group => Some(Exposure::ReadableByGroup(mode)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn names_the_users_that_a_file_is_open_to() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("secret");
        fs::write(&file, "x").expect("written");
        let metadata = fs::metadata(&file).expect("there");
        let owner = (metadata.uid(), metadata.gid());
        let other = (metadata.uid() + 1, metadata.gid());
        for (mode, of_owner, of_other) in [
            (0o600, None, None),
            (0o400, None, None),
            (0o640, Some(Exposure::ReadableByGroup(0o640)), None),
            (
                0o644,
                Some(Exposure::ReadableByAll(0o644)),
                Some(Exposure::ReadableByAll(0o644)),
            ),
            (
                0o666,
                Some(Exposure::WritableByAll(0o666)),
                Some(Exposure::WritableByAll(0o666)),
            ),
        ] {
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).expect("changed");
            assert_eq!(exposure(&file, owner), of_owner, "{mode:o}");
            assert_eq!(exposure(&file, other), of_other, "{mode:o}");
        }
        assert_eq!(exposure(&folder.path().join("none"), owner), None);
    }

    #[test]
    fn makes_folders_that_only_the_owner_can_enter() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a/b");
        make_private_folder(&path).expect("made");
        make_private_folder(&path).expect("kept");
        for path in [folder.path().join("a"), path] {
            assert_eq!(fs::metadata(path).expect("there").mode() & 0o777, 0o700);
        }
    }
}
