//! "Clients can only submit if homed on this server": the reverse-path must have a mailbox here.

use crate::admission::is_exempt;
use crate::directory::Directory;
use crate::reply::{Objection, directory_unavailable, reply};
use crate::rule::Rule;
use crate::settings::{Exemption, Homing};
use posthouse_policy::Disposition;
use posthouse_policy::Home;
use posthouse_policy::{Because, Client, ReversePath};

/// The failure class of accepted mail that is not homed.
pub const NOT_HOMED: &str = "not-homed";

/// Whether the sender is homed here, and what becomes of the message if not. None: the rule is off.
///
/// A client that had to prove who it is hears of it at once. One that admission excused from
/// that is a relay that would only make a notice for an unproven sender out of a refusal: its mail
/// is accepted and fails here, where the administrator can be told instead (article Q178091).
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
    use crate::testing::{Fake, authenticated, client_from, exempt, from};

    const ON: Homing = Homing {
        required: true,
        match_account: true,
    };

    fn fake() -> Fake {
        Fake::new(&["example.org"])
            .account("anna", "anna@example.org")
            .elsewhere("otto@example.org")
    }

    #[test]
    fn a_homed_sender_may_submit() {
        let because = check(&ON, &authenticated("anna"), &from("anna@example.org"), &fake());
        assert_eq!(because, Ok(Some(Rule::Homing.because("anna@example.org"))));
    }

    #[test]
    fn an_authenticated_sender_without_a_mailbox_here_is_refused() {
        for address in ["otto@example.org", "nobody@example.org", "anna@example.net"] {
            let (disposition, because) = check(&ON, &authenticated("anna"), &from(address), &fake()).unwrap_err();
            let Disposition::Reject(reply) = disposition else {
                panic!("{disposition:?}")
            };
            assert_eq!((reply.code(), reply.status()), (554, (5, 7, 1)));
            assert_eq!(reply.text(), format!("Mailbox is not local: {address}"));
            assert_eq!(because, Rule::Homing.because(address));
        }
    }

    #[test]
    fn mail_from_a_host_that_need_not_authenticate_is_accepted_and_fails() {
        let client = exempt("127.0.0.2", &["authentication"]);
        let (disposition, because) = check(&ON, &client, &from("stranger@example.net"), &fake()).unwrap_err();
        assert_eq!(disposition, Disposition::Fail("not-homed".to_owned()));
        assert_eq!(because, Rule::Homing.because("stranger@example.net"));
        assert!(check(&ON, &client, &from("anna@example.org"), &fake()).is_ok());
    }

    #[test]
    fn such_a_host_that_authenticates_all_the_same_is_refused_like_anyone() {
        let mut client = exempt("127.0.0.2", &["authentication"]);
        client.identity = authenticated("anna").identity;
        let (disposition, _) = check(&ON, &client, &from("stranger@example.net"), &fake()).unwrap_err();
        assert!(matches!(disposition, Disposition::Reject(_)));
    }

    #[test]
    fn an_anonymous_client_is_refused_unless_its_listener_is_exempt() {
        let (disposition, _) = check(&ON, &client_from("192.0.2.1"), &from("x@example.net"), &fake()).unwrap_err();
        assert!(matches!(disposition, Disposition::Reject(_)));
        let because = check(&ON, &exempt("192.0.2.1", &["homing"]), &from("x@example.net"), &fake());
        assert_eq!(because, Ok(Some(Rule::Homing.because("exempt"))));
    }

    #[test]
    fn the_null_reverse_path_passes() {
        for client in [
            authenticated("anna"),
            client_from("192.0.2.1"),
            exempt("127.0.0.2", &["authentication"]),
        ] {
            assert!(check(&ON, &client, &ReversePath::Null, &fake()).is_ok());
        }
    }

    #[test]
    fn off_is_off() {
        let off = Homing::default();
        assert_eq!(
            check(&off, &authenticated("anna"), &from("x@example.net"), &fake()),
            Ok(None)
        );
    }

    #[test]
    fn without_a_directory_nothing_is_decided() {
        let (disposition, because) = check(
            &ON,
            &authenticated("anna"),
            &from("anna@example.org"),
            &fake().unavailable(),
        )
        .unwrap_err();
        assert!(matches!(disposition, Disposition::Defer(reply) if reply.code() == 451 && reply.status() == (4, 3, 0)));
        assert_eq!(because, Rule::Directory.because("anna@example.org"));
    }
}
