//! Defaults of every key. `docs/samples/defaults.toml` lists the same values; the test
//! `sample_of_defaults_equals_the_defaults` compares both.

use std::borrow::Cow;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{
    AdmitFault, Config, DecisionLogConfig, DeliveryConfig, DnsConfig, FaultActions, Limits, Listener, ListenerTls,
    LoginLimits, ModuleFaults, NdrFault, OverloadConfig, PolicyEngine, PolicyLimits, PolicyModule, ProbationConfig,
    RecordMode, Share, SpoolDamage, SubmissionConfig, Timeouts, TlsLevel,
};
use host_events::Format;
use host_mail::{Mailbox, canonical_domain};

const KIB: u64 = 1 << 10;
const MIB: u64 = KIB << 10;
const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;

/// Interfaces that this release offers to policies.
pub(super) const GRANTS: [&str; 6] = ["directory", "message", "host", "dns", "counters", "verification"];

impl Config {
    /// Returns the default configuration with its files in `data`.
    pub(super) fn default_in(data: PathBuf, administrator: Mailbox) -> Self {
        Self {
            file: None,
            hostname: system_hostname(),
            mailboxes: data.join("mailboxes"),
            directory: data.join("directory.toml"),
            administrator,
            control: data.join("control.sock"),
            data,
            listeners: default_listeners(),
            tls: None,
            more_tls: Vec::new(),
            limits: Limits::default(),
            timeouts: Timeouts::default(),
            login_limits: LoginLimits::default(),
            overload: OverloadConfig::default(),
            policies: vec![PolicyModule::default()],
            policy_engine: PolicyEngine::default(),
            faults: FaultActions::default(),
            dns: DnsConfig::default(),
            delivery: DeliveryConfig::default(),
            dkim: Vec::new(),
            srs: None,
            submission: SubmissionConfig::default(),
            low_water: 100 * MIB,
            spool_damage: SpoolDamage::Refuse,
            decisions: DecisionLogConfig::default(),
            event_format: Format::Text,
            event_log_size: 64 * MIB,
            drain: Duration::from_secs(30),
        }
    }
}

/// Returns the default data folder: `/var/lib/posthouse` for root, `posthouse` in the user's state folder otherwise.
pub(super) fn data_folder() -> PathBuf {
    if rustix::process::geteuid().is_root() {
        return "/var/lib/posthouse".into();
    }
    let set = |name: &str| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    set("XDG_STATE_HOME")
        .or_else(|| set("HOME").map(|home| home.join(".local/state")))
        .map_or_else(
            || std::env::temp_dir().join("posthouse"),
            |state| state.join("posthouse"),
        )
}

/// Returns the system's host name if it is a domain name, `localhost` otherwise.
pub(super) fn system_hostname() -> String {
    let name = ["/proc/sys/kernel/hostname", "/etc/hostname"]
        .iter()
        .find_map(|path| std::fs::read_to_string(Path::new(path)).ok())
        .unwrap_or_default();
    hostname(name.trim()).unwrap_or_else(|| "localhost".to_owned())
}

/// Returns the canonical form of `text` if it is a domain.
pub(super) fn hostname(text: &str) -> Option<String> {
    canonical_domain(text).map(Cow::into_owned)
}

/// Returns a listener for incoming mail and a listener for submission (RFC 6409), both on loopback.
fn default_listeners() -> Vec<Listener> {
    let listener = |name: &str, port, require_authentication| Listener {
        name: name.to_owned(),
        address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
        proxies: Vec::new(),
        tls: ListenerTls::StartTls,
        auth: true,
        mechanisms: None,
        client_ca: None,
        auth_without_tls: false,
        undeclared_eight_bit: true,
        strict_hello: false,
        bare_addresses: false,
        xclient: Vec::new(),
        disabled_extensions: Vec::new(),
        require_authentication,
        require_encryption: false,
    };
    vec![listener("smtp", 2525, false), listener("submission", 5587, true)]
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message_size: 50 * MIB,
            recipients: 1000,
            sessions: 5000,
            sessions_per_client: 100,
            errors: 20,
            error_delay: Duration::from_millis(100),
            transactions: 10_000,
            hops: 100,
        }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            command: Duration::from_secs(5 * MINUTE),
            data: Duration::from_secs(5 * MINUTE),
            session: Duration::from_secs(4 * HOUR),
        }
    }
}

impl Default for LoginLimits {
    fn default() -> Self {
        Self {
            failures_per_client: 10,
            failures_per_account: 50,
            window: Duration::from_secs(15 * MINUTE),
            refuse: Duration::from_secs(15 * MINUTE),
            delay: Duration::from_secs(1),
        }
    }
}

impl Default for OverloadConfig {
    fn default() -> Self {
        Self {
            make_way: Duration::from_secs(10),
            disk: Duration::from_secs(5),
            transactions: 96,
            memory: 256 * MIB,
        }
    }
}

impl Default for PolicyModule {
    fn default() -> Self {
        Self {
            name: "default".to_owned(),
            file: None,
            signed_by: Vec::new(),
            settings: serde_json::Map::new(),
            grants: ["directory", "message", "host"].map(str::to_owned).to_vec(),
            counters: 10_000,
            limits: PolicyLimits::default(),
            stateless: None,
            core_dumps: None,
            record: RecordMode::default(),
            faults: ModuleFaults::default(),
        }
    }
}

impl Default for PolicyLimits {
    fn default() -> Self {
        Self {
            cpu: Duration::from_millis(100),
            wall: Duration::from_secs(5),
            memory: 64 << 20,
            component_size: 64 * MIB,
            host_calls: 10_000,
        }
    }
}

impl Default for PolicyEngine {
    fn default() -> Self {
        Self {
            instances: 200,
            wait: Duration::from_secs(2),
            watch: None,
            compile_time: Duration::from_secs(MINUTE),
            compile_memory: 2048 * MIB,
            prepare_after: Duration::from_secs(5),
            shadow_cpu: Share::percent(5),
            probation: ProbationConfig::default(),
        }
    }
}

impl Default for DecisionLogConfig {
    fn default() -> Self {
        Self {
            size: 64 * MIB,
            age: Duration::from_secs(7 * 24 * HOUR),
            body: 0,
        }
    }
}

impl Default for ProbationConfig {
    fn default() -> Self {
        Self {
            lasts: Duration::from_secs(30 * MINUTE),
            window: Duration::from_secs(10 * MINUTE),
            faults: 5,
            share: Share::percent(10),
        }
    }
}

impl Default for FaultActions {
    fn default() -> Self {
        Self {
            admit: AdmitFault::NotExempt,
            ndr: NdrFault::StandardReport,
            message_limit: 5,
        }
    }
}

impl Default for SubmissionConfig {
    fn default() -> Self {
        Self {
            complete: false,
            add_from: true,
            refuse_bare: true,
        }
    }
}

impl Default for DnsConfig {
    fn default() -> Self {
        Self {
            servers: Vec::new(),
            timeout: Duration::from_secs(3),
            cache_size: 8192,
            dnssec_probe: ".".to_owned(),
        }
    }
}

impl Default for DeliveryConfig {
    fn default() -> Self {
        Self {
            smart_host: Vec::new(),
            logins: Vec::new(),
            routes: Vec::new(),
            retry: [15, 30, 60, 240].map(|m| Duration::from_secs(m * MINUTE)).to_vec(),
            // RFC 5321 section 4.5.4.1: 4 to 5 days.
            expire: Duration::from_secs(5 * 24 * HOUR),
            delay_notice: Some(Duration::from_secs(4 * HOUR)),
            concurrency: 20,
            connections: 2000,
            per_destination: 5,
            connect_timeout: Duration::from_secs(30),
            reply_timeout: Duration::from_secs(5 * MINUTE),
            tls: TlsLevel::May,
            hops: Vec::new(),
            private_exchanges: Vec::new(),
            tls_reports: None,
        }
    }
}
