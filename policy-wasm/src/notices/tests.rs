use super::*;
use crate::testing::{Fake, authenticated, failure, from, settings};

fn ask(json: &str, failure: &Failure) -> (Vec<Notice>, Because) {
    plan(&settings(json).ndr, failure, &Fake::new(&["example.org"]))
}

fn told(json: &str, failure: &Failure) -> (Vec<&'static str>, Because) {
    let (notices, because) = ask(json, failure);
    let who = notices.iter().map(|notice| match &notice.to {
        Audience::Sender => "sender",
        Audience::Administrator => "administrator",
        Audience::Address(other) => panic!("{other}"),
    });
    (who.collect(), because)
}

#[test]
fn the_sender_is_told() {
    for class in [
        "address-not-found",
        "host-not-found",
        "protocol-error",
        "expired",
        "conversion-failed",
        "something-new",
    ] {
        assert_eq!(
            told("{}", &failure(class)),
            (vec!["sender"], Rule::NdrSender.because(class))
        );
    }
}

#[test]
fn by_default_the_administrator_gets_a_copy_of_ambiguous_addresses() {
    let expected = (
        vec!["sender", "administrator"],
        Rule::NdrCopies.because("ambiguous-address"),
    );
    assert_eq!(told("{}", &failure("ambiguous-address")), expected);
}

#[test]
fn copies_of_all_or_of_chosen_classes() {
    let all = r#"{"ndr": {"administrator-copies": "all"}}"#;
    let chosen = r#"{"ndr": {"administrator-copies": ["expired", "host-not-found"]}}"#;
    let none = r#"{"ndr": {"administrator-copies": []}}"#;
    let both = vec!["sender", "administrator"];
    assert_eq!(
        told(all, &failure("something-new")),
        (both.clone(), Rule::NdrCopies.because("all"))
    );
    assert_eq!(
        told(chosen, &failure("expired")),
        (both, Rule::NdrCopies.because("expired"))
    );
    assert_eq!(told(chosen, &failure("ambiguous-address")).0, ["sender"]);
    assert_eq!(told(none, &failure("ambiguous-address")).0, ["sender"]);
}

#[test]
fn q178091_the_administrator_is_told_and_the_unproven_sender_is_not() {
    let mut failed = failure("not-homed");
    failed.envelope.sender = from("stranger@example.net");
    failed.client_address = Some("127.0.0.2".to_owned());
    failed.exemptions = vec!["authentication".to_owned()];
    failed.identity = None;
    for copies in [
        r#"{"ndr": {"administrator-copies": []}}"#,
        r#"{"ndr": {"administrator-copies": "all"}}"#,
    ] {
        let (notices, because) = ask(copies, &failed);
        assert_eq!(because, Rule::NdrNotHomed.because("stranger@example.net"));
        let [notice] = notices.as_slice() else {
            panic!("{notices:?}")
        };
        assert_eq!(notice.to, Audience::Administrator);
        let remark = notice.remark.as_deref().unwrap();
        for part in ["127.0.0.2", "exempt from authentication", "stranger@example.net"] {
            assert!(remark.contains(part), "{remark}");
        }
    }
    // The host's own mail has not even a client.
    failed.client_address = None;
    assert_eq!(told("{}", &failed).0, ["administrator"]);
}

#[test]
fn a_sender_that_proved_who_it_is_hears_of_not_homed_itself() {
    let mut failed = failure("not-homed");
    failed.identity = authenticated("anna").identity;
    assert_eq!(
        told("{}", &failed),
        (vec!["sender"], Rule::NdrSender.because("not-homed"))
    );
}

#[test]
fn automatic_mail_and_the_null_reverse_path_are_answered_by_silence() {
    let mut automatic = failure("expired");
    automatic.automatic = true;
    assert_eq!(
        told("{}", &automatic),
        (vec![], Rule::NdrQuiet.because("automatic message"))
    );

    let mut bounce = failure("expired");
    bounce.envelope.sender = ReversePath::Null;
    bounce.automatic = true;
    assert_eq!(
        told("{}", &bounce),
        (vec![], Rule::NdrQuiet.because("null reverse-path"))
    );

    // The operator's copies are not for the sender.
    let all = r#"{"ndr": {"administrator-copies": "all"}}"#;
    assert_eq!(
        told(all, &bounce),
        (vec!["administrator"], Rule::NdrCopies.because("all"))
    );
}

#[test]
fn a_notice_that_would_fail_as_well_goes_to_the_administrator() {
    let mut failed = failure("address-not-found");
    failed.failed[0].address = "Anna@example.org".to_owned();
    failed.envelope.sender = from("anna@example.org");
    assert_eq!(
        told("{}", &failed),
        (vec!["administrator"], Rule::NdrLoop.because("anna@example.org"))
    );
}

#[test]
fn the_administrator_hears_of_loops() {
    assert_eq!(
        told("{}", &failure("loop")),
        (vec!["sender", "administrator"], Rule::NdrLoop.because("loop"))
    );
}

#[test]
fn mail_to_our_postmaster_reaches_the_administrator_in_full() {
    let mut failed = failure("expired");
    failed.failed[0].address = "Postmaster@example.org".to_owned();
    failed.envelope.sender = ReversePath::Null;
    failed.automatic = true;
    let (notices, because) = ask("{}", &failed);
    assert_eq!(because, Rule::NdrPostmaster.because("Postmaster@example.org"));
    assert!(matches!(
        notices.as_slice(),
        [Notice {
            to: Audience::Administrator,
            content: Content::Full,
            ..
        }]
    ));

    failed.failed[0].address = "postmaster@example.net".to_owned();
    assert_eq!(told("{}", &failed).0, Vec::<&str>::new());
}

#[test]
fn content_is_the_operators_choice() {
    for (json, content) in [
        ("{}", Content::Headers),
        (r#"{"ndr": {"content": "nothing"}}"#, Content::Nothing),
        (r#"{"ndr": {"content": "full"}}"#, Content::Full),
    ] {
        let (notices, _) = ask(json, &failure("ambiguous-address"));
        assert!(notices.iter().all(|notice| notice.content == content), "{json}");
    }
}
