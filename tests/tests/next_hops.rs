//! Next hops: implicit TLS, trusted certificates, several in order or by weight, routes by sender, account and
//! listener, settings and logins by route, throttled destinations, and mail that a route holds.

use std::path::Path;
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use posthouse_tests::{Daemon, PASSWORD, Sink, Site, eventually, tool};

/// Address without a listener.
const NOTHING: &str = "127.25.0.99:2525";

/// Creates a site with these tables at the end of its configuration.
fn site(tables: &str) -> Site {
    let mut site = Site::new();
    site.set("delivery.retry", vec!["1h".to_owned()]).add(tables);
    site
}

/// Submits a message as an account, on a listener with STARTTLS.
fn submit_as(daemon: &Daemon, account: &str, sender: &str, recipient: &str, subject: &str) -> String {
    let mut client = daemon.connect();
    client.login(account, PASSWORD);
    let reply = client.submit(
        sender,
        &[recipient],
        &format!("From: <{sender}>\nSubject: {subject}\n\nx\n"),
    );
    assert_eq!(reply.code, 250, "{}", client.transcript());
    reply.line().rsplit(' ').next().unwrap_or_default().to_owned()
}

/// SHA-256 digest of the certificate's public key in base64, as openssl computes it.
fn key_digest(openssl: &Path, certificate: &Path) -> String {
    let step = |arguments: &[&str], input: Stdio| {
        let child = Command::new(openssl)
            .args(arguments)
            .stdin(input)
            .stdout(Stdio::piped())
            .spawn();
        child.expect("openssl runs")
    };
    let file = certificate.to_str().expect("UTF-8");
    let mut key = step(&["x509", "-in", file, "-noout", "-pubkey"], Stdio::null());
    let mut octets = step(
        &["pkey", "-pubin", "-outform", "der"],
        key.stdout.take().expect("a pipe").into(),
    );
    let digest = step(
        &["dgst", "-sha256", "-binary"],
        octets.stdout.take().expect("a pipe").into(),
    );
    let digest = digest.wait_with_output().expect("a digest").stdout;
    assert!(key.wait().is_ok() && octets.wait().is_ok() && digest.len() == 32);
    STANDARD.encode(digest)
}

#[test]
fn implicit_tls_with_an_own_authority_or_a_pinned_key() {
    let Some(openssl) = tool("openssl") else {
        return;
    };
    let relay = Site::relay();
    let relaying = relay.start();
    let certificate = relay.path().join("data/tls/self-signed.pem");
    let pin = key_digest(&openssl, &certificate);
    let wrong = STANDARD.encode([7; 32]);
    let port = relaying.address("smtps").port();
    for (host, trust, accepted) in [
        (
            "localhost",
            format!("ca-file = {:?}", certificate.display().to_string()),
            true,
        ),
        (
            "127.0.0.1",
            format!("pinned-keys = [\"{wrong}\", \"sha256//{pin}\"]"),
            true,
        ),
        ("127.0.0.1", format!("pinned-keys = [\"{wrong}\"]"), false),
        ("localhost", String::new(), false),
    ] {
        let server = format!("{host}:{port}");
        let site = site(&format!(
            "[delivery]\nsmart-host = \"{server}\"\n[[delivery.next-hop]]\nserver = \"{server}\"\n\
             implicit-tls = true\ntls = \"verify\"\n{trust}\n"
        ));
        let daemon = site.start();
        daemon.submit(&["a@example.org"], "within TLS from the start");
        if accepted {
            let delivered = daemon.events().take(5007);
            assert_eq!(delivered.text("tls-version"), "TLSv1.3", "{trust} {delivered:?}");
            assert_eq!(delivered.fields["tls-verified"], true, "{trust} {delivered:?}");
        } else {
            let attempt = daemon.events().take(2000);
            let reply = attempt.text("reply");
            assert!(
                reply.starts_with("454 4.7.5 TLS with a valid certificate is required"),
                "{trust} {reply}"
            );
        }
    }
}

#[test]
fn port_with_starttls_has_no_implicit_tls() {
    let sink = Sink::smtp();
    sink.answer("CONNECT", "220 plain text");
    let server = sink.address();
    let site = site(&format!(
        "[delivery]\nsmart-host = \"{server}\"\n[[delivery.next-hop]]\nserver = \"{server}\"\nimplicit-tls = true\n"
    ));
    let daemon = site.start();
    daemon.submit(&["a@example.org"], "never in the clear");
    let reply = daemon.events().take(2000).text("reply");
    assert!(reply.starts_with("454 4.7.5 TLS failed"), "{reply}");
    assert!(sink.received().is_empty());
}

#[test]
fn next_hop_that_is_reached_takes_the_mail_of_those_before() {
    let (second, third) = (Sink::smtp(), Sink::smtp());
    second.answer_times(1, "CONNECT", "421 4.3.2 not now");
    let site = site(&format!(
        "[delivery]\nsmart-host = [\"{NOTHING}\", \"{}\", \"{}\"]\n",
        second.address(),
        third.address()
    ));
    let daemon = site.start();
    daemon.submit(&["a@example.org"], "to the third");
    third.expect("to the third");
    let delivered = daemon.events().take(5007);
    assert_eq!(delivered.text("destination"), format!("smtp:{}", third.address()));
    for down in [NOTHING.to_owned(), second.address().to_string()] {
        let down = format!("smtp:{down}");
        daemon
            .events()
            .take_where(5067, |event| event.text("destination") == down);
    }
    // A reply about the message is the answer of all.
    third.answer("RCPT", "550 5.1.1 who?");
    daemon.submit(&["b@example.org"], "refused");
    assert!(daemon.events().take(4031).text("reply").starts_with("550 5.1.1"));
}

#[test]
fn mail_waits_while_no_next_hop_is_reached() {
    let site = site(&format!(
        "[delivery]\nsmart-host = [\"{NOTHING}\", \"127.25.0.98:2525\"]\n"
    ));
    let daemon = site.start();
    let first = daemon.submit(&["a@example.org"], "attempted");
    let of = |id: String| move |event: &posthouse_tests::Event| event.text("message") == id;
    let attempt = daemon.events().take_where(2000, of(first));
    assert!(
        attempt.text("reply").contains("connecting to 127.25.0.98"),
        "{attempt:?}"
    );
    let second = daemon.submit(&["a@example.org"], "not attempted");
    let waits = daemon.events().take_where(2000, of(second.clone()));
    assert!(waits.fields["next-attempt"].is_null(), "{waits:?}");
    let shown = site.cli(&["queue", "show", &second]).ok();
    for server in [NOTHING, "127.25.0.98:2525"] {
        assert!(shown.contains(server), "{shown}");
    }
}

#[test]
fn weights_divide_mail_among_next_hops() {
    let (left, right) = (Sink::smtp(), Sink::smtp());
    let site = site(&format!(
        "[delivery]\nsmart-host = [\"{left}\", \"{right}\"]\n[[delivery.next-hop]]\nserver = \"{left}\"\nweight = 1\n",
        left = left.address(),
        right = right.address()
    ));
    let daemon = site.start();
    // Either of two equal weights gets none of 60 messages once in 2^59 runs.
    for number in 0..60 {
        daemon.submit(&["a@example.org"], &format!("number {number}"));
    }
    let (left, right) = eventually("all messages", || {
        let counts = (left.received().len(), right.received().len());
        (counts.0 + counts.1 == 60).then_some(counts)
    });
    assert!(left > 0 && right > 0, "{left} and {right}");
}

#[test]
fn routes_by_sender_account_and_listener() {
    let sinks: Vec<Sink> = (0..5).map(|_| Sink::smtp()).collect();
    let at = |index: usize| sinks[index].address();
    let mut site = site(&format!(
        "[delivery]\nsmart-host = \"{}\"\n\
         [[delivery.route]]\nsender-domain = \"posthouse.test\"\nto = \"{}\"\n\
         [[delivery.route]]\naccount = \"Bert\"\nto = \"{}\"\n\
         [[delivery.route]]\nlistener = \"inside\"\nto = \"{}\"\n\
         [[delivery.route]]\ndomain = \"far.example\"\nto = \"{}\"\n",
        at(0),
        at(1),
        at(2),
        at(3),
        at(4),
    ));
    site.add("[[listener]]\nname = \"inside\"\naddress = \"127.0.0.1:0\"\n");
    let daemon = site.start();
    let exempt = |listener: &str, sender: &str, recipient: &str, subject: &str| {
        let mut client = posthouse_tests::Client::connect(daemon.address(listener), Some("127.0.0.3"));
        client.expect_reply(220);
        client.ehlo();
        let reply = client.submit(
            sender,
            &[recipient],
            &format!("From: <{sender}>\nSubject: {subject}\n\nx\n"),
        );
        assert_eq!(reply.code, 250, "{}", client.transcript());
    };
    exempt("smtp", "x@other.example", "a@example.org", "smart host");
    sinks[0].expect("smart host");
    submit_as(&daemon, "anna", "anna@posthouse.test", "a@example.org", "by sender");
    sinks[1].expect("by sender");
    exempt("inside", "x@other.example", "a@example.org", "by listener");
    sinks[3].expect("by listener");
    // The recipient's domain goes first, then the sender's.
    submit_as(&daemon, "bert", "bert@posthouse.test", "a@far.example", "by domain");
    sinks[4].expect("by domain");
    submit_as(
        &daemon,
        "bert",
        "bert@posthouse.test",
        "a@example.org",
        "by sender, too",
    );
    sinks[1].expect("by sender, too");
    assert_eq!(sinks[2].received().len(), 0);
    // Without the route of the sender's domain that of the account applies.
    let file = std::fs::read_to_string(site.configuration_file()).expect("a configuration");
    let changed = file.replace("sender-domain = \"posthouse.test\"", "sender-domain = \"gone.example\"");
    std::fs::write(site.configuration_file(), changed).expect("written");
    daemon.reload();
    daemon.events().take(5011);
    submit_as(&daemon, "bert", "bert@posthouse.test", "a@example.org", "by account");
    sinks[2].expect("by account");
}

#[test]
fn named_next_hops_to_one_server_have_logins_and_addresses_of_their_own() {
    // A relay that takes mail of its accounts only, each in its own name.
    let sink = Sink::smtp();
    let mut relay = Site::new();
    relay.set("delivery.smart-host", sink.address().to_string());
    let relaying = relay.start();
    let certificate = relay.path().join("data/tls/self-signed.pem");
    let server = format!("localhost:{}", relaying.address("smtps").port());
    let mut site = Site::new();
    let password = site.file("password", PASSWORD);
    std::fs::set_permissions(&password, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("a mode");
    let mut tables = String::new();
    for (name, domain, source) in [
        ("anna", "one.example", "127.0.0.41"),
        ("bert", "two.example", "127.0.0.42"),
    ] {
        tables += &format!(
            "[[delivery.route]]\ndomain = \"{domain}\"\nto = \"as-{name}\"\n\
             [[delivery.next-hop]]\nname = \"as-{name}\"\nserver = \"{server}\"\nimplicit-tls = true\n\
             ca-file = {certificate:?}\nsource-addresses = [\"{source}\"]\nhello = \"{name}.out.example\"\n\
             [[delivery.login]]\nserver = \"as-{name}\"\nuser = \"{name}\"\npassword-file = \"password\"\n",
        );
    }
    site.add(&tables);
    let daemon = site.start();
    for (name, recipient, source) in [
        ("anna", "a@one.example", "127.0.0.41"),
        ("bert", "a@two.example", "127.0.0.42"),
    ] {
        submit_as(&daemon, name, &format!("{name}@posthouse.test"), recipient, recipient);
        let accepted = relaying
            .events()
            .take_where(5006, |event| event.text("recipients").contains(recipient));
        assert_eq!(
            (accepted.text("account"), accepted.text("client")),
            (name.to_owned(), source.to_owned()),
            "{accepted:?}"
        );
        let delivered = daemon.events().take(5007);
        assert_eq!(delivered.text("destination"), format!("smtp:{server}/as-{name}"));
    }
}

#[test]
fn hello_and_rates_of_a_next_hop() {
    let sink = Sink::smtp();
    let server = sink.address();
    let site = site(&format!(
        "[delivery]\nsmart-host = \"{server}\"\n[[delivery.next-hop]]\nserver = \"{server}\"\n\
         hello = \"out.example\"\nconnections = 1\nmessages-per-minute = 1000000\nrecipients-per-minute = 1000000\n"
    ));
    let daemon = site.start();
    for number in 0..5 {
        daemon.submit(&["a@example.org"], &format!("number {number}"));
    }
    for number in 0..5 {
        sink.expect(&format!("number {number}"));
    }
    assert!(
        sink.commands().contains(&"EHLO out.example".to_owned()),
        "{:?}",
        sink.commands()
    );
}

#[test]
fn destination_that_puts_this_host_off_is_slowed_down() {
    let sink = Sink::smtp();
    sink.answer("MAIL", "451 4.7.1 too fast");
    let mut site = site("");
    site.set("delivery.smart-host", sink.address().to_string());
    let daemon = site.start();
    daemon.submit(&["a@example.org"], "one too many");
    let throttled = daemon.events().take(5160);
    assert_eq!(throttled.text("destination"), format!("smtp:{}", sink.address()));
    assert_eq!(throttled.text("connections"), "1", "{throttled:?}");
    daemon.submit(&["a@example.org"], "another");
    daemon.events().take(2000);
    daemon.events().take(2000);
    assert!(daemon.events().all(5160).len() == 1, "once until it has recovered");
}

#[test]
fn held_mail_is_sent_by_a_release_or_without_the_hold() {
    let sink = Sink::smtp();
    let mut site = site("[[delivery.route]]\ndomain = \"held.example\"\nhold = true\n");
    site.set("delivery.smart-host", sink.address().to_string());
    let daemon = site.start();
    let first = daemon.submit(&["a@held.example"], "released");
    let second = daemon.submit(&["a@held.example"], "let go");
    for id in [&first, &second] {
        let held = daemon.events().take_where(2000, |event| event.text("message") == *id);
        assert_eq!(held.text("reply"), "451 4.7.0 Held by the route for held.example");
        assert_eq!(held.text("destination"), "hold:held.example");
    }
    daemon.submit(&["a@free.example"], "free");
    sink.expect("free");
    assert_eq!(sink.received().len(), 1);
    assert!(site.cli(&["queue", "show", &first]).ok().contains("hold:held.example"));
    site.cli(&["queue", "release", &first]).ok();
    sink.expect("released");
    let file = std::fs::read_to_string(site.configuration_file()).expect("a configuration");
    let changed = file.replace("domain = \"held.example\"", "domain = \"other.example\"");
    std::fs::write(site.configuration_file(), changed).expect("written");
    daemon.reload();
    sink.expect("let go");
}
