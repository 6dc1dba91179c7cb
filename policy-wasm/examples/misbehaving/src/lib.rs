//! A policy that is wrong in the way its settings say, at the stage they say, and has no opinion
//! otherwise: to see what a host makes of each kind of fault.
//!
//! Settings, all optional:
//!
//! - `mode`: `loop`, `slow`, `eat-memory`, `lie-reply`, `forge-address`, `add-recipient`, `recurse`, `panic`,
//!   `huge-decision`, `leak-handles`. Without it, it behaves.
//! - `stage`: `configure`, `admit`, `sender`, `recipient`, `message`, `ndr`. Without it it is `sender`,
//!   and `message` for an address.
//! - `recipient`, `subject`: only about this recipient, only about messages with this in their subject;
//!   `chance`: only in so many of a hundred cases; `handles`: how many are leaked in each call.
//! - `stamp`: a word that is put on every message in a field `X-Stamp`, followed by the questions this
//!   instance was asked before: who decided, and from when on.
#![cfg(target_arch = "wasm32")]

mod mischief;

use std::cell::RefCell;

use contract::exports::posthouse::policy::{exemption, homing, lifecycle, ndr};
use contract::posthouse::policy::message::Message;
use contract::posthouse::policy::types::{Because, Client, Decision, Envelope, Failure, Reply, ReversePath, Verdict};
use mischief::{Lie, Question, Settings, Stage};

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
    static ASKED: RefCell<Vec<&'static str>> = RefCell::default();
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
        lie_to(&Question::at(Stage::Configure));
        Ok(())
    }
}

impl exemption::Guest for Misbehaving {
    fn admit(_client: Client<'_>) -> (exemption::Admission, Because) {
        let admission = match lie_to(&Question::at(Stage::Admit)) {
            Some(Lie::Huge) => exemption::Admission::Refuse(huge()),
            Some(_) => exemption::Admission::Refuse(success()),
            None => exemption::Admission::Pass,
        };
        (admission, because())
    }
}

impl homing::Guest for Misbehaving {
    fn check_sender(_client: Client<'_>, _sender: ReversePath) -> Decision {
        decision(lie_to(&Question::at(Stage::Sender)))
    }

    fn check_recipient(_client: Client<'_>, _sender: ReversePath, recipient: String) -> Decision {
        decision(lie_to(&Question {
            recipient: Some(&recipient),
            ..Question::at(Stage::Recipient)
        }))
    }

    fn check_message(
        _client: Client<'_>,
        _envelope: Envelope<'_>,
        message: &Message,
    ) -> (homing::Disposition, Because) {
        let question = Question {
            subject: Some(message.header("subject").concat()),
            ..Question::at(Stage::Message)
        };
        let disposition = match lie_to(&question) {
            Some(Lie::Huge) => homing::Disposition::Reject(huge()),
            Some(Lie::Reply) => homing::Disposition::Reject(success()),
            Some(Lie::Address) => homing::Disposition::Accept(vec![homing::Edit::AddRecipient(FORGED.to_owned())]),
            Some(Lie::Recipient) => homing::Disposition::Accept(vec![homing::Edit::AddRecipient(ELSEWHERE.to_owned())]),
            None => stamped(),
        };
        (disposition, because())
    }
}

impl ndr::Guest for Misbehaving {
    fn plan(_failure: Failure<'_>) -> (Vec<ndr::Notice>, Because) {
        let to = match lie_to(&Question::at(Stage::Ndr)) {
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
fn lie_to(question: &Question<'_>) -> Option<Lie> {
    ASKED.with_borrow_mut(|asked| asked.push(question.stage.name()));
    SETTINGS.with_borrow(|settings| settings.act(question))
}

/// What becomes of a message when it behaves.
fn stamped() -> homing::Disposition {
    let stamp = SETTINGS.with_borrow(|settings| settings.stamp.clone());
    match stamp {
        Some(stamp) => {
            let asked = ASKED.with_borrow(|asked| asked.join(" "));
            homing::Disposition::Accept(vec![homing::Edit::AddHeader((
                "X-Stamp".to_owned(),
                format!("{stamp} {asked}"),
            ))])
        }
        None => homing::Disposition::Pass,
    }
}

fn decision(lie: Option<Lie>) -> Decision {
    Decision {
        verdict: match lie {
            Some(Lie::Huge) => Verdict::Reject(huge()),
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

/// A refusal that is all text.
fn huge() -> Reply {
    Reply {
        code: 550,
        status: (5, 7, 1),
        text: "no ".repeat(2 << 20),
    }
}

fn because() -> Because {
    Because {
        rule: "mischief".to_owned(),
        entry: None,
    }
}
