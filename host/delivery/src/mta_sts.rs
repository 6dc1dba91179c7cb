//! MTA-STS (RFC 8461): the policy of a recipient's domain, cached in memory and on disk.
//!
//! A cached policy counts for its lifetime, also while the domain announces none, the announcement cannot be looked up,
//! or a newer policy cannot be fetched: an attacker who suppresses any of these does not loosen the requirements.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use host_directory::dns;
use host_events::Event;
use host_files::{make_private_folder, replace_whole};
use host_mail::{Reply, Timestamp};

use super::outcome::RecipientOutcome;
use super::sts_fetch::StsFetcher;
use super::sts_policy::{StsMode, StsPolicy, announced_id};
use crate::tls_report_counts::{CountedPolicy, FailureKind, PolicyKind, ResultType, SessionScope};
use crate::tls_reports::TlsReports;

/// Policies that are fetched at the same time.
const FETCHES: usize = 16;
/// Maximum number of domains in memory, and of files.
const MAX_DOMAINS: usize = 10_000;
/// Time after a failed fetch in which no other is tried for the domain (RFC 8461 section 3.3).
const FETCH_AGAIN: Duration = Duration::from_secs(300);

/// Policies by domain.
pub(super) struct MtaSts {
    /// Folder of the files; `None` keeps policies in memory only.
    folder: Option<PathBuf>,
    domains: Mutex<HashMap<String, Arc<tokio::sync::Mutex<DomainEntry>>>>,
    fetches: Semaphore,
}

/// Knowledge about a domain. The lock is held during a fetch.
#[derive(Default)]
struct DomainEntry {
    /// True once the file was looked for.
    is_loaded: bool,
    cached: Option<CachedPolicy>,
    /// Time of the last failure to fetch.
    failed: Option<Timestamp>,
}

/// A policy in the cache, and the content of its file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct CachedPolicy {
    domain: String,
    /// Id of the announcement.
    id: String,
    fetched: Timestamp,
    policy: Arc<StsPolicy>,
}

impl CachedPolicy {
    fn is_valid(&self, now: Timestamp) -> bool {
        now < self.fetched.after(self.policy.lifetime())
    }

    /// True if half of the lifetime is over: a fetch renews the policy before it ends.
    fn is_old(&self, now: Timestamp) -> bool {
        now >= self.fetched.after(self.policy.lifetime() / 2)
    }
}

impl MtaSts {
    /// Creates the cache with its files in `folder`, without I/O.
    pub(super) fn new(folder: Option<PathBuf>) -> Self {
        Self {
            folder,
            domains: Mutex::default(),
            fetches: Semaphore::new(FETCHES),
        }
    }

    /// Returns the policy in force of a domain in ASCII; `None` if it has none. An error defers the recipients: whether
    /// the domain announces a policy cannot be looked up, and none is cached.
    pub(super) async fn policy(
        &self,
        domain: &str,
        fetcher: StsFetcher<'_>,
        emit: &(dyn Fn(Event) + Send + Sync),
    ) -> Result<Option<Arc<StsPolicy>>, RecipientOutcome> {
        let entry = self.entry(domain);
        let mut entry = entry.lock().await;
        if !entry.is_loaded {
            entry.cached = self.load(domain).await;
            entry.is_loaded = true;
        }
        let now = Timestamp::now();
        let valid = entry.cached.clone().filter(|cached| cached.is_valid(now));
        let records = fetcher.resolver.texts(&format!("_mta-sts.{domain}")).await;
        let announced = match (records, &valid) {
            (Ok(records), _) => announced_id(&records),
            (Err(_), Some(_)) => None,
            (Err(dns::NoRecords::BadName(_)), None) => None,
            (Err(why), None) => {
                let text = format!("looking up the MTA-STS policy of {domain}: {why}");
                return Err(RecipientOutcome::Deferred(Reply::new(451, (4, 4, 3), text)));
            }
        };
        let Some(id) = announced else {
            return Ok(in_force(valid));
        };
        let is_current = valid
            .as_ref()
            .is_some_and(|cached| cached.id == id && !cached.is_old(now));
        if is_current || entry.failed.is_some_and(|at| now < at.after(FETCH_AGAIN)) {
            return Ok(in_force(valid));
        }
        let fetched = match self.fetches.acquire().await {
            Ok(_permit) => fetcher.fetch(domain).await,
            Err(error) => Err(error.to_string()),
        };
        match fetched {
            Ok(policy) => {
                entry.failed = None;
                let cached = CachedPolicy {
                    domain: domain.to_owned(),
                    id,
                    fetched: Timestamp::now(),
                    policy: Arc::new(policy),
                };
                if entry
                    .cached
                    .as_ref()
                    .is_none_or(|before| before.policy != cached.policy)
                {
                    emit(fetched_event(&cached));
                }
                self.store(&cached).await;
                entry.cached = Some(cached.clone());
                Ok(in_force(Some(cached)))
            }
            Err(reason) => {
                entry.failed = Some(now);
                count_failure(fetcher.reports, domain, &reason);
                emit(Event::StsPolicyNotFetched {
                    domain: domain.to_owned(),
                    reason,
                    kept: valid.as_ref().map(|cached| cached.id.clone()),
                });
                Ok(in_force(valid))
            }
        }
    }

    fn entry(&self, domain: &str) -> Arc<tokio::sync::Mutex<DomainEntry>> {
        let mut domains = self.domains.lock();
        if domains.len() >= MAX_DOMAINS && !domains.contains_key(domain) {
            // Entries in use stay; the others are read from their files again.
            domains.retain(|_, entry| Arc::strong_count(entry) > 1);
        }
        Arc::clone(domains.entry(domain.to_owned()).or_default())
    }

    async fn load(&self, domain: &str) -> Option<CachedPolicy> {
        let file = file_of(self.folder.as_deref()?, domain)?;
        let read = tokio::task::spawn_blocking(move || std::fs::read(file)).await;
        let cached: CachedPolicy = serde_json::from_slice(&read.ok()?.ok()?).ok()?;
        (cached.domain == domain).then_some(cached)
    }

    /// Writes the file of a policy. A failure costs no more than another fetch after a restart.
    async fn store(&self, cached: &CachedPolicy) {
        let file = self
            .folder
            .as_deref()
            .and_then(|folder| file_of(folder, &cached.domain));
        let (Some(file), Some(folder), Ok(octets)) = (file, self.folder.clone(), serde_json::to_vec(cached)) else {
            return;
        };
        let written = tokio::task::spawn_blocking(move || {
            make_private_folder(&folder)?;
            if !file.exists() && std::fs::read_dir(&folder)?.count() >= MAX_DOMAINS {
                remove_ended(&folder)?;
            }
            replace_whole(&file, &octets)
        });
        if let Ok(Err(error)) = written.await {
            tracing::warn!(%error, "an MTA-STS policy was not written");
        }
    }
}

/// Counts a policy that could not be fetched (RFC 8460 section 4.3.2.2).
fn count_failure(reports: &TlsReports, domain: &str, reason: &str) {
    let scope = SessionScope {
        domain: domain.to_owned(),
        policy: CountedPolicy {
            kind: PolicyKind::Sts,
            lines: Vec::new(),
            mx: Vec::new(),
        },
    };
    let kind = FailureKind {
        result: ResultType::StsPolicyFetchError,
        exchange: format!("mta-sts.{domain}"),
        address: None,
        reason: reason.to_owned(),
    };
    reports.count(&scope, Some(kind));
}

/// Returns the policy of a valid entry, unless its mode is `none`.
fn in_force(valid: Option<CachedPolicy>) -> Option<Arc<StsPolicy>> {
    valid
        .map(|cached| cached.policy)
        .filter(|policy| policy.mode != StsMode::None)
}

fn fetched_event(cached: &CachedPolicy) -> Event {
    Event::StsPolicyFetched {
        domain: cached.domain.clone(),
        id: cached.id.clone(),
        mode: cached.policy.mode_name().to_owned(),
        mx: cached.policy.mx.iter().take(20).cloned().collect(),
        max_age_seconds: cached.policy.max_age,
    }
}

/// Returns the file of a domain; `None` for text that is no name in ASCII and might leave the folder.
fn file_of(folder: &Path, domain: &str) -> Option<PathBuf> {
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    let is_name = !domain.starts_with('.') && domain.len() <= 240 && domain.bytes().all(is_plain);
    is_name.then(|| folder.join(format!("{domain}.json")))
}

/// Removes the files of policies whose lifetime is over, and files that are no policies.
fn remove_ended(folder: &Path) -> std::io::Result<()> {
    let now = Timestamp::now();
    for file in std::fs::read_dir(folder)? {
        let file = file?.path();
        let read = std::fs::read(&file)?;
        let is_valid = serde_json::from_slice::<CachedPolicy>(&read).is_ok_and(|cached| cached.is_valid(now));
        if !is_valid {
            std::fs::remove_file(&file)?;
        }
    }
    Ok(())
}
