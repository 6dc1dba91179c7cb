//! Completion of submitted messages (RFC 6409 section 8).

use posthouse_tests::{Client, Daemon, Delivered, Dkimpy, PASSWORD, Sink, Site};

/// The site with completion, and one of its keys changed.
fn site(key: &str, value: impl Into<toml::Value>) -> Site {
    let mut site = Site::new();
    site.set("submission.complete", true);
    site.set(key, value);
    site
}

fn anna(daemon: &Daemon) -> Client {
    let mut client = daemon.connect();
    client.login("anna", PASSWORD);
    client
}

fn submit(client: &mut Client, message: &str) -> u16 {
    client
        .submit("anna@posthouse.test", &["bert@posthouse.test"], message)
        .code
}

fn fields<'a>(delivered: &'a Delivered, name: &str) -> Vec<&'a str> {
    let header = delivered.text.split("\n\n").next().unwrap_or_default();
    let start = format!("{}:", name.to_ascii_lowercase());
    let lines = header
        .lines()
        .filter(|line| line.to_ascii_lowercase().starts_with(&start));
    lines.map(|line| line[start.len()..].trim()).collect()
}

#[test]
fn account_gets_what_its_client_left_out() {
    let site = site("submission.refuse-bare", false);
    let daemon = site.start();
    let mut client = anna(&daemon);
    let message =
        "From anna Mon Nov 30 12:00:00 2026\nSubject: bare\nBcc: secret@example.org,\n more@example.org\n\nHi\n";
    assert_eq!(submit(&mut client, message), 250);
    let delivered = site.mailbox("bert").expect("Subject: bare");
    assert_eq!(fields(&delivered, "From"), ["<anna@posthouse.test>"]);
    assert!(fields(&delivered, "Date")[0].ends_with("+0000"), "{}", delivered.text);
    assert!(fields(&delivered, "Message-ID")[0].ends_with("@mx.posthouse.test>"));
    for gone in ["secret@example.org", "more@example.org", "From anna"] {
        assert!(!delivered.text.contains(gone), "{}", delivered.text);
    }
    let completed = daemon.events().take(5140);
    assert_eq!(completed.text("added"), "[\"Date\",\"From\",\"Message-ID\"]");
    assert_eq!(completed.text("removed"), "[\"Bcc\",\"mbox\"]");
    assert_eq!(completed.text("message"), daemon.events().take(5006).text("message"));

    // A complete message stays as it is.
    let whole = "Message-ID: <1@x.example>\nDate: Mon, 30 Nov 2026 12:00:00 +0000\nFrom: anna@posthouse.test\nSubject: whole\n\nHi\n";
    assert_eq!(submit(&mut client, whole), 250);
    let delivered = site.mailbox("bert").expect("Subject: whole");
    assert!(delivered.text.ends_with(whole), "{}", delivered.text);
    assert_eq!(daemon.events().all(5140).len(), 1, "one message was completed");
}

#[test]
fn message_without_author_and_date_is_refused_by_default() {
    let site = site("limits.recipients", 100);
    let daemon = site.start();
    let mut client = anna(&daemon);
    client.command("MAIL FROM:<anna@posthouse.test>", 250);
    client.command("RCPT TO:<bert@posthouse.test>", 250);
    let reply = client.data("Subject: bare\n\nHi\n");
    assert_eq!(reply.line(), "554 5.6.0 Message has neither From nor Date");
    assert!(daemon.events().take(5010).text("because").contains("submission"));
    assert_eq!(
        submit(
            &mut client,
            "Date: Mon, 30 Nov 2026 12:00:00 +0000\nSubject: dated\n\nHi\n"
        ),
        250
    );
    let delivered = site.mailbox("bert").expect("Subject: dated");
    assert_eq!(fields(&delivered, "From"), ["<anna@posthouse.test>"]);
}

#[test]
fn mail_in_transfer_is_not_completed() {
    let mut site = site("policy.settings.accept.from", "anyone");
    let listeners: toml::Table = "smtp = { exempt = ['homing'] }".parse().expect("TOML");
    site.set("policy.settings.accept.listeners", listeners);
    let daemon = site.start();
    let mut stranger = daemon.connect();
    stranger.ehlo();
    let message = "Subject: transfer\nBcc: secret@example.org\n\nHi\n";
    assert_eq!(
        stranger.submit("x@example.org", &["bert@posthouse.test"], message).code,
        250
    );
    let delivered = site.mailbox("bert").expect("Subject: transfer");
    assert!(delivered.text.ends_with(message), "{}", delivered.text);
    // A client that is exempt from authentication submits.
    let mut exempt = daemon.connect_from("127.0.0.3");
    exempt.ehlo();
    let dated = "Date: Mon, 30 Nov 2026 12:00:00 +0000\nSubject: exempt\nBcc: secret@example.org\n\nHi\n";
    assert_eq!(
        exempt.submit("x@example.org", &["bert@posthouse.test"], dated).code,
        250
    );
    let delivered = site.mailbox("bert").expect("Subject: exempt");
    assert_eq!(fields(&delivered, "From"), ["<x@example.org>"]);
    assert!(!delivered.text.contains("secret@example.org"));
}

#[test]
fn signature_covers_the_completed_message_of_any_size() {
    let Some(dkimpy) = Dkimpy::find() else { return };
    let sink = Sink::smtp();
    let site = {
        let mut site = site("delivery.smart-host", sink.address().to_string());
        site.set("submission.refuse-bare", false);
        site
    };
    site.cli(&[
        "dkim",
        "new",
        "posthouse.test",
        "--selector",
        "s",
        "--algorithm",
        "ed25519",
    ])
    .ok();
    let printed = site.cli(&["dkim", "dns"]).ok();
    let record: String = printed.split('"').skip(1).step_by(2).collect();
    let records = [("s._domainkey.posthouse.test".to_owned(), record)].into();
    let daemon = site.start();
    let mut client = anna(&daemon);
    // The second does not fit into the memory of a draft.
    for (subject, lines) in [("small", 1), ("large", 20_000)] {
        let message = format!(
            "Subject: {subject}\nBcc: secret@example.org\n\n{}",
            "Hello, this is a line \n".repeat(lines)
        );
        let reply = client.submit("anna@posthouse.test", &["x@example.org"], &message);
        assert_eq!(reply.code, 250);
        let received = sink.expect(&format!("Subject: {subject}"));
        assert!(received.text.contains("From: <anna@posthouse.test>"), "{subject}");
        assert!(received.text.ends_with("a line \r\n"), "{subject}");
        assert!(!received.text.contains("secret"), "{subject}");
        assert_eq!(dkimpy.verify(&records, &[received.octets]), [["pass"]], "{subject}");
    }
}
