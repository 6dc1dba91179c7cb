//! The message: every rule about it, in order.

use crate::directory::Directory;
use crate::rule::Rule;
use crate::settings::Settings;
use crate::{filter, homing, originator};
use posthouse_policy::Disposition;
use posthouse_policy::Message;
use posthouse_policy::{Because, Client, Envelope};

/// What the rules want to know of a message, so that they can be tested without a host.
pub trait Original {
    /// The header block, or none when only a part of it can be had.
    fn whole_header(&self) -> Option<Vec<u8>>;
}

impl Original for Message<'_> {
    fn whole_header(&self) -> Option<Vec<u8>> {
        let block = self.header_block();
        // The host cuts a long block at a line end. What follows a whole one is an empty line, or
        // nothing.
        let next = self.read(block.len() as u64, 2);
        (next.is_empty() || next == b"\r\n").then_some(block)
    }
}

/// The answer to the final dot.
pub fn check(
    settings: &Settings,
    client: &Client,
    envelope: &Envelope,
    message: &impl Original,
    directory: &impl Directory,
) -> (Disposition, Because) {
    match examine(settings, client, envelope, message, directory) {
        Ok(because) => (Disposition::Accept(Vec::new()), because),
        Err(objection) => objection,
    }
}

fn examine(
    settings: &Settings,
    client: &Client,
    envelope: &Envelope,
    message: &impl Original,
    directory: &impl Directory,
) -> Result<Because, (Disposition, Because)> {
    filter::check(&settings.filter, &envelope.sender)?;
    let homed = homing::check(&settings.homing, client, &envelope.sender, directory)?;
    let originator = originator::check_header(&settings.homing, client, message, directory)?;
    Ok(homed.or(originator).unwrap_or_else(|| Rule::NoObjection.alone()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Fake, Text, authenticated, client_from, exempt, from, settings};
    use posthouse_policy::ReversePath;

    const STORY: &str = r#"{"accept": {"from": "authenticated", "hosts": [
        {"network": "127.0.0.2/32", "action": "accept", "exempt": ["authentication"]}]},
        "homing": {"required": true, "match-account": true}}"#;

    fn ask(json: &str, client: &Client, sender: ReversePath, header: &str) -> (Disposition, Because) {
        let directory = Fake::new(&["example.org"]).account("anna", "anna@example.org");
        let envelope = Envelope {
            sender,
            recipients: vec!["anna@example.org".to_owned()],
        };
        check(&settings(json), client, &envelope, &Text::new(header), &directory)
    }

    #[test]
    fn a_homed_user_submits() {
        let (disposition, because) = ask(
            STORY,
            &authenticated("anna"),
            from("anna@example.org"),
            "From: anna@example.org\r\n",
        );
        assert_eq!(disposition, Disposition::Accept(vec![]));
        assert_eq!(because, Rule::Homing.because("anna@example.org"));
    }

    #[test]
    fn a_homed_user_under_another_name_is_refused() {
        let (disposition, because) = ask(
            STORY,
            &authenticated("anna"),
            from("anna@example.org"),
            "From: boss@example.org\r\n",
        );
        assert!(matches!(disposition, Disposition::Reject(reply) if reply.code() == 554));
        assert_eq!(because, Rule::AccountMatch.because("boss@example.org"));
    }

    #[test]
    fn the_exempt_host_s_stranger_fails_without_an_identity() {
        let client = exempt("127.0.0.2", &["authentication"]);
        let (disposition, _) = ask(
            STORY,
            &client,
            from("stranger@example.net"),
            "From: stranger@example.net\r\n",
        );
        assert_eq!(disposition, Disposition::Fail("not-homed".to_owned()));
    }

    #[test]
    fn mail_from_the_world_is_accepted_by_default() {
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
    fn a_filtered_sender_is_filtered_before_it_could_learn_anything_else() {
        let json = r#"{"filter": {"senders": ["@example.net"]}, "homing": {"required": true}}"#;
        let (disposition, because) = ask(json, &client_from("192.0.2.1"), from("x@example.net"), "");
        assert_eq!(disposition, Disposition::Quarantine("turf".to_owned()));
        assert_eq!(because, Rule::Filter.because("@example.net"));
    }
}
