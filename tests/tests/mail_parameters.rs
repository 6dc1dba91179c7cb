//! Parameters of MAIL that decide when and how a message travels: LIMITS, REQUIRETLS, DELIVERBY, FUTURERELEASE,
//! MT-PRIORITY.

use posthouse_tests::{Client, Daemon, PASSWORD, Report, Sink, Site};

fn offering(extensions: &[&str]) -> String {
    let lines: String = extensions.iter().map(|line| format!("250-{line}\r\n")).collect();
    format!("250-sink.example\r\n250-PIPELINING\r\n{lines}250 ENHANCEDSTATUSCODES")
}

fn site(sink: &Sink) -> Site {
    let mut site = Site::new();
    site.set("delivery.smart-host", sink.address().to_string());
    site
}

/// Sends a message of bert over a connection that is ready for MAIL, and returns its id.
fn send(client: &mut Client, parameters: &str, recipients: &[&str], subject: &str) -> String {
    client.command(&format!("MAIL FROM:<bert@posthouse.test> {parameters}"), 250);
    for recipient in recipients {
        client.command(&format!("RCPT TO:<{recipient}>"), 250);
    }
    let letter = format!("From: <bert@posthouse.test>\nSubject: {subject}\n\ntext\n");
    let reply = client.data(&letter);
    assert_eq!(reply.code, 250, "{}", client.transcript());
    reply.line().rsplit(' ').next().unwrap_or_default().to_owned()
}

/// Connects from an address that is exempt from every check.
fn exempt(daemon: &Daemon) -> Client {
    let mut client = daemon.connect_from("127.0.0.3");
    client.ehlo();
    client
}

#[test]
fn limits_of_a_hop_are_kept() {
    let sink = Sink::smtp();
    sink.answer("EHLO", &offering(&["LIMITS RCPTMAX=2 MAILMAX=2"]));
    let site = site(&sink);
    let daemon = site.start();
    let recipients = ["a", "b", "c", "d", "e"].map(|name| format!("{name}@example.org"));
    send(
        &mut exempt(&daemon),
        "",
        &recipients.each_ref().map(String::as_str),
        "five",
    );
    let taken = posthouse_tests::eventually("all recipients", || {
        let sizes: Vec<usize> = sink.collect(|message| message.recipients.len());
        (sizes.iter().sum::<usize>() == 5).then_some(sizes)
    });
    assert!(taken.iter().all(|size| *size <= 2), "{taken:?}");
    let commands = sink.commands();
    let count = |verb: &str| commands.iter().filter(|command| command.starts_with(verb)).count();
    assert_eq!(
        (count("MAIL"), count("RCPT")),
        (3, 5),
        "none beyond the limit: {commands:?}"
    );
    assert_eq!(count("EHLO"), 2, "two transactions a connection: {commands:?}");
    assert!(daemon.events().all(2000).is_empty());
}

#[test]
fn message_that_requires_tls_is_returned_by_a_hop_without() {
    let sink = Sink::smtp();
    sink.answer("EHLO", &offering(&["REQUIRETLS"]));
    let site = site(&sink);
    let daemon = site.start();
    let mut client = daemon.connect_from("127.0.0.3");
    assert!(!client.ehlo().lines.iter().any(|line| line.contains("REQUIRETLS")));
    client.command("MAIL FROM:<bert@posthouse.test> REQUIRETLS", 530);
    assert!(client.starttls().lines.iter().any(|line| line.contains("REQUIRETLS")));
    client.command("MAIL FROM:<bert@posthouse.test> REQUIRETLS=1", 501);
    send(&mut client, "REQUIRETLS", &["x@example.org"], "by TLS only");
    let report = site.mailbox("bert").expect("Status: 5.7.30");
    assert_eq!(Report::parse(&report.text).field("Action"), Some("failed"));
    assert!(sink.received().is_empty());
    // Mailboxes of this host are no hop.
    send(&mut client, "REQUIRETLS", &["anna@posthouse.test"], "stays here");
    site.mailbox("anna").expect("stays here");
}

#[test]
fn message_that_requires_tls_travels_by_verified_tls_only() {
    let sink = Sink::smtp();
    let mut relay = Site::new();
    let settings: toml::Table = r#"
        [accept]
        hosts = [{ network = "127.0.0.0/8", exempt = ["authentication", "encryption", "homing", "originator", "relay"] }]
    "#
    .parse()
    .expect("TOML");
    relay.set("policy.settings", settings);
    relay.set("delivery.smart-host", sink.address().to_string());
    let relaying = relay.start();
    let certificate = relay.path().join("data/tls/self-signed.pem");
    let mut site = Site::new();
    site.set(
        "delivery.smart-host",
        format!("localhost:{}", relaying.address("smtp").port()),
    );
    for (trusting, returned_by) in [(true, &relay), (false, &site)] {
        let daemon = match trusting {
            true => site.start_trusting(&certificate),
            false => site.start(),
        };
        let mut client = daemon.connect_from("127.0.0.3");
        client.ehlo();
        client.starttls();
        send(&mut client, "RET=FULL REQUIRETLS", &["x@example.org"], "by TLS only");
        // The relay knows the parameter, and has no TLS to go on with.
        let report = returned_by.mailbox("bert").expect("Status: 5.7.30");
        assert!(report.text.contains("text/rfc822-headers"), "{}", report.text);
        assert!(sink.received().is_empty());
        daemon.stop();
    }
}

#[test]
fn time_limit_goes_to_hops_that_keep_it_and_to_no_others() {
    let (sink, keeper) = (Sink::smtp(), Sink::smtp());
    keeper.answer("EHLO", &offering(&["DELIVERBY", "DSN"]));
    let mut site = site(&sink);
    site.add(&format!(
        "[[delivery.route]]\ndomain = \"keeps.example\"\nto = \"{}\"\n",
        keeper.address()
    ));
    let daemon = site.start();
    let mut client = exempt(&daemon);
    for bad in ["BY=0;R", "BY=10", "BY=10;X", "BY=10;N BY=10;N", "BY=1234567890;N"] {
        client.command(&format!("MAIL FROM:<bert@posthouse.test> {bad}"), 501);
    }
    send(&mut client, "BY=100000;R", &["x@example.org"], "returned");
    site.mailbox("bert").expect("Status: 5.3.3");
    send(&mut client, "BY=100000;N", &["y@example.org"], "told");
    sink.expect("Subject: told");
    site.mailbox("bert").expect("Action: relayed");
    send(&mut client, "BY=100000;R", &["z@keeps.example"], "kept");
    let kept = keeper.expect("Subject: kept").mail;
    let seconds = kept.split_once("BY=").and_then(|(_, by)| by.strip_suffix(";R"));
    let seconds: u64 = seconds
        .and_then(|text| text.parse().ok())
        .unwrap_or_else(|| panic!("{kept}"));
    assert!(seconds <= 100_000, "{kept}");
}

#[test]
fn time_limit_ends_the_delivery_or_tells_the_sender() {
    let sink = Sink::smtp();
    sink.answer("EHLO", &offering(&["DELIVERBY"]));
    sink.answer("RCPT", "451 4.3.0 later");
    let site = site(&sink);
    let daemon = site.start();
    let mut client = exempt(&daemon);
    send(&mut client, "BY=2;R", &["x@example.org"], "in time");
    daemon.events().take(5022);
    site.mailbox("bert").expect("Action: failed");
    let id = send(&mut client, "BY=1;N", &["y@example.org"], "told late");
    let told = daemon.events().take(5120);
    assert_eq!(told.text("message"), id);
    site.mailbox("bert").expect("Action: delayed");
    assert!(site.cli(&["queue", "list"]).ok().contains(&id), "the delivery goes on");
}

#[test]
fn held_message_is_delivered_when_it_is_released() {
    let site = Site::new();
    let daemon = site.start();
    let mut client = daemon.connect();
    client.login("bert", PASSWORD);
    let offered = client.ehlo();
    assert!(
        offered.lines.iter().any(|line| line.contains("FUTURERELEASE 2592000 ")),
        "{offered:?}"
    );
    for bad in [
        "HOLDFOR=x",
        "HOLDFOR",
        "HOLDFOR=2592001",
        "HOLDFOR=1 HOLDFOR=1",
        "HOLDFOR=60 BY=60;R",
        "HOLDFOR=1 HOLDUNTIL=2026-01-01T00:00:00Z",
        "HOLDUNTIL=tomorrow",
        "HOLDUNTIL=2999-01-01T00:00:00Z",
    ] {
        client.command(&format!("MAIL FROM:<bert@posthouse.test> {bad}"), 501);
    }
    let later = send(&mut client, "HOLDFOR=3600", &["anna@posthouse.test"], "an hour later");
    send(&mut client, "HOLDFOR=1", &["anna@posthouse.test"], "a second later");
    send(
        &mut client,
        "HOLDUNTIL=2020-01-01T00:00:00Z",
        &["anna@posthouse.test"],
        "long ago",
    );
    site.mailbox("anna").expect("a second later");
    site.mailbox("anna").expect("long ago");
    assert!(site.mailbox("anna").containing("an hour later").is_empty());
    daemon.kill();
    let _daemon = site.start();
    assert!(site.cli(&["queue", "list"]).ok().contains(&later), "it survives a kill");
    site.cli(&["queue", "release", &later]).ok();
    site.mailbox("anna").expect("an hour later");
}

#[test]
fn holds_and_priorities_are_for_clients_that_submit() {
    let sink = Sink::smtp();
    sink.answer("EHLO", &offering(&["MT-PRIORITY"]));
    let mut site = site(&sink);
    site.set("policy.settings.accept.from", "anyone");
    let daemon = site.start();
    let mut stranger = daemon.connect();
    let offered = stranger.ehlo();
    assert!(
        !offered
            .lines
            .iter()
            .any(|line| line.contains("FUTURE") || line.contains("PRIORITY"))
    );
    stranger.command("MAIL FROM:<x@example.org> HOLDFOR=60", 555);
    stranger.command("MAIL FROM:<x@example.org> MT-PRIORITY=9", 555);
    let mut client = exempt(&daemon);
    for bad in [
        "MT-PRIORITY=10",
        "MT-PRIORITY=+1",
        "MT-PRIORITY=",
        "MT-PRIORITY=1 MT-PRIORITY=1",
    ] {
        client.command(&format!("MAIL FROM:<bert@posthouse.test> {bad}"), 501);
    }
    send(&mut client, "MT-PRIORITY=-3", &["x@example.org"], "not urgent");
    assert_eq!(sink.expect("not urgent").mail, "<bert@posthouse.test> MT-PRIORITY=-3");
}
