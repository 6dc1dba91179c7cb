//! The audit of a folder: finds files and folders that other users can read or that belong to another user, and makes
//! the former private on demand.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};
use walkdir::WalkDir;

use crate::access_bits::{OPEN_BITS, remove_bits};
use crate::mailbox_audit::{MESSAGE_FOLDERS, MailboxAudit, audit_mailboxes};
use crate::path_list::PathList;
use crate::user_name::{current_user, owner_of};

/// Folder of root in the root of a file system.
const LOST_AND_FOUND: &str = "lost+found";

/// Result of an audit. Symbolic links are neither followed nor listed, and sockets are not listed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FolderAudit {
    /// User that all files should belong to: the user of this process, or for root the owner of the folder.
    pub owner: u32,
    /// Files and folders that were open to other users; private now if the audit tightened them.
    pub open: PathList,
    /// Files and folders that could not be made private.
    pub not_tightened: PathList,
    /// Files and folders that belong to another user than `owner`, mailboxes apart: an IMAP server keeps its files there.
    pub foreign: PathList,
    /// Files and folders below the names in [`AuditScope::own`] that belong to another user and cannot be used.
    pub unusable: PathList,
    /// Owner of the first unusable file or folder.
    pub unusable_owner: Option<u32>,
    /// Maildirs outside the folder.
    pub mailboxes: MailboxAudit,
}

/// Extent of an audit.
#[derive(Debug, Clone, Copy)]
pub struct AuditScope<'a> {
    /// Folder to inspect, with everything below.
    pub folder: &'a Path,
    /// Folder of Maildirs, in the folder or elsewhere. Messages are skipped where their folder is private already, since
    /// a mailbox may hold a million files.
    pub mailboxes: &'a Path,
    /// Names in the folder that this process cannot do without.
    pub own: &'a [&'a str],
}

/// Inspects a folder. With `tighten`, permissions of group and others are removed. A missing folder has an empty result.
pub fn audit(scope: AuditScope<'_>, tighten: bool) -> FolderAudit {
    let Ok(root) = scope.folder.canonicalize() else {
        return FolderAudit::default();
    };
    let user = current_user().0;
    let owner = match owner_of(&root) {
        Some((owner, _)) if user == 0 => owner,
        _ => user,
    };
    let mailboxes = scope
        .mailboxes
        .canonicalize()
        .unwrap_or_else(|_| scope.mailboxes.to_owned());
    let is_own = |path: &Path| {
        let first = path
            .strip_prefix(&root)
            .ok()
            .and_then(|inside| inside.components().next());
        first.is_some_and(|first| scope.own.iter().any(|name| first.as_os_str() == *name))
    };
    let mut result = FolderAudit {
        owner,
        mailboxes: match mailboxes.starts_with(&root) {
            true => MailboxAudit::default(),
            false => audit_mailboxes(&mailboxes, tighten),
        },
        ..FolderAudit::default()
    };
    let mut walk = WalkDir::new(&root).into_iter();
    while let Some(entry) = walk.next() {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => {
                let denied = error.io_error().map(io::Error::kind) == Some(io::ErrorKind::PermissionDenied);
                if let Some(path) = error.path().filter(|path| denied && is_own(path)) {
                    result.add_unusable(path);
                }
                continue;
            }
        };
        let path = entry.path();
        let is_folder = entry.file_type().is_dir();
        if entry.depth() == 1 && entry.file_name() == LOST_AND_FOUND {
            walk.skip_current_dir();
            continue;
        }
        let Some(metadata) = entry
            .metadata()
            .ok()
            .filter(|_| is_folder || entry.file_type().is_file())
        else {
            continue;
        };
        let is_mail = path.starts_with(&mailboxes);
        if metadata.uid() != owner && !is_mail {
            result.foreign.add(path);
        }
        if metadata.uid() != user && is_own(path) && !is_usable(path, is_folder) {
            result.add_unusable(path);
        }
        if metadata.mode() & OPEN_BITS != 0 {
            match tighten {
                true if remove_bits(path, OPEN_BITS).is_err() => result.not_tightened.add(path),
                _ => result.open.add(path),
            }
        } else if is_folder && is_mail && is_message_folder(path) {
            walk.skip_current_dir();
        }
    }
    result
}

impl FolderAudit {
    fn add_unusable(&mut self, path: &Path) {
        // A folder that cannot be read is listed twice: by its permissions and by the failed walk.
        if self.unusable.first.last().map(PathBuf::as_path) == Some(path) {
            return;
        }
        if self.unusable.is_empty() {
            self.unusable_owner = owner_of(path).map(|(owner, _)| owner);
        }
        self.unusable.add(path);
    }
}

fn is_message_folder(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    name.is_some_and(|name| MESSAGE_FOLDERS.contains(&name))
}

fn is_usable(path: &Path, is_folder: bool) -> bool {
    let mut wanted = Access::READ_OK | Access::WRITE_OK;
    if is_folder {
        wanted |= Access::EXEC_OK;
    }
    access(path, wanted).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    fn audit_of(folder: impl AsRef<Path>, mailboxes: impl AsRef<Path>, tighten: bool) -> FolderAudit {
        let scope = AuditScope {
            folder: folder.as_ref(),
            mailboxes: mailboxes.as_ref(),
            own: &[],
        };
        audit(scope, tighten)
    }

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).expect("changed");
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).expect("there").mode() & 0o777
    }

    #[test]
    fn tightens_everything_below_and_follows_no_link() {
        let outside = tempfile::tempdir().expect("a folder");
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().join("data");
        fs::create_dir_all(root.join("spool/large")).expect("made");
        for name in ["spool/large/1", "spool/tool"] {
            fs::write(root.join(name), "x").expect("written");
        }
        fs::write(outside.path().join("file"), "x").expect("written");
        set_mode(&outside.path().join("file"), 0o644);
        symlink(outside.path().join("file"), root.join("link")).expect("linked");
        for name in ["", "spool", "spool/large"] {
            set_mode(&root.join(name), 0o755);
        }
        set_mode(&root.join("spool/large/1"), 0o664);
        set_mode(&root.join("spool/tool"), 0o751);

        let seen = audit_of(&root, "/none", false);
        assert_eq!((seen.open.count, seen.foreign.count), (5, 0));
        assert_eq!(mode(&root), 0o755, "changes nothing without tighten");

        let tightened = audit_of(&root, "/none", true);
        assert_eq!((tightened.open.count, tightened.not_tightened.count), (5, 0));
        assert_eq!(tightened.open.to_string().matches(", ").count(), 2);
        assert!(tightened.open.to_string().ends_with(" and 2 more"));
        for (name, expected) in [
            ("", 0o700),
            ("spool", 0o700),
            ("spool/large", 0o700),
            ("spool/large/1", 0o600),
            ("spool/tool", 0o700),
        ] {
            assert_eq!(mode(&root.join(name)), expected, "{name}");
        }
        assert_eq!(mode(&outside.path().join("file")), 0o644);
        assert!(audit_of(&root, "/none", true).open.is_empty());
    }

    #[test]
    fn skips_messages_only_where_their_folder_is_private() {
        let folder = tempfile::tempdir().expect("a folder");
        let mailboxes = folder.path().join("mailboxes");
        for account in ["anna", "bert"] {
            let new = mailboxes.join(account).join("new");
            fs::create_dir_all(&new).expect("made");
            fs::write(new.join("1"), "x").expect("written");
            set_mode(&new.join("1"), 0o644);
        }
        set_mode(folder.path(), 0o700);
        set_mode(&mailboxes, 0o700);
        for name in ["anna", "anna/new", "bert"] {
            set_mode(&mailboxes.join(name), 0o700);
        }
        set_mode(&mailboxes.join("bert/new"), 0o755);
        let tightened = audit_of(folder.path(), &mailboxes, true);
        assert_eq!(tightened.open.count, 2, "{:?}", tightened.open);
        assert_eq!(mode(&mailboxes.join("bert/new/1")), 0o600);
        assert_eq!(mode(&mailboxes.join("anna/new/1")), 0o644);
    }

    #[test]
    fn a_missing_folder_has_no_findings() {
        assert_eq!(audit_of("/no/such", "/x", true), FolderAudit::default());
    }
}
