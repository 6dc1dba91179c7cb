//! A policy that is wrong in the way its settings say, at the stage they say, and has no opinion
//! otherwise: to see what a host makes of each kind of fault.
//!
//! Settings: `{"mode": "loop" | "eat-memory" | "lie-reply" | "forge-address" | "add-recipient" | "recurse" |
//! "panic",
//! "stage": "admit" | "sender" | "recipient" | "message" | "ndr"}`. Without a mode it behaves;
//! without a stage it is `sender`, and `message` for an address.
#![cfg(target_arch = "wasm32")]

mod mischief;

use std::cell::RefCell;

use contract::exports::posthouse::policy::{exemption, homing, lifecycle, ndr};
use contract::posthouse::policy::message::Message;
use contract::posthouse::policy::types::{Because, Client, Decision, Envelope, Failure, Reply, ReversePath, Verdict};
use mischief::{Lie, Settings, Stage};

mod contract {
    #![allow(missing_docs, unsafe_code, clippy::all)]
    wit_bindgen::generate!({ world: "policy" });
    export!(Misbehaving);
    use super::Misbehaving;
}

/// An address that would be a second command if anyone wrote it into a dialogue.
const FORGED: &str = "x@y>\r\nRCPT TO:<z@w";

/// An address that is added to every message.
const ELSEWHERE: &str = "elsewhere@loop.example";

thread_local! {
    static SETTINGS: RefCell<Settings> = RefCell::default();
}

struct Misbehaving;

impl lifecycle::Guest for Misbehaving {
    fn describe() -> lifecycle::Description {
        lifecycle::Description {
            name: "misbehaving".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            rules: vec![lifecycle::Rule {
                name: "mischief".to_owned(),
                summary: "does what its settings say".to_owned(),
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

impl exemption::Guest for Misbehaving {
    fn admit(_client: Client<'_>) -> (exemption::Admission, Because) {
        let admission = match lie_at(Stage::Admit) {
            Some(_) => exemption::Admission::Refuse(success()),
            None => exemption::Admission::Pass,
        };
        (admission, because())
    }
}

impl homing::Guest for Misbehaving {
    fn check_sender(_client: Client<'_>, _sender: ReversePath) -> Decision {
        decision(lie_at(Stage::Sender))
    }

    fn check_recipient(_client: Client<'_>, _sender: ReversePath, _recipient: String) -> Decision {
        decision(lie_at(Stage::Recipient))
    }

    fn check_message(
        _client: Client<'_>,
        _envelope: Envelope<'_>,
        _message: &Message,
    ) -> (homing::Disposition, Because) {
        let disposition = match lie_at(Stage::Message) {
            Some(Lie::Reply) => homing::Disposition::Reject(success()),
            Some(Lie::Address) => homing::Disposition::Accept(vec![homing::Edit::AddRecipient(FORGED.to_owned())]),
            Some(Lie::Recipient) => homing::Disposition::Accept(vec![homing::Edit::AddRecipient(ELSEWHERE.to_owned())]),
            None => homing::Disposition::Pass,
        };
        (disposition, because())
    }
}

impl ndr::Guest for Misbehaving {
    fn plan(_failure: Failure<'_>) -> (Vec<ndr::Notice>, Because) {
        let to = match lie_at(Stage::Ndr) {
            Some(_) => ndr::Audience::Address(FORGED.to_owned()),
            None => ndr::Audience::Administrator,
        };
        let notice = ndr::Notice {
            to,
            content: ndr::ReturnContent::Headers,
            remark: None,
        };
        (vec![notice], because())
    }
}

/// Faults here and now if the settings say so; a lie is for the caller to tell.
fn lie_at(stage: Stage) -> Option<Lie> {
    SETTINGS.with_borrow(|settings| settings.act(stage))
}

fn decision(lie: Option<Lie>) -> Decision {
    Decision {
        verdict: match lie {
            Some(_) => Verdict::Reject(success()),
            None => Verdict::Pass,
        },
        because: because(),
    }
}

/// A success where only a failure can be.
fn success() -> Reply {
    Reply {
        code: 250,
        status: (2, 0, 0),
        text: "OK".to_owned(),
    }
}

fn because() -> Because {
    Because {
        rule: "mischief".to_owned(),
        entry: None,
    }
}
