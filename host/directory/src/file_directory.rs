//! The directory in a TOML file.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use futures_util::future::BoxFuture;

use super::{Directory, Entry, Home, LookupError, Target};
use crate::directory_table::{DirectoryTable, key};
use crate::password_queue::PasswordQueue;
use host_config::toml_reader::Problem;
use host_events::{Event, Events};
use host_mail::Mailbox;

/// The file is looked at no more often than this.
const LOOK: Duration = Duration::from_secs(1);
/// So many ambiguous addresses are named when a file is read.
const AMBIGUOUS_NAMED: usize = 20;

/// Accounts and addresses from a file that is re-read when it changes. A file that cannot be read
/// leaves the last good one in force (5020).
pub struct FileDirectory {
    path: PathBuf,
    mailboxes: PathBuf,
    administrator: Mailbox,
    hostname: Option<String>,
    events: Events,
    table: ArcSwap<DirectoryTable>,
    seen: Mutex<FileState>,
    login: PasswordQueue,
}

/// What was last seen of the file.
struct FileState {
    stamp: Option<Stamp>,
    looked: Instant,
}

/// What changes when a file is written or replaced.
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

/// One account, as `posthouse account list` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountSummary {
    /// In lower case.
    pub name: String,
    /// As written.
    pub addresses: Vec<Mailbox>,
    /// Where its mail goes.
    pub home: Home,
    /// It has a password.
    pub may_log_in: bool,
}

impl FileDirectory {
    /// Reads the file. `mailboxes` is the folder of the Maildirs of accounts at home here;
    /// `administrator` is whom mail to postmaster reaches.
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
            events: Events::discard(),
            table: ArcSwap::from_pointee(table),
            seen: Mutex::new(FileState {
                stamp,
                looked: Instant::now(),
            }),
            login: PasswordQueue::new(),
        })
    }

    /// The host's own name is a local domain, too: `postmaster` there is the administrator.
    #[must_use]
    pub fn with_hostname(mut self, hostname: &str) -> Self {
        self.hostname = Some(hostname.to_lowercase());
        self
    }

    /// Who is told about problems of the file (5020), changes (5011) and addresses with several
    /// meanings (10000); the latter at once.
    #[must_use]
    pub fn with_events(mut self, events: Events) -> Self {
        self.events = events;
        self.tell_ambiguous(&self.table.load());
        self
    }

    /// Reads the file again now, changed or not.
    pub fn reload(&self) -> Result<(), Vec<Problem>> {
        let stamp = Stamp::of(&self.path);
        let loaded = load(&self.path, &self.mailboxes);
        let result = loaded.as_ref().map(|_| ()).map_err(Clone::clone);
        self.adopt(stamp, loaded);
        result
    }

    /// Addresses that mean several things: legal, and nearly always a mistake.
    pub fn warnings(&self) -> Vec<Problem> {
        let ambiguous = self.table.load().ambiguous().into_iter();
        ambiguous
            .map(|(address, meanings)| Problem::new("", format!("{address} is ambiguous: {}", meanings.join(", "))))
            .collect()
    }

    /// Every account, by name.
    pub fn accounts(&self) -> Vec<AccountSummary> {
        let table = self.table.load();
        let mut out: Vec<_> = table
            .accounts
            .iter()
            .map(|(name, account)| AccountSummary {
                name: name.clone(),
                addresses: account.addresses.clone(),
                home: account.home.clone(),
                may_log_in: account.password.is_some(),
            })
            .collect();
        out.sort_by(|a, b| a.name.cmp(&b.name));
        out
    }

    /// The table in force; the file is read again first if it has changed. Only the one who
    /// notices waits for that.
    async fn current(&self) -> Arc<DirectoryTable> {
        if let Some(stamp) = self.changed() {
            let (path, mailboxes) = (self.path.clone(), self.mailboxes.clone());
            let loaded = tokio::task::spawn_blocking(move || load(&path, &mailboxes)).await;
            let failed = |error: tokio::task::JoinError| vec![Problem::new("", error.to_string())];
            self.adopt(stamp, loaded.map_err(failed).and_then(|loaded| loaded));
        }
        self.table.load_full()
    }

    /// The file's new stamp, at most once for each change and each [`LOOK`].
    fn changed(&self) -> Option<Option<Stamp>> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.looked.elapsed() < LOOK {
            return None;
        }
        seen.looked = Instant::now();
        let stamp = Stamp::of(&self.path);
        if stamp == seen.stamp {
            return None;
        }
        seen.stamp = stamp;
        Some(stamp)
    }

    fn adopt(&self, stamp: Option<Stamp>, loaded: Result<DirectoryTable, Vec<Problem>>) {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).stamp = stamp;
        match loaded {
            Ok(table) => {
                self.tell_ambiguous(&table);
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

    fn tell_ambiguous(&self, table: &DirectoryTable) {
        for (address, entries) in table.ambiguous().into_iter().take(AMBIGUOUS_NAMED) {
            self.events.emit(Event::AmbiguousAddress { address, entries });
        }
    }

    fn is_local(&self, table: &DirectoryTable, domain: &str) -> bool {
        let domain = domain.to_lowercase();
        table.is_local_domain(&domain) || self.hostname.as_ref() == Some(&domain)
    }

    /// RFC 5321 section 4.5.1: `postmaster` at every local domain is somebody.
    fn postmaster(&self, table: &DirectoryTable, address: &Mailbox) -> Option<Entry> {
        let is_postmaster = key(address).starts_with("postmaster@") && self.is_local(table, address.domain());
        (is_postmaster && key(address) != key(&self.administrator)).then(|| Entry {
            address: address.clone(),
            target: Target::Alias(vec![self.administrator.clone()]),
        })
    }
}

impl Directory for FileDirectory {
    fn lookup<'a>(&'a self, address: &'a Mailbox) -> BoxFuture<'a, Result<Vec<Entry>, LookupError>> {
        Box::pin(async move {
            let table = self.current().await;
            let found = table.lookup(address);
            if found.is_empty() {
                return Ok(self.postmaster(&table, address).into_iter().collect());
            }
            Ok(found.to_vec())
        })
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

    fn authenticate<'a>(
        &'a self,
        user: &'a str,
        password: &'a str,
    ) -> BoxFuture<'a, Result<Option<String>, LookupError>> {
        Box::pin(async move {
            let table = self.current().await;
            let known = table.account_of(user);
            let phc = known.as_ref().and_then(|(_, account)| account.password.as_deref());
            let fits = self.login.check(phc, password).await?;
            Ok(known.filter(|_| fits).map(|(name, _)| name))
        })
    }
}

fn load(path: &Path, mailboxes: &Path) -> Result<DirectoryTable, Vec<Problem>> {
    let text = fs::read_to_string(path).map_err(|error| vec![Problem::new("", error.to_string())])?;
    DirectoryTable::parse(&text, mailboxes)
}
