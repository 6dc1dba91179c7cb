//! What a policy can ask while it decides.

#[cfg(target_arch = "wasm32")]
mod live;
#[cfg(not(target_arch = "wasm32"))]
mod mock;

use std::fmt;

use crate::message::Message;

/// The host. In a component it is the real one; each group of functions needs its grant. In tests it is
/// what `testing` makes of it; `Host::default()` knows nobody and nothing.
///
/// No function waits longer than the host lets it; too slow is a fault that is not the policy's.
pub struct Host {
    #[cfg(not(target_arch = "wasm32"))]
    mock: mock::Mock,
    #[cfg(target_arch = "wasm32")]
    _live: (),
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoAnswer {
    /// It may pass: the right decision is to defer.
    Unavailable(String),
    /// There are more counters than the module may keep.
    Full,
    /// It will not pass.
    Other(String),
}

impl fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unavailable(why) => write!(f, "unavailable: {why}"),
            Self::Full => f.write_str("full"),
            Self::Other(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for NoAnswer {}

/// Where mail for an address goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Home {
    /// A mailbox on this host.
    Here,
    /// Another host, as the operator wrote it.
    Elsewhere(String),
}

/// One meaning of an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The account that owns it; none for groups, aliases and forwards.
    pub account: Option<String>,
    /// As the directory has it.
    pub address: String,
    /// Where its mail goes.
    pub home: Home,
    /// `account`, `alias` or `group`; expect values you do not know.
    pub kind: String,
}

/// A mail exchanger (RFC 5321 section 5.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exchange {
    /// Lower is asked first.
    pub preference: u16,
    /// A host.
    pub name: String,
}

/// One result of verification (RFC 8601).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// `spf`, `dkim`, `dmarc` or `arc`; expect values you do not know.
    pub method: String,
    /// `pass`, `fail`, `softfail`, `neutral`, `none`, `temperror`, `permerror`, `policy`.
    pub outcome: String,
    /// The domain it is about.
    pub domain: Option<String>,
    /// More for the operator.
    pub detail: Option<String>,
}

/// How much a line of the log matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    Debug,
    Info,
    Warning,
    Error,
}

/// Grant `directory`.
impl Host {
    /// Every meaning of an address: none is not known, several is ambiguous.
    ///
    /// # Errors
    /// The directory cannot be asked; so with the next three.
    pub fn lookup(&self, address: &str) -> Result<Vec<Entry>, NoAnswer> {
        self.ask_lookup(address)
    }

    /// May this account put this address in MAIL FROM, `From:` or `Sender:`?
    ///
    /// # Errors
    /// As [`Self::lookup`].
    pub fn may_send_as(&self, account: &str, address: &str) -> Result<bool, NoAnswer> {
        self.ask_may_send_as(account, address)
    }

    /// Is this domain one of the directory's own?
    ///
    /// # Errors
    /// As [`Self::lookup`].
    pub fn is_local_domain(&self, domain: &str) -> Result<bool, NoAnswer> {
        self.ask_is_local_domain(domain)
    }

    /// Is this address a member of this group, directly or through groups in it? Needs a host with
    /// contract 0.2.
    ///
    /// # Errors
    /// As [`Self::lookup`].
    pub fn is_member(&self, group: &str, address: &str) -> Result<bool, NoAnswer> {
        self.ask_is_member(group, address)
    }
}

/// Grant `host`.
impl Host {
    /// Seconds since 1970, the same for every call of one unit of work.
    pub fn now(&self) -> u64 {
        self.ask_now()
    }

    /// A line for whoever looks for a mistake; of all four levels at most 4 KiB a line and 64 lines a
    /// unit of work are kept.
    pub fn debug(&self, line: impl AsRef<str>) {
        self.log(Level::Debug, line.as_ref());
    }

    /// A line for the operator.
    pub fn info(&self, line: impl AsRef<str>) {
        self.log(Level::Info, line.as_ref());
    }

    /// A line that the operator should see.
    pub fn warning(&self, line: impl AsRef<str>) {
        self.log(Level::Warning, line.as_ref());
    }

    /// A line that the operator must see.
    pub fn error(&self, line: impl AsRef<str>) {
        self.log(Level::Error, line.as_ref());
    }
}

/// Grant `dns`. A name that does not exist has empty lists.
impl Host {
    /// IPv4 and IPv6 addresses of a name.
    ///
    /// # Errors
    /// The DNS has no answer now; so with the next three.
    pub fn addresses(&self, name: &str) -> Result<Vec<String>, NoAnswer> {
        self.ask_addresses(name)
    }

    /// Mail exchangers of a domain, most preferred first.
    ///
    /// # Errors
    /// As [`Self::addresses`].
    pub fn exchanges(&self, name: &str) -> Result<Vec<Exchange>, NoAnswer> {
        self.ask_exchanges(name)
    }

    /// TXT records of a name, the strings of each joined.
    ///
    /// # Errors
    /// As [`Self::addresses`].
    pub fn texts(&self, name: &str) -> Result<Vec<String>, NoAnswer> {
        self.ask_texts(name)
    }

    /// Names of an IPv4 or IPv6 address (PTR).
    ///
    /// # Errors
    /// As [`Self::addresses`].
    pub fn names(&self, address: &str) -> Result<Vec<String>, NoAnswer> {
        self.ask_names(address)
    }
}

/// Grant `counters`: numbers that outlive the unit of work and a change of the policy's code.
impl Host {
    /// Adds to a counter and returns what it is now. A counter that does not exist begins at zero and is
    /// forgotten `seconds` after it began. Keys have at most 256 bytes.
    ///
    /// # Errors
    /// The counters cannot be asked, there are too many, or the key is too long.
    pub fn count(&self, key: &str, amount: u64, seconds: u32) -> Result<u64, NoAnswer> {
        self.ask_count(key, amount, seconds)
    }

    /// What a counter is now; zero if there is none.
    ///
    /// # Errors
    /// As [`Self::count`].
    pub fn counted(&self, key: &str) -> Result<u64, NoAnswer> {
        self.ask_counted(key)
    }
}

/// Grant `verification`.
impl Host {
    /// What the host can verify about where the message is from. Nothing is looked up before.
    pub fn findings(&self, message: &Message<'_>) -> Vec<Finding> {
        self.ask_findings(message)
    }
}
