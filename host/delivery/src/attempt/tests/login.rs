//! Tests of SMTP AUTH as a client.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::super::super::testing::roots;
use super::*;
use crate::client_tls::Tls;
use crate::remote_health::RemoteHealth;
use host_config::ServerLogin;

/// A sender with a login and a password file.
struct LoginFixture {
    sender: Sender,
    file: tempfile::NamedTempFile,
}

impl LoginFixture {
    fn with_password(password: &str, server: &FakeServer) -> Self {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let mut fixture = Self {
            sender: Sender::new("\r\nx\r\n"),
            file,
        };
        fixture.sender.services.tls = Tls::new(roots()).expect("TLS");
        fixture.log_in_at(server);
        fixture.password(password);
        fixture
    }

    fn log_in_at(&mut self, server: &FakeServer) {
        self.sender.delivery.logins.push(ServerLogin {
            server: host_config::NextHop::Server(server.endpoint.clone()),
            user: "host@example.org".to_owned(),
            password_file: self.file.path().to_owned(),
        });
    }

    fn password(&self, password: &str) {
        std::fs::write(self.file.path(), password).expect("written");
    }

    /// Sends with a fresh circuit breaker.
    async fn send(&mut self, server: &FakeServer) -> String {
        self.sender.services.remote_health = RemoteHealth::new();
        self.sender.send(server, &["a@far.example"]).await.remove(0)
    }
}

/// Sends a message with `password` in the file. Returns the outcome and the octets that the server received.
async fn send(password: &str, script: Vec<Act>) -> (String, String) {
    let server = FakeServer::tcp(vec![script]).await;
    let outcome = LoginFixture::with_password(password, &server).send(&server).await;
    (outcome, server.heard().await)
}

/// Offers `mechanisms` within TLS.
fn within_tls(mechanisms: &str) -> Vec<Act> {
    let offer = format!("AUTH {mechanisms}");
    [offers_tls(), vec![Act::Tls], greets(&[&offer])[1..].to_vec()].concat()
}

fn chain(script: Vec<Act>, next: Vec<Act>) -> Vec<Act> {
    [script, next].concat()
}

#[tokio::test]
async fn logs_in_within_tls_before_mail() {
    let login = vec![
        Act::Hear("AUTH PLAIN AGhvc3RAZXhhbXBsZS5vcmcAc2VjcmV0\r\n"),
        say("235 2.7.0 welcome"),
    ];
    let script = chain(within_tls("X-ODD PLAIN LOGIN"), chain(login, takes()));
    let (outcome, _) = send("secret\n", script).await;
    assert_eq!(outcome, "delivered 250 2.0.0 queued");
}

#[tokio::test]
async fn uses_login_if_plain_is_not_offered() {
    let login = vec![
        Act::Hear("AUTH LOGIN\r\n"),
        say("334 VXNlcm5hbWU6"),
        Act::Hear("aG9zdEBleGFtcGxlLm9yZw==\r\n"),
        say("334 UGFzc3dvcmQ6"),
        Act::Hear("c2VjcmV0\r\n"),
        say("235 2.7.0 welcome"),
    ];
    let (outcome, _) = send("secret", chain(within_tls("LOGIN"), chain(login, takes()))).await;
    assert_eq!(outcome, "delivered 250 2.0.0 queued");
}

#[tokio::test]
async fn long_response_is_sent_after_334() {
    let password = "p".repeat(400);
    let login = vec![
        Act::Hear("AUTH PLAIN\r\n"),
        say("334 "),
        Act::Hear("AGhvc3RAZXhhbXBsZS5vcmcA"),
        say("235 2.7.0 welcome"),
    ];
    let (outcome, heard) = send(&password, chain(within_tls("PLAIN"), chain(login, takes()))).await;
    assert_eq!(outcome, "delivered 250 2.0.0 queued");
    assert!(
        heard.contains(&STANDARD.encode(format!("\0host@example.org\0{password}"))),
        "{heard}"
    );
}

#[tokio::test]
async fn failed_login_defers() {
    let refuses = vec![Act::Hear("AUTH PLAIN "), say("535 5.7.8 wrong")];
    for (script, expected) in [
        (chain(within_tls("PLAIN"), refuses), "535 5.7.8 wrong"),
        (
            within_tls("GSSAPI"),
            "neither AUTH PLAIN nor AUTH LOGIN is offered within TLS",
        ),
    ] {
        let (outcome, _) = send("secret", script).await;
        assert_eq!(
            outcome,
            format!("deferred 454 4.7.0 logging in at 127.0.0.1: {expected}")
        );
    }
}

#[tokio::test]
async fn empty_password_makes_no_connection() {
    let server = FakeServer::tcp(vec![]).await;
    let outcome = LoginFixture::with_password("", &server).send(&server).await;
    assert!(
        outcome.starts_with("deferred 454 4.7.0") && outcome.ends_with("is empty"),
        "{outcome}"
    );
}

#[tokio::test]
async fn refused_password_is_not_sent_again() {
    let refuses = chain(within_tls("PLAIN"), vec![Act::Hear("AUTH"), say("535 5.7.8 wrong")]);
    let passing = chain(within_tls("PLAIN"), vec![Act::Hear("AUTH"), say("454 4.7.0 busy")]);
    let takes_it = [
        within_tls("PLAIN"),
        vec![Act::Hear("AUTH"), say("235 2.7.0 ok")],
        takes(),
    ]
    .concat();
    let server = FakeServer::tcp(vec![refuses, passing, takes_it]).await;
    let mut fixture = LoginFixture::with_password("a guess", &server);
    for _ in 0..3 {
        let outcome = fixture.send(&server).await;
        assert_eq!(outcome, "deferred 454 4.7.0 logging in at 127.0.0.1: 535 5.7.8 wrong");
    }
    fixture.password("right");
    let busy = fixture.send(&server).await;
    assert_eq!(busy, "deferred 454 4.7.0 logging in at 127.0.0.1: 454 4.7.0 busy");
    assert_eq!(fixture.send(&server).await, "delivered 250 2.0.0 queued");
    assert_eq!(server.heard().await.matches("AUTH").count(), 3);
}

#[tokio::test]
async fn wrong_password_is_sent_once_over_concurrent_connections() {
    // The script ends without a command if the second connection does not log in.
    let refuses = || {
        chain(
            within_tls("PLAIN"),
            vec![Act::Hear(""), Act::Flood("535 5.7.8 wrong\r\n")],
        )
    };
    let server = FakeServer::tcp_at_once(vec![refuses(), refuses()]).await;
    let fixture = LoginFixture::with_password("a guess", &server);
    let send = || fixture.sender.send(&server, &["a@far.example"]);
    let outcomes = tokio::join!(send(), send());
    for outcome in [outcomes.0, outcomes.1] {
        assert_eq!(outcome, ["deferred 454 4.7.0 logging in at 127.0.0.1: 535 5.7.8 wrong"]);
    }
    assert_eq!(server.heard().await.matches("AUTH PLAIN A").count(), 1);
}

#[tokio::test]
async fn redacts_replies_that_repeat_the_password() {
    let (outcome, _) = send(
        "hunter2",
        chain(
            within_tls("PLAIN"),
            vec![Act::Hear("AUTH"), say("535 5.7.8 not HUNTER2")],
        ),
    )
    .await;
    assert!(
        outcome.ends_with("535 5.7.8 (the reply repeats what was sent)"),
        "{outcome}"
    );
    let echoes = vec![Act::Hear("AUTH"), say("AUTH PLAIN AGhvc3RAZXhhbXBsZS5vcmcAc2VjcmV0")];
    let (outcome, _) = send("secret", chain(within_tls("PLAIN"), echoes)).await;
    assert!(outcome.ends_with("what came is no reply"), "{outcome}");
    for (mechanisms, hears, repeats) in [
        (
            "PLAIN",
            vec!["AUTH PLAIN"],
            "500 5.5.1 unknown: AUTH PLAIN AGhvc3RAZXhhbXBs…",
        ),
        (
            "LOGIN",
            vec!["AUTH LOGIN", "aG9zd", "c2VjcmV0"],
            "500 5.5.1 unknown: c2VjcmV0LXNlY3JldA==",
        ),
    ] {
        let mut script = within_tls(mechanisms);
        for line in &hears {
            script.push(Act::Hear(line));
            script.push(say("334 "));
        }
        script.pop();
        script.push(say(repeats));
        let (outcome, _) = send("secret-secret", script).await;
        assert_eq!(
            outcome,
            "deferred 454 4.7.0 logging in at 127.0.0.1: 500 5.5.1 (the reply repeats what was sent)"
        );
    }
}

#[tokio::test]
async fn connection_is_reused_only_with_the_same_login() {
    let plain = [greets(&[]), takes()].concat();
    let login = [
        within_tls("PLAIN"),
        vec![Act::Hear("AUTH"), say("235 2.7.0 ok")],
        takes(),
    ]
    .concat();
    let server = FakeServer::tcp(vec![plain.clone(), login, plain]).await;
    let mut fixture = LoginFixture::with_password("secret", &server);
    fixture.sender.delivery.logins.clear();
    assert_eq!(fixture.send(&server).await, "delivered 250 2.0.0 queued");
    fixture.log_in_at(&server);
    assert_eq!(fixture.send(&server).await, "delivered 250 2.0.0 queued");
    fixture.sender.delivery.logins.clear();
    assert_eq!(fixture.send(&server).await, "delivered 250 2.0.0 queued");
    drop(fixture);
    let heard = server.heard().await;
    assert_eq!(
        (heard.matches("MAIL").count(), heard.matches("AUTH").count()),
        (3, 1),
        "{heard}"
    );
}

#[tokio::test]
async fn password_is_sent_only_to_a_verified_server() {
    let server = FakeServer::tcp(vec![[offers_tls(), vec![Act::Tls]].concat()]).await;
    let mut fixture = LoginFixture::with_password("secret", &server);
    fixture.sender.services.tls = Tls::new(Vec::new()).expect("TLS");
    let (outcome, heard) = (fixture.send(&server).await, server.heard().await);
    assert!(outcome.starts_with("deferred 454 4.7.5"), "{outcome}");
    assert!(heard.ends_with("[no TLS]"), "{heard}");

    let clear = chain(greets(&["AUTH PLAIN"]), vec![Act::Silence]);
    let (outcome, heard) = send("secret", clear).await;
    assert_eq!(outcome, "deferred 454 4.7.0 logging in at 127.0.0.1: no TLS is offered");
    assert!(!heard.contains("AUTH"), "{heard}");

    let refused = [
        greets(&["STARTTLS"]),
        vec![Act::Hear("STARTTLS"), say("454 4.7.0 not now"), Act::Silence],
    ]
    .concat();
    let (outcome, heard) = send("secret", refused).await;
    assert!(outcome.starts_with("deferred 454 4.7.5"), "{outcome}");
    assert!(!heard.contains("AUTH"), "{heard}");
}
