//! Directory of a case file, which gives the same answers as the host's directory.

use std::collections::BTreeSet;

use serde::Deserialize;

/// The directory of a file of cases, written as `directory.toml` is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Directory {
    /// Local domains; `None` for the domains of all addresses in this directory.
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

/// An account that can authenticate.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Account {
    /// The account's name in lower case.
    pub name: String,
    /// Addresses of the account.
    pub addresses: Vec<String>,
    /// Further addresses and `@domain`s that the account may send as.
    pub send_as: Vec<String>,
    /// `here`, or the host that has the mailbox.
    pub home: Option<String>,
}

/// An alias of addresses.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Alias {
    /// The alias address.
    pub address: String,
    /// The target addresses.
    pub to: Vec<String>,
}

/// A group of addresses.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// The group's address.
    pub address: String,
    /// Addresses of the members.
    pub members: Vec<String>,
}

/// A meaning of an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The account that owns the address; `None` for groups and aliases.
    pub account: Option<String>,
    /// The address as written in the directory.
    pub address: String,
    /// The host that has the mailbox; `None` for a mailbox on this host.
    pub elsewhere: Option<String>,
    /// `account`, `alias` or `group`.
    pub kind: &'static str,
}

fn eq_ignoring_case(left: &str, right: &str) -> bool {
    left.to_lowercase() == right.to_lowercase()
}

/// Returns `user@domain` for `user+tag@domain` (RFC 5233); `None` for an address without a tag.
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

    /// Returns every meaning of an address; if there is none, every meaning of the address without `+tag`.
    pub fn lookup(&self, address: &str) -> Vec<Entry> {
        let of = |address: &str| -> Vec<Entry> {
            self.entries()
                .filter(|entry| eq_ignoring_case(&entry.address, address))
                .collect()
        };
        let found = of(address);
        if found.is_empty() {
            return without_tag(address).map(|plain| of(&plain)).unwrap_or_default();
        }
        found
    }

    /// True if the account owns the address or may send as the address.
    pub fn may_send_as(&self, account: &str, address: &str) -> bool {
        let Some(owner) = self.accounts.iter().find(|known| known.name == account) else {
            return false;
        };
        let Some((_, domain)) = address.rsplit_once('@') else {
            return false;
        };
        let plain = without_tag(address);
        self.lookup(address)
            .iter()
            .any(|entry| entry.account.as_deref() == Some(account))
            || owner.send_as.iter().any(|allowed| match allowed.strip_prefix('@') {
                Some(allowed) => eq_ignoring_case(allowed, domain),
                None => {
                    eq_ignoring_case(allowed, address)
                        || plain.as_deref().is_some_and(|plain| eq_ignoring_case(allowed, plain))
                }
            })
    }

    /// True if the domain is local.
    pub fn is_local_domain(&self, domain: &str) -> bool {
        match &self.domains {
            Some(domains) => domains.iter().any(|local| eq_ignoring_case(local, domain)),
            None => self.entries().any(|entry| {
                entry
                    .address
                    .rsplit_once('@')
                    .is_some_and(|(_, local)| eq_ignoring_case(local, domain))
            }),
        }
    }

    /// True if the address is a member of the group, directly or through nested groups and aliases.
    pub fn is_member(&self, group: &str, address: &str) -> bool {
        let plain = without_tag(address);
        let matches = |member: &str| {
            eq_ignoring_case(member, address) || plain.as_deref().is_some_and(|plain| eq_ignoring_case(member, plain))
        };
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
                .filter(|of| eq_ignoring_case(&of.address, &list))
                .map(|of| &of.members);
            let aliases = self
                .aliases
                .iter()
                .filter(|of| !is_start && eq_ignoring_case(&of.address, &list))
                .map(|of| &of.to);
            for member in groups.chain(aliases).flatten() {
                if matches(member) {
                    return true;
                }
                open.push(member.to_lowercase());
            }
        }
        false
    }
}
