//! Changing policies under load, with candidates that are wrong: what others notice of it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use posthouse_tests::{Client, Daemon, Site, eventually, example};

const MISBEHAVING: &str = "misbehaving";

/// A site whose only module is `misbehaving`, which stamps what it accepts with `old`.
fn site() -> Site {
    let mut site = Site::new();
    site.set("policy.file", example(MISBEHAVING).display().to_string());
    site.set(
        "policy.settings",
        toml::Table::from_iter([("stamp".to_owned(), "old".into())]),
    );
    site
}

fn settings(text: &str) -> [String; 4] {
    let file = example(MISBEHAVING).display().to_string();
    ["policy".to_owned(), file, "--settings".to_owned(), text.to_owned()]
}

/// `posthouse policy VERB misbehaving.wasm --settings … MORE`.
fn policy(site: &Site, verb: &str, text: &str, more: &[&str]) -> posthouse_tests::Output {
    let [policy, file, option, text] = settings(text);
    let mut arguments = vec![policy.as_str(), verb, &file, &option, &text];
    arguments.extend(more);
    site.cli(&arguments)
}

fn load(site: &Site, text: &str) -> String {
    policy(site, "load", text, &[]).ok()
}

fn status(site: &Site) -> serde_json::Value {
    let text = site.cli(&["policy", "status", "--json"]).ok();
    serde_json::from_str(&text).expect("status is JSON")
}

/// One message on a connection; the code that ended it.
fn submit(client: &mut Client, to: &str, subject: &str) -> u16 {
    for line in ["MAIL FROM:<far@example.org>", &format!("RCPT TO:<{to}>"), "DATA"] {
        client.send(format!("{line}\r\n").as_bytes());
        let code = client.reply().expect("a reply").code;
        if code >= 400 {
            client.command("RSET", 250);
            return code;
        }
    }
    client.send(format!("Subject: {subject}.\r\n\r\nHello.\r\n.\r\n").as_bytes());
    client.reply().expect("a reply").code
}

fn session(daemon: &Daemon) -> Client {
    let mut client = daemon.connect();
    client.ehlo();
    client
}

/// The stamp of a message that was delivered: who decided, and what was asked.
fn stamp(text: &str) -> String {
    let mut stamps = text.lines().filter_map(|line| line.strip_prefix("X-Stamp: "));
    let stamp = stamps
        .next()
        .unwrap_or_else(|| panic!("no stamp:\n{text}"))
        .trim()
        .to_owned();
    assert_eq!(stamps.next(), None, "one stamp only:\n{text}");
    let (who, asked) = stamp.split_once(' ').expect("who, and what was asked");
    assert_eq!(asked, "configure sender recipient message", "{text}");
    who.to_owned()
}

#[test]
fn a_candidate_that_hangs_in_configure_is_refused_and_the_others_go_on() {
    let site = site();
    let daemon = site.start();
    for verb in [&["load"][..], &["stage", "--share", "50%"]] {
        let said = policy(&site, verb[0], r#"{"mode": "loop", "stage": "configure"}"#, &verb[1..]).failed();
        assert!(said.contains("cpu-timeout") && said.contains("configure"), "{said}");
        daemon.events().take(5004);
    }
    assert_eq!(submit(&mut session(&daemon), "anna@posthouse.test", "after that"), 250);
    assert_eq!(stamp(&site.mailbox("anna").expect("after that").text), "old");
}

#[test]
fn a_fault_about_one_recipient_concerns_nobody_else() {
    let site = site();
    let daemon = site.start();
    load(
        &site,
        r#"{"mode": "panic", "recipient": "bert@posthouse.test", "stamp": "new"}"#,
    );
    let mut client = session(&daemon);
    assert_eq!(submit(&mut client, "bert@posthouse.test", "to bert"), 451);
    assert_eq!(submit(&mut client, "anna@posthouse.test", "to anna"), 250);
    assert_eq!(stamp(&site.mailbox("anna").expect("to anna").text), "new");
}

#[test]
fn a_decision_that_is_too_large_and_a_leak_in_every_call_are_faults_and_nothing_more() {
    let site = site();
    let mut daemon = site.start();
    for (mode, class) in [("huge-decision", "abi"), ("leak-handles", "trap")] {
        for stage in ["sender", "message"] {
            load(&site, &format!(r#"{{"mode": "{mode}", "stage": "{stage}"}}"#));
            for _ in 0..2 {
                assert_eq!(
                    submit(&mut session(&daemon), "anna@posthouse.test", mode),
                    451,
                    "{mode} {stage}"
                );
                let fault = daemon.events().take(4037);
                assert_eq!(fault.fields["fault"]["class"], class, "{fault:?}");
                assert_eq!(fault.fields["fault"]["stage"], stage);
            }
        }
    }
    // A leak that stays below the bound is gone with the instance, however often it happens.
    load(
        &site,
        r#"{"mode": "leak-handles", "handles": 300, "stage": "sender", "stamp": "leaky"}"#,
    );
    let mut client = session(&daemon);
    for turn in 0..50 {
        assert_eq!(submit(&mut client, "anna@posthouse.test", &format!("leak {turn}")), 250);
    }
    load(&site, r#"{"stamp": "good"}"#);
    assert_eq!(submit(&mut session(&daemon), "anna@posthouse.test", "well"), 250);
    assert!(daemon.is_running());
}

#[test]
fn every_second_message_faults_and_the_others_go_through() {
    let mut site = site();
    site.set("policy-engine.probation.faults", 0);
    let daemon = site.start();
    load(&site, r#"{"mode": "panic", "subject": "poison", "stamp": "new"}"#);
    thread::scope(|scope| {
        for number in 0..8 {
            let daemon = &daemon;
            scope.spawn(move || {
                let mut client = session(daemon);
                for turn in 0..20 {
                    let (subject, wanted) = match turn % 2 {
                        0 => (format!("good {number} {turn}"), 250),
                        _ => (format!("poison {number} {turn}"), 451),
                    };
                    assert_eq!(
                        submit(&mut client, "anna@posthouse.test", &subject),
                        wanted,
                        "{subject}"
                    );
                }
            });
        }
    });
    let found = eventually("80 messages", || {
        let messages = site.mailbox("anna").messages();
        (messages.len() == 80).then_some(messages)
    });
    assert!(found.iter().all(|message| stamp(&message.text) == "new"));
    let status = status(&site);
    assert_eq!(
        (&status[0]["faults"]["panic"], &status[0]["condition"]),
        (&80.into(), &"degraded".into())
    );
    let said = site.cli(&["status"]).ok();
    assert!(said.contains("degraded") && said.contains("80 faults in"), "{said}");
}

#[test]
fn a_module_on_probation_that_faults_under_load_is_rolled_back_by_itself() {
    let site = site();
    let daemon = site.start();
    let bad = r#"{"mode": "panic", "stage": "recipient", "chance": 50, "stamp": "new"}"#;
    load(&site, bad);
    let status_before = status(&site);
    assert_eq!(status_before[0]["probation"]["previous"], 1, "{status_before}");
    let done = AtomicBool::new(false);
    let event = thread::scope(|scope| {
        for number in 0..4 {
            let (daemon, done) = (&daemon, &done);
            scope.spawn(move || {
                let mut client = session(daemon);
                let mut turn = 0;
                while !done.load(Ordering::Relaxed) {
                    turn += 1;
                    let code = submit(&mut client, "anna@posthouse.test", &format!("{number} {turn}"));
                    assert!(matches!(code, 250 | 451), "{code}");
                }
            });
        }
        let rolled = thread::scope(|scope| scope.spawn(|| daemon.events().take(5024)).join());
        done.store(true, Ordering::Relaxed);
        rolled.expect("5024")
    });
    assert_eq!(
        (event.fields["was"].as_u64(), event.fields["to"].as_u64()),
        (Some(2), Some(1))
    );
    assert!(event.text("reason").contains("faults in"), "{event:?}");
    for number in 0..10 {
        assert_eq!(
            submit(&mut session(&daemon), "anna@posthouse.test", &format!("after {number}")),
            250
        );
    }
    let after = site.mailbox("anna").expect("after 9");
    assert_eq!(stamp(&after.text), "old");
    assert!(
        status(&site)[0]["probation"].is_null(),
        "what was put back has proved itself"
    );

    // Not again at once; by force, or after a restart of the host the old one is in force.
    let said = policy(&site, "load", bad, &[]).failed();
    assert!(said.contains("rolled back") && said.contains("--force"), "{said}");
    let (stopped, _) = daemon.stop();
    assert!(stopped.success());
    let daemon = site.start();
    assert_eq!(submit(&mut session(&daemon), "anna@posthouse.test", "restarted"), 250);
    assert_eq!(stamp(&site.mailbox("anna").expect("restarted").text), "old");
    policy(&site, "load", bad, &[]).failed();
    policy(&site, "load", bad, &["--force"]).ok();
}

#[test]
fn nobody_is_locked_out_by_a_module_on_probation_that_faults_at_the_door() {
    let mut site = site();
    site.set("faults.admit", "defer");
    let daemon = site.start();
    load(&site, r#"{"mode": "panic", "stage": "admit", "stamp": "new"}"#);
    for _ in 0..10 {
        session(&daemon).quit();
    }
    let fault = daemon.events().take(4037);
    assert_eq!(fault.fields["fault"]["instead"], "the generation before it was asked");
    daemon.events().take(5024);
}

#[test]
fn a_staged_candidate_has_its_share_of_the_sessions_and_each_session_one_stamp() {
    let site = site();
    let daemon = site.start();
    policy(
        &site,
        "stage",
        r#"{"stamp": "new"}"#,
        &["--share", "30%", "--reason", "to see"],
    )
    .ok();
    let staged = daemon.events().take(5045);
    assert_eq!(
        (staged.text("share").as_str(), staged.text("reason").as_str()),
        ("30%", "to see")
    );
    for number in 0..200 {
        let mut client = session(&daemon);
        for turn in 0..2 {
            let subject = format!("session {number} turn {turn}");
            assert_eq!(submit(&mut client, "anna@posthouse.test", &subject), 250);
        }
        client.quit();
    }
    let messages = eventually("400 messages", || {
        let messages = site.mailbox("anna").messages();
        (messages.len() == 400).then_some(messages)
    });
    let mut stamps = vec![Vec::new(); 200];
    for message in &messages {
        let subject = message
            .text
            .lines()
            .find_map(|line| line.strip_prefix("Subject: session "));
        let number = subject.and_then(|rest| rest.split_once(' ')).expect("a subject").0;
        stamps[number.parse::<usize>().expect("a number")].push(stamp(&message.text));
    }
    assert!(
        stamps
            .iter()
            .all(|of_session| of_session.len() == 2 && of_session[0] == of_session[1])
    );
    let new = stamps.iter().filter(|of_session| of_session[0] == "new").count();
    // Six standard deviations around 60.
    assert!((21..=99).contains(&new), "{new} of 200");

    let said = policy(&site, "stage", r#"{"stamp": "other"}"#, &["--share", "1%"]).failed();
    assert!(said.contains("is staged in module main"), "{said}");
    let shown = site.cli(&["policy", "status"]).ok();
    assert!(
        shown.contains("staged      generation 2") && shown.contains("30% of the sessions"),
        "{shown}"
    );
    site.cli(&["policy", "promote"]).ok();
    assert_eq!(daemon.events().take(5046).text("why"), "promoted");
    assert_eq!(submit(&mut session(&daemon), "anna@posthouse.test", "promoted"), 250);
    assert_eq!(stamp(&site.mailbox("anna").expect("promoted").text), "new");
    assert_eq!(status(&site)[0]["probation"]["previous"], 1);
}

#[test]
fn a_stage_is_for_some_clients_and_ends_in_every_way() {
    let site = site();
    let daemon = site.start();
    let staged = |site: &Site, more: &[&str]| policy(site, "stage", r#"{"stamp": "new"}"#, more).ok();
    let decided = |daemon: &Daemon, from: &str, subject: &str| {
        let mut client = daemon.connect_from(from);
        client.ehlo();
        assert_eq!(submit(&mut client, "anna@posthouse.test", subject), 250);
        stamp(&site.mailbox("anna").expect(&format!("Subject: {subject}.")).text)
    };
    staged(&site, &["--clients", "127.0.0.4/31"]);
    assert_eq!(decided(&daemon, "127.0.0.5", "theirs"), "new");
    assert_eq!(decided(&daemon, "127.0.0.6", "others"), "old");
    let mut pinned = daemon.connect_from("127.0.0.4");
    pinned.ehlo();
    pinned.command("MAIL FROM:<far@example.org>", 250);
    site.cli(&["policy", "cancel"]).ok();
    assert_eq!(daemon.events().take(5046).text("why"), "cancelled");
    assert_eq!(decided(&daemon, "127.0.0.5", "cancelled"), "old");
    let shown = site.cli(&["policy", "status"]).ok();
    assert!(
        shown.contains("draining    generation 2") && shown.contains("1 units of work"),
        "{shown}"
    );
    // What began with the candidate ends with it.
    pinned.command("RCPT TO:<anna@posthouse.test>", 250);
    pinned.command("DATA", 354);
    pinned.send(b"Subject: pinned.\r\n\r\nHello.\r\n.\r\n");
    pinned.expect_reply(250);
    assert_eq!(stamp(&site.mailbox("anna").expect("Subject: pinned.").text), "new");
    site.cli(&["policy", "cancel"]).failed();
    site.cli(&["policy", "promote"]).failed();

    staged(&site, &["--share", "100%", "--for", "300ms"]);
    assert_eq!(daemon.events().take(5046).text("why"), "time-over");
    staged(&site, &["--share", "100%"]);
    load(&site, r#"{"stamp": "newer"}"#);
    assert_eq!(daemon.events().take(5046).text("why"), "replaced");
    policy(
        &site,
        "stage",
        r#"{"mode": "panic", "stage": "sender"}"#,
        &["--share", "100%"],
    )
    .ok();
    for _ in 0..5 {
        assert_eq!(submit(&mut session(&daemon), "anna@posthouse.test", "faults"), 451);
    }
    daemon.events().take(5047);
    assert_eq!(decided(&daemon, "127.0.0.5", "after the faults"), "newer");
    staged(&site, &["--share", "100%"]);
    daemon.kill();
    let daemon = site.start();
    assert_eq!(daemon.events().take(5046).text("why"), "stopped");
    assert_eq!(decided(&daemon, "127.0.0.5", "restarted"), "newer");
}

#[test]
fn three_modules_have_three_fault_tables_and_one_fault_is_one_modules() {
    let mut site = Site::new();
    let file = example(MISBEHAVING).display().to_string();
    let module = |name: &str, rest: &str| format!("[[policy]]\nname = \"{name}\"\nfile = \"{file}\"\n{rest}\n");
    site.set("policy", toml::Value::Array(Vec::new()));
    site.add(&module(
        "first",
        "limits = { cpu = \"50ms\" }\nsettings = { mode = \"panic\", stage = \"admit\" }",
    ));
    site.add(&module(
        "second",
        "grants = [\"message\"]\nsettings = { mode = \"panic\", subject = \"poison\" }",
    ));
    site.add(&module(
        "third",
        "faults = { admit = \"defer\" }\nsettings = { stamp = \"third\" }",
    ));
    let daemon = site.start();
    // The first one's fault at the door exempts from nothing, and the others are asked all the same.
    let mut client = session(&daemon);
    assert_eq!(submit(&mut client, "anna@posthouse.test", "poison"), 451);
    assert_eq!(submit(&mut client, "anna@posthouse.test", "good"), 250);
    assert_eq!(stamp(&site.mailbox("anna").expect("Subject: good.").text), "third");
    let status = status(&site);
    let faults = |place: usize| status[place]["faults"]["panic"].as_u64().unwrap_or(0);
    assert_eq!((faults(0), faults(1), faults(2)), (1, 1, 0), "{status}");
    let stages: Vec<_> = (0..2).map(|_| daemon.events().take(4037)).collect();
    assert!(stages.iter().any(|fault| fault.fields["fault"]["policy"] == "second"));
    // The third one's own row: its fault defers the client.
    let third = r#"{"mode": "panic", "stage": "admit"}"#;
    let text = file.clone();
    site.cli(&["policy", "load", &text, "--settings", third, "--as", "third"])
        .ok();
    // On probation the generation before it is asked, and knows nothing against the client.
    session(&daemon).quit();
    let (stopped, _) = daemon.stop();
    assert!(stopped.success());
    let daemon = site.start();
    let mut client = Client::connect(daemon.address("smtp"), Some("127.0.0.1"));
    client.expect_reply(421);
}

/// So often policies are swapped at least, however long it takes.
const SWAPS: usize = 20;

/// How long policies are swapped: 30 s, or `POSTHOUSE_SWAP_SECONDS`.
fn swapping() -> Duration {
    let seconds = std::env::var("POSTHOUSE_SWAP_SECONDS").ok();
    Duration::from_secs(seconds.and_then(|text| text.parse().ok()).unwrap_or(30))
}

#[test]
fn swapping_all_the_time_under_load_costs_no_message_and_mixes_no_two_policies() {
    let site = site();
    let daemon = site.start();
    let until = Instant::now() + swapping();
    let done = AtomicBool::new(false);
    let mut swaps = 0;
    let sent: usize = thread::scope(|scope| {
        let sessions: Vec<_> = (0..20)
            .map(|number| {
                let (daemon, done) = (&daemon, &done);
                scope.spawn(move || {
                    let mut sent = 0;
                    while !done.load(Ordering::Relaxed) {
                        let mut client = session(daemon);
                        for turn in 0..5 {
                            let code = submit(&mut client, "anna@posthouse.test", &format!("{number} {turn}"));
                            assert_eq!(code, 250, "{}", client.transcript());
                            sent += 1;
                        }
                        client.quit();
                    }
                    sent
                })
            })
            .collect();
        while swaps < SWAPS || Instant::now() < until {
            let next = Instant::now() + Duration::from_millis(100);
            load(&site, ["{\"stamp\": \"odd\"}", "{\"stamp\": \"even\"}"][swaps % 2]);
            swaps += 1;
            thread::sleep(next.saturating_duration_since(Instant::now()));
        }
        done.store(true, Ordering::Relaxed);
        sessions
            .into_iter()
            .map(|session| session.join().expect("a session"))
            .sum()
    });
    let messages = eventually("every message", || {
        let messages = site.mailbox("anna").messages();
        (messages.len() >= sent).then_some(messages)
    });
    assert_eq!(messages.len(), sent, "none twice");
    let stamps: Vec<String> = messages.iter().map(|message| stamp(&message.text)).collect();
    let count = |who: &str| stamps.iter().filter(|stamp| *stamp == who).count();
    assert_eq!(count("odd") + count("even") + count("old"), sent);
    assert!(count("odd") > 0 && count("even") > 0, "{swaps} swaps");
    assert_eq!(
        status(&site)[0]["generation"],
        1 + swaps,
        "each swap was one: another generation"
    );
    assert!(daemon.events().all(4037).is_empty() && daemon.events().all(5021).is_empty());
}
