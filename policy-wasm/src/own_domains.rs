//! Own domains: addresses of local domains are only for clients that may use them.
//!
//! A client may use the addresses if it authenticated (account match then applies), is exempt from authentication or
//! originator, or may relay. Any other client is a stranger, whose mail from a local domain is forged, forwarded, or
//! from a mailing list.

use crate::admission::is_exempt;
use crate::directory_questions::{Directory, domain_of};
use crate::header_source::HeaderSource;
use crate::objections::{Objection, directory_unavailable, reply};
use crate::originator::author_domains;
use crate::recipient;
use crate::rule_names::Rule;
use crate::settings::{Exemption, OwnDomains, Settings};
use posthouse_policy::{Because, Client, ReversePath};

fn is_stranger(settings: &Settings, client: &Client) -> bool {
    client.identity.is_none()
        && !is_exempt(client, Exemption::Authentication)
        && !is_exempt(client, Exemption::Originator)
        && recipient::permission(&settings.relay, client).is_none()
}

/// Checks the reverse-path. The null reverse-path passes (RFC 5321 section 4.5.5). `Ok(None)` means that the rule does
/// not apply.
pub fn check_sender(
    settings: &Settings,
    client: &Client,
    sender: &ReversePath,
    directory: &impl Directory,
) -> Result<Option<Because>, Objection> {
    let ReversePath::Mailbox(address) = sender else {
        return Ok(None);
    };
    if settings.homing.own_domains == OwnDomains::Anyone || !is_stranger(settings, client) {
        return Ok(None);
    }
    check_domain(domain_of(address), directory).map(|()| None)
}

/// Checks the addresses of `From:`. `Ok(None)` means that the rule does not apply.
pub fn check_author(
    settings: &Settings,
    client: &Client,
    message: &impl HeaderSource,
    directory: &impl Directory,
) -> Result<Option<Because>, Objection> {
    if settings.homing.own_domains != OwnDomains::SenderAndAuthor || !is_stranger(settings, client) {
        return Ok(None);
    }
    let Some(block) = message.whole_header() else {
        return Ok(None);
    };
    let refused = |reason: &str| {
        let text = format!("From field {reason}");
        Objection {
            reply: reply(550, (5, 7, 1), &text),
            because: Rule::OwnDomains.because(text),
        }
    };
    for domain in author_domains(&block).map_err(refused)? {
        check_domain(&domain, directory)?;
    }
    Ok(None)
}

fn check_domain(domain: &str, directory: &impl Directory) -> Result<(), Objection> {
    match directory.is_local_domain(domain) {
        Ok(false) => Ok(()),
        Ok(true) => Err(Objection {
            reply: reply(
                550,
                (5, 7, 1),
                &format!("Authenticate to send mail from {domain}, a domain of this host"),
            ),
            because: Rule::OwnDomains.because(domain),
        }),
        Err(_) => Err(directory_unavailable(domain)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{FakeDirectory, FakeHeader, authenticated, client_from, exempt, from, settings};

    fn directory() -> FakeDirectory {
        FakeDirectory::new(&["example.org"]).account("anna", "anna@example.org")
    }

    fn settings_with(value: &str, rest: &str) -> Settings {
        settings(&format!(r#"{{"homing": {{"own-domains": "{value}"}}{rest}}}"#))
    }

    fn sender(settings: &Settings, client: &Client, address: &str) -> Result<Option<Because>, Objection> {
        check_sender(settings, client, &from(address), &directory())
    }

    fn author(settings: &Settings, client: &Client, header: &str) -> Result<Option<Because>, Objection> {
        check_author(settings, client, &FakeHeader::new(header), &directory())
    }

    #[test]
    fn refuses_a_stranger_with_a_local_reverse_path() {
        let stranger = client_from("192.0.2.1");
        for value in ["sender", "sender-and-author"] {
            let settings = settings_with(value, "");
            for address in ["anna@example.org", "nobody@EXAMPLE.org"] {
                let objection = sender(&settings, &stranger, address).unwrap_err();
                assert_eq!((objection.reply.code(), objection.reply.status()), (550, (5, 7, 1)));
            }
            assert!(sender(&settings, &stranger, "x@example.net").is_ok());
            assert!(check_sender(&settings, &stranger, &ReversePath::Null, &directory()).is_ok());
        }
        assert!(sender(&settings("{}"), &stranger, "anna@example.org").is_ok());
    }

    #[test]
    fn clients_that_may_use_the_domains_pass() {
        let settings = settings_with("sender-and-author", r#", "relay": {"clients": ["10.0.0.0/8"]}"#);
        for client in [
            authenticated("anna"),
            exempt("192.0.2.1", &["authentication"]),
            exempt("192.0.2.1", &["originator"]),
            exempt("192.0.2.1", &["relay"]),
            client_from("10.1.1.1"),
        ] {
            assert!(sender(&settings, &client, "anna@example.org").is_ok(), "{client:?}");
            assert!(
                author(&settings, &client, "From: anna@example.org\r\n").is_ok(),
                "{client:?}"
            );
        }
        let homing = exempt("192.0.2.1", &["homing"]);
        assert!(sender(&settings, &homing, "anna@example.org").is_err());
    }

    #[test]
    fn refuses_a_stranger_with_a_local_author() {
        let stranger = client_from("192.0.2.1");
        let settings = settings_with("sender-and-author", "");
        for header in [
            "From: anna@example.org\r\n",
            "From: Anna <anna@EXAMPLE.ORG>\r\n",
            "From: x@example.net, anna@example.org\r\n",
            "From: anna@example.org <x@example.net>\r\n",
            // Unreadable fields: every domain in them counts.
            "From: Bert <anna@example.org>:x@example.net;\r\n",
            "From: x@example.net\r\nFrom: anna@example.org\r\n",
            "From : anna@example.org\r\n",
            "From: anna @ example.org\r\n",
        ] {
            let objection = author(&settings, &stranger, header).expect_err(header);
            assert_eq!(
                (objection.reply.code(), objection.reply.status()),
                (550, (5, 7, 1)),
                "{header}"
            );
        }
        for header in [
            "From: \"anna@example.org via List\" <list@lists.example>\r\n",
            "From: =?utf-8?q?anna=40example.org_via_List?= <list@lists.example>\r\n",
            "From: x@example.net\r\nSender: anna@example.org\r\n",
            "From: x <x@sub.example.org>\r\n",
            "Subject: none\r\n",
            "From: <>\r\n",
        ] {
            assert!(author(&settings, &stranger, header).is_ok(), "{header}");
        }
        let relaxed = settings_with("sender", "");
        assert!(author(&relaxed, &stranger, "From: anna@example.org\r\n").is_ok());
    }

    #[test]
    fn too_many_domains_are_refused_before_look_ups() {
        let settings = settings_with("sender-and-author", "");
        let many: Vec<String> = (0..100).map(|n| format!("x@d{n}.example")).collect();
        let directory = directory();
        let message = FakeHeader::new(&format!("From: {}\r\n", many.join(",\r\n ")));
        assert!(check_author(&settings, &client_from("192.0.2.1"), &message, &directory).is_err());
        assert_eq!(directory.questions(), 0);
    }
}
