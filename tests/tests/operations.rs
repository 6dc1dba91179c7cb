//! Start, reload and stop of the daemon, and the operator's commands.

use posthouse_tests::{Client, Daemon, Event, PASSWORD, Sink, Site, eventually, run};
use std::net::TcpListener;
use std::process::Command;

fn submit(daemon: &Daemon, recipient: &str, subject: &str) -> u16 {
    let mut client = daemon.connect();
    client.login("anna", PASSWORD);
    let message = format!("From: <anna@posthouse.test>\nSubject: {subject}\n\nHello.\n");
    client.submit("anna@posthouse.test", &[recipient], &message).code
}

#[test]
fn names_a_port_in_use() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("bound").to_string();
    let mut site = Site::new();
    site.set("listener.address", address.as_str());
    let mut daemon = site.spawn();
    let event = daemon.events().take(4007);
    assert_eq!(
        (event.text("listener"), event.text("address")),
        ("smtp".into(), address)
    );
    assert!(!daemon.wait().success());
}

#[test]
fn names_a_missing_administrator() {
    let mut site = Site::new();
    site.set("administrator", "nobody@posthouse.test");
    let mut daemon = site.spawn();
    assert_eq!(daemon.events().take(4072).text("address"), "nobody@posthouse.test");
    assert!(!daemon.wait().success());
}

#[test]
fn refuses_to_start_with_a_bad_configuration() {
    let mut site = Site::new();
    site.set("limits.recipients", 5).set("surprise", true);
    let output = site.cli(&["run"]);
    let said = output.failed();
    assert!(
        said.contains("limits.recipients") && said.contains("surprise"),
        "all at once: {said}"
    );
}

#[test]
fn refuses_a_second_daemon_on_the_same_folder() {
    let site = Site::new();
    let mut daemon = site.start();
    let mut second = site.spawn();
    assert!(!second.wait().success());
    assert!(daemon.is_running());
    assert_eq!(submit(&daemon, "bert@posthouse.test", "undisturbed"), 250);
    site.cli(&["policy", "status"]).ok();
}

#[test]
fn leaves_a_spool_of_a_newer_version_unchanged() {
    let site = Site::new();
    let (status, _) = site.start().stop();
    assert!(status.success());
    let format = find_file(site.path(), "format").expect("the spool says which format it has");
    std::fs::write(&format, "999\n").expect("the folder can be written");
    let mut daemon = site.spawn();
    assert!(!daemon.wait().success());
    assert_eq!(std::fs::read_to_string(&format).expect("still there").trim(), "999");
}

/// Finds a file by name, at any depth below `folder`.
fn find_file(folder: &std::path::Path, name: &str) -> Option<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).ok()?;
    let paths: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    let here = paths
        .iter()
        .find(|path| path.is_file() && path.file_name().is_some_and(|file| file == name));
    here.cloned().or_else(|| {
        paths
            .iter()
            .filter(|path| path.is_dir())
            .find_map(|path| find_file(path, name))
    })
}

#[test]
fn reload_with_a_bad_configuration_changes_nothing() {
    let mut site = Site::new();
    let mut daemon = site.start();
    site.set("limits.recipients", 5);
    daemon.reload();
    let failed = daemon.events().take(5012);
    assert!(failed.text("problems").contains("limits.recipients"), "{failed:?}");
    assert_eq!(submit(&daemon, "bert@posthouse.test", "as before"), 250);
    assert!(daemon.is_running());
}

#[test]
fn reload_names_a_bad_directory() {
    let site = Site::new();
    let mut daemon = site.start();
    site.add_to_directory("nonsense = 1\n");
    let told = site.cli(&["reload"]).failed();
    assert!(
        told.contains("not applied: directory: ") && told.contains("nonsense"),
        "{told}"
    );
    daemon.events().take(5020);
    assert_eq!(submit(&daemon, "bert@posthouse.test", "as before"), 250);
    assert!(daemon.is_running());
}

#[test]
fn reload_applies_to_new_connections() {
    let mut site = Site::new();
    let daemon = site.start();
    site.set("limits.message-size", "2MiB");
    daemon.reload();
    daemon.events().take(5011);
    let reply = daemon.connect().ehlo();
    assert!(
        reply.lines.iter().any(|line| line.ends_with("SIZE 2097152")),
        "{reply:?}"
    );
}

#[test]
fn reload_names_keys_that_need_a_restart() {
    let mut site = Site::new();
    let daemon = site.start();
    site.set("mailboxes", "elsewhere");
    daemon.reload();
    let told = eventually("a word about the reload", || {
        let failed = daemon.events().all(5012);
        let done = daemon.events().all(5011);
        (!failed.is_empty() || !done.is_empty()).then_some((failed, done))
    });
    let text = format!("{told:?}");
    assert!(text.contains("mailboxes"), "{text}");
}

#[test]
fn reload_applies_new_accounts_and_passwords() {
    // A reload causes an event for the configuration and an event for the directory.
    let names_directory = |event: &Event| event.fields["what"].to_string().contains("directory");
    let site = Site::new();
    let daemon = site.start();
    site.cli_with_input(
        &[
            "account",
            "add",
            "dora",
            "--address",
            "dora@posthouse.test",
            "--password-stdin",
        ],
        "a new password\n",
    )
    .ok();
    let listed = site.cli(&["account", "list"]).ok();
    assert!(
        listed.contains("dora@posthouse.test") && !listed.contains("argon2"),
        "{listed}"
    );
    // The command returns after the changes are in force.
    site.cli(&["reload"]).ok();
    daemon.events().take_where(5011, names_directory);
    let mut client = daemon.connect();
    client.login("dora", "a new password");
    let message = "From: <dora@posthouse.test>\nSubject: hello\n\nx\n";
    assert_eq!(
        client
            .submit("dora@posthouse.test", &["dora@posthouse.test"], message)
            .code,
        250
    );
    site.mailbox("dora").expect("Subject: hello");
    // A new password invalidates the old password.
    site.cli_with_input(&["account", "passwd", "dora", "--password-stdin"], "another\n")
        .ok();
    daemon.reload();
    daemon.events().take_where(5011, names_directory);
    let mut client = daemon.connect();
    client.ehlo();
    client.starttls();
    client.auth_plain("dora", "a new password", 535);
    assert_eq!(daemon.events().take(4183).text("account"), "dora");
    client.auth_plain("dora", "another", 235);
}

#[test]
fn stop_finishes_open_transactions() {
    let site = Site::new();
    let mut daemon = site.start();
    let mut idle = daemon.connect();
    let mut busy = daemon.connect();
    busy.login("anna", PASSWORD);
    busy.command("MAIL FROM:<anna@posthouse.test>", 250);
    busy.command("RCPT TO:<bert@posthouse.test>", 250);
    busy.command("DATA", 354);
    busy.send(b"From: <anna@posthouse.test>\r\nSubject: just in time\r\n");
    let address = daemon.address("smtp");
    daemon.signal(rustix::process::Signal::TERM);
    daemon.events().take(5001);
    // An idle client receives 421; a client within a message may finish the message.
    idle.expect_reply(421);
    idle.expect_close();
    busy.send(b"\r\nHello.\r\n.\r\n");
    busy.expect_reply(250);
    assert!(Client::try_connect(address).is_err(), "no new connections");
    assert!(daemon.wait().success());
    daemon.events().take(5002);
    // The message is delivered before the stop or after the next start.
    let _daemon = site.start();
    site.mailbox("bert").expect("just in time");
}

#[test]
fn stop_is_bounded_by_the_drain_time() {
    let mut site = Site::new();
    site.set("drain", "1s");
    let daemon = site.start();
    let mut stuck = daemon.connect();
    stuck.login("anna", PASSWORD);
    stuck.command("MAIL FROM:<anna@posthouse.test>", 250);
    stuck.command("RCPT TO:<bert@posthouse.test>", 250);
    stuck.command("DATA", 354);
    stuck.send(b"Subject: never finished\r\n");
    let (status, _) = daemon.stop();
    assert!(status.success());
    assert!(site.mailbox("bert").messages().is_empty());
}

#[test]
fn stop_waits_until_the_daemon_is_gone() {
    let mut site = Site::new();
    // The next daemon takes the same port.
    let mut daemon = site.start();
    site.set("listener.address", daemon.address("smtp").to_string());
    let mut busy = daemon.connect();
    busy.login("anna", PASSWORD);
    busy.command("MAIL FROM:<anna@posthouse.test>", 250);
    busy.command("RCPT TO:<bert@posthouse.test>", 250);
    busy.command("DATA", 354);
    let said = site.cli(&["stop", "--timeout", "1ms"]).failed();
    assert!(said.contains("has not ended within 0.001 s"), "{said}");
    daemon.events().take(5001);
    // The daemon answers while it drains; a second stop waits with the first and ends nothing early.
    let status = site.cli(&["status"]);
    assert_eq!(status.status.code(), Some(4), "{status:?}");
    assert!(status.stdout.contains("stop: the host is stopping"), "{status:?}");
    assert_eq!(site.cli(&["stop", "--no-wait"]).ok(), "stopping\n");
    std::thread::scope(|scope| {
        let stopped = scope.spawn(|| site.cli(&["stop"]));
        busy.send(b"From: <anna@posthouse.test>\r\nSubject: in time\r\n\r\nHello.\r\n.\r\n");
        busy.expect_reply(250);
        // The command may begin only when the daemon is gone, on a busy machine.
        let stopped = stopped.join().expect("no panic");
        assert!(
            stopped.stdout == "stopped\n" || stopped.status.code() == Some(3),
            "{stopped:?}"
        );
    });
    // No wait in between: ports and folders are free.
    let next = site.start();
    site.mailbox("bert").expect("in time");
    assert!(daemon.wait().success());
    assert_eq!(site.cli(&["stop"]).ok(), "stopped\n");
    drop(next);
    let said = site.cli(&["stop"]);
    assert_eq!(said.status.code(), Some(3), "{said:?}");
}

/// Returns exit code and reasons of `posthouse status`.
fn health(site: &Site) -> (i32, String) {
    // The socket is named, since the configuration may be one that cannot be read.
    let socket = site.path().join("data/control.sock");
    let said = run(
        Command::new(posthouse_tests::posthouse())
            .args(["status", "--json", "--socket"])
            .arg(socket),
        "",
    );
    let status: serde_json::Value = serde_json::from_str(&said.stdout).unwrap_or_default();
    let code = said.status.code().expect("an exit code");
    (code, status["health"]["reasons"].to_string())
}

#[test]
fn status_says_by_its_exit_code_how_the_host_is() {
    let mut site = Site::new();
    assert_eq!(health(&site).0, 3, "not running");
    let daemon = site.start();
    assert_eq!(health(&site), (0, "[]".to_owned()));
    // A broken directory file, until it is mended.
    let directory = site.path().join("directory.toml");
    let sound = std::fs::read(&directory).expect("read");
    site.add_to_directory("nonsense = 1\n");
    site.cli(&["reload"]).failed();
    let (code, reasons) = health(&site);
    assert!(
        code == 4 && reasons.contains("directory: ") && reasons.contains("nonsense"),
        "{reasons}"
    );
    std::fs::write(&directory, sound).expect("written");
    site.cli(&["reload"]).ok();
    assert_eq!(health(&site).0, 0);
    // A configuration that could not be applied.
    site.set("surprise", true);
    daemon.reload();
    daemon.events().take(5012);
    let (code, reasons) = health(&site);
    assert!(
        code == 4 && reasons.contains("configuration: ") && reasons.contains("surprise"),
        "{reasons}"
    );
    daemon.stop();

    // A full disk.
    let mut full = Site::new();
    full.set("low-water", "1048576GiB");
    let daemon = full.start();
    let (code, reasons) = health(&full);
    assert!(
        code == 4 && reasons.contains("space: the disk is nearly full"),
        "{reasons}"
    );
    daemon.stop();

    // All clients get 421.
    let mut site = Site::new();
    site.set("policy.file", "nowhere.wasm");
    let daemon = site.start();
    let mut client = Client::connect(daemon.address("smtp"), None);
    client.expect_reply(421);
    let (code, reasons) = health(&site);
    assert!(code == 5 && reasons.contains("nowhere.wasm"), "{reasons}");
}

#[test]
fn low_disk_space_stops_new_mail_but_not_delivery() {
    let sink = Sink::smtp();
    sink.answer("MAIL", "451 4.3.0 not now");
    let mut site = Site::new();
    site.set("delivery.smart-host", sink.address().to_string());
    let daemon = site.start();
    assert_eq!(submit(&daemon, "a@example.org", "already taken"), 250);
    daemon.events().take(2000);
    let (status, _) = daemon.stop();
    assert!(status.success());

    site.set("low-water", "1048576GiB");
    let daemon = site.start();
    daemon.events().take(5013);
    let mut client = daemon.connect();
    client.login("anna", PASSWORD);
    client.send(b"MAIL FROM:<anna@posthouse.test>\r\n");
    let mut reply = client.reply().expect("a reply");
    for line in ["RCPT TO:<bert@posthouse.test>", "DATA"] {
        if reply.code < 400 {
            client.send(format!("{line}\r\n").as_bytes());
            reply = client.reply().expect("a reply");
        }
    }
    assert_eq!(reply.code, 452, "{}", client.transcript());
    sink.accept_everything();
    sink.expect("already taken");
}

#[test]
fn escapes_hostile_text_in_the_log() {
    let site = Site::new();
    let daemon = site.start();
    let mut client = daemon.connect();
    client.ehlo();
    client.starttls();
    client.auth_plain("nobody\r\n{\"id\":4037}\u{1b}[31m%s\u{202e}", "x", 535);
    let failed = daemon.events().take(4183);
    assert!(failed.text("account").starts_with("nobody"), "{failed:?}");
    let lines = daemon.events().lines();
    let told = lines
        .iter()
        .find(|line| line.contains("nobody"))
        .expect("the event's line");
    assert!(!told.contains('\u{1b}') && !told.contains('\u{202e}'), "{told:?}");
    assert!(daemon.events().all(4037).is_empty());
    let shown = site.cli(&["events", "--id", "4183"]).ok();
    assert!(
        shown.contains("nobody") && !shown.contains('\u{1b}') && !shown.contains('\u{202e}'),
        "{shown:?}"
    );
}

#[test]
fn event_log_survives_a_restart() {
    let site = Site::new();
    let (status, _) = site.start().stop();
    assert!(status.success());
    let daemon = site.start();
    let shown = site.cli(&["events", "--id", "5000"]).ok();
    assert_eq!(shown.lines().filter(|line| line.contains("5000")).count(), 2, "{shown}");
    drop(daemon);
}

#[test]
fn simulated_session_names_every_rule_without_writing() {
    let site = Site::new();
    let message = site.file("message.eml", "From: <stranger@example.org>\r\nSubject: x\r\n\r\nx\r\n");
    let said = site
        .cli(&[
            "try",
            "127.0.0.2",
            "--sender",
            "stranger@example.org",
            "--recipient",
            "anna@posthouse.test",
            "--message",
            &message.to_string_lossy(),
        ])
        .text();
    assert!(said.contains("127.0.0.2/32"), "the entry that exempted it: {said}");
    assert!(said.contains("not-homed"), "what would become of it: {said}");
    assert!(
        !site.path().join("data").exists() || find_file(&site.path().join("data"), "format").is_none(),
        "no spool"
    );
}

#[test]
fn commands_report_a_missing_daemon() {
    let site = Site::new();
    let said = site.cli(&["queue", "list"]).failed();
    assert!(!said.contains("panicked") && said.lines().count() <= 3, "{said}");
}

#[test]
fn prints_help_and_version() {
    let binary = posthouse_tests::posthouse();
    let help = run(Command::new(&binary).arg("--help"), "").ok();
    for word in [
        "run", "check", "try", "policy", "queue", "events", "account", "status", "reload", "stop", "demo",
    ] {
        assert!(help.contains(word), "{word} is not in:\n{help}");
    }
    run(Command::new(&binary).arg("--version"), "").ok();
}
