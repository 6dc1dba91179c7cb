//! Limits on failed logins, by the client's network and by account, over all connections (fixed windows).
//!
//! A network with a successful login to an account keeps access to that account: guesses from elsewhere never lock the
//! account's owner out, and neither do guesses at other accounts from the owner's own network.

mod login_file;
mod login_tables;

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use ring::hmac;

use host_config::LoginLimits;
use host_events::Events;
use login_file::{KEY_LENGTH, StoredLogins};
use login_tables::{Failures, KNOWN_FOR, LoginTables, MAX_ENTRIES};

/// Maximum delay of the reply to a failed login.
const MAX_DELAY: Duration = Duration::from_secs(5);

/// Failed and successful logins of late. Names are kept as keyed hashes: clients choose names of any length.
pub struct LoginLimiter {
    key: [u8; KEY_LENGTH],
    /// The key, ready for use.
    hash_key: hmac::Key,
    tables: Mutex<LoginTables>,
    /// File that keeps the tables over a restart; `None` keeps them in memory.
    file: Option<PathBuf>,
}

/// Subject of a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LimitedBy {
    /// Network of the client.
    Network,
    /// Account that the client names.
    Account,
}

/// Consequence of a failed login.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct LoginPenalty {
    /// Delay of the reply.
    pub(super) delay: Duration,
    /// Limits reached with this failure: further attempts are refused from now on.
    pub(super) reached: Vec<LimitedBy>,
}

impl Default for LoginLimiter {
    fn default() -> Self {
        Self::new(rand::random(), LoginTables::default(), None)
    }
}

impl LoginLimiter {
    /// Reads the tables that the last run left in a file. An unreadable file is made again, with Event 5072.
    pub fn open(file: PathBuf, events: &Events) -> Self {
        let stored = StoredLogins::read(&file, events).into_tables();
        // The entries mean nothing under another key.
        let (key, tables) = stored.unwrap_or_else(|| (rand::random(), LoginTables::default()));
        Self::new(key, tables, Some(file))
    }

    fn new(key: [u8; KEY_LENGTH], tables: LoginTables, file: Option<PathBuf>) -> Self {
        Self {
            key,
            hash_key: hmac::Key::new(hmac::HMAC_SHA256, &key),
            tables: Mutex::new(tables),
            file,
        }
    }

    /// Writes the tables to the file if they have changed: a few megabytes at most.
    ///
    /// # Errors
    /// I/O errors. The next call tries again.
    pub fn save(&self) -> std::io::Result<()> {
        let Some(file) = &self.file else {
            return Ok(());
        };
        let stored = {
            let mut tables = self.tables.lock();
            if !std::mem::take(&mut tables.is_changed) {
                return Ok(());
            }
            StoredLogins::new(self.key, &tables)
        };
        let written = stored.write(file);
        if written.is_err() {
            self.tables.lock().is_changed = true;
        }
        written
    }

    /// Returns true if logins from the network have succeeded of late, for a place of its own in the queue of password
    /// checks. The error is the limit for which the attempt is refused.
    pub(super) fn admit(&self, network: IpAddr, account: &str) -> Result<bool, LimitedBy> {
        let now = Instant::now();
        let tables = self.tables.lock();
        if is_recent(tables.known_pairs.get(&self.pair(network, account)), now) {
            return Ok(true);
        }
        if is_refused(tables.networks.get(&network), now) {
            return Err(LimitedBy::Network);
        }
        if is_refused(tables.accounts.get(&self.hash(None, account)), now) {
            return Err(LimitedBy::Account);
        }
        Ok(is_recent(tables.known_networks.get(&network), now))
    }

    /// True if no login from the network can succeed now: the network is refused, and no account has succeeded from
    /// there.
    pub(super) fn refuses(&self, network: IpAddr) -> bool {
        let now = Instant::now();
        let tables = self.tables.lock();
        is_refused(tables.networks.get(&network), now) && !is_recent(tables.known_networks.get(&network), now)
    }

    /// Notes a successful login.
    pub(super) fn succeeded(&self, network: IpAddr, account: &str) {
        let now = Instant::now();
        let pair = self.pair(network, account);
        let mut tables = self.tables.lock();
        let is_live = |until: &Instant| is_recent(Some(until), now);
        let until = now.checked_add(KNOWN_FOR).unwrap_or(now);
        make_room(&mut tables.known_pairs, &pair, is_live);
        tables.known_pairs.insert(pair, until);
        make_room(&mut tables.known_networks, &network, is_live);
        tables.known_networks.insert(network, until);
        tables.is_changed = true;
    }

    /// Counts a failed login; `account` is empty if the attempt named none. Failures from networks that the account has
    /// used do not count against the account.
    pub(super) fn failed(&self, limits: &LoginLimits, network: IpAddr, account: &str) -> LoginPenalty {
        let now = Instant::now();
        let pair = self.pair(network, account);
        let mut tables = self.tables.lock();
        tables.is_changed = true;
        let mut reached = Vec::new();
        let (mut failures, limit) = count(&mut tables.networks, network, limits.failures_per_client, limits, now);
        reached.extend(limit.then_some(LimitedBy::Network));
        if !account.is_empty() && !is_recent(tables.known_pairs.get(&pair), now) {
            let account = self.hash(None, account);
            let (of_account, limit) = count(&mut tables.accounts, account, limits.failures_per_account, limits, now);
            failures = failures.max(of_account);
            reached.extend(limit.then_some(LimitedBy::Account));
        }
        let doubled = limits.delay.saturating_mul(1 << failures.saturating_sub(1).min(16));
        LoginPenalty {
            delay: doubled.min(MAX_DELAY.max(limits.delay)),
            reached,
        }
    }

    fn pair(&self, network: IpAddr, account: &str) -> u64 {
        self.hash(Some(network), account)
    }

    /// Returns the first bytes of an HMAC-SHA-256.
    fn hash(&self, network: Option<IpAddr>, account: &str) -> u64 {
        let mut context = hmac::Context::with_key(&self.hash_key);
        context.update(
            network
                .map_or_else(String::new, |network| network.to_string())
                .as_bytes(),
        );
        context.update(b"\0");
        context.update(account.as_bytes());
        let tag = context.sign();
        tag.as_ref()
            .iter()
            .take(8)
            .fold(0, |hash, byte| hash << 8 | u64::from(*byte))
    }
}

/// Counts a failure. Returns the number of failures in the window, and true if that number reaches `most` (0 is no
/// limit).
fn count<K: Copy + Eq + Hash>(
    table: &mut HashMap<K, Failures>,
    key: K,
    most: u32,
    limits: &LoginLimits,
    now: Instant,
) -> (u32, bool) {
    let end = |after: Duration| now.checked_add(after).unwrap_or(now);
    let is_live = |failures: &Failures| failures.window_ends > now || is_refused(Some(failures), now);
    make_room(table, &key, is_live);
    let fresh = Failures {
        count: 0,
        window_ends: end(limits.window),
        refused_until: None,
    };
    let failures = table.entry(key).or_insert(fresh);
    if failures.window_ends <= now {
        failures.count = 0;
        failures.window_ends = fresh.window_ends;
    }
    failures.count = failures.count.saturating_add(1);
    let is_reached = most > 0 && failures.count >= most && !is_refused(Some(failures), now);
    if is_reached {
        failures.refused_until = Some(end(limits.refuse));
        // The end of the refusal begins a new window.
        failures.window_ends = now;
    }
    (failures.count, is_reached)
}

fn is_refused(failures: Option<&Failures>, now: Instant) -> bool {
    failures.is_some_and(|failures| failures.refused_until.is_some_and(|until| until > now))
}

fn is_recent(until: Option<&Instant>, now: Instant) -> bool {
    until.is_some_and(|until| *until > now)
}

/// Makes room for `key` in a full table: entries that are not live go, or else an arbitrary entry.
fn make_room<K: Copy + Eq + Hash, V>(table: &mut HashMap<K, V>, key: &K, is_live: impl Fn(&V) -> bool) {
    if table.len() < MAX_ENTRIES || table.contains_key(key) {
        return;
    }
    table.retain(|_, value| is_live(value));
    if table.len() >= MAX_ENTRIES
        && let Some(any) = table.keys().next().copied()
    {
        table.remove(&any);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> LoginLimits {
        LoginLimits {
            failures_per_client: 3,
            failures_per_account: 5,
            window: Duration::from_secs(3600),
            refuse: Duration::from_secs(3600),
            delay: Duration::from_secs(1),
        }
    }

    fn network(last: u8) -> IpAddr {
        [192, 0, 2, last].into()
    }

    #[test]
    fn refuses_a_network_after_its_failures() {
        let limiter = LoginLimiter::default();
        for account in ["a", "b"] {
            assert_eq!(limiter.failed(&limits(), network(1), account).reached, []);
        }
        assert_eq!(limiter.admit(network(1), "c"), Ok(false));
        assert_eq!(limiter.failed(&limits(), network(1), "c").reached, [LimitedBy::Network]);
        assert_eq!(limiter.admit(network(1), "d"), Err(LimitedBy::Network));
        assert!(limiter.refuses(network(1)));
        assert_eq!(limiter.admit(network(2), "d"), Ok(false));
    }

    #[test]
    fn refuses_an_account_after_failures_from_many_networks() {
        let limiter = LoginLimiter::default();
        for last in 1..5 {
            assert_eq!(limiter.failed(&limits(), network(last), "anna").reached, []);
        }
        assert_eq!(
            limiter.failed(&limits(), network(5), "anna").reached,
            [LimitedBy::Account]
        );
        assert_eq!(limiter.admit(network(6), "anna"), Err(LimitedBy::Account));
        assert_eq!(limiter.admit(network(6), "bert"), Ok(false));
    }

    #[test]
    fn network_that_has_succeeded_keeps_its_account() {
        let limiter = LoginLimiter::default();
        limiter.succeeded(network(1), "anna");
        for last in 0..50 {
            limiter.failed(&limits(), network(last), "anna");
            limiter.failed(&limits(), network(1), "anna");
            limiter.failed(&limits(), network(1), "bert");
        }
        assert_eq!(limiter.admit(network(1), "anna"), Ok(true));
        assert_eq!(limiter.admit(network(1), "bert"), Err(LimitedBy::Network));
        assert_eq!(limiter.admit(network(60), "anna"), Err(LimitedBy::Account));
        assert!(!limiter.refuses(network(1)), "a login can succeed");
    }

    #[test]
    fn failures_from_a_known_network_do_not_count_against_the_account() {
        let limiter = LoginLimiter::default();
        limiter.succeeded(network(1), "anna");
        for _ in 0..50 {
            limiter.failed(&limits(), network(1), "anna");
        }
        assert_eq!(limiter.admit(network(2), "anna"), Ok(false));
    }

    #[test]
    fn success_does_not_forgive_failures_at_other_accounts() {
        let limiter = LoginLimiter::default();
        for _ in 0..2 {
            limiter.failed(&limits(), network(1), "bert");
        }
        limiter.succeeded(network(1), "anna");
        assert_eq!(
            limiter.failed(&limits(), network(1), "bert").reached,
            [LimitedBy::Network]
        );
    }

    #[test]
    fn attempt_without_an_account_counts_against_the_network_alone() {
        let limiter = LoginLimiter::default();
        for last in 0..50 {
            limiter.failed(&limits(), network(last), "");
            limiter.failed(&limits(), network(1), "");
        }
        assert_eq!(limiter.admit(network(1), "anna"), Err(LimitedBy::Network));
        assert_eq!(limiter.admit(network(60), ""), Ok(false));
    }

    #[test]
    fn delay_doubles_up_to_its_bound() {
        let limiter = LoginLimiter::default();
        let limits = LoginLimits {
            failures_per_client: 0,
            failures_per_account: 0,
            ..limits()
        };
        let delays = [1, 2, 4, 5, 5].map(Duration::from_secs);
        for delay in delays {
            assert_eq!(limiter.failed(&limits, network(1), "anna").delay, delay);
        }
        assert_eq!(limiter.admit(network(1), "anna"), Ok(false), "0 is no limit");
    }

    #[test]
    fn limits_end() {
        let limiter = LoginLimiter::default();
        let limits = LoginLimits {
            refuse: Duration::ZERO,
            ..limits()
        };
        for _ in 0..3 {
            limiter.failed(&limits, network(1), "anna");
        }
        assert_eq!(limiter.admit(network(1), "anna"), Ok(false));
        assert_eq!(limiter.failed(&limits, network(1), "anna").reached, [], "a new window");
    }

    #[test]
    fn restart_keeps_counts_refusals_and_known_networks() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("logins.json");
        let limits = LoginLimits {
            failures_per_account: 3,
            ..limits()
        };
        let limiter = LoginLimiter::open(file.clone(), &Events::discard());
        limiter.save().expect("nothing to write");
        assert!(!file.exists(), "nothing has changed");
        limiter.succeeded(network(1), "anna");
        for _ in 0..3 {
            limiter.failed(&limits, network(2), "anna");
        }
        limiter.failed(&limits, network(3), "bert");
        limiter.save().expect("written");

        let again = LoginLimiter::open(file.clone(), &Events::discard());
        assert_eq!(again.admit(network(1), "anna"), Ok(true));
        assert_eq!(again.admit(network(2), "bert"), Err(LimitedBy::Network));
        assert_eq!(again.admit(network(4), "anna"), Err(LimitedBy::Account));
        assert_eq!(again.failed(&limits, network(3), "bert").reached, []);
        let reached = again.failed(&limits, network(3), "bert").reached;
        assert_eq!(reached, [LimitedBy::Network, LimitedBy::Account]);
    }

    #[test]
    fn damaged_file_begins_anew() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("logins.json");
        for content in ["", "{", "{\"key\": [1, 2]}", "{\"networks\": 3}", "[]"] {
            std::fs::write(&file, content).expect("written");
            let limiter = LoginLimiter::open(file.clone(), &Events::discard());
            limiter.failed(&limits(), [192, 0, 2, 1].into(), "anna");
            limiter.save().expect("written");
            let stored = StoredLogins::read(&file, &Events::discard());
            assert!(stored.into_tables().is_some(), "{content}");
        }
    }

    #[test]
    fn tables_are_bounded() {
        let mut table: HashMap<usize, bool> = (0..MAX_ENTRIES).map(|key| (key, key % 2 == 0)).collect();
        make_room(&mut table, &MAX_ENTRIES, |live| *live);
        assert_eq!(table.len(), MAX_ENTRIES / 2);
        let mut table: HashMap<usize, bool> = (0..MAX_ENTRIES).map(|key| (key, true)).collect();
        make_room(&mut table, &MAX_ENTRIES, |live| *live);
        assert_eq!(table.len(), MAX_ENTRIES - 1);
    }
}
