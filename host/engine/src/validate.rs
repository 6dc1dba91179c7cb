//! Validation of answers, and their conversion from the contract's types to the host's. An answer that breaks a rule in
//! the prose of `wit/policy.wit` is invalid, and counts as a fault of the policy.

use super::bindings::exports::posthouse::policy::{exemption, homing, lifecycle, ndr};
use super::bindings::posthouse::policy::types;
use host_contract::{
    Admission, AdmissionTerms, Audience, Disposition, Edit, Notice, Plan, Reason, ReturnContent, Verdict,
};
use host_mail::cut;
use host_mail::{Envelope, Mailbox, Reply, ReversePath};

// Bounds of the contract, in bytes or items.
const REPLY_TEXT: usize = 400;
const EXEMPTIONS: usize = 32;
const NAME: usize = 64;
const HEADER_FIELD: usize = 998;
const NOTICES: usize = 16;
const REMARK: usize = 2_000;
// Bounds of this host, far beyond any use, in bytes or items.
const RULE: usize = 128;
const RULES: usize = 1_024;
const SUMMARY: usize = 1_024;
const ENTRY: usize = 1_024;
const EDITS: usize = 1_024;
const QUOTED: usize = 512;

/// Text of the contract's rule that an answer breaks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidAnswer(String);

impl InvalidAnswer {
    /// Makes an error of `text`, cut to 512 bytes since the text may quote the policy.
    pub fn new(text: impl Into<String>) -> Self {
        Self(cut(text.into(), QUOTED))
    }
}

/// An answer with its reason; `None` if the policy has no opinion.
pub type Opinion<T> = Option<(T, Reason)>;

fn invalid<T>(text: impl Into<String>) -> Result<T, InvalidAnswer> {
    Err(InvalidAnswer::new(text))
}

/// The checked result of `describe`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// 1 to 64 printable bytes.
    pub name: String,
    /// 1 to 64 printable bytes.
    pub version: String,
    /// Name and summary of each rule a decision may cite.
    pub rules: Vec<(String, String)>,
}

pub(super) fn description(description: lifecycle::Description) -> Result<Description, InvalidAnswer> {
    for (field, text) in [("name", &description.name), ("version", &description.version)] {
        if text.is_empty() || text.len() > NAME || !is_printable(text) {
            return invalid(format!("describe: {field} {text:?} is not 1 to {NAME} printable bytes"));
        }
    }
    if description.rules.len() > RULES {
        return invalid(format!(
            "describe: {} rules, more than {RULES}",
            description.rules.len()
        ));
    }
    for rule in &description.rules {
        rule_name(&rule.name)?;
        if rule.summary.len() > SUMMARY {
            return invalid(format!("describe: the summary of rule {} is too long", rule.name));
        }
    }
    Ok(Description {
        name: description.name,
        version: description.version,
        rules: description
            .rules
            .into_iter()
            .map(|rule| (rule.name, rule.summary))
            .collect(),
    })
}

pub(super) fn admission(
    policy: &str,
    (answer, because): (exemption::Admission, types::Because),
) -> Result<Opinion<Admission>, InvalidAnswer> {
    let answer = match answer {
        exemption::Admission::Pass => return Ok(None),
        exemption::Admission::Admit(terms) => Admission::Admit(self::terms(terms)?),
        exemption::Admission::Refuse(reply) => Admission::Refuse(self::reply(reply, None)?),
    };
    Ok(Some((answer, reason(policy, because)?)))
}

fn terms(terms: exemption::Terms) -> Result<AdmissionTerms, InvalidAnswer> {
    if terms.exemptions.len() > EXEMPTIONS {
        return invalid(format!("{} exemptions, more than {EXEMPTIONS}", terms.exemptions.len()));
    }
    for name in &terms.exemptions {
        if name.is_empty() || name.len() > NAME || !is_printable(name) {
            return invalid(format!("exemption {name:?} is not 1 to {NAME} printable bytes"));
        }
    }
    Ok(AdmissionTerms {
        authentication: terms.authentication,
        encryption: terms.encryption,
        exemptions: terms.exemptions.into(),
    })
}

pub(super) fn decision(policy: &str, decision: types::Decision) -> Result<Opinion<Verdict>, InvalidAnswer> {
    let verdict = match decision.verdict {
        types::Verdict::Pass => return Ok(None),
        types::Verdict::Accept => Verdict::Accept,
        types::Verdict::Reject(reply) => Verdict::Reject(self::reply(reply, Some(5))?),
        types::Verdict::Defer(reply) => Verdict::Defer(self::reply(reply, Some(4))?),
    };
    Ok(Some((verdict, reason(policy, decision.because)?)))
}

pub(super) fn disposition(
    policy: &str,
    (answer, because): (homing::Disposition, types::Because),
    envelope: &Envelope,
) -> Result<Opinion<Disposition>, InvalidAnswer> {
    let answer = match answer {
        homing::Disposition::Pass => return Ok(None),
        homing::Disposition::Accept(edits) => Disposition::Accept(self::edits(edits, envelope)?),
        homing::Disposition::Reject(reply) => Disposition::Reject(self::reply(reply, Some(5))?),
        homing::Disposition::Defer(reply) => Disposition::Defer(self::reply(reply, Some(4))?),
        homing::Disposition::Fail(class) => Disposition::Fail(token("failure class", class)?),
        homing::Disposition::Quarantine(folder) => Disposition::Quarantine(token("folder", folder)?),
        homing::Disposition::Discard => Disposition::Discard,
    };
    Ok(Some((answer, reason(policy, because)?)))
}

fn edits(edits: Vec<homing::Edit>, envelope: &Envelope) -> Result<Vec<Edit>, InvalidAnswer> {
    let limit = EDITS + envelope.recipients.len();
    if edits.len() > limit {
        return invalid(format!("{} edits, more than {limit}", edits.len()));
    }
    edits.into_iter().map(|edit| self::edit(edit, envelope)).collect()
}

fn edit(edit: homing::Edit, envelope: &Envelope) -> Result<Edit, InvalidAnswer> {
    Ok(match edit {
        homing::Edit::AddHeader((name, value)) => {
            let name = field_name(name)?;
            if name.len() + value.len() > HEADER_FIELD {
                return invalid(format!("header field {name:?} is longer than {HEADER_FIELD} bytes"));
            }
            if value.chars().any(|c| c.is_control() && c != '\t') {
                return invalid(format!("value of header field {name:?} has a control character"));
            }
            Edit::AddHeader(name, value)
        }
        homing::Edit::RemoveHeader(name) => Edit::RemoveHeader(field_name(name)?),
        homing::Edit::RemoveRecipient(address) => {
            let mailbox = self::mailbox(&address)?;
            if !envelope.recipients.contains(&mailbox) {
                return invalid(format!("recipient {address:?} to be removed is not in the envelope"));
            }
            Edit::RemoveRecipient(mailbox)
        }
        homing::Edit::AddRecipient(address) => Edit::AddRecipient(mailbox(&address)?),
    })
}

pub(super) fn plan(
    policy: &str,
    (notices, because): (Vec<ndr::Notice>, types::Because),
    sender: &ReversePath,
) -> Result<(Plan, Reason), InvalidAnswer> {
    if notices.len() > NOTICES {
        return invalid(format!("{} notices, more than {NOTICES}", notices.len()));
    }
    let plan: Result<Plan, InvalidAnswer> = notices.into_iter().map(|notice| self::notice(notice, sender)).collect();
    Ok((plan?, reason(policy, because)?))
}

fn notice(notice: ndr::Notice, sender: &ReversePath) -> Result<Notice, InvalidAnswer> {
    let to = match notice.to {
        ndr::Audience::Sender if *sender == ReversePath::Null => {
            return invalid("a notice to the sender of a message with a null reverse-path");
        }
        ndr::Audience::Sender => Audience::Sender,
        ndr::Audience::Administrator => Audience::Administrator,
        ndr::Audience::Address(address) => Audience::Address(mailbox(&address)?),
    };
    if let Some(remark) = &notice.remark {
        if remark.len() > REMARK {
            return invalid(format!("a remark of {} bytes, more than {REMARK}", remark.len()));
        }
        if remark
            .chars()
            .any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t'))
        {
            return invalid("a remark has a control character");
        }
    }
    Ok(Notice {
        to,
        content: match notice.content {
            ndr::ReturnContent::Nothing => ReturnContent::Nothing,
            ndr::ReturnContent::Headers => ReturnContent::Headers,
            ndr::ReturnContent::Full => ReturnContent::Full,
        },
        remark: notice.remark,
    })
}

/// Checks a reply. `class` is the first digit that the verdict requires; `None` accepts 4 and 5.
fn reply(reply: types::Reply, class: Option<u16>) -> Result<Reply, InvalidAnswer> {
    let first = reply.code / 100;
    if !(400..=599).contains(&reply.code) {
        return invalid(format!("reply code {} is not 4xx or 5xx", reply.code));
    }
    if class.is_some_and(|class| class != first) {
        let rule = if first == 4 {
            "reject needs 5xx"
        } else {
            "defer needs 4xx"
        };
        return invalid(format!("reply code {}: {rule}", reply.code));
    }
    let (status_class, subject, detail) = reply.status;
    if u16::from(status_class) != first {
        return invalid(format!(
            "status {status_class}.{subject}.{detail} does not fit reply code {}",
            reply.code
        ));
    }
    if subject > 999 || detail > 999 {
        return invalid(format!(
            "status {status_class}.{subject}.{detail} has more than three digits in a part"
        ));
    }
    if reply.text.len() > REPLY_TEXT {
        return invalid(format!(
            "a reply text of {} bytes, more than {REPLY_TEXT}",
            reply.text.len()
        ));
    }
    if !is_printable(&reply.text) {
        return invalid("a reply text has a control character or a line break");
    }
    Ok(Reply::new(reply.code, reply.status, reply.text))
}

/// Checks a reason. The entry may quote hostile text from the network, so the entry is cut here and escaped on output.
fn reason(policy: &str, because: types::Because) -> Result<Reason, InvalidAnswer> {
    rule_name(&because.rule)?;
    Ok(Reason {
        policy: policy.to_owned(),
        rule: because.rule,
        entry: because.entry.map(|entry| cut(entry, ENTRY)),
    })
}

fn rule_name(rule: &str) -> Result<(), InvalidAnswer> {
    if rule.is_empty() || rule.len() > RULE || !is_printable(rule) {
        return invalid(format!("rule {rule:?} is not 1 to {RULE} printable bytes"));
    }
    Ok(())
}

/// Checks the name of a failure class or folder: lower-case letters, digits and hyphens.
fn token(kind: &str, text: String) -> Result<String, InvalidAnswer> {
    let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if text.is_empty() || text.len() > NAME || !text.bytes().all(fits) {
        return invalid(format!(
            "{kind} {text:?} is not 1 to {NAME} lower-case letters, digits and hyphens"
        ));
    }
    Ok(text)
}

/// Checks the name of a header field: printable US-ASCII without the colon (RFC 5322 section 2.2).
fn field_name(name: String) -> Result<String, InvalidAnswer> {
    let fits = |b: u8| matches!(b, 33..=126) && b != b':';
    if name.is_empty() || name.len() > HEADER_FIELD || !name.bytes().all(fits) {
        return invalid(format!("{name:?} is not the name of a header field"));
    }
    Ok(name)
}

fn mailbox(address: &str) -> Result<Mailbox, InvalidAnswer> {
    match address.parse() {
        Ok(mailbox) => Ok(mailbox),
        Err(error) => invalid(format!("address {address:?}: {error}")),
    }
}

fn is_printable(text: &str) -> bool {
    !text
        .chars()
        .any(|c| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}'))
}

#[cfg(test)]
mod tests;
