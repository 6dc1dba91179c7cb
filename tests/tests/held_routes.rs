//! Routes whose mail waits until the next hop asks for it (ETRN, RFC 1985).

use posthouse_tests::{Sink, Site};

fn site(sink: &Sink) -> Site {
    let mut site = Site::new();
    site.add(&format!(
        "[[delivery.route]]\ndomain = \"example.org\"\nto = \"{0}\"\netrn = true\n\n\
         [[delivery.route]]\ndomain = \"branch.example.org\"\nto = \"{0}\"\netrn = true\n\n\
         [[delivery.route]]\ndomain = \"example.net\"\nto = \"{0}\"\n",
        sink.address()
    ));
    site
}

#[test]
fn mail_waits_until_its_next_hop_asks() {
    let sink = Sink::smtp();
    let site = site(&sink);
    let daemon = site.start();
    let held = daemon.submit(&["x@example.org"], "held for x");
    let waits = daemon.events().take(2000);
    assert_eq!(waits.text("destination"), "etrn:example.org");
    daemon.submit(&["y@example.net", "z@branch.example.org"], "held for z");
    sink.expect("held for z");
    assert!(site.cli(&["queue", "list"]).ok().contains(&held));
    let mut client = daemon.connect_from("127.0.0.3");
    let offered = client.ehlo();
    assert!(offered.lines.iter().any(|line| line.ends_with("ETRN")), "{offered:?}");
    client.command("ETRN", 501);
    client.command("ETRN example.net", 459);
    client.command("ETRN #queue", 501);
    client.command("ETRN other.example", 459);
    assert!(
        sink.received()
            .iter()
            .all(|message| !message.text.contains("held for x"))
    );
    client.command("ETRN Example.ORG", 253);
    sink.expect("held for x");
    let started = daemon.events().take(5151);
    assert_eq!(
        (started.text("node"), started.text("messages")),
        ("example.org".to_owned(), "1".to_owned())
    );
    client.command("ETRN example.org", 251);
    client.command("MAIL FROM:<bert@posthouse.test>", 250);
    client.command("ETRN example.org", 503);
    client.command("RSET", 250);
    client.quit();
}

#[test]
fn domain_with_at_starts_the_queues_below_after_a_restart_and_a_deferral_waits_again() {
    let sink = Sink::smtp();
    let site = site(&sink);
    let daemon = site.start();
    daemon.submit(&["x@branch.example.org"], "kept over a kill");
    daemon.events().take(2000);
    daemon.kill();
    let daemon = site.start();
    daemon
        .events()
        .take_where(2000, |event| event.text("destination") == "etrn:branch.example.org");
    sink.answer_times(1, "MAIL", "451 4.3.0 not now");
    let mut client = daemon.connect_from("127.0.0.3");
    client.ehlo();
    client.command("ETRN @example.org", 253);
    daemon
        .events()
        .take_where(2000, |event| event.text("reply").contains("not now"));
    daemon
        .events()
        .take_where(2000, |event| event.text("destination") == "etrn:branch.example.org");
    assert!(sink.received().is_empty());
    client.command("ETRN branch.example.org", 253);
    sink.expect("kept over a kill");
}

#[test]
fn etrn_needs_what_mail_needs_and_a_route_that_waits() {
    let sink = Sink::smtp();
    let site = site(&sink);
    let daemon = site.start();
    let mut stranger = daemon.connect();
    stranger.command("ETRN example.org", 503);
    stranger.ehlo();
    stranger.command("ETRN example.org", 530);
    let other = Site::new();
    let daemon = other.start();
    let mut client = daemon.connect_from("127.0.0.3");
    assert!(!client.ehlo().lines.iter().any(|line| line.ends_with("ETRN")));
    client.command("ETRN example.org", 502);
}
