//! Bodies of requests and answers on the control socket, as JSON.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::sync::oneshot;

use host_config::{Problem, Share};
use host_mail::{MessageId, Timestamp};
use host_policy::{Health, ModuleStatus};
use host_spool::{Message, SetAsideMessage};

/// State of the running host.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Status {
    /// Version of Posthouse.
    pub version: String,
    /// Process id of the daemon.
    pub pid: u32,
    /// Host name used in SMTP greetings.
    pub hostname: String,
    /// Time at which the host was ready.
    pub started: Timestamp,
    /// Configuration file; `None` for the built-in defaults.
    pub config: Option<PathBuf>,
    /// Data folder.
    pub data: PathBuf,
    /// Listeners with their addresses.
    pub listeners: Vec<ListenerStatus>,
    /// Number of open connections.
    pub sessions: usize,
    /// Maximum number of concurrent connections.
    #[serde(default)]
    pub sessions_limit: usize,
    /// Overload conditions in words; empty without overload.
    #[serde(default)]
    pub overload: Vec<String>,
    /// Number of messages by state.
    pub spool: BTreeMap<String, u64>,
    /// True while the spool of the last run is still being read, so that the counts are incomplete.
    #[serde(default)]
    pub counting: bool,
    /// Health of the whole policy chain.
    #[serde(default)]
    pub health: Health,
    /// Modules of the policy chain in order.
    pub policies: Vec<ModuleStatus>,
}

/// A listener and its bound address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ListenerStatus {
    /// Configured name.
    pub name: String,
    /// Bound address. The port is the one that the system chose if the configured port is 0.
    pub address: SocketAddr,
}

/// A request to load code, settings or both into a module.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct LoadBody {
    /// Module of the chain; `None` is the only module.
    pub module: Option<String>,
    /// Path of the component, shown in the status.
    #[serde(default)]
    pub origin: String,
    /// Component in base64; `None` keeps the active code.
    pub code: Option<String>,
    /// Text of the code's `.minisig` file.
    #[serde(default)]
    pub signature: Option<String>,
    /// New settings; `None` keeps the active settings.
    pub settings: Option<Map<String, Value>>,
    /// Folder for core dumps until the next load or reload; `None` is the configured folder.
    #[serde(default)]
    pub core_dumps: Option<PathBuf>,
    /// The operator's reason, for the history; may be empty.
    #[serde(default)]
    pub reason: String,
    /// Loads the candidate even during its rollback back-off, the time after an automatic rollback.
    #[serde(default)]
    pub force: bool,
}

/// A request to run a candidate as a shadow, which sees the questions of live sessions and decides nothing.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ShadowBody {
    /// Module of the chain; `None` is the only module.
    pub module: Option<String>,
    /// Text of the code's `.minisig` file.
    #[serde(default)]
    pub signature: Option<String>,
    /// Path of the component, shown in the report.
    #[serde(default)]
    pub origin: String,
    /// Component in base64; `None` is the active code.
    pub code: Option<String>,
    /// New settings; `None` is the active settings.
    pub settings: Option<Map<String, Value>>,
    /// Share of the sessions that the shadow sees, above 0 and up to 1.
    pub share: f64,
    /// Duration of the shadow in seconds.
    pub seconds: u64,
}

/// A request to roll a module back to an earlier generation.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Rollback {
    /// Module of the chain; `None` is the only module.
    pub module: Option<String>,
    /// Generation of the history; `None` is the generation before the active one.
    pub generation: Option<u64>,
    /// The operator's reason, for the history; may be empty.
    #[serde(default)]
    pub reason: String,
}

/// A request to stage a candidate as a canary.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct StageBody {
    /// Code and settings of the candidate.
    pub load: LoadBody,
    /// Share of the sessions, such as `10%`; `None` is all sessions.
    pub share: Option<Share>,
    /// Client networks; an empty list is every client.
    #[serde(default)]
    pub clients: Vec<IpNet>,
    /// Duration, such as `30m`; `None` is an hour.
    pub lasts: Option<String>,
    /// The operator's reason, for the event.
    pub reason: Option<String>,
}

/// A request to make the staged candidate active.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Promote {
    /// Promotes the candidate even during its rollback back-off, the time after an automatic rollback.
    #[serde(default)]
    pub force: bool,
}

/// A page of the queue.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct QueuePage {
    /// Messages in order of arrival. A page reads a bounded number of records: its list may be empty while `next` names
    /// more.
    pub messages: Vec<Message>,
    /// Messages that were set aside: on the first page of all states, and on every page of the state `set-aside`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub set_aside: Vec<SetAsideMessage>,
    /// Unreachable destination of each message that waits for one.
    #[serde(default)]
    pub waiting: BTreeMap<MessageId, String>,
    /// Value of `after` for the next page; `None` at the end.
    pub next: Option<MessageId>,
}

/// A message in the queue, with its header.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct QueueItem {
    /// Record in the spool; missing if the message was set aside and its record cannot be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<Message>,
    /// The reason why the message was set aside, and the time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set_aside: Option<SetAsideReason>,
    /// Unreachable destination that the message waits for.
    #[serde(default)]
    pub waits_for: Option<String>,
    /// Header block with invalid UTF-8 replaced. Untrusted text: escape before display.
    pub header: String,
}

/// The reason why a message was set aside.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct SetAsideReason {
    /// Time at which it was set aside.
    pub at: Timestamp,
    /// The part that was not whole, in words.
    pub reason: String,
}

/// Result of a reload.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Reloaded {
    /// Names of the parts that were applied.
    pub changed: Vec<String>,
    /// Settings of the configuration and directory in force that are dangerous or cannot work.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dubious: Vec<Problem>,
    /// Loads of operators that the reload replaced.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// Number of waiting and deferred messages that are tried now, because their next hop has changed.
    #[serde(default)]
    pub retried: u64,
    /// Parts that were not applied, each with the reason.
    pub problems: Vec<Problem>,
}

/// Confirmation of an action.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Done {
    /// The action, in words.
    pub done: String,
}

/// Body of an answer with status 4xx or 5xx.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ApiFailure {
    /// Problems; at least one.
    pub problems: Vec<Problem>,
}

/// A command of the control socket to the daemon's main loop.
#[derive(Debug)]
pub enum Order {
    /// Reloads like SIGHUP and sends the result.
    Reload {
        /// Replaces policies whose code has no accepted signature.
        require_now: bool,
        /// Receiver of the result.
        answer: oneshot::Sender<Reloaded>,
    },
    /// Stops the host like SIGTERM.
    Stop,
}
