//! What others go through while a client, a remote or the machine behaves badly: nothing.

use posthouse_tests::{Client, Site};

/// As far as the 354, and then silence.
fn dawdle(client: &mut Client) {
    client.ehlo();
    for (command, code) in [
        ("MAIL FROM:<far@example.org>", 250),
        ("RCPT TO:<anna@posthouse.test>", 250),
        ("DATA", 354),
    ] {
        client.command(command, code);
    }
}

#[test]
fn clients_that_dawdle_keep_nobody_out() {
    let mut site = Site::new();
    site.set("policy-engine.instances", 2);
    let daemon = site.start();
    // Each of them needs an instance more than once, and all are open at the same time.
    let mut dawdlers: Vec<Client> = (0..6).map(|_| daemon.connect_from("127.0.0.3")).collect();
    dawdlers.iter_mut().for_each(dawdle);

    let mut client = daemon.connect_from("127.0.0.3");
    client.ehlo();
    let reply = client.submit(
        "near@example.org",
        &["bert@posthouse.test"],
        "Subject: in time\n\nHello.\n",
    );
    assert_eq!(reply.code, 250, "{}", client.transcript());
    site.mailbox("bert").expect("in time");

    for (number, mut dawdler) in dawdlers.into_iter().enumerate() {
        dawdler.send(format!("Subject: late {number}\r\n\r\nHello.\r\n.\r\n").as_bytes());
        dawdler.expect_reply(250);
        site.mailbox("anna").expect(&format!("late {number}"));
    }
}
