//! Warnings about the settings of the default policy that the host can judge and the policy cannot, since it does not
//! know the listeners: names of listeners, terms that no client can meet, relaying for all, own domains left open.
//!
//! Other policies have settings of other shapes, about which nothing is found here.

use ipnet::IpNet;
use serde_json::{Map, Value};

use super::{Config, Listener, ListenerTls, Problem};
use crate::address_ranges::{is_public, is_wide};
use crate::toml_reader::network;

/// Exemptions that let a client send as others, or to others, without a proof of identity.
const DANGEROUS: [&str; 3] = ["authentication", "originator", "relay"];

/// Returns the warnings about the settings of all modules.
pub(super) fn policy_warnings(config: &Config) -> Vec<Problem> {
    let mut warnings = Vec::new();
    for (index, module) in config.policies.iter().enumerate() {
        let mut settings = SettingsReview {
            listeners: &config.listeners,
            accept: module.settings.get("accept"),
            key: format!("policy[{index}].settings"),
            warnings: &mut warnings,
        };
        if let Some(Value::Object(relay)) = module.settings.get("relay") {
            settings.review_relay(relay);
        }
        if let Some(Value::Object(accept)) = module.settings.get("accept") {
            settings.review_accept(accept);
        }
        if let Some(Value::Object(filter)) = module.settings.get("filter") {
            settings.review_patterns("filter.senders", filter.get("senders"));
        }
        if module.file.is_none() {
            settings.review_own_domains(module.settings.get("homing"));
        }
    }
    warnings
}

/// A walk through the settings of a module.
struct SettingsReview<'a> {
    listeners: &'a [Listener],
    accept: Option<&'a Value>,
    key: String,
    warnings: &'a mut Vec<Problem>,
}

impl<'a> SettingsReview<'a> {
    fn warn(&mut self, key: &str, text: impl Into<String>) {
        self.warnings.push(Problem::new(format!("{}.{key}", self.key), text));
    }

    fn review_relay(&mut self, relay: &Map<String, Value>) {
        for (index, client) in texts(relay.get("clients")).enumerate() {
            if let Some(wide) = wide_network(client) {
                let text =
                    format!("every client in {wide} may send to every destination: list your own networks alone");
                self.warn(&format!("relay.clients[{index}]"), text);
            }
        }
        for (index, name) in texts(relay.get("listeners")).enumerate() {
            let key = format!("relay.listeners[{index}]");
            match self.listener(name) {
                None => self.warn(&key, self.unknown_listener(name)),
                Some(listener) if self.is_open(listener) => self.warn(
                    &key,
                    format!(
                        "every client of the listener at {} may send to every destination: set its \
                         require-authentication, or its address to an internal one",
                        listener.address
                    ),
                ),
                Some(_) => {}
            }
        }
        self.review_patterns("relay.to", relay.get("to"));
        let never = relay.get("never").and_then(Value::as_object);
        self.review_patterns("relay.never.to", never.and_then(|never| never.get("to")));
    }

    fn review_accept(&mut self, accept: &Map<String, Value>) {
        let listeners = self.listeners;
        if !listeners.iter().any(|listener| can_meet(listener, accept.get("from"))) {
            self.warn(
                "accept.from",
                "no client can meet it: no listener offers what it asks for",
            );
        }
        for (name, entry) in accept.get("listeners").and_then(Value::as_object).into_iter().flatten() {
            let key = format!("accept.listeners.{}", quoted(name));
            let Some(listener) = self.listener(name) else {
                self.warn(&key, self.unknown_listener(name));
                continue;
            };
            if !can_meet(listener, entry.get("from")) {
                let text = "no client can meet it: the listener does not offer what it asks for";
                self.warn(&format!("{key}.from"), text);
            }
            if self.is_open(listener) {
                self.review_exemptions(&key, entry, &format!("of the listener {name:?}"));
            }
        }
        let hosts = accept.get("hosts").and_then(Value::as_array);
        for (index, entry) in hosts.into_iter().flatten().enumerate() {
            let network = entry.get("network").and_then(Value::as_str);
            if let Some(wide) = network.and_then(wide_network) {
                self.review_exemptions(&format!("accept.hosts[{index}]"), entry, &format!("in {wide}"));
            }
        }
    }

    /// Warns of the built-in policy without a choice of `own-domains`, where strangers reach a listener.
    fn review_own_domains(&mut self, homing: Option<&Value>) {
        let is_chosen = homing.is_some_and(|homing| homing.get("own-domains").is_some());
        let listeners = self.listeners;
        if let Some(listener) = listeners.iter().find(|listener| self.is_open(listener))
            && !is_chosen
        {
            let text = format!(
                "strangers at {} may write as users of this host's domains: write \"sender-and-author\", or \"anyone\" \
                 if other hosts send for these domains",
                listener.address
            );
            self.warn("homing.own-domains", text);
        }
    }

    fn review_exemptions(&mut self, key: &str, entry: &Value, clients: &str) {
        let dangerous: Vec<&str> = texts(entry.get("exempt"))
            .filter(|exemption| DANGEROUS.contains(exemption))
            .collect();
        if !dangerous.is_empty() {
            let text = format!(
                "every client {clients} is exempt from {}: list the hosts that need it alone",
                dangerous.join(" and ")
            );
            self.warn(&format!("{key}.exempt"), text);
        }
    }

    /// Warns about a local part with `*`, which stands for itself alone.
    fn review_patterns(&mut self, key: &str, patterns: Option<&Value>) {
        for (index, pattern) in texts(patterns).enumerate() {
            if let Some((local, domain)) = pattern.rsplit_once('@')
                && local.contains('*')
            {
                let text =
                    format!("{pattern:?}: * stands for no local part here: write \"@{domain}\" for all of a domain");
                self.warn(&format!("{key}[{index}]"), text);
            }
        }
    }

    fn listener(&self, name: &str) -> Option<&'a Listener> {
        self.listeners.iter().find(|listener| listener.name == name)
    }

    /// True if strangers reach the listener and need not authenticate.
    fn is_open(&self, listener: &Listener) -> bool {
        let of_listener = self
            .accept
            .and_then(|accept| accept.get("listeners")?.get(&listener.name)?.get("from"));
        let from = of_listener.or_else(|| self.accept?.get("from")).and_then(Value::as_str);
        let authenticates =
            listener.require_authentication || from.is_some_and(|from| from.starts_with("authenticated"));
        is_public(listener.address.ip()) && !authenticates
    }

    fn unknown_listener(&self, name: &str) -> String {
        let known: Vec<String> = self
            .listeners
            .iter()
            .map(|listener| format!("{:?}", listener.name))
            .collect();
        format!("there is no listener {name:?}: write one of {}", known.join(", "))
    }
}

/// True if a client of the listener can do what the word of `accept.from` asks for.
fn can_meet(listener: &Listener, from: Option<&Value>) -> bool {
    let has_tls = listener.tls != ListenerTls::Off;
    match from.and_then(Value::as_str) {
        Some("encrypted" | "authenticated-and-encrypted") => has_tls,
        Some("authenticated") => has_tls || listener.auth_without_tls,
        _ => true,
    }
}

fn wide_network(text: &str) -> Option<IpNet> {
    network(text).ok().filter(is_wide)
}

fn texts(list: Option<&Value>) -> impl Iterator<Item = &str> {
    list.and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
}

fn quoted(name: &str) -> String {
    let bare = name
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'));
    if bare { name.to_owned() } else { format!("{name:?}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    /// Returns the keys of the warnings, without the one about own domains unless the settings begin with `homing`.
    fn warnings(listener: &str, settings: &str) -> Vec<String> {
        let text = format!(
            "administrator = 'a@b.example'\n[[listener]]\nname = 'in'\n{listener}\n[[policy]]\n[policy.settings]\n{settings}"
        );
        let config = Config::parse(&text, Path::new("/")).expect("right");
        policy_warnings(&config)
            .into_iter()
            .map(|warning| warning.key)
            .filter(|key| !key.ends_with("own-domains") || settings.starts_with("homing"))
            .collect()
    }

    #[test]
    fn warns_of_relaying_for_all() {
        let public = "address = '0.0.0.0:25'";
        for (listener, settings, key) in [
            (
                public,
                "relay.clients = ['10.0.0.0/8', '::/0']",
                Some("relay.clients[1]"),
            ),
            (public, "relay.listeners = ['in']", Some("relay.listeners[0]")),
            (
                public,
                "accept.listeners.in.exempt = ['relay']",
                Some("accept.listeners.in.exempt"),
            ),
            ("address = '10.0.0.1:25'", "relay.listeners = ['in']", None),
            (
                "address = '0.0.0.0:25'\nrequire-authentication = true",
                "relay.listeners = ['in']",
                None,
            ),
            (
                public,
                "accept.hosts = [{network = '0.0.0.0/0', exempt = ['relay']}]",
                Some("accept.hosts[0].exempt"),
            ),
            (
                public,
                "accept.hosts = [{network = '0.0.0.0/0', exempt = ['homing']}]",
                None,
            ),
            (public, "relay.clients = ['192.0.2.0/24']", None),
            (public, "accept.from = 'authenticated'\nrelay.listeners = ['in']", None),
        ] {
            let expected: Vec<String> = key.into_iter().map(|key| format!("policy[0].settings.{key}")).collect();
            assert_eq!(warnings(listener, settings), expected, "{settings}");
        }
    }

    #[test]
    fn warns_of_own_domains_left_to_strangers() {
        let expected = ["policy[0].settings.homing.own-domains"];
        let public = "address = '0.0.0.0:25'";
        let undecided = "homing.required = true";
        assert_eq!(warnings(public, undecided), expected);
        for (listener, settings) in [
            ("address = '127.0.0.1:25'", undecided),
            ("address = '0.0.0.0:25'\nrequire-authentication = true", undecided),
            (public, "homing.required = true\naccept.from = 'authenticated'"),
            (public, "homing.own-domains = 'anyone'"),
            (public, "homing.own-domains = 'sender'"),
        ] {
            assert_eq!(warnings(listener, settings), [""; 0], "{listener} {settings}");
        }
    }

    #[test]
    fn warns_of_entries_that_never_match() {
        let off = "address = '127.0.0.1:25'\ntls = 'off'";
        for (settings, key) in [
            ("relay.to = ['@example.net', '*@example.org']", "relay.to[1]"),
            ("relay.never.to = ['*@x.example']", "relay.never.to[0]"),
            ("filter.senders = ['*.offers@x.example']", "filter.senders[0]"),
            ("relay.listeners = ['im']", "relay.listeners[0]"),
            ("accept.listeners.im.from = 'anyone'", "accept.listeners.im"),
            ("accept.from = 'encrypted'", "accept.from"),
            ("accept.listeners.in.from = 'authenticated'", "accept.listeners.in.from"),
        ] {
            assert_eq!(
                warnings(off, settings),
                [format!("policy[0].settings.{key}")],
                "{settings}"
            );
        }
    }
}
