//! Homing check ("Clients can only submit if homed on this server"): the reverse-path must have a mailbox here.

use crate::admission::is_exempt;
use crate::directory_questions::Directory;
use crate::objections::{Objection, directory_unavailable, reply};
use crate::rule_names::Rule;
use crate::settings::{Exemption, Homing};
use posthouse_policy::Disposition;
use posthouse_policy::Home;
use posthouse_policy::{Because, Client, ReversePath};

/// The failure class of accepted mail that is not homed.
pub const NOT_HOMED: &str = "not-homed";

/// Checks that the sender has a mailbox on this host. `Ok(None)` means that the rule is off; the error is the
/// disposition of mail from other senders.
///
/// A client that had to authenticate is refused during the dialogue. A client that is exempt from authentication is a
/// relay, which would turn a refusal into a notice to an unproven sender. Mail from such a relay is accepted and fails
/// with the class [`NOT_HOMED`], so that the administrator gets the report (article Q178091).
pub fn check(
    settings: &Homing,
    client: &Client,
    sender: &ReversePath,
    directory: &impl Directory,
) -> Result<Option<Because>, (Disposition, Because)> {
    if !settings.required {
        return Ok(None);
    }
    if is_exempt(client, Exemption::Homing) {
        return Ok(Some(Rule::Homing.because("exempt")));
    }
    let address = match sender {
        ReversePath::Null => return Ok(Some(Rule::Homing.because("null reverse-path"))),
        ReversePath::Mailbox(address) => address,
    };
    let entries = directory.lookup(address).map_err(|_| directory_unavailable(address))?;
    if entries.iter().any(|entry| matches!(entry.home, Home::Here)) {
        return Ok(Some(Rule::Homing.because(address)));
    }
    // An address without a mailbox is homed here for the account that may send as it (`send-as` of the directory).
    if let (true, Some(identity)) = (entries.is_empty(), &client.identity)
        && directory
            .may_send_as(&identity.account, address)
            .map_err(|_| directory_unavailable(address))?
    {
        return Ok(Some(Rule::Homing.because(address)));
    }
    if client.identity.is_none() && is_exempt(client, Exemption::Authentication) {
        return Err((Disposition::Fail(NOT_HOMED.to_owned()), Rule::Homing.because(address)));
    }
    Err(Objection {
        reply: reply(554, (5, 7, 1), &format!("Mailbox is not local: {address}")),
        because: Rule::Homing.because(address),
    }
    .into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::OwnDomains;
    use crate::testing::{FakeDirectory, authenticated, client_from, exempt, from};

    const REQUIRED: Homing = Homing {
        required: true,
        match_account: true,
        own_domains: OwnDomains::Anyone,
    };

    fn directory() -> FakeDirectory {
        FakeDirectory::new(&["example.org"])
            .account("anna", "anna@example.org")
            .elsewhere("otto@example.org")
    }

    #[test]
    fn accepts_a_homed_sender() {
        let because = check(
            &REQUIRED,
            &authenticated("anna"),
            &from("anna@example.org"),
            &directory(),
        );
        assert_eq!(because, Ok(Some(Rule::Homing.because("anna@example.org"))));
    }

    #[test]
    fn refuses_an_authenticated_client_whose_sender_is_not_homed() {
        for address in ["otto@example.org", "nobody@example.org", "anna@example.net"] {
            let (disposition, because) =
                check(&REQUIRED, &authenticated("anna"), &from(address), &directory()).unwrap_err();
            let Disposition::Reject(reply) = disposition else {
                panic!("{disposition:?}")
            };
            assert_eq!((reply.code(), reply.status()), (554, (5, 7, 1)));
            assert_eq!(reply.text(), format!("Mailbox is not local: {address}"));
            assert_eq!(because, Rule::Homing.because(address));
        }
    }

    #[test]
    fn address_that_the_account_may_send_as_is_homed() {
        let directory = directory().may_send_as("anna", "@shop.example");
        let ask = |account: &str, address: &str| check(&REQUIRED, &authenticated(account), &from(address), &directory);
        assert_eq!(
            ask("anna", "orders@shop.example"),
            Ok(Some(Rule::Homing.because("orders@shop.example")))
        );
        assert!(ask("bert", "orders@shop.example").is_err());
        let stranger = exempt("127.0.0.2", &["authentication"]);
        assert!(check(&REQUIRED, &stranger, &from("orders@shop.example"), &directory).is_err());
    }

    #[test]
    fn fails_unhomed_mail_from_a_host_exempt_from_authentication() {
        let client = exempt("127.0.0.2", &["authentication"]);
        let (disposition, because) =
            check(&REQUIRED, &client, &from("stranger@example.net"), &directory()).unwrap_err();
        assert_eq!(disposition, Disposition::Fail("not-homed".to_owned()));
        assert_eq!(because, Rule::Homing.because("stranger@example.net"));
        assert!(check(&REQUIRED, &client, &from("anna@example.org"), &directory()).is_ok());
    }

    #[test]
    fn refuses_unhomed_mail_from_an_exempt_host_that_authenticated() {
        let mut client = exempt("127.0.0.2", &["authentication"]);
        client.identity = authenticated("anna").identity;
        let (disposition, _) = check(&REQUIRED, &client, &from("stranger@example.net"), &directory()).unwrap_err();
        assert!(matches!(disposition, Disposition::Reject(_)));
    }

    #[test]
    fn refuses_an_anonymous_client_unless_exempt_from_homing() {
        let (disposition, _) = check(
            &REQUIRED,
            &client_from("192.0.2.1"),
            &from("x@example.net"),
            &directory(),
        )
        .unwrap_err();
        assert!(matches!(disposition, Disposition::Reject(_)));
        let because = check(
            &REQUIRED,
            &exempt("192.0.2.1", &["homing"]),
            &from("x@example.net"),
            &directory(),
        );
        assert_eq!(because, Ok(Some(Rule::Homing.because("exempt"))));
    }

    #[test]
    fn accepts_the_null_reverse_path() {
        for client in [
            authenticated("anna"),
            client_from("192.0.2.1"),
            exempt("127.0.0.2", &["authentication"]),
        ] {
            assert!(check(&REQUIRED, &client, &ReversePath::Null, &directory()).is_ok());
        }
    }

    #[test]
    fn returns_none_when_the_rule_is_off() {
        let off = Homing::default();
        assert_eq!(
            check(&off, &authenticated("anna"), &from("x@example.net"), &directory()),
            Ok(None)
        );
    }

    #[test]
    fn defers_while_the_directory_is_unavailable() {
        let (disposition, because) = check(
            &REQUIRED,
            &authenticated("anna"),
            &from("anna@example.org"),
            &directory().unavailable(),
        )
        .unwrap_err();
        assert!(matches!(disposition, Disposition::Defer(reply) if reply.code() == 451 && reply.status() == (4, 3, 0)));
        assert_eq!(because, Rule::Directory.because("anna@example.org"));
    }
}
