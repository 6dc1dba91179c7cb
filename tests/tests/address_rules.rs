//! Addresses that no entry of the directory lists: delimiters, alias domains, catch-all, and rewriting.

use posthouse_tests::{Daemon, Site};

const RULES: &str = r#"
[[alias-domain]]
domain = "alias.test"
of = "posthouse.test"

[[catch-all]]
domain = "posthouse.test"
to = ["bert@posthouse.test"]

[[rewrite]]
of = "recipient"
pattern = '([^@]+)\.old@posthouse\.test'
to = "$1@posthouse.test"

[[rewrite]]
of = "recipient"
pattern = 'round@posthouse\.test'
to = "circle@posthouse.test"

[[rewrite]]
of = "recipient"
pattern = 'circle@posthouse\.test'
to = "round@posthouse.test"

[[rewrite]]
of = "sender"
pattern = '([^@]+)@(.+\.)?lan\.test'
to = "$1@posthouse.test"
"#;

fn site() -> Site {
    let site = Site::new();
    let file = site.path().join("directory.toml");
    let before = std::fs::read_to_string(&file).expect("the directory");
    std::fs::write(&file, format!("sub-address-delimiters = '+-'\n{before}{RULES}")).expect("written");
    site
}

/// Submits a message from the host that is exempt from every check.
fn submit(daemon: &Daemon, sender: &str, recipient: &str, subject: &str) {
    let mut client = daemon.connect_from("127.0.0.3");
    client.ehlo();
    let message = format!("From: {sender}\nSubject: {subject}\n\nHello\n");
    assert_eq!(client.submit(sender, &[recipient], &message).code, 250);
    client.quit();
}

#[test]
fn addresses_reach_their_accounts_in_the_order_of_precedence() {
    let site = site();
    site.cli(&["check"]).ok();
    let daemon = site.start();
    for (number, (recipient, account)) in [
        ("anna-news@posthouse.test", "anna"),
        ("anna+a-b@posthouse.test", "anna"),
        ("anna@alias.test", "anna"),
        ("Anna-x@ALIAS.test", "anna"),
        ("anna.old@posthouse.test", "anna"),
        ("sales@alias.test", "anna"),
        ("unknown@posthouse.test", "bert"),
        ("unknown@alias.test", "bert"),
        ("postmaster@posthouse.test", "admin"),
        ("postmaster@alias.test", "admin"),
    ]
    .into_iter()
    .enumerate()
    {
        let subject = format!("case {number} for {account}");
        submit(&daemon, "stranger@example.org", recipient, &subject);
        site.mailbox(account).expect(&format!("Subject: {subject}"));
    }
}

#[test]
fn senders_are_rewritten_once_with_an_event() {
    let site = site();
    let daemon = site.start();
    submit(&daemon, "anna@pc.lan.test", "bert@posthouse.test", "from the lan");
    let told = daemon.events().take(5175);
    assert_eq!(
        (told.text("from"), told.text("to")),
        ("anna@pc.lan.test".to_owned(), "anna@posthouse.test".to_owned())
    );
    let delivered = site.mailbox("bert").expect("Subject: from the lan");
    assert!(
        delivered.text.contains("Return-Path: <anna@posthouse.test>"),
        "{}",
        delivered.text
    );
    submit(&daemon, "anna@posthouse.test", "bert@posthouse.test", "as it is");
    site.mailbox("bert").expect("Subject: as it is");
    assert_eq!(daemon.events().all(5175).len(), 1);
}

#[test]
fn rules_that_lead_in_circles_end_with_a_report() {
    let site = site();
    let daemon = site.start();
    submit(
        &daemon,
        "anna@posthouse.test",
        "round@posthouse.test",
        "round and round",
    );
    assert!(
        daemon
            .events()
            .take(5040)
            .text("detail")
            .contains("leads back to itself")
    );
    site.mailbox("admin").expect("round@posthouse.test");
}

#[test]
fn try_shows_what_the_rules_make_of_each_address() {
    let site = site();
    let tried = site.cli(&[
        "try",
        "127.0.0.3",
        "--sender",
        "anna@pc.lan.test",
        "--recipient",
        "anna.old@posthouse.test",
        "--recipient",
        "unknown@posthouse.test",
        "--recipient",
        "anna@alias.test",
        "--recipient",
        "anna@posthouse.test",
    ]);
    let text = tried.text();
    for line in [
        "becomes <anna@posthouse.test>, by a rewrite of senders",
        "alias of anna@posthouse.test, by rewrite[0]",
        "alias of bert@posthouse.test, by catch-all of posthouse.test",
        "account anna, by the alias domain of posthouse.test",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    assert_eq!(
        text.matches("\ndirectory ").count() + usize::from(text.starts_with("directory ")),
        4,
        "{text}"
    );
}
