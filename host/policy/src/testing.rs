//! Helpers of the crate's tests: a directory, configurations, clients and a bench with a running manager.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use serde_json::{Map, Value, json};

use crate::{LoadRequest, PolicyManager, Record, Recorder};
use host_config::{
    AdmitFault, Config, DeliveryConfig, DnsConfig, FaultActions, Limits, LoginLimits, ModuleFaults, NdrFault,
    OverloadConfig, PolicyEngine, PolicyLimits, PolicyModule, RecordMode, Timeouts,
};
use host_directory::{Directory, Entry, Home, Login, LookupError, Target};
use host_engine::compile::Compiler;
use host_engine::component::builtin;
use host_events::{Captured, Event, Events, Format, PolicyFault};
use host_mail::{Client, Envelope, Identity, Mailbox, ReversePath};

/// A directory with the account anna@example.org and the ambiguous address twin@example.org. A lookup of
/// panic@example.org panics, and a lookup of slow@example.org never returns.
pub(super) struct TestDirectory;

impl Directory for TestDirectory {
    fn is_member<'a>(&'a self, _: &'a Mailbox, _: &'a Mailbox) -> BoxFuture<'a, Result<bool, LookupError>> {
        async { Ok(false) }.boxed()
    }

    fn lookup<'a>(&'a self, address: &'a Mailbox) -> BoxFuture<'a, Result<Vec<Entry>, LookupError>> {
        async move {
            match address.local_part() {
                "panic" => panic!("the directory broke"),
                "slow" => std::future::pending().await,
                "anna" => Ok(vec![self::account(address, "anna")]),
                "twin" => Ok(["one", "two"].map(|account| self::account(address, account)).to_vec()),
                _ => Ok(Vec::new()),
            }
        }
        .boxed()
    }

    fn may_send_as<'a>(&'a self, account: &'a str, address: &'a Mailbox) -> BoxFuture<'a, Result<bool, LookupError>> {
        async move { Ok(account == "anna" && address.local_part() == "anna") }.boxed()
    }

    fn is_local_domain<'a>(&'a self, domain: &'a str) -> BoxFuture<'a, Result<bool, LookupError>> {
        async move { Ok(domain == "example.org") }.boxed()
    }

    fn authenticate<'a>(&'a self, _: Login<'a>) -> BoxFuture<'a, Result<Option<String>, LookupError>> {
        async { Ok(None) }.boxed()
    }
}

fn account(address: &Mailbox, account: &str) -> Entry {
    Entry {
        address: address.clone(),
        target: Target::Account {
            account: account.to_owned(),
            home: Home::Maildir(account.into()),
        },
    }
}

/// Limits that every test guest stays within, short enough for tests of timeouts.
pub(super) fn limits() -> PolicyLimits {
    PolicyLimits {
        cpu: Duration::from_millis(100),
        wall: Duration::from_secs(10),
        memory: 16 << 20,
        component_size: 32 << 20,
        host_calls: 1_000,
    }
}

/// Returns a module with all grants; without a file the module has the built-in policy.
pub(super) fn module(name: &str, file: Option<&Path>, settings: Value) -> PolicyModule {
    PolicyModule {
        name: name.to_owned(),
        file: file.map(Path::to_owned),
        signed_by: Vec::new(),
        settings: object(settings),
        grants: ["directory", "message", "host"].map(str::to_owned).to_vec(),
        counters: 100,
        limits: limits(),
        stateless: None,
        core_dumps: None,
        record: RecordMode::Off,
        faults: ModuleFaults::default(),
    }
}

pub(super) fn object(value: Value) -> Map<String, Value> {
    value.as_object().cloned().expect("settings are an object")
}

/// Returns a configuration with this chain.
pub(super) fn config(data: &Path, policies: Vec<PolicyModule>) -> Config {
    Config {
        file: None,
        hostname: "mail.example.org".to_owned(),
        data: data.to_owned(),
        mailboxes: data.join("mail"),
        directory: data.join("directory.toml"),
        administrator: address("postmaster@example.org"),
        control: data.join("control"),
        listeners: Vec::new(),
        tls: None,
        limits: Limits {
            message_size: 1 << 20,
            recipients: 100,
            sessions: 10,
            sessions_per_client: 10,
            errors: 10,
            transactions: 10,
            hops: 30,
            ..Limits::default()
        },
        timeouts: Timeouts {
            command: Duration::from_secs(1),
            data: Duration::from_secs(1),
            session: Duration::from_secs(1),
        },
        login_limits: LoginLimits::default(),
        overload: OverloadConfig::default(),
        policies,
        policy_engine: PolicyEngine {
            instances: 4,
            wait: Duration::from_millis(50),
            // Tests start pre-initialisation explicitly.
            prepare_after: Duration::from_secs(3600),
            ..PolicyEngine::default()
        },
        faults: FaultActions {
            admit: AdmitFault::NotExempt,
            ndr: NdrFault::StandardReport,
            message_limit: 5,
        },
        dns: DnsConfig::default(),
        delivery: DeliveryConfig {
            smart_host: Vec::new(),
            logins: Vec::new(),
            routes: Vec::new(),
            retry: vec![Duration::from_secs(1)],
            expire: Duration::from_secs(1),
            delay_notice: None,
            concurrency: 1,
            connections: 1,
            per_destination: 1,
            connect_timeout: Duration::from_secs(1),
            reply_timeout: Duration::from_secs(1),
            tls: host_config::TlsLevel::May,
            hops: Vec::new(),
            private_exchanges: Vec::new(),
            tls_reports: None,
        },
        low_water: 0,
        spool_damage: host_config::SpoolDamage::Refuse,
        decisions: host_config::DecisionLogConfig::default(),
        event_format: Format::Text,
        event_log_size: 1 << 20,
        drain: Duration::from_secs(1),
        ..Config::parse("administrator = 'postmaster@example.org'", data).expect("a configuration")
    }
}

pub(super) fn address(text: &str) -> Mailbox {
    text.parse().expect("an address")
}

pub(super) fn path(text: &str) -> ReversePath {
    ReversePath::Mailbox(address(text))
}

/// Returns a client that has not authenticated.
pub(super) fn stranger() -> Client {
    Client {
        listener: "smtp".to_owned(),
        address: "192.0.2.7".parse().expect("an address"),
        port: 2525,
        name: None,
        helo: Some("there.example.net".to_owned()),
        tls: None,
        identity: None,
        exemptions: Arc::default(),
    }
}

/// Returns a client that authenticated as anna.
pub(super) fn anna() -> Client {
    Client {
        identity: Some(Identity {
            account: "anna".to_owned(),
            mechanism: "PLAIN".to_owned(),
        }),
        ..stranger()
    }
}

pub(super) fn envelope(sender: ReversePath, recipients: &[&str]) -> Envelope {
    Envelope {
        recipients: recipients.iter().map(|text| address(text)).collect(),
        ..Envelope::from_sender(sender)
    }
}

/// A recorder that collects records, in the order in which the units of work ended.
#[derive(Default)]
pub(super) struct Collected(Mutex<Vec<Record>>);

impl Collected {
    pub(super) fn records(&self) -> Vec<Record> {
        self.0.lock().clone()
    }
}

impl Recorder for Collected {
    fn take(&self, record: Record, _: RecordMode) {
        self.0.lock().push(record);
    }
}

/// A manager and the captured events.
pub(super) struct Bench {
    pub(super) config: Config,
    pub(super) policies: Arc<PolicyManager>,
    pub(super) captured: Captured,
    pub(super) folder: tempfile::TempDir,
}

impl Bench {
    /// Starts a durable manager with these modules, each given as name, component and settings.
    pub(super) async fn with(modules: &[(&str, &[u8], Value)]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let modules = modules.iter().map(|(name, code, settings)| {
            let file = folder.path().join(format!("{name}.wasm"));
            std::fs::write(&file, code).expect("written");
            module(name, Some(&file), settings.clone())
        });
        let config = config(folder.path(), modules.collect());
        let (policies, captured) = start(&config).await;
        Self {
            config,
            policies,
            captured,
            folder,
        }
    }

    /// Starts a manager with a single module `p`; `stateless` is the module's setting.
    pub(super) async fn with_stateless(code: &[u8], settings: Value, stateless: Option<bool>) -> Self {
        let mut bench = Self::with(&[("p", code, settings)]).await;
        bench.config.policies[0].stateless = stateless;
        bench.restart().await;
        bench
    }

    /// Starts a manager with `misbehaving` as the only module, in this mode at this stage.
    pub(super) async fn misbehaving(mode: &str, stage: &str) -> Self {
        let settings = json!({ "mode": mode, "stage": stage });
        Self::with(&[("mischief", builtin::MISBEHAVING, settings)]).await
    }

    /// Restarts with recording on, and collects the records.
    pub(super) async fn record(&mut self) -> Arc<Collected> {
        for module in &mut self.config.policies {
            module.record = RecordMode::On;
        }
        self.restart().await;
        let collected = Arc::new(Collected::default());
        self.policies.record_to(collected.clone());
        collected
    }

    /// Restarts the manager on the same data.
    pub(super) async fn restart(&mut self) {
        let (policies, captured) = start(&self.config).await;
        self.policies = policies;
        self.captured = captured;
    }

    /// Returns the only fault so far.
    pub(super) fn fault(&self) -> PolicyFault {
        let faults = self.faults();
        let [fault] = &faults[..] else {
            panic!("one fault expected: {faults:#?}");
        };
        fault.clone()
    }

    pub(super) fn faults(&self) -> Vec<PolicyFault> {
        let faults = self.captured.events().into_iter().filter_map(|event| match event {
            Event::PolicyFault { fault } => Some(fault),
            _ => None,
        });
        faults.collect()
    }
}

async fn start(config: &Config) -> (Arc<PolicyManager>, Captured) {
    let (events, captured) = Events::capture();
    let policies = PolicyManager::start(config, Arc::new(TestDirectory), events, Compiler::Here)
        .await
        .expect("an engine");
    (policies, captured)
}

/// Returns a request to load code, settings or both.
pub(super) fn load(code: Option<&[u8]>, settings: Option<Value>) -> LoadRequest {
    LoadRequest {
        module: None,
        code: code.map(<[u8]>::to_vec),
        origin: "a test".to_owned(),
        settings: settings.map(object),
        by: "a tester".to_owned(),
        ..LoadRequest::default()
    }
}
