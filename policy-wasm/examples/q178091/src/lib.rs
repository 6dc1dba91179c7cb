//! The policy of 1999, with the mistake that took a mail service down (knowledge base article Q178091), as an example
//! of a fault and of its small effect today.
//!
//! The policy exempts a host from authentication and checks after DATA that the sender has a mailbox on this host. When
//! a message fails the check, the plan of notices assumes that the client had authenticated, which is wrong for the
//! exempt host.
//!
//! The policy has no settings.
#![cfg(target_arch = "wasm32")]

use contract::exports::posthouse::policy::{exemption, homing, lifecycle, ndr};
use contract::posthouse::policy::directory::{self, Home};
use contract::posthouse::policy::message::Message;
use contract::posthouse::policy::types::{Because, Client, Decision, Envelope, Failure, Reply, ReversePath, Verdict};

mod contract {
    #![allow(missing_docs, unsafe_code, clippy::all)]
    wit_bindgen::generate!({ world: "policy" });
    export!(Policy);
    use super::Policy;
}

/// Address of the "relay server" of the article.
const EXEMPT_HOST: &str = "127.0.0.2";

struct Policy;

impl lifecycle::Guest for Policy {
    fn describe() -> lifecycle::Description {
        let rule = |name: &str, summary: &str| lifecycle::Rule {
            name: name.to_owned(),
            summary: summary.to_owned(),
        };
        lifecycle::Description {
            name: "q178091".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            rules: vec![
                rule("relay-server", "one host need not authenticate"),
                rule("homing", "clients can only submit if homed on this server"),
                rule("relay", "only clients that authenticated may send to other hosts"),
                rule("tell-administrator", "a failure is reported to the administrator"),
            ],
        }
    }

    fn configure(_settings: String) -> Result<(), Vec<lifecycle::Problem>> {
        Ok(())
    }
}

impl exemption::Guest for Policy {
    fn admit(client: Client<'_>) -> (exemption::Admission, Because) {
        let exempt = client.address == EXEMPT_HOST;
        let terms = exemption::Terms {
            authentication: Some(!exempt),
            encryption: None,
            exemptions: if exempt {
                vec!["authentication".to_owned()]
            } else {
                vec![]
            },
        };
        (
            exemption::Admission::Admit(terms),
            because("relay-server", exempt.then_some(EXEMPT_HOST)),
        )
    }
}

impl homing::Guest for Policy {
    fn check_sender(_client: Client<'_>, _sender: ReversePath) -> Decision {
        decision(Verdict::Pass, because("homing", None))
    }

    fn check_recipient(client: Client<'_>, _sender: ReversePath, recipient: String) -> Decision {
        let because = because("relay", Some(&recipient));
        let domain = recipient.rsplit_once('@').map_or("", |(_, domain)| domain);
        let verdict = match directory::is_local_domain(domain) {
            Err(_) => Verdict::Defer(try_later()),
            Ok(false) if client.identity.is_none() => Verdict::Reject(reply(550, (5, 7, 1), "Relaying denied")),
            Ok(false) => Verdict::Accept,
            Ok(true) => match directory::lookup(&recipient) {
                Err(_) => Verdict::Defer(try_later()),
                Ok(entries) if entries.is_empty() => Verdict::Reject(reply(550, (5, 1, 1), "No such recipient here")),
                Ok(_) => Verdict::Accept,
            },
        };
        decision(verdict, because)
    }

    fn check_message(client: Client<'_>, envelope: Envelope<'_>, _message: &Message) -> (homing::Disposition, Because) {
        let ReversePath::Mailbox(sender) = &envelope.sender else {
            return (homing::Disposition::Accept(vec![]), because("homing", None));
        };
        let because = because("homing", Some(sender));
        let disposition = match directory::lookup(sender) {
            Err(_) => homing::Disposition::Defer(try_later()),
            Ok(entries) if entries.iter().any(|entry| matches!(entry.home, Home::Here)) => {
                homing::Disposition::Accept(vec![])
            }
            Ok(_) if client.identity.is_none() => homing::Disposition::Fail("not-homed".to_owned()),
            Ok(_) => homing::Disposition::Reject(reply(554, (5, 7, 1), &format!("Mailbox is not local: {sender}"))),
        };
        (disposition, because)
    }
}

impl ndr::Guest for Policy {
    #[allow(clippy::unwrap_used, reason = "this is the mistake")]
    fn plan(failure: Failure<'_>) -> (Vec<ndr::Notice>, Because) {
        // An exempt host never authenticated, so there is no identity to read.
        let submitter = failure.identity.unwrap();
        let notice = ndr::Notice {
            to: ndr::Audience::Administrator,
            content: ndr::ReturnContent::Headers,
            remark: Some(format!("The message was submitted by {}.", submitter.account)),
        };
        (vec![notice], because("tell-administrator", Some(&failure.class)))
    }
}

fn decision(verdict: Verdict, because: Because) -> Decision {
    Decision { verdict, because }
}

fn because(rule: &str, entry: Option<&str>) -> Because {
    Because {
        rule: rule.to_owned(),
        entry: entry.map(str::to_owned),
    }
}

fn try_later() -> Reply {
    reply(451, (4, 3, 0), "The directory cannot be asked now, try again later")
}

fn reply(code: u16, status: (u8, u16, u16), text: &str) -> Reply {
    Reply {
        code,
        status,
        text: text.to_owned(),
    }
}
