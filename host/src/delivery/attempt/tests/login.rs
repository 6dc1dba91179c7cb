//! Servers that are told who this host is.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::super::super::testing::roots;
use super::super::super::tls::Tls;
use super::*;
use crate::config::Login;

/// What is sent to the server with this password in the file, and what comes of the message.
async fn send(password: &str, script: Vec<Act>, trusted: bool) -> (String, String) {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(&file, password).expect("written");
    let server = FakeServer::tcp(vec![script]).await;
    let mut sender = Sender::new("\r\nx\r\n");
    if trusted {
        sender.station.tls = Tls::new(roots()).expect("TLS");
    }
    sender.delivery.logins.push(Login {
        server: server.endpoint.clone(),
        user: "host@example.org".to_owned(),
        password_file: file.path().to_owned(),
    });
    let outcome = sender.send(&server, &["a@far.example"]).await.remove(0);
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
    let (outcome, _) = send("secret\n", script, true).await;
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
    let (outcome, _) = send("secret", then(within_tls("LOGIN"), then(login, takes())), true).await;
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
    let (outcome, heard) = send(&password, then(within_tls("PLAIN"), then(login, takes())), true).await;
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
        let (outcome, _) = send("secret", script, true).await;
        assert_eq!(
            outcome,
            format!("deferred 454 4.7.0 logging in at 127.0.0.1: {expected}")
        );
    }
    let (outcome, _) = send("", within_tls("PLAIN"), true).await;
    assert!(
        outcome.starts_with("deferred 454 4.7.0") && outcome.ends_with("is empty"),
        "{outcome}"
    );
}

#[tokio::test]
async fn nobody_else_is_told_the_password() {
    let (outcome, heard) = send("secret", [offers_tls(), vec![Act::Tls]].concat(), false).await;
    assert!(outcome.starts_with("deferred 454 4.7.5"), "{outcome}");
    assert!(heard.ends_with("[no TLS]"), "{heard}");

    let clear = then(greets(&["AUTH PLAIN"]), vec![Act::Silence]);
    let (outcome, heard) = send("secret", clear, true).await;
    assert_eq!(outcome, "deferred 454 4.7.0 logging in at 127.0.0.1: no TLS is offered");
    assert!(!heard.contains("AUTH"), "{heard}");

    let refused = [
        greets(&["STARTTLS"]),
        vec![Act::Hear("STARTTLS"), say("454 4.7.0 not now"), Act::Silence],
    ]
    .concat();
    let (outcome, heard) = send("secret", refused, true).await;
    assert!(outcome.starts_with("deferred 454 4.7.5"), "{outcome}");
    assert!(!heard.contains("AUTH"), "{heard}");
}
