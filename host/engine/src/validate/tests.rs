use super::*;

fn reply_of(code: u16, status: (u8, u16, u16), text: &str) -> types::Reply {
    types::Reply {
        code,
        status,
        text: text.to_owned(),
    }
}

fn reason_of(rule: &str) -> types::Because {
    types::Because {
        rule: rule.to_owned(),
        entry: None,
    }
}

fn envelope() -> Envelope {
    let mut envelope = Envelope::from_sender(ReversePath::Mailbox("a@example.org".parse().expect("valid")));
    envelope.recipients.push("b@example.org".parse().expect("valid"));
    envelope
}

fn verdict(verdict: types::Verdict) -> Result<Opinion<Verdict>, InvalidAnswer> {
    decision(
        "p",
        types::Decision {
            verdict,
            because: reason_of("r"),
        },
    )
}

#[test]
fn accepts_a_valid_reply() {
    let ok = verdict(types::Verdict::Reject(reply_of(
        554,
        (5, 7, 1),
        "Mailbox is not local: ä",
    )));
    let (answer, because) = ok.expect("valid").expect("an opinion");
    assert_eq!(
        answer,
        Verdict::Reject(Reply::new(554, (5, 7, 1), "Mailbox is not local: ä"))
    );
    assert_eq!(because.to_string(), "p/r");
}

#[test]
fn no_opinion_needs_no_reason() {
    let decision = types::Decision {
        verdict: types::Verdict::Pass,
        because: reason_of(""),
    };
    assert_eq!(super::decision("p", decision), Ok(None));
}

#[test]
fn refuses_replies_outside_the_contract() {
    let long = "x".repeat(401);
    for reply in [
        reply_of(250, (2, 0, 0), "ok"),
        reply_of(34463, (5, 0, 0), "wrapped"),
        reply_of(600, (6, 0, 0), "no such class"),
        reply_of(451, (4, 0, 0), "4xx to reject"),
        reply_of(550, (4, 0, 0), "status of another class"),
        reply_of(550, (5, 1000, 0), "too many digits"),
        reply_of(550, (5, 0, 0), "two\r\nlines"),
        reply_of(550, (5, 0, 0), "nul\0"),
        reply_of(550, (5, 0, 0), &long),
    ] {
        assert!(verdict(types::Verdict::Reject(reply.clone())).is_err(), "{reply:?}");
    }
    assert!(verdict(types::Verdict::Defer(reply_of(550, (5, 0, 0), "5xx to defer"))).is_err());
}

#[test]
fn refuses_empty_long_and_unprintable_rules() {
    for rule in ["", "two\nlines", &"x".repeat(129)] {
        let decision = types::Decision {
            verdict: types::Verdict::Accept,
            because: reason_of(rule),
        };
        assert!(super::decision("p", decision).is_err(), "{rule:?}");
    }
}

#[test]
fn bounds_number_and_length_of_exemptions() {
    let admit = |exemptions: Vec<String>| {
        let terms = exemption::Terms {
            authentication: None,
            encryption: None,
            exemptions,
        };
        admission("p", (exemption::Admission::Admit(terms), reason_of("r")))
    };
    assert!(admit(vec!["relay".to_owned(); 32]).is_ok());
    assert!(admit(vec!["relay".to_owned(); 33]).is_err());
    assert!(admit(vec!["x".repeat(65)]).is_err());
    assert!(admit(vec![String::new()]).is_err());
    assert!(admit(vec!["a\nb".to_owned()]).is_err());
}

#[test]
fn refuses_edits_that_break_a_header_or_an_address() {
    let one = |edit| {
        disposition(
            "p",
            (homing::Disposition::Accept(vec![edit]), reason_of("r")),
            &envelope(),
        )
    };
    let header = |name: &str, value: &str| one(homing::Edit::AddHeader((name.to_owned(), value.to_owned())));
    assert!(header("X-Spam", "no\tü").is_ok());
    assert!(header("X Spam", "no").is_err());
    assert!(header("X-Spam:", "no").is_err());
    assert!(header("", "no").is_err());
    assert!(header("X-Spam", "no\r\nBcc: everybody").is_err());
    assert!(header("X-Spam", "\0").is_err());
    assert!(header("X-Spam", &"x".repeat(993)).is_err());
    assert!(one(homing::Edit::RemoveHeader("a b".to_owned())).is_err());
    assert!(one(homing::Edit::RemoveRecipient("b@EXAMPLE.org".to_owned())).is_ok());
    assert!(one(homing::Edit::RemoveRecipient("c@example.org".to_owned())).is_err());
    assert!(one(homing::Edit::AddRecipient("c@example.org".to_owned())).is_ok());
    assert!(one(homing::Edit::AddRecipient("c@d>\r\nDATA".to_owned())).is_err());
}

#[test]
fn failure_classes_and_folders_are_plain_names() {
    for (text, fits) in [
        ("not-homed", true),
        ("a1", true),
        ("", false),
        ("../etc", false),
        ("Turf", false),
        ("a b", false),
    ] {
        let failed = disposition(
            "p",
            (homing::Disposition::Fail(text.to_owned()), reason_of("r")),
            &envelope(),
        );
        let kept = disposition(
            "p",
            (homing::Disposition::Quarantine(text.to_owned()), reason_of("r")),
            &envelope(),
        );
        assert_eq!((failed.is_ok(), kept.is_ok()), (fits, fits), "{text:?}");
    }
}

#[test]
fn refuses_notices_without_a_valid_recipient_or_remark() {
    let notice = |to, remark: Option<String>| ndr::Notice {
        to,
        content: ndr::ReturnContent::Headers,
        remark,
    };
    let plan_for = |notices, sender: &ReversePath| plan("p", (notices, reason_of("r")), sender);
    let sender = envelope().sender;
    assert!(plan_for(vec![], &sender).is_ok());
    assert!(plan_for(vec![notice(ndr::Audience::Sender, None)], &sender).is_ok());
    assert!(plan_for(vec![notice(ndr::Audience::Sender, None)], &ReversePath::Null).is_err());
    assert!(plan_for(vec![notice(ndr::Audience::Address("x".to_owned()), None)], &sender).is_err());
    assert!(plan_for(vec![notice(ndr::Audience::Administrator, None); 17], &sender).is_err());
    let remark = |text: String| plan_for(vec![notice(ndr::Audience::Administrator, Some(text))], &sender);
    assert!(remark("two\r\nlines".to_owned()).is_ok());
    assert!(remark("\u{7}".to_owned()).is_err());
    assert!(remark("x".repeat(2_001)).is_err());
}

#[test]
fn descriptions_are_short_and_printable() {
    let describe = |name: &str, version: &str| {
        description(lifecycle::Description {
            name: name.to_owned(),
            version: version.to_owned(),
            rules: vec![],
        })
    };
    assert!(describe("default", "1.0").is_ok());
    assert!(describe("", "1.0").is_err());
    assert!(describe("default", "1\n0").is_err());
}
