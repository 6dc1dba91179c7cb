//! The host's rules for notices, and the standard plan that applies if no policy has a plan.

use host_contract::{Audience, Failure, Notice, Plan, Reason, ReturnContent};
use host_mail::{Mailbox, ReturnedPart, ReversePath};

use super::failure_facts::is_report_type;

/// Failure classes of delivery; any other class is the decision of a policy.
const DELIVERY_CLASSES: [&str; 7] = [
    "address-not-found",
    "ambiguous-address",
    "conversion-failed",
    "expired",
    "host-not-found",
    "loop",
    "protocol-error",
];

/// Failure classes that concern the recipient address, so that a notice to the same address would fail, too.
const ADDRESS_CLASSES: [&str; 4] = ["address-not-found", "ambiguous-address", "host-not-found", "loop"];

/// The standard plan: notifies the administrator, and the sender unless the original is itself a report or the notice
/// could be backscatter. A reverse-path that is not null asks for the notice, also of automatic mail (RFC 5321 section
/// 6.1).
pub(super) fn standard_plan(failure: &Failure) -> Plan {
    let notice = |to| Notice {
        // RFC 3461 section 4.3: without RET the host decides.
        content: match (&to, failure.envelope.returned_part()) {
            (Audience::Sender, Some(ReturnedPart::Full)) => ReturnContent::Full,
            _ => ReturnContent::Headers,
        },
        to,
        remark: None,
    };
    let mut plan = vec![notice(Audience::Administrator)];
    let authenticated = failure.identity.is_some();
    let in_delivery = DELIVERY_CLASSES.contains(&failure.class.as_str());
    let has_sender = failure.envelope.sender != ReversePath::Null;
    let is_report = failure
        .headers
        .iter()
        .any(|(name, value)| name.eq_ignore_ascii_case("Content-Type") && is_report_type(value));
    if has_sender && !is_report && (authenticated || in_delivery) {
        plan.insert(0, notice(Audience::Sender));
    }
    plan
}

/// The plan for the failures of one class, and its reason.
pub(super) struct PlannedClass {
    pub failure: Failure,
    pub plan: Plan,
    pub because: Reason,
}

/// A notice to send, about the failures of one or more classes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Addressed {
    pub to: Mailbox,
    pub content: ReturnContent,
    /// Remarks of the plans, without repetition.
    pub remarks: Vec<String>,
    /// Indexes of the planned classes that the notice is about, ascending.
    pub classes: Vec<usize>,
    /// True if `to` is the reverse-path of the original, not merely the same mailbox named otherwise.
    pub to_sender: bool,
}

/// A notice that is not sent, with the reason.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct DroppedNotice {
    pub to: String,
    pub reason: &'static str,
}

/// Applies the rules that no policy can overrule, and merges the notices to the same address: each address gets a single
/// report, with the largest content, about the classes whose plans name it.
pub(super) fn address(planned: &[PlannedClass], administrator: &Mailbox) -> (Vec<Addressed>, Vec<DroppedNotice>) {
    let mut addressed: Vec<Addressed> = Vec::new();
    let mut dropped: Vec<DroppedNotice> = Vec::new();
    for (class, PlannedClass { failure, plan, .. }) in planned.iter().enumerate() {
        for notice in plan {
            let to = match (&notice.to, &failure.envelope.sender) {
                (Audience::Sender, ReversePath::Mailbox(sender)) => Ok(sender),
                (Audience::Sender, ReversePath::Null) => Err(("<>".to_owned(), "the reverse-path is null")),
                (Audience::Administrator, _) => Ok(administrator),
                (Audience::Address(mailbox), _) => Ok(mailbox),
            };
            let to = to.and_then(|to| match planned.iter().any(|class| is_dead_end(to, &class.failure)) {
                true => Err((to.to_string(), "it would go to the address that has just failed")),
                false => Ok(to),
            });
            match to {
                Ok(to) => add(&mut addressed, to, notice, class),
                Err((to, reason)) => {
                    let drop = DroppedNotice { to, reason };
                    if !dropped.contains(&drop) {
                        dropped.push(drop);
                    }
                }
            }
        }
    }
    (addressed, dropped)
}

fn add(addressed: &mut Vec<Addressed>, to: &Mailbox, notice: &Notice, class: usize) {
    let to_sender = notice.to == Audience::Sender;
    let same = addressed.iter().position(|other| other.to.key() == to.key());
    let at = same.unwrap_or(addressed.len());
    if same.is_none() {
        addressed.push(Addressed {
            to: to.clone(),
            content: notice.content,
            remarks: Vec::new(),
            classes: Vec::new(),
            to_sender,
        });
    }
    let report = &mut addressed[at];
    report.content = larger(report.content, notice.content);
    report.to_sender |= to_sender;
    if !report.classes.contains(&class) {
        report.classes.push(class);
    }
    if let Some(remark) = &notice.remark
        && !report.remarks.contains(remark)
    {
        report.remarks.push(remark.clone());
    }
}

/// True if a notice to the address would fail as the message did.
fn is_dead_end(to: &Mailbox, failure: &Failure) -> bool {
    ADDRESS_CLASSES.contains(&failure.class.as_str())
        && failure.failed.iter().any(|failed| failed.address.key() == to.key())
}

fn larger(one: ReturnContent, other: ReturnContent) -> ReturnContent {
    use ReturnContent::{Full, Headers, Nothing};
    match (one, other) {
        (Full, _) | (_, Full) => Full,
        (Headers, _) | (_, Headers) => Headers,
        (Nothing, Nothing) => Nothing,
    }
}
