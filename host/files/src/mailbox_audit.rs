//! The audit of Maildirs outside the data folder. Group permissions stay, since an IMAP server may need them there.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use walkdir::WalkDir;

use crate::access_bits::remove_bits;
use crate::path_list::PathList;
use crate::user_name::current_user;

/// Folders of a Maildir that hold messages.
pub(crate) const MESSAGE_FOLDERS: [&str; 3] = ["cur", "new", "tmp"];
/// Permission bits of users that are neither the owner nor in the group.
const OTHERS: u32 = 0o007;
/// Permission bits of a folder that several users write: the sticky bit, and writing by the group.
const SHARED: u32 = 0o1020;

/// Result of an audit of Maildirs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MailboxAudit {
    /// Files and folders that every user could reach; closed to others now if the audit tightened them.
    pub open: PathList,
    /// Files and folders that every user can reach, and that could not be closed.
    pub not_tightened: PathList,
}

/// Inspects a folder of Maildirs. With `tighten`, permissions of others are removed from the folder, if it is this
/// user's alone, and from open Maildirs with everything below. A Maildir that is closed to others is not looked into,
/// and entries that are no Maildirs stay as they are.
pub(crate) fn audit_mailboxes(folder: &Path, tighten: bool) -> MailboxAudit {
    let mut found = MailboxAudit::default();
    let Ok(metadata) = fs::metadata(folder) else {
        return found;
    };
    if metadata.mode() & OTHERS == 0 {
        return found;
    }
    let entries = fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    let maildirs = entries
        .map(|entry| entry.path())
        .filter(|path| path.is_dir() && MESSAGE_FOLDERS.iter().any(|name| path.join(name).is_dir()));
    for maildir in maildirs {
        if fs::symlink_metadata(&maildir).is_ok_and(|metadata| metadata.is_dir() && metadata.mode() & OTHERS != 0) {
            found.inspect_tree(&maildir, tighten);
        }
    }
    if metadata.uid() == current_user().0 && metadata.mode() & SHARED == 0 {
        found.inspect(folder, tighten);
    }
    found
}

impl MailboxAudit {
    fn inspect_tree(&mut self, maildir: &Path, tighten: bool) {
        for entry in WalkDir::new(maildir).into_iter().filter_map(Result::ok) {
            let kind = entry.file_type();
            let is_open = || entry.metadata().is_ok_and(|metadata| metadata.mode() & OTHERS != 0);
            if (kind.is_dir() || kind.is_file()) && is_open() {
                self.inspect(entry.path(), tighten);
            }
        }
    }

    fn inspect(&mut self, path: &Path, tighten: bool) {
        match tighten {
            true if remove_bits(path, OTHERS).is_err() => self.not_tightened.add(path),
            _ => self.open.add(path),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::Permissions;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).expect("changed");
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).expect("there").mode() & 0o7777
    }

    fn mailboxes() -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        for name in ["anna/new", "bert/cur", "notes"] {
            fs::create_dir_all(folder.path().join(name)).expect("made");
        }
        for (name, bits) in [
            ("anna", 0o2775),
            ("anna/new", 0o755),
            ("bert", 0o750),
            ("bert/cur", 0o755),
            ("notes", 0o755),
            ("", 0o755),
        ] {
            set_mode(&folder.path().join(name), bits);
        }
        fs::write(folder.path().join("anna/new/1"), "x").expect("written");
        set_mode(&folder.path().join("anna/new/1"), 0o644);
        folder
    }

    #[test]
    fn closes_open_maildirs_to_others_and_keeps_their_groups() {
        let folder = mailboxes();
        let root = folder.path();
        symlink(root.join("notes"), root.join("linked")).expect("linked");
        let seen = audit_mailboxes(root, false);
        assert_eq!((seen.open.count, seen.not_tightened.count), (4, 0), "{:?}", seen.open);
        assert_eq!(mode(root), 0o755, "changes nothing without tighten");

        assert_eq!(audit_mailboxes(root, true).open.count, 4);
        for (name, expected) in [
            ("", 0o750),
            ("anna", 0o2770),
            ("anna/new", 0o750),
            ("anna/new/1", 0o640),
            ("bert", 0o750),
            ("bert/cur", 0o755),
            ("notes", 0o755),
        ] {
            assert_eq!(mode(&root.join(name)), expected, "{name}");
        }
        assert_eq!(audit_mailboxes(root, true), MailboxAudit::default());
    }

    #[test]
    fn folder_that_several_users_write_stays_open_above_closed_maildirs() {
        let folder = mailboxes();
        set_mode(folder.path(), 0o2775);
        assert_eq!(audit_mailboxes(folder.path(), true).open.count, 3);
        assert_eq!(
            (mode(folder.path()), mode(&folder.path().join("anna"))),
            (0o2775, 0o2770)
        );
    }
}
