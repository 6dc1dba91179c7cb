//! Warnings about a directory file: entries that are valid and can never work, such as aliases that lead back to
//! themselves.

use std::collections::{HashMap, HashSet};

use toml::Table;

use super::{Endpoint, Home, MAX_ALIAS_ADDRESSES, MAX_ALIAS_DEPTH, Target};
use crate::directory_table::{DirectoryTable, key};
use crate::stored_password::StoredPassword;
use host_config::toml_reader::Problem;
use host_config::{Config, HopProtocol, hop_warning};
use host_mail::Mailbox;

/// Returns the warnings about a document and the table that was read from it, each with its key.
pub(super) fn directory_warnings(document: &Table, table: &DirectoryTable, config: &Config) -> Vec<Problem> {
    let mut review = DirectoryReview {
        table,
        config,
        places: HashMap::new(),
        warnings: Vec::new(),
    };
    for (index, account) in tables(document, "account").enumerate() {
        review.account(&format!("account[{index}]"), account);
    }
    for (kind, list) in [("alias", "to"), ("group", "members")] {
        for (index, entry) in tables(document, kind).enumerate() {
            review.list(&format!("{kind}[{index}]"), entry, list);
        }
    }
    for (index, catch_all) in tables(document, "catch-all").enumerate() {
        review.catch_all(&format!("catch-all[{index}]"), catch_all);
    }
    for (address, meanings) in table.ambiguous() {
        let text = format!(
            "{address} is ambiguous: {}: leave it in one entry alone",
            meanings.join(", ")
        );
        let last = review.places.remove(&address).unwrap_or_default();
        review.warn(last, text);
    }
    review.warnings
}

/// Returns the servers of homes, each with the key of the account's home.
pub(super) fn home_servers(document: &Table, table: &DirectoryTable) -> Vec<(String, Endpoint)> {
    let names = tables(document, "account").map(|account| text(account, "name").to_lowercase());
    let server = |(index, name): (usize, String)| match &table.accounts.get(&name)?.home {
        Home::Maildir(_) => None,
        Home::Lmtp(server) | Home::Smtp(server) => Some((format!("account[{index}].home"), server.clone())),
    };
    names.enumerate().filter_map(server).collect()
}

/// A walk through the tables of a directory file.
struct DirectoryReview<'a> {
    table: &'a DirectoryTable,
    config: &'a Config,
    /// Key of the last entry of each address, by the lookup key of the address.
    places: HashMap<String, String>,
    warnings: Vec<Problem>,
}

impl DirectoryReview<'_> {
    fn warn(&mut self, key: String, text: impl Into<String>) {
        self.warnings.push(Problem::new(key, text));
    }

    fn add_place(&mut self, address: &str, place: &str) {
        if let Ok(address) = address.parse::<Mailbox>() {
            self.places.insert(key(&address), place.to_owned());
        }
    }

    fn account(&mut self, place: &str, account: &Table) {
        let name = text(account, "name").to_lowercase();
        if items(account, "addresses").next().is_none() && items(account, "send-as").next().is_none() {
            let text =
                format!("{name} has no address: no mail reaches it, and it may not send: write addresses = [\"…\"]");
            self.warn(format!("{place}.addresses"), text);
        }
        self.weak_password(place, account);
        for list in ["addresses", "send-as"] {
            for (index, address) in items(account, list).enumerate() {
                let advice = match list {
                    "send-as" => "write \"@DOMAIN\" for all addresses of a domain",
                    _ => "an account has single addresses only; write each",
                };
                let place = format!("{place}.{list}[{index}]");
                if list == "addresses" {
                    self.add_place(address, &place);
                }
                self.wildcard(place, address, advice);
            }
        }
        let others = name.parse::<Mailbox>().ok();
        let others = others.iter().flat_map(|address| self.table.exact(address));
        let taken = others.into_iter().find(|entry| match &entry.target {
            Target::Account { account, .. } => *account != name,
            _ => true,
        });
        if let Some(entry) = taken {
            let text = format!("{name} is also an address, {entry}: a login with it is a login to this account");
            self.warn(format!("{place}.name"), text);
        }
        let warning = match self.table.accounts.get(&name).map(|account| &account.home) {
            Some(Home::Smtp(server)) => hop_warning(self.config, server, HopProtocol::Smtp),
            Some(Home::Lmtp(server)) => hop_warning(self.config, server, HopProtocol::Lmtp),
            Some(Home::Maildir(_)) | None => None,
        };
        if let Some(text) = warning {
            self.warn(format!("{place}.home"), text);
        }
    }

    fn weak_password(&mut self, place: &str, account: &Table) {
        let entries = items(account, "password").chain(account.get("password").and_then(toml::Value::as_str));
        let weakness = entries
            .filter_map(|entry| StoredPassword::parse(entry).ok()?.weakness())
            .next();
        if let Some(weakness) = weakness {
            let text = format!("{weakness}: posthouse account passwd stores a better hash");
            self.warn(format!("{place}.password"), text);
        }
    }

    fn list(&mut self, place: &str, entry: &Table, list: &str) {
        let address = text(entry, "address");
        self.add_place(address, &format!("{place}.address"));
        self.wildcard(
            format!("{place}.address"),
            address,
            "an alias or group has one address; write it",
        );
        if items(entry, list).next().is_none() {
            self.warn(
                format!("{place}.{list}"),
                format!("{address} leads to no address, and mail for it fails: write one, or remove it"),
            );
        }
        for (index, member) in items(entry, list).enumerate() {
            let key = format!("{place}.{list}[{index}]");
            self.wildcard(key.clone(), member, "write each address");
            if member.parse::<Mailbox>().is_ok_and(|member| self.is_dangling(&member)) {
                let text =
                    format!("{member} is not in the directory, and mail for it fails: add it, or remove it here");
                self.warn(key, text);
            }
        }
        if let Ok(address) = address.parse::<Mailbox>()
            && let Some(text) = self.expansion_problem(&address)
        {
            self.warn(format!("{place}.{list}"), text);
        }
    }

    fn catch_all(&mut self, place: &str, entry: &Table) {
        for (index, member) in items(entry, "to").enumerate() {
            if member.parse::<Mailbox>().is_ok_and(|member| self.is_dangling(&member)) {
                let text = format!(
                    "{member} is not in the directory itself, and mail would go round in circles: write a listed address"
                );
                self.warn(format!("{place}.to[{index}]"), text);
            }
        }
    }

    fn wildcard(&mut self, key: String, address: &str, advice: &str) {
        if address.rsplit_once('@').is_some_and(|(local, _)| local.contains('*')) {
            self.warn(key, format!("{address:?}: * stands for itself alone: {advice}"));
        }
    }

    /// True if the address is at a local domain and has no meaning.
    fn is_dangling(&self, address: &Mailbox) -> bool {
        let is_local = self.table.is_local_domain(address.domain()) || address.domain() == self.config.hostname;
        is_local && self.table.lookup(address).is_empty() && !key(address).starts_with("postmaster@")
    }

    /// Follows an alias or group as delivery does, and returns the reason why mail for some member fails.
    fn expansion_problem(&self, address: &Mailbox) -> Option<String> {
        let mut waiting: Vec<(&Mailbox, Vec<String>)> = vec![(address, Vec::new())];
        let (mut looked_up, mut expanded) = (0, HashSet::new());
        while let Some((step, trail)) = waiting.pop() {
            looked_up += 1;
            let step_key = key(step);
            if trail.contains(&step_key) {
                return Some(format!(
                    "{address} leads back to {step}: remove {step} from one of the lists"
                ));
            }
            if looked_up > MAX_ALIAS_ADDRESSES {
                return Some(format!(
                    "{address} stands for more than {MAX_ALIAS_ADDRESSES} addresses: split it"
                ));
            }
            let mut members = self.table.members(step).peekable();
            if members.peek().is_none() {
                continue;
            }
            if trail.len() >= MAX_ALIAS_DEPTH {
                return Some(format!(
                    "{address} has more than {MAX_ALIAS_DEPTH} aliases in a row, at {step}: shorten it"
                ));
            }
            // A group that several paths lead to is followed once for its loops; delivery follows each path.
            if trail.len() > 1 && !expanded.insert(step_key.clone()) {
                continue;
            }
            let trail: Vec<String> = trail.iter().cloned().chain([step_key]).collect();
            waiting.extend(members.map(|member| (member, trail.clone())));
        }
        None
    }
}

fn tables<'a>(document: &'a Table, key: &str) -> impl Iterator<Item = &'a Table> {
    let list = document.get(key).and_then(toml::Value::as_array);
    list.into_iter().flatten().filter_map(toml::Value::as_table)
}

fn items<'a>(table: &'a Table, key: &str) -> impl Iterator<Item = &'a str> {
    let list = table.get(key).and_then(toml::Value::as_array);
    list.into_iter().flatten().filter_map(toml::Value::as_str)
}

fn text<'a>(table: &'a Table, key: &str) -> &'a str {
    table.get(key).and_then(toml::Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn warnings(text: &str) -> Vec<String> {
        let text = format!("domains = ['a.example']\n{text}");
        let document: Table = text.parse().expect("TOML");
        let table = DirectoryTable::parse(&text, Path::new("/mail")).expect("right");
        let config = "administrator = 'a@a.example'\nhostname = 'mx.example'\n[[listener]]\nname = 'in'\naddress = '127.0.0.1:25'";
        let config = Config::parse(config, Path::new("/")).expect("right");
        let warnings = directory_warnings(&document, &table, &config);
        warnings.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn warns_of_loops_and_dangling_targets() {
        let found = warnings(
            "[[account]]\nname = 'anna'\naddresses = ['anna@a.example']\n\
             [[alias]]\naddress = 'one@a.example'\nto = ['two@a.example', 'anna@a.example']\n\
             [[alias]]\naddress = 'two@a.example'\nto = ['ONE@a.example']\n\
             [[alias]]\naddress = 'right@a.example'\nto = ['anna+tag@a.example', 'far@elsewhere.example', 'postmaster@a.example']\n\
             [[alias]]\naddress = 'old@a.example'\nto = ['gone@a.example']\n\
             [[group]]\naddress = 'none@a.example'\nmembers = []\n",
        );
        let starts = [
            "alias[0].to: one@a.example leads back to ",
            "alias[1].to: two@a.example leads back to ",
            "alias[3].to[0]: gone@a.example is not in the directory",
            "group[0].members: none@a.example leads to no address",
        ];
        assert_eq!(found.len(), starts.len(), "{found:#?}");
        for (found, start) in found.iter().zip(starts) {
            assert!(found.starts_with(start), "{found}");
        }
    }

    #[test]
    fn warns_of_ambiguous_addresses_at_the_last_of_their_entries() {
        let found = warnings(
            "[[account]]\nname = 'anna'\naddresses = ['other@a.example', 'anna@a.example']\n\
             [[alias]]\naddress = 'Anna@A.example'\nto = ['other@a.example']\n",
        );
        assert_eq!(
            found,
            [
                "alias[0].address: anna@a.example is ambiguous: account anna, alias of other@a.example: leave it in one entry alone"
            ]
        );
    }

    #[test]
    fn warns_of_chains_longer_than_delivery_follows() {
        let alias = |from: usize| {
            format!(
                "[[alias]]\naddress = 'l{from}@a.example'\nto = ['l{}@a.example']\n",
                from + 1
            )
        };
        let chain = |length: usize| (0..length).map(alias).collect::<String>();
        let end = |length: usize| format!("[[account]]\nname = 'x'\naddresses = ['l{length}@a.example']\n");
        let of = |length: usize| warnings(&format!("{}{}", end(length), chain(length)));
        assert_eq!(of(MAX_ALIAS_DEPTH), Vec::<String>::new());
        let found = of(MAX_ALIAS_DEPTH + 1);
        assert!(found.len() == 1 && found[0].contains("aliases in a row"), "{found:?}");
    }

    #[test]
    fn warns_of_accounts_that_can_do_nothing_and_of_wildcards() {
        let found = warnings(
            "[[account]]\nname = 'idle'\n\
             [[account]]\nname = 'all'\naddresses = ['*@a.example']\nsend-as = ['*@b.example']\n\
             [[account]]\nname = 'anna'\naddresses = ['anna@a.example']\n\
             [[account]]\nname = 'anna@a.example'\naddresses = ['other@a.example']\n",
        );
        let keys: Vec<_> = found.iter().filter_map(|text| text.split(": ").next()).collect();
        assert_eq!(
            keys,
            [
                "account[0].addresses",
                "account[1].addresses[0]",
                "account[1].send-as[0]",
                "account[3].name"
            ]
        );
    }

    #[test]
    fn warns_of_homes_that_take_no_mail() {
        let found = warnings(
            "[[account]]\nname = 'a'\naddresses = ['a@a.example']\nhome = 'smtp:localhost:25'\n\
             [[account]]\nname = 'b'\naddresses = ['b@a.example']\nhome = 'lmtp:box.example:25'\n\
             [[account]]\nname = 'c'\naddresses = ['c@a.example']\nhome = 'lmtp:/etc/passwd'\n",
        );
        assert_eq!(found.len(), 3, "{found:?}");
        for (found, part) in found.iter().zip(["is this host itself", "RFC 2033", "is no socket"]) {
            assert!(found.contains(part), "{found}");
        }
    }
}
