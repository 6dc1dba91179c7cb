//! Reads the text of a file into a [`Config`]: one function for each table of the file.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde_json::Map;
use toml::Value;

use super::defaults::{GRANTS, data_folder, hostname};
use super::{
    AdmitFault, Config, ConfigError, DecisionLogConfig, DeliveryConfig, DnsConfig, FaultActions, Limits, Listener,
    ListenerTls, LoginLimits, ModuleFaults, NdrFault, NextHop, OverloadConfig, PolicyEngine, PolicyLimits,
    PolicyModule, ProbationConfig, Problem, RecordMode, Route, SaslMechanism, SaslMechanisms, ServerLogin, ServerTls,
    Share, SpoolDamage, Timeouts, TlsFiles, TlsLevel,
};
use crate::key_lines::add_lines;
use crate::listener_warnings::overlap;
use crate::toml_reader::{
    self, Problems, TableReader, boolean, choice, count, duration, duration_or_never, network, parsed, size, text,
};
use host_events::Format;
use host_mail::{Endpoint, Mailbox};

/// Longest user name at a remote server, in bytes.
const MAX_USER: usize = 255;
/// Values of the keys `tls` of delivery.
const TLS_LEVELS: [(&str, TlsLevel); 4] = [
    ("none", TlsLevel::None),
    ("may", TlsLevel::May),
    ("encrypt", TlsLevel::Encrypt),
    ("verify", TlsLevel::Verify),
];
/// Largest part of a message's body that a decision record may keep, in bytes.
const MAX_RECORDED_BODY: u64 = 1 << 20;

impl Config {
    /// Reads a configuration file. Relative paths in the file start at the folder of the file. Referenced files are
    /// checked separately by [`super::problems_around`].
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let failed = |text: String| ConfigError(vec![Problem::new("", text)]);
        let path = std::path::absolute(path).map_err(|error| failed(error.to_string()))?;
        let text = std::fs::read_to_string(&path).map_err(|error| failed(format!("{}: {error}", path.display())))?;
        let base = path.parent().unwrap_or(Path::new("/"));
        let mut config = Self::parse(&text, base).map_err(|ConfigError(mut problems)| {
            add_lines(&text, &mut problems);
            ConfigError(problems)
        })?;
        config.file = Some(path);
        Ok(config)
    }

    /// Adds the lines of the configuration's file to problems that were found after the file was read.
    pub fn add_lines(&self, problems: &mut [Problem]) {
        let text = self.file.as_ref().and_then(|file| std::fs::read_to_string(file).ok());
        if let Some(text) = text {
            add_lines(&text, problems);
        }
    }

    /// Returns the built-in configuration of a host without a file: listeners on loopback, and data in
    /// `/var/lib/posthouse` for root or in the user's state folder.
    pub fn builtin() -> Result<Self, ConfigError> {
        Self::parse("administrator = \"postmaster@localhost\"", Path::new("/"))
    }

    /// Parses the text of a configuration file; relative paths start at `base`.
    pub fn parse(text: &str, base: &Path) -> Result<Self, ConfigError> {
        let document = toml_reader::parse(text).map_err(|problem| ConfigError(vec![problem]))?;
        let problems = Problems::default();
        let config = read(TableReader::new(&document, &problems), base);
        match (config, problems.into_inner()) {
            (Some(config), problems) if problems.is_empty() => Ok(config),
            (_, problems) => Err(ConfigError(problems)),
        }
    }
}

/// Reads the root table. `None` is returned only after a problem was reported.
fn read(mut root: TableReader<'_>, base: &Path) -> Option<Config> {
    let data = root.optional("data", path(base)).unwrap_or_else(data_folder);
    let administrator = root.required("administrator", parsed::<Mailbox>);
    let fallback = Mailbox::try_from("postmaster@localhost".to_owned()).ok()?;
    let mut config = Config::default_in(data, administrator.unwrap_or(fallback));

    config.hostname = root.or("hostname", config.hostname, host_name);
    config.mailboxes = root.or("mailboxes", config.mailboxes, path(base));
    config.directory = root.or("directory", config.directory, path(base));
    config.control = root.or("control", config.control, path(base));
    config.low_water = root.or("low-water", config.low_water, size);
    config.drain = root.or("drain", config.drain, duration);
    if root.has("listener") {
        config.listeners = read_listeners(&mut root);
    }
    if root.has("tls") {
        config.tls = read_tls(root.table("tls"), base);
    }
    config.limits = read_limits(root.table("limits"), config.limits);
    config.timeouts = read_timeouts(root.table("timeouts"), config.timeouts);
    config.login_limits = read_login_limits(root.table("login-limits"), config.login_limits);
    config.overload = read_overload(root.table("overload"), config.overload);
    if root.has("policy") {
        config.policies = read_policies(&mut root, base);
    }
    config.policy_engine = read_policy_engine(root.table("policy-engine"), config.policy_engine, base);
    config.faults = read_faults(root.table("faults"), config.faults);
    config.dns = read_dns(root.table("dns"), config.dns);
    config.delivery = read_delivery(root.table("delivery"), base, config.delivery);
    let damage = [("refuse", SpoolDamage::Refuse), ("salvage", SpoolDamage::Salvage)];
    config.spool_damage = root
        .table("spool")
        .or("on-damage", config.spool_damage, choice(&damage));
    config.decisions = read_decisions(root.table("decisions"), config.decisions);
    let mut events = root.table("events");
    config.event_format = events.or(
        "format",
        config.event_format,
        choice(&[("text", Format::Text), ("json", Format::Json)]),
    );
    config.event_log_size = events.or("log-size", config.event_log_size, size);
    Some(config)
}

fn read_listeners(root: &mut TableReader<'_>) -> Vec<Listener> {
    let mut names = HashSet::new();
    let mut addresses = HashSet::new();
    let mut listeners = Vec::new();
    let readers = root.tables("listener");
    if readers.is_empty() {
        root.problem("listener", "at least one listener is needed");
    }
    for mut reader in readers {
        let name = reader.required("name", identifier);
        let address = reader.required("address", parsed::<SocketAddr>);
        let proxies = reader.list("proxies", |value| network(&text(value)?));
        let tls = [
            ("off", ListenerTls::Off),
            ("starttls", ListenerTls::StartTls),
            ("implicit", ListenerTls::Implicit),
        ];
        let tls = reader.or("tls", ListenerTls::StartTls, choice(&tls));
        let auth = reader.or("auth", true, boolean);
        let mechanisms = read_mechanisms(&mut reader, auth);
        let auth_without_tls = reader.or("auth-without-tls", false, boolean);
        let undeclared_eight_bit = reader.or("undeclared-eight-bit", true, boolean);
        let strict_hello = reader.or("strict-hello", false, boolean);
        let bare_addresses = reader.or("bare-addresses", false, boolean);
        let require_authentication = reader.or("require-authentication", false, boolean);
        let require_encryption = reader.or("require-encryption", false, boolean);
        if tls == ListenerTls::Off && require_encryption {
            reader.problem("require-encryption", "nobody can meet this while tls is \"off\"");
        }
        if !auth && require_authentication {
            reader.problem("require-authentication", "no client can meet this while auth is false");
        }
        if !auth && auth_without_tls {
            reader.problem(
                "auth-without-tls",
                "has no effect while auth is false: remove one of them",
            );
        }
        if auth && tls == ListenerTls::Off && require_authentication && !auth_without_tls {
            reader.problem(
                "require-authentication",
                "nobody can meet this: tls is \"off\" and auth-without-tls is not true",
            );
        }
        let (Some(name), Some(address)) = (name, address) else {
            continue;
        };
        if !names.insert(name.clone()) {
            reader.problem("name", format!("there is a listener {name:?} already"));
        }
        if let Some(other) = listeners
            .iter()
            .find(|other: &&Listener| overlap(other.address, address))
        {
            let text = format!("{address} and {} cannot be opened together: remove one", other.address);
            reader.problem("address", text);
        }
        // Port 0 lets the system choose a free port: two listeners never collide there.
        if address.port() != 0 && !addresses.insert(address) {
            reader.problem("address", format!("another listener has {address} already"));
        }
        listeners.push(Listener {
            name,
            address,
            proxies,
            tls,
            auth,
            mechanisms,
            auth_without_tls,
            undeclared_eight_bit,
            strict_hello,
            bare_addresses,
            require_authentication,
            require_encryption,
        });
    }
    listeners
}

fn read_mechanisms(reader: &mut TableReader<'_>, auth: bool) -> Option<SaslMechanisms> {
    const KEY: &str = "auth-mechanisms";
    if !reader.has(KEY) {
        return None;
    }
    let known = SaslMechanism::ALL.map(|mechanism| (mechanism.name(), mechanism));
    let mechanisms = reader.list(KEY, choice(&known));
    match (auth, mechanisms.is_empty()) {
        (false, _) => reader.problem(KEY, "has no effect while auth is false: remove one of them"),
        (true, true) => reader.problem(KEY, "offers nothing: write auth = false for a listener without AUTH"),
        (true, false) => {}
    }
    Some(mechanisms.into_iter().collect())
}

fn read_tls(mut reader: TableReader<'_>, base: &Path) -> Option<TlsFiles> {
    let certificate = reader.required("certificate", path(base));
    let key = reader.required("key", path(base));
    Some(TlsFiles {
        certificate: certificate?,
        key: key?,
    })
}

fn read_limits(mut reader: TableReader<'_>, default: Limits) -> Limits {
    Limits {
        // RFC 5321 section 4.5.3.1.7: at least 64K octets.
        message_size: reader.or("message-size", default.message_size, |value| {
            size(value).and_then(|bytes| at_least(64 << 10, bytes))
        }),
        // RFC 5321 section 4.5.3.1.8: at least 100 recipients.
        recipients: reader.or("recipients", default.recipients, count(100..=100_000)),
        sessions: reader.or("sessions", default.sessions, count(1..=1_000_000)),
        sessions_per_client: reader.or("sessions-per-client", default.sessions_per_client, count(1..=1_000_000)),
        errors: reader.or("errors", default.errors, count(1..=10_000)),
        error_delay: reader.or("error-delay", default.error_delay, duration),
        transactions: reader.or("transactions", default.transactions, count(1..=100_000_000)),
        hops: reader.or("hops", default.hops, count(1..=1000)),
    }
}

fn read_timeouts(mut reader: TableReader<'_>, default: Timeouts) -> Timeouts {
    Timeouts {
        command: reader.or("command", default.command, duration),
        data: reader.or("data", default.data, duration),
        session: reader.or("session", default.session, duration),
    }
}

fn read_login_limits(mut reader: TableReader<'_>, default: LoginLimits) -> LoginLimits {
    let failures = || count(0..=1_000_000);
    LoginLimits {
        failures_per_client: reader.or("failures-per-client", default.failures_per_client, failures()),
        failures_per_account: reader.or("failures-per-account", default.failures_per_account, failures()),
        window: reader.or("window", default.window, duration),
        refuse: reader.or("refuse", default.refuse, duration),
        delay: reader.or("delay", default.delay, duration),
    }
}

fn read_overload(mut reader: TableReader<'_>, default: OverloadConfig) -> OverloadConfig {
    reader.removed("lag", "`overload.transactions` bounds the work that is served at once");
    OverloadConfig {
        make_way: reader.or("make-way", default.make_way, duration),
        disk: reader.or("disk", default.disk, duration),
        transactions: reader.or("transactions", default.transactions, count(1..=100_000)),
        memory: reader.or("memory", default.memory, size),
    }
}

const RECORD_MODES: [(&str, RecordMode); 3] = [
    ("off", RecordMode::Off),
    ("on", RecordMode::On),
    ("hashed", RecordMode::Hashed),
];

fn read_decisions(mut reader: TableReader<'_>, default: DecisionLogConfig) -> DecisionLogConfig {
    DecisionLogConfig {
        size: reader.or("size", default.size, size),
        age: reader.or("age", default.age, duration),
        body: reader.or("body", default.body, |value| {
            size(value).and_then(|bytes| at_most(MAX_RECORDED_BODY, bytes))
        }),
    }
}

fn read_policies(root: &mut TableReader<'_>, base: &Path) -> Vec<PolicyModule> {
    let mut names = HashSet::new();
    let mut modules = Vec::new();
    for mut reader in root.tables("policy") {
        let default = PolicyModule::default();
        let name = reader.or("name", default.name, identifier);
        if !names.insert(name.clone()) {
            reader.problem("name", format!("there is a policy {name:?} already"));
        }
        let grants = if reader.has("grants") {
            reader.list("grants", grant)
        } else {
            default.grants
        };
        modules.push(PolicyModule {
            name,
            file: reader.optional("file", path(base)),
            signed_by: reader.or("signed-by", default.signed_by, signers),
            settings: reader.or("settings", default.settings, settings),
            grants,
            counters: reader.or("counters", default.counters, count(0..=1_000_000)),
            limits: read_policy_limits(reader.table("limits"), default.limits),
            stateless: reader.optional("stateless", boolean),
            core_dumps: reader.optional("core-dumps", path(base)),
            record: reader.or("record", default.record, choice(&RECORD_MODES)),
            faults: read_module_faults(reader.table("faults")),
        });
    }
    modules
}

fn read_policy_limits(mut reader: TableReader<'_>, default: PolicyLimits) -> PolicyLimits {
    let memory = |value: &Value| {
        let bytes = size(value).and_then(|bytes| at_least(64 << 10, bytes))?;
        let bytes = usize::try_from(bytes).ok().filter(|bytes| *bytes <= 4 << 30);
        bytes.ok_or_else(|| "at most 4GiB: a policy has 32-bit addresses".to_owned())
    };
    PolicyLimits {
        cpu: reader.or("cpu", default.cpu, duration),
        wall: reader.or("wall", default.wall, duration),
        memory: reader.or("memory", default.memory, memory),
        component_size: reader.or("component-size", default.component_size, size),
        host_calls: reader.or("host-calls", default.host_calls, count(0..=1_000_000_000)),
    }
}

fn read_policy_engine(mut reader: TableReader<'_>, default: PolicyEngine, base: &Path) -> PolicyEngine {
    reader.removed(
        "remembered-admissions",
        "every connection is asked about, which costs under 1 % of a message",
    );
    PolicyEngine {
        instances: reader.or("instances", default.instances, count(1..=10_000)),
        wait: reader.or("wait", default.wait, duration),
        compile_time: reader.or("compile-time", default.compile_time, duration),
        compile_memory: reader.or("compile-memory", default.compile_memory, |value| {
            size(value).and_then(|bytes| at_least(64 << 20, bytes))
        }),
        prepare_after: reader.or("prepare-after", default.prepare_after, duration),
        shadow_cpu: reader.or("shadow-cpu", default.shadow_cpu, parsed::<Share>),
        watch: reader.optional("watch", path(base)),
        probation: read_probation(reader.table("probation"), default.probation),
    }
}

fn read_probation(mut reader: TableReader<'_>, default: ProbationConfig) -> ProbationConfig {
    ProbationConfig {
        lasts: reader.or("lasts", default.lasts, duration),
        window: reader.or("window", default.window, duration),
        faults: reader.or("faults", default.faults, count(0..=1_000_000)),
        share: reader.or("share", default.share, parsed::<Share>),
    }
}

const ADMIT_FAULTS: [(&str, AdmitFault); 2] = [("not-exempt", AdmitFault::NotExempt), ("defer", AdmitFault::Defer)];
const NDR_FAULTS: [(&str, NdrFault); 2] = [
    ("standard-report", NdrFault::StandardReport),
    ("freeze", NdrFault::Freeze),
];

fn read_module_faults(mut reader: TableReader<'_>) -> ModuleFaults {
    ModuleFaults {
        admit: reader.optional("admit", choice(&ADMIT_FAULTS)),
        ndr: reader.optional("ndr", choice(&NDR_FAULTS)),
    }
}

fn read_faults(mut reader: TableReader<'_>, default: FaultActions) -> FaultActions {
    FaultActions {
        admit: reader.or("admit", default.admit, choice(&ADMIT_FAULTS)),
        ndr: reader.or("ndr", default.ndr, choice(&NDR_FAULTS)),
        message_limit: reader.or("message-limit", default.message_limit, count(1..=1000)),
    }
}

fn read_dns(mut reader: TableReader<'_>, default: DnsConfig) -> DnsConfig {
    DnsConfig {
        servers: reader.list("servers", parsed::<SocketAddr>),
        timeout: reader.or("timeout", default.timeout, duration),
        cache_size: reader.or("cache-size", default.cache_size, count(0..=1_000_000)),
    }
}

fn read_delivery(mut reader: TableReader<'_>, base: &Path, default: DeliveryConfig) -> DeliveryConfig {
    let retry = if reader.has("retry") {
        let waits = reader.list("retry", duration);
        if waits.is_empty() {
            reader.problem("retry", "at least one wait is needed, such as [\"15m\", \"1h\"]");
        }
        waits
    } else {
        default.retry
    };
    let mut domains = HashSet::new();
    let mut routes = Vec::new();
    for route in reader.tables("route") {
        routes.extend(read_route(route, &mut domains));
    }
    let smart_host = reader.optional("smart-host", next_hop);
    let next_hops: Vec<&NextHop> = routes.iter().map(|route| &route.to).chain(&smart_host).collect();
    let mut logins = Vec::new();
    for login in reader.tables("login") {
        logins.extend(read_login(login, base, &next_hops, &logins));
    }
    let tls = read_tls_level(&mut reader, default.tls);
    let mut server_tls = Vec::new();
    for server in reader.tables("next-hop") {
        server_tls.extend(read_server_tls(server, &server_tls));
    }
    DeliveryConfig {
        smart_host,
        routes,
        logins,
        retry,
        expire: reader.or("expire", default.expire, duration),
        delay_notice: reader.or("delay-notice", default.delay_notice, duration_or_never),
        concurrency: reader.or("concurrency", default.concurrency, count(1..=10_000)),
        connections: reader.or("connections", default.connections, count(1..=100_000)),
        per_destination: reader.or("per-destination", default.per_destination, count(1..=10_000)),
        connect_timeout: reader.or("connect-timeout", default.connect_timeout, duration),
        reply_timeout: reader.or("reply-timeout", default.reply_timeout, duration),
        tls,
        server_tls,
        private_exchanges: reader.list("private-exchanges", |value| network(&text(value)?)),
    }
}

/// Reads `tls`, or the key `verify-tls` of earlier releases: true is `verify`, false is `may`.
fn read_tls_level(reader: &mut TableReader<'_>, default: TlsLevel) -> TlsLevel {
    let has_both = reader.has("tls") && reader.has("verify-tls");
    let verify = reader.optional("verify-tls", boolean);
    if has_both {
        reader.problem("verify-tls", "is an earlier form of tls = \"verify\": keep tls only");
    }
    let default = verify.map_or(default, |verify| if verify { TlsLevel::Verify } else { TlsLevel::May });
    reader.or("tls", default, choice(&TLS_LEVELS))
}

fn read_server_tls(mut reader: TableReader<'_>, known: &[ServerTls]) -> Option<ServerTls> {
    let server = reader.required("server", tcp_endpoint);
    let tls = reader.required("tls", choice(&TLS_LEVELS));
    let server = server?;
    if known.iter().any(|other| other.server == server) {
        reader.problem("server", format!("there is a level for {server} already"));
    }
    Some(ServerTls { server, tls: tls? })
}

fn read_route(mut reader: TableReader<'_>, domains: &mut HashSet<String>) -> Option<Route> {
    let domain = reader.required("domain", host_name);
    let lmtp = reader.or("protocol", false, choice(&[("smtp", false), ("lmtp", true)]));
    let to = reader.required("to", if lmtp { lmtp_server } else { next_hop });
    let tls = reader.optional("tls", choice(&TLS_LEVELS));
    let domain = domain?;
    if !domains.insert(domain.clone()) {
        reader.problem("domain", format!("there is a route for {domain} already"));
    }
    Some(Route {
        domain,
        to: to?,
        lmtp,
        tls,
    })
}

fn read_login(
    mut reader: TableReader<'_>,
    base: &Path,
    next_hops: &[&NextHop],
    known: &[ServerLogin],
) -> Option<ServerLogin> {
    let server = reader.required("server", tcp_endpoint);
    let user = reader.required("user", user_name);
    let password_file = reader.required("password-file", path(base));
    let server = server?;
    if known.iter().any(|login| login.server == server) {
        reader.problem("server", format!("there is a login at {server} already"));
    }
    if !next_hops.contains(&&NextHop::Server(server.clone())) {
        reader.problem(
            "server",
            format!("no mail is sent to {server}: neither smart-host nor a route's \"to\" is so written"),
        );
    }
    Some(ServerLogin {
        server,
        user: user?,
        password_file: password_file?,
    })
}

fn user_name(value: &Value) -> Result<String, String> {
    let user = text(value)?;
    if user.is_empty() || user.len() > MAX_USER || user.contains(char::is_control) {
        return Err(format!(
            "expected 1 to {MAX_USER} bytes, none of them a control character"
        ));
    }
    Ok(user)
}

/// Reads `host:port`, or `mx` for the mail exchanges of each domain.
fn next_hop(value: &Value) -> Result<NextHop, String> {
    match text(value)?.as_str() {
        "mx" => Ok(NextHop::Exchanges),
        _ => tcp_endpoint(value).map(NextHop::Server),
    }
}

fn lmtp_server(value: &Value) -> Result<NextHop, String> {
    parsed(value).map(NextHop::Server)
}

/// Reads a TCP endpoint; SMTP is not spoken over Unix sockets.
fn tcp_endpoint(value: &Value) -> Result<Endpoint, String> {
    match parsed::<Endpoint>(value)? {
        Endpoint::Unix(path) => Err(format!("expected host:port, found the socket {}", path.display())),
        tcp => Ok(tcp),
    }
}

fn path(base: &Path) -> impl Fn(&Value) -> Result<PathBuf, String> {
    move |value| match text(value)? {
        empty if empty.is_empty() => Err("expected a path".to_owned()),
        path => Ok(base.join(path)),
    }
}

fn host_name(value: &Value) -> Result<String, String> {
    let text = text(value)?;
    hostname(&text).ok_or_else(|| match text.trim_start_matches(['@', '*', '.']) {
        name if name.len() < text.len() => {
            format!("{text:?} is not a domain name: write each domain alone, such as {name:?}")
        }
        _ => format!("{text:?} is not a domain name"),
    })
}

/// Reads a name for events and commands: 1 to 64 lower-case letters, digits, hyphens, dots or underscores.
fn identifier(value: &Value) -> Result<String, String> {
    let text = text(value)?;
    let right = (1..=64).contains(&text.len())
        && text
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_' | '.'));
    right
        .then_some(text)
        .ok_or_else(|| "expected 1 to 64 lower-case letters, digits, hyphens, dots or underscores".to_owned())
}

fn grant(value: &Value) -> Result<String, String> {
    let text = text(value)?;
    if GRANTS.contains(&text.as_str()) {
        return Ok(text);
    }
    Err(format!(
        "{text:?} is nothing a policy can import; there are {}",
        GRANTS.join(", ")
    ))
}

fn at_most(most: u64, bytes: u64) -> Result<u64, String> {
    (bytes <= most)
        .then_some(bytes)
        .ok_or_else(|| format!("at most {most} bytes, found {bytes}"))
}

/// Reads a minisign public key or a list of keys, which must not be empty.
fn signers(value: &Value) -> Result<Vec<String>, String> {
    let keys = match value {
        Value::Array(keys) if keys.is_empty() => return Err("at least one key is needed".to_owned()),
        Value::Array(keys) => keys.iter().map(text).collect::<Result<Vec<_>, _>>()?,
        single => vec![text(single)?],
    };
    for key in &keys {
        minisign_verify::PublicKey::from_base64(key).map_err(|_| {
            format!("{key:?} is not a minisign public key: expected the second line of minisign.pub, such as \"RWQ…\"")
        })?;
    }
    Ok(keys)
}

fn at_least(least: u64, bytes: u64) -> Result<u64, String> {
    (bytes >= least)
        .then_some(bytes)
        .ok_or_else(|| format!("at least {least} bytes are needed, found {bytes}"))
}

/// Converts a policy's settings to JSON; a TOML date becomes a string.
fn settings(value: &Value) -> Result<Map<String, serde_json::Value>, String> {
    match json(value)? {
        serde_json::Value::Object(settings) => Ok(settings),
        _ => Err("expected a table".to_owned()),
    }
}

fn json(value: &Value) -> Result<serde_json::Value, String> {
    Ok(match value {
        Value::String(text) => text.clone().into(),
        Value::Integer(number) => (*number).into(),
        Value::Boolean(boolean) => (*boolean).into(),
        Value::Datetime(date) => date.to_string().into(),
        Value::Float(number) => serde_json::Number::from_f64(*number)
            .ok_or_else(|| format!("{number} is not a number in JSON"))?
            .into(),
        Value::Array(items) => items.iter().map(json).collect::<Result<Vec<_>, _>>()?.into(),
        Value::Table(table) => table
            .iter()
            .map(|(key, value)| Ok((key.clone(), json(value)?)))
            .collect::<Result<Map<_, _>, String>>()?
            .into(),
    })
}
