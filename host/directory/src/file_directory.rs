//! A directory backed by a TOML file.

use std::borrow::Cow;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use toml::Table;

use super::{Directory, Endpoint, Entry, Home, Login, LookupError, ScramLogin, ScramVerifier, Target};
use crate::directory_table::{DirectoryTable, key};
use crate::directory_warnings::{directory_warnings, home_servers};
use crate::password_queue::PasswordQueue;
use crate::sender_rewriting::SenderRewriting;
use host_config::toml_reader::Problem;
use host_config::{Config, add_lines};
use host_events::{Event, Events};
use host_mail::{Mailbox, Timestamp, canonical_domain};

/// Minimum interval between two checks of the file for changes.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// Maximum number of ambiguous addresses reported when a file is read.
const MAX_AMBIGUOUS_REPORTED: usize = 20;

/// A directory in a TOML file that is read again when the file changes. If the file is missing or invalid, the last
/// valid version stays in force and Event 5020 is emitted.
pub struct FileDirectory {
    path: PathBuf,
    mailboxes: PathBuf,
    administrator: Mailbox,
    hostname: Option<String>,
    rewriting: Option<SenderRewriting>,
    events: Events,
    table: ArcSwap<DirectoryTable>,
    file_state: Mutex<FileState>,
    passwords: PasswordQueue,
}

/// State of the file at the last check.
struct FileState {
    stamp: Option<Stamp>,
    checked_at: Instant,
}

/// File metadata that differs after a file was written or replaced.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp {
    modified: (i64, i64),
    size: u64,
    inode: u64,
}

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        let metadata = fs::metadata(path).ok()?;
        Some(Self {
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            size: metadata.size(),
            inode: metadata.ino(),
        })
    }
}

/// Summary of an account, shown by `posthouse account list`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountSummary {
    /// Name in lower case.
    pub name: String,
    /// Addresses as written in the file.
    pub addresses: Vec<Mailbox>,
    /// Destination of the account's mail.
    pub home: Home,
    /// True if the account has a password.
    pub may_log_in: bool,
}

impl FileDirectory {
    /// Opens the directory in the file `path`. `mailboxes` is the folder of the Maildirs of accounts with the home
    /// `here`; `administrator` receives mail to `postmaster`.
    pub fn open(
        path: impl Into<PathBuf>,
        mailboxes: impl Into<PathBuf>,
        administrator: Mailbox,
    ) -> Result<Self, Vec<Problem>> {
        let (path, mailboxes) = (path.into(), mailboxes.into());
        let stamp = Stamp::of(&path);
        let table = load(&path, &mailboxes)?;
        Ok(Self {
            path,
            mailboxes,
            administrator,
            hostname: None,
            rewriting: None,
            events: Events::discard(),
            table: ArcSwap::from_pointee(table),
            file_state: Mutex::new(FileState {
                stamp,
                checked_at: Instant::now(),
            }),
            passwords: PasswordQueue::new(),
        })
    }

    /// Adds the host's own name as a local domain with the address `postmaster`.
    #[must_use]
    pub fn with_hostname(mut self, hostname: &str) -> Self {
        self.hostname = canonical_domain(hostname).map(Cow::into_owned);
        self
    }

    /// Rewrites the senders of forwarded mail. Rewritten addresses are aliases of the addresses that they lead back to.
    #[must_use]
    pub fn with_rewriting(mut self, rewriting: Option<SenderRewriting>) -> Self {
        self.rewriting = rewriting;
        self
    }

    /// Emits events about problems of the file (5020), changes (5011) and ambiguous addresses (10000) to `events`.
    /// Ambiguous addresses of the file in force are reported immediately.
    #[must_use]
    pub fn with_events(mut self, events: Events) -> Self {
        self.events = events;
        self.report_ambiguous(&self.table.load());
        self
    }

    /// Reads the file again immediately, even if unchanged. Problems leave the last valid version in force.
    pub fn reload(&self) -> Result<(), Vec<Problem>> {
        let stamp = Stamp::of(&self.path);
        let loaded = load(&self.path, &self.mailboxes);
        let result = loaded.as_ref().map(|_| ()).map_err(Clone::clone);
        self.adopt(stamp, loaded);
        result
    }

    /// Reads the file again and returns the warnings about it, each with key and line in that file. A file with problems
    /// has no warnings.
    pub fn warnings(&self, config: &Config) -> Vec<Problem> {
        let Some((text, document, table)) = self.read_anew() else {
            return Vec::new();
        };
        let mut warnings = directory_warnings(&document, &table, config);
        add_lines(&text, &mut warnings);
        warnings
    }

    /// Reads the file again and returns the servers of homes, each with the key of the account's home.
    pub fn home_servers(&self) -> Vec<(String, Endpoint)> {
        let read = self.read_anew();
        read.map_or_else(Vec::new, |(_, document, table)| home_servers(&document, &table))
    }

    fn read_anew(&self) -> Option<(String, Table, DirectoryTable)> {
        let text = fs::read_to_string(&self.path).ok()?;
        let table = DirectoryTable::parse(&text, &self.mailboxes).ok()?;
        let document = text.parse().ok()?;
        Some((text, document, table))
    }

    /// Describes how an address gets its meaning by an alias domain or a rule, for `posthouse try`; `None` for an address
    /// that is listed or has no meaning.
    pub fn explain(&self, address: &Mailbox) -> Option<String> {
        let table = self.table.load();
        let listed = table.lookup(address);
        if listed.is_empty() {
            if self.postmaster(&table, address).is_some() || self.rewritten(address).is_some() {
                return None;
            }
            let (rule, entry) = table.by_rule(address)?;
            return Some(format!("{entry}, by {rule}"));
        }
        if !table.exact(address).is_empty() {
            return None;
        }
        let of = table.alias_domain_of(address.domain())?;
        let meanings: Vec<String> = listed.iter().map(ToString::to_string).collect();
        Some(format!("{}, by the alias domain of {of}", meanings.join("; ")))
    }

    /// Returns all accounts, ordered by name.
    pub fn accounts(&self) -> Vec<AccountSummary> {
        let table = self.table.load();
        let mut out: Vec<_> = table
            .accounts
            .iter()
            .map(|(name, account)| AccountSummary {
                name: name.clone(),
                addresses: account.addresses.clone(),
                home: account.home.clone(),
                may_log_in: account.passwords.hash.is_some(),
            })
            .collect();
        out.sort_by(|a, b| a.name.cmp(&b.name));
        out
    }

    /// Returns the table in force, after reading the file again if the file has changed. Only the caller that detects
    /// the change waits for the file; concurrent callers get the old table.
    async fn current(&self) -> Arc<DirectoryTable> {
        if let Some(stamp) = self.changed() {
            let (path, mailboxes) = (self.path.clone(), self.mailboxes.clone());
            let loaded = tokio::task::spawn_blocking(move || load(&path, &mailboxes)).await;
            let failed = |error: tokio::task::JoinError| vec![Problem::new("", error.to_string())];
            self.adopt(stamp, loaded.map_err(failed).and_then(|loaded| loaded));
        }
        self.table.load_full()
    }

    /// Returns the new stamp of a changed file (`Some(None)` if the file is missing), once for each change. The file is
    /// checked at most once every [`CHECK_INTERVAL`].
    fn changed(&self) -> Option<Option<Stamp>> {
        let mut state = self.file_state.lock();
        if state.checked_at.elapsed() < CHECK_INTERVAL {
            return None;
        }
        state.checked_at = Instant::now();
        let stamp = Stamp::of(&self.path);
        if stamp == state.stamp {
            return None;
        }
        state.stamp = stamp;
        Some(stamp)
    }

    fn adopt(&self, stamp: Option<Stamp>, loaded: Result<DirectoryTable, Vec<Problem>>) {
        self.file_state.lock().stamp = stamp;
        match loaded {
            Ok(table) => {
                self.report_ambiguous(&table);
                self.table.store(Arc::new(table));
                self.events.emit(Event::Reloaded {
                    what: vec![format!("directory {}", self.path.display())],
                });
            }
            Err(problems) => {
                let problems: Vec<_> = problems.iter().map(ToString::to_string).collect();
                self.events.emit(Event::DirectoryProblem {
                    error: format!("{}: {}", self.path.display(), problems.join("; ")),
                });
            }
        }
    }

    fn report_ambiguous(&self, table: &DirectoryTable) {
        for (address, entries) in table.ambiguous().into_iter().take(MAX_AMBIGUOUS_REPORTED) {
            self.events.emit(Event::AmbiguousAddress { address, entries });
        }
    }

    fn is_local(&self, table: &DirectoryTable, domain: &str) -> bool {
        canonical_domain(domain)
            .is_some_and(|domain| table.is_local_domain(&domain) || self.hostname.as_deref() == Some(&domain))
    }

    /// Returns the entry of `postmaster` at a local domain (RFC 5321 section 4.5.1): an alias of the administrator.
    fn postmaster(&self, table: &DirectoryTable, address: &Mailbox) -> Option<Entry> {
        let is_postmaster = key(address).starts_with("postmaster@") && self.is_local(table, address.domain());
        (is_postmaster && key(address) != key(&self.administrator)).then(|| Entry {
            address: address.clone(),
            target: Target::Alias(vec![self.administrator.clone()]),
        })
    }
}

impl FileDirectory {
    /// Returns the entry of an address that this host has made for a forwarded message.
    fn rewritten(&self, address: &Mailbox) -> Option<Entry> {
        let back = self.rewriting.as_ref()?.reverse(address, Timestamp::now())?;
        Some(Entry {
            address: address.clone(),
            target: Target::Alias(vec![back]),
        })
    }
}

impl Directory for FileDirectory {
    fn forwarding_sender<'a>(&'a self, sender: &'a Mailbox) -> BoxFuture<'a, Option<Mailbox>> {
        Box::pin(async move {
            let rewriting = self.rewriting.as_ref()?;
            match self.is_local(&*self.current().await, sender.domain()) {
                true => None,
                false => rewriting.rewrite(sender, Timestamp::now()),
            }
        })
    }

    fn lookup<'a>(&'a self, address: &'a Mailbox) -> BoxFuture<'a, Result<Vec<Entry>, LookupError>> {
        Box::pin(async move {
            let table = self.current().await;
            let found = table.lookup(address);
            if found.is_empty() {
                let by_rule = || table.by_rule(address).map(|(_, entry)| entry);
                let derived = self.postmaster(&table, address).or_else(|| self.rewritten(address));
                return Ok(derived.or_else(by_rule).into_iter().collect());
            }
            Ok(found.to_vec())
        })
    }

    fn rewritten_sender(&self, sender: &Mailbox) -> Option<Mailbox> {
        self.table.load().rewritten_sender(sender)
    }

    fn may_send_as<'a>(&'a self, account: &'a str, address: &'a Mailbox) -> BoxFuture<'a, Result<bool, LookupError>> {
        Box::pin(async move { Ok(self.current().await.may_send_as(&account.to_lowercase(), address)) })
    }

    fn is_local_domain<'a>(&'a self, domain: &'a str) -> BoxFuture<'a, Result<bool, LookupError>> {
        Box::pin(async move { Ok(self.is_local(&*self.current().await, domain)) })
    }

    fn is_member<'a>(&'a self, group: &'a Mailbox, address: &'a Mailbox) -> BoxFuture<'a, Result<bool, LookupError>> {
        Box::pin(async move { Ok(self.current().await.is_member(group, address)) })
    }

    fn authenticate<'a>(&'a self, login: Login<'a>) -> BoxFuture<'a, Result<Option<String>, LookupError>> {
        Box::pin(async move {
            let table = self.current().await;
            let known = table.account_of(login.user);
            let hash = known
                .as_ref()
                .and_then(|(_, account)| account.passwords.hash.as_deref());
            let fits = self.passwords.check(hash, &login).await?;
            Ok(known.filter(|_| fits).map(|(name, _)| name))
        })
    }

    fn scram_login<'a>(&'a self, user: &'a str) -> BoxFuture<'a, Result<Option<ScramLogin>, LookupError>> {
        Box::pin(async move {
            let table = self.current().await;
            let known = table.account_of(user);
            let known = known.and_then(|(name, account)| Some((name, account.passwords.scram.clone()?)));
            let (account, verifier) = match known {
                Some((name, verifier)) => (Some(name), verifier),
                None => (
                    None,
                    ScramVerifier::decoy(self.passwords.secret(), &user.to_lowercase()),
                ),
            };
            Ok(Some(ScramLogin {
                account,
                verifier,
                nonce: URL_SAFE_NO_PAD.encode(rand::random::<[u8; 18]>()),
            }))
        })
    }

    fn account_named<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<String>, LookupError>> {
        Box::pin(async move { Ok(self.current().await.account_of(name).map(|(account, _)| account)) })
    }

    fn has_scram_for_all(&self) -> bool {
        self.table.load().scram_for_all
    }

    fn login_name<'a>(&'a self, user: &'a str) -> BoxFuture<'a, String> {
        Box::pin(async move {
            let table = self.current().await;
            table
                .account_of(user)
                .map_or_else(|| user.to_lowercase(), |(name, _)| name)
        })
    }
}

fn load(path: &Path, mailboxes: &Path) -> Result<DirectoryTable, Vec<Problem>> {
    let text = fs::read_to_string(path).map_err(|error| vec![Problem::new("", error.to_string())])?;
    DirectoryTable::parse(&text, mailboxes).map_err(|mut problems| {
        add_lines(&text, &mut problems);
        problems
    })
}
