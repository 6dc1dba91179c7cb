//! A policy that causes a fault of a configurable kind at a configurable stage, and has no opinion otherwise. Shows how
//! a host handles each kind of fault.
//!
//! Settings, all optional:
//!
//! - `mode`: `loop`, `slow`, `eat-memory`, `lie-reply`, `forge-address`, `add-recipient`, `recurse`, `panic`,
//!   `huge-decision`, `leak-handles`. The default is no fault.
//! - `stage`: `configure`, `admit`, `sender`, `recipient`, `message`, `ndr`. The default is `sender`; for a mode that
//!   answers with an address, `message`; with `subject`, `message`; with `recipient`, `recipient`.
//! - `recipient`, `subject`: restriction to this recipient, and to messages whose subject contains this text.
//! - `chance`: probability of the fault in per cent.
//! - `handles`: number of handles that each call leaks.
//! - `stamp`: a word that is added to every message in a field `X-Stamp`, followed by all questions so far of this
//!   instance. The field shows which policy decided, and since when.
#![cfg(target_arch = "wasm32")]

mod mischief;

use std::cell::RefCell;

use contract::exports::posthouse::policy::{exemption, homing, lifecycle, ndr};
use contract::posthouse::policy::message::Message;
use contract::posthouse::policy::types::{Because, Client, Decision, Envelope, Failure, Reply, ReversePath, Verdict};
use mischief::{InvalidAnswer, Question, Settings, Stage};

mod contract {
    #![allow(missing_docs, unsafe_code, clippy::all)]
    wit_bindgen::generate!({ world: "policy" });
    export!(Misbehaving);
    use super::Misbehaving;
}

/// An address that injects a second command if written into an SMTP dialogue.
const FORGED: &str = "x@y>\r\nRCPT TO:<z@w";

/// A recipient that is added to a message and causes a mail loop.
const ELSEWHERE: &str = "elsewhere@loop.example";

thread_local! {
    static SETTINGS: RefCell<Settings> = RefCell::default();
    /// Stages of the questions to this instance.
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
        fault_or_invalid_answer(&Question::at(Stage::Configure));
        Ok(())
    }
}

impl exemption::Guest for Misbehaving {
    fn admit(_client: Client<'_>) -> (exemption::Admission, Because) {
        let admission = match fault_or_invalid_answer(&Question::at(Stage::Admit)) {
            Some(InvalidAnswer::Huge) => exemption::Admission::Refuse(huge()),
            Some(_) => exemption::Admission::Refuse(success()),
            None => exemption::Admission::Pass,
        };
        (admission, because())
    }
}

impl homing::Guest for Misbehaving {
    fn check_sender(_client: Client<'_>, _sender: ReversePath) -> Decision {
        decision(fault_or_invalid_answer(&Question::at(Stage::Sender)))
    }

    fn check_recipient(_client: Client<'_>, _sender: ReversePath, recipient: String) -> Decision {
        decision(fault_or_invalid_answer(&Question {
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
        let disposition = match fault_or_invalid_answer(&question) {
            Some(InvalidAnswer::Huge) => homing::Disposition::Reject(huge()),
            Some(InvalidAnswer::Reply) => homing::Disposition::Reject(success()),
            Some(InvalidAnswer::Address) => {
                homing::Disposition::Accept(vec![homing::Edit::AddRecipient(FORGED.to_owned())])
            }
            Some(InvalidAnswer::Recipient) => {
                homing::Disposition::Accept(vec![homing::Edit::AddRecipient(ELSEWHERE.to_owned())])
            }
            None => stamped(),
        };
        (disposition, because())
    }
}

impl ndr::Guest for Misbehaving {
    fn plan(_failure: Failure<'_>) -> (Vec<ndr::Notice>, Because) {
        let to = match fault_or_invalid_answer(&Question::at(Stage::Ndr)) {
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

/// Causes the configured fault, or returns the invalid answer that the caller gives.
fn fault_or_invalid_answer(question: &Question<'_>) -> Option<InvalidAnswer> {
    ASKED.with_borrow_mut(|asked| asked.push(question.stage.name()));
    SETTINGS.with_borrow(|settings| settings.act(question))
}

/// Returns the valid answer to a message: with a stamp if configured, otherwise no opinion.
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

fn decision(invalid: Option<InvalidAnswer>) -> Decision {
    Decision {
        verdict: match invalid {
            Some(InvalidAnswer::Huge) => Verdict::Reject(huge()),
            Some(_) => Verdict::Reject(success()),
            None => Verdict::Pass,
        },
        because: because(),
    }
}

/// Returns an invalid refusal: a success code where the contract requires a failure.
fn success() -> Reply {
    Reply {
        code: 250,
        status: (2, 0, 0),
        text: "OK".to_owned(),
    }
}

/// Returns a refusal with a text of 6 MiB.
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
