//! The story of Q178091: submission, exemptions, homing checks and reports about failures.

use posthouse_tests::{Client, Daemon, PASSWORD, Report, Site, example};

/// Returns a message with a distinctive subject.
fn letter(from: &str, subject: &str) -> String {
    format!("From: <{from}>\nTo: <bert@posthouse.test>\nSubject: {subject}\n\nHello.\n")
}

fn logged_in(daemon: &Daemon, account: &str) -> Client {
    let mut client = daemon.connect();
    client.login(account, PASSWORD);
    client
}

/// Connects from the exempt host and sends EHLO.
fn exempt(daemon: &Daemon) -> Client {
    let mut client = daemon.connect_from("127.0.0.2");
    client.ehlo();
    client
}

/// Submits a message from the exempt host, which is accepted and fails the homing check afterwards.
fn submit_from_exempt_host(daemon: &Daemon, subject: &str) {
    let mut client = exempt(daemon);
    let message = letter("stranger@example.org", subject);
    let reply = client.submit("stranger@example.org", &["anna@posthouse.test"], &message);
    assert_eq!(reply.code, 250, "{}", client.transcript());
    client.quit();
}

#[test]
fn homed_user_submits_to_a_mailbox() {
    let site = Site::new();
    let daemon = site.start();
    let mut client = logged_in(&daemon, "anna");
    let reply = client.submit(
        "anna@posthouse.test",
        &["bert@posthouse.test"],
        &letter("anna@posthouse.test", "first"),
    );
    assert_eq!(reply.code, 250, "{}", client.transcript());
    client.quit();

    let delivered = site.mailbox("bert").expect("Subject: first").text;
    assert!(
        delivered.starts_with("Return-Path: <anna@posthouse.test>"),
        "{delivered}"
    );
    assert!(delivered.contains("with ESMTPSA id"), "{delivered}");
    assert_eq!(delivered.matches("Received:").count(), 1, "{delivered}");

    let accepted = daemon.events().take(5006);
    assert_eq!(accepted.text("account"), "anna");
    let done = daemon.events().take(5007);
    assert_eq!(done.text("message"), accepted.text("message"));
    assert!(
        reply.line().contains(&accepted.text("message")),
        "the reply names the message: {reply:?}"
    );
}

#[test]
fn refuses_a_user_with_another_users_address() {
    let site = Site::new();
    let daemon = site.start();
    let mut client = logged_in(&daemon, "anna");

    // A forged envelope sender.
    client.send(b"MAIL FROM:<bert@posthouse.test>\r\n");
    let reply = client.expect_reply(554);
    assert!(
        reply
            .line()
            .contains("Originator address does not match authentication credentials"),
        "{reply:?}"
    );
    let event = daemon.events().take(4151);
    assert_eq!(
        (event.text("account").as_str(), event.text("client").is_empty()),
        ("anna", false)
    );

    // A forged From field alone.
    client.command("RSET", 250);
    let reply = client.submit(
        "anna@posthouse.test",
        &["bert@posthouse.test"],
        &letter("bert@posthouse.test", "forged"),
    );
    assert_eq!(reply.code, 554, "{}", client.transcript());
    daemon.events().take(4151);

    // A forged Sender field.
    let message = format!(
        "Sender: <admin@posthouse.test>\n{}",
        letter("anna@posthouse.test", "forged")
    );
    let reply = client.submit("anna@posthouse.test", &["bert@posthouse.test"], &message);
    assert_eq!(reply.code, 554, "{}", client.transcript());
    daemon.events().take(4151);

    // The session continues.
    let message = letter("anna@posthouse.test", "under my own name");
    assert_eq!(
        client
            .submit("anna@posthouse.test", &["bert@posthouse.test"], &message)
            .code,
        250
    );
    site.mailbox("bert").expect("under my own name");
    assert!(site.mailbox("bert").containing("forged").is_empty());
}

#[test]
fn refuses_an_unauthenticated_stranger() {
    let site = Site::new();
    let daemon = site.start();
    let mut client = daemon.connect();
    client.ehlo();
    client.command("MAIL FROM:<stranger@example.org>", 530);
    client.quit();
}

#[test]
fn reports_a_message_that_is_not_homed_to_the_administrator() {
    let site = Site::new();
    let mut daemon = site.start();
    submit_from_exempt_host(&daemon, "from the relay server");

    let text = site.mailbox("admin").expect("delivery-status").text;
    let report = Report::parse(&text);
    assert!(text.starts_with("Return-Path: <>"), "{text}");
    assert!(report.header.contains("Auto-Submitted: auto-replied"), "{text}");
    assert_eq!(report.field("Reporting-MTA"), Some("dns; mx.posthouse.test"));
    assert_eq!(report.field("Final-Recipient"), Some("rfc822; anna@posthouse.test"));
    assert_eq!(report.field("Action"), Some("failed"));
    assert!(
        report.field("Status").is_some_and(|status| status.starts_with("5.")),
        "{text}"
    );
    assert!(
        report
            .original
            .as_deref()
            .is_some_and(|original| original.contains("from the relay server")),
        "{text}"
    );

    let sent = daemon.events().take(5008);
    assert_eq!(
        (sent.text("class"), sent.text("to")),
        ("not-homed".into(), "admin@posthouse.test".into())
    );
    assert!(sent.text("because").contains('/'), "a rule is cited: {sent:?}");
    // The sender receives no report, which would be backscatter.
    assert_eq!(daemon.events().all(5008).len(), 1);
    assert!(
        site.mailbox("anna").messages().is_empty(),
        "the message itself is not delivered"
    );
    assert!(daemon.is_running());
}

#[test]
fn crash_of_the_1999_policy_is_contained() {
    let site = Site::new();
    let mut daemon = site.start();
    let pid = daemon.pid();
    // A homed user stays connected during the fault.
    let mut bystander = logged_in(&daemon, "anna");

    let file = example("q178091");
    site.cli(&["policy", "load", &file.to_string_lossy()]).ok();
    daemon
        .events()
        .take_where(5003, |event| event.text("generation") != "1");
    submit_from_exempt_host(&daemon, "the one that crashed it");

    let fault = daemon.events().take(4037).fields["fault"].clone();
    assert_eq!(fault["class"], "panic", "{fault}");
    assert_eq!(fault["stage"], "ndr", "{fault}");
    assert!(
        fault["digest"].as_str().is_some_and(|digest| digest.len() == 64),
        "{fault}"
    );
    assert!(
        fault["generation"].as_u64().is_some_and(|generation| generation > 1),
        "{fault}"
    );
    assert!(
        fault["location"]
            .as_str()
            .is_some_and(|location| location.contains("q178091") && location.contains(".rs:")),
        "{fault}"
    );
    assert!(
        fault["function"]
            .as_str()
            .is_some_and(|function| function.contains("plan")),
        "{fault}"
    );
    assert!(
        fault["stderr"]
            .as_str()
            .is_some_and(|text| text.contains("called `Option::unwrap()` on a `None` value")),
        "{fault}"
    );
    assert!(fault["message"].is_string(), "{fault}");

    // The report is not lost: the host's own report reaches the administrator.
    let lost = daemon.events().take(4120);
    assert_eq!(lost.text("message"), fault["message"].as_str().unwrap_or_default());
    let report = Report::parse(&site.mailbox("admin").expect("delivery-status").text);
    assert_eq!(report.field("Action"), Some("failed"));

    // Other sessions are not affected.
    let reply = bystander.submit(
        "anna@posthouse.test",
        &["bert@posthouse.test"],
        &letter("anna@posthouse.test", "meanwhile"),
    );
    assert_eq!(reply.code, 250, "{}", bystander.transcript());
    site.mailbox("bert").expect("meanwhile");
    bystander.quit();
    assert!(daemon.is_running());
    assert_eq!(daemon.pid(), pid);
}

#[test]
fn accepts_the_null_reverse_path() {
    let site = Site::new();
    let daemon = site.start();
    let mut client = exempt(&daemon);
    let reply = client.submit(
        "",
        &["anna@posthouse.test"],
        &letter("mailer-daemon@example.org", "a bounce"),
    );
    assert_eq!(reply.code, 250, "{}", client.transcript());
    site.mailbox("anna").expect("a bounce");
}

#[test]
fn refuses_relaying_without_a_right() {
    let site = Site::new();
    let daemon = site.start();
    let mut client = exempt(&daemon);
    client.command("MAIL FROM:<stranger@example.org>", 250);
    client.send(b"RCPT TO:<somebody@example.net>\r\n");
    let reply = client.reply().expect("a reply");
    assert_eq!(
        reply.code, 550,
        "not a relay for a host that is exempt from authentication only: {reply:?}"
    );
    let refused = daemon.events().take(5010);
    assert!(refused.text("because").contains("relay"), "{refused:?}");
}

#[test]
fn refuses_unknown_and_ambiguous_recipients() {
    let site = Site::new();
    for name in ["cora", "dora"] {
        site.add_to_directory(&format!(
            "[[account]]\nname = \"{name}\"\naddresses = [\"twofold@posthouse.test\"]"
        ));
    }
    site.add_to_directory("[[alias]]\naddress = \"either@posthouse.test\"\nto = [\"twofold@posthouse.test\"]");
    let daemon = site.start();
    let mut client = logged_in(&daemon, "anna");
    client.command("MAIL FROM:<anna@posthouse.test>", 250);
    client.command("RCPT TO:<nobody@posthouse.test>", 550);
    client.command("RSET", 250);
    client.command("MAIL FROM:<anna@posthouse.test>", 250);
    let reply = client.command("RCPT TO:<twofold@posthouse.test>", 550);
    assert!(reply.line().starts_with("550 5.1.4"), "{reply:?}");
    client.command("RSET", 250);
    // Behind an alias the ambiguity is detected at delivery: no account receives the message, the sender receives a
    // report, and the administrator receives the default copy for this class.
    let message = letter("anna@posthouse.test", "to both?");
    assert_eq!(
        client
            .submit("anna@posthouse.test", &["either@posthouse.test"], &message)
            .code,
        250
    );
    for account in ["anna", "admin"] {
        let report = Report::parse(&site.mailbox(account).expect("delivery-status").text);
        assert_eq!(report.field("Status"), Some("5.1.4"), "{}", report.status);
    }
    daemon.events().take(10000);
    assert!(site.mailbox("cora").messages().is_empty() && site.mailbox("dora").messages().is_empty());
}
