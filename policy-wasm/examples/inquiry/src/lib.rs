//! A policy that asks the host every possible question about a message and adds the answers to the header: a check of
//! the information that a site's policies get, and an example of every import.
//!
//! Settings: `{"group": "team@example.org", "name": "list.example"}`.
#![cfg(target_arch = "wasm32")]

use std::cell::RefCell;

use contract::exports::posthouse::policy::{homing, lifecycle};
use contract::posthouse::policy::message::Message;
use contract::posthouse::policy::types::{Because, Client, Decision, Envelope, ReversePath, Verdict};
use contract::posthouse::policy::{counters, directory, dns, verification};

mod contract {
    #![allow(missing_docs, unsafe_code, clippy::all)]
    wit_bindgen::generate!({
        path: "wit",
        inline: r#"
            package example:inquiry;
            world inquiry {
                include posthouse:policy/homing-policy@0.2.0;
                import posthouse:policy/dns@0.2.0;
                import posthouse:policy/counters@0.2.0;
                import posthouse:policy/verification@0.2.0;
            }
        "#,
        world: "example:inquiry/inquiry",
        generate_all,
    });
    export!(Inquiry);
    use super::Inquiry;
}

/// Lifetime of the counter of a sender's messages, in seconds.
const COUNTER_LIFETIME: u32 = 24 * 60 * 60;

/// Settings of the policy.
#[derive(Default, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// The group that the sender is looked up in.
    #[serde(default)]
    group: String,
    /// The name that is looked up in the DNS.
    #[serde(default)]
    name: String,
}

thread_local! {
    static SETTINGS: RefCell<Settings> = RefCell::default();
}

struct Inquiry;

impl lifecycle::Guest for Inquiry {
    fn describe() -> lifecycle::Description {
        lifecycle::Description {
            name: "inquiry".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            rules: vec![lifecycle::Rule {
                name: "inquiry".to_owned(),
                summary: "what the host answered, written into the header".to_owned(),
            }],
        }
    }

    fn configure(settings: String) -> Result<(), Vec<lifecycle::Problem>> {
        let settings = serde_json::from_str(&settings).map_err(|error| {
            vec![lifecycle::Problem {
                key: String::new(),
                text: error.to_string(),
            }]
        })?;
        SETTINGS.set(settings);
        Ok(())
    }
}

impl homing::Guest for Inquiry {
    fn check_sender(_client: Client<'_>, _sender: ReversePath) -> Decision {
        accepted()
    }

    fn check_recipient(_client: Client<'_>, _sender: ReversePath, _recipient: String) -> Decision {
        accepted()
    }

    fn check_message(_client: Client<'_>, envelope: Envelope<'_>, message: &Message) -> (homing::Disposition, Because) {
        let sender = match envelope.sender {
            ReversePath::Null => String::new(),
            ReversePath::Mailbox(mailbox) => mailbox,
        };
        let mut answers = SETTINGS.with_borrow(|settings| {
            vec![
                (
                    "X-Member",
                    answer_or_error(directory::is_member(&settings.group, &sender)),
                ),
                ("X-Addresses", answer_or_error(dns::addresses(&settings.name))),
                ("X-Texts", answer_or_error(dns::texts(&settings.name))),
                ("X-Exchanges", answer_or_error(dns::exchanges(&settings.name))),
                ("X-Names", answer_or_error(dns::names("192.0.2.1"))),
                ("X-Count", answer_or_error(counters::add(&sender, 1, COUNTER_LIFETIME))),
            ]
        });
        let findings = verification::findings(message);
        answers.extend(findings.into_iter().map(|finding| {
            let domain = finding.domain.unwrap_or_default();
            ("X-Finding", format!("{}={} {domain}", finding.method, finding.outcome))
        }));
        let header = |(name, value): (&str, String)| homing::Edit::AddHeader((name.to_owned(), value));
        let edits = answers.into_iter().map(header).collect();
        (homing::Disposition::Accept(edits), because())
    }
}

/// Formats an answer, or the reason for its absence.
fn answer_or_error<A: std::fmt::Debug, E: std::fmt::Debug>(answer: Result<A, E>) -> String {
    match answer {
        Ok(answer) => format!("{answer:?}"),
        Err(error) => format!("{error:?}"),
    }
}

fn accepted() -> Decision {
    Decision {
        verdict: Verdict::Accept,
        because: because(),
    }
}

fn because() -> Because {
    Because {
        rule: "inquiry".to_owned(),
        entry: None,
    }
}
