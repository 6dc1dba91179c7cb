//! Reports about failures: what they disclose, which hosts they survive, and how many there are.

use std::io::Write as _;
use std::process::{Command, Stdio};

use posthouse_tests::{Client, Daemon, PASSWORD, Report, Sink, Site, tool};

/// Words of the inside of the site below, none of which a stranger may read.
const INSIDE: [&str; 9] = [
    "secret.person",
    "inner.example",
    "/run/",
    "lmtp.socket",
    "os error",
    "No such file",
    "exch01",
    "10.9.8.7",
    "X-Inside",
];

/// A site whose addresses lead to a sink with talkative replies, and to a socket that does not exist.
fn talkative_site(sink: &Sink) -> Site {
    let mut site = Site::new();
    let socket = site.path().join("run/lmtp.socket");
    for (name, home) in [
        ("gone", format!("lmtp:{}", sink.address())),
        ("full", format!("lmtp:{}", sink.address())),
        ("down", format!("lmtp:{}", socket.display())),
    ] {
        site.add_to_directory(&format!(
            "[[account]]\nname = \"{name}\"\naddresses = [\"{name}@posthouse.test\"]\nhome = \"{home}\""
        ));
    }
    site.add_to_directory(
        "[[alias]]\naddress = \"desk@posthouse.test\"\nto = [\"secret.person@inner.example\"]\n\
         [[group]]\naddress = \"crew@posthouse.test\"\n\
         members = [\"secret.person@inner.example\", \"other.person@inner.example\", \"down@posthouse.test\"]",
    );
    site.add(&format!(
        "[[delivery.route]]\ndomain = \"inner.example\"\nto = \"{}\"\n",
        sink.address()
    ));
    site.set("policy.settings.ndr.administrator-copies", "all");
    site
}

/// Submits from outside: a client that is exempt from every check and has no identity.
fn submit_as_stranger(daemon: &Daemon, recipients: &[&str], message: &str) {
    let mut client = daemon.connect_from("127.0.0.3");
    client.ehlo();
    assert_eq!(client.submit("bert@posthouse.test", recipients, message).code, 250);
}

fn letter(subject: &str) -> String {
    format!("From: <bert@posthouse.test>\nSubject: {subject}\n\ntext\n")
}

#[test]
fn report_to_a_stranger_has_nothing_of_the_inside_and_the_administrator_has_all() {
    let sink = Sink::lmtp();
    sink.answer(
        "RCPT TO:<secret.person@",
        "550 5.1.1 secret.person@inner.example has left exch01 [10.9.8.7]",
    );
    sink.answer("RCPT TO:<other.person@", "550 5.7.1 no mail for other");
    sink.answer(
        "RCPT TO:<gone@",
        "550 5.1.1 open /run/users/gone: No such file or directory",
    );
    sink.answer("RCPT TO:<full@", "552 5.2.2 <full@posthouse.test> is over quota");
    let mut site = talkative_site(&sink);
    site.set("delivery.expire", "2s");
    let daemon = site.start();
    let recipients = ["desk", "crew", "gone", "full", "down"].map(|name| format!("{name}@posthouse.test"));
    submit_as_stranger(
        &daemon,
        &recipients.each_ref().map(String::as_str),
        &letter("to the inside"),
    );
    let mut seen = Vec::new();
    posthouse_tests::eventually("a report about every address", || {
        let reports = site.mailbox("bert").containing("delivery-status");
        seen = reports.into_iter().map(|report| report.text).collect();
        let all = seen.concat();
        recipients
            .iter()
            .all(|address| all.contains(&format!("rfc822; {address}")))
            .then_some(())
    });
    for text in &seen {
        let report = Report::parse(text);
        for word in INSIDE {
            assert!(!text.contains(word), "{word} in {text}");
        }
        assert_eq!(report.field("Remote-MTA"), None, "{text}");
        for address in &recipients {
            let blocks = report.status.matches(&format!("rfc822; {address}")).count();
            assert!(blocks <= 1, "the number of members is not disclosed: {text}");
        }
    }
    let all = seen.concat();
    assert!(all.contains("552 5.2.2 <full@posthouse.test> is over quota"), "{all}");
    let admins: String = site
        .mailbox("admin")
        .messages()
        .into_iter()
        .map(|copy| copy.text)
        .collect();
    for word in [
        "secret.person@inner.example",
        "lmtp.socket",
        "exch01 [10.9.8.7]",
        "/run/users/gone",
    ] {
        assert!(admins.contains(word), "{word} in {admins}");
    }
    daemon
        .events()
        .take_where(4031, |refused| refused.text("reply").contains("exch01"));
}

#[test]
fn returned_header_is_what_the_sender_sent() {
    let sink = Sink::smtp();
    sink.answer("RCPT TO:<gone@", "550 5.1.1 no");
    let mut site = Site::new();
    site.set("delivery.smart-host", sink.address().to_string());
    site.set("policy.settings.ndr.content", "full");
    let daemon = site.start();
    // The message passes this host twice: the first pass has left its marks.
    let again = "X-Inside: yes\nDelivered-To: secret.person@inner.example\n\
                 Received: from a (b [10.9.8.7])\n\tby mx.posthouse.test with ESMTP id 1\n\
                 \tfor <secret.person@inner.example>;\n\tMon, 1 Jan 2029 00:00:00 +0000\n\
                 Received: from c (d [192.0.2.1])\n\tby mx.example.net with ESMTP id 2;\n\
                 \tMon, 1 Jan 2029 00:00:00 +0000\n";
    submit_as_stranger(
        &daemon,
        &["gone@example.org"],
        &format!("{again}{}", letter("twice here")),
    );
    let text = site.mailbox("bert").expect("delivery-status").text;
    for word in INSIDE {
        assert!(!text.contains(word), "{word} in {text}");
    }
    let original = Report::parse(&text).original.expect("the original");
    assert!(original.starts_with("Received: from c"), "{original}");
    assert!(
        original.contains("Subject: twice here\n") && original.ends_with("text\n"),
        "{original}"
    );
}

#[test]
fn expired_message_is_reported_with_what_happened() {
    let sink = Sink::smtp();
    sink.answer("RCPT TO:<busy@", "452 4.2.2 busy@example.org is full");
    let mut site = Site::new();
    site.set("delivery.smart-host", sink.address().to_string())
        .set("delivery.expire", "2s");
    site.add("[[delivery.route]]\ndomain = \"dead.example\"\nto = \"127.0.0.1:1\"\n");
    let daemon = site.start();
    daemon.submit(&["busy@example.org"], "in vain");
    let report = Report::parse(&site.mailbox("anna").expect("in vain").text);
    assert_eq!(report.field("Status"), Some("4.2.2"));
    assert_eq!(report.field("Remote-MTA"), Some("dns; [127.0.0.1]"));
    assert_eq!(
        report.field("Diagnostic-Code"),
        Some("smtp; 452 4.2.2 busy@example.org is full")
    );
    assert!(report.field("Last-Attempt-Date").is_some(), "{}", report.status);

    daemon.submit(&["a@dead.example"], "no answer");
    let report = Report::parse(&site.mailbox("anna").expect("no answer").text);
    assert_eq!(report.field("Status"), Some("4.4.1"));
    assert_eq!(report.field("Remote-MTA"), None, "no remote has said anything");
    assert!(!report.status.contains("smtp;"), "{}", report.status);
}

#[test]
fn one_report_names_all_recipients_of_different_classes() {
    let sink = Sink::smtp();
    for (name, reply) in [
        ("a", "550 5.1.1 unknown"),
        ("b", "550 5.1.2 no such domain"),
        ("c", "550 5.1.4 which one"),
        ("d", "554 5.4.6 round and round"),
        ("e", "554 5.6.1 odd form"),
        ("f", "554 5.7.1 not you"),
    ] {
        sink.answer(&format!("RCPT TO:<{name}@"), reply);
    }
    let mut site = Site::new();
    site.set("delivery.smart-host", sink.address().to_string());
    let daemon = site.start();
    let recipients = ["a", "b", "c", "d", "e", "f"].map(|name| format!("{name}@example.org"));
    daemon.submit(&recipients.each_ref().map(String::as_str), "six ways");
    let sent = daemon
        .events()
        .take_where(5008, |sent| sent.text("to") == "anna@posthouse.test");
    assert!(
        sent.text("class").contains("loop") && sent.text("class").contains("protocol-error"),
        "{sent:?}"
    );
    let report = Report::parse(&site.mailbox("anna").expect("six ways").text);
    for address in &recipients {
        assert_eq!(
            report.status.matches(&format!("rfc822; {address}")).count(),
            1,
            "{}",
            report.status
        );
    }
    // The administrator is told about the classes that the plan gives to the administrator.
    let copy = Report::parse(&site.mailbox("admin").expect("six ways").text);
    assert_eq!(
        copy.status.matches("Final-Recipient").count(),
        2,
        "loop and ambiguous: {}",
        copy.status
    );
    // A later message is reported after every report of the first.
    daemon.submit(&["a@example.org"], "one more");
    site.mailbox("anna").expect("one more");
    assert_eq!(site.mailbox("anna").containing("six ways").len(), 1);
}

#[test]
fn report_survives_a_host_without_8bitmime_and_smtputf8() {
    let sink = Sink::smtp();
    sink.answer("EHLO", "250 plain.example");
    sink.answer(
        "RCPT TO:<gone@",
        "550 5.1.1 gone@example.org est parti, d\u{e9}sol\u{e9}",
    );
    let mut site = Site::new();
    site.set("delivery.smart-host", sink.address().to_string())
        .set("policy.settings.ndr.content", "full");
    let daemon = site.start();
    let mut client = daemon.connect_from("127.0.0.3");
    for (name, options, message) in [
        (
            "latin",
            " BODY=8BITMIME",
            &b"From: <a@far.example>\r\nSubject: latin \xfc\r\n\r\n\xfc\r\n"[..],
        ),
        (
            "utf8",
            " BODY=8BITMIME SMTPUTF8",
            "From: <a@far.example>\r\nSubject: utf8 \u{fc}\r\n\r\n\u{fc}\r\n".as_bytes(),
        ),
        (
            "ascii",
            " SMTPUTF8",
            b"From: <a@far.example>\r\nSubject: ascii\r\n\r\nu\r\n",
        ),
        (
            "body",
            " BODY=8BITMIME",
            "From: <a@far.example>\r\nSubject: body\r\n\r\n\u{fc}\r\n".as_bytes(),
        ),
    ] {
        client.ehlo();
        client.command(&format!("MAIL FROM:<{name}@far.example>{options}"), 250);
        client.command("RCPT TO:<gone@example.org>", 250);
        client.command("DATA", 354);
        client.send(message);
        client.send(b".\r\n");
        client.expect_reply(250);
        let report = sink.expect(&format!("To: <{name}@far.example>"));
        assert!(report.text.is_ascii(), "{}", report.text);
        assert!(
            !report.mail.contains("BODY=") && !report.mail.contains("SMTPUTF8"),
            "{}",
            report.mail
        );
        assert!(
            !report.text.contains("message/global") && !report.text.contains("8bit\r\n"),
            "{}",
            report.text
        );
        let parsed = Report::parse(&report.text);
        assert_eq!(parsed.field("Final-Recipient"), Some("rfc822; gone@example.org"));
        assert!(parsed.original.is_some(), "{}", report.text);
        if name == "body" {
            assert!(report.text.contains("Content-Type: message/rfc822"), "{}", report.text);
            assert!(report.text.contains("=C3=BC"), "the text came back: {}", report.text);
        }
    }
    assert!(daemon.events().all(4123).is_empty());
}

#[test]
fn list_mail_is_answered_and_a_report_is_not() {
    let sink = Sink::smtp();
    sink.answer("RCPT TO:<gone@", "550 5.1.1 no such user");
    let mut site = Site::new();
    site.set("delivery.smart-host", sink.address().to_string());
    let daemon = site.start();
    let report = "Content-Type: multipart/report; report-type=delivery-status; boundary=x\n";
    submit_as_stranger(
        &daemon,
        &["gone@example.org"],
        &format!("{report}{}", letter("a report")),
    );
    let quiet = daemon.events().take(5009);
    assert_eq!(quiet.text("because"), "main/ndr-quiet (report)");
    for header in [
        "List-Id: <x.example.org>\n",
        "Precedence: bulk\n",
        "Auto-Submitted: auto-generated\n",
    ] {
        let message = format!("{header}{}", letter(header.trim_end()));
        submit_as_stranger(&daemon, &["gone@example.org"], &message);
        site.mailbox("bert").expect(&format!("Subject: {}", header.trim_end()));
    }
    assert!(site.mailbox("bert").containing("a report").is_empty());

    site.set("policy.settings.ndr.quiet-automatic", true);
    daemon.reload();
    daemon
        .events()
        .take_where(5003, |activated| activated.text("by") == "reload");
    submit_as_stranger(
        &daemon,
        &["gone@example.org"],
        &format!("Precedence: junk\n{}", letter("quiet")),
    );
    let quiet = daemon
        .events()
        .take_where(5009, |told| told.text("because").contains("automatic"));
    assert_eq!(quiet.text("because"), "main/ndr-quiet (automatic message)");
}

#[test]
fn sender_of_a_delayed_message_is_told_once() {
    let sink = Sink::smtp();
    sink.answer("RCPT TO:<busy@", "451 4.3.2 busy@example.org must wait");
    let dead = Sink::smtp();
    dead.answer("EHLO", "close");
    dead.answer("HELO", "close");
    let mut site = Site::new();
    site.set("delivery.smart-host", sink.address().to_string())
        .set("delivery.delay-notice", "1s")
        .set("delivery.retry", vec!["500ms"]);
    site.add(&format!(
        "[[delivery.route]]\ndomain = \"dead.example\"\nto = \"{}\"\n",
        dead.address()
    ));
    let daemon = site.start();
    let id = daemon.submit(&["busy@example.org", "here@example.org"], "takes long");
    let notice = daemon.events().take(5120);
    assert_eq!(
        (notice.text("message"), notice.text("to")),
        (id.clone(), "anna@posthouse.test".to_owned())
    );
    let report = Report::parse(&site.mailbox("anna").expect("Subject: Delayed: takes long").text);
    assert_eq!(report.field("Action"), Some("delayed"));
    assert_eq!(report.field("Status"), Some("4.3.2"));
    assert_eq!(
        report.field("Diagnostic-Code"),
        Some("smtp; 451 4.3.2 busy@example.org must wait")
    );
    assert!(report.field("Will-Retry-Until").is_some(), "{}", report.status);
    assert!(!report.status.contains("here@"), "{}", report.status);

    // A message that waits for a destination without attempts is told about, too.
    daemon.submit(&["a@dead.example"], "waits long");
    let report = Report::parse(&site.mailbox("anna").expect("Subject: Delayed: waits long").text);
    assert_eq!(report.field("Action"), Some("delayed"));
    // Later attempts of the first message bring no second notice, nor does the null reverse-path get one.
    let mut client = daemon.connect_from("127.0.0.3");
    client.ehlo();
    assert_eq!(
        client.submit("", &["busy@example.org"], &letter("from nobody")).code,
        250
    );
    for _ in 0..3 {
        daemon
            .events()
            .take_where(2000, |attempt| attempt.text("message") == id);
    }
    assert_eq!(site.mailbox("anna").containing("Subject: Delayed: takes long").len(), 1);
    assert_eq!(daemon.events().all(5120).len(), 2);
}

/// Reads a report with Python's email package: status fields of each recipient, and the returned Message-ID.
const READ_WITH_PYTHON: &str = r#"
import email, email.policy, sys
m = email.message_from_binary_file(sys.stdin.buffer, policy=email.policy.default)
assert m.get_content_type() == 'multipart/report' and m.get_param('report-type') == 'delivery-status'
text, status, original = m.iter_parts()
assert status.get_content_type() == 'message/delivery-status'
for block in list(status.iter_parts())[1:]:
    print(block['final-recipient'], block['action'], block['status'])
kind = original.get_content_type()
if kind == 'text/rfc822-headers':
    print('subject', email.message_from_string(original.get_content())['subject'])
else:
    print('subject', list(original.iter_parts())[0]['subject'])
assert not m.defects and not text.defects and not status.defects and not original.defects
"#;

#[test]
fn programs_read_a_report_about_mail_beyond_ascii() {
    let sink = Sink::smtp();
    sink.answer("RCPT TO:<gone@", "550 5.1.1 parti d\u{e9}sol\u{e9}");
    let mut site = Site::new();
    site.set("delivery.smart-host", sink.address().to_string());
    let daemon = site.start();
    let mut client = daemon.connect();
    client.login("anna", PASSWORD);
    submit_utf8(&mut client, "gone@example.org");
    let text = site.mailbox("anna").expect("delivery-status").text;
    let Some(read) = python(READ_WITH_PYTHON, &text) else {
        return;
    };
    assert!(read.contains("rfc822; gone@example.org failed 5.1.1"), "{read}");
    assert!(read.contains("subject Gr\u{fc}\u{df}e"), "{read}");
}

fn submit_utf8(client: &mut Client, recipient: &str) {
    client.command("MAIL FROM:<anna@posthouse.test> BODY=8BITMIME SMTPUTF8", 250);
    client.command(&format!("RCPT TO:<{recipient}>"), 250);
    client.command("DATA", 354);
    client.send("From: <anna@posthouse.test>\r\nSubject: Gr\u{fc}\u{df}e\r\n\r\nHallo \u{fc}\r\n.\r\n".as_bytes());
    client.expect_reply(250);
}

/// Runs a Python program with `input`, and returns the output; `None` without Python, with SKIPPED printed.
///
/// # Panics
/// If the program fails.
fn python(program: &str, input: &str) -> Option<String> {
    let mut command = Command::new(tool("python3")?);
    command
        .args(["-X", "utf8", "-c", program])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut running = command.spawn().expect("python3 starts");
    let mut stdin = running.stdin.take().expect("a pipe");
    stdin.write_all(input.as_bytes()).expect("python3 reads");
    drop(stdin);
    let output = running.wait_with_output().expect("python3 ends");
    assert!(output.status.success(), "{output:?}");
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}
