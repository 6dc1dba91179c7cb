//! Addresses of local domains: strangers may not use them, accounts may use what the directory grants.

use posthouse_tests::{Client, Daemon, PASSWORD, Site};

/// The sample site with a listener for the world, as in the README.
fn site(own_domains: &str) -> Site {
    let mut site = Site::new();
    site.set("policy.settings.accept.from", "anyone");
    site.set("policy.settings.homing.own-domains", own_domains);
    let listeners: toml::Table = "smtp = { exempt = [\"homing\"] }".parse().expect("TOML");
    site.set("policy.settings.accept.listeners", listeners);
    site
}

fn stranger(daemon: &Daemon) -> Client {
    let mut client = daemon.connect();
    client.ehlo();
    client
}

const REFUSED: &str = "550 5.7.1 Authenticate to send mail from posthouse.test, a domain of this host";

#[test]
fn stranger_with_a_local_reverse_path_is_refused() {
    let site = site("sender");
    let daemon = site.start();
    let mut client = stranger(&daemon);
    for sender in ["anna@posthouse.test", "nobody@POSTHOUSE.test"] {
        let reply = client.command(&format!("MAIL FROM:<{sender}>"), 550);
        assert_eq!(reply.line(), REFUSED);
    }
    let refused = daemon.events().take(5010);
    assert!(refused.text("because").contains("own-domains"), "{refused:?}");
    // Other senders, the null reverse-path, and an author of this domain pass.
    for (sender, header) in [
        ("x@example.org", "From: x@example.org"),
        ("", "From: MAILER-DAEMON@example.org"),
        ("list@example.org", "From: anna@posthouse.test"),
    ] {
        let reply = client.submit(sender, &["bert@posthouse.test"], &format!("{header}\n\nText\n"));
        assert_eq!(reply.code, 250, "{sender}: {}", reply.line());
    }
}

#[test]
fn stranger_with_a_local_author_is_refused() {
    let site = site("sender-and-author");
    let daemon = site.start();
    let mut client = stranger(&daemon);
    for header in [
        "From: anna@posthouse.test",
        "From: Anna\n <anna@PostHouse.Test>",
        "From: x@example.org, anna@posthouse.test",
        "From: Bert <bert@posthouse.test>:x@example.org;",
        "X\n \nFrom: bert@posthouse.test",
        "Fr om: bert@posthouse.test",
    ] {
        let reply = client.submit(
            "x@example.org",
            &["bert@posthouse.test"],
            &format!("{header}\n\nText\n"),
        );
        assert!(reply.line().eq_ignore_ascii_case(REFUSED), "{header}: {}", reply.line());
    }
    for header in [
        "From: \"anna@posthouse.test by List\" <list@example.org>",
        "From: x@sub.posthouse.test",
        "X: y",
    ] {
        let reply = client.submit(
            "x@example.org",
            &["bert@posthouse.test"],
            &format!("{header}\n\nText\n"),
        );
        assert_eq!(reply.code, 250, "{header}: {}", reply.line());
    }
}

#[test]
fn accounts_and_exempt_clients_use_their_domains() {
    let site = site("sender-and-author");
    let daemon = site.start();
    let mut account = daemon.connect();
    account.login("anna", PASSWORD);
    // 127.0.0.2 is exempt from authentication, 127.0.0.3 from everything.
    let mut exempt = daemon.connect_from("127.0.0.2");
    let mut trusted = daemon.connect_from("127.0.0.3");
    exempt.ehlo();
    trusted.ehlo();
    for client in [&mut account, &mut exempt, &mut trusted] {
        let message = "From: anna@posthouse.test\n\nText\n";
        let reply = client.submit("anna@posthouse.test", &["bert@posthouse.test"], message);
        assert_eq!(reply.code, 250, "{}", reply.line());
    }
}

#[test]
fn account_that_may_send_as_a_domain_is_homed_there() {
    let site = Site::new();
    let path = site.path().join("directory.toml");
    let directory = std::fs::read_to_string(&path).expect("the directory");
    let granted = "addresses = [\"anna@posthouse.test\"]\nsend-as = [\"@shop.example\"]";
    site.file(
        "directory.toml",
        directory.replace("addresses = [\"anna@posthouse.test\"]", granted),
    );
    let daemon = site.start();
    let message = |from: &str| format!("From: {from}\n\nText\n");
    let mut anna = daemon.connect();
    anna.login("anna", PASSWORD);
    let reply = anna.submit(
        "orders@shop.example",
        &["bert@posthouse.test"],
        &message("orders@shop.example"),
    );
    assert_eq!(reply.code, 250, "{}", reply.line());
    site.mailbox("bert").expect("From: orders@shop.example");
    // The grant is anna's alone.
    let mut bert = daemon.connect();
    bert.login("bert", PASSWORD);
    bert.command("MAIL FROM:<orders@shop.example>", 554);
}
