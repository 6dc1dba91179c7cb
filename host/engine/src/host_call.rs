//! Calls of a policy to the host as data, so that answers can be recorded and replayed. Reading the message is not
//! among the calls; policies read a message through [`host_mail::Content`].

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};

use crate::message_view::MessageView;

pub use crate::message_view::Finding;

/// A call of an imported function.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs)] // documented in wit/policy.wit
pub enum Call {
    /// `directory.lookup`.
    Lookup { address: String },
    /// `directory.may-send-as`.
    MaySendAs { account: String, address: String },
    /// `directory.is-local-domain`.
    IsLocalDomain { domain: String },
    /// `directory.is-member`.
    IsMember { group: String, address: String },
    /// `dns.addresses`.
    Addresses { name: String },
    /// `dns.exchanges`.
    Exchanges { name: String },
    /// `dns.texts`.
    Texts { name: String },
    /// `dns.names`.
    Names { address: String },
    /// `counters.add`. Equal calls have different answers, so a replay keeps their order.
    CounterAdd { key: String, amount: u64, seconds: u32 },
    /// `counters.value`.
    CounterValue { key: String },
    /// `verification.findings`.
    Findings,
}

/// Answer to a [`Call`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// Directory entries of an address.
    Entries(Vec<DirectoryEntry>),
    /// Answer to a yes-or-no call.
    Truth(bool),
    /// Addresses, texts or names.
    Texts(Vec<String>),
    /// Preference and name of mail exchangers.
    Exchanges(Vec<(u16, String)>),
    /// A counter.
    Count(u64),
    /// Results of verification.
    Findings(Vec<Finding>),
}

/// Reason for which a call has no answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "kebab-case")]
pub enum NoAnswer {
    /// Temporary: a later call may succeed.
    #[error("unavailable: {0}")]
    Unavailable(String),
    /// The module has reached the limit of counters.
    #[error("full")]
    Full,
    /// Permanent.
    #[error("{0}")]
    Other(String),
}

/// A directory entry of an address, as a policy sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct DirectoryEntry {
    /// The account that owns the address.
    pub account: Option<String>,
    /// The address as the directory has it.
    pub address: String,
    /// Destination on another host; `None` for this host.
    pub elsewhere: Option<String>,
    /// `account`, `alias` or `group`.
    pub kind: String,
}

/// The module that calls the host, and the message in question.
pub struct Caller<'a> {
    /// The module's name in the chain.
    pub module: &'a str,
    /// The message under decision, with client and envelope.
    pub message: Option<&'a MessageView>,
}

/// Source of answers: the live host, or a record that is replayed.
pub trait HostServices: Send + Sync {
    /// Answers a call. May take arbitrarily long: the caller bounds the time and cancels by dropping the future.
    fn answer<'a>(&'a self, caller: Caller<'a>, call: &'a Call) -> BoxFuture<'a, Result<Answer, NoAnswer>>;
}
