//! What a policy asks the host while it decides, as data: an answer that was given can be recorded and
//! given again. The message is not among it; policies read it through [`host_mail::Content`].

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};

/// A call of an imported function.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs)] // wit/policy.wit says it
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
    /// `counters.add`. Equal calls have answers that differ: the order counts.
    CounterAdd { key: String, amount: u64, seconds: u32 },
    /// `counters.value`.
    CounterValue { key: String },
    /// `verification.findings`.
    Findings,
}

/// What was answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// Meanings of an address.
    Entries(Vec<DirectoryEntry>),
    /// Yes or no.
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

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "kebab-case")]
pub enum NoAnswer {
    /// It may pass.
    #[error("unavailable: {0}")]
    Unavailable(String),
    /// There are more counters than the module may keep.
    #[error("full")]
    Full,
    /// It will not pass.
    #[error("{0}")]
    Other(String),
}

/// One meaning of an address, as a policy sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct DirectoryEntry {
    /// The account that owns it.
    pub account: Option<String>,
    /// As the directory has it.
    pub address: String,
    /// Another host; none is here.
    pub elsewhere: Option<String>,
    /// `account`, `alias` or `group`.
    pub kind: String,
}

/// One result of verification (RFC 8601).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs)] // wit/policy.wit says it
pub struct Finding {
    pub method: String,
    pub outcome: String,
    pub domain: Option<String>,
    pub detail: Option<String>,
}

/// Who asks.
pub struct Caller<'a> {
    /// The module's name in the chain.
    pub module: &'a str,
    /// The message under decision, with the client and the envelope it came with.
    pub message: Option<&'a crate::message_view::MessageView>,
}

/// Where answers come from: from the host as it stands, or from a record of the past.
pub trait HostServices: Send + Sync {
    /// Answers one call. May take long; whoever asks bounds the time.
    fn answer<'a>(&'a self, asker: Caller<'a>, call: &'a Call) -> BoxFuture<'a, Result<Answer, NoAnswer>>;
}
