//! TLS towards next hops: what each level sends, and what events say about it.

use posthouse_tests::{Sink, Site};

/// Creates a site that sends everything to `server`, and retries late.
fn site_with(server: &str) -> Site {
    let mut site = Site::new();
    site.set("delivery.smart-host", server)
        .set("delivery.retry", vec!["1h".to_owned()]);
    site
}

#[test]
fn strict_levels_send_nothing_in_the_clear() {
    for (key, value) in [
        ("delivery.tls", toml::Value::from("encrypt")),
        ("delivery.tls", toml::Value::from("verify")),
        ("delivery.verify-tls", toml::Value::from(true)),
    ] {
        let sink = Sink::smtp();
        let mut site = site_with(&sink.address().to_string());
        site.set(key, value);
        let daemon = site.start();
        daemon.submit(&["a@example.org"], "not in the clear");
        let attempt = daemon.events().take(2000);
        assert!(attempt.text("reply").starts_with("454 4.7.5 TLS"), "{attempt:?}");
        let commands = sink.commands();
        assert!(
            !commands.iter().any(|command| command.starts_with("MAIL")),
            "{commands:?}"
        );
        assert!(sink.received().is_empty());
    }
}

#[test]
fn looser_level_of_a_route_or_server_takes_precedence() {
    let (by_route, by_server) = (Sink::smtp(), Sink::lmtp());
    let mut site = Site::new();
    site.set("delivery.tls", "verify");
    site.add(&format!(
        "[[delivery.route]]\ndomain = \"example.org\"\nto = \"{}\"\ntls = \"none\"\n\n\
         [[delivery.next-hop]]\nserver = \"{}\"\ntls = \"may\"\n",
        by_route.address(),
        by_server.address()
    ));
    site.add_to_directory(&format!(
        "[[account]]\nname = \"carl\"\naddresses = [\"carl@posthouse.test\"]\nhome = \"lmtp:{}\"",
        by_server.address()
    ));
    let daemon = site.start();
    daemon.submit(&["a@example.org", "carl@posthouse.test"], "in the clear");
    by_route.expect("in the clear");
    by_server.expect("in the clear");
    let delivered = daemon.events().take(5007);
    assert!(delivered.fields["tls-version"].is_null(), "{delivered:?}");
}

#[test]
fn delivered_event_has_the_tls_session() {
    let relay = Site::relay();
    let relaying = relay.start();
    let certificate = relay.path().join("data/tls/self-signed.pem");
    let server = format!("localhost:{}", relaying.address("smtp").port());
    for (level, trusting, verified) in [
        ("may", false, false),
        ("encrypt", false, false),
        ("may", true, true),
        ("verify", true, true),
    ] {
        let mut site = site_with(&server);
        site.set("delivery.tls", level);
        let daemon = if trusting {
            site.start_trusting(&certificate)
        } else {
            site.start()
        };
        daemon.submit(&["a@example.org"], "within TLS");
        let delivered = daemon.events().take(5007);
        assert_eq!(delivered.text("tls-version"), "TLSv1.3", "{delivered:?}");
        assert!(delivered.text("tls-cipher").starts_with("TLS13_"), "{delivered:?}");
        assert_eq!(delivered.fields["tls-verified"], verified, "{level} {delivered:?}");
    }
}

#[test]
fn untrusted_certificate_does_not_verify() {
    let relay = Site::relay();
    let relaying = relay.start();
    let mut site = site_with(&format!("localhost:{}", relaying.address("smtp").port()));
    site.set("delivery.tls", "verify");
    let daemon = site.start();
    daemon.submit(&["a@example.org"], "to a stranger");
    let attempt = daemon.events().take(2000);
    assert!(
        attempt
            .text("reply")
            .starts_with("454 4.7.5 TLS with a valid certificate is required"),
        "{attempt:?}"
    );
}

#[test]
fn failed_tls_is_an_event_before_mail_goes_in_the_clear() {
    let sink = Sink::smtp();
    sink.answer_times(1, "EHLO", "250-sink.example\r\n250 STARTTLS");
    sink.answer("STARTTLS", "220 go on");
    let site = site_with(&sink.address().to_string());
    let daemon = site.start();
    daemon.submit(&["a@example.org"], "after all");
    sink.expect("after all");
    let fallback = daemon.events().take(5105);
    assert_eq!(fallback.text("host"), "127.0.0.1");
    assert!(!fallback.text("reason").is_empty());
    assert!(daemon.events().take(5007).fields["tls-version"].is_null());
}
