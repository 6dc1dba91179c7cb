use super::*;
use crate::testing::{Fake, Text, authenticated, client_from, exempt, from};

fn fake() -> Fake {
    Fake::new(&["example.org"])
        .account("anna", "anna@example.org")
        .account("anna", "sales@example.org")
        .account("bert", "bert@example.org")
}

fn on() -> Homing {
    Homing::default()
}

fn header(header: &str) -> Result<Option<Because>, Objection> {
    check_header(&on(), &authenticated("anna"), &Text::new(header), &fake())
}

#[test]
fn mail_from_must_belong_to_the_account() {
    let ask = |address: &str| check_sender(&on(), &authenticated("anna"), &from(address), &fake());
    assert_eq!(
        ask("anna@example.org"),
        Ok(Some(Rule::AccountMatch.because("anna@example.org")))
    );
    assert!(ask("sales@example.org").is_ok());
    let objection = ask("bert@example.org").unwrap_err();
    assert_eq!((objection.reply.code(), objection.reply.status()), (554, (5, 7, 1)));
    assert_eq!(
        objection.reply.text(),
        "Originator address does not match authentication credentials"
    );
    assert_eq!(objection.because, Rule::AccountMatch.because("bert@example.org"));
}

#[test]
fn the_null_reverse_path_passes() {
    assert!(check_sender(&on(), &authenticated("anna"), &ReversePath::Null, &fake()).is_ok());
}

#[test]
fn the_rule_is_for_authenticated_clients_that_are_not_exempt() {
    let mut relay = exempt("10.0.0.1", &["originator"]);
    relay.identity = authenticated("anna").identity;
    let off = Homing {
        match_account: false,
        ..on()
    };
    let foreign = from("bert@example.org");
    assert_eq!(
        check_sender(&on(), &client_from("192.0.2.1"), &foreign, &fake()),
        Ok(None)
    );
    assert_eq!(check_sender(&on(), &relay, &foreign, &fake()), Ok(None));
    assert_eq!(check_sender(&off, &authenticated("anna"), &foreign, &fake()), Ok(None));
    let message = Text::new("From: bert@example.org\r\n");
    assert_eq!(
        check_header(&on(), &client_from("192.0.2.1"), &message, &fake()),
        Ok(None)
    );
    assert_eq!(check_header(&on(), &relay, &message, &fake()), Ok(None));
}

#[test]
fn headers_that_match() {
    for text in [
        "From: anna@example.org\r\n",
        "From: Anna <anna@example.org>\r\nSubject: x\r\n",
        "from: \"bert@example.org\" <anna@example.org>\r\n",
        "From: anna@example.org,\r\n Sales <sales@example.org>\r\n",
        "From: Team: anna@example.org, sales@example.org;\r\n",
        "From: Anna (bert@example.org) <anna@example.org>\r\n",
        // Sent by Anna for Bert.
        "From: bert@example.org\r\nSender: anna@example.org\r\n",
        "Sender: anna@example.org\r\nFrom: bert@example.org, x@example.net\r\n",
        // Nobody's address is claimed.
        "Subject: no originator\r\n",
        "",
    ] {
        assert!(header(text).is_ok(), "{text:?}");
    }
}

#[test]
fn headers_that_do_not_match() {
    for (text, entry) in [
        ("From: bert@example.org\r\n", "bert@example.org"),
        ("From: Anna <bert@example.org>\r\n", "bert@example.org"),
        ("From: anna@example.org, bert@example.org\r\n", "bert@example.org"),
        (
            "From: Team: anna@example.org, bert@example.org;\r\n",
            "bert@example.org",
        ),
        (
            "From: anna@example.org\r\nSender: bert@example.org\r\n",
            "bert@example.org",
        ),
        // A second field does not hide behind the first, nor behind a folded or oddly written name.
        (
            "From: anna@example.org\r\nFrom: bert@example.org\r\n",
            "bert@example.org",
        ),
        (
            "From: anna@example.org\r\nFROM : bert@example.org\r\n",
            "bert@example.org",
        ),
        ("From:\r\n bert@example.org\r\n", "bert@example.org"),
        (
            "Sender: anna@example.org\r\nSender: bert@example.org\r\n",
            "bert@example.org",
        ),
        // A field that names nobody claims to be from somebody all the same.
        ("From: Anna\r\n", "Anna"),
        ("From: <>\r\n", "From with 0 readable addresses"),
        ("From:\r\n", "From with 0 readable addresses"),
        ("From: Nobody:;\r\n", "From with 0 readable addresses"),
        ("From: anna@\r\n", "anna@"),
    ] {
        let objection = header(text).expect_err(text);
        assert_eq!(objection.reply.code(), 554, "{text:?}");
        assert_eq!(objection.because, Rule::AccountMatch.because(entry), "{text:?}");
    }
}

#[test]
fn a_crowd_of_originators_is_not_looked_up() {
    let crowd: Vec<String> = (0..10_000).map(|n| format!("x{n}@example.org")).collect();
    let text = format!("From: {}\r\n", crowd.join(",\r\n "));
    let directory = fake();
    assert!(check_header(&on(), &authenticated("anna"), &Text::new(&text), &directory).is_err());
    assert_eq!(directory.questions(), 0);
}

#[test]
fn a_header_that_cannot_be_read_whole_matches_nothing() {
    let message = Text::cut("From: anna@example.org\r\n");
    let objection = check_header(&on(), &authenticated("anna"), &message, &fake()).unwrap_err();
    assert_eq!(objection.because.entry.as_deref(), Some("header too long to read"));
}

#[test]
fn without_a_directory_nothing_is_decided() {
    let message = Text::new("From: anna@example.org\r\n");
    let objection = check_header(&on(), &authenticated("anna"), &message, &fake().unavailable()).unwrap_err();
    assert_eq!((objection.reply.code(), objection.reply.status()), (451, (4, 3, 0)));
    let objection = check_sender(
        &on(),
        &authenticated("anna"),
        &from("anna@example.org"),
        &fake().unavailable(),
    )
    .unwrap_err();
    assert_eq!(objection.reply.code(), 451);
}
