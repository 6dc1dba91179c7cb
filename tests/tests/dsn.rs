//! Delivery status notifications on request (RFC 3461): reports of success, what reports state, and hops with DSN.

use posthouse_tests::{Client, Daemon, Delivered, Exim, Postfix, Report, Sink, Site, eventually};

/// Parameters of MAIL in most tests, and the decoded envelope id.
const MAIL: &str = "RET=HDRS ENVID=QQ+2B314159";
const ENVELOPE_ID: &str = "QQ+314159";
const SINK_WITH_DSN: &str = "250-sink.example\r\n250-PIPELINING\r\n250-DSN\r\n250 ENHANCEDSTATUSCODES";

fn letter(subject: &str) -> String {
    format!("From: <bert@posthouse.test>\nSubject: {subject}\n\nbody of {subject}\n")
}

/// Sends a message of bert from a client that is exempt from every check; each recipient with its parameters.
fn send(daemon: &Daemon, mail: &str, recipients: &[(&str, &str)], subject: &str) {
    let mut client = daemon.connect_from("127.0.0.3");
    client.ehlo();
    send_over(&mut client, mail, recipients, subject);
    client.quit();
}

fn send_over(client: &mut Client, mail: &str, recipients: &[(&str, &str)], subject: &str) {
    client.command(&format!("MAIL FROM:<bert@posthouse.test> {mail}"), 250);
    for (address, parameters) in recipients {
        client.command(&format!("RCPT TO:<{address}> {parameters}"), 250);
    }
    assert_eq!(client.data(&letter(subject)).code, 250, "{}", client.transcript());
}

fn site(sink: &Sink) -> Site {
    let mut site = Site::new();
    site.set("delivery.smart-host", sink.address().to_string());
    site
}

/// Returns the reports in a mailbox.
fn reports(site: &Site, account: &str) -> Vec<Delivered> {
    site.mailbox(account).containing("report-type=delivery-status")
}

/// Waits for a report of bert with a block of fields that has all `lines`.
fn expect_block(site: &Site, lines: &[&str]) -> Report {
    eventually(&format!("a report with {lines:?}"), || {
        let parsed = reports(site, "bert")
            .into_iter()
            .map(|report| Report::parse(&report.text));
        parsed.into_iter().find(|report| {
            let status = report.status.replace('\r', "");
            status
                .split("\n\n")
                .any(|block| lines.iter().all(|line| block.contains(line)))
        })
    })
}

#[test]
fn success_is_reported_as_delivered_relayed_and_expanded() {
    let sink = Sink::smtp();
    let site = site(&sink);
    let daemon = site.start();
    let recipients = [
        (
            "anna@posthouse.test",
            "NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;Anna+2BX@old.example",
        ),
        ("sales@posthouse.test", "NOTIFY=SUCCESS"),
        ("team@posthouse.test", "NOTIFY=SUCCESS"),
        ("x@example.org", "NOTIFY=SUCCESS"),
        ("quiet@example.org", "NOTIFY=FAILURE"),
        ("plain@example.org", ""),
    ];
    send(&daemon, MAIL, &recipients, "all kinds");
    let report = expect_block(
        &site,
        &[
            "Original-Recipient: rfc822; Anna+X@old.example",
            "Final-Recipient: rfc822; anna@posthouse.test",
            "Action: delivered",
            "Status: 2.0.0",
        ],
    );
    assert_eq!(report.field("Original-Envelope-Id"), Some(ENVELOPE_ID));
    assert!(
        report.header.contains("Subject: Delivery report: all kinds"),
        "{}",
        report.header
    );
    expect_block(&site, &["Final-Recipient: rfc822; x@example.org", "Action: relayed"]);
    expect_block(
        &site,
        &["Final-Recipient: rfc822; team@posthouse.test", "Action: expanded"],
    );
    daemon.events().take(5150);
    let all: String = reports(&site, "bert").into_iter().map(|report| report.text).collect();
    for silent in ["quiet@example.org", "plain@example.org", "body of all kinds"] {
        assert!(!all.contains(silent), "{silent} in {all}");
    }
    assert_eq!(all.matches("Action: expanded").count(), 1, "{all}");
}

#[test]
fn alias_of_one_member_keeps_the_request() {
    let sink = Sink::smtp();
    let site = site(&sink);
    let daemon = site.start();
    send(&daemon, MAIL, &[("sales@posthouse.test", "NOTIFY=SUCCESS")], "to sales");
    let report = expect_block(
        &site,
        &["Final-Recipient: rfc822; sales@posthouse.test", "Action: delivered"],
    );
    assert!(
        !report.status.contains("anna@"),
        "the member is not disclosed: {}",
        report.status
    );
}

#[test]
fn hop_with_dsn_gets_the_parameters_and_the_duty() {
    let sink = Sink::smtp();
    sink.answer("EHLO", SINK_WITH_DSN);
    let site = site(&sink);
    let daemon = site.start();
    let recipients = [
        ("x@example.org", "NOTIFY=success,DELAY ORCPT=rfc822;x+2B1@old.example"),
        ("y@example.org", "NOTIFY=NEVER"),
        ("z@example.org", ""),
    ];
    send(&daemon, MAIL, &recipients, "passed on");
    let received = sink.expect("Subject: passed on");
    assert_eq!(received.mail, format!("<bert@posthouse.test> {MAIL}"));
    assert_eq!(
        received.recipients,
        [
            "<x@example.org> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;x+2B1@old.example",
            "<y@example.org> NOTIFY=NEVER",
            "<z@example.org>",
        ]
    );
    daemon.events().take(5007);
    let (_, events) = daemon.stop();
    assert!(events.all(5150).is_empty(), "the next hop reports");
}

#[test]
fn parameters_survive_a_kill() {
    let sink = Sink::smtp();
    sink.answer("EHLO", SINK_WITH_DSN);
    sink.answer("MAIL", "451 4.3.0 later");
    let site = site(&sink);
    let daemon = site.start();
    send(&daemon, MAIL, &[("x@example.org", "NOTIFY=NEVER")], "kept");
    daemon.events().take(2000);
    daemon.kill();
    sink.accept_everything();
    sink.answer("EHLO", SINK_WITH_DSN);
    let _daemon = site.start();
    let received = sink.expect("Subject: kept");
    assert_eq!(received.mail, format!("<bert@posthouse.test> {MAIL}"));
    assert_eq!(received.recipients, ["<x@example.org> NOTIFY=NEVER"]);
}

#[test]
fn notify_decides_about_the_senders_report_of_a_failure_and_not_about_the_administrators() {
    let sink = Sink::smtp();
    sink.answer("RCPT", "550 5.1.1 no such mailbox");
    let mut site = site(&sink);
    site.set("policy.settings.ndr.administrator-copies", "all");
    let daemon = site.start();
    send(&daemon, MAIL, &[("never@example.org", "NOTIFY=NEVER")], "for nothing");
    let dropped = daemon.events().take(4123);
    assert_eq!(dropped.text("to"), "bert@posthouse.test");
    assert!(dropped.text("reason").contains("NOTIFY"), "{dropped:?}");
    site.mailbox("admin").expect("never@example.org");
    let recipients = [
        ("success@example.org", "NOTIFY=SUCCESS,DELAY"),
        ("failure@example.org", "NOTIFY=FAILURE ORCPT=rfc822;f@old.example"),
        ("default@example.org", ""),
    ];
    send(&daemon, MAIL, &recipients, "for some");
    let report = expect_block(
        &site,
        &[
            "Original-Recipient: rfc822; f@old.example",
            "Final-Recipient: rfc822; failure@example.org",
            "Action: failed",
        ],
    );
    assert_eq!(report.field("Original-Envelope-Id"), Some(ENVELOPE_ID));
    assert!(report.status.contains("default@example.org"), "{}", report.status);
    assert!(!report.status.contains("success@example.org"), "{}", report.status);
    assert_eq!(reports(&site, "bert").len(), 1, "none about never@example.org");
}

#[test]
fn ret_limits_what_the_plan_returns() {
    let sink = Sink::smtp();
    sink.answer("RCPT", "550 5.1.1 no such mailbox");
    let mut site = site(&sink);
    site.set("policy.settings.ndr.content", "full");
    let daemon = site.start();
    for (mail, kind) in [
        ("RET=HDRS ENVID=one", "text/rfc822-headers"),
        ("RET=FULL ENVID=two", "message/rfc822"),
        ("ENVID=three", "message/rfc822"),
    ] {
        send(&daemon, mail, &[("x@example.org", "")], mail);
        let id = mail.rsplit('=').next().unwrap_or_default();
        let report = site.mailbox("bert").expect(&format!("Original-Envelope-Id: {id}"));
        assert!(
            report.text.contains(&format!("Content-Type: {kind}")),
            "{mail}: {}",
            report.text
        );
    }
}

#[test]
fn notify_decides_about_notices_of_a_delay() {
    let sink = Sink::smtp();
    sink.answer("RCPT", "451 4.3.0 later");
    let mut site = site(&sink);
    site.set("delivery.delay-notice", "1s").set("delivery.expire", "3s");
    let daemon = site.start();
    let recipients = [
        ("delay@example.org", "NOTIFY=DELAY"),
        ("failure@example.org", "NOTIFY=FAILURE"),
    ];
    send(&daemon, MAIL, &recipients, "slow");
    let delayed = expect_block(
        &site,
        &["Final-Recipient: rfc822; delay@example.org", "Action: delayed"],
    );
    assert!(!delayed.status.contains("failure@example.org"), "{}", delayed.status);
    let failed = expect_block(
        &site,
        &["Final-Recipient: rfc822; failure@example.org", "Action: failed"],
    );
    assert!(!failed.status.contains("delay@example.org"), "{}", failed.status);
    send(
        &daemon,
        MAIL,
        &[("failure@example.org", "NOTIFY=FAILURE")],
        "slow alone",
    );
    daemon
        .events()
        .take_where(5022, |event| event.text("recipients").contains("failure"));
    assert_eq!(daemon.events().all(5120).len(), 1);
}

#[test]
fn listener_without_the_extension_refuses_the_parameters() {
    let mut site = Site::new();
    site.set("listener.disabled-extensions", vec!["DSN".to_owned()]);
    let daemon = site.start();
    let mut client = daemon.connect_from("127.0.0.3");
    assert!(!client.ehlo().lines.iter().any(|line| line.ends_with("DSN")));
    client.command("MAIL FROM:<bert@posthouse.test> RET=FULL", 555);
    client.command("MAIL FROM:<bert@posthouse.test>", 250);
    client.command("RCPT TO:<anna@posthouse.test> NOTIFY=NEVER", 555);
    client.command("RCPT TO:<anna@posthouse.test>", 250);
    client.quit();
}

#[test]
fn postfix_takes_the_parameters_and_gives_them() {
    let sink = Sink::smtp();
    let mut site = Site::new();
    let daemon = site.start();
    let port = daemon.address("smtp").port();
    let Some(postfix) = Postfix::start(&format!(
        "smtp_bind_address = 127.0.0.3\ntransport_maps = inline:{{ {{ posthouse.test = smtp:[127.0.0.1]:{port} }}, \
         {{ example.org = smtp:[127.0.0.1]:{} }} }}",
        sink.address().port()
    )) else {
        return;
    };
    site.set("delivery.smart-host", postfix.address().to_string());
    daemon.reload();
    daemon.events().take(5011);
    // To Postfix, whose next hop has no DSN: Postfix reports, by way of this host.
    send(
        &daemon,
        MAIL,
        &[("x@example.org", "NOTIFY=SUCCESS ORCPT=rfc822;x@old.example")],
        "by way of Postfix",
    );
    sink.expect("Subject: by way of Postfix");
    let report = site.mailbox("bert").expect("Action: relayed");
    for line in [
        "Reporting-MTA: dns; mx.postfix.test",
        "Original-Envelope-Id: QQ+314159",
        "Original-Recipient: rfc822;x@old.example",
    ] {
        assert!(report.text.contains(line), "{line} in {}", report.text);
    }
    // From Postfix: this host reports.
    let mut client = Client::connect(postfix.address(), None);
    client.expect_reply(220);
    client.ehlo();
    let recipients = [("anna@posthouse.test", "NOTIFY=SUCCESS ORCPT=rfc822;a@old.example")];
    send_over(&mut client, MAIL, &recipients, "from Postfix");
    expect_block(
        &site,
        &["Original-Recipient: rfc822; a@old.example", "Action: delivered"],
    );
}

#[test]
fn exim_takes_the_parameters_and_gives_them_by_chunks() {
    let sink = Sink::smtp();
    let mut site = Site::new();
    let daemon = site.start();
    let routes = [
        ("posthouse.test", daemon.address("smtp")),
        ("example.org", sink.address()),
    ];
    let Some(exim) = Exim::start(&routes) else { return };
    site.set("delivery.smart-host", exim.address().to_string());
    daemon.reload();
    daemon.events().take(5011);
    // To Exim, whose next hop has no DSN: Exim reports, by way of this host.
    let recipients = [("x@example.org", "NOTIFY=SUCCESS ORCPT=rfc822;x@old.example")];
    send(&daemon, MAIL, &recipients, "by way of Exim");
    sink.expect("Subject: by way of Exim");
    let report = site.mailbox("bert").expect("Reporting-MTA: dns; mx.exim.test");
    // Exim writes `ID`, and the value as given.
    assert!(
        report.text.contains("Original-Envelope-ID: QQ+2B314159"),
        "{}",
        report.text
    );
    // From Exim, which sends BDAT: this host reports.
    let mut client = Client::connect(exim.address(), None);
    client.expect_reply(220);
    client.ehlo();
    let recipients = [("anna@posthouse.test", "NOTIFY=SUCCESS ORCPT=rfc822;a@old.example")];
    send_over(&mut client, MAIL, &recipients, "from Exim");
    site.mailbox("anna").expect("Subject: from Exim");
    expect_block(
        &site,
        &["Original-Recipient: rfc822; a@old.example", "Action: delivered"],
    );
    // Exim's log marks deliveries by BDAT with K.
    eventually("a delivery by BDAT", || {
        let log = exim.log();
        log.lines()
            .any(|line| line.contains("anna@posthouse.test") && line.contains(" K"))
            .then_some(())
    });
}
