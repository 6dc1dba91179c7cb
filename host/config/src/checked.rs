//! Checked configuration types. A value of [`Config`] has passed every check of the file's content.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{DeliveryConfig, SaslMechanisms, Share};
use host_contract::NdrFault;
use host_dkim::SignedMail;
use host_events::Format;
use host_mail::{Mailbox, Timestamp};

/// Complete configuration of a host.
#[derive(Debug, Clone)]
pub struct Config {
    /// Configuration file, absolute; `None` for the built-in defaults.
    pub file: Option<PathBuf>,
    /// Name of this host in greetings, trace fields and notifications; lower case, a local domain.
    pub hostname: String,
    /// Folder for spool, policies, event log and control socket.
    pub data: PathBuf,
    /// Folder of the Maildirs of accounts whose home is on this host.
    pub mailboxes: PathBuf,
    /// File with the directory of accounts, aliases and groups.
    pub directory: PathBuf,
    /// Receives mail to `postmaster` and reports that have no other recipient.
    pub administrator: Mailbox,
    /// Unix socket for the operator's commands.
    pub control: PathBuf,
    /// Listeners; at least one.
    pub listeners: Vec<Listener>,
    /// Certificate and key; `None` means that a self-signed certificate is made in the data folder.
    pub tls: Option<TlsFiles>,
    /// Further certificates, chosen by the name that a client asks for and by the algorithms that it can verify.
    pub more_tls: Vec<TlsFiles>,
    /// Limits on messages and connections.
    pub limits: Limits,
    /// Time-outs of the SMTP dialogue (RFC 5321 section 4.5.3.2).
    pub timeouts: Timeouts,
    /// Limits on failed logins.
    pub login_limits: LoginLimits,
    /// Overload protection.
    pub overload: OverloadConfig,
    /// Policy chain, in the order of evaluation; empty means that no policy is asked.
    pub policies: Vec<PolicyModule>,
    /// Settings of the engine that all modules share.
    pub policy_engine: PolicyEngine,
    /// Host's action after a policy fault, by stage.
    pub faults: FaultActions,
    /// DNS resolution for policies and for mail exchanges.
    pub dns: DnsConfig,
    /// Destinations and retry schedule of outgoing mail.
    pub delivery: DeliveryConfig,
    /// Rewriting of the senders of forwarded mail; `None` forwards with the sender's own address.
    pub srs: Option<SrsConfig>,
    /// Completion of submitted messages (RFC 6409 section 8).
    pub submission: SubmissionConfig,
    /// Keys that sign outgoing mail (RFC 6376).
    pub dkim: Vec<DkimKey>,
    /// Free bytes on the spool's disk below which new mail is refused with 452.
    pub low_water: u64,
    /// Start with a spool of which a part is missing.
    pub spool_damage: SpoolDamage,
    /// Bounds of the decision log, which covers modules whose [`PolicyModule::record`] is not `Off`.
    pub decisions: DecisionLogConfig,
    /// Format of events on stdout.
    pub event_format: Format,
    /// Maximum size of the durable event log, in bytes; the oldest events are dropped first.
    pub event_log_size: u64,
    /// Maximum duration of a graceful stop.
    pub drain: Duration,
}

impl Config {
    /// Returns the configured certificates, the default first, each with the key path of its table.
    pub fn certificates(&self) -> Vec<(String, TlsFiles)> {
        let first = self.tls.iter().map(|files| ("tls".to_owned(), files.clone()));
        let more = self.more_tls.iter().enumerate();
        let more = more.map(|(index, files)| (format!("tls.additional[{index}]"), files.clone()));
        first.chain(more).collect()
    }
}

/// Action at the start if a part of the spool is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpoolDamage {
    /// The host does not start, and changes nothing.
    Refuse,
    /// The host keeps a copy of the spool and starts with what is left of it.
    Salvage,
}

/// Address that accepts SMTP connections, with its rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// Name in events and for policies; unique.
    pub name: String,
    /// Address and port to bind; port 0 lets the system choose.
    pub address: SocketAddr,
    /// Networks of load balancers, whose connections must begin with a PROXY header.
    pub proxies: Vec<IpNet>,
    /// TLS mode.
    pub tls: ListenerTls,
    /// Offers AUTH.
    pub auth: bool,
    /// Mechanisms of AUTH; `None` is the default: PLAIN, LOGIN, and SCRAM if every account has a verifier.
    pub mechanisms: Option<SaslMechanisms>,
    /// Offers AUTH also without TLS.
    pub auth_without_tls: bool,
    /// PEM file of the authorities whose client certificates are asked for and accepted; `None` asks for none.
    pub client_ca: Option<PathBuf>,
    /// Accepts octets above 127 in messages that MAIL did not announce, as if `BODY=8BITMIME` had been given.
    pub undeclared_eight_bit: bool,
    /// Requires the argument of EHLO and HELO to be a domain or an address literal.
    pub strict_hello: bool,
    /// Accepts addresses without angle brackets in MAIL and RCPT.
    pub bare_addresses: bool,
    /// Networks of hosts in front of this one, which may name their clients with XCLIENT and XFORWARD.
    pub xclient: Vec<IpNet>,
    /// Extensions that are not offered.
    pub disabled_extensions: Vec<Extension>,
    /// Requires AUTH before MAIL unless the client's admission grants an exemption.
    pub require_authentication: bool,
    /// Requires TLS before AUTH and MAIL unless the client's admission grants an exemption.
    pub require_encryption: bool,
}

/// An extension of SMTP that a listener may leave out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extension {
    /// Delivery status notifications (RFC 3461).
    Dsn,
    /// Messages in chunks (RFC 3030).
    Chunking,
    /// Messages that are not made of lines (RFC 3030); works with chunks only.
    BinaryMime,
    /// Limits of a session and of a transaction (RFC 9422).
    Limits,
    /// Messages that travel by verified TLS only (RFC 8689).
    RequireTls,
    /// Time limits of deliveries (RFC 2852).
    DeliverBy,
    /// Messages that are delivered later (RFC 4865).
    FutureRelease,
    /// Priorities (RFC 6710).
    MtPriority,
    /// Mail that waits until its next hop asks (RFC 1985).
    Etrn,
}

impl Extension {
    /// Every extension, in the order of the reply to EHLO.
    pub const ALL: [Self; 9] = [
        Self::Dsn,
        Self::Chunking,
        Self::BinaryMime,
        Self::Limits,
        Self::RequireTls,
        Self::DeliverBy,
        Self::FutureRelease,
        Self::MtPriority,
        Self::Etrn,
    ];

    /// Keyword in the reply to EHLO.
    pub fn keyword(self) -> &'static str {
        match self {
            Self::Dsn => "DSN",
            Self::Chunking => "CHUNKING",
            Self::BinaryMime => "BINARYMIME",
            Self::Limits => "LIMITS",
            Self::RequireTls => "REQUIRETLS",
            Self::DeliverBy => "DELIVERBY",
            Self::FutureRelease => "FUTURERELEASE",
            Self::MtPriority => "MT-PRIORITY",
            Self::Etrn => "ETRN",
        }
    }
}

/// TLS mode of a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListenerTls {
    /// TLS is not offered.
    Off,
    /// TLS by STARTTLS (RFC 3207).
    StartTls,
    /// Implicit TLS: the handshake precedes the banner (RFC 8314).
    Implicit,
}

/// PEM files of the host's certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// Certificate chain, leaf first.
    pub certificate: PathBuf,
    /// Private key.
    pub key: PathBuf,
}

/// Limits on messages and connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Largest message, in bytes; announced by SIZE (RFC 1870).
    pub message_size: u64,
    /// Recipients of a transaction, including refused recipients; at least 100 (RFC 5321 section 4.5.3.1.8).
    pub recipients: usize,
    /// Concurrent connections.
    pub sessions: usize,
    /// Concurrent connections from the same client address.
    pub sessions_per_client: usize,
    /// Number of errors, refused recipients included, at which a connection is closed; an accepted message clears the
    /// count.
    pub errors: usize,
    /// Delay of the reply to the sixth error; it grows by as much with each further error, up to 5 seconds.
    pub error_delay: Duration,
    /// Transactions in a connection.
    pub transactions: usize,
    /// `Received:` fields; a message with more is taken for a loop (RFC 5321 section 6.3).
    pub hops: usize,
}

/// Time-outs of the SMTP dialogue (RFC 5321 section 4.5.3.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timeouts {
    /// Maximum wait for a command, and for the peer to read replies.
    pub command: Duration,
    /// Maximum wait for the next part of a message.
    pub data: Duration,
    /// Maximum duration of a connection.
    pub session: Duration,
}

/// Limits on failed logins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoginLimits {
    /// Failed logins of a client address (IPv6: a /64 network) at which its logins are refused; 0 is no limit.
    pub failures_per_client: u32,
    /// Failed logins at an account from addresses where the account has not succeeded of late, at which logins from
    /// such addresses are refused; 0 is no limit.
    pub failures_per_account: u32,
    /// Time in which failed logins are counted together.
    pub window: Duration,
    /// Duration of a refusal.
    pub refuse: Duration,
    /// Delay of the reply to a failed login. Doubles with each failure in the window, up to 5 seconds.
    pub delay: Duration,
}

/// Thresholds of overload protection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OverloadConfig {
    /// Idle time after which a session may be evicted with 421 while all connection slots are taken and another
    /// client connects; the idlest session goes first.
    pub make_way: Duration,
    /// Sync latency above which new transactions are deferred with 451: the time that an accepted message waits for
    /// the disk.
    pub disk: Duration,
    /// Concurrency limit of sessions for each processor, while more clients wait.
    pub transactions: u32,
    /// Memory shared by all messages being received, in bytes; a message beyond that budget spills to a file sooner.
    pub memory: u64,
}

/// Configuration of a module in the policy chain.
#[derive(Debug, Clone, PartialEq)]
pub struct PolicyModule {
    /// Name in events and commands; unique within the chain.
    pub name: String,
    /// Component file; `None` is the built-in default policy.
    pub file: Option<PathBuf>,
    /// Valid minisign public keys in base64. The component must be signed with a key of the list; an empty list
    /// requires no signature.
    pub signed_by: Vec<String>,
    /// JSON object passed to the policy's `configure`.
    pub settings: serde_json::Map<String, serde_json::Value>,
    /// Interfaces that the component may import, such as `directory`, `message`, `host`.
    pub grants: Vec<String>,
    /// Maximum number of counters that the host keeps for the module.
    pub counters: usize,
    /// Resource limits.
    pub limits: PolicyLimits,
    /// True if an instance keeps no state between questions; `None` means the default of
    /// [`Self::is_stateless`].
    pub stateless: Option<bool>,
    /// Rows of the fault table that differ from `[faults]`.
    pub faults: ModuleFaults,
    /// Folder for a core dump of each trap; `None` (the default) writes no core dumps.
    pub core_dumps: Option<PathBuf>,
    /// Content kept in the decision log.
    pub record: RecordMode,
}

impl PolicyModule {
    /// True if an instance may answer questions of any connection and transaction. Without an explicit setting that
    /// holds for the built-in default policy, which keeps no state between questions; for any other component only
    /// the operator can know.
    pub fn is_stateless(&self, is_built_in: bool) -> bool {
        self.stateless.unwrap_or(is_built_in)
    }
}

/// Content that the decision log keeps of a module's decisions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RecordMode {
    /// Records nothing.
    #[default]
    Off,
    /// Complete records, sufficient for a replay.
    On,
    /// Redacted records: addresses are keyed hashes, and text that can name a person is left out. Readable, but not
    /// replayable.
    Hashed,
}

/// Bounds of the decision log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecisionLogConfig {
    /// Maximum size of all records, in bytes; the oldest are dropped first.
    pub size: u64,
    /// Maximum age of a record.
    pub age: Duration,
    /// Bytes kept of each message's body; at most 1 MiB.
    pub body: u64,
}

/// Resource limits of a module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct PolicyLimits {
    /// Guest CPU time per call.
    pub cpu: Duration,
    /// Wall-clock time per call, host functions included.
    pub wall: Duration,
    /// Linear memory of an instance, in bytes.
    pub memory: usize,
    /// Size of the component file, in bytes. (The size of the Wasm stack is a constant of the engine.)
    pub component_size: u64,
    /// Calls to host functions per unit of work.
    pub host_calls: u64,
}

/// Settings of the policy engine, shared by all modules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyEngine {
    /// Maximum number of instances alive.
    pub instances: u32,
    /// Maximum wait of a unit of work for an instance; the client is deferred after that.
    pub wait: Duration,
    /// Watched folder: a component moved into the folder is loaded. `None` watches no folder.
    pub watch: Option<PathBuf>,
    /// Maximum processor time of the compiler for a component.
    pub compile_time: Duration,
    /// Maximum data segment of the process that compiles a component, in bytes.
    pub compile_memory: u64,
    /// Time in force before a generation is pre-initialised: compiled again with the settings taken in.
    pub prepare_after: Duration,
    /// Share of a processor that a shadow candidate may take.
    pub shadow_cpu: Share,
    /// Probation of a generation that was just loaded.
    pub probation: ProbationConfig,
}

/// Settings of DNS resolution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DnsConfig {
    /// Resolvers; an empty list means the resolvers of `/etc/resolv.conf`.
    pub servers: Vec<SocketAddr>,
    /// Total time-out of a question, over all resolvers.
    pub timeout: Duration,
    /// Capacity of the cache, in answers.
    pub cache_size: u64,
    /// Name of a signed zone that tells whether the resolver validates (DNSSEC).
    pub dnssec_probe: String,
}

/// Error budget of a generation that was just loaded. A generation that exceeds the budget is rolled back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbationConfig {
    /// Duration of the probation.
    pub lasts: Duration,
    /// Length of the sliding window over which faults and calls are counted.
    pub window: Duration,
    /// Faults within the window that exceed the budget; zero turns probation off.
    pub faults: u64,
    /// Share of the calls within the window that the faults must reach as well.
    pub share: Share,
}

/// Host's action after a fault at `admit`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AdmitFault {
    /// Admits the client on the listener's own terms, without exemptions.
    NotExempt,
    /// Refuses the connection with 421.
    Defer,
}

/// Rows of the fault table for a module; `None` means the row of [`FaultActions`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ModuleFaults {
    /// Action at `admit`.
    pub admit: Option<AdmitFault>,
    /// Action at `ndr`.
    pub ndr: Option<NdrFault>,
}

/// Fault table: the host's action by the stage of the fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FaultActions {
    /// Action at `admit`.
    pub admit: AdmitFault,
    /// Action at `ndr`.
    pub ndr: NdrFault,
    /// Faults of a spooled message at which the message is frozen (4117).
    pub message_limit: u32,
}

/// Key of a domain that signs outgoing mail (RFC 6376).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DkimKey {
    /// Domain in signatures, in canonical form: mail whose author has an address there is signed.
    pub domain: String,
    /// Name of the key in the DNS, below `_domainkey` of the domain; lower case.
    pub selector: String,
    /// File of the private key: RSA of 2048 to 4096 bits, or Ed25519, in PEM.
    pub key: PathBuf,
    /// Header fields that are signed as often as they occur. `From` is signed in any case.
    pub headers: Vec<String>,
    /// Header fields that are signed once more than they occur, so that none can be added.
    pub oversign: Vec<String>,
    /// Mail that is signed.
    pub mail: SignedMail,
    /// Time before which the key does not sign; `None` is always.
    pub not_before: Option<Timestamp>,
    /// Time from which on the key does not sign; `None` is never.
    pub not_after: Option<Timestamp>,
}

/// Completion of messages from authenticated accounts and from clients that are exempt from authentication (RFC 6409
/// section 8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SubmissionConfig {
    /// Adds `Date` and `Message-ID` where they are missing, and removes `Bcc` and a first line `From `.
    pub complete: bool,
    /// Adds `From` with the reverse-path where it is missing.
    pub add_from: bool,
    /// Refuses messages that have neither `From` nor `Date`.
    pub refuse_bare: bool,
}

/// Sender Rewriting Scheme of forwarded mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SrsConfig {
    /// Domain of rewritten senders, in canonical form; a local domain.
    pub domain: String,
    /// File with the secrets, one in each line: the first makes addresses, all are accepted.
    pub secret_file: PathBuf,
}
