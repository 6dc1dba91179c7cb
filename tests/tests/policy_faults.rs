//! Policy changes under load with faulty candidates, and the isolation of other clients.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use posthouse_tests::{Client, Daemon, Site, eventually, example};

const MISBEHAVING: &str = "misbehaving";

/// Creates a site whose only module is `misbehaving`, which marks accepted messages with the stamp `old`.
fn site() -> Site {
    let mut site = Site::new();
    site.set("policy.file", example(MISBEHAVING).display().to_string());
    site.set(
        "policy.settings",
        toml::Table::from_iter([("stamp".to_owned(), "old".into())]),
    );
    site
}

fn misbehaving_arguments(text: &str) -> [String; 4] {
    let file = example(MISBEHAVING).display().to_string();
    ["policy".to_owned(), file, "--settings".to_owned(), text.to_owned()]
}

/// Runs `posthouse policy VERB misbehaving.wasm --settings TEXT MORE`.
fn policy(site: &Site, verb: &str, text: &str, more: &[&str]) -> posthouse_tests::Output {
    let [policy, file, option, text] = misbehaving_arguments(text);
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

/// Submits a message on an open connection and returns the code of the last reply.
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
    session_from(daemon, 0)
}

/// Opens a session from a network of its own for each number.
fn session_from(daemon: &Daemon, network: u8) -> Client {
    let mut client = daemon.connect_from(&format!("127.0.{network}.1"));
    client.ehlo();
    client
}

/// Returns the name in the stamp of a delivered message, after checking the stages that the stamp lists.
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
fn refuses_a_candidate_that_hangs_in_configure() {
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
fn fault_about_a_recipient_affects_no_other_recipient() {
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
fn huge_decisions_and_leaks_are_contained_faults() {
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
    // Repeated leaks below the limit are harmless, because leaked handles are freed with the instance.
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
fn faults_of_some_messages_do_not_affect_others() {
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
    let said = site.cli(&["status"]).stdout;
    assert!(said.contains("degraded") && said.contains("80 faults in"), "{said}");
}

#[test]
fn rolls_back_a_faulting_module_on_probation() {
    let site = site();
    let daemon = site.start();
    let bad = r#"{"mode": "panic", "stage": "recipient", "chance": 50, "stamp": "new"}"#;
    load(&site, bad);
    let status_before = status(&site);
    assert_eq!(status_before[0]["probation"]["previous"], 1, "{status_before}");
    let done = AtomicBool::new(false);
    let event = thread::scope(|scope| {
        for number in 0..6 {
            let (daemon, done) = (&daemon, &done);
            scope.spawn(move || {
                let mut client = session_from(daemon, number);
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
    assert!(event.text("reason").contains("faults of"), "{event:?}");
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

    // The rolled-back code is not loaded again without --force, and a restart keeps the old generation.
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
fn faulting_admission_on_probation_uses_the_previous_generation() {
    let mut site = site();
    site.set("faults.admit", "defer");
    let daemon = site.start();
    load(&site, r#"{"mode": "panic", "stage": "admit", "stamp": "new"}"#);
    for network in 0..10 {
        session_from(&daemon, network).quit();
    }
    let fault = daemon.events().take(4037);
    assert_eq!(fault.fields["fault"]["instead"], "the generation before it was asked");
    daemon.events().take(5024);
}

#[test]
fn canary_gets_its_share_of_sessions_and_no_session_is_split() {
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
    // The mean of 60, plus or minus six standard deviations.
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
fn canary_is_limited_to_clients_and_ends_in_every_way() {
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
    // A transaction that began with the candidate finishes with the candidate.
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
    for network in 0..5 {
        let mut client = session_from(&daemon, network);
        assert_eq!(submit(&mut client, "anna@posthouse.test", "faults"), 451);
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
fn fault_tables_apply_to_their_own_module() {
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
    // The first module's fault at `admit` grants no exemption, and the other modules are still asked.
    let mut client = session(&daemon);
    assert_eq!(submit(&mut client, "anna@posthouse.test", "poison"), 451);
    assert_eq!(submit(&mut client, "anna@posthouse.test", "good"), 250);
    assert_eq!(stamp(&site.mailbox("anna").expect("Subject: good.").text), "third");
    let status = status(&site);
    let faults = |place: usize| status[place]["faults"]["panic"].as_u64().unwrap_or(0);
    assert_eq!((faults(0), faults(1), faults(2)), (1, 1, 0), "{status}");
    let stages: Vec<_> = (0..2).map(|_| daemon.events().take(4037)).collect();
    assert!(stages.iter().any(|fault| fault.fields["fault"]["policy"] == "second"));
    // The third module's own row of the fault table: a fault at `admit` defers the client.
    let third = r#"{"mode": "panic", "stage": "admit"}"#;
    let text = file.clone();
    site.cli(&["policy", "load", &text, "--settings", third, "--as", "third"])
        .ok();
    // During probation the previous generation is asked instead, and admits the client.
    session(&daemon).quit();
    let (stopped, _) = daemon.stop();
    assert!(stopped.success());
    let daemon = site.start();
    let mut client = Client::connect(daemon.address("smtp"), Some("127.0.0.1"));
    client.expect_reply(421);
}

/// Minimum number of swaps, regardless of the duration.
const MIN_SWAPS: usize = 20;

/// Returns the duration of the swapping: 30 s, or `POSTHOUSE_SWAP_SECONDS`.
fn swap_duration() -> Duration {
    let seconds = std::env::var("POSTHOUSE_SWAP_SECONDS").ok();
    Duration::from_secs(seconds.and_then(|text| text.parse().ok()).unwrap_or(30))
}

#[test]
fn continuous_swaps_lose_no_message_and_mix_no_policies() {
    let site = site();
    let daemon = site.start();
    let until = Instant::now() + swap_duration();
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
        while swaps < MIN_SWAPS || Instant::now() < until {
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
