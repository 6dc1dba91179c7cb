//! `posthouse dkim`: makes, rotates and shows the keys that sign outgoing mail.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Args, Subcommand, ValueEnum};
use serde::Serialize;

use super::output::{self, line};
use super::target::ConfigFile;
use host_config::{
    AddedDkimKey, Config, DkimKey, EndedDkimKey, dkim_key_file, dkim_selector, edit_dkim_keys, give_to_service,
    read_dkim_key,
};
use host_directory::dns::Resolver;
use host_dkim::{KeyAlgorithm, SigningKey, generate_ed25519, publishes, record_name, record_text, zone_line};
use host_files::{create_whole, make_private_folder};
use host_mail::{Timestamp, canonical_domain};

/// Seconds of a day.
const DAY: u64 = 24 * 60 * 60;
/// Days for which the record of a key stays published after the key's last signature: mail waits that long in queues.
const RECORD_DAYS: u64 = 7;
/// Folder of keys, beside the configuration's file.
const FOLDER: &str = "dkim";

#[derive(Debug, Subcommand)]
pub enum DkimCommand {
    /// Make a key for a domain and add the key to the configuration
    ///
    /// Writes the key to dkim/DOMAIN.SELECTOR.pem beside the configuration's file, adds a [[dkim]] table, and prints the
    /// DNS record to publish. The daemon signs with the key after its next reload.
    ///
    /// Example: posthouse dkim new example.org --config posthouse.toml
    #[command(verbatim_doc_comment)]
    New(NewKeyArgs),
    /// List the keys, and compare them with the DNS on demand
    ///
    /// Example: posthouse dkim list --dns --config posthouse.toml
    #[command(verbatim_doc_comment)]
    List(ListKeysArgs),
    /// Make the successor of each key of a domain
    ///
    /// The successor signs from --publish-days on, when its record has reached every resolver. The old key goes on for
    /// --overlap-days more; meanwhile both sign. Prints what to publish and what to remove, and when.
    ///
    /// Example: posthouse dkim rotate example.org --config posthouse.toml
    #[command(verbatim_doc_comment)]
    Rotate(RotateKeysArgs),
    /// Print the DNS records that publish the keys, in the form of zone files
    ///
    /// Example: posthouse dkim dns example.org --config posthouse.toml
    #[command(verbatim_doc_comment)]
    Dns(KeyRecordsArgs),
}

/// Algorithm of a new key.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum AlgorithmArg {
    /// RSA, which every verifier knows
    Rsa,
    /// Ed25519, which some verifiers ignore; use it beside RSA
    Ed25519,
}

impl From<AlgorithmArg> for KeyAlgorithm {
    fn from(argument: AlgorithmArg) -> Self {
        match argument {
            AlgorithmArg::Rsa => Self::Rsa,
            AlgorithmArg::Ed25519 => Self::Ed25519,
        }
    }
}

#[derive(Debug, Args)]
pub struct NewKeyArgs {
    /// Domain whose mail the key signs
    domain: String,
    /// Name of the key in the DNS; without it the date and the algorithm
    #[arg(long)]
    selector: Option<String>,
    /// Algorithm
    #[arg(long, value_enum, default_value = "rsa")]
    algorithm: AlgorithmArg,
    /// Length of an RSA key
    #[arg(long, default_value_t = 2048, value_parser = clap::value_parser!(u16).range(2048..=4096))]
    bits: u16,
    #[command(flatten)]
    config: ConfigFile,
}

#[derive(Debug, Args)]
pub struct ListKeysArgs {
    /// Look each key up in the DNS
    #[arg(long)]
    dns: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigFile,
}

#[derive(Debug, Args)]
pub struct RotateKeysArgs {
    /// Domain whose keys get successors
    domain: String,
    /// Days until the successor signs
    #[arg(long, value_name = "DAYS", default_value_t = 2, value_parser = clap::value_parser!(u64).range(0..=365))]
    publish_days: u64,
    /// Days for which both keys sign
    #[arg(long, value_name = "DAYS", default_value_t = 7, value_parser = clap::value_parser!(u64).range(1..=365))]
    overlap_days: u64,
    #[command(flatten)]
    config: ConfigFile,
}

#[derive(Debug, Args)]
pub struct KeyRecordsArgs {
    /// Domain; without it the records of all domains
    domain: Option<String>,
    #[command(flatten)]
    config: ConfigFile,
}

pub async fn run(command: DkimCommand) -> anyhow::Result<ExitCode> {
    match command {
        DkimCommand::New(options) => new(&options)?,
        DkimCommand::List(options) => list(&options).await?,
        DkimCommand::Rotate(options) => rotate(&options)?,
        DkimCommand::Dns(options) => dns(&options)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn new(options: &NewKeyArgs) -> anyhow::Result<()> {
    let (file, config) = load(&options.config)?;
    let domain = domain(&options.domain)?;
    let algorithm = options.algorithm.into();
    let taken = selectors(&config, &domain);
    let selector = match &options.selector {
        Some(selector) => dkim_selector(selector)
            .with_context(|| format!("{selector:?} is not a selector: letters, digits, hyphens and dots"))?,
        None => free_selector(&taken, algorithm),
    };
    if taken.contains(&selector) {
        bail!("there is a key {selector:?} of {domain} already");
    }
    let made = MadeKey::make(&config, &file, (&domain, &selector), (algorithm, options.bits.into()))?;
    let made = keep(&file, vec![made], None, &[])?;
    for key in &made {
        line(format!(
            "made {} and added it to {}",
            key.path.display(),
            file.display()
        ))?;
        line("\nPublish this record, then run posthouse reload:\n")?;
        line(&key.record)?;
    }
    Ok(())
}

fn rotate(options: &RotateKeysArgs) -> anyhow::Result<()> {
    let (file, config) = load(&options.config)?;
    let domain = domain(&options.domain)?;
    let now = Timestamp::now();
    let in_force = config
        .dkim
        .iter()
        .filter(|key| key.domain == domain && !has_ended(key, now));
    let in_force: Vec<&DkimKey> = in_force.collect();
    if in_force.is_empty() {
        bail!("{domain} has no key to rotate: make one with posthouse dkim new {domain}");
    }
    if let Some((key, end)) = in_force.iter().find_map(|key| Some((key, key.not_after?))) {
        bail!("a rotation is under way: {} signs until {}", key.selector, day(end));
    }
    let days = |from: Timestamp, days: u64| from.after(Duration::from_secs(days * DAY));
    let start = days(now, options.publish_days);
    let end = days(start, options.overlap_days);
    let (mut taken, mut made, mut ended) = (selectors(&config, &domain), Vec::new(), Vec::new());
    for key in &in_force {
        let old = read_dkim_key(key).map_err(anyhow::Error::msg)?;
        let selector = free_selector(&taken, old.algorithm());
        made.push(MadeKey::make(
            &config,
            &file,
            (&domain, &selector),
            (old.algorithm(), old.bits()),
        )?);
        taken.push(selector);
        ended.push(EndedDkimKey {
            domain: domain.clone(),
            selector: key.selector.clone(),
            not_after: end,
        });
    }
    let made = keep(&file, made, Some(start), &ended)?;
    for (old, new) in in_force.iter().zip(&made) {
        line(format!(
            "made {}, the successor of {}",
            new.path.display(),
            old.selector
        ))?;
    }
    line("\nPublish now, then run posthouse reload:\n")?;
    for new in &made {
        line(&new.record)?;
    }
    line("")?;
    for (old, new) in in_force.iter().zip(&made) {
        let (old_name, removal) = (record_name(&old.selector, &domain), days(end, RECORD_DAYS));
        line(format!(
            "{}  {} begins to sign, beside {}",
            day(start),
            new.selector,
            old.selector
        ))?;
        line(format!("{}  {} signs no more", day(end), old.selector))?;
        line(format!(
            "{}  remove the record {old_name}, its table [[dkim]], and {}",
            day(removal),
            old.key.display()
        ))?;
    }
    Ok(())
}

fn dns(options: &KeyRecordsArgs) -> anyhow::Result<()> {
    let config = options.config.load()?;
    let only = options.domain.as_deref().map(domain).transpose()?;
    let keys: Vec<&DkimKey> = config
        .dkim
        .iter()
        .filter(|key| only.as_ref().is_none_or(|only| key.domain == *only))
        .collect();
    if keys.is_empty() {
        bail!("there is no key: make one with posthouse dkim new DOMAIN");
    }
    for key in keys {
        let name = record_name(&key.selector, &key.domain);
        line(zone_line(
            &name,
            &record_text(&read_dkim_key(key).map_err(anyhow::Error::msg)?),
        ))?;
    }
    Ok(())
}

/// A key as listed.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct ListedKey {
    domain: String,
    selector: String,
    /// Algorithm and bits, or the problem of the file.
    key: String,
    /// `signs`, `waits`, `ended`, or `unusable`.
    state: &'static str,
    not_before: Option<String>,
    not_after: Option<String>,
    file: PathBuf,
    /// `published`, `missing`, `other key`, or the failure of the look-up; absent without a look-up.
    #[serde(skip_serializing_if = "Option::is_none")]
    dns: Option<String>,
}

async fn list(options: &ListKeysArgs) -> anyhow::Result<()> {
    let config = options.config.load()?;
    let resolver = options.dns.then(|| Resolver::new(config.dns.clone()));
    let now = Timestamp::now();
    let mut keys = Vec::new();
    for key in &config.dkim {
        let read = read_dkim_key(key);
        let dns = match (&resolver, &read) {
            (Some(resolver), Ok(signing)) => Some(published(resolver, key, signing).await),
            _ => None,
        };
        keys.push(ListedKey {
            domain: key.domain.clone(),
            selector: key.selector.clone(),
            state: match &read {
                Err(_) => "unusable",
                Ok(_) if has_ended(key, now) => "ended",
                Ok(_) if key.not_before.is_some_and(|start| now < start) => "waits",
                Ok(_) => "signs",
            },
            key: read.map_or_else(
                |problem| problem,
                |key| format!("{} {}", key.algorithm().name(), key.bits()),
            ),
            not_before: key.not_before.map(|time| time.to_string()),
            not_after: key.not_after.map(|time| time.to_string()),
            file: key.key.clone(),
            dns,
        });
    }
    if options.json {
        return output::json(&keys);
    }
    let mut titles = vec!["DOMAIN", "SELECTOR", "STATE", "KEY", "FROM", "UNTIL"];
    titles.extend(options.dns.then_some("DNS"));
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let rows = keys.into_iter().map(|key| {
        let mut row = vec![key.domain, key.selector, key.state.to_owned(), key.key];
        row.extend([or_dash(key.not_before), or_dash(key.not_after)]);
        if options.dns {
            row.push(or_dash(key.dns));
        }
        row
    });
    Ok(output::table(&titles, &rows.collect::<Vec<_>>())?)
}

/// Compares the published record with the key.
async fn published(resolver: &Resolver, key: &DkimKey, signing: &SigningKey) -> String {
    match resolver.texts(&record_name(&key.selector, &key.domain)).await {
        Ok(records) if records.iter().any(|record| publishes(record, signing)) => "published".to_owned(),
        Ok(records) if records.is_empty() => "missing".to_owned(),
        Ok(_) => "other key".to_owned(),
        Err(error) => error.to_string(),
    }
}

/// A key whose file is written. The file is removed again when the key is dropped before it is in the configuration.
struct MadeKey {
    domain: String,
    selector: String,
    path: PathBuf,
    /// Line that publishes the key.
    record: String,
    is_kept: bool,
}

impl Drop for MadeKey {
    fn drop(&mut self) {
        if !self.is_kept {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

impl MadeKey {
    fn make(
        config: &Config,
        file: &Path,
        (domain, selector): (&str, &str),
        (algorithm, bits): (KeyAlgorithm, usize),
    ) -> anyhow::Result<Self> {
        let folder = file.parent().unwrap_or(Path::new("/")).join(FOLDER);
        let path = folder.join(key_file(domain, selector));
        let pem = generate_key(algorithm, bits)?;
        let key = SigningKey::from_pem(pem.as_bytes())?;
        make_private_folder(&folder).with_context(|| folder.display().to_string())?;
        create_whole(&path, dkim_key_file(selector, domain, &pem).as_bytes())
            .with_context(|| path.display().to_string())?;
        let made = Self {
            domain: domain.to_owned(),
            selector: selector.to_owned(),
            record: zone_line(&record_name(selector, domain), &record_text(&key)),
            path,
            is_kept: false,
        };
        for path in [&folder, &made.path] {
            give_to_service(config, path).with_context(|| path.display().to_string())?;
        }
        Ok(made)
    }
}

/// Makes a private key in PEM. An RSA key is made by openssl, as the library that signs makes none.
fn generate_key(algorithm: KeyAlgorithm, bits: usize) -> anyhow::Result<String> {
    if algorithm == KeyAlgorithm::Ed25519 {
        return Ok(generate_ed25519()?);
    }
    let length = format!("rsa_keygen_bits:{bits}");
    let made = Command::new("openssl")
        .args(["genpkey", "-algorithm", "RSA", "-pkeyopt", &length])
        .output()
        .context("openssl, which makes RSA keys, cannot be run: install it, or use --algorithm ed25519")?;
    if !made.status.success() {
        bail!("openssl makes no key: {}", String::from_utf8_lossy(&made.stderr).trim());
    }
    String::from_utf8(made.stdout).context("openssl")
}

/// Adds keys to the configuration, together with the ends of others.
fn keep(
    file: &Path,
    mut made: Vec<MadeKey>,
    not_before: Option<Timestamp>,
    ended: &[EndedDkimKey],
) -> anyhow::Result<Vec<MadeKey>> {
    let added = made.iter().map(|key| AddedDkimKey {
        domain: key.domain.clone(),
        selector: key.selector.clone(),
        key: Path::new(FOLDER).join(key_file(&key.domain, &key.selector)),
        not_before,
    });
    edit_dkim_keys(file, &added.collect::<Vec<_>>(), ended)
        .with_context(|| format!("{} is unchanged", file.display()))?;
    made.iter_mut().for_each(|key| key.is_kept = true);
    Ok(made)
}

fn key_file(domain: &str, selector: &str) -> String {
    format!("{domain}.{selector}.pem")
}

/// Loads the configuration, which must be a file.
fn load(config: &ConfigFile) -> anyhow::Result<(PathBuf, Config)> {
    let config = config.load()?;
    match config.file.clone() {
        Some(file) => Ok((file, config)),
        None => bail!("name the configuration's file with --config: the key is added to it"),
    }
}

fn domain(text: &str) -> anyhow::Result<String> {
    let name = canonical_domain(text).filter(|name| !name.starts_with('['));
    name.map(|name| name.into_owned())
        .with_context(|| format!("{text:?} is not a domain name"))
}

/// Returns the selectors of a domain.
fn selectors(config: &Config, domain: &str) -> Vec<String> {
    let keys = config.dkim.iter().filter(|key| key.domain == domain);
    keys.map(|key| key.selector.clone()).collect()
}

fn has_ended(key: &DkimKey, now: Timestamp) -> bool {
    key.not_after.is_some_and(|end| now >= end)
}

/// Returns a selector of today's date and the algorithm that is not taken, such as `20261201-rsa`.
fn free_selector(taken: &[String], algorithm: KeyAlgorithm) -> String {
    let today = day(Timestamp::now()).replace('-', "");
    let base = format!("{today}-{}", algorithm.name());
    let numbered = (2..).map(|number| format!("{base}-{number}"));
    let mut names = std::iter::once(base.clone()).chain(numbered);
    names.find(|name| !taken.contains(name)).unwrap_or(base)
}

/// Returns the date of a time in UTC, such as `2026-12-01`.
fn day(time: Timestamp) -> String {
    time.to_string().chars().take(10).collect()
}
