//! The live host services: answer the host calls of policies from the directory, the DNS, the counters and the
//! verifier. Owned by the manager and shared by all evaluations.

use std::path::Path;
use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use crate::services::counter_store::{CounterPage, CounterStore};
use crate::services::verification::Verifier;
use host_config::Config;
use host_directory::dns::{self, NoRecords};
use host_directory::{Directory, Entry, Home, LookupError, Target};
use host_engine::host_call::{Answer, Call, Caller, DirectoryEntry, Finding, HostServices, NoAnswer};
use host_engine::message_view::MessageView;
use host_events::Events;
use host_mail::Mailbox;

/// Maximum number of entries in an answer to `directory.lookup`.
const MAX_ENTRIES: usize = 64;

/// The host's directory, resolver, counters and verifier.
pub(crate) struct LiveServices {
    directory: Arc<dyn Directory>,
    dns: dns::Current,
    counters: Arc<CounterStore>,
    verifier: Verifier,
}

impl LiveServices {
    /// Opens the services. Counters are stored in `folder`, or only in memory without a folder.
    pub(crate) fn new(config: &Config, directory: Arc<dyn Directory>, folder: Option<&Path>, events: Events) -> Self {
        let live = Self {
            directory,
            dns: dns::Current::new(config.dns.clone()),
            counters: CounterStore::open(folder.map(|folder| folder.join("counters")), events),
            verifier: Verifier::new(config.hostname.clone()),
        };
        live.counters.configure(&config.policies);
        live.counters.save_at_intervals();
        live
    }

    /// Applies a reloaded configuration.
    pub(crate) fn configure(&self, config: &Config) {
        self.counters.configure(&config.policies);
        self.dns.configure(&config.dns);
    }

    /// Returns a page of a module's counters, in the order of the keys.
    pub(crate) fn counters(&self, module: &str, after: Option<&str>, limit: usize) -> CounterPage {
        self.counters.page(module, after, limit)
    }

    /// Makes the counters durable.
    pub(crate) async fn close(&self) {
        let counters = Arc::clone(&self.counters);
        // A panic of the task has been printed already.
        let _ = tokio::task::spawn_blocking(move || counters.save()).await;
    }

    async fn lookup(&self, address: &str) -> Result<Answer, NoAnswer> {
        let Ok(mailbox) = address.parse::<Mailbox>() else {
            return Ok(Answer::Entries(Vec::new()));
        };
        let found = self.directory.lookup(&mailbox).await.map_err(directory_error)?;
        Ok(Answer::Entries(
            found.iter().take(MAX_ENTRIES).map(directory_entry).collect(),
        ))
    }

    async fn may_send_as(&self, account: &str, address: &str) -> Result<Answer, NoAnswer> {
        let Ok(mailbox) = address.parse::<Mailbox>() else {
            return Ok(Answer::Truth(false));
        };
        Ok(Answer::Truth(
            self.directory
                .may_send_as(account, &mailbox)
                .await
                .map_err(directory_error)?,
        ))
    }

    async fn is_local_domain(&self, domain: &str) -> Result<Answer, NoAnswer> {
        Ok(Answer::Truth(
            self.directory.is_local_domain(domain).await.map_err(directory_error)?,
        ))
    }

    async fn is_member(&self, group: &str, address: &str) -> Result<Answer, NoAnswer> {
        let (Ok(group), Ok(address)) = (group.parse::<Mailbox>(), address.parse::<Mailbox>()) else {
            return Ok(Answer::Truth(false));
        };
        Ok(Answer::Truth(
            self.directory
                .is_member(&group, &address)
                .await
                .map_err(directory_error)?,
        ))
    }

    async fn addresses(&self, name: &str) -> Result<Answer, NoAnswer> {
        let found = self.dns.get().addresses(name).await.map_err(dns_error)?;
        Ok(Answer::Texts(found.iter().map(ToString::to_string).collect()))
    }

    async fn names(&self, address: &str) -> Result<Answer, NoAnswer> {
        let not_one = |_| NoAnswer::Other(format!("{address:?} is not an IP address"));
        let address = address.parse().map_err(not_one)?;
        Ok(Answer::Texts(self.dns.get().names(address).await.map_err(dns_error)?))
    }

    /// Returns the findings about a message, computed a single time for all modules.
    async fn findings(&self, message: Option<&MessageView>) -> Result<Answer, NoAnswer> {
        let Some(message) = message else {
            return Err(NoAnswer::Other("there is no message".to_owned()));
        };
        let verify = || async { self.verifier.findings(&self.dns.get(), message).await };
        let findings: &Vec<Finding> = message.findings().get_or_init(verify).await;
        Ok(Answer::Findings(findings.clone()))
    }
}

impl HostServices for LiveServices {
    fn answer<'a>(&'a self, caller: Caller<'a>, call: &'a Call) -> BoxFuture<'a, Result<Answer, NoAnswer>> {
        async move {
            match call {
                Call::Lookup { address } => self.lookup(address).await,
                Call::MaySendAs { account, address } => self.may_send_as(account, address).await,
                Call::IsLocalDomain { domain } => self.is_local_domain(domain).await,
                Call::IsMember { group, address } => self.is_member(group, address).await,
                Call::Addresses { name } => self.addresses(name).await,
                Call::Exchanges { name } => Ok(Answer::Exchanges(
                    self.dns.get().exchanges(name).await.map_err(dns_error)?,
                )),
                Call::Texts { name } => Ok(Answer::Texts(self.dns.get().texts(name).await.map_err(dns_error)?)),
                Call::Names { address } => self.names(address).await,
                Call::CounterAdd { key, amount, seconds } => self
                    .counters
                    .add(caller.module, key, *amount, *seconds)
                    .map(Answer::Count),
                Call::CounterValue { key } => self.counters.value(caller.module, key).map(Answer::Count),
                Call::Findings => self.findings(caller.message).await,
            }
        }
        .boxed()
    }
}

fn dns_error(error: NoRecords) -> NoAnswer {
    match error {
        NoRecords::Unavailable(why) => NoAnswer::Unavailable(why),
        bad @ NoRecords::BadName(_) => NoAnswer::Other(bad.to_string()),
    }
}

fn directory_error(error: LookupError) -> NoAnswer {
    match error {
        LookupError::Unavailable(why) => NoAnswer::Unavailable(why),
        busy @ LookupError::Busy => NoAnswer::Unavailable(busy.to_string()),
    }
}

fn directory_entry(entry: &Entry) -> DirectoryEntry {
    let (account, elsewhere, kind) = match &entry.target {
        Target::Account { account, home } => (Some(account.clone()), self::elsewhere(home), "account"),
        Target::Alias(_) => (None, None, "alias"),
        Target::Group(_) => (None, None, "group"),
    };
    DirectoryEntry {
        account,
        address: entry.address.to_string(),
        elsewhere,
        kind: kind.to_owned(),
    }
}

fn elsewhere(home: &Home) -> Option<String> {
    match home {
        Home::Maildir(_) => None,
        Home::Lmtp(endpoint) => Some(format!("lmtp:{endpoint}")),
        Home::Smtp(endpoint) => Some(format!("smtp:{endpoint}")),
    }
}
