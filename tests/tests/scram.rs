//! SCRAM-SHA-256 and SCRAM-SHA-256-PLUS with clients of other projects, and when the host offers them.

use std::process::Command;

use posthouse_tests::{Daemon, Site, run, tool};

const WORD: &str = "gr\u{fc}\u{df}e um f\u{fc}nf";

/// A site all of whose accounts have a verifier of SCRAM.
fn site() -> Site {
    let mut site = Site::new();
    site.set("login-limits.delay", "1ms");
    for account in ["anna", "bert", "admin"] {
        site.cli_with_input(
            &["account", "passwd", account, "--password-stdin"],
            &format!("{WORD}\n"),
        )
        .ok();
    }
    site
}

/// Returns the line AUTH of EHLO under TLS.
fn offer(daemon: &Daemon) -> String {
    let mut client = daemon.connect();
    client.ehlo();
    let offer = client.starttls();
    let line = offer.lines.iter().find(|line| line.contains("AUTH"));
    line.cloned().unwrap_or_default()
}

#[test]
fn offers_scram_as_soon_as_every_account_has_a_verifier() {
    let site = Site::new();
    let daemon = site.start();
    assert!(offer(&daemon).ends_with("AUTH PLAIN LOGIN"), "{}", offer(&daemon));
    for account in ["anna", "bert", "admin"] {
        site.cli_with_input(&["account", "passwd", account, "--password-stdin"], "tea at five\n")
            .ok();
    }
    site.cli(&["reload"]).ok();
    let all = offer(&daemon);
    assert!(
        all.ends_with("AUTH PLAIN LOGIN SCRAM-SHA-256 SCRAM-SHA-256-PLUS"),
        "{all}"
    );
}

#[test]
fn listed_mechanisms_alone_are_offered_and_taken() {
    let mut site = Site::new();
    site.set("listener.auth-mechanisms", vec!["SCRAM-SHA-256", "LOGIN"]);
    // Every malformed message counts as a failed login of the client.
    site.set("login-limits.failures-per-client", 100);
    let warned = site.cli(&["check"]);
    assert!(
        warned
            .text()
            .contains("listener[0].auth-mechanisms: SCRAM is offered, and fails"),
        "{}",
        warned.text()
    );
    let daemon = site.start();
    assert!(
        offer(&daemon).ends_with("AUTH LOGIN SCRAM-SHA-256"),
        "{}",
        offer(&daemon)
    );
    let mut client = daemon.connect();
    client.ehlo();
    client.starttls();
    client.command("AUTH PLAIN AGFubmEAeA==", 504);
    client.command("AUTH SCRAM-SHA-256-PLUS", 504);
    // Messages that are damaged in every part get a reply, and the connection goes on.
    for first in [
        "",
        "n",
        "n,,",
        "n,,x",
        "n,,n",
        "n,a,n=anna,r=x",
        "n,,n=anna",
        "n,,n=anna,r",
        "y,,n=anna,r=x\0",
    ] {
        let mut client = daemon.connect();
        client.ehlo();
        client.starttls();
        let first = match base64(first) {
            empty if empty.is_empty() => "=".to_owned(),
            some => some,
        };
        client.command(&format!("AUTH SCRAM-SHA-256 {first}"), 501);
        client.command("NOOP", 250);
    }
    // An account without a verifier and one that does not exist get the same challenge, and fail at its end.
    for user in ["anna", "stranger"] {
        client.command(
            &format!("AUTH SCRAM-SHA-256 {}", base64(&format!("n,,n={user},r=abc"))),
            334,
        );
        client.command(&base64("c=biws,r=abc,p=AAAA"), 501);
    }
}

fn base64(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(text)
}

#[test]
fn msmtp_logs_in_by_scram_and_its_failures_count() {
    let Some(msmtp) = tool("msmtp") else { return };
    let mut site = site();
    site.set("login-limits.failures-per-client", 2);
    let daemon = site.start();
    let port = daemon.address("smtp").port().to_string();
    let send = |password: &str, subject: &str| {
        let file = format!(
            "account default\nhost 127.0.0.1\nport {port}\nfrom anna@posthouse.test\nauth scram-sha-256\nuser anna\n\
             password \"{password}\"\ntls on\ntls_starttls on\ntls_certcheck off\n"
        );
        let file = site.file("msmtprc", file);
        std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("private");
        let mut command = Command::new(&msmtp);
        command.arg("-C").arg(file).args(["--", "bert@posthouse.test"]);
        run(
            &mut command,
            &format!("From: anna@posthouse.test\nSubject: {subject}\n\nHello\n"),
        )
    };
    send(WORD, "by scram").ok();
    site.mailbox("bert").expect("Subject: by scram");
    for _ in 0..2 {
        let text = send("wrong", "never").failed();
        assert!(text.contains("535 5.7.8"), "{text}");
        let failed = daemon.events().take(4183);
        assert_eq!(
            (failed.text("mechanism"), failed.text("account"), failed.text("reason")),
            ("SCRAM-SHA-256".to_owned(), "anna".to_owned(), "credentials".to_owned())
        );
    }
    assert_eq!(daemon.events().take(5095).text("failures"), "2");
}

#[test]
fn gsasl_binds_its_login_to_the_tls_session() {
    let Some(gsasl) = tool("gsasl") else { return };
    let site = site();
    let daemon = site.start();
    let port = daemon.address("smtp").port().to_string();
    let log_in = |mechanism: &str, password: &str| {
        let mut command = Command::new(&gsasl);
        // The name and the authority of the self-signed certificate.
        command
            .args([
                "--smtp",
                "--connect",
                &format!("localhost:{port}"),
                "--mechanism",
                mechanism,
            ])
            .args([
                "--authentication-id",
                "anna",
                "--password",
                password,
                "--verbose",
                "--x509-ca-file",
            ])
            .arg(site.path().join("data/tls/self-signed.pem"));
        run(&mut command, "")
    };
    for mechanism in ["SCRAM-SHA-256-PLUS", "PLAIN"] {
        let text = log_in(mechanism, WORD).text();
        assert!(text.contains("235 2.7.0"), "{mechanism}: {text}");
        let text = log_in(mechanism, "wrong").text();
        assert!(text.contains("535 5.7.8"), "{mechanism}: {text}");
        assert_eq!(daemon.events().take(4183).text("mechanism"), mechanism);
    }
}
