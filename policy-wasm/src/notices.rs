//! Recipients of non-delivery notices.
//!
//! The sender gets a notice (RFC 5321 section 6.1), except where the notice would be backscatter (the address of a person
//! who did not send the message), would be a report about a report, or would fail like the message itself. The administrator gets a notice in place of
//! an unproven or failed sender, about loops, about failed mail to the local postmaster, and as a copy if the settings
//! ask for copies. The rules do not depend on the identity of the submitter, which is often unknown.

use crate::directory_questions::{Directory, domain_of};
use crate::homing::NOT_HOMED;
use crate::rule_names::Rule;
use crate::settings::{Copies, Ndr};
use posthouse_policy::{Audience, Content, Notice};
use posthouse_policy::{Because, Failure, ReversePath};

/// A notice to the administrator: reason, returned part of the original, and remark.
struct AdministratorNotice {
    because: Because,
    content: Content,
    remark: Option<String>,
}

/// Returns the notices to send and the rule that decided. If the administrator gets a notice, the rule is the reason of
/// that notice, since notices to the administrator are the exception.
pub fn plan(settings: &Ndr, failure: &Failure, directory: &impl Directory) -> (Vec<Notice>, Because) {
    let sender = sender_reason(settings, failure);
    let administrator = administrator_notice(settings, failure, directory);
    let mut notices = Vec::new();
    if sender.is_ok() {
        notices.push(Notice {
            to: Audience::Sender,
            content: settings.content,
            remark: None,
        });
    }
    let because = match administrator {
        Some(notice) => {
            notices.push(Notice {
                to: Audience::Administrator,
                content: notice.content,
                remark: notice.remark,
            });
            notice.because
        }
        None => sender.unwrap_or_else(|quiet| quiet),
    };
    (notices, because)
}

/// Returns the reason for a notice to the sender, or the reason against a notice as the error.
fn sender_reason(settings: &Ndr, failure: &Failure) -> Result<Because, Because> {
    let ReversePath::Mailbox(address) = &failure.envelope.sender else {
        return Err(Rule::NdrQuiet.because("null reverse-path"));
    };
    if is_report(failure) {
        return Err(Rule::NdrQuiet.because("report"));
    }
    if failure.automatic && settings.quiet_automatic {
        return Err(Rule::NdrQuiet.because("automatic message"));
    }
    if is_unproven(failure) {
        return Err(Rule::NdrNotHomed.because(address));
    }
    if is_undeliverable(failure, address) {
        return Err(Rule::NdrLoop.because(address));
    }
    Ok(Rule::NdrSender.because(&failure.class))
}

/// Returns the notice to the administrator, if there is a reason for one.
fn administrator_notice(settings: &Ndr, failure: &Failure, directory: &impl Directory) -> Option<AdministratorNotice> {
    if let Some(postmaster) = failed_postmaster(failure, directory) {
        return Some(AdministratorNotice {
            because: Rule::NdrPostmaster.because(postmaster),
            content: Content::Full,
            remark: Some("This message was for postmaster and could not be delivered there.".to_owned()),
        });
    }
    let notice = |because, remark| {
        Some(AdministratorNotice {
            because,
            content: settings.content,
            remark,
        })
    };
    let sender = match &failure.envelope.sender {
        ReversePath::Mailbox(address) => Some(address.as_str()),
        ReversePath::Null => None,
    };
    if is_unproven(failure) {
        let subject = sender.unwrap_or("<>");
        return notice(
            Rule::NdrNotHomed.because(subject),
            Some(not_homed_remark(failure, subject)),
        );
    }
    if failure.class == "loop" {
        let remark = "This message went in circles and was stopped.".to_owned();
        return notice(Rule::NdrLoop.because("loop"), Some(remark));
    }
    if let Some(address) = sender.filter(|address| is_undeliverable(failure, address)) {
        let remark = "The sender was not told: its address is among those that failed.".to_owned();
        return notice(Rule::NdrLoop.because(address), Some(remark));
    }
    match &settings.administrator_copies {
        Copies::All => notice(Rule::NdrCopies.because("all"), None),
        Copies::Of(classes) if classes.contains(&failure.class) => {
            notice(Rule::NdrCopies.because(&failure.class), None)
        }
        Copies::Of(_) => None,
    }
}

/// True if the original is itself a report: a delivery status (RFC 3464) or a disposition notification (RFC 8098). Some
/// hosts send such reports with a reverse-path that is not null.
fn is_report(failure: &Failure) -> bool {
    failure.header("Content-Type").any(|value| {
        let kind = value.to_ascii_lowercase();
        let is_report = kind.split([';', '(', ' ']).next() == Some("multipart/report");
        is_report
            && ["delivery-status", "disposition-notification"]
                .iter()
                .any(|name| kind.contains(name))
    })
}

/// True for mail that failed homing and was submitted without authentication. The named sender has no mailbox here and
/// most likely did not send the message.
fn is_unproven(failure: &Failure) -> bool {
    failure.class == NOT_HOMED && failure.identity.is_none()
}

/// True if the sender is among the failed recipients: a notice to the sender would fail like the message.
fn is_undeliverable(failure: &Failure, sender: &str) -> bool {
    failure
        .failed
        .iter()
        .any(|failed| failed.address.eq_ignore_ascii_case(sender))
}

/// Returns the first failed recipient that is the postmaster of a local domain (RFC 5321 section 4.5.1). While the
/// directory is unavailable, every domain counts as local.
fn failed_postmaster<'a>(failure: &'a Failure, directory: &impl Directory) -> Option<&'a str> {
    let addresses = failure.failed.iter().map(|failed| failed.address.as_str());
    addresses.into_iter().find(|address| {
        let local_part = address.rsplit_once('@').map_or(*address, |(local_part, _)| local_part);
        local_part.eq_ignore_ascii_case("postmaster") && directory.is_local_domain(domain_of(address)).unwrap_or(true)
    })
}

fn not_homed_remark(failure: &Failure, sender: &str) -> String {
    let client = failure.client_address.as_deref().unwrap_or("this host");
    let exempt = match failure.exemptions.as_slice() {
        [] => String::new(),
        names => format!(", which is exempt from {}", names.join(", ")),
    };
    format!(
        "The message came from {client}{exempt}. Its sender, {sender}, has no mailbox on this host, so it was not \
         delivered. Nobody proved to be that sender, so the sender was not told."
    )
}

#[cfg(test)]
mod tests;
