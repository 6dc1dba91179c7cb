//! The configuration as the rest of the host sees it: nothing here can be wrong any more.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::Share;
use host_contract::NdrFault;
use host_events::Format;
use host_mail::{Endpoint, Mailbox};

/// Everything an operator can decide.
#[derive(Debug, Clone)]
pub struct Config {
    /// The file it came from; none for the built-in defaults.
    pub file: Option<PathBuf>,
    /// This host's name in greetings, trace fields and notifications.
    pub hostname: String,
    /// Folder for spool, policies, event log and control socket.
    pub data: PathBuf,
    /// Folder of the Maildirs of accounts whose home is here.
    pub mailboxes: PathBuf,
    /// The directory's file.
    pub directory: PathBuf,
    /// Who is told when nobody else can be.
    pub administrator: Mailbox,
    /// The operator's socket.
    pub control: PathBuf,
    /// At least one.
    pub listeners: Vec<Listener>,
    /// Certificate and key; none means a self-signed one is made in the data folder.
    pub tls: Option<TlsFiles>,
    /// Sizes and counts.
    pub limits: Limits,
    /// Time-outs of the dialogue (RFC 5321 section 4.5.3.2).
    pub timeouts: Timeouts,
    /// What is done when there is too much to do.
    pub overload: OverloadConfig,
    /// The chain, in order; empty means no policy at all.
    pub policies: Vec<PolicyModule>,
    /// What all modules share.
    pub policy_engine: PolicyEngine,
    /// What a fault does, by stage.
    pub faults: FaultActions,
    /// Where policies' questions to the DNS go.
    pub dns: DnsConfig,
    /// Where mail goes and when it is tried again.
    pub delivery: DeliveryConfig,
    /// Stop accepting below this many free bytes on the spool's disk.
    pub low_water: u64,
    /// The log of decisions; modules are in it if [`PolicyModule::record`] says so.
    pub decisions: DecisionLogConfig,
    /// How events are written on stdout.
    pub event_format: Format,
    /// Bound of the durable event log, in bytes.
    pub event_log_size: u64,
    /// How long a graceful stop may take.
    pub drain: Duration,
}

/// One place to accept connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// Name in logs and for policies.
    pub name: String,
    /// Where to bind.
    pub address: SocketAddr,
    /// Who connects for others, and says so with a PROXY header.
    pub proxies: Vec<IpNet>,
    /// Whether and how TLS is spoken.
    pub tls: ListenerTls,
    /// AUTH is offered in the clear, too.
    pub auth_without_tls: bool,
    /// Clients must authenticate before MAIL unless admission exempts them.
    pub require_authentication: bool,
    /// Clients must use TLS before AUTH and MAIL unless admission exempts them.
    pub require_encryption: bool,
}

/// Whether and how a listener speaks TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListenerTls {
    /// Never.
    Off,
    /// After STARTTLS (RFC 3207).
    StartTls,
    /// From the first byte (RFC 8314).
    Implicit,
}

/// PEM files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// Certificate chain, leaf first.
    pub certificate: PathBuf,
    /// Private key.
    pub key: PathBuf,
}

/// Sizes and counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Largest message, in bytes; announced by SIZE (RFC 1870).
    pub message_size: u64,
    /// Recipients of one transaction; at least 100 (RFC 5321 section 4.5.3.1.8).
    pub recipients: usize,
    /// Connections at once.
    pub sessions: usize,
    /// Connections at once from one address.
    pub sessions_per_client: usize,
    /// Errors after which a connection is closed.
    pub errors: usize,
    /// Transactions of one connection.
    pub transactions: usize,
    /// `Received:` fields after which a message is taken for a loop (RFC 5321 section 6.3).
    pub hops: usize,
}

/// Time-outs of the dialogue (RFC 5321 section 4.5.3.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timeouts {
    /// Waiting for a command.
    pub command: Duration,
    /// Waiting for more of a message.
    pub data: Duration,
    /// A whole connection.
    pub session: Duration,
}

/// What is done when there is too much to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OverloadConfig {
    /// While all places for connections are taken, who has been idle for so long makes way for others.
    pub make_way: Duration,
    /// New connections are refused while tasks run later than this.
    pub lag: Duration,
    /// New transactions are deferred while an accepted message waits longer than this for the disk.
    pub disk: Duration,
    /// For each processor, clients that are served at once while more want to be.
    pub transactions: u32,
    /// Memory that messages being received share, in bytes; beyond it they go to files sooner.
    pub memory: u64,
}

/// One module of the chain.
#[derive(Debug, Clone, PartialEq)]
pub struct PolicyModule {
    /// Name in events and commands; unique.
    pub name: String,
    /// The component; none is the built-in default policy.
    pub file: Option<PathBuf>,
    /// minisign public keys in base64, valid; one of them must have signed the component. Empty asks
    /// for no signature.
    pub signed_by: Vec<String>,
    /// Given to `configure`; an object.
    pub settings: serde_json::Map<String, serde_json::Value>,
    /// Interfaces it may import, such as `directory`, `message`, `host`.
    pub grants: Vec<String>,
    /// Counters it may keep at once.
    pub counters: usize,
    /// Bounds.
    pub limits: PolicyLimits,
    /// It keeps nothing from one question to the next; none leaves that to [`Self::is_stateless`].
    pub stateless: Option<bool>,
    /// Where this module's fault table differs from `[faults]`.
    pub faults: ModuleFaults,
    /// Where a core dump of each trap is written; none is the rule.
    pub core_dumps: Option<PathBuf>,
    /// What of its decisions is kept.
    pub record: RecordMode,
}

impl PolicyModule {
    /// Whether an instance may answer questions of whatever connection and transaction. The default policy that the host
    /// carries is known to keep nothing from one to the next; of any other only its operator can know.
    pub fn is_stateless(&self, is_built_in: bool) -> bool {
        self.stateless.unwrap_or(is_built_in)
    }
}

/// What the log of decisions keeps of a module.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RecordMode {
    /// Nothing.
    #[default]
    Off,
    /// Everything a replay needs.
    On,
    /// Addresses as keyed hashes, no text that names somebody: for reading, not for replay.
    Hashed,
}

/// Bounds of the log of decisions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecisionLogConfig {
    /// Of all records, in bytes; the oldest go first.
    pub size: u64,
    /// Of one record.
    pub age: Duration,
    /// Bytes kept of each message's body.
    pub body: u64,
}

/// Bounds of one module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct PolicyLimits {
    /// Guest CPU per call.
    pub cpu: Duration,
    /// Wall clock per call, host functions included.
    pub wall: Duration,
    /// Linear memory of one instance, in bytes.
    pub memory: usize,
    /// Wasm stack is the engine's; this bounds the component's size in bytes.
    pub component_size: u64,
    /// Calls to host functions per unit of work.
    pub host_calls: u64,
}

/// What all modules share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyEngine {
    /// Instances alive at once.
    pub instances: u32,
    /// How long a unit of work waits for an instance before it is deferred.
    pub wait: Duration,
    /// Of one generation: how many clients' admissions are remembered; 0 asks about each connection.
    pub remembered_admissions: usize,
    /// Components moved into this folder are loaded; none watches nothing.
    pub watch: Option<PathBuf>,
    /// How long a component may be compiled.
    pub compile_time: Duration,
    /// Bytes of data the process that compiles a component may have.
    pub compile_memory: u64,
    /// How long a generation is in force before its instances are made to come up configured.
    pub prepare_after: Duration,
    /// Of one processor, what a candidate in the shadow may take.
    pub shadow_cpu: Share,
    /// What is asked of a generation that was just loaded.
    pub probation: ProbationConfig,
}

/// How the DNS is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DnsConfig {
    /// Resolvers; empty means those of `/etc/resolv.conf`.
    pub servers: Vec<SocketAddr>,
    /// For one question, whatever it takes.
    pub timeout: Duration,
    /// Answers that are kept at once.
    pub cache_size: u64,
}

/// How a generation that was just loaded proves itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbationConfig {
    /// How long it is on probation.
    pub lasts: Duration,
    /// Faults and calls are counted over this time, which goes on with the clock.
    pub window: Duration,
    /// Faults within the window that are too many; zero: there is no probation.
    pub faults: u64,
    /// They must also be this share of the calls within the window.
    pub share: Share,
}

/// What a fault does at `admit`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AdmitFault {
    /// The client is admitted on the listener's own terms, exempt from nothing.
    NotExempt,
    /// The client is told 421.
    Defer,
}

/// One module's own rows of the fault table; what is none is as in [`FaultActions`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ModuleFaults {
    /// At `admit`.
    pub admit: Option<AdmitFault>,
    /// At `ndr`.
    pub ndr: Option<NdrFault>,
}

/// The fault table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FaultActions {
    /// At `admit`.
    pub admit: AdmitFault,
    /// At `ndr`.
    pub ndr: NdrFault,
    /// Faults of one spooled message after which it is frozen (4117).
    pub message_limit: u32,
}

/// Where mail goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryConfig {
    /// Takes everything that has no home here; none means such mail cannot be delivered.
    pub smart_host: Option<NextHop>,
    /// Per recipient domain, before the smart host.
    pub routes: Vec<Route>,
    /// Servers that are told who this host is.
    pub logins: Vec<ServerLogin>,
    /// Waits between attempts; the last repeats.
    pub retry: Vec<Duration>,
    /// After this a message is given up.
    pub expire: Duration,
    /// Deliveries at once.
    pub concurrency: usize,
    /// Connections at once to one destination.
    pub per_destination: usize,
    /// Connecting to a remote.
    pub connect_timeout: Duration,
    /// Waiting for a remote's reply.
    pub reply_timeout: Duration,
    /// Certificates of remotes must verify.
    pub verify_tls: bool,
}

/// Who takes mail that has no home here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NextHop {
    /// This server.
    Server(Endpoint),
    /// The mail exchanges of the recipient's domain (RFC 5321 section 5.1).
    Exchanges,
}

/// Who this host is at a server.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ServerLogin {
    /// As it stands where mail is sent to it.
    pub server: Endpoint,
    /// The user's name there.
    pub user: String,
    /// Read with each new connection.
    pub password_file: PathBuf,
}

/// Where the mail of one domain goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Recipient domain, lower case.
    pub domain: String,
    /// Where to.
    pub to: NextHop,
    /// Spoken there.
    pub lmtp: bool,
}
