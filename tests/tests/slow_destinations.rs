//! Destinations that hang, throttle or refuse, beside others that do not.

use posthouse_tests::{Daemon, Report, Sink, Site, eventually};

/// More destinations than `delivery.concurrency` has places by default.
const HANGING: usize = 45;

/// Sets the routes, each a domain and a server.
fn set_routes(site: &mut Site, routes: &[(String, String)]) {
    let route = |(domain, to): &(String, String)| format!("[[delivery.route]]\ndomain = \"{domain}\"\nto = \"{to}\"\n");
    site.add(&routes.iter().map(route).collect::<String>());
}

/// The route of a domain to a sink.
fn route(domain: &str, sink: &Sink) -> (String, String) {
    (domain.to_owned(), sink.address().to_string())
}

/// Routes of the domains `d0.example` and so on, each to an address of its own of the same sink.
fn routes_to(sink: &Sink, count: usize) -> Vec<(String, String)> {
    let port = sink.address().port();
    let route = |number| (format!("d{number}.example"), format!("127.9.0.{}:{port}", number + 1));
    (0..count).map(route).collect()
}

/// Sends a message to each of the domains, and waits until all clients hang.
fn hang_all(daemon: &Daemon, sink: &Sink, count: usize) {
    for number in 0..count {
        daemon.submit(&[&format!("x@d{number}.example")], "into the dark");
    }
    eventually("every destination to hang", || (sink.hanging() == count).then_some(()));
}

/// Local mail and mail to a healthy host get through while destinations hang at `step`.
fn others_get_through_while_destinations_hang_at(step: &str) {
    let (dark, healthy) = (Sink::everywhere(), Sink::smtp());
    dark.answer(step, "hang");
    let mut site = Site::new();
    let mut routes = routes_to(&dark, HANGING);
    routes.push(route("healthy.example", &healthy));
    set_routes(&mut site, &routes);
    let lmtp = Sink::lmtp();
    site.add_to_directory(&format!(
        "[[account]]\nname = \"carl\"\naddresses = [\"carl@posthouse.test\"]\nhome = \"lmtp:{}\"",
        lmtp.address()
    ));
    let daemon = site.start();
    hang_all(&daemon, &dark, HANGING);

    daemon.submit(&["bert@posthouse.test"], "to a mailbox");
    site.mailbox("bert").expect("to a mailbox");
    daemon.submit(&["carl@posthouse.test"], "to a server of mailboxes");
    lmtp.expect("to a server of mailboxes");
    daemon.submit(&["a@healthy.example"], "to a healthy host");
    healthy.expect("to a healthy host");
    let both: Vec<String> = (0..HANGING).map(|number| format!("y@d{number}.example")).collect();
    let mut all: Vec<&str> = both.iter().map(String::as_str).collect();
    all.extend(["bert@posthouse.test", "b@healthy.example"]);
    daemon.submit(&all, "to all at once");
    site.mailbox("bert").expect("to all at once");
    healthy.expect("to all at once");
    assert!(dark.hanging() >= HANGING, "the others still hang: {}", dark.hanging());
}

#[test]
fn others_get_through_while_destinations_do_not_greet() {
    others_get_through_while_destinations_hang_at("CONNECT");
}

#[test]
fn others_get_through_while_destinations_hang_at_the_hello() {
    others_get_through_while_destinations_hang_at("EHLO");
}

#[test]
fn others_get_through_while_destinations_hang_at_the_sender() {
    others_get_through_while_destinations_hang_at("MAIL");
}

#[test]
fn others_get_through_while_destinations_hang_after_the_final_dot() {
    others_get_through_while_destinations_hang_at(".");
}

#[test]
fn others_get_through_while_the_dns_is_silent() {
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
    let mut site = Site::new();
    site.set("delivery.smart-host", "mx")
        .set(
            "dns.servers",
            vec![silent.local_addr().expect("an address").to_string()],
        )
        .set("dns.timeout", "1h");
    let healthy = Sink::smtp();
    set_routes(&mut site, &[route("healthy.example", &healthy)]);
    let daemon = site.start();
    for number in 0..HANGING {
        daemon.submit(&[&format!("x@d{number}.example")], "into the dark");
    }
    daemon.submit(&["bert@posthouse.test", "a@healthy.example"], "past the dark");
    site.mailbox("bert").expect("past the dark");
    healthy.expect("past the dark");
    assert_eq!(daemon.events().all(2000).len(), 0, "the others still wait for the DNS");
}

#[test]
fn many_messages_for_a_hanging_destination_delay_no_other() {
    let (dark, healthy) = (Sink::smtp(), Sink::smtp());
    dark.answer(".", "hang");
    let mut site = Site::new();
    set_routes(
        &mut site,
        &[route("dark.example", &dark), route("healthy.example", &healthy)],
    );
    let daemon = site.start();
    // Two connections hang, some messages wait in memory, and the rest in the spool.
    for _ in 0..60 {
        daemon.submit(&["x@dark.example"], "into the dark");
    }
    eventually("messages that wait in the spool", || {
        let waiting = site.cli(&["queue", "list"]).ok().matches("when smtp:").count();
        (waiting > 0).then_some(())
    });
    daemon.submit(&["bert@posthouse.test", "a@healthy.example"], "past the dark");
    site.mailbox("bert").expect("past the dark");
    healthy.expect("past the dark");
}

#[test]
fn hanging_destination_is_reported_and_its_messages_follow_later() {
    let sink = Sink::smtp();
    sink.answer_times(1, ".", "hang");
    let mut site = Site::new();
    site.set("delivery.smart-host", sink.address().to_string())
        .set("delivery.per-destination", 1)
        .set("delivery.reply-timeout", "2s");
    let daemon = site.start();
    daemon.submit(&["a@example.org"], "first of three");
    let down = daemon.events().take(5067);
    assert_eq!(down.text("destination"), format!("smtp:{}", sink.address()));
    assert!(down.text("reply").contains("has not answered for 1 s"), "{down:?}");
    daemon.submit(&["a@example.org"], "second of three");
    daemon.submit(&["a@example.org"], "third of three");
    for subject in ["first of three", "second of three", "third of three"] {
        sink.expect(subject);
    }
    daemon.events().take(5068);
}

#[test]
fn recipients_beyond_the_limit_of_a_transaction_follow_at_once() {
    let sink = Sink::smtp();
    sink.limit_recipients(10);
    let mut site = Site::new();
    site.set("delivery.smart-host", sink.address().to_string())
        .set("delivery.retry", vec!["1h".to_owned()]);
    let daemon = site.start();
    let recipients: Vec<String> = (0..45).map(|number| format!("r{number}@example.org")).collect();
    let recipients: Vec<&str> = recipients.iter().map(String::as_str).collect();
    daemon.submit(&recipients, "to many");
    eventually("a copy for each", || {
        let reached: usize = sink.received().iter().map(|message| message.recipients.len()).sum();
        (reached == 45).then_some(())
    });
    daemon.events().take(5007);
    assert!(daemon.events().all(2000).is_empty());
    let commands = sink.commands();
    let count = |verb: &str| commands.iter().filter(|command| command.starts_with(verb)).count();
    assert_eq!((count("EHLO"), count("MAIL")), (1, 5));
}

#[test]
fn throttling_destination_is_left_alone() {
    let sink = Sink::smtp();
    sink.answer("MAIL", "451 4.7.500 server busy");
    let mut site = Site::new();
    site.set("delivery.smart-host", sink.address().to_string())
        .set("delivery.retry", vec!["1h".to_owned()]);
    let daemon = site.start();
    for number in 0..30 {
        daemon.submit(&["a@example.org"], &format!("number {number}"));
    }
    let down = daemon.events().take(5067);
    assert!(down.text("reply").contains("server busy"), "{down:?}");
    eventually("every message to wait", || {
        (daemon.events().all(2000).len() == 30).then_some(())
    });
    let tried = sink.commands().iter().filter(|line| line.starts_with("MAIL")).count();
    assert!((5..=15).contains(&tried), "{tried}");
    let waiting = site.cli(&["queue", "list"]).ok().matches("when smtp:").count();
    assert_eq!(waiting, 30 - tried);
}

#[test]
fn connection_survives_refused_messages() {
    let sink = Sink::smtp();
    sink.answer_times(1, "CONNECT", "421 4.3.2 not yet");
    sink.answer("RCPT", "550 5.1.1 no such user");
    let mut site = Site::new();
    site.set("delivery.smart-host", sink.address().to_string())
        .set("delivery.per-destination", 1)
        .set("delivery.retry", vec!["1h".to_owned()]);
    let daemon = site.start();
    for number in 0..12 {
        daemon.submit(&["a@example.org"], &format!("number {number}"));
    }
    daemon.events().take(5067);
    drop(daemon.stop());
    let daemon = site.start();
    eventually("the refusals", || (daemon.events().all(4031).len() >= 11).then_some(()));
    let commands = sink.commands();
    let count = |verb: &str| commands.iter().filter(|command| command.starts_with(verb)).count();
    assert!(count("EHLO") <= 3, "{commands:?}");
    assert!(count("RSET") >= 8, "{commands:?}");
}

/// Recipients that were delivered or reported get no second copy after `kill -9`, though another destination of the
/// message still hangs.
#[test]
fn outcomes_are_durable_while_another_destination_hangs() {
    let (fast, refusing, dark) = (Sink::smtp(), Sink::smtp(), Sink::smtp());
    refusing.answer("RCPT", "550 5.1.1 no such user");
    dark.answer(".", "hang");
    let mut site = Site::new();
    set_routes(
        &mut site,
        &[
            route("fast.example", &fast),
            route("refusing.example", &refusing),
            route("dark.example", &dark),
        ],
    );
    let daemon = site.start();
    let id = daemon.submit(
        &[
            "a@fast.example",
            "bert@posthouse.test",
            "b@refusing.example",
            "c@dark.example",
        ],
        "to four places",
    );
    eventually("three durable outcomes", || {
        let shown = site.cli(&["queue", "show", &id, "--json"]).ok();
        let shown: serde_json::Value = serde_json::from_str(&shown).expect("JSON");
        let recipients = shown["message"]["recipients"].as_array().cloned().unwrap_or_default();
        let count = |state: &str| {
            recipients
                .iter()
                .filter(|recipient| recipient["state"]["is"] == state)
                .count()
        };
        (count("delivered") == 2 && count("failed") == 1 && dark.hanging() == 1).then_some(())
    });
    daemon.kill();

    dark.accept_everything();
    let daemon = site.start();
    dark.expect("to four places");
    eventually("an empty queue", || {
        let listed = site.cli(&["queue", "list"]).ok();
        listed.contains("the queue is empty").then_some(())
    });
    assert_eq!(fast.received().len(), 1);
    assert_eq!(dark.received().len(), 1);
    assert_eq!(site.mailbox("bert").containing("to four places").len(), 1);
    let reports = site.mailbox("anna").containing("delivery-status");
    assert_eq!(reports.len(), 1);
    let report = Report::parse(&reports[0].text);
    assert_eq!(report.field("Status"), Some("5.1.1"));
    drop(daemon);
}

#[test]
fn release_tries_a_message_that_waits_for_a_destination() {
    let sink = Sink::smtp();
    sink.answer_times(2, "CONNECT", "421 4.3.2 not yet");
    let mut site = Site::new();
    site.set("delivery.smart-host", sink.address().to_string())
        .set("delivery.retry", vec!["1h".to_owned()]);
    let daemon = site.start();
    daemon.submit(&["a@example.org"], "tried in vain");
    daemon.events().take(5067);
    let id = daemon.submit(&["a@example.org"], "waits");
    let waits = |event: &posthouse_tests::Event| event.text("message") == id;
    daemon.events().take_where(2000, waits);
    // The circuit stays open after the first release, which meets the second refusal.
    let released = site.cli(&["queue", "release", &id]).ok();
    assert!(released.contains("tried now, and no longer when smtp:"), "{released}");
    daemon.events().take_where(2000, waits);
    let released = site.cli(&["queue", "release", &id]).ok();
    assert!(released.contains("released: tried now"), "{released}");
    sink.expect("waits");
    daemon.events().take(5068);
}

#[test]
fn reload_tries_messages_whose_next_hop_has_changed() {
    let (old, new) = (Sink::smtp(), Sink::smtp());
    old.answer("MAIL", "451 4.3.0 not here");
    let mut site = Site::new();
    site.set("delivery.smart-host", old.address().to_string())
        .set("delivery.retry", vec!["1h".to_owned()]);
    let daemon = site.start();
    for subject in ["deferred one", "deferred two"] {
        daemon.submit(&["a@example.org"], subject);
        daemon.events().take(2000);
    }
    eventually("both to be given back", || {
        let listed = site.cli(&["queue", "list", "--json"]).ok();
        let listed: serde_json::Value = serde_json::from_str(&listed).expect("JSON");
        let messages = listed["messages"].as_array().cloned().unwrap_or_default();
        let tried = messages.iter().filter(|message| message["attempts"] == 1).count();
        (tried == 2).then_some(())
    });
    site.set("delivery.smart-host", new.address().to_string());
    let reloaded = site.cli(&["reload"]).ok();
    assert!(
        reloaded.contains("tried now: messages whose next hop has changed: 2"),
        "{reloaded}"
    );
    new.expect("deferred one");
    new.expect("deferred two");
}
