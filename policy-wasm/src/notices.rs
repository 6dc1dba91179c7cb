//! Who hears about a failure.
//!
//! The sender, unless telling it would bother somebody who did not send the message (backscatter),
//! answer a machine, or fail like the message itself. The administrator, when the sender cannot be
//! told or the operator asked for copies. No rule needs to know who submitted the message: often
//! nobody proved it.

use crate::directory::{Directory, domain_of};
use crate::homing::NOT_HOMED;
use crate::rule::Rule;
use crate::settings::{Copies, Ndr};
use posthouse_policy::{Audience, Content, Notice};
use posthouse_policy::{Because, Failure, ReversePath};

/// A notice to the administrator: why, how much of the original, and what to say.
struct ForAdministrator {
    because: Because,
    content: Content,
    remark: Option<String>,
}

/// The plan and the rule that made it: the administrator's if it is told, since it is the exception.
pub fn plan(settings: &Ndr, failure: &Failure, directory: &impl Directory) -> (Vec<Notice>, Because) {
    let sender = sender(failure);
    let administrator = administrator(settings, failure, directory);
    let mut notices = Vec::new();
    if sender.is_ok() {
        notices.push(Notice {
            to: Audience::Sender,
            content: settings.content,
            remark: None,
        });
    }
    let because = match administrator {
        Some(told) => {
            notices.push(Notice {
                to: Audience::Administrator,
                content: told.content,
                remark: told.remark,
            });
            told.because
        }
        None => sender.unwrap_or_else(|quiet| quiet),
    };
    (notices, because)
}

/// Why the sender is told, or why not.
fn sender(failure: &Failure) -> Result<Because, Because> {
    let ReversePath::Mailbox(address) = &failure.envelope.sender else {
        return Err(Rule::NdrQuiet.because("null reverse-path"));
    };
    if failure.automatic {
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

/// Why the administrator is told, if it is.
fn administrator(settings: &Ndr, failure: &Failure, directory: &impl Directory) -> Option<ForAdministrator> {
    if let Some(postmaster) = failed_postmaster(failure, directory) {
        return Some(ForAdministrator {
            because: Rule::NdrPostmaster.because(postmaster),
            content: Content::Full,
            remark: Some("This message was for postmaster and could not be delivered there.".to_owned()),
        });
    }
    let with = |because, remark| {
        Some(ForAdministrator {
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
        return with(
            Rule::NdrNotHomed.because(subject),
            Some(not_homed_remark(failure, subject)),
        );
    }
    if failure.class == "loop" {
        let remark = "This message went in circles and was stopped.".to_owned();
        return with(Rule::NdrLoop.because("loop"), Some(remark));
    }
    if let Some(address) = sender.filter(|address| is_undeliverable(failure, address)) {
        let remark = "The sender was not told: its address is among those that failed.".to_owned();
        return with(Rule::NdrLoop.because(address), Some(remark));
    }
    match &settings.administrator_copies {
        Copies::All => with(Rule::NdrCopies.because("all"), None),
        Copies::Of(classes) if classes.contains(&failure.class) => with(Rule::NdrCopies.because(&failure.class), None),
        Copies::Of(_) => None,
    }
}

/// Mail that failed homing, from a client that did not prove who it is: whoever the sender is, it
/// is nobody of ours, and most likely did not send this.
fn is_unproven(failure: &Failure) -> bool {
    failure.class == NOT_HOMED && failure.identity.is_none()
}

/// A notice to this address would fail as the message did.
fn is_undeliverable(failure: &Failure, sender: &str) -> bool {
    failure
        .failed
        .iter()
        .any(|failed| failed.address.eq_ignore_ascii_case(sender))
}

/// RFC 5321 section 4.5.1. When it cannot be known whether the postmaster is ours, it is.
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
