//! Delivery of accepted mail: homes, aliases, retries, and reports about failures.

use posthouse_tests::{Daemon, PASSWORD, Report, Sink, Site};

/// Creates a site with the sink as the smart host.
fn site_with_smart_host(sink: &Sink) -> Site {
    let mut site = Site::new();
    site.set("delivery.smart-host", sink.address().to_string());
    site
}

#[test]
fn delivers_aliases_and_groups_once_to_each_account() {
    let site = Site::new();
    let daemon = site.start();
    daemon.submit(&["sales@posthouse.test"], "by alias");
    site.mailbox("anna").expect("by alias");
    daemon.submit(&["team@posthouse.test", "bert@posthouse.test"], "by group");
    site.mailbox("anna").expect("by group");
    site.mailbox("bert").expect("by group");
    daemon.submit(&["bert@posthouse.test"], "the last one");
    site.mailbox("bert").expect("the last one");
    assert_eq!(
        site.mailbox("bert").containing("by group").len(),
        1,
        "named twice, delivered once"
    );
}

#[test]
fn relays_mail_to_the_smart_host_unchanged() {
    let sink = Sink::smtp();
    let site = site_with_smart_host(&sink);
    let daemon = site.start();
    let mut client = daemon.connect();
    client.login("anna", PASSWORD);
    let body = "From: <anna@posthouse.test>\nSubject: dots\n\n.\n..\n.leading\nend\n";
    let reply = client.submit("anna@posthouse.test", &["a@example.org", "b@example.org"], body);
    assert_eq!(reply.code, 250);
    let received = sink.expect("Subject: dots");
    assert!(
        received.text.ends_with("\r\n\r\n.\r\n..\r\n.leading\r\nend\r\n"),
        "{:?}",
        received.text
    );
    assert!(
        received.text.starts_with("Received: from client.example"),
        "{:?}",
        received.text
    );
    assert!(received.mail.starts_with("<anna@posthouse.test>"), "{received:?}");
    assert_eq!(received.recipients.len(), 2, "{received:?}");
    let delivered = daemon.events().take(5007);
    assert!(
        delivered.text("reply").contains("taken"),
        "the remote's reply is kept: {delivered:?}"
    );
}

/// Relays through another Posthouse that accepts mail from authenticated clients only.
#[test]
fn authenticates_at_the_smart_host() {
    let sink = Sink::smtp();
    let relay = site_with_smart_host(&sink);
    let relaying = relay.start();
    let server = format!("localhost:{}", relaying.address("smtp").port());

    let mut site = Site::new();
    site.set("delivery.smart-host", server.clone());
    let password = site.file("relay.password", "not this one\n");
    site.add(&format!(
        "[[delivery.login]]\nserver = \"{server}\"\nuser = \"anna\"\npassword-file = \"relay.password\"\n"
    ));
    let daemon = site.start_trusting(&relay.path().join("data/tls/self-signed.pem"));
    daemon.submit(&["a@example.org"], "by login");
    let attempt = daemon.events().take(2000);
    let reply = attempt.text("reply");
    assert!(
        reply.starts_with("454 4.7.0 logging in at localhost: 535 5.7.8"),
        "{reply}"
    );
    std::fs::write(password, format!("{PASSWORD}\n")).expect("written");
    let received = sink.expect("by login");
    assert!(received.text.contains("with ESMTPSA"), "{}", received.text);
    assert!(sink.received().len() == 1 && daemon.events().take(5007).text("destination") == format!("smtp:{server}"));
}

#[test]
fn retries_after_a_transient_reply() {
    let sink = Sink::smtp();
    sink.answer("MAIL", "451 4.3.0 come back later");
    let site = site_with_smart_host(&sink);
    let daemon = site.start();
    daemon.submit(&["a@example.org"], "patience");
    let attempt = daemon.events().take(2000);
    assert!(attempt.text("reply").contains("come back later"), "{attempt:?}");
    assert!(!attempt.text("next-attempt").is_empty(), "{attempt:?}");
    // MAIL and DATA are pipelined: the second scripted reply is used only after MAIL is accepted. A 421 over the
    // connection of the first attempt has the message tried over a new one at once.
    sink.accept_everything();
    sink.answer_times(2, "DATA", "421 4.3.2 and again");
    sink.expect("patience");
    daemon
        .events()
        .take_where(2000, |attempt| attempt.text("reply").contains("and again"));
    daemon.events().take(5007);
    assert_eq!(sink.received().len(), 1);
}

#[test]
fn reports_a_permanent_reply_to_the_sender() {
    let sink = Sink::smtp();
    sink.answer("RCPT TO:<gone@", "550 5.1.1 <gone@example.org> moved away in 1999");
    let site = site_with_smart_host(&sink);
    let daemon = site.start();
    let id = daemon.submit(&["gone@example.org", "here@example.org"], "to two");

    let received = sink.expect("to two");
    assert_eq!(received.recipients.len(), 1, "the other one gets it: {received:?}");
    let report = Report::parse(&site.mailbox("anna").expect("delivery-status").text);
    assert_eq!(report.field("Status"), Some("5.1.1"));
    assert!(
        report
            .field("Final-Recipient")
            .is_some_and(|value| value.ends_with("gone@example.org")),
        "{}",
        report.status
    );
    assert!(
        report
            .field("Diagnostic-Code")
            .is_some_and(|value| value.contains("moved away in 1999")),
        "{}",
        report.status
    );
    assert!(report.field("Remote-MTA").is_some(), "{}", report.status);
    assert!(!report.status.contains("here@example.org"), "{}", report.status);
    let refused = daemon.events().take(4031);
    assert_eq!(refused.text("message"), id);
    assert!(refused.text("reply").contains("moved away in 1999"), "{refused:?}");
}

#[test]
fn handles_lmtp_replies_for_each_recipient() {
    let sink = Sink::lmtp();
    sink.answer(". <full@", "552 5.2.2 mailbox full");
    sink.answer_times(1, ". <busy@", "450 4.2.1 mailbox busy");
    let site = Site::new();
    for name in ["good", "full", "busy"] {
        site.add_to_directory(&format!(
            "[[account]]\nname = \"{name}\"\naddresses = [\"{name}@posthouse.test\"]\nhome = \"lmtp:{}\"",
            sink.address()
        ));
    }
    let daemon = site.start();
    let recipients = ["good@posthouse.test", "full@posthouse.test", "busy@posthouse.test"];
    daemon.submit(&recipients, "to three");

    let report = Report::parse(&site.mailbox("anna").expect("delivery-status").text);
    assert!(
        report.status.contains("full@posthouse.test") && report.status.contains("mailbox full"),
        "{}",
        report.status
    );
    assert!(!report.status.contains("busy@"), "{}", report.status);
    posthouse_tests::eventually("the busy one's copy", || {
        let received = sink.received();
        let has = |name: &str| {
            received
                .iter()
                .flat_map(|one| &one.recipients)
                .filter(|to| to.contains(name))
                .count()
        };
        (has("busy@") == 1).then(|| assert_eq!((has("good@"), has("full@")), (1, 0), "{received:?}"))
    });
    assert!(sink.commands().iter().any(|command| command.starts_with("LHLO")));
}

#[test]
fn expiry_report_contains_the_last_reply() {
    let sink = Sink::smtp();
    sink.answer("MAIL", "451 4.3.0 never today");
    let mut site = site_with_smart_host(&sink);
    site.set("delivery.expire", "2s")
        .set("delivery.retry", toml_list(&["500ms"]));
    let daemon = site.start();
    daemon.submit(&["a@example.org"], "in vain");
    let expired = daemon.events().take(5022);
    assert!(expired.text("last-reply").contains("never today"), "{expired:?}");
    let report = Report::parse(&site.mailbox("anna").expect("delivery-status").text);
    assert_eq!(report.field("Action"), Some("failed"));
    assert!(report.status.contains("never today"), "{}", report.status);
}

fn toml_list(items: &[&str]) -> toml::Value {
    items
        .iter()
        .map(|item| toml::Value::from(*item))
        .collect::<Vec<_>>()
        .into()
}

#[test]
fn retries_an_unreachable_host() {
    let address = {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        socket.local_addr().expect("bound")
    };
    let mut site = Site::new();
    site.set("delivery.smart-host", address.to_string());
    let daemon = site.start();
    daemon.submit(&["a@example.org"], "nobody there");
    let attempt = daemon.events().take(2000);
    assert!(
        attempt.text("destination").contains(&address.to_string()),
        "{attempt:?}"
    );
    let listed = site.cli(&["queue", "list"]).ok();
    assert!(listed.contains(&attempt.text("message")), "{listed}");
}

/// Creates a site with a route for `dead.example` to a server that closes every connection after the greeting.
fn site_with_dead_server(dead: &Sink) -> Site {
    for greeting in ["EHLO", "HELO"] {
        dead.answer(greeting, "close");
    }
    let mut site = Site::new();
    site.add(&format!(
        "[[delivery.route]]\ndomain = \"dead.example\"\nto = \"{}\"\n",
        dead.address()
    ));
    site
}

/// Submits messages to the dead server and waits until each message is deferred.
fn submit_deferred(daemon: &Daemon, messages: usize) {
    for number in 0..messages {
        daemon.submit(&["a@dead.example"], &format!("waits {number}"));
    }
    for _ in 0..messages {
        daemon.events().take(2000);
    }
}

/// Returns the messages of the queue, and the number of messages that wait for a destination.
fn queue(site: &Site) -> (Vec<serde_json::Value>, usize) {
    let page = site.cli(&["queue", "list", "--json"]).ok();
    let page: serde_json::Value = serde_json::from_str(&page).expect("JSON");
    let waiting = page["waiting"].as_object().expect("waiting").len();
    (page["messages"].as_array().expect("messages").clone(), waiting)
}

/// Other mail is not delayed meanwhile, and waiting messages are sent as soon as the server is back, before the regular
/// retry.
#[test]
fn probes_a_dead_server_on_behalf_of_all_waiting_messages() {
    const WAITING: usize = 30;
    let (dead, live) = (Sink::smtp(), Sink::smtp());
    let mut site = site_with_dead_server(&dead);
    site.set("delivery.smart-host", live.address().to_string());
    site.set("delivery.retry", toml_list(&["2s"]));
    let daemon = site.start();
    submit_deferred(&daemon, WAITING);
    for number in 0..10 {
        daemon.submit(&["a@example.org"], &format!("goes {number}"));
        live.expect(&format!("Subject: goes {number}"));
    }
    let tried = || dead.commands().iter().filter(|line| line.starts_with("EHLO")).count();
    posthouse_tests::eventually("the third try", || (tried() >= 3).then_some(()));
    let (messages, waiting) = queue(&site);
    assert_eq!(messages.len(), WAITING);
    assert!(waiting > WAITING / 2, "{waiting} wait");
    let untried = messages.iter().filter(|message| message["attempts"] == 0).count();
    assert!(untried > WAITING / 2, "{untried} were never tried");
    assert!(tried() < WAITING);
    assert_eq!(daemon.events().all(5067).len(), 1);
    let status = site.cli(&["status", "--json"]).ok();
    let status: serde_json::Value = serde_json::from_str(&status).expect("JSON");
    assert!(status["spool"]["waiting"].as_u64() > Some(0), "{status}");
    dead.accept_everything();
    for number in 0..WAITING {
        dead.expect(&format!("Subject: waits {number}\r"));
    }
    daemon.events().take(5068);
    posthouse_tests::eventually("an empty queue", || queue(&site).0.is_empty().then_some(()));
}

#[test]
fn reload_reroutes_messages_that_wait_for_a_dead_server() {
    let (dead, other) = (Sink::smtp(), Sink::smtp());
    let mut site = site_with_dead_server(&dead);
    // No regular retry happens before the end of this test.
    site.set("delivery.retry", toml_list(&["1h"]));
    let daemon = site.start();
    submit_deferred(&daemon, 10);
    let (messages, waiting) = queue(&site);
    assert!(waiting > 0);
    let configuration = std::fs::read_to_string(site.configuration_file()).expect("the configuration");
    let rerouted = configuration.replace(&dead.address().to_string(), &other.address().to_string());
    std::fs::write(site.configuration_file(), rerouted).expect("written");
    daemon.reload();
    // Those that were attempted have a retry in an hour, and follow the new route at once, too.
    posthouse_tests::eventually("an empty queue", || queue(&site).0.is_empty().then_some(()));
    assert_eq!(other.received().len(), messages.len());
}

/// The server refuses most of the allowed connections, and no message has to wait for another attempt.
#[test]
fn delivers_all_mail_over_the_few_connections_that_a_server_accepts() {
    const MESSAGES: usize = 100;
    let sink = Sink::smtp();
    sink.limit_connections(3);
    // Slow replies increase the demand for connections.
    sink.delay_replies(std::time::Duration::from_millis(50));
    let mut site = Site::new();
    site.set("delivery.smart-host", sink.address().to_string())
        .set("delivery.per-destination", 20)
        .set("delivery.retry", toml_list(&["1h"]));
    let daemon = site.start();
    std::thread::scope(|scope| {
        for sender in 0..20 {
            let daemon = &daemon;
            scope.spawn(move || {
                for number in 0..MESSAGES / 20 {
                    daemon.submit(&["a@example.org"], &format!("number {sender} {number}"));
                }
            });
        }
    });
    posthouse_tests::eventually("all of them", || (sink.received().len() == MESSAGES).then_some(()));
    assert!(daemon.events().all(2000).is_empty(), "nobody was deferred");
    let crowded = daemon.events().take(5069);
    assert!(crowded.text("reply").contains("enough"), "{crowded:?}");
    assert_eq!(daemon.events().all(5069).len(), 1, "told once");
}

#[test]
fn message_that_waits_for_a_dead_server_expires_on_time() {
    let dead = Sink::smtp();
    let mut site = site_with_dead_server(&dead);
    site.set("delivery.expire", "4s")
        .set("delivery.retry", toml_list(&["1s", "1h"]));
    let daemon = site.start();
    submit_deferred(&daemon, 5);
    for _ in 0..5 {
        daemon.events().take(5022);
    }
    posthouse_tests::eventually("five reports", || {
        (site.mailbox("anna").messages().len() == 5).then_some(())
    });
}

#[test]
fn messages_that_wait_for_a_dead_server_can_be_managed_and_survive_a_crash() {
    let dead = Sink::smtp();
    let mut site = site_with_dead_server(&dead);
    site.set("delivery.retry", toml_list(&["1s"]));
    let daemon = site.start();
    submit_deferred(&daemon, 10);
    let (messages, waiting) = queue(&site);
    assert!(waiting > 0);
    let place = format!("smtp:{}", dead.address());
    let waits = messages.iter().map(|message| message["id"].as_str().expect("an id"));
    let waits: Vec<&str> = waits
        .filter(|id| {
            site.cli(&["queue", "show", id])
                .ok()
                .contains(&format!("when {place} can be reached"))
        })
        .collect();
    assert!(waits.len() >= 2, "{waits:?}");
    assert!(
        site.cli(&["queue", "list"])
            .ok()
            .contains(&format!("when {place} is back"))
    );
    site.cli(&["queue", "delete", waits[0]]).ok();
    site.cli(&["queue", "release", waits[1]]).ok();
    assert_eq!(queue(&site).0.len(), 9);
    daemon.kill();
    dead.accept_everything();
    let daemon = site.start();
    posthouse_tests::eventually("an empty queue", || queue(&site).0.is_empty().then_some(()));
    assert_eq!(dead.received().len(), 9);
    drop(daemon);
}

#[test]
fn refuses_a_message_with_too_many_hops() {
    let mut site = Site::new();
    site.set("limits.hops", 30);
    let daemon = site.start();
    let mut client = daemon.connect();
    client.login("anna", PASSWORD);
    let trace = "Received: from a.example by b.example; Thu, 1 Jan 1998 00:00:00 +0000\n".repeat(31);
    let message = format!("{trace}From: <anna@posthouse.test>\nSubject: round and round\n\nx\n");
    let reply = client.submit("anna@posthouse.test", &["bert@posthouse.test"], &message);
    assert_eq!(reply.code, 554, "{reply:?}");
    let stopped = daemon.events().take(4098);
    assert_eq!(stopped.text("limit"), "30");
    assert!(site.mailbox("bert").messages().is_empty());
}

#[test]
fn sends_no_report_about_a_report() {
    let sink = Sink::smtp();
    sink.answer("RCPT", "550 5.1.1 nobody");
    let site = site_with_smart_host(&sink);
    let daemon = site.start();
    let mut client = daemon.connect_from("127.0.0.3");
    client.ehlo();
    let reply = client.submit("", &["gone@example.org"], "Subject: a report from elsewhere\n\nx\n");
    assert_eq!(reply.code, 250);
    daemon.events().take(4031);
    // Either the host (4123) or the policy (5009) drops the report, and no report is sent to the null reverse-path.
    let told = posthouse_tests::eventually("what became of it", || {
        let (dropped, nobody) = (daemon.events().all(4123), daemon.events().all(5009));
        let sent = daemon.events().all(5008);
        (dropped.len() + nobody.len() + sent.len() > 0).then_some(sent)
    });
    assert!(
        told.iter().all(|notice| notice.text("to") == "admin@posthouse.test"),
        "{told:?}"
    );
    assert!(sink.received().is_empty());
}

#[test]
fn operator_releases_and_deletes_messages() {
    let sink = Sink::smtp();
    sink.answer("MAIL", "451 4.3.0 not now");
    let mut site = site_with_smart_host(&sink);
    site.set("delivery.retry", toml_list(&["1h"]));
    let daemon = site.start();
    let kept = daemon.submit(&["a@example.org"], "to be retried");
    let unwanted = daemon.submit(&["a@example.org"], "to be deleted");
    daemon.events().take(2000);
    daemon.events().take(2000);
    let shown = site.cli(&["queue", "show", &kept]).ok();
    assert!(shown.contains("a@example.org") && shown.contains("not now"), "{shown}");
    site.cli(&["queue", "delete", &unwanted]).ok();
    daemon
        .events()
        .take_where(5023, |event| event.text("message") == unwanted);
    sink.accept_everything();
    site.cli(&["queue", "release", &kept]).ok();
    sink.expect("to be retried");
    daemon.events().take_where(5007, |event| event.text("message") == kept);
    assert_eq!(sink.received().len(), 1);
}
