//! Recipient checks: local addresses must have exactly one meaning, and other addresses need permission to relay.

use std::net::IpAddr;

use crate::admission::is_exempt;
use crate::directory_questions::{Directory, domain_of};
use crate::network::Network;
use crate::objections::{Objection, directory_unavailable, reply};
use crate::rule_names::Rule;
use crate::settings::{Exemption, Relay};
use posthouse_policy::{Because, Client};

/// Checks a recipient: a local address by the directory, any other address by the relay settings.
pub fn check(
    settings: &Relay,
    client: &Client,
    recipient: &str,
    directory: &impl Directory,
) -> Result<Because, Objection> {
    let domain = domain_of(recipient);
    match directory.is_local_domain(domain) {
        Ok(true) => check_local(recipient, directory),
        Ok(false) => check_relay(settings, client, recipient),
        Err(_) => Err(directory_unavailable(domain)),
    }
}

fn check_local(recipient: &str, directory: &impl Directory) -> Result<Because, Objection> {
    let entries = directory
        .lookup(recipient)
        .map_err(|_| directory_unavailable(recipient))?;
    let because = Rule::Recipient.because(recipient);
    let reply = match entries.len() {
        0 => reply(550, (5, 1, 1), "No such recipient here"),
        1 => return Ok(because),
        _ => reply(550, (5, 1, 4), "Recipient address is ambiguous"),
    };
    Err(Objection { reply, because })
}

/// Checks permission to relay. A denial (`relay.never`) overrides every permission, and the default is denial.
fn check_relay(settings: &Relay, client: &Client, recipient: &str) -> Result<Because, Objection> {
    let denied = |because| Objection {
        reply: reply(550, (5, 7, 1), "Relaying denied"),
        because,
    };
    if let Some(network) = network_of(&settings.never.clients, client) {
        return Err(denied(Rule::RelayNever.because(network.to_string())));
    }
    if let Some(pattern) = settings.never.to.iter().find(|pattern| pattern.matches(recipient)) {
        return Err(denied(Rule::RelayNever.because(pattern.to_string())));
    }
    if let Some(entry) = permission(settings, client) {
        return Ok(Rule::Relay.because(entry));
    }
    if let Some(pattern) = settings.to.iter().find(|pattern| pattern.matches(recipient)) {
        return Ok(Rule::Relay.because(pattern.to_string()));
    }
    Err(denied(Rule::Relay.alone()))
}

/// Returns the entry that lets the client relay to every destination, if there is one.
pub fn permission(settings: &Relay, client: &Client) -> Option<String> {
    if is_exempt(client, Exemption::Relay) {
        return Some("exempt".to_owned());
    }
    if let (true, Some(identity)) = (settings.authenticated, &client.identity) {
        return Some(format!("account {}", identity.account));
    }
    if let Some(network) = network_of(&settings.clients, client) {
        return Some(network.to_string());
    }
    let is_listed = settings.listeners.contains(&client.listener);
    is_listed.then(|| format!("listener {}", client.listener))
}

/// Returns the first network that contains the client; a client without a readable address is in none.
fn network_of<'a>(networks: &'a [Network], client: &Client) -> Option<&'a Network> {
    let address = client.address.parse::<IpAddr>().ok()?;
    networks.iter().find(|network| network.contains(address))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{FakeDirectory, authenticated, client_from, exempt, settings};

    fn directory() -> FakeDirectory {
        FakeDirectory::new(&["example.org"])
            .account("anna", "anna@example.org")
            .account("bert", "info@example.org")
            .account("anna", "info@example.org")
            .elsewhere("otto@example.org")
    }

    fn ask(json: &str, client: &Client, recipient: &str) -> Result<Because, Objection> {
        check(&settings(json).relay, client, recipient, &directory())
    }

    fn refusal(json: &str, client: &Client, recipient: &str) -> (u16, (u8, u16, u16), Because) {
        let objection = ask(json, client, recipient).unwrap_err();
        (objection.reply.code(), objection.reply.status(), objection.because)
    }

    #[test]
    fn accepts_a_local_address_with_one_meaning_from_any_client() {
        for client in [client_from("192.0.2.1"), authenticated("anna")] {
            for address in ["anna@example.org", "otto@example.org"] {
                assert_eq!(ask("{}", &client, address), Ok(Rule::Recipient.because(address)));
            }
        }
    }

    #[test]
    fn refuses_unknown_and_ambiguous_local_addresses() {
        let client = client_from("192.0.2.1");
        assert_eq!(
            refusal("{}", &client, "nobody@example.org"),
            (550, (5, 1, 1), Rule::Recipient.because("nobody@example.org"))
        );
        assert_eq!(
            refusal("{}", &client, "info@example.org"),
            (550, (5, 1, 4), Rule::Recipient.because("info@example.org"))
        );
    }

    #[test]
    fn default_settings_are_no_open_relay() {
        let denied = (550, (5, 7, 1), Rule::Relay.alone());
        for address in ["127.0.0.1", "::1", "10.0.0.1", "192.0.2.1", "nonsense"] {
            assert_eq!(refusal("{}", &client_from(address), "x@example.net"), denied);
        }
        let none = exempt("127.0.0.2", &["authentication", "homing"]);
        assert_eq!(refusal("{}", &none, "x@example.net"), denied);
        // The percent hack, a quoted address and a bang path made other servers open relays.
        for recipient in [
            "x%example.net@example.org",
            "\"x@example.net\"@example.org",
            "example.net!x@example.org",
        ] {
            assert_eq!(
                refusal("{}", &client_from("192.0.2.1"), recipient).0,
                550,
                "{recipient}"
            );
        }
    }

    #[test]
    fn allows_relaying_by_each_setting() {
        let stranger = client_from("192.0.2.1");
        let relay = exempt("192.0.2.1", &["relay"]);
        for (json, client, entry) in [
            ("{}", &authenticated("anna"), "account anna"),
            ("{}", &relay, "exempt"),
            (
                r#"{"relay": {"clients": ["198.51.100.0/24", "192.0.2.0/24"]}}"#,
                &stranger,
                "192.0.2.0/24",
            ),
            (r#"{"relay": {"listeners": ["test"]}}"#, &stranger, "listener test"),
            (
                r#"{"relay": {"to": ["@example.com", "@example.net"]}}"#,
                &stranger,
                "@example.net",
            ),
        ] {
            assert_eq!(
                ask(json, client, "x@example.net"),
                Ok(Rule::Relay.because(entry)),
                "{json}"
            );
        }
        let denied = r#"{"relay": {"authenticated": false}}"#;
        assert_eq!(
            refusal(denied, &authenticated("anna"), "x@example.net").2,
            Rule::Relay.alone()
        );
    }

    #[test]
    fn relay_never_overrides_every_permission() {
        let mut client = exempt("192.0.2.1", &["relay"]);
        client.identity = authenticated("anna").identity;
        let allow = r#""clients": ["192.0.2.1"], "listeners": ["test"], "to": ["@example.net"]"#;
        let by_client = format!(r#"{{"relay": {{{allow}, "never": {{"clients": ["192.0.2.0/24"]}}}}}}"#);
        let by_destination = format!(r#"{{"relay": {{{allow}, "never": {{"to": ["@example.net"]}}}}}}"#);
        assert_eq!(
            refusal(&by_client, &client, "x@example.net"),
            (550, (5, 7, 1), Rule::RelayNever.because("192.0.2.0/24"))
        );
        assert_eq!(
            refusal(&by_destination, &client, "x@example.net").2,
            Rule::RelayNever.because("@example.net")
        );
        assert!(ask(&by_destination, &client, "x@example.com").is_ok());
        // Mail to local addresses is not relaying.
        assert!(ask(&by_client, &client, "anna@example.org").is_ok());
    }

    #[test]
    fn defers_while_the_directory_is_unavailable() {
        let relay = settings("{}").relay;
        for recipient in ["anna@example.org", "x@example.net"] {
            let objection = check(&relay, &authenticated("anna"), recipient, &directory().unavailable()).unwrap_err();
            assert_eq!((objection.reply.code(), objection.reply.status()), (451, (4, 3, 0)));
        }
    }
}
