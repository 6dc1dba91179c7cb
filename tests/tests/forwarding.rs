//! Senders of forwarded mail (SRS): rewritten on the way out, and led back for reports.

use std::os::unix::fs::PermissionsExt as _;

use posthouse_tests::{Client, Daemon, PASSWORD, Sink, Site};

const SECRET: &str = "a secret of more than 16 bytes\n";

/// A site that forwards mail for `away@posthouse.test` to a next hop.
fn site(sink: &Sink) -> Site {
    let mut site = Site::new();
    site.set("delivery.smart-host", sink.address().to_string());
    site.set("srs.domain", "posthouse.test");
    site.set("srs.secret-file", "srs.secret");
    site.set("policy.settings.accept.from", "anyone");
    let listeners: toml::Table = "smtp = { exempt = ['homing'] }".parse().expect("TOML");
    site.set("policy.settings.accept.listeners", listeners);
    site.add_to_directory(
        "[[alias]]\naddress = 'away@posthouse.test'\nto = ['anna@elsewhere.example', 'bert@posthouse.test']",
    );
    secret(&site, SECRET);
    site
}

fn secret(site: &Site, text: &str) {
    let file = site.file("srs.secret", text);
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o600)).expect("changed");
}

fn stranger(daemon: &Daemon) -> Client {
    let mut client = daemon.connect();
    client.ehlo();
    client
}

fn message(subject: &str) -> String {
    format!("From: x@far.example\nSubject: {subject}\n\nHello\n")
}

/// Returns the reverse-path of a message at the next hop.
fn reverse_path(sink: &Sink, subject: &str) -> String {
    let received = sink.expect(&format!("Subject: {subject}"));
    let (path, _) = received.mail.split_once('>').expect("a path");
    path.rsplit('<').next().unwrap_or_default().to_owned()
}

#[test]
fn report_about_forwarded_mail_returns_to_the_sender() {
    let sink = Sink::smtp();
    let site = site(&sink);
    let daemon = site.start();
    let mut client = stranger(&daemon);
    let reply = client.submit("x@far.example", &["away@posthouse.test"], &message("forwarded"));
    assert_eq!(reply.code, 250);
    let rewritten = reverse_path(&sink, "forwarded");
    assert!(
        rewritten.starts_with("SRS0=") && rewritten.ends_with("=far.example=x@posthouse.test"),
        "{rewritten}"
    );
    // The mailbox here has the sender's own address.
    let stored = site.mailbox("bert").expect("Subject: forwarded").text;
    assert!(stored.contains("Return-Path: <x@far.example>"), "{stored}");

    // The next host reports a failure later, to the rewritten address.
    let report = "From: MAILER-DAEMON@elsewhere.example\nSubject: report\n\nNo\n";
    assert_eq!(client.submit("", &[&rewritten], report).code, 250);
    let received = sink.expect("Subject: report");
    assert_eq!(received.recipients, ["<x@far.example>"]);
    assert!(received.mail.starts_with("<>"), "{}", received.mail);

    // A forged address is unknown.
    client.command("MAIL FROM:<>", 250);
    let forged = rewritten.replace("=x@", "=victim@");
    client.command(&format!("RCPT TO:<{forged}>"), 550);
}

#[test]
fn only_forwarded_mail_of_others_is_rewritten() {
    let sink = Sink::smtp();
    let site = site(&sink);
    let daemon = site.start();
    let mut client = daemon.connect();
    client.login("anna", PASSWORD);
    let own = "From: anna@posthouse.test\nSubject: own\n\nHello\n";
    client.submit("anna@posthouse.test", &["away@posthouse.test"], own);
    assert_eq!(reverse_path(&sink, "own"), "anna@posthouse.test");
    // An exempt client relays without an alias; one recipient of two is forwarded.
    let mut exempt = daemon.connect_from("127.0.0.3");
    exempt.ehlo();
    exempt.submit("x@far.example", &["y@elsewhere.example"], &message("relayed"));
    assert_eq!(reverse_path(&sink, "relayed"), "x@far.example");
    exempt.submit(
        "x@far.example",
        &["y@elsewhere.example", "away@posthouse.test"],
        &message("both"),
    );
    let both = |sink: &Sink| {
        let received = sink
            .received()
            .into_iter()
            .filter(|received| received.text.contains("Subject: both"));
        let mut paths: Vec<bool> = received.map(|received| received.mail.contains("SRS0=")).collect();
        paths.sort_unstable();
        (paths.len() == 2).then_some(paths)
    };
    assert_eq!(
        posthouse_tests::eventually("two transactions", || both(&sink)),
        [false, true]
    );
    // A sender that another forwarder has rewritten.
    let mut client = stranger(&daemon);
    let by_first = "SRS0=abcd=XY=far.example=x@first.example";
    client.submit(by_first, &["away@posthouse.test"], &message("twice"));
    let twice = reverse_path(&sink, "twice");
    assert!(
        twice.starts_with("SRS1=") && twice.contains("=first.example==abcd=XY=far.example=x@"),
        "{twice}"
    );
}

#[test]
fn check_warns_of_a_domain_that_is_not_local() {
    let mut site = site(&Sink::smtp());
    site.set("srs.domain", "elsewhere.example");
    let warned = site.cli(&["check"]).stderr;
    assert!(
        warned.contains("srs.domain: elsewhere.example is no domain of the directory"),
        "{warned}"
    );
}

#[test]
fn check_refuses_bad_secrets() {
    let sink = Sink::smtp();
    let site = site(&sink);
    site.cli(&["check"]).ok();
    for bad in [
        "",
        "short\n",
        "a secret of more than 16 bytes\n\n",
        "a secret\u{7} of more than 16 bytes\n",
    ] {
        secret(&site, bad);
        let problems = site.cli(&["check"]).failed();
        assert!(problems.contains("srs.secret-file"), "{problems}");
        assert!(problems.contains("each a secret of 16 to 1024 bytes"), "{problems}");
    }
}
