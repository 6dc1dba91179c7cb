//! DKIM signatures of outgoing mail, verified by dkimpy and OpenDKIM.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use posthouse_tests::{Client, Daemon, Dkimpy, PASSWORD, Received, Sink, Site, run, skipped, tool};

/// Number of odd messages that both verifiers see.
const MESSAGES: usize = 500;

/// The site with a next hop for all mail.
fn site(sink: &Sink) -> Site {
    let mut site = Site::new();
    site.set("delivery.smart-host", sink.address().to_string());
    site
}

/// The site with an RSA and an Ed25519 key of posthouse.test, made by the command line.
fn signing_site(sink: &Sink) -> Site {
    let site = site(sink);
    add_keys(&site);
    site
}

/// Adds an RSA and an Ed25519 key. Changes of the site by its own methods come before, since they write the whole file.
fn add_keys(site: &Site) {
    new_key(site, &["--selector", "r"]);
    new_key(site, &["--selector", "e", "--algorithm", "ed25519"]);
}

fn new_key(site: &Site, arguments: &[&str]) -> String {
    site.cli(&[&["dkim", "new", "posthouse.test"], arguments].concat()).ok()
}

/// Returns the records that `posthouse dkim dns` prints, by name.
fn records(site: &Site) -> BTreeMap<String, String> {
    let printed = site.cli(&["dkim", "dns"]).ok();
    let record = |line: &str| {
        let (name, rest) = line.split_once(". IN TXT ( ")?;
        let strings: Vec<&str> = rest.split('"').skip(1).step_by(2).collect();
        assert!(strings.iter().all(|string| string.len() <= 255), "{line}");
        Some((name.to_owned(), strings.concat()))
    };
    printed.lines().filter_map(record).collect()
}

fn login(daemon: &Daemon) -> Client {
    let mut client = daemon.connect();
    client.login("anna", PASSWORD);
    client
}

/// Number of signatures on top of a message, above its trace field.
fn signatures(received: &Received) -> usize {
    let (added, _) = received.text.split_once("Received:").expect("a trace field");
    added.matches("DKIM-Signature: v=1;").count()
}

/// A generator of odd messages: the same each run.
struct Oddities(u64);

impl Oddities {
    fn number(&mut self, below: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).expect("31 bits") % below
    }

    fn pick<'a>(&mut self, from: &[&'a [u8]]) -> &'a [u8] {
        from[self.number(from.len())]
    }

    fn message(&mut self, number: usize) -> Vec<u8> {
        let mut fields: Vec<Vec<u8>> = vec![format!("X-Number: {number}\r\n").into_bytes()];
        fields.push(self.pick(&FROM).to_vec());
        for _ in 0..self.number(6) {
            fields.push(self.pick(&FIELDS).to_vec());
        }
        let mut message = Vec::new();
        while !fields.is_empty() {
            let next = self.number(fields.len());
            message.extend(fields.swap_remove(next));
        }
        let long = [&b"w".repeat(998)[..], b"\r\n"].concat();
        match self.number(8) {
            // A header alone.
            0 => return message,
            1 => message.extend_from_slice(b"\r\n"),
            _ => {
                message.extend_from_slice(b"\r\n");
                for _ in 0..self.number(9) {
                    match self.number(12) {
                        0 => message.extend_from_slice(&long),
                        _ => message.extend_from_slice(self.pick(&LINES)),
                    }
                }
            }
        }
        message
    }
}

const FROM: [&[u8]; 5] = [
    b"From: anna@posthouse.test\r\n",
    b"From: Anna\r\n\t<anna@posthouse.test>\r\n",
    b"from:\"Anna  A.\"  <anna@posthouse.test> \r\n",
    b"FROM:anna@PostHouse.test\r\n",
    b"From: =?utf-8?q?Ann=C3=A4?= <anna@posthouse.test>\t\r\n",
];
const FIELDS: [&[u8]; 14] = [
    b"Subject: plain\r\n",
    b"Subject:\r\n",
    b"Subject:   many   spaces \t and a fold\r\n  \t here  \r\n",
    b"Subject: \r\n \r\n x\r\n",
    b"Subject: 8-bit \xc3\xbc\r\n",
    b"To: a@x.example,\r\n b@x.example,\r\n\tc@x.example\r\n",
    b"To: undisclosed-recipients:;\r\n",
    b"Cc: \"quoted \\\" pair\" <c@x.example>\r\n",
    b"Date: Mon, 30 Nov 2026 12:00:00 +0000\r\n",
    b"Message-ID:\r\n <very-long-identifier@posthouse.test>\r\n",
    b"X-Unsigned: y\r\n",
    b"MIME-Version: 1.0 (a comment)\r\n",
    b"Content-Type: text/plain;\r\n charset=utf-8\r\n",
    b"Reply-To: anna@posthouse.test\r\n",
];
const LINES: [&[u8]; 14] = [
    b"\r\n",
    b" \r\n",
    b"\t \t\r\n",
    b"-- \r\n",
    b"Hello\r\n",
    b"Hello \t \r\n",
    b"  indented   text\tand tabs\t\r\n",
    b".\r\n",
    b"..dots\r\n",
    b"From the start of a line\r\n",
    b"8-bit \xc3\xbc\xe2\x82\xac\r\n",
    b"Latin-1 \xfc\xe4 \xa0\r\n",
    b"a \r\n",
    b"DKIM-Signature: in the body\r\n",
];

/// Sends a message as it is, dot-stuffed.
fn send(client: &mut Client, message: &[u8]) {
    client.command("MAIL FROM:<anna@posthouse.test> BODY=8BITMIME", 250);
    client.command("RCPT TO:<x@example.org>", 250);
    client.command("DATA", 354);
    let mut octets = Vec::new();
    for line in message.split_inclusive(|octet| *octet == b'\n') {
        if line.starts_with(b".") {
            octets.push(b'.');
        }
        octets.extend_from_slice(line);
    }
    octets.extend_from_slice(b".\r\n");
    client.send(&octets);
    client.expect_reply(250);
}

/// Sends odd messages through a host with two keys and returns them as the next hop received them.
fn odd_messages(site: &Site, sink: &Sink) -> Vec<Vec<u8>> {
    let daemon = site.start();
    // Exempt from every check: the policy reads originator fields strictly.
    let mut client = daemon.connect_from("127.0.0.3");
    client.ehlo();
    let mut oddities = Oddities(6376);
    for number in 0..MESSAGES {
        send(&mut client, &oddities.message(number));
    }
    client.quit();
    posthouse_tests::eventually("all messages at the next hop", || {
        (sink.received().len() >= MESSAGES).then_some(())
    });
    sink.received().into_iter().map(|received| received.octets).collect()
}

#[test]
fn odd_messages_verify_by_dkimpy_and_opendkim() {
    let sink = Sink::smtp();
    let site = signing_site(&sink);
    let records = records(&site);
    assert_eq!(records.len(), 2, "{records:?}");
    let messages = odd_messages(&site, &sink);
    assert_eq!(messages.len(), MESSAGES);

    if let Some(dkimpy) = Dkimpy::find() {
        for (message, outcomes) in messages.iter().zip(dkimpy.verify(&records, &messages)) {
            assert_eq!(outcomes, ["pass", "pass"], "{}", message.escape_ascii());
        }
    }
    if let Some(opendkim) = tool("opendkim") {
        let (passed, output) = verified_by_opendkim(&opendkim, site.path(), &records, &messages);
        assert_eq!(passed, 2 * MESSAGES, "{output}");
    }
}

/// Returns the number of signatures that OpenDKIM verifies, and its output.
fn verified_by_opendkim(
    opendkim: &Path,
    folder: &Path,
    records: &BTreeMap<String, String>,
    messages: &[Vec<u8>],
) -> (usize, String) {
    let keys: String = records.iter().map(|(name, text)| format!("{name} {text}\n")).collect();
    fs::write(folder.join("public-keys"), keys).expect("written");
    let configuration = format!("Mode v\nTestPublicKeys {}\n", folder.join("public-keys").display());
    fs::write(folder.join("opendkim.conf"), configuration).expect("written");
    let mut files = Vec::new();
    for (number, message) in messages.iter().enumerate() {
        let name = format!("{number}.eml");
        fs::write(folder.join(&name), message).expect("written");
        files.push(name);
    }
    let mut command = Command::new(opendkim);
    command
        .current_dir(folder)
        .args(["-x", "opendkim.conf", "-vv", "-t"])
        .arg(files.join(","));
    let output = run(&mut command, "");
    if !output.text().contains("dkim=") {
        skipped(format!("opendkim cannot read test keys: {}", output.text()));
    }
    (output.stdout.matches("dkim=pass").count(), output.text())
}

#[test]
fn a_changed_message_does_not_verify() {
    let Some(dkimpy) = Dkimpy::find() else { return };
    let sink = Sink::smtp();
    let site = signing_site(&sink);
    let daemon = site.start();
    send(
        &mut login(&daemon),
        b"From: anna@posthouse.test\r\nSubject: one\r\n\r\nHello.\r\n",
    );
    let text = sink.expect("Subject: one").text;
    let records = records(&site);
    for (altered, expected) in [
        (text.clone(), "pass"),
        (text.replace("Hello.", "Hallo."), "fail"),
        (text.replace("Subject: one", "Subject: two"), "fail"),
        // Oversigned: a field that is added breaks the signature.
        (
            text.replace("Subject: one", "Subject: one\r\nTo: x@example.org"),
            "fail",
        ),
        (text.replace("Subject: one", "Subject: one\r\nX-Tag: y"), "pass"),
    ] {
        let outcomes = dkimpy.verify(&records, &[altered.clone().into_bytes()]);
        for outcome in &outcomes[0] {
            assert_eq!(outcome == "pass", expected == "pass", "{outcome}: {altered}");
        }
        assert_eq!(outcomes[0].len(), 2);
    }
}

#[test]
fn accounts_exempt_clients_and_reports_are_signed() {
    let sink = Sink::smtp();
    let mut site = site(&sink);
    // Strangers may relay through this listener.
    site.set("policy.settings.accept.from", "anyone");
    site.set("policy.settings.homing.required", false);
    site.set("policy.settings.homing.match-account", false);
    let listeners: toml::Table = "smtp = { exempt = ['homing', 'originator', 'relay'] }"
        .parse()
        .expect("TOML");
    site.set("policy.settings.accept.listeners", listeners);
    // Reports to the administrator leave this host.
    site.set("administrator", "boss@posthouse.test");
    site.add_to_directory("[[alias]]\naddress = 'boss@posthouse.test'\nto = ['boss@example.org']");
    add_keys(&site);
    let daemon = site.start();
    let own = |subject: &str| format!("From: anna@posthouse.test\nSubject: {subject}\n\nHello\n");

    login(&daemon).submit("anna@posthouse.test", &["x@example.org"], &own("account"));
    let mut exempt = daemon.connect_from("127.0.0.3");
    exempt.ehlo();
    exempt.submit("anna@posthouse.test", &["x@example.org"], &own("exempt"));
    let mut stranger = daemon.connect_from("127.0.0.9");
    stranger.ehlo();
    stranger.submit("anna@posthouse.test", &["x@example.org"], &own("stranger"));
    exempt.submit(
        "x@other.test",
        &["x@example.org"],
        "From: x@other.test\nSubject: foreign\n\nHello\n",
    );
    assert_eq!(signatures(&sink.expect("Subject: account")), 2);
    assert_eq!(signatures(&sink.expect("Subject: exempt")), 2);
    assert_eq!(signatures(&sink.expect("Subject: stranger")), 0);
    assert_eq!(signatures(&sink.expect("Subject: foreign")), 0);

    // A report of this host is signed by the domain above the host's name.
    sink.answer("RCPT TO:<refused@", "550 5.1.1 No such mailbox");
    exempt.submit(
        "x@other.test",
        &["refused@example.org"],
        "From: x@other.test\nSubject: back\n\nHello\n",
    );
    let report = sink.expect("From: Mail Delivery System <postmaster@mx.posthouse.test>");
    assert_eq!(signatures(&report), 2, "{}", report.text);
    let stored = site.mailbox("bert");
    login(&daemon).submit("anna@posthouse.test", &["bert@posthouse.test"], &own("local"));
    assert!(!stored.expect("Subject: local").text.contains("DKIM-Signature"));
}

#[test]
fn setting_sign_chooses_the_mail() {
    let sink = Sink::smtp();
    let site = signing_site(&sink);
    let file = site.configuration_file();
    let text = fs::read_to_string(&file).expect("there");
    // The first key signs mail of strangers too, the second that of accounts alone.
    let (before, after) = text.split_once("selector = \"r\"").expect("the first key");
    let after = after.replacen("selector = \"e\"", "selector = \"e\"\nsign = \"accounts\"", 1);
    fs::write(&file, format!("{before}selector = \"r\"\nsign = \"all\"{after}")).expect("written");
    let daemon = site.start();
    let own = |subject: &str| format!("From: anna@posthouse.test\nSubject: {subject}\n\nHello\n");
    let mut exempt = daemon.connect_from("127.0.0.3");
    exempt.ehlo();
    exempt.submit("anna@posthouse.test", &["x@example.org"], &own("exempt"));
    login(&daemon).submit("anna@posthouse.test", &["x@example.org"], &own("account"));
    let received = sink.expect("Subject: exempt");
    assert_eq!(signatures(&received), 1);
    assert!(received.text.contains("a=rsa-sha256"), "{}", received.text);
    assert_eq!(signatures(&sink.expect("Subject: account")), 2);
}

#[test]
fn rotation_has_both_keys_sign_and_says_when() {
    let sink = Sink::smtp();
    let site = site(&sink);
    let made = new_key(&site, &["--selector", "first"]);
    assert!(
        made.contains("first._domainkey.posthouse.test. IN TXT ( \"v=DKIM1; k=rsa; p="),
        "{made}"
    );
    let daemon = site.start();
    let rotate = [
        "dkim",
        "rotate",
        "posthouse.test",
        "--publish-days",
        "0",
        "--overlap-days",
        "1",
    ];
    let rotated = site.cli(&rotate).ok();
    for says in [
        "the successor of first",
        "begins to sign, beside first",
        "first signs no more",
        "remove the record",
    ] {
        assert!(rotated.contains(says), "{says}: {rotated}");
    }
    assert!(
        site.cli(&rotate)
            .failed()
            .contains("a rotation is under way: first signs until")
    );
    site.cli(&["reload"]).ok();
    login(&daemon).submit(
        "anna@posthouse.test",
        &["x@example.org"],
        "From: anna@posthouse.test\nSubject: both\n\nHi\n",
    );
    let received = sink.expect("Subject: both");
    assert_eq!(signatures(&received), 2, "{}", received.text);
    if let Some(dkimpy) = Dkimpy::find() {
        assert_eq!(dkimpy.verify(&records(&site), &[received.octets]), [["pass", "pass"]]);
    }
    let listed = site.cli(&["dkim", "list", "--json"]).ok();
    let listed: serde_json::Value = serde_json::from_str(&listed).expect("JSON");
    assert_eq!(listed.as_array().map(Vec::len), Some(2), "{listed}");
    assert_eq!(
        (&listed[0]["selector"], &listed[0]["state"]),
        (&"first".into(), &"signs".into())
    );
    assert!(
        listed[0]["not-after"].is_string() && listed[1]["not-before"].is_string(),
        "{listed}"
    );
}

#[test]
fn list_compares_keys_with_the_dns() {
    let sink = Sink::smtp();
    let mut site = site(&sink);
    let keys = ["published", "missing", "other"];
    for selector in keys {
        new_key(&site, &["--selector", selector, "--algorithm", "ed25519"]);
    }
    let record = |selector: &str| records(&site)[&format!("{selector}._domainkey.posthouse.test")].clone();
    let zone = vec![
        (
            "published._domainkey.posthouse.test",
            posthouse_tests::text_record(&record("published")),
        ),
        (
            "other._domainkey.posthouse.test",
            posthouse_tests::text_record(&record("missing")),
        ),
    ];
    let server = posthouse_tests::dns(zone).to_string();
    site.add(
        &fs::read_to_string(site.configuration_file())
            .expect("there")
            .split_once("[[dkim]]")
            .map_or_else(String::new, |(_, keys)| format!("[[dkim]]{keys}")),
    );
    site.set("dns.servers", vec![server]);
    let listed = site.cli(&["dkim", "list", "--dns", "--json"]).ok();
    let listed: serde_json::Value = serde_json::from_str(&listed).expect("JSON");
    let found: Vec<&str> = listed
        .as_array()
        .expect("keys")
        .iter()
        .filter_map(|key| key["dns"].as_str())
        .collect();
    assert_eq!(found, ["published", "missing", "other key"], "{listed}");
}
