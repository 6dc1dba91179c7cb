//! Internationalized domains: every spelling of a domain is the same domain at MAIL, RCPT, AUTH, in the directory, in
//! lists of the policy, and on the way to the next host.

use posthouse_tests::{PASSWORD, Sink, Site};

/// Spellings of `bücher.example`: U-label, upper case, decomposed, full-width with an ideographic full stop, A-label,
/// and both with a final dot. The first four need SMTPUTF8.
const SPELLINGS: [&str; 8] = [
    "bücher.example",
    "BÜCHER.Example",
    "bu\u{308}cher.example",
    "ｂüｃｈｅｒ。ｅｘａｍｐｌｅ",
    "bücher.example.",
    "xn--bcher-kva.example",
    "XN--BCHER-KVA.EXAMPLE",
    "xn--bcher-kva.example.",
];

fn site() -> Site {
    let site = Site::new();
    site.add_domain("Bücher.example", &["anna@bücher.example", "jörg@bücher.example"]);
    site
}

#[test]
fn each_spelling_is_the_mailbox_the_sender_and_the_author() {
    let site = site();
    let daemon = site.start();
    let mut client = daemon.connect_as_anna();
    for (at, domain) in SPELLINGS.iter().enumerate() {
        client.command(&format!("MAIL FROM:<anna@{domain}> SMTPUTF8"), 250);
        client.command(&format!("RCPT TO:<anna@{domain}>"), 250);
        // A final dot is no part of a domain in a header (RFC 5322 section 3.4.1).
        let author = domain.trim_end_matches('.');
        let reply = client.data(&format!("From: anna@{author}\nSubject: spelling {at}.\n\nText\n"));
        assert_eq!(reply.code, 250, "{domain}: {}", reply.line());
        let delivered = site.mailbox("anna").expect(&format!("Subject: spelling {at}."));
        assert!(
            delivered.text.contains("Return-Path: <anna@xn--bcher-kva.example>"),
            "{}",
            delivered.text
        );
    }
    // Local parts are compared in normalization form C.
    client.command("MAIL FROM:<jo\u{308}rg@bücher.example> SMTPUTF8", 250);
    client.command("RCPT TO:<JÖRG@xn--bcher-kva.example>", 250);
    client.command("RSET", 250);
    // Written in ASCII, the same domain needs no SMTPUTF8.
    client.command("MAIL FROM:<anna@xn--bcher-kva.example>", 250);
    client.command("RCPT TO:<anna@xn--bcher-kva.example.>", 250);
    let reply = client.command("RCPT TO:<anna@bücher.example>", 553);
    assert!(reply.line().contains("5.6.7"), "{}", reply.line());
}

#[test]
fn each_spelling_is_the_login() {
    let site = site();
    let daemon = site.start();
    for domain in SPELLINGS {
        let mut client = daemon.connect();
        client.ehlo();
        client.starttls();
        client.auth_plain(&format!("anna@{domain}"), PASSWORD, 235);
    }
}

#[test]
fn each_spelling_is_on_the_lists_of_the_policy() {
    let mut site = site();
    let never = ["@blocked.test", "@*.büros.example", "secret@bücher.test"].map(String::from);
    site.set("policy.settings.relay.never.to", never.to_vec());
    let daemon = site.start();
    let mut client = daemon.connect_as_anna();
    client.command("MAIL FROM:<anna@posthouse.test> SMTPUTF8", 250);
    for recipient in [
        "x@blocked.test",
        "x@BLOCKED.test.",
        "x@\u{ff42}locked.test",
        "x@blocked。test",
        "x@a.xn--bros-0ra.example",
        "x@a.BÜROS.example",
        "secret@bu\u{308}cher.test",
        "secret@xn--bcher-kva.test",
    ] {
        let reply = client.command(&format!("RCPT TO:<{recipient}>"), 550);
        assert!(
            reply.line().contains("Relaying denied"),
            "{recipient}: {}",
            reply.line()
        );
    }
    client.command("RCPT TO:<other@bücher.test>", 250);
}

#[test]
fn domains_that_idna_refuses_are_refused_at_once() {
    let site = site();
    let daemon = site.start();
    let mut client = daemon.connect_as_anna();
    let refused = [
        "xn--a.example",
        "a\u{202e}b.example",
        "a\u{ff0f}b.example",
        "\u{308}a.example",
        "a..example",
        ".",
    ];
    for domain in refused {
        client.command(&format!("MAIL FROM:<anna@{domain}> SMTPUTF8"), 501);
    }
    client.command("MAIL FROM:<anna@posthouse.test> SMTPUTF8", 250);
    for domain in refused {
        client.command(&format!("RCPT TO:<x@{domain}>"), 501);
    }
}

#[test]
fn host_without_smtputf8_gets_the_a_label() {
    let mut site = site();
    let sink = Sink::smtp();
    sink.answer("EHLO", "250-sink.example\r\n250 8BITMIME");
    site.set("delivery.smart-host", sink.address().to_string());
    let daemon = site.start();
    let mut client = daemon.connect_as_anna();
    client.command("MAIL FROM:<anna@bücher.example> SMTPUTF8", 250);
    client.command("RCPT TO:<otto@müller.example>", 250);
    let reply = client.data("From: anna@xn--bcher-kva.example\nSubject: plain\n\nText\n");
    assert_eq!(reply.code, 250, "{}", reply.line());
    let received = sink.expect("Subject: plain");
    assert_eq!(received.recipients, ["<otto@xn--mller-kva.example>"]);
    assert!(
        received.mail.starts_with("<anna@xn--bcher-kva.example>"),
        "{}",
        received.mail
    );
    assert!(!received.mail.contains("SMTPUTF8"), "{}", received.mail);
}
