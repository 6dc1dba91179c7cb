//! Reads the text of a file into a [`Config`]: one function for each table of the file. Listeners, policies
//! and delivery have files of their own.

use std::net::SocketAddr;
use std::path::Path;

use super::defaults::data_folder;
use super::{
    Config, ConfigError, DecisionLogConfig, DnsConfig, Limits, LoginLimits, OverloadConfig, Problem, SpoolDamage,
    SrsConfig, SubmissionConfig, Timeouts, TlsFiles,
};
use crate::key_lines::add_lines;
use crate::read_delivery::read_delivery;
use crate::read_dkim::read_dkim;
use crate::read_listeners::read_listeners;
use crate::read_policies::{read_faults, read_policies, read_policy_engine};
use crate::toml_reader::{self, Problems, TableReader, boolean, choice, count, duration, parsed, size, text};
use crate::values::{at_least, at_most, host_name, path};
use host_events::Format;
use host_mail::Mailbox;

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
        config.listeners = read_listeners(&mut root, base);
    }
    if root.has("tls") {
        (config.tls, config.more_tls) = read_tls(root.table("tls"), base);
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
    if root.has("srs") {
        config.srs = read_srs(root.table("srs"), base);
    }
    config.submission = read_submission(root.table("submission"), config.submission);
    config.dkim = read_dkim(&mut root, base);
    config.delivery = read_delivery(root.table("delivery"), base, &config.listeners, config.delivery);
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

/// Reads the default certificate and the additional ones.
fn read_tls(mut reader: TableReader<'_>, base: &Path) -> (Option<TlsFiles>, Vec<TlsFiles>) {
    let additional = reader.tables("additional").into_iter();
    let additional = additional.filter_map(|reader| read_tls_files(reader, base)).collect();
    (read_tls_files(reader, base), additional)
}

fn read_tls_files(mut reader: TableReader<'_>, base: &Path) -> Option<TlsFiles> {
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

fn read_decisions(mut reader: TableReader<'_>, default: DecisionLogConfig) -> DecisionLogConfig {
    DecisionLogConfig {
        size: reader.or("size", default.size, size),
        age: reader.or("age", default.age, duration),
        body: reader.or("body", default.body, |value| {
            size(value).and_then(|bytes| at_most(MAX_RECORDED_BODY, bytes))
        }),
    }
}

fn read_srs(mut reader: TableReader<'_>, base: &Path) -> Option<SrsConfig> {
    let domain = reader.required("domain", host_name);
    let secret_file = reader.required("secret-file", path(base));
    Some(SrsConfig {
        domain: domain?,
        secret_file: secret_file?,
    })
}

fn read_submission(mut reader: TableReader<'_>, default: SubmissionConfig) -> SubmissionConfig {
    SubmissionConfig {
        complete: reader.or("complete", default.complete, boolean),
        add_from: reader.or("add-from", default.add_from, boolean),
        refuse_bare: reader.or("refuse-bare", default.refuse_bare, boolean),
    }
}

fn read_dns(mut reader: TableReader<'_>, default: DnsConfig) -> DnsConfig {
    DnsConfig {
        servers: reader.list("servers", parsed::<SocketAddr>),
        timeout: reader.or("timeout", default.timeout, duration),
        cache_size: reader.or("cache-size", default.cache_size, count(0..=1_000_000)),
        dnssec_probe: reader.or("dnssec-probe", default.dnssec_probe, |value| {
            match text(value)?.as_str() {
                "." => Ok(".".to_owned()),
                _ => host_name(value),
            }
        }),
    }
}
