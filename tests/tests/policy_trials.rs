//! The end of a probation: which faults decide it, what is put back, and how the operator learns of it. Differences
//! between the configuration and what runs.

use posthouse_tests::{Client, Daemon, PASSWORD, Site, example};
use serde_json::Value;

/// Panics at each sender.
const PANICS: &str = r#"{"mode": "panic", "stage": "sender"}"#;

/// Creates a site whose only module is `misbehaving`, with these settings.
fn site(settings: &str) -> Site {
    let mut site = Site::new();
    site.set("policy.file", example("misbehaving").display().to_string());
    set_settings(&mut site, settings);
    site
}

fn set_settings(site: &mut Site, settings: &str) {
    let settings: toml::Table = settings.parse().expect("TOML");
    site.set("policy.settings", settings);
}

fn load(site: &Site, settings: &str) {
    let file = example("misbehaving").display().to_string();
    site.cli(&["policy", "load", &file, "--settings", settings]).ok();
}

fn status(site: &Site) -> Value {
    let said = site.cli(&["status", "--json"]);
    serde_json::from_str(&said.stdout).unwrap_or_else(|error| panic!("{error}: {said:?}"))
}

/// Sends MAIL FROM on an open connection and returns the reply code.
fn mail_from(client: &mut Client) -> u16 {
    client.send(b"MAIL FROM:<anna@posthouse.test>\r\n");
    client.reply().expect("a reply").code
}

/// Sends MAIL FROM from a network of its own for each number.
fn mail_from_network(daemon: &Daemon, network: u8) -> u16 {
    let mut client = daemon.connect_from(&format!("127.0.{network}.1"));
    client.ehlo();
    let code = mail_from(&mut client);
    client.quit();
    code
}

/// Sends a message from a network, and returns the code of its last reply.
fn submit_from_network(daemon: &Daemon, network: u8, subject: &str) -> u16 {
    let mut client = daemon.connect_from(&format!("127.0.{network}.1"));
    client.ehlo();
    let message = format!("From: <far@example.org>\nSubject: {subject}\n\nHello.\n");
    client
        .submit("far@example.org", &["anna@posthouse.test"], &message)
        .code
}

/// Causes faults of five origins, the default budget.
fn fault_budget_is_used_up(daemon: &Daemon) {
    for network in 1..=5 {
        assert_eq!(mail_from_network(daemon, network), 451);
    }
}

#[test]
fn one_network_and_one_account_decide_no_rollback() {
    let site = site("");
    let daemon = site.start();
    load(&site, PANICS);
    // Many clients of one network.
    for host in 1..=25 {
        let mut client = daemon.connect_from(&format!("127.0.0.{host}"));
        client.ehlo();
        assert_eq!(mail_from(&mut client), 451);
    }
    // One account from many networks.
    for network in 1..=6 {
        let mut client = daemon.connect_from(&format!("127.0.{network}.1"));
        client.login("anna", PASSWORD);
        assert_eq!(mail_from(&mut client), 451);
    }
    let status = status(&site);
    let probation = &status["policies"][0]["probation"];
    assert_eq!(
        (&probation["origins"], &probation["faults"]),
        (&2.into(), &31.into()),
        "{status:#}"
    );
    assert!(daemon.events().all(5024).is_empty());
    // Other networks do decide.
    for network in 1..=3 {
        assert_eq!(mail_from_network(&daemon, network), 451);
    }
    assert_eq!(daemon.events().take(5024).text("to"), "1");
}

#[test]
fn input_that_faults_the_former_generation_too_does_not_count() {
    let site = site("mode = 'panic'\nsubject = 'poison'");
    let daemon = site.start();
    load(&site, r#"{"mode": "panic", "subject": "poison", "stamp": "new"}"#);
    for network in 1..=8 {
        assert_eq!(submit_from_network(&daemon, network, "poison"), 451);
        assert_eq!(submit_from_network(&daemon, network, "good"), 250);
    }
    let after = status(&site);
    let probation = &after["policies"][0]["probation"];
    assert_eq!(
        (&probation["origins"], &probation["faults"]),
        (&0.into(), &0.into()),
        "{after:#}"
    );
    assert_eq!(after["policies"][0]["generation"], 2);
    // The former generation leaves no fault of its own in the events.
    assert!(
        daemon
            .events()
            .all(4037)
            .iter()
            .all(|event| event.fields["fault"]["generation"] == 2)
    );
    assert_eq!(daemon.events().all(4037).len(), 8);

    // A candidate on a stage is judged alike: generation 3 faults where generation 2 does not.
    load(&site, r#"{"mode": "panic", "subject": "good"}"#);
    for network in 1..=5 {
        assert_eq!(submit_from_network(&daemon, network, "good"), 451);
    }
    assert_eq!(daemon.events().take(5024).text("to"), "2");
}

#[test]
fn rollback_of_an_operators_change_is_loud() {
    let mut site = site("stamp = 'lax'");
    let daemon = site.start();
    set_settings(&mut site, "stamp = 'strict'\nmode = 'panic'\nstage = 'sender'");
    site.cli(&["reload"]).ok();
    fault_budget_is_used_up(&daemon);
    assert_eq!(daemon.events().take(5024).text("to"), "1");
    let undone = daemon.events().take(5132);
    assert_eq!(undone.text("changed-by"), "reload");
    assert!(
        undone.text("undone").contains("mode, stage added; stamp changed"),
        "{undone:?}"
    );
    let (stopped, _) = daemon.stop();
    assert!(stopped.success());
    // The status says so until the operator acts, also after a restart.
    let daemon = site.start();
    let after = status(&site);
    assert_eq!(after["health"]["condition"], "degraded", "{after:#}");
    let reason = after["health"]["reasons"][0].to_string();
    assert!(
        reason.contains("put back automatically: 5 faults of 5 origins") && reason.contains("no longer in force"),
        "{reason}"
    );
    let differs = after["policies"][0]["differs"].to_string();
    assert!(differs.contains("stamp changed; mode, stage removed"), "{differs}");
    assert_eq!(mail_from_network(&daemon, 1), 250);
    set_settings(&mut site, "stamp = 'strict'");
    site.cli(&["reload"]).ok();
    assert_eq!(status(&site)["health"]["condition"], "running");
}

#[test]
fn newest_fault_free_generation_is_put_back() {
    let mut site = site("stamp = 'one'");
    let daemon = site.start();
    set_settings(&mut site, "stamp = 'two'");
    site.cli(&["reload"]).ok();
    load(&site, PANICS);
    fault_budget_is_used_up(&daemon);
    assert_eq!(daemon.events().take(5024).text("to"), "2");
    // What is left of its own probation continues.
    let after = status(&site);
    let module = &after["policies"][0];
    assert_eq!(
        (&module["generation"], &module["probation"]["previous"]),
        (&2.into(), &1.into()),
        "{after:#}"
    );
    assert_eq!(mail_from_network(&daemon, 1), 250);
}

#[test]
fn generation_that_faulted_is_not_put_back() {
    let site = site("stamp = 'one'");
    let daemon = site.start();
    load(&site, r#"{"mode": "panic", "stage": "sender", "stamp": "two"}"#);
    assert_eq!(mail_from_network(&daemon, 9), 451);
    load(&site, PANICS);
    fault_budget_is_used_up(&daemon);
    assert_eq!(daemon.events().take(5024).text("to"), "1");
}

#[test]
fn loaded_settings_are_named_before_they_go() {
    let mut site = site("stamp = 'file'");
    let daemon = site.start();
    site.cli(&["policy", "load", "--settings", r#"{"stamp": "loaded", "handles": 1}"#])
        .ok();
    let shown = site.cli(&["status"]).ok();
    assert!(
        shown.contains("differs     settings: handles added; stamp changed"),
        "{shown}"
    );
    // Loaded settings are no defect.
    assert_eq!(status(&site)["health"]["condition"], "running");
    let checked = site.cli(&["check"]);
    assert!(checked.status.success(), "{checked:?}");
    assert!(
        checked
            .stderr
            .contains("policy[0].settings: other settings are loaded (generation 2 by uid")
            && checked.stderr.contains("stays until the configuration changes"),
        "{checked:?}"
    );
    // An unrelated edit elsewhere keeps them, one of the settings replaces them.
    site.set("policy.record", "on");
    let said = site.cli(&["reload"]).ok();
    assert!(!said.contains("replaced"), "{said}");
    set_settings(&mut site, "stamp = 'file'\nchance = 7");
    let checked = site.cli(&["check"]);
    assert!(
        checked.stderr.contains("replaces that at the next reload"),
        "{checked:?}"
    );
    let said = site.cli(&["reload"]).ok();
    assert!(
        said.contains("replaced: policy main") && said.contains("stamp changed; handles removed"),
        "{said}"
    );
    let event = daemon.events().take(5131);
    assert_eq!(
        (event.text("was").as_str(), event.text("generation").as_str()),
        ("2", "3")
    );
    assert_eq!(status(&site)["policies"][0]["differs"], Value::Null);
}
