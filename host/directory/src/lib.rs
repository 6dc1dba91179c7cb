//! The directory: accounts, addresses, aliases, groups and homes; password checks; DNS resolution.

mod directory_table;
mod directory_warnings;
pub mod dns;
mod edit_file;
mod file_directory;
mod password;
mod password_queue;

use std::path::PathBuf;

use futures_util::future::BoxFuture;

use host_mail::{Endpoint, Mailbox};

#[doc(hidden)]
pub use crate::directory_table::fuzzing;
pub use crate::edit_file::{EditError, NewAccount, add_account, set_password};
pub use crate::file_directory::{AccountSummary, FileDirectory};
pub use password::{PasswordError, hash_password, verify_password};

/// Maximum depth of nested aliases and groups.
pub const MAX_ALIAS_DEPTH: usize = 10;
/// Maximum number of addresses that are looked up for a recipient of the envelope.
pub const MAX_ALIAS_ADDRESSES: usize = 10_000;

/// Destination of an account's mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Home {
    /// A Maildir on this host.
    Maildir(PathBuf),
    /// A mailbox server that speaks LMTP (RFC 2033).
    Lmtp(Endpoint),
    /// Another host that speaks SMTP.
    Smtp(Endpoint),
}

/// Directory entry: a meaning of an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Address as written in the directory.
    pub address: Mailbox,
    /// Meaning of the address.
    pub target: Target,
}

/// Meaning of an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A mailbox with an owner.
    Account {
        /// Account name, lower case.
        account: String,
        /// Destination of the account's mail.
        home: Home,
    },
    /// Alias of other addresses, local or not.
    Alias(Vec<Mailbox>),
    /// Group with member addresses, local or not. Mail goes to the members as to the targets of an alias.
    Group(Vec<Mailbox>),
}

/// Reason why a lookup has no answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LookupError {
    /// The source is not available now.
    #[error("directory unavailable: {0}")]
    Unavailable(String),
}

/// A source of accounts and addresses. Answers to equal questions within a unit of work differ only if the source
/// changed between the questions.
pub trait Directory: Send + Sync {
    /// Returns every meaning of an address: an empty list for an unknown address, several entries for an ambiguous
    /// address. `postmaster` at any local domain always has a meaning, by default the administrator (RFC 5321
    /// section 4.5.1).
    fn lookup<'a>(&'a self, address: &'a Mailbox) -> BoxFuture<'a, Result<Vec<Entry>, LookupError>>;

    /// True if the account may use the address as originator.
    fn may_send_as<'a>(&'a self, account: &'a str, address: &'a Mailbox) -> BoxFuture<'a, Result<bool, LookupError>>;

    /// True if the domain belongs to the directory.
    fn is_local_domain<'a>(&'a self, domain: &'a str) -> BoxFuture<'a, Result<bool, LookupError>>;

    /// True if the address is a member of the group, directly or through nested groups. An address that is not a group
    /// has no members.
    fn is_member<'a>(&'a self, group: &'a Mailbox, address: &'a Mailbox) -> BoxFuture<'a, Result<bool, LookupError>>;

    /// Checks credentials and returns the account's name in lower case, or `None` if the credentials are wrong. `user`
    /// is the name or an address of an account. The check takes equally long for known and unknown users.
    fn authenticate<'a>(
        &'a self,
        user: &'a str,
        password: &'a str,
    ) -> BoxFuture<'a, Result<Option<String>, LookupError>>;
}

#[cfg(test)]
mod tests;
