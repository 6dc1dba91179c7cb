//! Admission of clients, and the terms of their connections.
//!
//! Terms are collected from the widest source to the narrowest: `accept.from`, the listener's entry, the host entry
//! with the longest prefix. Each source adds to the terms, with two exceptions: a listener's `from` replaces
//! `accept.from`, and a requirement of a host entry holds even if the listener's entry grants an exemption from that
//! requirement.

use std::net::IpAddr;

use crate::objections::reply;
use crate::rule_names::Rule;
use crate::settings::{Accept, AcceptFrom, Exemption, HostEntry, Requirement};
use posthouse_policy::{Admission, Terms};
use posthouse_policy::{Because, Client};

/// Returns the answer to a connection: terms, or a refusal for rejected hosts and unreadable addresses.
pub fn admit(settings: &Accept, client: &Client) -> (Admission, Because) {
    let Ok(address) = client.address.parse::<IpAddr>() else {
        // The contract promises an address. Without an address no host entry can be found, and a client that might
        // be rejected must not be admitted.
        let later = reply(421, (4, 3, 0), "The client's address is not known, try again later");
        return (Admission::Refuse(later), Rule::AcceptHost.because(&client.address));
    };
    let listener = settings.listeners.get(&client.listener);
    let from = listener.and_then(|entry| entry.from).unwrap_or(settings.from);
    let mut exempt = listener.map(|entry| entry.exempt.clone()).unwrap_or_default();
    let mut because = match listener {
        Some(_) => Rule::AcceptListener.because(&client.listener),
        None => Rule::AcceptFrom.because(from.name()),
    };
    let mut required: &[Requirement] = &[];

    if let Some((network, entry)) = settings.hosts.find(address) {
        because = Rule::AcceptHost.because(network.to_string());
        match entry {
            HostEntry::Reject => return (Admission::Refuse(access_denied(client)), because),
            HostEntry::Accept {
                require,
                exempt: host_exempt,
            } => {
                required = require;
                exempt.extend(host_exempt);
            }
        }
    }
    (Admission::Admit(terms(from, required, exempt)), because)
}

fn terms(from: AcceptFrom, required: &[Requirement], mut exempt: Vec<Exemption>) -> Terms {
    let mut requirement_for = |requirement: Requirement, exemption: Exemption| {
        if required.contains(&requirement) {
            exempt.retain(|granted| *granted != exemption);
            Some(true)
        } else if exempt.contains(&exemption) {
            Some(false)
        } else {
            from.requires(requirement).then_some(true)
        }
    };
    let authentication = requirement_for(Requirement::Authentication, Exemption::Authentication);
    let encryption = requirement_for(Requirement::Encryption, Exemption::Encryption);
    let mut exemptions: Vec<String> = Vec::new();
    for exemption in exempt {
        if !exemptions.iter().any(|name| name == exemption.name()) {
            exemptions.push(exemption.name().to_owned());
        }
    }
    Terms {
        authentication,
        encryption,
        exemptions,
    }
}

fn access_denied(client: &Client) -> posthouse_policy::Reply {
    let text = match &client.name {
        Some(name) => format!("{name} access denied"),
        None if client.address.contains(':') => format!("[IPv6:{}] access denied", client.address),
        None => format!("[{}] access denied", client.address),
    };
    reply(521, (5, 7, 1), &text)
}

/// True if admission granted this client the exemption.
pub fn is_exempt(client: &Client, exemption: Exemption) -> bool {
    client.exemptions.iter().any(|name| name == exemption.name())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{client_from, settings};

    fn ask(json: &str, listener: &str, address: &str) -> (Admission, Because) {
        let mut client = client_from(address);
        client.listener = listener.to_owned();
        admit(&settings(json).accept, &client)
    }

    fn admitted(json: &str, listener: &str, address: &str) -> (Option<bool>, Option<bool>, Vec<String>, String) {
        match ask(json, listener, address) {
            (Admission::Admit(terms), because) => (
                terms.authentication,
                terms.encryption,
                terms.exemptions,
                format!("{} {}", because.rule, because.entry.unwrap_or_default()),
            ),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn default_settings_leave_the_terms_to_the_listener() {
        let expected = (None, None, vec![], "accept-from anyone".to_owned());
        assert_eq!(admitted("{}", "smtp", "192.0.2.1"), expected);
    }

    #[test]
    fn accept_from_adds_requirements() {
        for (from, authentication, encryption) in [
            ("anyone", None, None),
            ("authenticated", Some(true), None),
            ("encrypted", None, Some(true)),
            ("authenticated-and-encrypted", Some(true), Some(true)),
        ] {
            let json = format!(r#"{{"accept": {{"from": "{from}"}}}}"#);
            let expected = (authentication, encryption, vec![], format!("accept-from {from}"));
            assert_eq!(admitted(&json, "smtp", "192.0.2.1"), expected);
        }
    }

    const Q178091: &str = r#"{"accept": {"from": "authenticated", "hosts": [
        {"network": "127.0.0.2/32", "action": "accept", "exempt": ["authentication"]}]}}"#;

    #[test]
    fn exempts_the_host_of_q178091_from_authentication_and_no_other() {
        let exempt = (
            Some(false),
            None,
            vec!["authentication".to_owned()],
            "accept-host 127.0.0.2/32".to_owned(),
        );
        assert_eq!(admitted(Q178091, "smtp", "127.0.0.2"), exempt);
        assert_eq!(admitted(Q178091, "smtp", "127.0.0.1").0, Some(true));
    }

    #[test]
    fn refusal_of_a_host_names_the_client() {
        let json = r#"{"accept": {"hosts": [{"network": "192.0.2.0/24", "action": "reject"}, {"network": "2001:db8::/32", "action": "reject"}]}}"#;
        let (admission, because) = ask(json, "smtp", "192.0.2.9");
        assert!(
            matches!(admission, Admission::Refuse(reply) if reply.code() == 521 && reply.text() == "[192.0.2.9] access denied")
        );
        assert_eq!(because, Rule::AcceptHost.because("192.0.2.0/24"));
        let (admission, _) = ask(json, "smtp", "2001:db8::9");
        assert!(matches!(admission, Admission::Refuse(reply) if reply.text() == "[IPv6:2001:db8::9] access denied"));

        let mut named = client_from("192.0.2.9");
        named.name = Some("relay.example.net".to_owned());
        let (admission, _) = admit(&settings(json).accept, &named);
        assert!(matches!(admission, Admission::Refuse(reply) if reply.text() == "relay.example.net access denied"));
    }

    #[test]
    fn prefers_the_narrower_network_in_any_order() {
        for (wide, narrow, refused) in [("reject", "accept", false), ("accept", "reject", true)] {
            let wide = format!(r#"{{"network": "10.0.0.0/8", "action": "{wide}"}}"#);
            let narrow = format!(r#"{{"network": "10.1.1.0/24", "action": "{narrow}"}}"#);
            for hosts in [format!("{wide},{narrow}"), format!("{narrow},{wide}")] {
                let json = format!(r#"{{"accept": {{"hosts": [{hosts}]}}}}"#);
                let (admission, because) = ask(&json, "smtp", "10.1.1.1");
                assert_eq!(matches!(admission, Admission::Refuse(_)), refused, "{json}");
                assert_eq!(because.entry.as_deref(), Some("10.1.1.0/24"));
            }
        }
    }

    #[test]
    fn combines_listener_and_host_entries() {
        let json = r#"{"accept": {"from": "authenticated", "listeners": {"mx": {"from": "anyone", "exempt": ["homing"]}},
            "hosts": [{"network": "10.0.0.0/8", "require": ["encryption"], "exempt": ["relay", "homing"]}]}}"#;
        assert_eq!(
            admitted(json, "mx", "192.0.2.1"),
            (None, None, vec!["homing".to_owned()], "accept-listener mx".to_owned())
        );
        assert_eq!(admitted(json, "submission", "192.0.2.1").0, Some(true));
        let (authentication, encryption, exemptions, because) = admitted(json, "mx", "10.0.0.1");
        assert_eq!((authentication, encryption), (None, Some(true)));
        assert_eq!(exemptions, ["homing", "relay"]);
        assert_eq!(because, "accept-host 10.0.0.0/8");
    }

    #[test]
    fn host_requirement_overrides_listener_exemption() {
        let json = r#"{"accept": {"listeners": {"inside": {"exempt": ["authentication", "encryption"]}},
            "hosts": [{"network": "10.6.6.0/24", "require": ["authentication"]}]}}"#;
        let (authentication, encryption, exemptions, _) = admitted(json, "inside", "10.6.6.6");
        assert_eq!((authentication, encryption), (Some(true), Some(false)));
        assert_eq!(exemptions, ["encryption"]);
    }

    #[test]
    fn defers_a_client_without_a_readable_address() {
        let (admission, _) = ask("{}", "smtp", "nonsense");
        assert!(matches!(admission, Admission::Refuse(reply) if reply.code() == 421));
    }
}
