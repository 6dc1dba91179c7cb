//! Signatures of another signer, verified by the host for a policy.

use std::path::Path;

use posthouse_tests::{Dkimpy, Site, dns, example, text_record};

/// Bodies on whose canonical form implementations have differed (RFC 6376 section 3.4.4).
const BODIES: [&str; 7] = [
    "Hello\r\n \r\n",
    "Hello\r\n\r\n\t\r\n",
    "Hello\r\n \t \r\n\r\n \r\n",
    "Hello \t you\r\n-- \r\n",
    "\r\n \r\nHello\r\n\t\r\n \r\n",
    " \r\n",
    "",
];

/// Returns the outcomes of DKIM that the policy wrote into the header of a message that `bert` received.
fn findings(site: &Site, subject: &str) -> Vec<String> {
    let message = site.mailbox("bert").expect(&format!("Subject: {subject}\n")).text;
    let lines = message.lines().filter_map(|line| line.strip_prefix("X-Finding: dkim="));
    lines.map(str::to_owned).collect()
}

#[test]
fn signature_over_lines_of_white_space_verifies() {
    let Some(dkimpy) = Dkimpy::find() else { return };
    let numbered = BODIES.iter().enumerate();
    let messages: Vec<Vec<u8>> = numbered
        .map(|(number, body)| format!("From: anna@signed.test\r\nSubject: body {number}\r\n\r\n{body}").into_bytes())
        .collect();
    let (signed, record) = dkimpy.sign("signed.test", "s", &messages);

    let mut site = Site::new();
    let zone = vec![("s._domainkey.signed.test", text_record(&record))];
    site.set("dns.servers", vec![dns(zone).to_string()]);
    let policy = example("inquiry");
    site.prepend_policy(&module(&policy));
    let daemon = site.start();
    let mut client = daemon.connect_from("127.0.0.3");
    client.ehlo();
    for message in &signed {
        let message = String::from_utf8(message.clone()).expect("text");
        assert_eq!(
            client
                .submit("anna@signed.test", &["bert@posthouse.test"], &message)
                .code,
            250
        );
    }
    // A changed word is still found.
    let altered = String::from_utf8(signed[0].clone()).expect("text");
    let altered = altered.replace("Hello", "Hallo").replace("body 0", "body 7");
    assert_eq!(
        client
            .submit("anna@signed.test", &["bert@posthouse.test"], &altered)
            .code,
        250
    );

    for (number, body) in BODIES.iter().enumerate() {
        let found = findings(&site, &format!("body {number}"));
        assert_eq!(found, ["pass signed.test"], "{body:?}");
    }
    assert_eq!(findings(&site, "body 7"), ["fail signed.test"]);
}

fn module(file: &Path) -> String {
    format!(
        "name = 'inquiry'\nfile = '{}'\ngrants = ['directory', 'message', 'host', 'dns', 'counters', 'verification']\n\
         settings = {{ group = 'team@posthouse.test', name = 'listed.test' }}",
        file.display()
    )
}
