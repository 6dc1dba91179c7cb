//! Filtered senders, whose mail is accepted and not delivered.

use crate::rule_names::Rule;
use crate::settings::{Filter, FilterAction};
use posthouse_policy::Disposition;
use posthouse_policy::{Because, ReversePath};

/// Returns the disposition of a message from a listed sender as the error. The client sees an ordinary acceptance.
pub fn check(settings: &Filter, sender: &ReversePath) -> Result<(), (Disposition, Because)> {
    let Some(pattern) = settings.senders.iter().find(|pattern| pattern.matches(sender)) else {
        return Ok(());
    };
    let disposition = match settings.action {
        FilterAction::Discard => Disposition::Discard,
        FilterAction::Quarantine => Disposition::Quarantine(settings.folder.clone()),
    };
    Err((disposition, Rule::Filter.because(pattern.to_string())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{from, settings};

    #[test]
    fn listed_senders_are_quarantined_or_discarded() {
        let quarantine = settings(r#"{"filter": {"senders": ["bulk@example.com", "@spam.example"]}}"#).filter;
        assert_eq!(check(&quarantine, &from("anna@example.com")), Ok(()));
        assert_eq!(check(&quarantine, &ReversePath::Null), Ok(()));
        assert_eq!(
            check(&quarantine, &from("Bulk@example.com")),
            Err((
                Disposition::Quarantine("turf".to_owned()),
                Rule::Filter.because("bulk@example.com")
            ))
        );
        let discard = settings(r#"{"filter": {"senders": ["@spam.example"], "action": "discard"}}"#).filter;
        assert_eq!(
            check(&discard, &from("x@spam.example")),
            Err((Disposition::Discard, Rule::Filter.because("@spam.example")))
        );
    }

    #[test]
    fn null_reverse_path_can_be_listed() {
        let filter = settings(r#"{"filter": {"senders": ["<>"], "folder": "bounces"}}"#).filter;
        assert_eq!(
            check(&filter, &ReversePath::Null),
            Err((
                Disposition::Quarantine("bounces".to_owned()),
                Rule::Filter.because("<>")
            ))
        );
        assert_eq!(check(&filter, &from("anna@example.org")), Ok(()));
    }
}
