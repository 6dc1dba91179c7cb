//! Servers that are told who this host is.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::super::super::testing::roots;
use super::*;
use crate::client_tls::Tls;
use crate::remote_health::RemoteHealth;
use host_config::ServerLogin;

/// Sends to servers with a password in a file.
struct Known {
    sender: Sender,
    file: tempfile::NamedTempFile,
}

impl Known {
    fn by(password: &str, server: &FakeServer) -> Self {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let mut known = Self {
            sender: Sender::new("\r\nx\r\n"),
            file,
        };
        known.sender.station.tls = Tls::new(roots()).expect("TLS");
        known.log_in_at(server);
        known.password(password);
        known
    }

    fn log_in_at(&mut self, server: &FakeServer) {
        self.sender.delivery.logins.push(ServerLogin {
            server: server.endpoint.clone(),
            user: "host@example.org".to_owned(),
            password_file: self.file.path().to_owned(),
        });
    }

    fn password(&self, password: &str) {
        std::fs::write(self.file.path(), password).expect("written");
    }

    /// Whatever is known of the server.
    async fn send(&mut self, server: &FakeServer) -> String {
        self.sender.station.gate = RemoteHealth::new();
        self.sender.send(server, &["a@far.example"]).await.remove(0)
    }
}

/// What comes of a message with this password in the file, and what the server hears.
async fn send(password: &str, script: Vec<Act>) -> (String, String) {
    let server = FakeServer::tcp(vec![script]).await;
    let outcome = Known::by(password, &server).send(&server).await;
    (outcome, server.heard().await)
}

/// Offers these mechanisms within TLS.
fn within_tls(mechanisms: &str) -> Vec<Act> {
    let offer = format!("AUTH {mechanisms}");
    [offers_tls(), vec![Act::Tls], greets(&[&offer])[1..].to_vec()].concat()
}

fn then(script: Vec<Act>, next: Vec<Act>) -> Vec<Act> {
    [script, next].concat()
}

#[tokio::test]
async fn it_is_said_within_tls_and_then_mail_goes() {
    let login = vec![
        Act::Hear("AUTH PLAIN AGhvc3RAZXhhbXBsZS5vcmcAc2VjcmV0\r\n"),
        say("235 2.7.0 welcome"),
    ];
    let script = then(within_tls("X-ODD PLAIN LOGIN"), then(login, takes()));
    let (outcome, _) = send("secret\n", script).await;
    assert_eq!(outcome, "delivered 250 2.0.0 queued");
}

#[tokio::test]
async fn login_does_where_nothing_else_is_offered() {
    let login = vec![
        Act::Hear("AUTH LOGIN\r\n"),
        say("334 VXNlcm5hbWU6"),
        Act::Hear("aG9zdEBleGFtcGxlLm9yZw==\r\n"),
        say("334 UGFzc3dvcmQ6"),
        Act::Hear("c2VjcmV0\r\n"),
        say("235 2.7.0 welcome"),
    ];
    let (outcome, _) = send("secret", then(within_tls("LOGIN"), then(login, takes()))).await;
    assert_eq!(outcome, "delivered 250 2.0.0 queued");
}

#[tokio::test]
async fn what_is_too_long_for_a_command_line_is_waited_for() {
    let password = "p".repeat(400);
    let login = vec![
        Act::Hear("AUTH PLAIN\r\n"),
        say("334 "),
        Act::Hear("AGhvc3RAZXhhbXBsZS5vcmcA"),
        say("235 2.7.0 welcome"),
    ];
    let (outcome, heard) = send(&password, then(within_tls("PLAIN"), then(login, takes()))).await;
    assert_eq!(outcome, "delivered 250 2.0.0 queued");
    assert!(
        heard.contains(&STANDARD.encode(format!("\0host@example.org\0{password}"))),
        "{heard}"
    );
}

#[tokio::test]
async fn mail_waits_while_the_server_does_not_take_it() {
    let refuses = vec![Act::Hear("AUTH PLAIN "), say("535 5.7.8 wrong")];
    for (script, expected) in [
        (then(within_tls("PLAIN"), refuses), "535 5.7.8 wrong"),
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
async fn without_a_password_no_connection_is_made() {
    let server = FakeServer::tcp(vec![]).await;
    let outcome = Known::by("", &server).send(&server).await;
    assert!(
        outcome.starts_with("deferred 454 4.7.0") && outcome.ends_with("is empty"),
        "{outcome}"
    );
}

#[tokio::test]
async fn a_password_that_was_refused_is_not_said_again() {
    let refuses = then(within_tls("PLAIN"), vec![Act::Hear("AUTH"), say("535 5.7.8 wrong")]);
    let passing = then(within_tls("PLAIN"), vec![Act::Hear("AUTH"), say("454 4.7.0 busy")]);
    let takes_it = [
        within_tls("PLAIN"),
        vec![Act::Hear("AUTH"), say("235 2.7.0 ok")],
        takes(),
    ]
    .concat();
    let server = FakeServer::tcp(vec![refuses, passing, takes_it]).await;
    let mut known = Known::by("a guess", &server);
    for _ in 0..3 {
        let outcome = known.send(&server).await;
        assert_eq!(outcome, "deferred 454 4.7.0 logging in at 127.0.0.1: 535 5.7.8 wrong");
    }
    known.password("right");
    let busy = known.send(&server).await;
    assert_eq!(busy, "deferred 454 4.7.0 logging in at 127.0.0.1: 454 4.7.0 busy");
    assert_eq!(known.send(&server).await, "delivered 250 2.0.0 queued");
    assert_eq!(server.heard().await.matches("AUTH").count(), 3);
}

#[tokio::test]
async fn a_wrong_password_is_said_once_however_many_connections_are_made() {
    // Who is not asked hears the end.
    let refuses = || {
        then(
            within_tls("PLAIN"),
            vec![Act::Hear(""), Act::Flood("535 5.7.8 wrong\r\n")],
        )
    };
    let server = FakeServer::tcp_at_once(vec![refuses(), refuses()]).await;
    let known = Known::by("a guess", &server);
    let send = || known.sender.send(&server, &["a@far.example"]);
    let outcomes = tokio::join!(send(), send());
    for outcome in [outcomes.0, outcomes.1] {
        assert_eq!(outcome, ["deferred 454 4.7.0 logging in at 127.0.0.1: 535 5.7.8 wrong"]);
    }
    assert_eq!(server.heard().await.matches("AUTH PLAIN A").count(), 1);
}

#[tokio::test]
async fn what_the_server_repeats_is_told_to_nobody() {
    let (outcome, _) = send(
        "hunter2",
        then(
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
    let (outcome, _) = send("secret", then(within_tls("PLAIN"), echoes)).await;
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
async fn a_connection_serves_only_who_is_logged_in_as_it_is() {
    let plain = [greets(&[]), takes()].concat();
    let login = [
        within_tls("PLAIN"),
        vec![Act::Hear("AUTH"), say("235 2.7.0 ok")],
        takes(),
    ]
    .concat();
    let server = FakeServer::tcp(vec![plain.clone(), login, plain]).await;
    let mut known = Known::by("secret", &server);
    known.sender.delivery.logins.clear();
    assert_eq!(known.send(&server).await, "delivered 250 2.0.0 queued");
    known.log_in_at(&server);
    assert_eq!(known.send(&server).await, "delivered 250 2.0.0 queued");
    known.sender.delivery.logins.clear();
    assert_eq!(known.send(&server).await, "delivered 250 2.0.0 queued");
    drop(known);
    let heard = server.heard().await;
    assert_eq!(
        (heard.matches("MAIL").count(), heard.matches("AUTH").count()),
        (3, 1),
        "{heard}"
    );
}

#[tokio::test]
async fn nobody_else_is_told_the_password() {
    let server = FakeServer::tcp(vec![[offers_tls(), vec![Act::Tls]].concat()]).await;
    let mut known = Known::by("secret", &server);
    known.sender.station.tls = Tls::new(rustls::RootCertStore::empty()).expect("TLS");
    let (outcome, heard) = (known.send(&server).await, server.heard().await);
    assert!(outcome.starts_with("deferred 454 4.7.5"), "{outcome}");
    assert!(heard.ends_with("[no TLS]"), "{heard}");

    let clear = then(greets(&["AUTH PLAIN"]), vec![Act::Silence]);
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
