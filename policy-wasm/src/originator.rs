//! Originator check ("Clients can only submit if the authenticated account matches the submission address"): MAIL FROM,
//! and the header's originator fields. A field must have one meaning for every reader of mail.

mod address_list;
mod atext;
mod encoded_words;
mod originator_fields;

use crate::admission::is_exempt;
use crate::directory_questions::{Directory, domain_of};
use crate::header_source::HeaderSource;
use crate::objections::{Objection, directory_unavailable, reply};
use crate::rule_names::Rule;
use crate::settings::{Exemption, Homing};
use address_list::Claimed;
use originator_fields::{OriginatorFields, TOO_MANY_LINES};
use posthouse_policy::NoAnswer;
use posthouse_policy::{Because, Client, ReversePath};

/// Maximum number of addresses in all `Resent-` fields together.
const MAX_RESENT: usize = 32;
/// Maximum number of different domains of authors.
const MAX_DOMAINS: usize = 32;

/// Returns the account that the addresses must belong to, or `None` if the rule does not apply: the client did not
/// authenticate, the rule is off, or the client is exempt.
fn account<'a>(settings: &Homing, client: &'a Client) -> Option<&'a str> {
    let identity = client.identity.as_ref()?;
    (settings.match_account && !is_exempt(client, Exemption::Originator)).then_some(identity.account.as_str())
}

/// Checks the reverse-path. The null reverse-path claims no address and passes. `Ok(None)` means that the rule does not
/// apply.
pub fn check_sender(
    settings: &Homing,
    client: &Client,
    sender: &ReversePath,
    directory: &impl Directory,
) -> Result<Option<Because>, Objection> {
    let Some(account) = account(settings, client) else {
        return Ok(None);
    };
    match sender {
        ReversePath::Null => Ok(Some(Rule::AccountMatch.because("null reverse-path"))),
        ReversePath::Mailbox(address) => check_address(account, address, directory).map(Some),
    }
}

/// Checks the header. The agent that transmitted the message stands in `Sender:`, and in `From:` if there is no
/// `Sender:` (RFC 5322 section 3.6.2). A `Sender:` must match; without a `Sender:`, every address of `From:` must
/// match. Addresses of `Resent-Sender:` and `Resent-From:` must match too. Fields that readers of mail can read
/// differently match no account; a message without originator fields claims no address and passes. `Ok(None)` means
/// that the rule does not apply.
pub fn check_header(
    settings: &Homing,
    client: &Client,
    message: &impl HeaderSource,
    directory: &impl Directory,
) -> Result<Option<Because>, Objection> {
    let Some(account) = account(settings, client) else {
        return Ok(None);
    };
    let Some(block) = message.whole_header() else {
        return Err(mismatch("header too long to read"));
    };
    let fields = OriginatorFields::find(&block).map_err(|problem| unreadable(problem.field, problem.reason))?;
    let from = fields.from.map(|value| read("From", value)).transpose()?;
    let sender = fields.sender.map(|value| read("Sender", value)).transpose()?;
    if sender.as_ref().is_some_and(|sender| sender.mailboxes.len() > 1) {
        return Err(unreadable("Sender", "names more than one address"));
    }
    let Some((field, claimed)) = sender
        .map(|sender| ("Sender", sender))
        .or(from.map(|from| ("From", from)))
    else {
        return check_resent(account, &fields, directory)
            .map(|resent| Some(resent.unwrap_or_else(|| Rule::AccountMatch.because("no originator field"))));
    };
    require_address(field, &claimed)?;
    for address in claimed.all() {
        check_address(account, address, directory)?;
    }
    check_resent(account, &fields, directory)?;
    Ok(Some(
        Rule::AccountMatch.because(format!("{field} {}", claimed.mailboxes.join(", "))),
    ))
}

/// Checks the fields of resent blocks (RFC 5322 section 3.6.6), 32 addresses at most. `Ok(None)` without such a field.
fn check_resent(
    account: &str,
    fields: &OriginatorFields<'_>,
    directory: &impl Directory,
) -> Result<Option<Because>, Objection> {
    let mut last = None;
    let mut count = 0;
    for (field, value) in &fields.resent {
        let claimed = read(field, value)?;
        require_address(field, &claimed)?;
        count += claimed.all().count();
        if count > MAX_RESENT {
            return Err(unreadable(field, "names too many addresses"));
        }
        for address in claimed.all() {
            last = Some(check_address(account, address, directory)?);
        }
    }
    Ok(last)
}

/// Returns the domains that a reader of mail can take for the author's, at most 32.
///
/// # Errors
/// There are more domains, or the field is longer than any in use. The error is the reason, for the reply.
pub fn author_domains(block: &[u8]) -> Result<Vec<String>, &'static str> {
    let claimed = match OriginatorFields::find(block) {
        Ok(OriginatorFields { from: Some(value), .. }) => address_list::read(value).ok(),
        Ok(_) => return Ok(Vec::new()),
        Err(problem) if problem.reason == TOO_MANY_LINES => return Err(TOO_MANY_LINES),
        Err(_) => None,
    };
    let mut domains = Vec::new();
    match claimed {
        Some(claimed) => {
            for mailbox in claimed.mailboxes.iter().chain(&claimed.unquoted) {
                add_domain(&mut domains, domain_of(mailbox))?;
            }
        }
        // A field that readers read differently: every domain in it.
        None => {
            let fields = OriginatorFields::every_from(block, address_list::MAX_VALUE);
            for field in fields.ok_or("is too long")? {
                for domain in address_list::every_domain(field) {
                    add_domain(&mut domains, &domain)?;
                }
            }
        }
    }
    Ok(domains)
}

fn add_domain(domains: &mut Vec<String>, domain: &str) -> Result<(), &'static str> {
    if !domains.iter().any(|known| known == domain) {
        if domains.len() == MAX_DOMAINS {
            return Err("names too many domains");
        }
        domains.push(domain.to_owned());
    }
    Ok(())
}

fn read(field: &str, value: &[u8]) -> Result<Claimed, Objection> {
    address_list::read(value).map_err(|reason| unreadable(field, reason))
}

/// Returns an objection to a field without an address. `From:` can be an empty group beside a `Sender:` (RFC 6854).
fn require_address(field: &str, claimed: &Claimed) -> Result<(), Objection> {
    match claimed.mailboxes.is_empty() {
        true => Err(unreadable(field, "names no address")),
        false => Ok(()),
    }
}

fn unreadable(field: &str, reason: &str) -> Objection {
    let text = format!("{field} field {reason}");
    Objection {
        reply: reply(554, (5, 7, 1), &text),
        because: Rule::AccountMatch.because(text),
    }
}

fn check_address(account: &str, address: &str, directory: &impl Directory) -> Result<Because, Objection> {
    if domain_of(address).is_empty() {
        return Err(mismatch(address));
    }
    match directory.may_send_as(account, address) {
        Ok(true) => Ok(Rule::AccountMatch.because(address)),
        // The directory is available and does not accept this text as an address.
        Ok(false) | Err(NoAnswer::Other(_)) => Err(mismatch(address)),
        Err(NoAnswer::Unavailable(_) | NoAnswer::Full) => Err(directory_unavailable(address)),
    }
}

fn mismatch(originator: &str) -> Objection {
    Objection {
        reply: reply(
            554,
            (5, 7, 1),
            "Originator address does not match authentication credentials",
        ),
        because: Rule::AccountMatch.because(originator),
    }
}

#[cfg(test)]
mod tests;
