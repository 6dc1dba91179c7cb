//! The host's own rules about notices, and its plan when there is none.

use host_contract::{Audience, Failure, Notice, Plan, ReturnContent};
use host_mail::{Mailbox, ReversePath};

/// Classes that arise in delivery; any other is a policy's decision.
const IN_DELIVERY: [&str; 7] = [
    "address-not-found",
    "ambiguous-address",
    "conversion-failed",
    "expired",
    "host-not-found",
    "loop",
    "protocol-error",
];

/// Classes that say the address itself is no good.
const OF_THE_ADDRESS: [&str; 4] = ["address-not-found", "ambiguous-address", "host-not-found", "loop"];

/// The host's own report: the administrator, and the sender where that is no backscatter.
pub(super) fn standard_plan(failure: &Failure) -> Plan {
    let notice = |to| Notice {
        to,
        content: ReturnContent::Headers,
        remark: None,
    };
    let mut plan = vec![notice(Audience::Administrator)];
    let vouched = failure.identity.is_some();
    let in_delivery = IN_DELIVERY.contains(&failure.class.as_str());
    let has_sender = failure.envelope.sender != ReversePath::Null;
    if has_sender && (vouched || (in_delivery && !failure.automatic)) {
        plan.insert(0, notice(Audience::Sender));
    }
    plan
}

/// A notice that is to be sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Addressed {
    pub to: Mailbox,
    pub content: ReturnContent,
    pub remark: Option<String>,
}

/// A notice that is not: to whom, and why.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct DroppedNotice {
    pub to: String,
    pub reason: &'static str,
}

/// Applies the rules no policy can overrule.
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
        if OF_THE_ADDRESS.contains(&failure.class.as_str()) && is_among(&to, failure) {
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
