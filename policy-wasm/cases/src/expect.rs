//! Expectations of a case.

use std::collections::BTreeMap;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, de};

use crate::case_decision::Stage;
use crate::case_text::text_or_table;

/// Expected answers by stage. Stages without an expectation are not compared.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Expect {
    /// Keys for which `configure` must report problems, in any order.
    pub problems: Option<Vec<String>>,
    /// The answer to the connection.
    #[serde(deserialize_with = "admit")]
    pub admit: Option<Expected>,
    /// The answer to MAIL.
    #[serde(deserialize_with = "verdict")]
    pub sender: Option<Expected>,
    /// The answer to RCPT, for a case with a single recipient.
    #[serde(deserialize_with = "verdict")]
    pub recipient: Option<Expected>,
    /// The answers to RCPT by address.
    #[serde(deserialize_with = "recipients")]
    pub recipients: BTreeMap<String, Expected>,
    /// The answer to the end of DATA.
    #[serde(deserialize_with = "disposition")]
    pub message: Option<Expected>,
    /// The plan of notices.
    #[serde(deserialize_with = "plan")]
    pub ndr: Option<Expected>,
    /// Texts that must occur in the lines that the policy logs.
    pub log: Vec<String>,
}

impl Expect {
    /// True if there is no expectation.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// The expectation of an answer. Can be written as the words of the decision alone, or as a table.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Expected {
    /// The words of the decision, or the beginning of the words.
    pub decision: Option<String>,
    /// The cited rule.
    pub rule: Option<String>,
    /// The matched entry of the rule; `""` for no entry.
    pub entry: Option<String>,
    /// Part of the text of a reply or of a fault.
    pub text: Option<String>,
    /// Requirement to authenticate. Stage `admit` only.
    pub authentication: Option<bool>,
    /// Requirement to encrypt. Stage `admit` only.
    pub encryption: Option<bool>,
    /// Exemptions in any order. Stage `admit` only.
    pub exemptions: Option<Vec<String>>,
    /// Complete edits of an accepted message in order, such as `add-header X-Seen: yes`. Stage `message` only.
    pub edits: Option<Vec<String>>,
    /// Part of the remark of each notice, in order; `""` fits any remark and the absence of a remark. Stage `ndr` only.
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

/// Returns the possible first words of a decision.
fn first_words(stage: Stage) -> &'static [&'static str] {
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

/// Checks that a policy can give this answer at the stage: words, class of the reply code, and details.
fn check(expected: &Expected, stage: Stage) -> Result<(), String> {
    if let Some(decision) = &expected.decision {
        let mut parts = decision.split(' ');
        let first = parts.next().unwrap_or_default();
        if !first_words(stage).contains(&first) {
            return Err(format!(
                "{decision:?} is no decision here: expected one of {}",
                first_words(stage).join(", ")
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
    let only_at = |given: bool, key: &str, key_stage: Stage| match given && stage != key_stage {
        true => Err(format!("{key} is of {key_stage}, not of {stage}")),
        false => Ok(()),
    };
    only_at(expected.authentication.is_some(), "authentication", Stage::Admit)?;
    only_at(expected.encryption.is_some(), "encryption", Stage::Admit)?;
    only_at(expected.exemptions.is_some(), "exemptions", Stage::Admit)?;
    only_at(expected.edits.is_some(), "edits", Stage::Message)?;
    only_at(expected.remarks.is_some(), "remarks", Stage::Ndr)
}

fn expected_at<'de, D: Deserializer<'de>>(stage: Stage, input: D) -> Result<Expected, D::Error> {
    let expected: Expected = text_or_table(input)?;
    check(&expected, stage).map_err(de::Error::custom)?;
    Ok(expected)
}

fn admit<'de, D: Deserializer<'de>>(input: D) -> Result<Option<Expected>, D::Error> {
    expected_at(Stage::Admit, input).map(Some)
}

fn verdict<'de, D: Deserializer<'de>>(input: D) -> Result<Option<Expected>, D::Error> {
    expected_at(Stage::Recipient, input).map(Some)
}

fn disposition<'de, D: Deserializer<'de>>(input: D) -> Result<Option<Expected>, D::Error> {
    expected_at(Stage::Message, input).map(Some)
}

fn plan<'de, D: Deserializer<'de>>(input: D) -> Result<Option<Expected>, D::Error> {
    expected_at(Stage::Ndr, input).map(Some)
}

fn recipients<'de, D: Deserializer<'de>>(input: D) -> Result<BTreeMap<String, Expected>, D::Error> {
    struct OfRecipient(Expected);
    impl<'de> Deserialize<'de> for OfRecipient {
        fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
            expected_at(Stage::Recipient, input).map(Self)
        }
    }
    let by_address: BTreeMap<String, OfRecipient> = Deserialize::deserialize(input)?;
    Ok(by_address.into_iter().map(|(address, of)| (address, of.0)).collect())
}
