//! Messages in chunks and binary messages (RFC 3030): by BDAT, to mailboxes, to hosts that take them and others.

use posthouse_tests::{Client, Daemon, Sink, Site};

/// Creates a site whose host accepts everything from loopback, as a next hop.
fn open_site() -> Site {
    let mut site = Site::new();
    let settings: toml::Table = r#"
        [accept]
        hosts = [{ network = "127.0.0.0/8", exempt = ["authentication", "encryption", "homing", "originator", "relay"] }]
    "#
    .parse()
    .expect("TOML");
    site.set("policy.settings", settings);
    site
}

/// Begins a transaction of a client that is exempt from every check.
fn begin(daemon: &Daemon, mail: &str, recipient: &str) -> Client {
    let mut client = daemon.connect_from("127.0.0.3");
    client.ehlo();
    client.command(&format!("MAIL FROM:<bert@posthouse.test>{mail}"), 250);
    client.command(&format!("RCPT TO:<{recipient}>"), 250);
    client
}

fn bdat(client: &mut Client, octets: &[u8], last: &str, code: u16) {
    client.send(&[format!("BDAT {}{last}\r\n", octets.len()).as_bytes(), octets].concat());
    client.expect_reply(code);
}

/// Octets of every value, bare line ends, a long line, and what ends a message for DATA.
fn binary_body() -> Vec<u8> {
    let all: Vec<u8> = (0..=255).collect();
    [
        &all[..],
        b"\r\n.\r\nQUIT\r\n\n.\n\r",
        &vec![b'x'; 5000],
        &all.repeat(200),
        b"\r",
    ]
    .concat()
}

fn binary_letter(subject: &str) -> Vec<u8> {
    let header = format!(
        "From: <bert@posthouse.test>\r\nSubject: {subject}\r\nMIME-Version: 1.0\r\n\
         Content-Type: application/octet-stream\r\nContent-Transfer-Encoding: binary\r\n\r\n"
    );
    [header.as_bytes(), &binary_body()].concat()
}

#[test]
fn chunks_of_any_size_give_the_message_of_data() {
    let site = Site::new();
    let daemon = site.start();
    let mut client = begin(&daemon, "", "anna@posthouse.test");
    let text = "From: <bert@posthouse.test>\r\nSubject: either way\r\n\r\n.dot\r\n..two\r\nend\r\n";
    assert_eq!(client.data(text).code, 250);
    let by_data = site.mailbox("anna").expect("either way");
    std::fs::remove_file(&by_data.path).expect("delivered");
    let body = |text: &str| text.split_once("\n\n").map(|(_, body)| body.to_owned());
    for size in [1, 2, 7, text.len()] {
        client.command("MAIL FROM:<bert@posthouse.test>", 250);
        client.command("RCPT TO:<anna@posthouse.test>", 250);
        let chunks: Vec<&[u8]> = text.as_bytes().chunks(size).collect();
        for (index, chunk) in chunks.iter().enumerate() {
            let last = if index + 1 == chunks.len() { " LAST" } else { "" };
            bdat(&mut client, chunk, last, 250);
        }
        let by_chunks = site.mailbox("anna").expect("either way");
        assert_eq!(body(&by_chunks.text), body(&by_data.text), "chunks of {size}");
        std::fs::remove_file(&by_chunks.path).expect("delivered");
    }
}

#[test]
fn binary_message_reaches_a_mailbox_by_two_hosts_unchanged() {
    let far = open_site();
    let far_daemon = far.start();
    let mut near = open_site();
    near.set("delivery.smart-host", far_daemon.address("smtp").to_string());
    near.add_to_directory(
        "[[account]]\nname = \"far\"\naddresses = [\"far@posthouse.test\"]\nhome = \"smtp:FAR\""
            .replace("FAR", &far_daemon.address("smtp").to_string())
            .as_str(),
    );
    far.add_to_directory("[[account]]\nname = \"far\"\naddresses = [\"far@posthouse.test\"]");
    far_daemon.reload();
    far_daemon.events().take(5011);
    let daemon = near.start();
    let mut client = begin(&daemon, " BODY=BINARYMIME", "far@posthouse.test");
    let message = binary_letter("by two hosts");
    let (first, second) = message.split_at(300);
    bdat(&mut client, first, "", 250);
    bdat(&mut client, second, " LAST", 250);
    let delivered = far.mailbox("far").expect("by two hosts");
    let octets = std::fs::read(delivered.path).expect("a file");
    assert!(
        octets.ends_with(&[&b"\n\n"[..], &binary_body()].concat()),
        "the body is unchanged"
    );
    let event = daemon.events().take(5007);
    assert!(event.text("reply").starts_with("250"), "{event:?}");
}

#[test]
fn binary_message_fails_at_a_host_that_takes_none_and_text_declared_binary_does_not() {
    let sink = Sink::smtp();
    let mut site = Site::new();
    site.set("delivery.smart-host", sink.address().to_string());
    let daemon = site.start();
    let mut client = begin(&daemon, " BODY=BINARYMIME", "x@example.org");
    bdat(&mut client, &binary_letter("not taken"), " LAST", 250);
    let report = site.mailbox("bert").expect("Status: 5.6.3");
    assert!(report.text.contains("Subject: not taken"), "{}", report.text);
    let failed = daemon.events().take(5121);
    assert_eq!(failed.text("class"), "conversion-failed");
    client.command("MAIL FROM:<bert@posthouse.test> BODY=BINARYMIME", 250);
    client.command("RCPT TO:<x@example.org>", 250);
    bdat(&mut client, b"Subject: only text\r\n\r\nno last line end", " LAST", 250);
    let received = sink.expect("Subject: only text");
    assert!(received.text.ends_with("no last line end\r\n"), "{received:?}");
    assert_eq!(received.mail, "<bert@posthouse.test>");
}

#[test]
fn abandoned_chunks_leave_nothing() {
    let site = Site::new();
    let daemon = site.start();
    let mut client = begin(&daemon, "", "anna@posthouse.test");
    bdat(&mut client, b"Subject: abandoned\r\n", "", 250);
    client.send(b"BDAT 1000\r\nhalf");
    client.close();
    daemon
        .events()
        .take_where(5017, |event| event.text("reason").contains("lost within a transaction"));
    let mut client = begin(&daemon, "", "anna@posthouse.test");
    bdat(&mut client, b"Subject: whole\r\n\r\nx\r\n", " LAST", 250);
    site.mailbox("anna").expect("Subject: whole");
    assert!(site.mailbox("anna").containing("abandoned").is_empty());
    assert!(site.cli(&["queue", "list", "--json"]).ok().contains("[]"));
}

#[test]
fn refusal_of_the_policy_answers_the_last_chunk() {
    let site = Site::new();
    let daemon = site.start();
    let mut client = daemon.connect();
    client.login("anna", posthouse_tests::PASSWORD);
    client.command("MAIL FROM:<anna@posthouse.test>", 250);
    client.command("RCPT TO:<bert@posthouse.test>", 250);
    bdat(&mut client, b"From: <bert@posthouse.test>\r\n", "", 250);
    bdat(&mut client, b"Subject: forged\r\n\r\nx\r\n", " LAST", 554);
    daemon.events().take(4151);
    client.quit();
}
