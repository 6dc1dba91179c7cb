use super::*;

fn mailboxes(value: &str) -> Vec<String> {
    let claimed = read(value.as_bytes()).unwrap_or_else(|reason| panic!("{value:?}: {reason}"));
    assert_eq!(claimed.all().count(), claimed.mailboxes.len(), "{value:?}: {claimed:?}");
    claimed.mailboxes
}

#[test]
fn reads_the_forms_in_use() {
    for value in [
        " anna@example.org\r\n",
        "<anna@example.org>",
        "Anna <anna@example.org>",
        "Anna<anna@example.org>",
        "A. N. O'Hara-Smith <anna@example.org>",
        "\"Smith, Anna\" <anna@example.org>",
        "\"Anna \\\"A\\\" Smith\" <anna@example.org>",
        "\"bert@example.org\" <anna@example.org>",
        "\"Bert <bert@example.org>\" <anna@example.org>",
        "anna@example.org (Anna)",
        "(Anna) anna@example.org",
        "Anna (bert@example.org) <anna@example.org>",
        "Anna (at (work)) <anna@example.org>",
        "\"anna\"@example.org",
        "<\"anna\"@example.org>",
        "Anna\r\n <anna@example.org>",
        "=?utf-8?q?J=C3=B6rg?= <anna@example.org>",
        "Jörg <anna@example.org>",
        "Team: anna@example.org;",
        "Team: Anna <anna@example.org>; (all)",
        "Anna <anna@example.org>,",
        "anna@example.org ,\r\n ",
    ] {
        assert_eq!(mailboxes(value), ["anna@example.org"], "{value:?}");
    }
    assert_eq!(
        mailboxes("a@b.example, Team: x@y.example, \"z\" <z@[192.0.2.1]>;, jörg@bücher.example"),
        ["a@b.example", "x@y.example", "z@[192.0.2.1]", "jörg@bücher.example"]
    );
    assert!(read(b"Nobody:;").unwrap().mailboxes.is_empty());
    assert!(read(b"J\xf6rg <anna@example.org>").is_ok());
}

#[test]
fn finds_addresses_that_only_some_readers_see() {
    for value in [
        "bert@example.org <anna@example.org>",
        "=?utf-8?q?bert=40example.org?= <anna@example.org>",
        "anna@example.org (=?utf-8?q?bert=40example.org?=)",
    ] {
        let claimed = read(value.as_bytes()).unwrap();
        assert_eq!(claimed.mailboxes, ["anna@example.org"], "{value}");
        assert!(claimed.all().any(|address| address == "bert@example.org"), "{value}");
    }
}

#[test]
fn refuses_malformed_and_obsolete_forms() {
    for value in [
        "",
        "Anna",
        "<>",
        "Anna <>",
        "anna@",
        "@example.org",
        "anna@example.org.",
        ".anna@example.org",
        "an..na@example.org",
        "anna @example.org",
        "anna@ example.org",
        "anna@example.org,,",
        "Team: anna@example.org,;",
        ",anna@example.org",
        "anna@example.org bert@example.org",
        "anna@example.org Anna <anna@example.org>",
        "<anna@example.org> bert@example.org",
        "<anna@example.org> <bert@example.org>",
        "<anna@example.org",
        "Anna <bert@example.org, anna@example.org>",
        "<@relay.example:anna@example.org>",
        "<bert@example.org@example.org>",
        "Anna [Sales] <anna@example.org>",
        "Anna: Sales <anna@example.org>",
        "Bert <bert@example.org>:anna@example.org;",
        "a: b: anna@example.org;;",
        "Team: \"a;b\" <anna@example.org>;",
        ":anna@example.org;",
        "\"bert@example.org x\"@example.org",
        "\"an na\"@example.org",
        "\"anna@example.org",
        "\"Bert\r\n <bert@example.org>\" <anna@example.org>",
        "(anna@example.org",
        "(a (b) bert@example.org) <anna@example.org>",
        "(a \\) bert@example.org) anna@example.org",
        "anna@example.org (a (b))",
        "anna@example.org (bert@example.org)",
        "Team: anna@example.org (A <bert@example.org>);",
        "\"bert@example.org\": anna@example.org;",
        "=?utf-8?q?bert?=@example.org",
        "anna@exam\0ple.org",
        "anna@example.org\u{7f}",
    ] {
        assert!(read(value.as_bytes()).is_err(), "{value:?}");
    }
    assert!(read(b"\"J\xf6rg\\\" <anna@example.org>").is_err());
    assert!(read(b"ann\xf6@example.org").is_err());
}

#[test]
fn limits_are_checked_before_work() {
    let many = |count: usize| vec!["a@b.example"; count].join(",");
    assert_eq!(read(many(32).as_bytes()).unwrap().mailboxes.len(), 32);
    assert_eq!(read(many(33).as_bytes()), Err("names too many addresses"));
    assert_eq!(read(&vec![b'a'; MAX_VALUE + 1]), Err("is too long"));
    let nested = format!("{}{} <a@b.example>", "(".repeat(100), ")".repeat(100));
    assert_eq!(read(nested.as_bytes()), Err("has comments nested too deeply"));
}
