//! Tests of the grouping of failures, of the host's rules and of the standard plan.

use super::*;
use crate::ndr::failure_facts::group_by_class;
use crate::ndr::notice_rules::{Addressed, DroppedNotice, PlannedClass, address, standard_plan};
use host_contract::{Audience, Notice, Plan, Reason, ReturnContent};

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
    let why = |address: &str, class: &str| FailedDelivery {
        why: failed(class, Reply::new(550, (5, 1, 1), "x"), None),
        ..failed_delivery(address, Reply::bare(550, ""), None)
    };
    let list = [
        why("a@x.example", "expired"),
        why("b@x.example", "protocol-error"),
        why("c@x.example", "expired"),
        why("C@x.example", "expired"),
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
    let notifies_sender = |original: &Message, class: &str, report: bool| {
        let mut failure = failure(original, class);
        failure.automatic = true;
        if report {
            let kind = "multipart/report; report-type=delivery-status";
            failure.headers.push(("content-type".to_owned(), kind.to_owned()));
        }
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
    assert!(notifies_sender(&known, "not-homed", false) && !notifies_sender(&known, "expired", true));
    assert!(!notifies_sender(&null, "expired", false));
}

/// Addresses the plans about these classes of failures.
fn addressed(plans: Vec<(&Message, &str, Plan)>) -> (Vec<Addressed>, Vec<DroppedNotice>) {
    let planned: Vec<PlannedClass> = plans
        .into_iter()
        .map(|(original, class, plan)| PlannedClass {
            failure: failure(original, class),
            plan,
            because: Reason::host("test"),
        })
        .collect();
    address(&planned, &mailbox("admin@example.org"))
}

#[test]
fn policy_cannot_overrule_the_host_rules() {
    let mut null = original();
    null.envelope.sender = ReversePath::Null;
    let plan = vec![notice(Audience::Sender, ReturnContent::Full)];
    let (sent, dropped) = addressed(vec![(&null, "expired", plan)]);
    assert!(sent.is_empty() && dropped[0].to == "<>");

    let to_failed = || notice(Audience::Address(mailbox("Anna@example.org")), ReturnContent::Full);
    let (sent, dropped) = addressed(vec![(&original(), "address-not-found", vec![to_failed()])]);
    assert!(sent.is_empty() && dropped.len() == 1);
    let (sent, _) = addressed(vec![(&original(), "not-homed", vec![to_failed()])]);
    assert_eq!(sent.len(), 1, "the address itself is fine");
    let both = vec![
        (&null, "not-homed", vec![to_failed()]),
        (&null, "address-not-found", Vec::new()),
    ];
    let (sent, dropped) = addressed(both);
    assert!(
        sent.is_empty() && dropped.len() == 1,
        "the address has failed in another class"
    );
}

#[test]
fn classes_with_the_same_addressee_share_a_report() {
    let with_remark = |to, remark: &str| Notice {
        to,
        content: ReturnContent::Headers,
        remark: Some(remark.to_owned()),
    };
    let administrator = || Audience::Address(mailbox("admin@example.org"));
    let (sent, dropped) = addressed(vec![
        (
            &original(),
            "expired",
            vec![
                notice(Audience::Administrator, ReturnContent::Nothing),
                with_remark(administrator(), "look"),
                notice(Audience::Sender, ReturnContent::Full),
            ],
        ),
        (
            &original(),
            "protocol-error",
            vec![with_remark(Audience::Sender, "sorry")],
        ),
        (
            &original(),
            "loop",
            vec![
                with_remark(Audience::Administrator, "look"),
                notice(Audience::Sender, ReturnContent::Nothing),
            ],
        ),
    ]);
    assert!(dropped.is_empty());
    let shape: Vec<_> = sent
        .iter()
        .map(|n| (n.to.as_str(), n.content, n.remarks.join("/"), n.classes.clone()))
        .collect();
    assert_eq!(
        shape,
        [
            (
                "admin@example.org",
                ReturnContent::Headers,
                "look".to_owned(),
                vec![0, 2]
            ),
            (
                "bert@example.net",
                ReturnContent::Full,
                "sorry".to_owned(),
                vec![0, 1, 2]
            )
        ]
    );
    assert!(!sent[0].to_sender && sent[1].to_sender);
}
