//! Hosts in front of this one, which name their clients: XCLIENT and XFORWARD.

use std::process::Command;

use posthouse_tests::{Client, Postfix, Site, run, tool};

/// Creates a site whose front end is 127.0.0.3.
fn site() -> Site {
    let mut site = Site::new();
    site.set("listener.xclient", vec!["127.0.0.3/32".to_owned()]);
    site
}

#[test]
fn session_goes_on_as_that_of_the_named_client() {
    let site = site();
    let daemon = site.start();
    let mut client = daemon.connect_from("127.0.0.3");
    let offered = client.ehlo();
    assert!(
        offered.lines.iter().any(|line| line.contains("XCLIENT NAME ADDR")),
        "{offered:?}"
    );
    for bad in [
        "XCLIENT",
        "XCLIENT ADDR",
        "XCLIENT ADDR=here",
        "XCLIENT COLOUR=red",
        "XCLIENT PORT=x",
    ] {
        client.command(bad, 501);
    }
    // 127.0.0.1 must authenticate.
    client.command("XCLIENT ADDR=127.0.0.1 NAME=[UNAVAILABLE]", 220);
    client.ehlo();
    client.command("MAIL FROM:<x@example.org>", 530);
    let named = daemon.events().take(5152);
    assert_eq!(
        (named.text("front-end"), named.text("client")),
        ("127.0.0.3".to_owned(), "127.0.0.1".to_owned())
    );
    // 127.0.0.2 is the exempt host of Q178091.
    client.command(
        "XCLIENT ADDR=127.0.0.2 NAME=exempt.example HELO=behind.example PROTO=ESMTP",
        220,
    );
    client.ehlo();
    let letter = "From: <bert@posthouse.test>\nSubject: by way of a front end\n\ntext\n";
    assert_eq!(
        client
            .submit("bert@posthouse.test", &["anna@posthouse.test"], letter)
            .code,
        250
    );
    let text = site.mailbox("anna").expect("by way of a front end").text;
    assert!(
        text.contains("from behind.example (exempt.example [127.0.0.2])"),
        "{text}"
    );
    client.command("MAIL FROM:<bert@posthouse.test>", 250);
    client.command("XCLIENT ADDR=127.0.0.1", 503);
    client.command("RSET", 250);
    client.quit();
}

#[test]
fn login_of_a_named_client_is_that_of_an_account() {
    let site = site();
    let daemon = site.start();
    let mut client = daemon.connect_from("127.0.0.3");
    client.ehlo();
    client.command("XCLIENT ADDR=127.0.0.1 LOGIN=Anna", 220);
    client.ehlo();
    let letter = |from: &str| format!("From: <{from}>\nSubject: by login\n\ntext\n");
    let anna = "anna@posthouse.test";
    assert_eq!(client.submit(anna, &["bert@posthouse.test"], &letter(anna)).code, 250);
    assert_eq!(daemon.events().take(5006).text("account"), "anna");
    let forged = client.submit(anna, &["bert@posthouse.test"], &letter("bert@posthouse.test"));
    assert_eq!(forged.code, 554, "{forged:?}");
}

#[test]
fn other_clients_name_no_client() {
    let site = site();
    let daemon = site.start();
    let mut client = daemon.connect();
    assert!(!client.ehlo().lines.iter().any(|line| line.contains("XCLIENT")));
    client.command("XCLIENT ADDR=127.0.0.2", 550);
    client.command("XFORWARD ADDR=127.0.0.2", 550);
    // Within the session of a named client the front end alone may name another.
    client.command("MAIL FROM:<x@example.org>", 530);
    client.quit();
}

#[test]
fn swaks_names_a_client() {
    let Some(swaks) = tool("swaks") else { return };
    let site = site();
    let daemon = site.start();
    let server = daemon.address("smtp").to_string();
    let swaks = |address: &str| {
        let mut command = Command::new(&swaks);
        command.args([
            "--server",
            &server,
            "--local-interface",
            "127.0.0.3",
            "--helo",
            "swaks.example",
        ]);
        command.args([
            "--xclient-addr",
            address,
            "--from",
            "bert@posthouse.test",
            "--to",
            "anna@posthouse.test",
        ]);
        run(command.args(["--header", "Subject: swaks by xclient"]), "")
    };
    swaks("127.0.0.2").ok();
    let text = site.mailbox("anna").expect("swaks by xclient").text;
    assert!(text.contains("[127.0.0.2]"), "{text}");
    let refused = swaks("127.0.0.1").failed();
    assert!(refused.contains("530 5.7.0"), "{refused}");
}

#[test]
fn postfix_forwards_the_client_of_a_message() {
    let site = site();
    let daemon = site.start();
    let port = daemon.address("smtp").port();
    let Some(postfix) = Postfix::start(&format!(
        "smtp_bind_address = 127.0.0.3\nsmtp_send_xforward_command = yes\nrelayhost = [127.0.0.1]:{port}"
    )) else {
        return;
    };
    let mut client = Client::connect(postfix.address(), Some("127.0.0.9"));
    client.expect_reply(220);
    client.ehlo();
    let letter = "From: <bert@posthouse.test>\nSubject: forwarded\n\ntext\n";
    assert_eq!(
        client
            .submit("bert@posthouse.test", &["anna@posthouse.test"], letter)
            .code,
        250
    );
    site.mailbox("anna").expect("Subject: forwarded");
    let accepted = daemon.events().take(5006);
    assert!(
        accepted.text("client").starts_with("127.0.0.3 for 127.0.0.9"),
        "{accepted:?}"
    );
}
