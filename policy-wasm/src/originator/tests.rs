use super::*;
use crate::testing::{FakeDirectory, FakeHeader, authenticated, client_from, exempt, from};

fn directory() -> FakeDirectory {
    FakeDirectory::new(&["example.org"])
        .account("anna", "anna@example.org")
        .account("anna", "sales@example.org")
        .account("bert", "bert@example.org")
}

fn matching() -> Homing {
    Homing::default()
}

fn header(header: &str) -> Result<Option<Because>, Objection> {
    check_header(
        &matching(),
        &authenticated("anna"),
        &FakeHeader::new(header),
        &directory(),
    )
}

#[test]
fn mail_from_must_belong_to_the_account() {
    let ask = |address: &str| check_sender(&matching(), &authenticated("anna"), &from(address), &directory());
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
fn accepts_the_null_reverse_path() {
    assert!(check_sender(&matching(), &authenticated("anna"), &ReversePath::Null, &directory()).is_ok());
}

#[test]
fn applies_to_authenticated_clients_that_are_not_exempt() {
    let mut relay = exempt("10.0.0.1", &["originator"]);
    relay.identity = authenticated("anna").identity;
    let off = Homing {
        match_account: false,
        ..matching()
    };
    let foreign = from("bert@example.org");
    assert_eq!(
        check_sender(&matching(), &client_from("192.0.2.1"), &foreign, &directory()),
        Ok(None)
    );
    assert_eq!(check_sender(&matching(), &relay, &foreign, &directory()), Ok(None));
    assert_eq!(
        check_sender(&off, &authenticated("anna"), &foreign, &directory()),
        Ok(None)
    );
    let message = FakeHeader::new("From: bert@example.org\r\n");
    assert_eq!(
        check_header(&matching(), &client_from("192.0.2.1"), &message, &directory()),
        Ok(None)
    );
    assert_eq!(check_header(&matching(), &relay, &message, &directory()), Ok(None));
}

#[test]
fn accepts_matching_headers() {
    for text in [
        "From: anna@example.org\r\n",
        "From: Anna <anna@example.org>\r\nSubject: x\r\n",
        "from: \"bert@example.org\" <anna@example.org>\r\n",
        "From: anna@example.org,\r\n Sales <sales@example.org>\r\n",
        "From: Team: anna@example.org, sales@example.org;\r\n",
        "From: Anna (bert@example.org) <anna@example.org>\r\n",
        "From: \"anna\"@example.org\r\n",
        "From: anna@example.org <anna@example.org>\r\n",
        "From: Printers:;\r\nSender: anna@example.org\r\n",
        "Resent-From: anna@example.org\r\nFrom: anna@example.org\r\n",
        // Anna sends for Bert.
        "From: bert@example.org\r\nSender: anna@example.org\r\n",
        "Sender: anna@example.org\r\nFrom: bert@example.org, x@example.net\r\n",
        // No address is claimed.
        "Subject: no originator\r\n",
        "",
    ] {
        assert!(header(text).is_ok(), "{text:?}");
    }
}

#[test]
fn refuses_headers_that_do_not_match() {
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
        ("From:\r\n bert@example.org\r\n", "bert@example.org"),
        ("From: bert@example.org <anna@example.org>\r\n", "bert@example.org"),
        (
            "From: =?utf-8?q?bert=40example.org?= <anna@example.org>\r\n",
            "bert@example.org",
        ),
        (
            "From: anna@example.org\r\nResent-From: bert@example.org\r\n",
            "bert@example.org",
        ),
        // Fields that readers can read differently.
        (
            "From: anna@example.org\r\nFrom: anna@example.org\r\n",
            "From field occurs twice",
        ),
        (
            "From: anna@example.org\r\nFROM : bert@example.org\r\n",
            "From field has a name that is no field name",
        ),
        (
            "Sender: anna@example.org\r\nSender: bert@example.org\r\n",
            "Sender field occurs twice",
        ),
        (
            "Sender: anna@example.org, anna@example.org\r\n",
            "Sender field names more than one address",
        ),
        (
            "From: Bert <bert@example.org>:anna@example.org;\r\n",
            "From field has text behind an address",
        ),
        (
            "From: =?utf-8?q?Bert <bert@example.org>, Anna?= <anna@example.org>\r\n",
            "bert@example.org",
        ),
        (
            "X\r\n \r\nFrom: Bert <bert@example.org>\r\n",
            "From field stands behind a line that is no header field",
        ),
        (
            "Send er: anna@example.org\r\nFrom: Bert <bert@example.org>\r\n",
            "Sender field has a name that is no field name",
        ),
        (
            "Sender: anna@example.org\r\nFrom: Bert\r\n",
            "From field has a name without an address",
        ),
        // A field without an address is a mismatch.
        ("From: Anna\r\n", "From field has a name without an address"),
        ("From: <>\r\n", "From field has brackets without an address"),
        ("From:\r\n", "From field names no address"),
        ("From: Nobody:;\r\n", "From field names no address"),
        ("From: anna@\r\n", "From field has a malformed address"),
    ] {
        let objection = header(text).expect_err(text);
        assert_eq!(objection.reply.code(), 554, "{text:?}");
        assert_eq!(objection.because, Rule::AccountMatch.because(entry), "{text:?}");
    }
}

#[test]
fn too_many_originators_are_not_looked_up() {
    let addresses: Vec<String> = (0..10_000).map(|n| format!("x{n}@example.org")).collect();
    let text = format!("From: {}\r\n", addresses.join(",\r\n "));
    let directory = directory();
    assert!(check_header(&matching(), &authenticated("anna"), &FakeHeader::new(&text), &directory).is_err());
    assert_eq!(directory.questions(), 0);
}

#[test]
fn refuses_a_header_that_is_too_long_to_read() {
    let message = FakeHeader::cut("From: anna@example.org\r\n");
    let objection = check_header(&matching(), &authenticated("anna"), &message, &directory()).unwrap_err();
    assert_eq!(objection.because.entry.as_deref(), Some("header too long to read"));
}

#[test]
fn defers_while_the_directory_is_unavailable() {
    let message = FakeHeader::new("From: anna@example.org\r\n");
    let objection = check_header(
        &matching(),
        &authenticated("anna"),
        &message,
        &directory().unavailable(),
    )
    .unwrap_err();
    assert_eq!((objection.reply.code(), objection.reply.status()), (451, (4, 3, 0)));
    let objection = check_sender(
        &matching(),
        &authenticated("anna"),
        &from("anna@example.org"),
        &directory().unavailable(),
    )
    .unwrap_err();
    assert_eq!(objection.reply.code(), 451);
}
