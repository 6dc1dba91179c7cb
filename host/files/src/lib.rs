//! Files of the host: private to the daemon's user, whole or absent after a crash, and of one owner.

mod access_bits;
mod folder_audit;
mod mailbox_audit;
mod path_list;
mod user_name;
mod whole_file;

pub use access_bits::{Exposure, exposure, make_private_folder, set_private_umask};
pub use folder_audit::{AuditScope, FolderAudit, audit};
pub use mailbox_audit::MailboxAudit;
pub use path_list::PathList;
pub use user_name::{current_user, describe_user, owner_of};
pub use whole_file::{FileDraft, create_whole, replace_whole, replace_whole_shared, sync_folder};
