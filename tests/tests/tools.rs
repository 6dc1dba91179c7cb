//! Clients of other projects: swaks, Python's smtplib, Postfix's smtp-source and smtp-sink. The test of a missing tool
//! prints SKIPPED and passes; `.ci/run` installs all tools.

use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use posthouse_tests::{PASSWORD, Site, eventually, run, tool};

#[test]
fn accepts_and_refuses_swaks() {
    let Some(swaks) = tool("swaks") else { return };
    let site = Site::new();
    let daemon = site.start();
    let server = daemon.address("smtp").to_string();
    let swaks = |arguments: &[&str]| {
        let common = [
            "--server",
            &server,
            "--helo",
            "swaks.example",
            "--to",
            "bert@posthouse.test",
        ];
        run(Command::new(&swaks).args(common).args(arguments), "")
    };

    let login = [
        "--auth-user",
        "anna",
        "--auth-password",
        PASSWORD,
        "--from",
        "anna@posthouse.test",
    ];
    for mechanism in ["PLAIN", "LOGIN"] {
        let subject = format!("Subject: swaks by {mechanism}");
        let mut arguments = vec!["--tls", "--auth", mechanism, "--header", &subject];
        arguments.extend(login);
        swaks(&arguments).ok();
        site.mailbox("bert").expect(&subject);
    }

    let text = swaks(&[
        "--tls",
        "--auth",
        "PLAIN",
        "--auth-user",
        "anna",
        "--auth-password",
        "wrong",
    ])
    .failed();
    assert!(text.contains("535 5.7.8"), "{text}");
    let text = swaks(&["--from", "stranger@example.org"]).failed();
    assert!(text.contains("530 5.7.0"), "{text}");
    let text = swaks(&["--auth", "PLAIN", "--auth-user", "anna", "--auth-password", PASSWORD]).failed();
    assert!(!text.contains("235"), "no AUTH in the clear: {text}");
    let mut forged = vec!["--tls", "--auth", "PLAIN"];
    forged.extend(&login[..4]);
    forged.extend(["--from", "bert@posthouse.test"]);
    let text = swaks(&forged).failed();
    assert!(text.contains("554"), "{text}");
    daemon.events().take(4151);
}

const SMTPLIB: &str = r#"
import smtplib, ssl, sys
host, port, password = "127.0.0.1", int(sys.argv[1]), sys.argv[2]
context = ssl.create_default_context()
context.check_hostname = False
context.verify_mode = ssl.CERT_NONE

def message(subject):
    return f"From: anna@posthouse.test\r\nTo: bert@posthouse.test\r\nSubject: {subject}\r\n\r\n.\r\nHello.\r\n"

with smtplib.SMTP(host, port, timeout=30) as smtp:
    smtp.starttls(context=context)
    smtp.login("anna", password)
    smtp.sendmail("anna@posthouse.test", ["bert@posthouse.test"], message("smtplib one"))
    smtp.sendmail("anna@posthouse.test", ["bert@posthouse.test"], message("smtplib two"))
    try:
        smtp.sendmail("bert@posthouse.test", ["bert@posthouse.test"], message("forged"))
        sys.exit("a forged sender was taken")
    except (smtplib.SMTPSenderRefused, smtplib.SMTPDataError) as refused:
        assert refused.smtp_code == 554, refused

with smtplib.SMTP(host, port, timeout=30) as smtp:
    smtp.starttls(context=context)
    try:
        smtp.login("anna", "wrong")
        sys.exit("a wrong password was taken")
    except smtplib.SMTPAuthenticationError as refused:
        assert refused.smtp_code == 535, refused

with smtplib.SMTP(host, port, timeout=30) as smtp:
    smtp.ehlo()
    assert not smtp.has_extn("auth"), "AUTH in the clear"
    try:
        smtp.sendmail("stranger@example.org", ["bert@posthouse.test"], message("stranger"))
        sys.exit("a stranger was let in")
    except smtplib.SMTPSenderRefused as refused:
        assert refused.smtp_code == 530, refused
"#;

#[test]
fn accepts_and_refuses_pythons_smtplib() {
    let Some(python) = tool("python3") else { return };
    let site = Site::new();
    let daemon = site.start();
    let script = site.file("client.py", SMTPLIB);
    let port = daemon.address("smtp").port().to_string();
    run(Command::new(python).arg(script).args([&port, PASSWORD]), "").ok();
    site.mailbox("bert").expect("smtplib one");
    site.mailbox("bert").expect("smtplib two");
    assert!(site.mailbox("bert").containing("forged").is_empty());
}

/// Returns the number of messages for `smtp-source`: `POSTHOUSE_MESSAGES`, 2000 by default.
fn message_count() -> u64 {
    let wanted = std::env::var("POSTHOUSE_MESSAGES").ok();
    wanted.and_then(|number| number.parse().ok()).unwrap_or(2000)
}

/// A running `smtp-sink` that counts messages.
struct CountingSink {
    child: Child,
    port: u16,
    count: Arc<AtomicU64>,
}

impl CountingSink {
    fn start(program: &Path) -> Self {
        let port = {
            let probe = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
            probe.local_addr().expect("bound").port()
        };
        let mut command = Command::new(program);
        // smtp-sink refuses to run as root; only root needs to name another user.
        if rustix::process::geteuid().is_root() {
            command.args(["-u", "nobody"]);
        }
        let mut child = command
            .args(["-c", &format!("127.0.0.1:{port}"), "1000"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("smtp-sink starts");
        let count = Arc::new(AtomicU64::new(0));
        let (mut stdout, counted) = (child.stdout.take().expect("a pipe"), Arc::clone(&count));
        std::thread::spawn(move || {
            let (mut buffer, mut tail) = ([0; 4096], String::new());
            while let Ok(length @ 1..) = stdout.read(&mut buffer) {
                tail.push_str(&String::from_utf8_lossy(&buffer[..length]));
                let start = tail.len().saturating_sub(200);
                tail = tail.split_off(tail.ceil_char_boundary(start));
                // Only a complete counter is used.
                if let Some(number) = last_counter(&tail) {
                    counted.store(number, Ordering::Relaxed);
                }
            }
        });
        eventually("smtp-sink", || std::net::TcpStream::connect(("127.0.0.1", port)).ok());
        Self { child, port, count }
    }
}

/// Returns the last complete counter `mesg=N`, that is a number followed by another character.
fn last_counter(text: &str) -> Option<u64> {
    let mut counters = text.split("mesg=").skip(1).collect::<Vec<_>>();
    counters.reverse();
    counters.into_iter().find_map(|rest| {
        let end = rest.find(|c: char| !c.is_ascii_digit())?;
        rest[..end].parse().ok()
    })
}

impl Drop for CountingSink {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn relays_from_smtp_source_to_smtp_sink() {
    let (Some(source), Some(sink)) = (tool("smtp-source"), tool("smtp-sink")) else {
        return;
    };
    let sink = CountingSink::start(&sink);
    let mut site = Site::new();
    site.set("delivery.smart-host", format!("127.0.0.1:{}", sink.port));
    let exempt: toml::Table = r#"hosts = [{ network = "127.0.0.1/32", exempt = ["authentication", "encryption", "homing", "originator", "relay"] }]"#
        .parse()
        .expect("TOML");
    site.set("policy.settings.accept", exempt);
    let daemon = site.start();
    let (messages, server) = (message_count(), format!("inet:{}", daemon.address("smtp")));
    let arguments = [
        "-s",
        "20",
        "-l",
        "4096",
        "-f",
        "a@example.net",
        "-t",
        "b@example.org",
        "-m",
    ];
    let sent = run(
        Command::new(source)
            .args(arguments)
            .args([&messages.to_string(), &server]),
        "",
    );
    assert!(sent.stderr.is_empty(), "{sent:?}");
    sent.ok();
    let mut seen = 0;
    // The test requires progress, not speed, which depends on the machine.
    while seen < messages {
        seen = eventually(&format!("more than {seen} of {messages} messages at the sink"), || {
            let now = sink.count.load(Ordering::Relaxed);
            (now > seen).then_some(now)
        });
    }
    assert_eq!(seen, messages, "none twice");
    let listed = eventually("an empty queue", || {
        let listed = site.cli(&["queue", "list"]).ok();
        (!listed.contains("example.org")).then_some(listed)
    });
    assert!(!listed.contains("b@example.org"));
}
