use super::*;
use crate::testing::{FakeDirectory, authenticated, failure, from, settings};

fn notices(json: &str, failure: &Failure) -> (Vec<Notice>, Because) {
    plan(&settings(json).ndr, failure, &FakeDirectory::new(&["example.org"]))
}

fn audiences(json: &str, failure: &Failure) -> (Vec<&'static str>, Because) {
    let (notices, because) = notices(json, failure);
    let audiences = notices.iter().map(|notice| match &notice.to {
        Audience::Sender => "sender",
        Audience::Administrator => "administrator",
        Audience::Address(other) => panic!("{other}"),
    });
    (audiences.collect(), because)
}

#[test]
fn sender_gets_a_notice() {
    for class in [
        "address-not-found",
        "host-not-found",
        "protocol-error",
        "expired",
        "conversion-failed",
        "something-new",
    ] {
        assert_eq!(
            audiences("{}", &failure(class)),
            (vec!["sender"], Rule::NdrSender.because(class))
        );
    }
}

#[test]
fn default_settings_copy_ambiguous_addresses_to_the_administrator() {
    let expected = (
        vec!["sender", "administrator"],
        Rule::NdrCopies.because("ambiguous-address"),
    );
    assert_eq!(audiences("{}", &failure("ambiguous-address")), expected);
}

#[test]
fn administrator_gets_copies_of_the_configured_classes() {
    let all = r#"{"ndr": {"administrator-copies": "all"}}"#;
    let chosen = r#"{"ndr": {"administrator-copies": ["expired", "host-not-found"]}}"#;
    let none = r#"{"ndr": {"administrator-copies": []}}"#;
    let both = vec!["sender", "administrator"];
    assert_eq!(
        audiences(all, &failure("something-new")),
        (both.clone(), Rule::NdrCopies.because("all"))
    );
    assert_eq!(
        audiences(chosen, &failure("expired")),
        (both, Rule::NdrCopies.because("expired"))
    );
    assert_eq!(audiences(chosen, &failure("ambiguous-address")).0, ["sender"]);
    assert_eq!(audiences(none, &failure("ambiguous-address")).0, ["sender"]);
}

#[test]
fn q178091_notifies_the_administrator_and_not_the_unproven_sender() {
    let mut failed = failure("not-homed");
    failed.envelope.sender = from("stranger@example.net");
    failed.client_address = Some("127.0.0.2".to_owned());
    failed.exemptions = vec!["authentication".to_owned()];
    failed.identity = None;
    for copies in [
        r#"{"ndr": {"administrator-copies": []}}"#,
        r#"{"ndr": {"administrator-copies": "all"}}"#,
    ] {
        let (notices, because) = notices(copies, &failed);
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
    // Mail that the host itself generated has no client address.
    failed.client_address = None;
    assert_eq!(audiences("{}", &failed).0, ["administrator"]);
}

#[test]
fn authenticated_sender_gets_the_not_homed_notice() {
    let mut failed = failure("not-homed");
    failed.identity = authenticated("anna").identity;
    assert_eq!(
        audiences("{}", &failed),
        (vec!["sender"], Rule::NdrSender.because("not-homed"))
    );
}

#[test]
fn automatic_mail_is_answered_unless_the_settings_say_otherwise() {
    let mut list = failure("expired");
    list.automatic = true;
    list.headers = vec![
        ("List-Id".to_owned(), "<x.example.org>".to_owned()),
        ("Precedence".to_owned(), "bulk".to_owned()),
    ];
    assert_eq!(
        audiences("{}", &list),
        (vec!["sender"], Rule::NdrSender.because("expired"))
    );
    let quiet = r#"{"ndr": {"quiet-automatic": true}}"#;
    assert_eq!(
        audiences(quiet, &list),
        (vec![], Rule::NdrQuiet.because("automatic message"))
    );
}

#[test]
fn no_notice_about_a_report_and_for_the_null_reverse_path() {
    for kind in [
        "multipart/report; report-type=delivery-status",
        "Multipart/Report; Report-Type=\"disposition-notification\"",
    ] {
        let mut report = failure("expired");
        report.headers = vec![("content-type".to_owned(), kind.to_owned())];
        assert_eq!(
            audiences("{}", &report),
            (vec![], Rule::NdrQuiet.because("report")),
            "{kind}"
        );
    }

    let mut bounce = failure("expired");
    bounce.envelope.sender = ReversePath::Null;
    bounce.automatic = true;
    assert_eq!(
        audiences("{}", &bounce),
        (vec![], Rule::NdrQuiet.because("null reverse-path"))
    );

    // The administrator gets copies even if the sender gets no notice.
    let all = r#"{"ndr": {"administrator-copies": "all"}}"#;
    assert_eq!(
        audiences(all, &bounce),
        (vec!["administrator"], Rule::NdrCopies.because("all"))
    );
}

#[test]
fn administrator_replaces_an_undeliverable_sender() {
    let mut failed = failure("address-not-found");
    failed.failed[0].address = "Anna@example.org".to_owned();
    failed.envelope.sender = from("anna@example.org");
    assert_eq!(
        audiences("{}", &failed),
        (vec!["administrator"], Rule::NdrLoop.because("anna@example.org"))
    );
}

#[test]
fn administrator_gets_notices_of_loops() {
    assert_eq!(
        audiences("{}", &failure("loop")),
        (vec!["sender", "administrator"], Rule::NdrLoop.because("loop"))
    );
}

#[test]
fn failed_mail_to_the_local_postmaster_goes_to_the_administrator_in_full() {
    let mut failed = failure("expired");
    failed.failed[0].address = "Postmaster@example.org".to_owned();
    failed.envelope.sender = ReversePath::Null;
    failed.automatic = true;
    let (notices, because) = notices("{}", &failed);
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
    assert_eq!(audiences("{}", &failed).0, Vec::<&str>::new());
}

#[test]
fn settings_select_the_returned_content() {
    for (json, content) in [
        ("{}", Content::Headers),
        (r#"{"ndr": {"content": "nothing"}}"#, Content::Nothing),
        (r#"{"ndr": {"content": "full"}}"#, Content::Full),
    ] {
        let (notices, _) = notices(json, &failure("ambiguous-address"));
        assert!(!notices.is_empty(), "{json}");
        assert!(notices.iter().all(|notice| notice.content == content), "{json}");
    }
}
