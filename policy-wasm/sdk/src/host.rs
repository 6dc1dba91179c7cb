//! Questions that a policy can ask the host during a decision.

#[cfg(target_arch = "wasm32")]
mod live;
#[cfg(not(target_arch = "wasm32"))]
mod mock;

use std::fmt;

use crate::message_reader::Message;

/// The host. A component asks the real host; each group of functions needs a grant. A test asks a host that the module
/// `testing` makes; `Host::default()` has an empty directory, empty DNS and no counters.
///
/// The host bounds the time of every call. Exceeding the bound is a fault that is not counted against the policy.
pub struct Host {
    #[cfg(not(target_arch = "wasm32"))]
    mock: mock::Mock,
    #[cfg(target_arch = "wasm32")]
    _live: (),
}

/// The reason for the absence of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoAnswer {
    /// A temporary condition. The right decision is to defer.
    Unavailable(String),
    /// The module's limit of counters is reached.
    Full,
    /// A permanent condition.
    Other(String),
}

impl fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unavailable(reason) => write!(f, "unavailable: {reason}"),
            Self::Full => f.write_str("full"),
            Self::Other(reason) => f.write_str(reason),
        }
    }
}

impl std::error::Error for NoAnswer {}

/// The home of an address, to which mail is delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Home {
    /// A mailbox on this host.
    Here,
    /// Another host, as written by the operator.
    Elsewhere(String),
}

/// A meaning of an address in the directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The account that owns the address; `None` for groups, aliases and forwards.
    pub account: Option<String>,
    /// The address as written in the directory.
    pub address: String,
    /// The destination of mail for the address.
    pub home: Home,
    /// `account`, `alias` or `group`. Expect unknown values.
    pub kind: String,
}

/// A mail exchanger (RFC 5321 section 5.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exchange {
    /// Preference; the lowest value is tried first.
    pub preference: u16,
    /// Name of the mail exchanger.
    pub name: String,
}

/// A result of verification (RFC 8601).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// `spf`, `dkim`, `dmarc` or `arc`. Expect unknown values.
    pub method: String,
    /// `pass`, `fail`, `softfail`, `neutral`, `none`, `temperror`, `permerror`, `policy`.
    pub outcome: String,
    /// The verified domain.
    pub domain: Option<String>,
    /// Further information for the operator.
    pub detail: Option<String>,
}

/// Severity of a line in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    Debug,
    Info,
    Warning,
    Error,
}

/// Questions to the directory, with the grant `directory`.
impl Host {
    /// Returns every meaning of an address. An unknown address has no entries, an ambiguous address has several.
    ///
    /// # Errors
    /// The directory gives no answer.
    pub fn lookup(&self, address: &str) -> Result<Vec<Entry>, NoAnswer> {
        self.ask_lookup(address)
    }

    /// True if this account may use this address in MAIL FROM, `From:` or `Sender:`.
    ///
    /// # Errors
    /// The directory gives no answer.
    pub fn may_send_as(&self, account: &str, address: &str) -> Result<bool, NoAnswer> {
        self.ask_may_send_as(account, address)
    }

    /// True if this domain belongs to the directory.
    ///
    /// # Errors
    /// The directory gives no answer.
    pub fn is_local_domain(&self, domain: &str) -> Result<bool, NoAnswer> {
        self.ask_is_local_domain(domain)
    }

    /// True if this address is a member of this group, directly or through nested groups. An address that is not a
    /// group has no members. Needs a host with contract 0.2.
    ///
    /// # Errors
    /// The directory gives no answer.
    pub fn is_member(&self, group: &str, address: &str) -> Result<bool, NoAnswer> {
        self.ask_is_member(group, address)
    }
}

/// Time and log, with the grant `host`.
impl Host {
    /// Returns the time in seconds since 1970, the same for every call of a unit of work.
    pub fn now(&self) -> u64 {
        self.ask_now()
    }

    /// Logs a line for debugging. A unit of work can log 64 lines of at most 4 KiB, all levels together; the host drops
    /// the rest.
    pub fn debug(&self, line: impl AsRef<str>) {
        self.log(Level::Debug, line.as_ref());
    }

    /// Logs a line for the operator's information.
    pub fn info(&self, line: impl AsRef<str>) {
        self.log(Level::Info, line.as_ref());
    }

    /// Logs a warning, a line that the operator should see.
    pub fn warning(&self, line: impl AsRef<str>) {
        self.log(Level::Warning, line.as_ref());
    }

    /// Logs an error, a line that the operator must see.
    pub fn error(&self, line: impl AsRef<str>) {
        self.log(Level::Error, line.as_ref());
    }
}

/// Questions to the DNS, with the grant `dns`. A name that does not exist has empty lists.
impl Host {
    /// Returns the IPv4 and IPv6 addresses of a name.
    ///
    /// # Errors
    /// The DNS gives no answer.
    pub fn addresses(&self, name: &str) -> Result<Vec<String>, NoAnswer> {
        self.ask_addresses(name)
    }

    /// Returns the mail exchangers of a domain, most preferred first.
    ///
    /// # Errors
    /// The DNS gives no answer.
    pub fn exchanges(&self, name: &str) -> Result<Vec<Exchange>, NoAnswer> {
        self.ask_exchanges(name)
    }

    /// Returns the TXT records of a name, with the strings of each record joined.
    ///
    /// # Errors
    /// The DNS gives no answer.
    pub fn texts(&self, name: &str) -> Result<Vec<String>, NoAnswer> {
        self.ask_texts(name)
    }

    /// Returns the names of an IPv4 or IPv6 address (PTR).
    ///
    /// # Errors
    /// The DNS gives no answer.
    pub fn names(&self, address: &str) -> Result<Vec<String>, NoAnswer> {
        self.ask_names(address)
    }
}

/// Counters, with the grant `counters`. The values outlive the unit of work and a change of the policy's code.
impl Host {
    /// Adds to a counter and returns the new value. A counter that does not exist starts at zero and expires `seconds`
    /// after its start, regardless of later additions. Keys have at most 256 bytes.
    ///
    /// # Errors
    /// The counters are unavailable, the module's limit of counters is reached, or the key is too long.
    pub fn count(&self, key: &str, amount: u64, seconds: u32) -> Result<u64, NoAnswer> {
        self.ask_count(key, amount, seconds)
    }

    /// Returns the value of a counter; zero if there is no such counter.
    ///
    /// # Errors
    /// The counters are unavailable, or the key is too long.
    pub fn counted(&self, key: &str) -> Result<u64, NoAnswer> {
        self.ask_counted(key)
    }
}

/// Verification, with the grant `verification`.
impl Host {
    /// Returns the results of verifying the origin of the message. The look-ups start with this call.
    pub fn findings(&self, message: &Message<'_>) -> Vec<Finding> {
        self.ask_findings(message)
    }
}
