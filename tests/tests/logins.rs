//! Failed logins: replies, events, limits by client and account, and listeners without AUTH.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use posthouse_tests::{Client, Daemon, PASSWORD, Site};

/// A site whose failed logins are not delayed and are refused after a few.
fn site() -> Site {
    let mut site = Site::new();
    site.set("login-limits.failures-per-client", 4)
        .set("login-limits.failures-per-account", 6)
        .set("login-limits.delay", "1ms");
    site
}

fn under_tls(daemon: &Daemon, source: &str) -> Client {
    let mut client = daemon.connect_from(source);
    client.ehlo();
    client.starttls();
    client
}

/// Tries a login on a connection of its own.
fn try_login(daemon: &Daemon, source: &str, user: &str, password: &str, code: u16) {
    under_tls(daemon, source).auth_plain(user, password, code);
}

#[test]
fn refuses_logins_of_a_client_after_its_failures_and_over_reconnects() {
    let site = site();
    let daemon = site.start();
    try_login(&daemon, "127.0.0.7", "anna", PASSWORD, 235);
    for user in ["anna", "bert", "admin", "nobody"] {
        try_login(&daemon, "127.0.0.7", user, "wrong", 535);
    }
    let refused = daemon.events().take(5095);
    assert_eq!(
        (refused.text("client"), refused.text("failures")),
        ("127.0.0.7".to_owned(), "4".to_owned())
    );
    try_login(&daemon, "127.0.0.7", "bert", PASSWORD, 454);
    let refused = daemon
        .events()
        .take_where(4183, |event| event.text("reason").contains("refused"));
    assert_eq!(refused.text("account"), "bert");
    // The owner of an account keeps access from where a login has succeeded, and so does everyone elsewhere.
    try_login(&daemon, "127.0.0.7", "anna", PASSWORD, 235);
    try_login(&daemon, "127.0.0.8", "bert", PASSWORD, 235);
    assert_eq!(daemon.events().all(5095).len(), 1);
}

#[test]
fn refuses_logins_at_an_account_but_not_from_addresses_that_succeed() {
    let site = site();
    let daemon = site.start();
    try_login(&daemon, "127.0.0.7", "anna", PASSWORD, 235);
    for (number, user) in ["anna", "ANNA", "anna@posthouse.test"]
        .iter()
        .cycle()
        .take(6)
        .enumerate()
    {
        try_login(&daemon, &format!("127.0.1.{number}"), user, "wrong", 535);
    }
    assert_eq!(daemon.events().take(5095).text("account"), "anna");
    try_login(&daemon, "127.0.2.1", "anna", PASSWORD, 454);
    try_login(&daemon, "127.0.2.1", "anna@posthouse.test", PASSWORD, 454);
    try_login(&daemon, "127.0.2.1", "bert", PASSWORD, 235);
    try_login(&daemon, "127.0.0.7", "anna", PASSWORD, 235);
}

#[test]
fn client_that_must_log_in_and_is_refused_is_not_greeted() {
    let mut site = site();
    site.set("listener.require-authentication", true);
    let daemon = site.start();
    for user in ["a", "b", "c", "d"] {
        try_login(&daemon, "127.0.0.7", user, "wrong", 535);
    }
    daemon.events().take(5095);
    let mut refused = Client::connect(daemon.address("smtp"), Some("127.0.0.7"));
    let reply = refused.expect_reply(421);
    assert!(reply.line().starts_with("421 4.7.0 "), "{}", reply.line());
    refused.expect_close();
    daemon.connect_from("127.0.0.8");
    // A host that need not log in is greeted though it has guessed.
    for user in ["a", "b", "c", "d"] {
        try_login(&daemon, "127.0.0.2", user, "wrong", 535);
    }
    try_login(&daemon, "127.0.0.2", "e", "wrong", 454);
}

#[test]
fn malformed_attempts_count_against_the_client() {
    let site = site();
    let daemon = site.start();
    try_login(&daemon, "127.0.0.7", "anna", PASSWORD, 235);
    let mut client = under_tls(&daemon, "127.0.0.7");
    for attempt in ["AUTH PLAIN ***", "AUTH PLAIN YW5uYQ==", "AUTH LOGIN !", "AUTH PLAIN *="] {
        client.command(attempt, 501);
    }
    assert_eq!(daemon.events().take(5095).text("client"), "127.0.0.7");
    try_login(&daemon, "127.0.0.7", "bert", PASSWORD, 454);
    // A client that gives up has not guessed.
    for _ in 0..5 {
        let mut client = under_tls(&daemon, "127.0.0.8");
        client.command("AUTH PLAIN", 334);
        client.command("*", 501);
    }
    try_login(&daemon, "127.0.0.8", "anna", PASSWORD, 235);
}

#[test]
fn restart_keeps_refusals_and_known_addresses() {
    let site = site();
    let daemon = site.start();
    try_login(&daemon, "127.0.0.7", "anna", PASSWORD, 235);
    for number in 0..6 {
        try_login(&daemon, &format!("127.0.1.{number}"), "anna", "wrong", 535);
    }
    assert_eq!(daemon.events().take(5095).text("account"), "anna");
    assert!(daemon.stop().0.success());
    let stored = std::fs::read_to_string(site.path().join("data/logins.json")).expect("the counts");
    assert!(!stored.contains("anna"), "names are hashed: {stored}");

    let daemon = site.start();
    try_login(&daemon, "127.0.2.1", "anna", PASSWORD, 454);
    try_login(&daemon, "127.0.0.7", "anna", PASSWORD, 235);
    assert!(daemon.stop().0.success());

    site.file("data/logins.json", "{\"key\": ");
    let daemon = site.start();
    assert!(daemon.events().take(5072).text("file").ends_with("logins.json"));
    try_login(&daemon, "127.0.2.1", "anna", PASSWORD, 235);
}

#[test]
fn every_failed_attempt_has_its_reply_and_an_event() {
    let mut site = site();
    site.set("login-limits.failures-per-client", 0);
    let daemon = site.start();
    let plain = |octets: &[u8]| format!("AUTH PLAIN {}\r\n", STANDARD.encode(octets)).into_bytes();
    let attempts: [(Vec<u8>, u16, &str); 6] = [
        (plain(b"\0anna\0gr\xfc\xdfe"), 535, "the credentials are not UTF-8"),
        (plain(b"bert\0anna\0correct horse"), 535, "on behalf of another"),
        (plain(b"\0anna\0wrong"), 535, "credentials"),
        (plain(b"anna"), 501, "the response is malformed"),
        (b"AUTH PLAIN ***\r\n".to_vec(), 501, "the response is not base64"),
        (
            b"AUTH LOGIN gr\xfc\xdfe\r\n".to_vec(),
            501,
            "the response is not base64",
        ),
    ];
    for (line, code, reason) in attempts {
        let mut client = under_tls(&daemon, "127.0.0.7");
        client.send(&line);
        client.expect_reply(code);
        assert_eq!(daemon.events().take(4183).text("reason"), reason);
    }
}

#[test]
fn offers_no_auth_on_a_listener_without_it() {
    let mut site = site();
    site.set("listener.auth", false);
    let daemon = site.start();
    let mut client = daemon.connect();
    let response = STANDARD.encode(format!("\0anna\0{PASSWORD}"));
    client.ehlo();
    client.command(&format!("AUTH PLAIN {response}"), 502);
    let offer = client.starttls();
    assert!(!offer.lines.iter().any(|line| line.contains("AUTH")), "{offer:?}");
    client.command(&format!("AUTH PLAIN {response}"), 502);
    client.command("AUTH LOGIN", 502);
}

#[test]
fn many_guessers_leave_room_for_others_and_their_work_ends_with_them() {
    let mut site = site();
    // A hash that takes long to check.
    site.cli_with_input(&["account", "passwd", "bert", "--password-stdin"], "tea at five\n")
        .ok();
    site.set("login-limits.failures-per-client", 0)
        .set("login-limits.failures-per-account", 0);
    let daemon = site.start();
    let mut guessers: Vec<Client> = (0..60).map(|_| under_tls(&daemon, "127.0.0.7")).collect();
    let guess = format!("AUTH PLAIN {}\r\n", STANDARD.encode("\0bert\0wrong"));
    for guesser in &mut guessers {
        guesser.send(guess.as_bytes());
    }
    // At most sixteen of one address wait, besides those at work: the others are told to come again.
    let busy = daemon
        .events()
        .take_where(4183, |event| event.text("reason").contains("too many passwords"));
    assert_eq!(busy.text("client"), "127.0.0.7");
    try_login(&daemon, "127.0.0.8", "bert", "tea at five", 235);
    drop(guessers);
    try_login(&daemon, "127.0.0.9", "bert", "tea at five", 235);
}
