//! The smallest useful policy: the recipients that its settings list get no mail.
//!
//! Settings: `{"refuse": ["address", ...]}`.
#![cfg(target_arch = "wasm32")]

use std::cell::RefCell;

use contract::exports::posthouse::policy::{homing, lifecycle};
use contract::posthouse::policy::message::Message;
use contract::posthouse::policy::types::{Because, Client, Decision, Envelope, Reply, ReversePath, Verdict};

mod contract {
    #![allow(missing_docs, unsafe_code, clippy::all)]
    wit_bindgen::generate!({ world: "homing-policy" });
    export!(FirstPolicy);
    use super::FirstPolicy;
}

/// What the operator decides.
#[derive(Default, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// Addresses, in any case.
    #[serde(default)]
    refuse: Vec<String>,
}

thread_local! {
    static SETTINGS: RefCell<Settings> = RefCell::default();
}

struct FirstPolicy;

impl lifecycle::Guest for FirstPolicy {
    fn describe() -> lifecycle::Description {
        lifecycle::Description {
            name: "first-policy".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            rules: vec![lifecycle::Rule {
                name: "refuse".to_owned(),
                summary: "recipients that get no mail".to_owned(),
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

impl homing::Guest for FirstPolicy {
    fn check_sender(_client: Client<'_>, _sender: ReversePath) -> Decision {
        decision(Verdict::Pass, None)
    }

    fn check_recipient(_client: Client<'_>, _sender: ReversePath, recipient: String) -> Decision {
        let refused = SETTINGS.with_borrow(|settings| {
            settings
                .refuse
                .iter()
                .any(|address| address.eq_ignore_ascii_case(&recipient))
        });
        if !refused {
            return decision(Verdict::Pass, None);
        }
        let reply = Reply {
            code: 550,
            status: (5, 7, 1),
            text: "This recipient gets no mail".to_owned(),
        };
        decision(Verdict::Reject(reply), Some(recipient))
    }

    fn check_message(
        _client: Client<'_>,
        _envelope: Envelope<'_>,
        _message: &Message,
    ) -> (homing::Disposition, Because) {
        (homing::Disposition::Pass, because(None))
    }
}

fn decision(verdict: Verdict, entry: Option<String>) -> Decision {
    Decision {
        verdict,
        because: because(entry),
    }
}

fn because(entry: Option<String>) -> Because {
    Because {
        rule: "refuse".to_owned(),
        entry,
    }
}
