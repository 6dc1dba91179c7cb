//! Tests of the grouping of failures, of the host's rules and of the standard plan.

use super::*;
use crate::ndr::failure_facts::group_by_class;
use crate::ndr::notice_rules::{address, standard_plan};
use host_contract::{Audience, Notice, ReturnContent};

fn notice(to: Audience, content: ReturnContent) -> Notice {
    Notice {
        to,
        content,
        remark: None,
    }
}

#[test]
fn groups_recipients_by_class_and_shows_the_submitter() {
    let mut original = original();
    let text = "Subject: a\r\n b\r\nX: 1\r\n\r\nbody";
    let why = |class: &str| failed(class, Reply::new(550, (5, 1, 1), "x"), None);
    let list = [
        (mailbox("a@x.example"), why("expired")),
        (mailbox("b@x.example"), why("protocol-error")),
        (mailbox("c@x.example"), why("expired")),
    ];
    let failures = group_by_class(&original, &header(&content(text)), &list);
    let shape: Vec<_> = failures.iter().map(|f| (f.class.as_str(), f.failed.len())).collect();
    assert_eq!(shape, [("expired", 2), ("protocol-error", 1)]);
    let first = &failures[0];
    assert_eq!((first.identity.clone(), first.automatic), (None, false));
    assert_eq!(first.client_address, Some("192.0.2.7".parse().expect("address")));
    assert_eq!(first.headers[0], ("Subject".to_owned(), "a b".to_owned()));

    original.client = None;
    let long = format!("X: {}\r\n\r\n", "é".repeat(2000));
    let failures = group_by_class(&original, &header(&content(&long)), &list[..1]);
    assert_eq!((failures[0].client_address, failures[0].exemptions.len()), (None, 0));
    assert!((990..=1000).contains(&failures[0].headers[0].1.len()));
    let many = "X: y\r\n".repeat(200);
    let failures = group_by_class(&original, &header(&content(&many)), &list[..1]);
    assert_eq!(failures[0].headers.len(), 128);
}

#[test]
fn standard_plan_makes_no_backscatter() {
    let notifies_sender = |original: &Message, class: &str, automatic: bool| {
        let mut failure = failure(original, class);
        failure.automatic |= automatic;
        let plan = standard_plan(&failure);
        assert!(plan.iter().any(|notice| notice.to == Audience::Administrator), "always");
        plan.iter().any(|notice| notice.to == Audience::Sender)
    };
    let stranger = original();
    let mut known = original();
    known.client.as_mut().expect("client").identity = Some(identity());
    let mut null = original();
    null.envelope.sender = ReversePath::Null;

    assert!(
        !notifies_sender(&stranger, "not-homed", false),
        "nothing vouches for the reverse-path"
    );
    assert!(!notifies_sender(&stranger, "what-a-policy-says", false));
    assert!(
        notifies_sender(&stranger, "expired", false),
        "accepted, then failed: RFC 5321 section 6.1"
    );
    assert!(!notifies_sender(&stranger, "expired", true));
    assert!(notifies_sender(&known, "not-homed", false) && notifies_sender(&known, "expired", true));
    assert!(!notifies_sender(&null, "expired", false));
}

#[test]
fn policy_cannot_overrule_the_host_rules() {
    let administrator = mailbox("admin@example.org");
    let mut null = original();
    null.envelope.sender = ReversePath::Null;
    let plan = vec![notice(Audience::Sender, ReturnContent::Full)];
    let (sent, dropped) = address(plan.clone(), &failure(&null, "expired"), &administrator);
    assert!(sent.is_empty() && dropped[0].to == "<>");

    let to_failed = vec![notice(
        Audience::Address(mailbox("Anna@example.org")),
        ReturnContent::Full,
    )];
    let (sent, dropped) = address(
        to_failed.clone(),
        &failure(&original(), "address-not-found"),
        &administrator,
    );
    assert!(sent.is_empty() && dropped.len() == 1);
    let (sent, _) = address(to_failed, &failure(&original(), "not-homed"), &administrator);
    assert_eq!(sent.len(), 1, "the address itself is fine");

    let twice = vec![
        notice(Audience::Administrator, ReturnContent::Nothing),
        Notice {
            to: Audience::Address(administrator.clone()),
            content: ReturnContent::Headers,
            remark: Some("look".to_owned()),
        },
        notice(Audience::Sender, ReturnContent::Full),
    ];
    let (sent, dropped) = address(twice, &failure(&original(), "expired"), &administrator);
    assert!(dropped.is_empty());
    let shape: Vec<_> = sent
        .iter()
        .map(|n| (n.to.as_str(), n.content, n.remark.as_deref()))
        .collect();
    assert_eq!(
        shape,
        [
            ("admin@example.org", ReturnContent::Headers, Some("look")),
            ("bert@example.net", ReturnContent::Full, None)
        ]
    );
}
