//! What is said over the socket.

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
use host_spool::Message;

/// How the host does.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Status {
    /// This release.
    pub version: String,
    /// The daemon's process.
    pub pid: u32,
    /// As in greetings.
    pub hostname: String,
    /// When it was ready.
    pub started: Timestamp,
    /// The configuration's file; none for the built-in defaults.
    pub config: Option<PathBuf>,
    /// The data folder.
    pub data: PathBuf,
    /// Where it listens.
    pub listeners: Vec<ListenerStatus>,
    /// Connections now.
    pub sessions: usize,
    /// Connections there may be at once.
    #[serde(default)]
    pub sessions_limit: usize,
    /// What there is too much of, in words; empty when nothing.
    #[serde(default)]
    pub overload: Vec<String>,
    /// Messages by state.
    pub spool: BTreeMap<String, u64>,
    /// They are being counted: the last run left more than was read so far.
    #[serde(default)]
    pub counting: bool,
    /// How the chain does as a whole.
    #[serde(default)]
    pub health: Health,
    /// The chain.
    pub policies: Vec<ModuleStatus>,
}

/// One listener.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ListenerStatus {
    /// As configured.
    pub name: String,
    /// Where it is bound; the port the system chose if the configuration said 0.
    pub address: SocketAddr,
}

/// What to activate.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct LoadBody {
    /// Module of the chain; none is the only one.
    pub module: Option<String>,
    /// Where the code came from.
    #[serde(default)]
    pub origin: String,
    /// The component in base64; none keeps the code.
    pub code: Option<String>,
    /// The text of the code's `.minisig` file.
    #[serde(default)]
    pub signature: Option<String>,
    /// New settings; none keeps them.
    pub settings: Option<Map<String, Value>>,
    /// Folder for core dumps, until the next load or reload; none is as configured.
    #[serde(default)]
    pub core_dumps: Option<PathBuf>,
    /// Why, in the operator's own words.
    #[serde(default)]
    pub reason: String,
    /// Even if it was rolled back by itself a short while ago.
    #[serde(default)]
    pub force: bool,
}

/// What to try in the shadow.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Shadow {
    /// Module of the chain; none is the only one.
    pub module: Option<String>,
    /// The text of the code's `.minisig` file.
    #[serde(default)]
    pub signature: Option<String>,
    /// Where the code came from.
    #[serde(default)]
    pub origin: String,
    /// The component in base64; none keeps the code.
    pub code: Option<String>,
    /// New settings; none keeps them.
    pub settings: Option<Map<String, Value>>,
    /// Part of the sessions it sees, above 0 and up to 1.
    pub share: f64,
    /// It ends by itself after so many seconds.
    pub seconds: u64,
}

/// What to go back to.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Rollback {
    /// Module of the chain; none is the only one.
    pub module: Option<String>,
    /// A generation of the history; none is what was active before.
    pub generation: Option<u64>,
    /// Why, in the operator's own words.
    #[serde(default)]
    pub reason: String,
}

/// What to stage.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct StageBody {
    /// The candidate.
    pub load: LoadBody,
    /// Such as `10%`; none is everything.
    pub share: Option<Share>,
    /// Networks; none is everybody.
    #[serde(default)]
    pub clients: Vec<IpNet>,
    /// Such as `30m`; none is an hour.
    pub lasts: Option<String>,
    /// For the event.
    pub reason: Option<String>,
}

/// How to promote what is staged.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Promote {
    /// Even if it was rolled back by itself a short while ago.
    #[serde(default)]
    pub force: bool,
}

/// A part of the queue.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct QueuePage {
    /// In order of arrival. There may be none, and more all the same: so many records are looked at and no more.
    pub messages: Vec<Message>,
    /// Those that wait for a destination that cannot be reached, and which that is.
    #[serde(default)]
    pub waiting: BTreeMap<MessageId, String>,
    /// Ask with `after` set to this for more; none at the end.
    pub next: Option<MessageId>,
}

/// One message.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct QueueItem {
    /// Its record.
    pub message: Message,
    /// The destination it waits for, if that cannot be reached.
    #[serde(default)]
    pub waits_for: Option<String>,
    /// Its header, bad UTF-8 replaced. Hostile: escape it before showing it.
    pub header: String,
}

/// What a reload did.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Reloaded {
    /// What was applied.
    pub changed: Vec<String>,
    /// What was not, and why.
    pub problems: Vec<Problem>,
}

/// Something was done.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Done {
    /// What.
    pub done: String,
}

/// Why something was not done.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ApiFailure {
    /// At least one.
    pub problems: Vec<Problem>,
}

/// What the socket asks of the daemon's main loop.
#[derive(Debug)]
pub enum Order {
    /// As SIGHUP; the answer says what came of it.
    Reload(oneshot::Sender<Reloaded>),
    /// As SIGTERM.
    Stop,
}
