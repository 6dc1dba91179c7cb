//! Delivery to the mail exchanges of other domains (RFC 5321 section 5.1, RFC 7505).

use posthouse_tests::{Report, Sink, Site, Zone, address, dns, exchange};

/// Address without a listener.
const UNREACHABLE: [u8; 4] = [127, 25, 0, 9];

/// Creates a site that delivers to the mail exchanges of `zone`.
fn site(zone: Zone) -> Site {
    let mut site = Site::new();
    site.set("delivery.smart-host", "mx");
    site.set("delivery.private-exchanges", vec!["127.25.0.0/16".to_owned()]);
    site.set("dns.servers", vec![dns(zone).to_string()]);
    site
}

#[test]
fn prefers_the_best_reachable_exchange() {
    let (Some(best), Some(bare)) = (Sink::exchange([127, 25, 0, 1]), Sink::exchange([127, 25, 0, 2])) else {
        return;
    };
    let mut site = site(vec![
        ("two.example", exchange(20, "second.two.example")),
        ("two.example", exchange(10, "first.two.example")),
        ("first.two.example", address([127, 25, 0, 1])),
        ("second.two.example", address([127, 25, 0, 2])),
        ("half.example", exchange(10, "gone.half.example")),
        ("half.example", exchange(20, "nobody.half.example")),
        ("half.example", exchange(30, "there.half.example")),
        ("gone.half.example", address(UNREACHABLE)),
        ("there.half.example", address([127, 25, 0, 1])),
        ("bare.example", address([127, 25, 0, 2])),
    ]);
    let smart_host = Sink::smtp();
    site.add(&format!(
        "[[delivery.route]]\ndomain = \"routed.example\"\nto = \"{}\"\n",
        smart_host.address()
    ));
    let daemon = site.start();
    for (recipient, sink, destination) in [
        ("a@two.example", &best, "smtp:first.two.example:25"),
        ("a@half.example", &best, "smtp:there.half.example:25"),
        ("b@half.example", &best, "smtp:there.half.example:25"),
        ("a@bare.example", &bare, "smtp:bare.example:25"),
    ] {
        daemon.submit(&[recipient], recipient);
        sink.expect(&format!("Subject: {recipient}"));
        assert_eq!(daemon.events().take(5007).text("destination"), destination);
    }
    daemon.submit(&["a@deep.routed.example"], "by a route");
    smart_host.expect("by a route");
}

#[test]
fn routes_a_domain_to_exchanges_beside_a_smart_host() {
    let Some(sink) = Sink::exchange([127, 25, 0, 3]) else {
        return;
    };
    let smart_host = Sink::smtp();
    let mut site = site(vec![("direct.example", address([127, 25, 0, 3]))]);
    site.set("delivery.smart-host", smart_host.address().to_string());
    site.add("[[delivery.route]]\ndomain = \"direct.example\"\nto = \"mx\"\n");
    let daemon = site.start();
    daemon.submit(&["a@direct.example", "a@other.example"], "both ways");
    assert_eq!(sink.expect("both ways").recipients, ["<a@direct.example>"]);
    assert_eq!(smart_host.expect("both ways").recipients, ["<a@other.example>"]);
}

#[test]
fn reports_a_domain_without_mail_immediately() {
    let site = site(vec![
        ("none.example", exchange(0, ".")),
        ("ours.example", exchange(10, "mx.posthouse.test")),
        ("ours.example", exchange(20, "backup.example")),
        ("odd.example", exchange(10, "odd.example")),
        ("odd.example", address([0, 0, 0, 0])),
    ]);
    let daemon = site.start();
    for (recipient, status, said) in [
        ("a@none.example", "5.1.10", "none.example takes no mail"),
        ("a@ours.example", "5.4.6", "comes back to this host"),
        ("a@odd.example", "5.4.4", "has no address"),
        ("a@nobody.example", "5.4.4", "has no address"),
    ] {
        daemon.submit(&[recipient], recipient);
        let report = Report::parse(&site.mailbox("anna").expect(recipient).text);
        assert_eq!(report.field("Status"), Some(status), "{}", report.status);
        let unfolded: Vec<&str> = report.status.split_whitespace().collect();
        assert!(unfolded.join(" ").contains(said), "{}", report.status);
    }
}

#[test]
fn refuses_exchanges_inside_the_site_unless_they_are_listed() {
    let Some(sink) = Sink::exchange([127, 25, 0, 4]) else {
        return;
    };
    let mut site = site(vec![
        ("listed.example", address([127, 25, 0, 4])),
        ("loopback.example", exchange(10, "inside.loopback.example")),
        ("inside.loopback.example", address([127, 26, 0, 4])),
        ("private.example", address([10, 0, 0, 1])),
        ("shared.example", address([100, 64, 0, 1])),
        ("mixed.example", exchange(10, "inside.loopback.example")),
        ("mixed.example", exchange(20, "listed.example")),
    ]);
    let literal = Sink::smtp();
    site.add(&format!(
        "[[delivery.route]]\ndomain = \"literal.example\"\nto = \"{}\"\n",
        literal.address()
    ));
    let daemon = site.start();
    for recipient in ["a@loopback.example", "a@private.example", "a@shared.example"] {
        daemon.submit(&[recipient], recipient);
        let report = Report::parse(&site.mailbox("anna").expect(recipient).text);
        assert_eq!(report.field("Status"), Some("5.4.4"), "{}", report.status);
    }
    for recipient in ["a@listed.example", "a@mixed.example"] {
        daemon.submit(&[recipient], recipient);
        sink.expect(&format!("Subject: {recipient}"));
    }
    daemon.submit(&["a@literal.example"], "to the operator's server");
    literal.expect("to the operator's server");
}

#[test]
fn defers_mail_while_dns_or_all_exchanges_are_unavailable() {
    let mut site = site(vec![
        ("gone.example", exchange(10, "a.gone.example")),
        ("gone.example", exchange(10, "b.gone.example")),
        ("a.gone.example", address(UNREACHABLE)),
        ("b.gone.example", address(UNREACHABLE)),
    ]);
    let daemon = site.start();
    daemon.submit(&["a@gone.example"], "nobody there");
    let attempt = daemon.events().take(2000);
    assert_eq!(attempt.text("destination"), "mx:gone.example");
    assert!(
        attempt.text("reply").contains("connecting to 127.25.0.9:25"),
        "{attempt:?}"
    );
    drop(daemon.stop());

    // A bound socket that never answers.
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
    let silent_at = silent.local_addr().expect("an address");
    site.set("dns.servers", vec![silent_at.to_string()]);
    site.set("dns.timeout", "300ms");
    let daemon = site.start();
    daemon.submit(&["a@unknown.example"], "nobody knows");
    let attempt = daemon
        .events()
        .take_where(2000, |attempt| attempt.text("destination") == "mx:unknown.example");
    assert!(
        attempt
            .text("reply")
            .starts_with("451 4.4.3 looking unknown.example up"),
        "{attempt:?}"
    );
}
