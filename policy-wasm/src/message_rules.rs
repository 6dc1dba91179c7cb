//! Rules about a message, in the order of their evaluation: filter, homing, originator.

use crate::directory_questions::Directory;
use crate::header_source::HeaderSource;
use crate::rule_names::Rule;
use crate::settings::Settings;
use crate::{filter, homing, originator, own_domains};
use posthouse_policy::Disposition;
use posthouse_policy::{Because, Client, Envelope};

/// Returns the answer to the end of DATA.
pub fn check(
    settings: &Settings,
    client: &Client,
    envelope: &Envelope,
    message: &impl HeaderSource,
    directory: &impl Directory,
) -> (Disposition, Because) {
    match first_objection(settings, client, envelope, message, directory) {
        Ok(because) => (Disposition::Accept(Vec::new()), because),
        Err(objection) => objection,
    }
}

fn first_objection(
    settings: &Settings,
    client: &Client,
    envelope: &Envelope,
    message: &impl HeaderSource,
    directory: &impl Directory,
) -> Result<Because, (Disposition, Because)> {
    filter::check(&settings.filter, &envelope.sender)?;
    let homed = homing::check(&settings.homing, client, &envelope.sender, directory)?;
    let originator = originator::check_header(&settings.homing, client, message, directory)?;
    let author = own_domains::check_author(settings, client, message, directory)?;
    Ok(homed
        .or(originator)
        .or(author)
        .unwrap_or_else(|| Rule::NoObjection.alone()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{FakeDirectory, FakeHeader, authenticated, client_from, exempt, from, settings};
    use posthouse_policy::ReversePath;

    const Q178091: &str = r#"{"accept": {"from": "authenticated", "hosts": [
        {"network": "127.0.0.2/32", "action": "accept", "exempt": ["authentication"]}]},
        "homing": {"required": true, "match-account": true}}"#;

    fn ask(json: &str, client: &Client, sender: ReversePath, header: &str) -> (Disposition, Because) {
        let directory = FakeDirectory::new(&["example.org"]).account("anna", "anna@example.org");
        let envelope = Envelope {
            sender,
            recipients: vec!["anna@example.org".to_owned()],
        };
        check(&settings(json), client, &envelope, &FakeHeader::new(header), &directory)
    }

    #[test]
    fn accepts_a_homed_account() {
        let (disposition, because) = ask(
            Q178091,
            &authenticated("anna"),
            from("anna@example.org"),
            "From: anna@example.org\r\n",
        );
        assert_eq!(disposition, Disposition::Accept(vec![]));
        assert_eq!(because, Rule::Homing.because("anna@example.org"));
    }

    #[test]
    fn refuses_a_homed_account_with_a_foreign_originator() {
        let (disposition, because) = ask(
            Q178091,
            &authenticated("anna"),
            from("anna@example.org"),
            "From: boss@example.org\r\n",
        );
        assert!(matches!(disposition, Disposition::Reject(reply) if reply.code() == 554));
        assert_eq!(because, Rule::AccountMatch.because("boss@example.org"));
    }

    #[test]
    fn fails_unhomed_mail_of_an_exempt_host() {
        let client = exempt("127.0.0.2", &["authentication"]);
        let (disposition, _) = ask(
            Q178091,
            &client,
            from("stranger@example.net"),
            "From: stranger@example.net\r\n",
        );
        assert_eq!(disposition, Disposition::Fail("not-homed".to_owned()));
    }

    #[test]
    fn default_settings_accept_mail_from_outside() {
        let (disposition, because) = ask(
            "{}",
            &client_from("192.0.2.1"),
            from("x@example.net"),
            "From: x@example.net\r\n",
        );
        assert_eq!(disposition, Disposition::Accept(vec![]));
        assert_eq!(because, Rule::NoObjection.alone());
        let (disposition, _) = ask("{}", &client_from("192.0.2.1"), ReversePath::Null, "");
        assert_eq!(disposition, Disposition::Accept(vec![]));
    }

    #[test]
    fn filter_runs_before_rules_that_refuse() {
        let json = r#"{"filter": {"senders": ["@example.net"]}, "homing": {"required": true}}"#;
        let (disposition, because) = ask(json, &client_from("192.0.2.1"), from("x@example.net"), "");
        assert_eq!(disposition, Disposition::Quarantine("turf".to_owned()));
        assert_eq!(because, Rule::Filter.because("@example.net"));
    }
}
