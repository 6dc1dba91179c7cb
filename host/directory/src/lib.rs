//! The directory: accounts, addresses, aliases, groups and homes; password checks; DNS resolution.

mod address_rewrites;
mod crypt_hash;
mod directory_table;
mod directory_warnings;
pub mod dns;
mod edit_file;
mod fair_places;
mod file_directory;
mod hash_cost;
mod hex;
mod password;
mod password_queue;
mod pbkdf2_hash;
mod salted_digest;
mod scram_verifier;
pub mod secure_dns;
mod sender_rewriting;
mod stored_password;

use std::net::IpAddr;
use std::path::PathBuf;

use futures_util::future::{BoxFuture, FutureExt as _, ready};

use host_mail::{Endpoint, Mailbox};

#[doc(hidden)]
pub use crate::directory_table::fuzzing;
pub use crate::edit_file::{EditError, NewAccount, add_account, set_password};
pub use crate::file_directory::{AccountSummary, FileDirectory};
pub use crate::sender_rewriting::SenderRewriting;
pub use password::{PasswordError, hash_password, password_verifiers, verify_password};
pub use scram_verifier::ScramVerifier;

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
    /// Too many passwords wait for their check, of the client or in all.
    #[error("too many passwords wait for their check")]
    Busy,
}

/// An attempt to log in.
#[derive(Clone, Copy)]
pub struct Login<'a> {
    /// Name or address of an account.
    pub user: &'a str,
    /// Password of the account.
    pub password: &'a str,
    /// Network of the client, see [`host_mail::client_network`]: checks are shared fairly between networks.
    pub network: IpAddr,
    /// True if logins from the network have succeeded of late: such attempts do not wait behind others.
    pub known: bool,
}

/// Facts for an exchange of SCRAM-SHA-256.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScramLogin {
    /// Name of the account in lower case; `None` if the user has no verifier, and the exchange fails at its end.
    pub account: Option<String>,
    /// Verifier of the account, or one that no password matches.
    pub verifier: ScramVerifier,
    /// Random nonce of the server, printable.
    pub nonce: String,
}

/// A source of accounts and addresses. Answers to equal questions within a unit of work differ only if the source
/// changed between the questions.
pub trait Directory: Send + Sync {
    /// Returns every meaning of an address: an empty list for an unknown address, several entries for an ambiguous
    /// address. `postmaster` at any local domain always has a meaning, by default the administrator (RFC 5321
    /// section 4.5.1).
    fn lookup<'a>(&'a self, address: &'a Mailbox) -> BoxFuture<'a, Result<Vec<Entry>, LookupError>>;

    /// Returns the reverse-path that takes the place of another, by a rule of the directory. Does not wait.
    fn rewritten_sender(&self, _sender: &Mailbox) -> Option<Mailbox> {
        None
    }

    /// True if the account may use the address as originator.
    fn may_send_as<'a>(&'a self, account: &'a str, address: &'a Mailbox) -> BoxFuture<'a, Result<bool, LookupError>>;

    /// True if the domain belongs to the directory.
    fn is_local_domain<'a>(&'a self, domain: &'a str) -> BoxFuture<'a, Result<bool, LookupError>>;

    /// Returns the reverse-path for mail of `sender` that this host forwards to other hosts; `None` keeps the sender. By
    /// default every sender is kept.
    fn forwarding_sender<'a>(&'a self, _sender: &'a Mailbox) -> BoxFuture<'a, Option<Mailbox>> {
        ready(None).boxed()
    }

    /// True if the address is a member of the group, directly or through nested groups. An address that is not a group
    /// has no members.
    fn is_member<'a>(&'a self, group: &'a Mailbox, address: &'a Mailbox) -> BoxFuture<'a, Result<bool, LookupError>>;

    /// Checks credentials and returns the account's name in lower case, or `None` if the credentials are wrong. The
    /// check takes equally long for known and unknown users. Dropping the future withdraws the attempt.
    fn authenticate<'a>(&'a self, login: Login<'a>) -> BoxFuture<'a, Result<Option<String>, LookupError>>;

    /// Returns the facts for an exchange of SCRAM-SHA-256 as `user`, also for an unknown user; `None` if the directory has
    /// no verifiers.
    fn scram_login<'a>(&'a self, _user: &'a str) -> BoxFuture<'a, Result<Option<ScramLogin>, LookupError>> {
        ready(Ok(None)).boxed()
    }

    /// Returns the account with the name or unambiguous address, in lower case, for a client whose certificate has the
    /// name.
    fn account_named<'a>(&'a self, _name: &'a str) -> BoxFuture<'a, Result<Option<String>, LookupError>> {
        ready(Ok(None)).boxed()
    }

    /// True if every account with a password has a verifier of SCRAM-SHA-256: a client that prefers SCRAM then never
    /// fails with an account that only PLAIN could serve. Does not wait.
    fn has_scram_for_all(&self) -> bool {
        false
    }

    /// Returns the name under which failed logins of `user` are counted: the account's name for every name and address
    /// of an account, and `user` in lower case by default.
    fn login_name<'a>(&'a self, user: &'a str) -> BoxFuture<'a, String> {
        ready(user.to_lowercase()).boxed()
    }
}

#[cfg(test)]
mod tests;
