//! The host's rules for notices, and the standard plan that applies if no policy has a plan.

use host_contract::{Audience, Failure, Notice, Plan, ReturnContent};
use host_mail::{Mailbox, ReversePath};

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

/// The standard plan: notifies the administrator, and the sender unless the notice could be backscatter.
pub(super) fn standard_plan(failure: &Failure) -> Plan {
    let notice = |to| Notice {
        to,
        content: ReturnContent::Headers,
        remark: None,
    };
    let mut plan = vec![notice(Audience::Administrator)];
    let authenticated = failure.identity.is_some();
    let in_delivery = DELIVERY_CLASSES.contains(&failure.class.as_str());
    let has_sender = failure.envelope.sender != ReversePath::Null;
    if has_sender && (authenticated || (in_delivery && !failure.automatic)) {
        plan.insert(0, notice(Audience::Sender));
    }
    plan
}

/// A notice to send.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Addressed {
    pub to: Mailbox,
    pub content: ReturnContent,
    pub remark: Option<String>,
}

/// A notice that is not sent, with the reason.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct DroppedNotice {
    pub to: String,
    pub reason: &'static str,
}

/// Applies the rules that no policy can overrule, and merges notices to the same address.
pub(super) fn address(plan: Plan, failure: &Failure, administrator: &Mailbox) -> (Vec<Addressed>, Vec<DroppedNotice>) {
    let mut addressed: Vec<Addressed> = Vec::new();
    let mut dropped = Vec::new();
    for notice in plan {
        let to = match (notice.to, &failure.envelope.sender) {
            (Audience::Sender, ReversePath::Mailbox(sender)) => sender.clone(),
            (Audience::Sender, ReversePath::Null) => {
                let reason = "the reverse-path is null";
                dropped.push(DroppedNotice {
                    to: "<>".to_owned(),
                    reason,
                });
                continue;
            }
            (Audience::Administrator, _) => administrator.clone(),
            (Audience::Address(mailbox), _) => mailbox,
        };
        if ADDRESS_CLASSES.contains(&failure.class.as_str()) && is_among(&to, failure) {
            let reason = "it would go to the address that has just failed";
            dropped.push(DroppedNotice {
                to: to.to_string(),
                reason,
            });
            continue;
        }
        match addressed.iter_mut().find(|other| other.to.key() == to.key()) {
            Some(same) => {
                same.content = larger(same.content, notice.content);
                same.remark = same.remark.take().or(notice.remark);
            }
            None => addressed.push(Addressed {
                to,
                content: notice.content,
                remark: notice.remark,
            }),
        }
    }
    (addressed, dropped)
}

fn is_among(to: &Mailbox, failure: &Failure) -> bool {
    failure.failed.iter().any(|failed| failed.address.key() == to.key())
}

fn larger(one: ReturnContent, other: ReturnContent) -> ReturnContent {
    use ReturnContent::{Full, Headers, Nothing};
    match (one, other) {
        (Full, _) | (_, Full) => Full,
        (Headers, _) | (_, Headers) => Headers,
        (Nothing, Nothing) => Nothing,
    }
}
