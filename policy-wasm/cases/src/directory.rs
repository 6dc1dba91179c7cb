//! Who is who, in a case. It answers as the host's directory does.

use std::collections::BTreeSet;

use serde::Deserialize;

/// The directory of a file of cases, written as `directory.toml` is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Directory {
    /// Local domains; none: those of the addresses below.
    pub domains: Option<Vec<String>>,
    /// Accounts.
    #[serde(rename = "account")]
    pub accounts: Vec<Account>,
    /// Aliases.
    #[serde(rename = "alias")]
    pub aliases: Vec<Alias>,
    /// Groups.
    #[serde(rename = "group")]
    pub groups: Vec<Group>,
}

/// Somebody who can log in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Account {
    /// In lower case.
    pub name: String,
    /// Of the account itself.
    pub addresses: Vec<String>,
    /// Beside its own: addresses and `@domain`s.
    pub send_as: Vec<String>,
    /// `here`, or where the mailbox is.
    pub home: Option<String>,
}

/// Another name of an address.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Alias {
    /// The name.
    pub address: String,
    /// What it stands for.
    pub to: Vec<String>,
}

/// Several addresses under one.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// The one.
    pub address: String,
    /// The several.
    pub members: Vec<String>,
}

/// One meaning of an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The account that owns it.
    pub account: Option<String>,
    /// As the directory has it.
    pub address: String,
    /// Another host; none is here.
    pub elsewhere: Option<String>,
    /// `account`, `alias` or `group`.
    pub kind: &'static str,
}

fn same(one: &str, other: &str) -> bool {
    one.to_lowercase() == other.to_lowercase()
}

/// `user+tag@domain` is filed as `user@domain` (RFC 5233).
fn without_tag(address: &str) -> Option<String> {
    let (local, domain) = address.rsplit_once('@')?;
    let (user, _tag) = local.split_once('+')?;
    (!user.is_empty() && !user.starts_with('"')).then(|| format!("{user}@{domain}"))
}

impl Directory {
    fn entries(&self) -> impl Iterator<Item = Entry> + '_ {
        let accounts = self.accounts.iter().flat_map(|account| {
            account.addresses.iter().map(|address| Entry {
                account: Some(account.name.clone()),
                address: address.clone(),
                elsewhere: account.home.clone().filter(|home| home != "here"),
                kind: "account",
            })
        });
        let list = |address: &String, kind| Entry {
            account: None,
            address: address.clone(),
            elsewhere: None,
            kind,
        };
        let aliases = self.aliases.iter().map(move |alias| list(&alias.address, "alias"));
        let groups = self.groups.iter().map(move |group| list(&group.address, "group"));
        accounts.chain(aliases).chain(groups)
    }

    /// Every meaning of an address; if there is none, of the address without its `+tag`.
    pub fn lookup(&self, address: &str) -> Vec<Entry> {
        let of =
            |address: &str| -> Vec<Entry> { self.entries().filter(|entry| same(&entry.address, address)).collect() };
        let found = of(address);
        if found.is_empty() {
            return without_tag(address).map(|plain| of(&plain)).unwrap_or_default();
        }
        found
    }

    /// Whether the account owns the address or may send as it.
    pub fn may_send_as(&self, account: &str, address: &str) -> bool {
        let Some(of) = self.accounts.iter().find(|known| known.name == account) else {
            return false;
        };
        let Some((_, domain)) = address.rsplit_once('@') else {
            return false;
        };
        let plain = without_tag(address);
        self.lookup(address)
            .iter()
            .any(|entry| entry.account.as_deref() == Some(account))
            || of.send_as.iter().any(|allowed| match allowed.strip_prefix('@') {
                Some(allowed) => same(allowed, domain),
                None => same(allowed, address) || plain.as_deref().is_some_and(|plain| same(allowed, plain)),
            })
    }

    /// Whether mail for the domain is for this host.
    pub fn is_local_domain(&self, domain: &str) -> bool {
        match &self.domains {
            Some(domains) => domains.iter().any(|local| same(local, domain)),
            None => self.entries().any(|entry| {
                entry
                    .address
                    .rsplit_once('@')
                    .is_some_and(|(_, local)| same(local, domain))
            }),
        }
    }

    /// Whether the address is a member of the group, directly or through groups and aliases in it.
    pub fn is_member(&self, group: &str, address: &str) -> bool {
        let plain = without_tag(address);
        let is_meant =
            |member: &str| same(member, address) || plain.as_deref().is_some_and(|plain| same(member, plain));
        let mut seen = BTreeSet::new();
        let mut open = vec![group.to_lowercase()];
        while let Some(list) = open.pop() {
            if !seen.insert(list.clone()) {
                continue;
            }
            let is_start = seen.len() == 1;
            let groups = self
                .groups
                .iter()
                .filter(|of| same(&of.address, &list))
                .map(|of| &of.members);
            let aliases = self
                .aliases
                .iter()
                .filter(|of| !is_start && same(&of.address, &list))
                .map(|of| &of.to);
            for member in groups.chain(aliases).flatten() {
                if is_meant(member) {
                    return true;
                }
                open.push(member.to_lowercase());
            }
        }
        false
    }
}
