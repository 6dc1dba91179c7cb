//! What a case expects.

use std::collections::BTreeMap;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, de};

use crate::decision::Stage;
use crate::text::text_or_table;

/// What must be answered, stage by stage. What is not named is not compared.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Expect {
    /// Keys that `configure` must complain of, in any order.
    pub problems: Option<Vec<String>>,
    /// The connection.
    #[serde(deserialize_with = "admit")]
    pub admit: Option<Expected>,
    /// MAIL.
    #[serde(deserialize_with = "verdict")]
    pub sender: Option<Expected>,
    /// RCPT, of a case with one recipient.
    #[serde(deserialize_with = "verdict")]
    pub recipient: Option<Expected>,
    /// RCPT, by address.
    #[serde(deserialize_with = "recipients")]
    pub recipients: BTreeMap<String, Expected>,
    /// The final dot.
    #[serde(deserialize_with = "disposition")]
    pub message: Option<Expected>,
    /// Who is told.
    #[serde(deserialize_with = "plan")]
    pub ndr: Option<Expected>,
    /// Each must be part of a line that is logged.
    pub log: Vec<String>,
}

impl Expect {
    /// Whether nothing is expected at all.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What one answer must be. Written as the words alone, or as a table.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Expected {
    /// The decision in words, or the beginning of them.
    pub decision: Option<String>,
    /// The rule it cites.
    pub rule: Option<String>,
    /// The entry of it that matched; `""` is none.
    pub entry: Option<String>,
    /// Part of the reply's text, or of what is known about a fault.
    pub text: Option<String>,
    /// Of `admit`: whether the client must authenticate.
    pub authentication: Option<bool>,
    /// Of `admit`: whether the client must encrypt.
    pub encryption: Option<bool>,
    /// Of `admit`: what the client is exempt from, in any order.
    pub exemptions: Option<Vec<String>>,
    /// Of an accepted message: every change, in order, as in `add-header X-Seen: yes`.
    pub edits: Option<Vec<String>>,
    /// Of `ndr`: part of the remark of each notice, in order; `""` fits every remark and none.
    pub remarks: Option<Vec<String>>,
}

impl FromStr for Expected {
    type Err = String;

    fn from_str(words: &str) -> Result<Self, String> {
        Ok(Self {
            decision: Some(words.to_owned()),
            ..Self::default()
        })
    }
}

/// First words of a decision.
pub(crate) fn words(stage: Stage) -> &'static [&'static str] {
    match stage {
        Stage::Admit => &["pass", "admit", "refuse", "fault"],
        Stage::Sender | Stage::Recipient => &["pass", "accept", "reject", "defer", "fault"],
        Stage::Message => &[
            "pass",
            "accept",
            "reject",
            "defer",
            "fail",
            "quarantine",
            "discard",
            "fault",
        ],
        Stage::Ndr => &["tell", "fault"],
    }
}

/// A decision that no policy can give at this stage would never be met: a slip of the pen.
fn check(expected: &Expected, stage: Stage) -> Result<(), String> {
    if let Some(decision) = &expected.decision {
        let mut parts = decision.split(' ');
        let first = parts.next().unwrap_or_default();
        if !words(stage).contains(&first) {
            return Err(format!(
                "{decision:?} is no decision here: expected one of {}",
                words(stage).join(", ")
            ));
        }
        let class = match first {
            "reject" => 500..600,
            "defer" => 400..500,
            "refuse" => 400..600,
            _ => 0..0,
        };
        if let (false, Some(code)) = (class.is_empty(), parts.next())
            && !code.parse().is_ok_and(|code: u16| class.contains(&code))
        {
            return Err(format!(
                "{decision:?}: a reply to {first} has a code from {} to {}",
                class.start,
                class.end - 1
            ));
        }
    }
    let only = |named: bool, key: &str, at: Stage| match named && stage != at {
        true => Err(format!("{key} is of {at}, not of {stage}")),
        false => Ok(()),
    };
    only(expected.authentication.is_some(), "authentication", Stage::Admit)?;
    only(expected.encryption.is_some(), "encryption", Stage::Admit)?;
    only(expected.exemptions.is_some(), "exemptions", Stage::Admit)?;
    only(expected.edits.is_some(), "edits", Stage::Message)?;
    only(expected.remarks.is_some(), "remarks", Stage::Ndr)
}

fn at<'de, D: Deserializer<'de>>(stage: Stage, input: D) -> Result<Expected, D::Error> {
    let expected: Expected = text_or_table(input)?;
    check(&expected, stage).map_err(de::Error::custom)?;
    Ok(expected)
}

fn admit<'de, D: Deserializer<'de>>(input: D) -> Result<Option<Expected>, D::Error> {
    at(Stage::Admit, input).map(Some)
}

fn verdict<'de, D: Deserializer<'de>>(input: D) -> Result<Option<Expected>, D::Error> {
    at(Stage::Recipient, input).map(Some)
}

fn disposition<'de, D: Deserializer<'de>>(input: D) -> Result<Option<Expected>, D::Error> {
    at(Stage::Message, input).map(Some)
}

fn plan<'de, D: Deserializer<'de>>(input: D) -> Result<Option<Expected>, D::Error> {
    at(Stage::Ndr, input).map(Some)
}

fn recipients<'de, D: Deserializer<'de>>(input: D) -> Result<BTreeMap<String, Expected>, D::Error> {
    struct OfRecipient(Expected);
    impl<'de> Deserialize<'de> for OfRecipient {
        fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
            at(Stage::Recipient, input).map(Self)
        }
    }
    let by_address: BTreeMap<String, OfRecipient> = Deserialize::deserialize(input)?;
    Ok(by_address.into_iter().map(|(address, of)| (address, of.0)).collect())
}
