//! A spool that lacks a part: the daemon refuses to start and names the part, the commands check and salvage the spool,
//! and what was set aside comes back.

use std::path::{Path, PathBuf};

use posthouse_tests::{Sink, Site, eventually};

const MESSAGES: usize = 8;

/// A site whose spool holds [`MESSAGES`] small messages and a large one that no server takes yet.
fn site_with_queue(sink: &Sink) -> Site {
    sink.answer("MAIL", "451 4.3.0 not yet");
    let mut site = Site::new();
    site.set("delivery.smart-host", sink.address().to_string());
    let daemon = site.start();
    let mut client = daemon.connect_from("127.0.0.3");
    client.ehlo();
    for number in 0..=MESSAGES {
        let lines = if number == MESSAGES { 10_000 } else { 10 };
        let message = format!(
            "Subject: number {number}.\n\n{}",
            "some text that takes up space\n".repeat(lines)
        );
        let code = client.submit("far@example.org", &["a@example.com"], &message).code;
        assert_eq!(code, 250, "{}", client.transcript());
    }
    daemon.kill();
    site
}

fn journal(site: &Site) -> PathBuf {
    site.path().join("data/spool/store/0.jnl")
}

/// Cuts a journal to half of its content, which ends where the zeros begin.
fn halve(journal: &Path) {
    let bytes = std::fs::read(journal).expect("a journal");
    let length = bytes.iter().rposition(|byte| *byte != 0).expect("content") + 1;
    std::fs::write(journal, &bytes[..length / 2]).expect("written");
}

/// Starts the daemon, which must end, and returns the problems.
fn refusal(site: &Site) -> String {
    let mut daemon = site.spawn();
    let problems = daemon.events().take(4056).fields["problems"].to_string();
    assert!(!daemon.wait().success());
    problems
}

fn queue(site: &Site) -> usize {
    site.cli(&["queue", "list"]).ok().matches("a@example.com").count()
}

#[test]
fn a_missing_journal_is_named_and_nothing_starts_before_a_salvage() {
    let sink = Sink::smtp();
    let site = site_with_queue(&sink);
    std::fs::remove_file(journal(&site)).expect("removed");
    for _ in 0..2 {
        let problems = refusal(&site);
        assert!(problems.contains("store/0.jnl is missing"), "{problems}");
        assert!(problems.contains("posthouse spool salvage"), "{problems}");
    }
    let checked = site.cli(&["spool", "check"]).failed();
    assert!(checked.contains("store/0.jnl is missing"), "{checked}");

    let salvaged = site.cli(&["spool", "salvage"]).ok();
    assert!(salvaged.contains("left           0 messages"), "{salvaged}");
    assert!(
        salvaged.contains("orphans        1, in "),
        "the large body is kept: {salvaged}"
    );
    assert!(
        site.cli(&["spool", "check"])
            .ok()
            .contains("the spool is whole: 0 messages")
    );
    let _daemon = site.start();
    assert_eq!(queue(&site), 0);
}

#[test]
fn half_a_journal_is_named_and_the_other_half_is_delivered() {
    let sink = Sink::smtp();
    let mut site = site_with_queue(&sink);
    halve(&journal(&site));
    let problems = refusal(&site);
    assert!(problems.contains("store/0.jnl ends at batch"), "{problems}");

    site.set("spool.on-damage", "salvage");
    let daemon = site.start();
    let event = daemon.events().take(5080);
    assert!(
        event.fields["damage"].to_string().contains("store/0.jnl ends at batch"),
        "{event:?}"
    );
    let kept = PathBuf::from(event.text("kept"));
    assert!(kept.join("store/0.jnl").exists(), "{}", kept.display());
    let left = queue(&site);
    assert!((1..=MESSAGES).contains(&left), "{left}");
    sink.accept_everything();
    sink.expect("Subject: number 0.");
    daemon.stop();
    site.set("spool.on-damage", "refuse");
    let daemon = site.start();
    assert!(daemon.events().all(5080).is_empty());
}

#[test]
fn a_missing_body_is_named_set_aside_and_released_once_it_is_back() {
    let sink = Sink::smtp();
    let site = site_with_queue(&sink);
    let large = site.path().join("data/spool/large");
    let body = std::fs::read_dir(&large)
        .expect("folder")
        .next()
        .expect("a body")
        .expect("entry")
        .path();
    let id = body.file_name().expect("name").to_str().expect("text").to_owned();
    let elsewhere = site.path().join("elsewhere");
    std::fs::rename(&body, &elsewhere).expect("moved");
    let problems = refusal(&site);
    assert!(problems.contains(&format!("large/{id} missing")), "{problems}");

    assert!(
        site.cli(&["spool", "salvage"])
            .ok()
            .contains("left           8 messages")
    );
    let _daemon = site.start();
    let listed = site.cli(&["queue", "list", "--state", "set-aside"]).ok();
    assert!(listed.contains(&id) && listed.contains("set-aside"), "{listed}");
    assert!(
        listed.contains("large/") && listed.contains("a@example.com"),
        "{listed}"
    );
    let shown = site.cli(&["queue", "show", &id]).ok();
    assert!(
        shown.contains("set aside") && shown.contains("missing, with"),
        "{shown}"
    );
    let notice = site
        .mailbox("admin")
        .expect("Mail set aside on mx.posthouse.test: 1")
        .text;
    assert!(
        notice.contains(&id) && notice.contains("a@example.com") && notice.contains("queue release"),
        "{notice}"
    );
    let refused = site.cli(&["queue", "release", &id]).failed();
    assert!(refused.contains("cannot be released"), "{refused}");

    std::fs::rename(&elsewhere, &body).expect("moved");
    sink.accept_everything();
    assert!(site.cli(&["queue", "release", &id]).ok().contains("released"));
    sink.expect(&format!("Subject: number {MESSAGES}."));
    eventually("nothing set aside", || {
        let listed = site.cli(&["queue", "list", "--state", "set-aside"]).ok();
        listed.contains("the queue is empty").then_some(())
    });
}

#[test]
fn a_spool_that_is_lost_as_a_whole_is_no_first_start() {
    let sink = Sink::smtp();
    let site = site_with_queue(&sink);
    let (spool, elsewhere) = (site.path().join("data/spool"), site.path().join("elsewhere"));
    // As where the disk of the spool is not mounted.
    std::fs::rename(&spool, &elsewhere).expect("moved");
    std::fs::create_dir(&spool).expect("an empty folder");
    for _ in 0..2 {
        let problems = refusal(&site);
        assert!(
            problems.contains("spool is missing with all mail") && problems.contains("spool salvage"),
            "{problems}"
        );
    }
    let said = site.cli(&["spool", "check"]);
    assert!(!said.status.success() && said.stdout.contains("is missing"), "{said:?}");

    std::fs::remove_dir(&spool).expect("still empty");
    std::fs::rename(&elsewhere, &spool).expect("mounted");
    let daemon = site.start();
    assert_eq!(queue(&site), MESSAGES + 1);
    daemon.stop();

    // The operator decides to go on without it.
    std::fs::remove_dir_all(&spool).expect("removed");
    let said = site.cli(&["spool", "salvage"]).ok();
    assert!(
        said.contains("is missing") && said.contains("left           0 messages"),
        "{said}"
    );
    let daemon = site.start();
    daemon.submit(&["bert@posthouse.test"], "a new spool");
    site.mailbox("bert").expect("a new spool");
}

#[test]
fn the_commands_leave_a_running_daemon_alone() {
    let site = Site::new();
    let _daemon = site.start();
    for command in ["check", "salvage"] {
        let refused = site.cli(&["spool", command]).failed();
        assert!(refused.contains("in use by another process"), "{refused}");
    }
}
