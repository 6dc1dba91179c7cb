//! The parsed directory file, with hash tables for every kind of question.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::path::Path;

use toml::Value;

use super::{Endpoint, Entry, Home, Target};
use crate::address_rewrites::{AddressRewrites, RewriteSide};
use crate::scram_verifier::ScramVerifier;
use crate::stored_password::StoredPassword;
use host_config::toml_reader::{self, Problem, Problems, TableReader};
use host_mail::{Mailbox, canonical_domain};

/// Longest account name, in bytes.
const MAX_NAME: usize = 64;

/// Content of a version of the directory file.
#[derive(Debug, Default)]
pub(super) struct DirectoryTable {
    domains: HashSet<String>,
    pub(super) accounts: HashMap<String, Account>,
    addresses: HashMap<String, Vec<Entry>>,
    /// Delimiters between the user and the tag of a sub-address (RFC 5233).
    delimiters: Vec<char>,
    /// Domain whose addresses an alias domain has, by the alias domain.
    alias_domains: HashMap<String, String>,
    /// Addresses that get the mail for unknown addresses, by domain.
    catch_all: HashMap<String, Vec<Mailbox>>,
    rewrites: AddressRewrites,
    /// True if each account with a password, at least one, has a verifier of SCRAM-SHA-256.
    pub(super) scram_for_all: bool,
}

/// An account of the directory.
#[derive(Debug)]
pub(super) struct Account {
    /// Verifiers of the password; an account without any cannot log in by password.
    pub(super) passwords: Passwords,
    pub(super) addresses: Vec<Mailbox>,
    pub(super) home: Home,
    send_as: HashSet<String>,
    send_as_domains: HashSet<String>,
}

/// Verifiers of an account's password.
#[derive(Debug, Default)]
pub(super) struct Passwords {
    /// Entry that a password is checked against; valid for [`StoredPassword::parse`].
    pub(super) hash: Option<String>,
    /// Verifier of SCRAM-SHA-256.
    pub(super) scram: Option<ScramVerifier>,
}

/// An entry of `send-as`.
enum SendAs {
    Address(Mailbox),
    Domain(String),
}

impl DirectoryTable {
    /// Parses the text of a directory file. `mailboxes` is the folder of the Maildirs of accounts with the home `here`.
    pub(super) fn parse(text: &str, mailboxes: &Path) -> Result<Self, Vec<Problem>> {
        let document = toml_reader::parse(text).map_err(|problem| vec![problem])?;
        let problems = Problems::default();
        let mut table = Self::default();
        {
            let mut root = TableReader::new(&document, &problems);
            table.domains = root.list("domains", domain).into_iter().collect();
            if document
                .get("domains")
                .and_then(Value::as_array)
                .is_none_or(Vec::is_empty)
            {
                root.problem(
                    "domains",
                    "at least one domain is needed, such as domains = [\"example.org\"]",
                );
            }
            table.delimiters = root.optional("sub-address-delimiters", delimiters).unwrap_or(vec!['+']);
            for alias_domain in root.tables("alias-domain") {
                table.read_alias_domain(alias_domain);
            }
            for catch_all in root.tables("catch-all") {
                table.read_catch_all(catch_all);
            }
            for rewrite in root.tables("rewrite") {
                table.rewrites.read(rewrite);
            }
            for account in root.tables("account") {
                table.read_account(account, mailboxes);
            }
            for alias in root.tables("alias") {
                table.read_list(alias, "to", Target::Alias);
            }
            for group in root.tables("group") {
                table.read_list(group, "members", Target::Group);
            }
        }
        let passwords = table.accounts.values().map(|account| &account.passwords);
        let mut with_password = passwords.filter(|passwords| passwords.hash.is_some()).peekable();
        table.scram_for_all =
            with_password.peek().is_some() && with_password.all(|passwords| passwords.scram.is_some());
        let problems = problems.into_inner();
        if problems.is_empty() { Ok(table) } else { Err(problems) }
    }

    fn read_account(&mut self, mut reader: TableReader<'_>, mailboxes: &Path) {
        let name = reader.required("name", account_name);
        let passwords = reader.optional("password", passwords).unwrap_or_default();
        let addresses = reader.list("addresses", toml_reader::parsed::<Mailbox>);
        self.check_local(&reader, "addresses", &addresses);
        let send_as = reader.list("send-as", send_as);
        let home = reader.optional("home", home).flatten();
        let Some(name) = name else {
            return;
        };
        if self.accounts.contains_key(&name) {
            reader.problem("name", format!("there is an account {name:?} already"));
            return;
        }
        let home = home.unwrap_or_else(|| Home::Maildir(mailboxes.join(&name)));
        for address in &addresses {
            self.add(Entry {
                address: address.clone(),
                target: Target::Account {
                    account: name.clone(),
                    home: home.clone(),
                },
            });
        }
        let mut account = Account {
            passwords,
            addresses,
            home,
            send_as: HashSet::new(),
            send_as_domains: HashSet::new(),
        };
        for entry in send_as {
            match entry {
                SendAs::Address(address) => account.send_as.insert(key(&address)),
                SendAs::Domain(domain) => account.send_as_domains.insert(domain),
            };
        }
        self.accounts.insert(name, account);
    }

    /// Reads an alias domain: a further name of a domain. It must not be in `domains`, and its target must.
    fn read_alias_domain(&mut self, mut reader: TableReader<'_>) {
        let name = reader.required("domain", domain);
        let of = reader.required("of", domain);
        let (Some(name), Some(of)) = (name, of) else { return };
        if !self.domains.contains(&of) {
            reader.problem("of", format!("{of:?} is not in domains"));
        } else if self.domains.contains(&name) {
            reader.problem(
                "domain",
                format!("{name:?} is in domains already: leave it in one place"),
            );
        } else if self.alias_domains.insert(name.clone(), of).is_some() {
            reader.problem("domain", format!("there is an alias domain {name:?} already"));
        }
    }

    fn read_catch_all(&mut self, mut reader: TableReader<'_>) {
        let name = reader.required("domain", domain);
        let to = reader.list("to", toml_reader::parsed::<Mailbox>);
        if to.is_empty() {
            reader.problem("to", "is missing: a list of addresses");
        }
        let Some(name) = name else { return };
        if !self.domains.contains(&name) {
            reader.problem("domain", format!("{name:?} is not in domains"));
        } else if self.catch_all.insert(name.clone(), to).is_some() {
            reader.problem("domain", format!("there is a catch-all of {name:?} already"));
        }
    }

    /// Reads an alias or a group, whose addresses stand under the key `list`.
    fn read_list(&mut self, mut reader: TableReader<'_>, list: &'static str, target: fn(Vec<Mailbox>) -> Target) {
        let address = reader.required("address", toml_reader::parsed::<Mailbox>);
        if let Some(address) = &address {
            self.check_local(&reader, "address", std::slice::from_ref(address));
        }
        let others = reader.list(list, toml_reader::parsed::<Mailbox>);
        if others.is_empty() && !reader.has(list) {
            reader.problem(list, "is missing: a list of addresses");
        }
        if let Some(address) = address {
            self.add(Entry {
                address,
                target: target(others),
            });
        }
    }

    fn check_local(&self, reader: &TableReader<'_>, key: &str, addresses: &[Mailbox]) {
        for address in addresses
            .iter()
            .filter(|address| !self.domains.contains(address.domain()))
        {
            reader.problem(key, format!("{address}: {:?} is not in domains", address.domain()));
        }
    }

    /// Adds an entry unless the address has the same meaning already.
    fn add(&mut self, entry: Entry) {
        let entries = self.addresses.entry(key(&entry.address)).or_default();
        if !entries.iter().any(|known| known.target == entry.target) {
            entries.push(entry);
        }
    }

    /// Returns every meaning that is listed for an address: for the address itself; else for the address without its tag
    /// (RFC 5233), the shortest tag first; else for the same address at the domain of an alias domain.
    pub(super) fn lookup(&self, address: &Mailbox) -> &[Entry] {
        let key = key(address);
        if let Some(found) = self.listed(&key) {
            return found;
        }
        let at_target = || {
            let (local, domain) = key.rsplit_once('@')?;
            self.listed(&format!("{local}@{}", self.alias_domains.get(domain)?))
        };
        at_target().unwrap_or_default()
    }

    /// Returns the entries of a key, or of the key without its tag.
    fn listed(&self, key: &str) -> Option<&[Entry]> {
        let found = self.addresses.get(key);
        let found = found.or_else(|| self.keys_without_tag(key).find_map(|key| self.addresses.get(&key)));
        found.map(Vec::as_slice)
    }

    /// Returns the keys of the address without its tag, the shortest tag first: `a-b@domain` and `a@domain` for
    /// `a-b-c@domain`, if the hyphen is a delimiter.
    fn keys_without_tag(&self, key: &str) -> impl Iterator<Item = String> {
        let (local, domain) = key.rsplit_once('@').unwrap_or_default();
        let is_quoted = local.starts_with('"');
        let ends = local
            .char_indices()
            .rev()
            .filter(|(at, c)| *at > 0 && self.delimiters.contains(c));
        let ends: Vec<usize> = ends.filter(|_| !is_quoted).map(|(at, _)| at).collect();
        ends.into_iter().map(move |at| format!("{}@{domain}", &local[..at]))
    }

    /// Returns the meaning that a rule gives to an address that is not listed, with the name of the rule: a rewriting of
    /// recipients, else the catch-all of the domain.
    pub(super) fn by_rule(&self, address: &Mailbox) -> Option<(String, Entry)> {
        let entry = |to: Vec<Mailbox>| Entry {
            address: address.clone(),
            target: Target::Alias(to),
        };
        if let Some((index, to)) = self.rewrites.apply(RewriteSide::Recipient, address) {
            return Some((format!("rewrite[{index}]"), entry(vec![to])));
        }
        let domain = address.domain();
        let domain = self.alias_domains.get(domain).map_or(domain, String::as_str);
        let to = self.catch_all.get(domain)?;
        Some((format!("catch-all of {domain}"), entry(to.clone())))
    }

    /// Returns the domain that an alias domain stands for.
    pub(super) fn alias_domain_of(&self, domain: &str) -> Option<&str> {
        self.alias_domains.get(domain).map(String::as_str)
    }

    /// Returns the address that takes the place of a reverse-path.
    pub(super) fn rewritten_sender(&self, sender: &Mailbox) -> Option<Mailbox> {
        self.rewrites.apply(RewriteSide::Sender, sender).map(|(_, to)| to)
    }

    /// Returns every meaning that is listed for exactly this address, in any spelling.
    pub(super) fn exact(&self, address: &Mailbox) -> &[Entry] {
        self.addresses.get(&key(address)).map_or(&[], Vec::as_slice)
    }

    /// Returns the addresses that an alias or group stands for.
    pub(super) fn members(&self, address: &Mailbox) -> impl Iterator<Item = &Mailbox> {
        self.lookup(address).iter().flat_map(|entry| match &entry.target {
            Target::Alias(members) | Target::Group(members) => members.as_slice(),
            Target::Account { .. } => &[],
        })
    }

    /// True if the account owns the address or has the right to send as the address.
    pub(super) fn may_send_as(&self, account: &str, address: &Mailbox) -> bool {
        let owns = |entry: &Entry| matches!(&entry.target, Target::Account { account: owner, .. } if owner == account);
        let Some(granted) = self.accounts.get(account) else {
            return false;
        };
        self.lookup(address).iter().any(owns)
            || granted.send_as.contains(&key(address))
            || self
                .keys_without_tag(&key(address))
                .any(|key| granted.send_as.contains(&key))
            || granted.send_as_domains.contains(address.domain())
    }

    /// True if the address is a member of the group, directly or through nested groups of any depth. An account is a
    /// member by each of the account's addresses. Every group is visited at most once, so that cyclic groups terminate.
    pub(super) fn is_member(&self, group: &Mailbox, address: &Mailbox) -> bool {
        let same = self.equivalent_keys(address);
        let mut seen = HashSet::from([key(group)]);
        let mut groups = vec![group];
        while let Some(group) = groups.pop() {
            for member in members(self.lookup(group)) {
                if same.contains(&key(member)) {
                    return true;
                }
                if members(self.lookup(member)).next().is_some() && seen.insert(key(member)) {
                    groups.push(member);
                }
            }
        }
        false
    }

    /// Returns the keys of the address with and without the tag, and of all addresses of the same account.
    fn equivalent_keys(&self, address: &Mailbox) -> HashSet<String> {
        let mut same = HashSet::from([key(address)]);
        same.extend(self.keys_without_tag(&key(address)));
        for entry in self.lookup(address) {
            if let Target::Account { account, .. } = &entry.target
                && let Some(account) = self.accounts.get(account)
            {
                same.extend(account.addresses.iter().map(key));
            }
        }
        same
    }

    pub(super) fn is_local_domain(&self, domain: &str) -> bool {
        self.domains.contains(domain) || self.alias_domains.contains_key(domain)
    }

    /// Finds the account for a login: `user` is the name of the account or an unambiguous address of the account.
    pub(super) fn account_of(&self, user: &str) -> Option<(String, &Account)> {
        let name = user.to_lowercase();
        if let Some(account) = self.accounts.get(&name) {
            return Some((name, account));
        }
        let address: Mailbox = user.parse().ok()?;
        // The name of an account can be an address; the login may spell the domain otherwise.
        let name = address.key();
        if let Some(account) = self.accounts.get(&name) {
            return Some((name, account));
        }
        match self.addresses.get(&key(&address))?.as_slice() {
            [
                Entry {
                    target: Target::Account { account, .. },
                    ..
                },
            ] => Some((account.clone(), self.accounts.get(account)?)),
            _ => None,
        }
    }

    /// Returns the ambiguous addresses in alphabetical order, each with a description of every meaning.
    pub(super) fn ambiguous(&self) -> Vec<(String, Vec<String>)> {
        let several = self.addresses.iter().filter(|(_, entries)| entries.len() > 1);
        let mut out: Vec<_> = several
            .map(|(key, entries)| (key.clone(), entries.iter().map(ToString::to_string).collect()))
            .collect();
        out.sort();
        out
    }
}

/// Returns the members of all groups in `entries`.
fn members(entries: &[Entry]) -> impl Iterator<Item = &Mailbox> {
    entries.iter().flat_map(|entry| match &entry.target {
        Target::Group(members) => members.as_slice(),
        Target::Account { .. } | Target::Alias(_) => &[],
    })
}

/// Returns the lookup key of an address: lower case, without unnecessary quotes.
pub(super) fn key(address: &Mailbox) -> String {
    let key = address.key();
    let unquoted = key
        .strip_prefix('"')
        .and_then(|rest| rest.rsplit_once("\"@"))
        .and_then(|(local, domain)| format!("{local}@{domain}").parse::<Mailbox>().ok());
    unquoted.map_or(key, |address| address.as_str().to_owned())
}

/// Reads the delimiters of sub-addresses: none, or some of `+-_.=#~`.
fn delimiters(value: &Value) -> Result<Vec<char>, String> {
    let text = toml_reader::text(value)?;
    match text.chars().find(|c| !"+-_.=#~".contains(*c)) {
        None => Ok(text.chars().collect()),
        Some(other) => Err(format!("{other:?} is no delimiter; expected some of + - _ . = # ~")),
    }
}

/// Reads an account name. The name of the account is also the name of a folder and cannot contain path separators.
fn account_name(value: &Value) -> Result<String, String> {
    let name = toml_reader::text(value)?.to_lowercase();
    let letter = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let right = name.len() <= MAX_NAME
        && name.starts_with(letter)
        && name.chars().all(|c| letter(c) || matches!(c, '.' | '_' | '-' | '@'));
    right.then_some(name).ok_or_else(|| {
        format!("expected at most {MAX_NAME} letters, digits, dots, hyphens, underscores or @, a letter or digit first")
    })
}

/// Reads the verifiers of a password: a hash, or a list of a hash and a verifier of SCRAM, in any order. A verifier of
/// SCRAM alone serves passwords as well.
fn passwords(value: &Value) -> Result<Passwords, String> {
    let texts = match value {
        Value::Array(items) => items.iter().map(toml_reader::text).collect::<Result<Vec<_>, _>>()?,
        one => vec![toml_reader::text(one)?],
    };
    let mut passwords = Passwords::default();
    let mut of_scram = None;
    for text in texts {
        let place = match StoredPassword::parse(&text)? {
            StoredPassword::Scram(verifier) => {
                if verifier.is_sha256() {
                    passwords.scram.get_or_insert(verifier);
                }
                &mut of_scram
            }
            _ => &mut passwords.hash,
        };
        if place.replace(text).is_some() {
            return Err(
                "has two hashes of one kind: expected one, and at most one verifier of SCRAM beside it".to_owned(),
            );
        }
    }
    passwords.hash = passwords.hash.or(of_scram);
    Ok(passwords)
}

fn domain(value: &Value) -> Result<String, String> {
    domain_name(&toml_reader::text(value)?)
}

fn domain_name(text: &str) -> Result<String, String> {
    canonical_domain(text)
        .map(Cow::into_owned)
        .ok_or_else(|| match text.trim_start_matches(['@', '*', '.']) {
            name if name.len() < text.len() => {
                format!("{text:?} is not a domain: write each domain alone, such as {name:?}")
            }
            _ => format!("{text:?} is not a domain"),
        })
}

fn send_as(value: &Value) -> Result<SendAs, String> {
    let text = toml_reader::text(value)?;
    match text.strip_prefix('@') {
        Some(domain) => domain_name(domain).map(SendAs::Domain),
        None => toml_reader::parsed(value).map(SendAs::Address),
    }
}

/// Reads a home. `here` is `None`: a Maildir named after the account.
fn home(value: &Value) -> Result<Option<Home>, String> {
    let text = toml_reader::text(value)?;
    let endpoint = |text: &str| text.parse::<Endpoint>();
    match text.split_once(':') {
        None if text == "here" => Ok(None),
        Some(("lmtp", to)) => endpoint(to).map(Home::Lmtp).map(Some),
        Some(("smtp", to)) => match endpoint(to)? {
            to @ Endpoint::Tcp(..) => Ok(Some(Home::Smtp(to))),
            Endpoint::Unix(_) => Err("SMTP is spoken over TCP: smtp:host:port".to_owned()),
        },
        _ => Err(format!(
            "expected \"here\", \"lmtp:host:port\", \"lmtp:/socket\" or \"smtp:host:port\", found {text:?}"
        )),
    }
}

/// Parser of the directory file, for `tests/fuzz`.
#[doc(hidden)]
pub mod fuzzing {
    use std::path::Path;

    use host_config::toml_reader::Problem;

    /// Parses a directory and asks about each of its addresses. Returns the number of accounts.
    pub fn directory(text: &str) -> Result<usize, Vec<Problem>> {
        let table = super::DirectoryTable::parse(text, Path::new("/mail"))?;
        let addresses = || table.addresses.values().flatten().map(|entry| &entry.address).take(16);
        for address in addresses() {
            assert!(!table.lookup(address).is_empty(), "{address} has no meaning");
            assert!(table.is_local_domain(address.domain()), "{address} is not local");
            for account in table.accounts.keys().take(16) {
                let _ = table.may_send_as(account, address);
            }
            for group in addresses() {
                let _ = table.is_member(group, address);
            }
        }
        for name in table.accounts.keys() {
            assert!(table.account_of(name).is_some(), "{name} is unknown");
        }
        let _ = table.ambiguous();
        Ok(table.accounts.len())
    }
}

/// Describes the meaning of an entry, for warnings.
impl std::fmt::Display for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let list = |addresses: &[Mailbox]| addresses.iter().map(Mailbox::as_str).collect::<Vec<_>>().join(" ");
        match &self.target {
            Target::Account { account, .. } => write!(f, "account {account}"),
            Target::Alias(to) => write!(f, "alias of {}", list(to)),
            Target::Group(members) => write!(f, "group of {}", list(members)),
        }
    }
}

/// Formats a home as written in the directory file; a Maildir is shown with its path.
impl std::fmt::Display for Home {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Maildir(path) => write!(f, "here ({})", path.display()),
            Self::Lmtp(to) => write!(f, "lmtp:{to}"),
            Self::Smtp(to) => write!(f, "smtp:{to}"),
        }
    }
}
