//! What becomes of accepted mail: homes, aliases, retries, and reports about what failed.

use posthouse_tests::{Daemon, PASSWORD, Report, Sink, Site};

/// A site whose mail for elsewhere goes to the sink.
fn site_with_smart_host(sink: &Sink) -> Site {
    let mut site = Site::new();
    site.set("delivery.smart-host", sink.address().to_string());
    site
}

#[test]
fn aliases_and_groups_lead_to_people() {
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
fn mail_for_elsewhere_goes_to_the_smart_host_unchanged() {
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

/// The smart host is another Posthouse, which takes mail from whoever has a password only.
#[test]
fn a_smart_host_is_told_who_sends() {
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
fn a_transient_reply_is_tried_again() {
    let sink = Sink::smtp();
    sink.answer("MAIL", "451 4.3.0 come back later");
    let site = site_with_smart_host(&sink);
    let daemon = site.start();
    daemon.submit(&["a@example.org"], "patience");
    let attempt = daemon.events().take(2000);
    assert!(attempt.text("reply").contains("come back later"), "{attempt:?}");
    assert!(!attempt.text("next-attempt").is_empty(), "{attempt:?}");
    // DATA comes with MAIL, and so is not asked for before MAIL is taken.
    sink.take_everything();
    sink.answer_times(1, "DATA", "421 4.3.2 and again");
    sink.expect("patience");
    daemon
        .events()
        .take_where(2000, |attempt| attempt.text("reply").contains("and again"));
    daemon.events().take(5007);
    assert_eq!(sink.received().len(), 1);
}

#[test]
fn a_permanent_reply_comes_back_to_the_sender() {
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
fn lmtp_answers_for_each_recipient() {
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
fn a_message_expires_with_the_last_reply_in_the_report() {
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
fn an_unreachable_host_is_tried_until_it_is_there() {
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

/// A site whose mail for `dead.example` goes to a server that takes its leave at once.
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

/// Messages for it; returns when each was told that it waits.
fn fill(daemon: &Daemon, messages: usize) {
    for number in 0..messages {
        daemon.submit(&["a@dead.example"], &format!("waits {number}"));
    }
    for _ in 0..messages {
        daemon.events().take(2000);
    }
}

/// The messages of the queue, and those of them that wait for a destination.
fn queue(site: &Site) -> (Vec<serde_json::Value>, usize) {
    let page = site.cli(&["queue", "list", "--json"]).ok();
    let page: serde_json::Value = serde_json::from_str(&page).expect("JSON");
    let waiting = page["waiting"].as_object().expect("waiting").len();
    (page["messages"].as_array().expect("messages").clone(), waiting)
}

/// The rest of the mail goes on meanwhile, and nobody's own time for a retry matters when the server is back.
#[test]
fn one_message_tries_for_all_that_wait_for_a_dead_server() {
    const WAITING: usize = 30;
    let (dead, live) = (Sink::smtp(), Sink::smtp());
    let mut site = site_with_dead_server(&dead);
    site.set("delivery.smart-host", live.address().to_string());
    site.set("delivery.retry", toml_list(&["2s"]));
    let daemon = site.start();
    fill(&daemon, WAITING);
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
    dead.take_everything();
    for number in 0..WAITING {
        dead.expect(&format!("Subject: waits {number}\r"));
    }
    daemon.events().take(5068);
    posthouse_tests::eventually("an empty queue", || queue(&site).0.is_empty().then_some(()));
}

#[test]
fn who_waits_for_a_dead_server_goes_another_way_after_a_reload() {
    let (dead, other) = (Sink::smtp(), Sink::smtp());
    let mut site = site_with_dead_server(&dead);
    // Nobody has another time for a retry before this test ends.
    site.set("delivery.retry", toml_list(&["1h"]));
    let daemon = site.start();
    fill(&daemon, 10);
    let (messages, waiting) = queue(&site);
    assert!(waiting > 0);
    let configuration = std::fs::read_to_string(site.configuration_file()).expect("the configuration");
    let rerouted = configuration.replace(&dead.address().to_string(), &other.address().to_string());
    std::fs::write(site.configuration_file(), rerouted).expect("written");
    daemon.reload();
    posthouse_tests::eventually("who waited to be gone", || {
        (queue(&site).0.len() == messages.len() - waiting).then_some(())
    });
    assert_eq!(other.received().len(), waiting);
}

/// It refuses most of the connections it could have, and nobody has to wait for another attempt for that.
#[test]
fn a_server_that_gives_few_connections_gets_everything_over_those() {
    const MESSAGES: usize = 100;
    let sink = Sink::smtp();
    sink.at_most(3);
    // So that more of them are wanted.
    sink.hesitate(std::time::Duration::from_millis(50));
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
fn who_waits_for_a_dead_server_expires_on_time() {
    let dead = Sink::smtp();
    let mut site = site_with_dead_server(&dead);
    site.set("delivery.expire", "4s")
        .set("delivery.retry", toml_list(&["1s", "1h"]));
    let daemon = site.start();
    fill(&daemon, 5);
    for _ in 0..5 {
        daemon.events().take(5022);
    }
    posthouse_tests::eventually("five reports", || {
        (site.mailbox("anna").messages().len() == 5).then_some(())
    });
}

#[test]
fn who_waits_for_a_dead_server_can_be_seen_released_and_deleted_and_survives_a_crash() {
    let dead = Sink::smtp();
    let mut site = site_with_dead_server(&dead);
    site.set("delivery.retry", toml_list(&["1s"]));
    let daemon = site.start();
    fill(&daemon, 10);
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
    dead.take_everything();
    let daemon = site.start();
    posthouse_tests::eventually("an empty queue", || queue(&site).0.is_empty().then_some(()));
    assert_eq!(dead.received().len(), 9);
    drop(daemon);
}

#[test]
fn a_message_that_went_in_circles_is_stopped() {
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
fn no_report_is_made_about_a_report() {
    let sink = Sink::smtp();
    sink.answer("RCPT", "550 5.1.1 nobody");
    let site = site_with_smart_host(&sink);
    let daemon = site.start();
    let mut client = daemon.connect_from("127.0.0.3");
    client.ehlo();
    let reply = client.submit("", &["gone@example.org"], "Subject: a report from elsewhere\n\nx\n");
    assert_eq!(reply.code, 250);
    daemon.events().take(4031);
    // Dropped by the host, or by the policy: one of the two says so, and no NDR is sent to nobody.
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
fn the_operator_retries_and_deletes() {
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
    sink.take_everything();
    site.cli(&["queue", "release", &kept]).ok();
    sink.expect("to be retried");
    daemon.events().take_where(5007, |event| event.text("message") == kept);
    assert_eq!(sink.received().len(), 1);
}
