//! Originator check ("Clients can only submit if the authenticated account matches the submission address"): MAIL FROM,
//! and the header's originator fields as a mail reader parses the fields.

use mail_parser::{HeaderName, MessageParser};

use crate::admission::is_exempt;
use crate::directory_questions::{Directory, domain_of};
use crate::header_source::HeaderSource;
use crate::objections::{Objection, directory_unavailable, reply};
use crate::rule_names::Rule;
use crate::settings::{Exemption, Homing};
use posthouse_policy::NoAnswer;
use posthouse_policy::{Because, Client, ReversePath};

/// Maximum number of originators that are looked up. A field with more addresses is a mismatch.
const MAX_ORIGINATORS: usize = 32;

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
/// match. A field without a readable address matches no account; a message without either field claims no address and
/// passes. `Ok(None)` means that the rule does not apply.
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
    let fields = Originators::parse(&block);
    let Some((field, addresses)) = fields.decisive() else {
        return Ok(Some(Rule::AccountMatch.because("no originator field")));
    };
    if addresses.is_empty() || addresses.len() > MAX_ORIGINATORS {
        return Err(mismatch(&format!(
            "{field} with {} readable addresses",
            addresses.len()
        )));
    }
    for address in addresses {
        check_address(account, address, directory)?;
    }
    Ok(Some(
        Rule::AccountMatch.because(format!("{field} {}", addresses.join(", "))),
    ))
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

/// Addresses in the originator fields of a header.
#[derive(Debug, Default, PartialEq)]
struct Originators {
    /// Addresses of all `From:` fields; `None` if there is no such field.
    from: Option<Vec<String>>,
    /// Addresses of all `Sender:` fields; `None` if there is no such field.
    sender: Option<Vec<String>>,
}

impl Originators {
    fn parse(block: &[u8]) -> Self {
        let parser = MessageParser::new()
            .header_address(HeaderName::From)
            .header_address(HeaderName::Sender)
            .default_header_ignore();
        let mut originators = Self::default();
        let Some(message) = parser.parse_headers(block) else {
            return originators;
        };
        for header in message.headers() {
            let list = match header.name {
                HeaderName::From => &mut originators.from,
                HeaderName::Sender => &mut originators.sender,
                _ => continue,
            };
            let list = list.get_or_insert_default();
            for address in header
                .value
                .as_address()
                .into_iter()
                .flat_map(|addresses| addresses.iter())
            {
                // A name without an address is kept: no account matches such text.
                let text = address
                    .address
                    .as_deref()
                    .or(address.name.as_deref())
                    .unwrap_or_default();
                if !list.iter().any(|known| known == text) {
                    list.push(text.to_owned());
                }
            }
        }
        originators
    }

    fn decisive(&self) -> Option<(&'static str, &[String])> {
        let sender = self.sender.as_deref().map(|addresses| ("Sender", addresses));
        sender.or(self.from.as_deref().map(|addresses| ("From", addresses)))
    }
}

#[cfg(test)]
mod tests;
