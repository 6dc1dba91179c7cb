//! Accounts, addresses, aliases, groups and homes: who is who here.

mod directory_table;
pub mod dns;
mod edit_file;
mod file_directory;
mod password;
mod password_queue;

use std::path::PathBuf;

use futures_util::future::BoxFuture;

use host_mail::{Endpoint, Mailbox};

pub use crate::edit_file::{EditError, NewAccount, add_account, set_password};
pub use crate::file_directory::{AccountSummary, FileDirectory};
pub use password::{PasswordError, hash_password, verify_password};

/// Where mail for an address goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Home {
    /// A Maildir on this host.
    Maildir(PathBuf),
    /// A mailbox server that speaks LMTP (RFC 2033).
    Lmtp(Endpoint),
    /// Another host, by SMTP.
    Smtp(Endpoint),
}

/// One meaning of an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The address as the directory has it.
    pub address: Mailbox,
    /// What it stands for.
    pub target: Target,
}

/// What an address stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A mailbox with an owner.
    Account {
        /// Account name, lower case.
        account: String,
        /// Where its mail goes.
        home: Home,
    },
    /// Other addresses stand for it, local or not.
    Alias(Vec<Mailbox>),
    /// As an alias, with members.
    Group(Vec<Mailbox>),
}

/// Why there is no answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LookupError {
    /// The source cannot be asked now.
    #[error("directory unavailable: {0}")]
    Unavailable(String),
}

/// A source of accounts and addresses. Answers to the same question within one unit of work may
/// differ only if the source changed meanwhile.
pub trait Directory: Send + Sync {
    /// Every meaning of an address: none is not known, several is ambiguous. `postmaster` at any
    /// local domain always has a meaning: the administrator (RFC 5321 section 4.5.1).
    fn lookup<'a>(&'a self, address: &'a Mailbox) -> BoxFuture<'a, Result<Vec<Entry>, LookupError>>;

    /// Whether the account may use the address as originator.
    fn may_send_as<'a>(&'a self, account: &'a str, address: &'a Mailbox) -> BoxFuture<'a, Result<bool, LookupError>>;

    /// Whether the domain is one of the directory's own.
    fn is_local_domain<'a>(&'a self, domain: &'a str) -> BoxFuture<'a, Result<bool, LookupError>>;

    /// Whether the address is a member of the group, directly or through groups in it. An address
    /// that is no group has no members.
    fn is_member<'a>(&'a self, group: &'a Mailbox, address: &'a Mailbox) -> BoxFuture<'a, Result<bool, LookupError>>;

    /// The account whose credentials these are: its name in lower case, or none. `user` is the
    /// account's name or one of its addresses. Takes as long for unknown users as for known ones.
    fn authenticate<'a>(
        &'a self,
        user: &'a str,
        password: &'a str,
    ) -> BoxFuture<'a, Result<Option<String>, LookupError>>;
}

#[cfg(test)]
mod tests;
